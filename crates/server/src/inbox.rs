//! What reaches the node's thread, in batches: one lock to put a batch in, one to take all of them out.
//!
//! The queue is bounded by what feeds it: each connection has at most `conn::HELD_MAX` requests under way, and the
//! threads of log and snapshots one report each.

use std::time::Duration;

use gk_node::{Connect, Request};
use gk_proto::{ConnId, SessionId, Zxid};
use gk_tree::ViewHead;
use parking_lot::{Condvar, Mutex};

use crate::error::ServeError;

/// Everything that the node's thread reacts to.
pub(crate) enum Event {
    /// Writes of one wake-up of one connection.
    Requests(Vec<Request>),
    /// A handshake.
    Connect(Connect),
    /// A connection that had a session is gone.
    Disconnected { conn: ConnId, session: SessionId },
    /// The log is on stable storage up to here.
    Durable(Zxid),
    /// The log has no room, or has room again.
    DiskFull(bool),
    /// Begin an exact view, if that can be now.
    BeginView(tokio::sync::oneshot::Sender<Option<ViewHead>>),
    /// The view has been read, or given up.
    EndView {
        /// Whether it was given up because too much changed meanwhile.
        abandoned: bool,
    },
    /// The `dump` word wants its text.
    Dump(tokio::sync::oneshot::Sender<String>),
    /// Stop serving; with the error that makes it impossible to go on.
    Stop(Option<ServeError>),
}

/// The queue in front of the node's thread.
#[derive(Default)]
pub(crate) struct Inbox {
    events: Mutex<Vec<Event>>,
    arrived: Condvar,
}

impl Inbox {
    /// Adds one event and wakes the thread if it sleeps.
    pub(crate) fn push(&self, event: Event) {
        self.events.lock().push(event);
        self.arrived.notify_one();
    }

    /// Adds several events, in order, and wakes the thread if it sleeps.
    pub(crate) fn push_all(&self, events: &mut Vec<Event>) {
        self.events.lock().append(events);
        self.arrived.notify_one();
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.events.lock().is_empty()
    }

    /// Moves everything that waits into `into`, after waiting at most `timeout` for the first event.
    pub(crate) fn take(&self, timeout: Duration, into: &mut Vec<Event>) {
        let mut events = self.events.lock();
        if events.is_empty() && !timeout.is_zero() {
            self.arrived.wait_for(&mut events, timeout);
        }
        std::mem::swap(&mut *events, into);
    }
}
