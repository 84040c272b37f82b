//! What the program's tasks and the session's own task share: the machine, and who waits for what it says.
//!
//! A task that makes a request puts it into the machine itself, under the lock, and wakes the session's task only if that
//! sleeps: no queue in between, so requests are sent in the order in which they were made, whatever threads made them
//! (Z-4796), and any number of them leave with one system call. Answers wait in slots of the same structure.
//!
//! The lock is held for a few hundred nanoseconds, never across a system call and never while a waker runs.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use gk_proto::answer::Answer;
use gk_proto::rng::Rng;
use gk_proto::{ConnId, Instant, Millis};
use parking_lot::{Mutex, MutexGuard};
use slab::Slab;
use tracing::{debug, info, warn};

use crate::clock::Clock;
use crate::core::{
    Effect, End, Failure, Input, Request, ServerAddress, Session, SessionOptions, SessionState, Token, WatchItem,
    WatchedEvent, WatcherId,
};
use crate::counters::Counters;

/// Transitions that a [`crate::StateStream`] keeps for a reader that is slow; beyond, the oldest are dropped.
const STATES_MAX: usize = 64;

/// One session, shared.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    state: Mutex<State>,
}

impl fmt::Debug for Shared {
    /// Short, and without what was sent: data and passwords do not belong into logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (session, state) = self.look(|state| (state.session.identity(), state.session.state()));
        f.debug_struct("Session").field("identity", &session).field("state", &state).finish()
    }
}

/// What the lock protects.
pub(crate) struct State {
    session: Session,
    slots: Slab<Slot>,
    watchers: Slab<(WatcherId, Watcher)>,
    /// Watches made so far: the high half of the next one's id, whose low half is its place in the slab.
    watchers_made: u32,
    listeners: Slab<Listener>,
    driver: Option<Waker>,
    /// Whether the session's task runs or will run: then it needs no waking.
    is_driver_awake: bool,
    commands: Vec<Command>,
    /// Servers that were tried since the last connection, and how that ended.
    attempts: Vec<(Arc<ServerAddress>, String)>,
    counters: Counters,
    watch_events_max: usize,
    tags_made: u64,
    /// To be woken once the lock is free.
    wakers: Vec<Waker>,
}

/// What the session's task is to do about connections.
#[derive(Debug)]
pub(crate) enum Command {
    /// See [`Effect::Connect`].
    Connect { conn: ConnId, server: Arc<ServerAddress>, timeout: Millis },
    /// See [`Effect::Disconnect`].
    Disconnect { conn: ConnId },
    /// See [`Effect::Probe`].
    Probe { server: Arc<ServerAddress> },
}

/// A request of the program.
#[derive(Debug)]
enum Slot {
    Waiting(Option<Waker>),
    Done(Result<Answer, Failure>),
    /// Nobody waits for the answer.
    Abandoned,
}

/// A watch of the program.
#[derive(Debug)]
enum Watcher {
    OneShot(OneShot),
    Stream(Box<EventQueue>),
}

#[derive(Debug)]
enum OneShot {
    Waiting(Option<Waker>),
    Fired(Box<WatchedEvent>),
}

#[derive(Default, Debug)]
struct EventQueue {
    items: VecDeque<WatchItem>,
    waker: Option<Waker>,
}

#[derive(Default, Debug)]
struct Listener {
    states: VecDeque<SessionState>,
    waker: Option<Waker>,
}

impl Shared {
    /// A session that nobody drives yet.
    pub(crate) fn new(options: SessionOptions, servers: Vec<Arc<ServerAddress>>, watch_events_max: usize) -> Arc<Self> {
        let clock = Clock::start();
        let shared = Arc::new_cyclic(|this: &std::sync::Weak<Self>| {
            // The address tells apart clients that were made in the same nanosecond.
            let rng = Rng::new(clock.seed() ^ this.as_ptr().addr() as u64);
            let session = Session::new(options, servers, rng, clock.now());
            let state = State {
                session,
                slots: Slab::new(),
                watchers: Slab::new(),
                watchers_made: 0,
                listeners: Slab::new(),
                driver: None,
                is_driver_awake: true,
                commands: Vec::new(),
                attempts: Vec::new(),
                counters: Counters::default(),
                watch_events_max,
                // A process that resumes a session must not repeat the tags of the one before it.
                tags_made: clock.seed(),
                wakers: Vec::new(),
            };
            Self { clock, state: Mutex::new(state) }
        });
        shared.change(|state| state.drain());
        shared
    }

    /// Does something under the lock, and wakes whom it concerns afterwards.
    pub(crate) fn change<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let result = work(&mut state);
        wake(state);
        result
    }

    /// Only looks.
    pub(crate) fn look<T>(&self, work: impl FnOnce(&State) -> T) -> T {
        work(&self.state.lock())
    }

    /// Hands a request in; its answer comes by [`Shared::poll_answer`].
    pub(crate) fn submit(&self, request: Request) -> Token {
        self.change(|state| {
            let token = state.slot();
            state.counters.requests += 1;
            // Requests ask nothing of time.
            state.input(Instant(0), Input::Submit(token, request));
            state.wake_driver();
            token
        })
    }

    /// Hands in something that is answered like a request.
    pub(crate) fn ask<'a>(&self, input: impl FnOnce(Token) -> Input<'a>) -> Token {
        let now = self.clock.now();
        self.change(|state| {
            let token = state.slot();
            state.input(now, input(token));
            state.wake_driver();
            token
        })
    }

    /// Hands in something without an answer.
    pub(crate) fn tell(&self, input: Input<'_>) {
        let now = self.clock.now();
        self.change(|state| {
            state.input(now, input);
            state.wake_driver();
        });
    }

    /// The answer to a request, once; its token is free again then.
    pub(crate) fn poll_answer(&self, token: Token, context: &Context<'_>) -> Poll<Result<Answer, Failure>> {
        let mut state = self.state.lock();
        let at = index(token.0);
        if let Some(Slot::Waiting(waker)) = state.slots.get_mut(at) {
            keep_waker(waker, context);
            return Poll::Pending;
        }
        match state.slots.try_remove(at) {
            Some(Slot::Done(result)) => Poll::Ready(result),
            Some(Slot::Waiting(_) | Slot::Abandoned) | None => Poll::Ready(Err(Failure::Closed)),
        }
    }

    /// Nobody waits for this answer any more.
    pub(crate) fn abandon(&self, token: Token) {
        let mut state = self.state.lock();
        let at = index(token.0);
        match state.slots.get_mut(at) {
            Some(slot @ Slot::Waiting(_)) => *slot = Slot::Abandoned,
            Some(Slot::Done(_) | Slot::Abandoned) => drop(state.slots.remove(at)),
            None => {}
        }
    }

    /// A place for the event of a one-shot watch.
    pub(crate) fn new_one_shot(&self) -> WatcherId {
        self.change(|state| state.watcher(Watcher::OneShot(OneShot::Waiting(None))))
    }

    /// A place for the events of a stream.
    pub(crate) fn new_stream(&self) -> WatcherId {
        self.change(|state| state.watcher(Watcher::Stream(Box::default())))
    }

    /// The event of a one-shot watch; the state if the session ended first.
    pub(crate) fn poll_one_shot(
        &self,
        watcher: WatcherId,
        context: &Context<'_>,
    ) -> Poll<Result<WatchedEvent, SessionState>> {
        let mut state = self.state.lock();
        let ended = state.session.state();
        match state.watcher_mut(watcher) {
            Some(Watcher::OneShot(one_shot)) => match one_shot {
                OneShot::Fired(event) => Poll::Ready(Ok((**event).clone())),
                OneShot::Waiting(_) if ended.is_final() => Poll::Ready(Err(ended)),
                OneShot::Waiting(waker) => {
                    keep_waker(waker, context);
                    Poll::Pending
                }
            },
            Some(Watcher::Stream(_)) | None => Poll::Ready(Err(SessionState::Closed)),
        }
    }

    /// The next item of a stream; `None` once the session has ended and all is read.
    pub(crate) fn poll_stream(&self, watcher: WatcherId, context: &Context<'_>) -> Poll<Option<WatchItem>> {
        let mut state = self.state.lock();
        let ended = state.session.state().is_final();
        match state.watcher_mut(watcher) {
            Some(Watcher::Stream(queue)) => match queue.items.pop_front() {
                Some(item) => Poll::Ready(Some(item)),
                None if ended => Poll::Ready(None),
                None => {
                    keep_waker(&mut queue.waker, context);
                    Poll::Pending
                }
            },
            Some(Watcher::OneShot(_)) | None => Poll::Ready(None),
        }
    }

    /// Nobody waits for this watch any more: the server is told to forget it, if it has it.
    pub(crate) fn drop_watcher(&self, path: &str, watcher: WatcherId) {
        self.change(|state| {
            if state.watchers.try_remove(place(watcher)).is_none() {
                return;
            }
            state.input(Instant(0), Input::Unwatch { path, watcher });
            state.wake_driver();
        });
    }

    /// A place for the transitions of the session.
    pub(crate) fn new_listener(&self) -> usize {
        self.change(|state| state.listeners.insert(Listener::default()))
    }

    /// The next transition; `None` once the session has ended and all is read.
    pub(crate) fn poll_state(&self, listener: usize, context: &Context<'_>) -> Poll<Option<SessionState>> {
        let mut state = self.state.lock();
        let is_final = state.session.state().is_final();
        let Some(listener) = state.listeners.get_mut(listener) else { return Poll::Ready(None) };
        match listener.states.pop_front() {
            Some(next) => Poll::Ready(Some(next)),
            None if is_final => Poll::Ready(None),
            None => {
                keep_waker(&mut listener.waker, context);
                Poll::Pending
            }
        }
    }

    /// Nobody listens any more.
    pub(crate) fn drop_listener(&self, listener: usize) {
        self.change(|state| drop(state.listeners.try_remove(listener)));
    }
}

/// Lets go of the lock, then wakes whom the change concerned.
fn wake(mut state: MutexGuard<'_, State>) {
    if state.wakers.len() <= 1 {
        // The common case keeps the list's memory.
        let waker = state.wakers.pop();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        return;
    }
    let wakers = std::mem::take(&mut state.wakers);
    drop(state);
    wakers.into_iter().for_each(Waker::wake);
}

/// Slabs of requests and watches are far below 4 billion entries: their bounds see to that.
fn index(id: u32) -> usize {
    usize::try_from(id).expect("INVARIANT: a u32 fits a usize on every machine that has 4 GiB to address")
}

/// Where a watch is kept.
fn place(watcher: WatcherId) -> usize {
    index(u32::try_from(watcher.0 & u64::from(u32::MAX)).expect("INVARIANT: masked to 32 bits"))
}

fn id(index: usize) -> u32 {
    u32::try_from(index).expect("INVARIANT: memory ends before 4 billion requests or watches of one session")
}

fn keep_waker(kept: &mut Option<Waker>, context: &Context<'_>) {
    match kept {
        Some(waker) if waker.will_wake(context.waker()) => {}
        Some(waker) => waker.clone_from(context.waker()),
        None => *kept = Some(context.waker().clone()),
    }
}

impl State {
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }

    pub(crate) fn counters(&self) -> Counters {
        let (queued, in_flight) = self.session.waiting();
        Counters { requests_waiting: queued + in_flight, watches: self.watchers.len(), ..self.counters }
    }

    pub(crate) fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }

    /// A number that this session has not used.
    pub(crate) fn next_tag(&mut self) -> u64 {
        self.tags_made += 1;
        self.tags_made
    }

    fn slot(&mut self) -> Token {
        Token(id(self.slots.insert(Slot::Waiting(None))))
    }

    fn watcher(&mut self, watcher: Watcher) -> WatcherId {
        self.watchers_made = self.watchers_made.wrapping_add(1);
        let entry = self.watchers.vacant_entry();
        let watcher_id = WatcherId(u64::from(self.watchers_made) << 32 | u64::from(id(entry.key())));
        entry.insert((watcher_id, watcher));
        watcher_id
    }

    fn watcher_mut(&mut self, watcher: WatcherId) -> Option<&mut Watcher> {
        let (_, found) = self.watchers.get_mut(place(watcher)).filter(|(other, _)| *other == watcher)?;
        Some(found)
    }

    /// Feeds the machine and carries out what it says.
    pub(crate) fn input(&mut self, now: Instant, input: Input<'_>) {
        self.session.handle(now, input);
        self.drain();
    }

    /// Lets time pass.
    pub(crate) fn timeout(&mut self, now: Instant) {
        self.session.handle_timeout(now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(effect) = self.session.poll_effect() {
            match effect {
                Effect::Answer { token, result } => self.answer(token, result),
                Effect::Watch { watcher, item } => self.watch(watcher, item),
                Effect::State(entered) => self.entered(entered),
                Effect::Connect { conn, server, timeout } => {
                    debug!(%server, "connecting");
                    self.command(Command::Connect { conn, server, timeout });
                }
                Effect::Disconnect { conn, why } => {
                    match why {
                        End::Moved | End::Closed => debug!("connection ended: {why}"),
                        End::ByPeer
                        | End::Silence
                        | End::BadHandshake
                        | End::Refused
                        | End::OutOfOrder { .. }
                        | End::BadFrame(_)
                        | End::AuthFailed => warn!("connection given up: {why}"),
                    }
                    self.note_attempt(why.to_string());
                    self.command(Command::Disconnect { conn });
                }
                Effect::Probe { server } => self.command(Command::Probe { server }),
            }
        }
    }

    fn answer(&mut self, token: Token, result: Result<Answer, Failure>) {
        self.counters.answers += 1;
        let at = index(token.0);
        let Some(slot) = self.slots.get_mut(at) else { return };
        match slot {
            Slot::Waiting(waker) => {
                self.wakers.extend(waker.take());
                *slot = Slot::Done(result);
            }
            Slot::Abandoned => drop(self.slots.remove(at)),
            Slot::Done(_) => panic!("{token:?} was answered twice"),
        }
    }

    fn watch(&mut self, watcher: WatcherId, item: WatchItem) {
        self.counters.watch_events += 1;
        let events_max = self.watch_events_max;
        let kept = self.watchers.get_mut(place(watcher)).filter(|(other, _)| *other == watcher);
        match (kept.map(|(_, kept)| kept), item) {
            (Some(Watcher::OneShot(one_shot)), WatchItem::Event(event)) => {
                let before = std::mem::replace(one_shot, OneShot::Fired(Box::new(event)));
                if let OneShot::Waiting(waker) = before {
                    self.wakers.extend(waker);
                }
            }
            (Some(Watcher::Stream(queue)), item) => {
                if queue.push(item, events_max) {
                    self.counters.watch_events_dropped += 1;
                }
                self.wakers.extend(queue.waker.take());
            }
            (Some(Watcher::OneShot(_)), WatchItem::Missed) | (None, _) => {}
        }
    }

    fn entered(&mut self, entered: SessionState) {
        let session = self.session.identity().map(|identity| identity.session).unwrap_or_default();
        match entered {
            SessionState::Connected | SessionState::ConnectedReadOnly => {
                let timeout = self.session.timeout().0;
                info!(%session, timeout_ms = timeout, server = self.session.server().map(tracing::field::display), "{entered:?}");
                self.counters.connections += 1;
                self.attempts.clear();
            }
            SessionState::Closed | SessionState::Connecting => info!(%session, "{entered:?}"),
            SessionState::Disconnected | SessionState::Lost | SessionState::Expired | SessionState::AuthFailed => {
                warn!(%session, "{entered:?}");
            }
        }
        for (_, listener) in &mut self.listeners {
            if listener.states.len() >= STATES_MAX {
                listener.states.pop_front();
            }
            listener.states.push_back(entered);
            self.wakers.extend(listener.waker.take());
        }
        if entered.is_final() {
            for (_, (_, watcher)) in &mut self.watchers {
                match watcher {
                    Watcher::OneShot(OneShot::Waiting(waker)) => self.wakers.extend(waker.take()),
                    Watcher::OneShot(OneShot::Fired(_)) => {}
                    Watcher::Stream(queue) => self.wakers.extend(queue.waker.take()),
                }
            }
            self.wake_driver();
        }
    }

    fn command(&mut self, command: Command) {
        self.commands.push(command);
        self.wake_driver();
    }

    /// Sees to it that the session's task looks at what is new.
    pub(crate) fn wake_driver(&mut self) {
        if !std::mem::replace(&mut self.is_driver_awake, true) {
            self.wakers.extend(self.driver.clone());
        }
    }

    /// Whom the last change concerned: to be woken by the caller, once the lock is free.
    pub(crate) fn take_wakers(&mut self) -> std::vec::Drain<'_, Waker> {
        self.wakers.drain(..)
    }

    /// The session's task is about to sleep: from here on what is new wakes it.
    pub(crate) fn sleep_driver(&mut self, context: &Context<'_>) {
        keep_waker(&mut self.driver, context);
        self.is_driver_awake = false;
    }

    pub(crate) fn take_commands(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.commands)
    }

    pub(crate) fn has_commands(&self) -> bool {
        !self.commands.is_empty()
    }

    /// Remembers whom the latest attempt was at.
    pub(crate) fn begin_attempt(&mut self, server: Arc<ServerAddress>) {
        self.attempts.retain(|(other, _)| *other != server);
        self.attempts.push((server, "no answer yet".to_owned()));
    }

    /// Remembers how the latest attempt ended.
    pub(crate) fn note_attempt(&mut self, how: String) {
        if let Some((_, ended)) = self.attempts.last_mut() {
            *ended = how;
        }
    }

    /// The last attempt at each server, for an error message.
    pub(crate) fn attempts(&self) -> String {
        let told: Vec<_> = self.attempts.iter().map(|(server, how)| format!("{server}: {how}")).collect();
        if told.is_empty() { "no server was tried".to_owned() } else { told.join("; ") }
    }
}

impl EventQueue {
    /// Adds an item; true if it had to be dropped, in which case the last item is [`WatchItem::Missed`].
    fn push(&mut self, item: WatchItem, events_max: usize) -> bool {
        let is_behind = self.items.back() == Some(&WatchItem::Missed);
        match item {
            // Whoever is behind reads everything again anyway.
            WatchItem::Missed => {
                if !is_behind {
                    self.items.push_back(item);
                }
                false
            }
            WatchItem::Event(_) if self.items.len() >= events_max => {
                if !is_behind {
                    self.items.push_back(WatchItem::Missed);
                }
                true
            }
            WatchItem::Event(_) => {
                self.items.push_back(item);
                false
            }
        }
    }
}
