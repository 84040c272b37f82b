//! What must hold, seen from outside the session: what the program asked and was told, held against what the model
//! carried out.
//!
//! Each checker has a name, by which the hunt for planted bugs reports it:
//! - `answers`: each token is answered once, with the answer of its own request, and not before that had arrived
//! - `executions`: no write is carried out twice, nor when the program was told that it was not; an outcome is unknown
//!   only if the transport had taken the whole request
//! - `order`: requests are carried out, and successes told, in the order in which they were made
//! - `reads`: replies never go back in zxid, and a request made after an answer sees at least what that showed
//! - `auths`: a request made after an auth was accepted finds it on its connection
//! - `watches`: one-shot watches are told of a change after the read that set them, once, and before any reply that shows
//!   it
//! - `streams`: every event between two marks of `Missed`, in order, and a mark after each reconnect
//! - `leaks`: at rest the server holds the watches that the program waits for, and no others
//! - `session`: a refusal ends the session; once it is over nothing is sent
//! - `liveness`: after the last fault everything is answered
//!
//! What is right and may look wrong: after a reconnect to a server that lags, a stream hears events again that it heard
//! before the mark, as only replies count as seen. Catch-up events have no zxid; their type is that of the state that is
//! found (NodeDataChanged for a node that was deleted and made again), and streams on the same path hear them too. A watch
//! for the creation of a node that came and went while nobody was connected is kept and not told: no server remembers.
//! And where watches are registered again in several pieces, an event that an earlier piece brings is for those of a
//! later one as well: a stream may hear it before its own piece is there, and a watch for a creation may be used up by
//! it at the client, then be set by its own piece, and stay at the server until it fires.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use gk_client::core::{Failure, SessionState, WatchItem, WatchKind, WatchedEvent};
use gk_proto::answer::Answer;
use gk_proto::watch::EventType;
use gk_proto::{ConnId, ErrorCode};

use crate::ensemble::{Ensemble, Execution, Table};
use crate::history::{Happening, is_within};
use crate::options::PADDING;

/// No connection has this id.
const NONE: ConnId = ConnId(0);

/// The first thing that was wrong.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) checker: &'static str,
    pub(crate) what: String,
}

/// A request, an auth or a close of the program.
#[derive(Debug)]
struct Ticket {
    kind: Asking,
    watch: Option<(WatchKind, String)>,
    is_exists: bool,
    answered: Option<Result<(), Failure>>,
    /// Highest zxid that an answer had shown when it was made.
    zxid_before: i64,
    /// Auths that had been accepted when it was made.
    auths_before: BTreeSet<u32>,
    executions: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Asking {
    Read,
    Write,
    Auth,
    Close,
}

/// A watch of the program.
#[derive(Debug)]
struct Watcher {
    kind: WatchKind,
    path: String,
    state: Waits,
    /// Zxid of the reply that set it.
    zxid: i64,
    /// Connection of that reply.
    set_on: ConnId,
    /// That on which `next` was found.
    conn: ConnId,
    /// Place in the happenings up to which nothing was for it, or everything was told.
    next: usize,
    /// The last connection on which it was told that events may have been missed.
    missed: ConnId,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Waits {
    /// Its read is under way.
    Asking,
    Set,
    Ended,
}

#[derive(Debug)]
pub(crate) struct Checker {
    pub(crate) violation: Option<Violation>,
    tickets: BTreeMap<u32, Ticket>,
    watchers: BTreeMap<u32, Watcher>,
    /// Bytes of each connection that the session was given.
    pub(crate) received: BTreeMap<ConnId, u64>,
    zxid_shown: i64,
    auths: BTreeSet<u32>,
    last_success: u32,
    last_write: u32,
    last_on: BTreeMap<ConnId, u32>,
    checked: usize,
    /// Whether answers are so short that some do not fit.
    answers_are_cut: bool,
    /// Whether watches may be registered again in several pieces.
    paths_are_long: bool,
}

impl Checker {
    pub(crate) fn new(answers_are_cut: bool, paths_are_long: bool) -> Self {
        Self {
            violation: None,
            tickets: BTreeMap::new(),
            watchers: BTreeMap::new(),
            received: BTreeMap::new(),
            zxid_shown: 0,
            auths: BTreeSet::new(),
            last_success: 0,
            last_write: 0,
            last_on: BTreeMap::new(),
            checked: 0,
            answers_are_cut,
            paths_are_long,
        }
    }

    pub(crate) fn fail(&mut self, checker: &'static str, what: String) {
        // The padding of long paths says nothing.
        let what = what.replace(&"x".repeat(PADDING), "…");
        self.violation.get_or_insert(Violation { checker, what });
    }

    /// The program asks.
    pub(crate) fn asked(&mut self, tag: u32, kind: Asking, watch: Option<(WatchKind, String)>, is_exists: bool) {
        if let Some((kind, path)) = watch.clone() {
            let watcher =
                Watcher { kind, path, state: Waits::Asking, zxid: 0, set_on: NONE, conn: NONE, next: 0, missed: NONE };
            self.watchers.insert(tag, watcher);
        }
        let (zxid_before, auths_before) = (self.zxid_shown, self.auths.clone());
        let ticket = Ticket { kind, watch, is_exists, answered: None, zxid_before, auths_before, executions: 0 };
        self.tickets.insert(tag, ticket);
    }

    /// A watch that somebody waits for, or whose read is under way; the program waits for it no longer.
    pub(crate) fn unwatch(&mut self, choice: u64) -> Option<(u32, String)> {
        let waiting = self.watchers.iter_mut().filter(|(_, watcher)| watcher.state != Waits::Ended);
        let mut waiting: Vec<_> = waiting.collect();
        if waiting.is_empty() {
            return None;
        }
        let at = usize::try_from(choice % waiting.len() as u64).unwrap();
        let (tag, watcher) = &mut waiting[at];
        watcher.state = Waits::Ended;
        Some((**tag, watcher.path.clone()))
    }

    /// How a request ended, if it has.
    pub(crate) fn outcome(&self, tag: u32) -> Option<Result<(), Failure>> {
        self.tickets[&tag].answered
    }

    /// Whether this watch is set and was not told anything that ends it.
    pub(crate) fn waits(&self, tag: u32) -> bool {
        self.watchers[&tag].state == Waits::Set
    }

    /// Watches that are set and were not told anything that ends them.
    pub(crate) fn waiting_watches(&self) -> usize {
        self.watchers.values().filter(|watcher| watcher.state == Waits::Set).count()
    }

    pub(crate) fn unanswered(&self) -> Vec<u32> {
        self.tickets.iter().filter(|(_, ticket)| ticket.answered.is_none()).map(|(tag, _)| *tag).collect()
    }

    /// Looks at what the model has carried out since the last time.
    pub(crate) fn executed(&mut self, ensemble: &Ensemble) {
        for execution in &ensemble.executions[self.checked..] {
            self.execution(execution);
        }
        self.checked = ensemble.executions.len();
    }

    fn execution(&mut self, Execution { tag, conn, is_write, auths, .. }: &Execution) {
        let Some(ticket) = self.tickets.get_mut(tag) else {
            return self.fail("executions", format!("#{tag} was never asked"));
        };
        if ticket.kind == Asking::Auth {
            return;
        }
        ticket.executions += 1;
        let (executions, answered) = (ticket.executions, ticket.answered);
        let lacks_auth = !ticket.auths_before.is_subset(auths);
        if lacks_auth {
            self.fail("auths", format!("#{tag} on {conn:?} runs without the auths accepted before it was made"));
        }
        let last = self.last_on.entry(*conn).or_default();
        let before = std::mem::replace(last, *tag);
        if before >= *tag {
            self.fail("order", format!("#{tag} is carried out after #{before} on {conn:?}"));
        }
        if !is_write {
            return;
        }
        if executions > 1 {
            self.fail("executions", format!("the write #{tag} is carried out {executions} times"));
        }
        if matches!(answered, Some(result) if result != Err(Failure::OutcomeUnknown)) {
            self.fail("executions", format!("the write #{tag} is carried out after its answer {answered:?}"));
        }
        let before = std::mem::replace(&mut self.last_write, *tag);
        if before >= *tag {
            self.fail("order", format!("the write #{tag} takes effect after #{before}"));
        }
    }

    /// The session answers.
    pub(crate) fn answered(
        &mut self,
        tag: u32,
        result: &Result<Answer, Failure>,
        (ensemble, conn): (&Ensemble, ConnId),
        was_taken: bool,
    ) {
        let Some(ticket) = self.tickets.get_mut(&tag) else {
            return self.fail("answers", format!("#{tag} was never asked"));
        };
        let told = result.as_ref().map(|_| ()).map_err(|failure| *failure);
        if ticket.answered.replace(told).is_some() {
            return self.fail("answers", format!("#{tag} is answered twice"));
        }
        let (kind, is_exists, executions) = (ticket.kind, ticket.is_exists, ticket.executions);
        let (zxid_before, watch) = (ticket.zxid_before, ticket.watch.clone());
        match result {
            Ok(_) | Err(Failure::Server(_)) if kind != Asking::Close => {}
            Ok(_) | Err(Failure::Server(_)) => return,
            Err(failure) => {
                if let Some(watcher) = self.watchers.get_mut(&tag) {
                    watcher.state = Waits::Ended;
                }
                return self.failed(tag, kind, *failure, executions, was_taken);
            }
        }
        let mut own = ensemble.executions.iter().rev().filter(|execution| execution.tag == tag);
        let received = self.received.get(&conn).copied().unwrap_or(0);
        let has_arrived =
            |execution: &&Execution| execution.conn == conn && execution.end.is_some_and(|end| end <= received);
        let Some(execution) = own.find(has_arrived) else {
            return self.fail("answers", format!("#{tag} is answered {result:?} before its reply arrived on {conn:?}"));
        };
        let expected = execution.result.clone().map_err(Failure::Server);
        if *result != expected {
            return self.fail("answers", format!("#{tag} is answered {result:?}, and {expected:?} is its reply"));
        }
        if kind == Asking::Auth {
            self.auths.insert(tag);
            return;
        }
        let before = std::mem::replace(&mut self.last_success, tag);
        if before >= tag {
            self.fail("order", format!("#{tag} is answered after #{before}"));
        }
        let shown = self.zxid_shown.max(zxid_before);
        if execution.zxid < shown {
            self.fail("reads", format!("#{tag} is answered as of {:#x} after {shown:#x}", execution.zxid));
        }
        self.zxid_shown = shown.max(execution.zxid);
        self.everything_told(ensemble, conn, execution.zxid);
        if let Some((kind, _path)) = watch {
            let kind = match result {
                Ok(_) => Some(kind),
                Err(failure) if is_exists && *failure == Failure::Server(ErrorCode::NoNode.code()) => {
                    Some(WatchKind::Exist)
                }
                Err(_) => None,
            };
            self.set(tag, kind, execution, ensemble);
        }
    }

    fn failed(&mut self, tag: u32, kind: Asking, failure: Failure, executions: u32, was_taken: bool) {
        let is_write = kind == Asking::Write;
        match failure {
            Failure::OutcomeUnknown if kind == Asking::Close => {}
            Failure::OutcomeUnknown if !is_write => {
                self.fail("executions", format!("the outcome of #{tag} is unknown, and it is no write"));
            }
            Failure::OutcomeUnknown if !was_taken => {
                self.fail("executions", format!("the outcome of #{tag} is unknown, and it never left"));
            }
            Failure::BadAnswer(error) if !self.answers_are_cut => {
                self.fail("answers", format!("the answer to #{tag} cannot be read: {error}"));
            }
            Failure::OutcomeUnknown | Failure::BadAnswer(_) => {}
            Failure::Server(_)
            | Failure::ConnectionLost
            | Failure::SessionExpired
            | Failure::AuthFailed
            | Failure::Closed
            | Failure::TooManyRequests => {
                if is_write && executions > 0 {
                    self.fail("executions", format!("#{tag} was carried out, and its answer is {failure:?}"));
                }
            }
        }
    }

    /// The reply that sets a watch, or does not.
    fn set(&mut self, tag: u32, kind: Option<WatchKind>, execution: &Execution, ensemble: &Ensemble) {
        let Some(watcher) = self.watchers.get_mut(&tag) else { return };
        match kind {
            Some(kind) if watcher.state == Waits::Asking => {
                watcher.state = Waits::Set;
                watcher.kind = kind;
                watcher.zxid = execution.zxid;
                watcher.set_on = execution.conn;
                watcher.conn = execution.conn;
                watcher.missed = execution.conn;
                watcher.next = after(&ensemble.history.happenings, execution.zxid);
            }
            Some(_) => {}
            None => watcher.state = Waits::Ended,
        }
    }

    /// A reply of this zxid was told: what its server had to say before must have been told too.
    fn everything_told(&mut self, ensemble: &Ensemble, conn: ConnId, zxid: i64) {
        let happenings = &ensemble.history.happenings;
        let end = after(happenings, zxid);
        let mut wrong = None;
        for (tag, watcher) in self.watchers.iter_mut().filter(|(_, watcher)| watcher.state == Waits::Set) {
            if let Err((checker, what)) = watcher.start(ensemble, conn) {
                wrong = wrong.or(Some((checker, format!("the watch #{tag}: {what}"))));
                continue;
            }
            if let Some(at) = watcher.next_heard(happenings, watcher.next..end) {
                let checker = if watcher.is_stream() { "streams" } else { "watches" };
                let what = format!("the watch #{tag} was not told of {:?} before a reply of {zxid:#x}", happenings[at]);
                wrong = wrong.or(Some((checker, what)));
            }
            watcher.next = watcher.next.max(end);
        }
        if let Some((checker, what)) = wrong {
            self.fail(checker, what);
        }
    }

    /// A watch is told something.
    pub(crate) fn told(&mut self, tag: u32, item: &WatchItem, ensemble: &Ensemble, conn: ConnId) {
        let Some(watcher) = self.watchers.get_mut(&tag) else {
            return self.fail("watches", format!("{item:?} for the unknown watch #{tag}"));
        };
        let checker = if watcher.is_stream() { "streams" } else { "watches" };
        let result = match item {
            _ if watcher.state != Waits::Set => Err(format!("it is {:?}", watcher.state)),
            WatchItem::Missed if watcher.is_stream() => {
                watcher.missed = conn;
                Ok(())
            }
            WatchItem::Missed => Err("it is no stream".to_owned()),
            WatchItem::Event(event) if watcher.is_stream() => {
                let is_early = self.paths_are_long && watcher.is_told_early(event, ensemble, conn);
                if is_early { Ok(()) } else { watcher.stream_told(event, ensemble, conn) }
            }
            WatchItem::Event(event) => {
                let is_early = self.paths_are_long && watcher.is_told_early(event, ensemble, conn);
                let told = watcher.one_shot_told(event, &ensemble.history.happenings);
                if is_early { Ok(()) } else { told }
            }
        };
        if let Err(why) = result {
            let what = format!("the watch #{tag} ({watcher:?}) is told {item:?} on {conn:?}: {why}");
            self.fail(checker, what);
        }
    }

    /// At rest: the watches of the connection are those that the program waits for.
    pub(crate) fn no_leaks(&mut self, ensemble: &Ensemble, conn: ConnId) {
        let tables = &ensemble.conns[&conn].watches;
        for table in Table::ALL {
            let waiting = self.watchers.values().filter(|watcher| watcher.state == Waits::Set);
            let of_table = waiting.filter(|watcher| Table::of(watcher.kind) == table);
            let expected: BTreeSet<&String> = of_table.map(|watcher| &watcher.path).collect();
            let held: BTreeSet<&String> = tables.held(table).collect();
            let is_left_over = |path: &String| tables.pieces > 1 && tables.for_creation.contains(path);
            let lost: Vec<_> = expected.difference(&held).collect();
            let left: Vec<_> = held.difference(&expected).filter(|path| !is_left_over(path)).collect();
            if !lost.is_empty() || !left.is_empty() {
                let what =
                    format!("at rest {conn:?} lacks the {table:?} watches {lost:?}, and has {left:?} for nobody");
                return self.fail("leaks", what);
            }
        }
    }
}

impl Watcher {
    fn is_stream(&self) -> bool {
        matches!(self.kind, WatchKind::Persistent | WatchKind::Recursive)
    }

    /// Whether this is an event that the server owes it.
    fn hears(&self, happening: &Happening) -> bool {
        let Happening { kind, path, .. } = happening;
        let is_node = matches!(kind, EventType::NodeCreated | EventType::NodeDeleted | EventType::NodeDataChanged);
        match self.kind {
            WatchKind::Data => *path == self.path && is_node,
            WatchKind::Exist => *path == self.path && *kind == EventType::NodeCreated,
            WatchKind::Child => {
                *path == self.path && matches!(kind, EventType::NodeChildrenChanged | EventType::NodeDeleted)
            }
            WatchKind::Persistent => *path == self.path,
            WatchKind::Recursive => is_within(path, &self.path) && is_node,
        }
    }

    fn next_heard(&self, happenings: &[Happening], range: Range<usize>) -> Option<usize> {
        let from = range.start;
        happenings.get(range)?.iter().position(|happening| self.hears(happening)).map(|at| from + at)
    }

    /// Moves on to a connection on which it was registered again.
    fn start(&mut self, ensemble: &Ensemble, conn: ConnId) -> Result<(), (&'static str, String)> {
        let starts_anew = self.is_stream() || self.kind == WatchKind::Exist;
        if self.conn == conn || !starts_anew {
            return Ok(());
        }
        if self.is_stream() && self.missed != conn {
            return Err(("streams", format!("nothing says that it may have missed events on {conn:?}")));
        }
        let Some(zxid) = ensemble.registered(conn, self.kind, &self.path) else {
            let checker = if self.is_stream() { "streams" } else { "watches" };
            return Err((checker, format!("it was not registered again on {conn:?}: {self:?}")));
        };
        self.conn = conn;
        let start = after(&ensemble.history.happenings, zxid);
        self.next = if self.is_stream() { start } else { self.next.max(start) };
        Ok(())
    }

    /// Whether an earlier piece of setWatches brought an event that its own piece is not there for yet.
    fn is_told_early(&self, event: &WatchedEvent, ensemble: &Ensemble, conn: ConnId) -> bool {
        // Only streams are told that something may have been missed.
        let is_again = self.set_on != conn && (self.missed == conn || !self.is_stream());
        let Some(zxid) = event.zxid.filter(|_| is_again) else { return false };
        let told = Happening { zxid: zxid.wire(), kind: event.kind, path: event.path.clone() };
        let registered = ensemble.registered(conn, self.kind, &self.path);
        registered.is_none_or(|registered| told.zxid <= registered)
            && self.hears(&told)
            && ensemble.history.happenings.contains(&told)
    }

    fn stream_told(&mut self, event: &WatchedEvent, ensemble: &Ensemble, conn: ConnId) -> Result<(), String> {
        let happenings = &ensemble.history.happenings;
        let Some(zxid) = event.zxid else {
            let heard = Happening { zxid: 0, kind: event.kind, path: event.path.clone() };
            return if self.hears(&heard) { Ok(()) } else { Err("it does not listen to that".to_owned()) };
        };
        self.start(ensemble, conn).map_err(|(_, what)| what)?;
        let told = Happening { zxid: zxid.wire(), kind: event.kind, path: event.path.clone() };
        let due = self.next_heard(happenings, self.next..happenings.len());
        if due.is_none_or(|due| happenings[due] != told) {
            return Err(format!("{:?} is due", due.map(|due| &happenings[due])));
        }
        self.next = due.unwrap() + 1;
        Ok(())
    }

    /// One-shot watches end with what they are told. Of a change after the read that set them; if the server says of
    /// which, then of the first, unless that came and went while nobody was connected.
    fn one_shot_told(&mut self, event: &WatchedEvent, happenings: &[Happening]) -> Result<(), String> {
        self.state = Waits::Ended;
        let all = happenings.len();
        let Some(first) = self.next_heard(happenings, after(happenings, self.zxid)..all) else {
            return Err("nothing has happened since it was set".to_owned());
        };
        let Some(zxid) = event.zxid else { return Ok(()) };
        let told = Happening { zxid: zxid.wire(), kind: event.kind, path: event.path.clone() };
        let is_first = happenings[first] == told || self.kind == WatchKind::Exist;
        if is_first && self.hears(&told) && happenings.contains(&told) {
            return Ok(());
        }
        Err(format!("{:?} is due", happenings[first]))
    }
}

/// The place behind all that happened up to this zxid.
fn after(happenings: &[Happening], zxid: i64) -> usize {
    happenings.partition_point(|happening| happening.zxid <= zxid)
}

/// Whether a failure is what the state of the session asks for.
pub(crate) fn fits(failure: Failure, state: SessionState, is_closing: bool) -> bool {
    match failure {
        Failure::SessionExpired => state == SessionState::Expired,
        Failure::AuthFailed => state == SessionState::AuthFailed,
        Failure::Closed => state == SessionState::Closed || is_closing,
        Failure::Server(_)
        | Failure::ConnectionLost
        | Failure::OutcomeUnknown
        | Failure::TooManyRequests
        | Failure::BadAnswer(_) => true,
    }
}
