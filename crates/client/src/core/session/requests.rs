//! Requests on their way in, replies and notifications on their way out.

use gk_proto::answer::Answer;
use gk_proto::jute::Reader;
use gk_proto::op::OpCode;
use gk_proto::request::Read;
use gk_proto::watch::{WatcherEvent, WatcherType};
use gk_proto::{ErrorCode, Instant, Xid, Zxid, reply};

use super::{Auth, Closing, InFlight, Link, Pending, Session};
use crate::core::interface::{Effect, End, Failure, Limits, SessionState, WatchItem, WatchedEvent};
use crate::core::request::{Request, Token, WatchIntent};
use crate::core::watches::{Removal, WatchKind};

impl Session {
    pub(super) fn submit(&mut self, token: Token, request: Request) {
        let failure = match self.state {
            SessionState::Expired | SessionState::AuthFailed | SessionState::Closed | SessionState::Lost => {
                Some(Self::final_failure(self.state))
            }
            SessionState::Connecting
            | SessionState::Connected
            | SessionState::ConnectedReadOnly
            | SessionState::Disconnected => {
                let Limits { requests_max, request_bytes_max, .. } = self.options.limits;
                let is_full = self.queue.len() + self.in_flight.len() >= requests_max
                    || self.waiting_bytes + request.len() > request_bytes_max;
                is_full.then_some(Failure::TooManyRequests)
            }
        };
        let failure = if self.closing.is_some() { Some(Failure::Closed) } else { failure };
        if let Some(failure) = failure {
            self.effects.push_back(Effect::Answer { token, result: Err(failure) });
            return;
        }
        if let Some(WatchIntent { path, kind, watcher }) = request.watch() {
            self.watches.begin(path, *kind, *watcher);
        }
        self.waiting_bytes += request.len();
        self.queue.push_back(Pending { token: Some(token), request, sent_count: 0 });
    }

    pub(super) fn authenticate(&mut self, token: Token, scheme: String, auth: Vec<u8>) {
        if self.state.is_final() || self.closing.is_some() {
            let failure = if self.closing.is_some() { Failure::Closed } else { Self::final_failure(self.state) };
            self.effects.push_back(Effect::Answer { token, result: Err(failure) });
            return;
        }
        // The same once more takes the place of the first, unless that is still to be answered here.
        let is_open = matches!(self.link, Link::Open(_));
        let is_due = |other: &Auth| other.token.is_some() || (is_open && !other.answered);
        self.auths.retain(|other| is_due(other) || other.scheme != scheme || other.auth != auth);
        let auth = Auth { scheme, auth, token: Some(token), answered: false };
        // Ahead of requests that wait, which is where it will stand on every later connection.
        self.send(Xid::AUTH, auth.request());
        self.auths.push(auth);
    }

    pub(super) fn remove_watch(&mut self, removal: Option<Removal>) {
        let Some((path, group)) = removal else { return };
        if !matches!(self.link, Link::Open(_)) {
            return;
        }
        let remove = Read::Watches { path: (&*path).into(), kind: WatcherType::code(group), remove: true };
        let pending = Pending::own(Request::read(&remove));
        self.waiting_bytes += pending.request.len();
        self.queue.push_back(pending);
    }

    pub(super) fn close(&mut self, now: Instant, token: Option<Token>) {
        if self.state.is_final() || self.closing.is_some() {
            let answers = token.map(|token| Effect::Answer { token, result: Err(Failure::Closed) });
            self.effects.extend(answers);
            return;
        }
        self.closing = Some(Closing { token, deadline: now + self.timeout });
        match &self.link {
            Link::Open(_) => {
                let pending = Pending::own(Request::bare(OpCode::CloseSession));
                self.waiting_bytes += pending.request.len();
                self.queue.push_back(pending);
            }
            // There is nothing at any server to end.
            _ if self.identity.is_none() => self.over(SessionState::Closed, End::Closed),
            Link::Waiting { .. } | Link::Connecting { .. } | Link::Greeting { .. } | Link::Over => {}
        }
    }

    pub(super) fn reply(&mut self, now: Instant, frame: &[u8]) {
        let mut reader = Reader::new(frame);
        let header = match reply::Header::decode(&mut reader) {
            Ok(header) => header,
            Err(error) => return self.ended(now, End::BadFrame(error), true),
        };
        match header.xid {
            Xid::NOTIFICATION => self.notified(&header, reader.rest()),
            Xid::PING => self.ping_answered(),
            Xid::AUTH => self.authenticated(now, &header),
            _ => self.answered(now, &header, reader.rest()),
        }
    }

    fn notified(&mut self, header: &reply::Header, body: &[u8]) {
        // A type of event that a newer server has is none that we asked for.
        let Ok(event) = WatcherEvent::decode(body) else { return };
        if planted!(self, ZxidSeenByNotification) && header.zxid > 0 {
            self.last_zxid_seen = self.last_zxid_seen.max(header.zxid);
        }
        let zxid = (header.zxid > 0).then(|| Zxid::from_wire(header.zxid));
        let effects = &mut self.effects;
        self.watches.fire(event.kind, &event.path, &mut |watcher, _kind| {
            let event = WatchedEvent { kind: event.kind, path: event.path.clone(), zxid };
            effects.push_back(Effect::Watch { watcher, item: WatchItem::Event(event) });
        });
    }

    /// Auth packets are answered in their own order, ahead of requests that the server has not come to.
    fn authenticated(&mut self, now: Instant, header: &reply::Header) {
        let Some(at) = self.in_flight.iter().position(|sent| sent.xid == Xid::AUTH) else {
            return self.out_of_order(now, header.xid);
        };
        if let Some(sent) = self.in_flight.remove(at) {
            self.waiting_bytes -= sent.pending.request.len();
        }
        if header.err != 0 {
            return self.over(SessionState::AuthFailed, End::AuthFailed);
        }
        let due = self.auths.iter_mut().find(|auth| !auth.answered);
        let token = due.and_then(|auth| {
            auth.answered = true;
            auth.token.take()
        });
        if let Some(token) = token {
            self.effects.push_back(Effect::Answer { token, result: Ok(Answer::None) });
        }
        self.leave_if_idle(now);
    }

    fn ping_answered(&mut self) {
        if let Link::Open(open) = &mut self.link
            && let Some(sent) = open.ping_sent.take()
        {
            self.confirmed = self.confirmed.max(sent);
        }
    }

    fn out_of_order(&mut self, now: Instant, got: Xid) {
        let expected = self.in_flight.front().map(|sent| sent.xid);
        self.ended(now, End::OutOfOrder { expected, got: got.0 }, true);
    }

    fn answered(&mut self, now: Instant, header: &reply::Header, body: &[u8]) {
        // Auth packets may stand in front: their answers keep an order of their own.
        let at = self.in_flight.iter().take_while(|sent| sent.xid == Xid::AUTH).count();
        let is_due = |sent: &InFlight| sent.xid == header.xid || planted!(self, XidNotCompared);
        if !self.in_flight.get(at).is_some_and(is_due) {
            return self.out_of_order(now, header.xid);
        }
        let Some(InFlight { xid, sent, pending, .. }) = self.in_flight.remove(at) else { return };
        self.confirmed = sent.map_or(self.confirmed, |sent| self.confirmed.max(sent));
        let is_own_request = xid != Xid::SET_WATCHES || planted!(self, ZxidSeenBySetWatches);
        if is_own_request && header.zxid > self.last_zxid_seen {
            self.last_zxid_seen = header.zxid;
        }
        if pending.request.op() == OpCode::CloseSession {
            self.waiting_bytes -= pending.request.len();
            return self.over(SessionState::Closed, End::Closed);
        }
        self.finish(pending, header, body);
        self.leave_if_idle(now);
    }

    fn leave_if_idle(&mut self, now: Instant) {
        if matches!(&self.link, Link::Open(open) if open.leaving) {
            self.leave(now);
        }
    }

    /// Hands the answer out, and keeps the watch if there is one now.
    fn finish(&mut self, pending: Pending, header: &reply::Header, body: &[u8]) {
        let result = if header.err == 0 {
            Answer::decode(pending.request.op(), body).map_err(Failure::BadAnswer)
        } else {
            Err(Failure::Server(header.err))
        };
        if let Some(WatchIntent { watcher, kind, path }) = pending.request.watch() {
            let is_exists = pending.request.op() == OpCode::Exists;
            let removal = match result {
                Ok(_) => self.watches.confirm(path, *kind, *watcher),
                Err(Failure::Server(code)) if is_exists && code == ErrorCode::NoNode.code() => {
                    self.watches.confirm(path, WatchKind::Exist, *watcher)
                }
                Err(_) => self.watches.end(path, *watcher),
            };
            self.remove_watch(removal);
        }
        self.waiting_bytes -= pending.request.len();
        if let Some(token) = pending.token {
            self.effects.push_back(Effect::Answer { token, result });
        }
    }
}
