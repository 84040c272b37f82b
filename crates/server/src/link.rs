//! The end of a connection that the rest of the server sees: its outbox, and what the four-letter words tell of it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;

use gk_node::Delivery;
use gk_node::auth::Ids;
use gk_node::conn::ConnStats;
use gk_proto::{ConnId, Instant, SessionId};
use parking_lot::Mutex;

/// Deliveries that may wait for a client that does not read. At this many the connection is closed: its session lives
/// on, and the client, if there is one, reconnects and catches up by setWatches.
const OUTBOX_MAX: usize = 100_000;

/// One connection, shared between its task, the node's thread and whoever prints it.
pub(crate) struct Link {
    pub(crate) id: ConnId,
    pub(crate) remote: SocketAddr,
    /// Which runtime its task lives on.
    pub(crate) shard: usize,
    pub(crate) opened: Instant,
    outbox: Mutex<Outbox>,
    /// Set after something was put into the outbox, cleared before it is taken out.
    ready: AtomicBool,
    /// The client was last heard then (nanoseconds of [`Instant`]).
    heard: AtomicU64,
    session: AtomicU64,
    /// When the task began to close it (nanoseconds of [`Instant`]); 0 while it is open.
    closing: AtomicU64,
    aborted: AtomicBool,
    /// Ids for the check when a watch fires.
    pub(crate) ids: Mutex<Ids>,
    /// What the task last published of its counters.
    pub(crate) published: Mutex<Published>,
}

/// Numbers of a connection as its task last knew them.
#[derive(Debug, Default, Clone)]
pub(crate) struct Published {
    pub(crate) stats: ConnStats,
    pub(crate) queued: usize,
    pub(crate) timeout_ms: i32,
    /// Set by the `crst` word; the task obeys at its next turn.
    pub(crate) reset: bool,
}

#[derive(Default)]
struct Outbox {
    items: VecDeque<Delivery>,
    waker: Option<Waker>,
}

impl Link {
    pub(crate) fn new(id: ConnId, remote: SocketAddr, shard: usize, opened: Instant, ids: Ids) -> Self {
        Self {
            id,
            remote,
            shard,
            opened,
            outbox: Mutex::default(),
            ready: AtomicBool::new(false),
            heard: AtomicU64::new(opened.0),
            session: AtomicU64::new(0),
            closing: AtomicU64::new(0),
            aborted: AtomicBool::new(false),
            ids: Mutex::new(ids),
            published: Mutex::default(),
        }
    }

    /// Puts something into the outbox; whether the task must be woken for it.
    pub(crate) fn push(&self, delivery: Delivery) -> bool {
        let mut outbox = self.outbox.lock();
        if outbox.items.len() < OUTBOX_MAX {
            outbox.items.push_back(delivery);
        } else if outbox.items.len() == OUTBOX_MAX {
            outbox.items.push_back(Delivery::Close);
        }
        drop(outbox);
        !self.ready.swap(true, Ordering::AcqRel)
    }

    /// Wakes the task. Best called on its own runtime's thread, where that needs no system call.
    pub(crate) fn wake(&self) {
        let waker = self.outbox.lock().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Called by the task before it looks: from here on a push wakes it.
    pub(crate) fn register(&self, waker: &Waker) {
        let mut outbox = self.outbox.lock();
        if !outbox.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            outbox.waker = Some(waker.clone());
        }
    }

    /// Whether something waits in the outbox.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Takes out everything; an idle connection keeps no queue.
    pub(crate) fn take(&self) -> VecDeque<Delivery> {
        if self.ready.swap(false, Ordering::AcqRel) {
            std::mem::take(&mut self.outbox.lock().items)
        } else {
            VecDeque::new()
        }
    }

    /// Notes when the client was heard, for the session's deadline.
    pub(crate) fn heard(&self, at: Instant) {
        self.heard.store(at.0, Ordering::Relaxed);
    }

    /// When the client was last heard.
    pub(crate) fn last_heard(&self) -> Instant {
        Instant(self.heard.load(Ordering::Relaxed))
    }

    /// Notes that the connection ends once what is left has been sent.
    pub(crate) fn set_closing(&self, at: Instant) {
        self.closing.store(at.0.max(1), Ordering::Relaxed);
    }

    /// Since when the connection has been about to end.
    pub(crate) fn closing_since(&self) -> Option<Instant> {
        Some(Instant(self.closing.load(Ordering::Relaxed))).filter(|at| at.0 != 0)
    }

    /// Ends the connection, whatever is left to send.
    pub(crate) fn abort(&self) {
        self.aborted.store(true, Ordering::Relaxed);
        self.wake();
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Relaxed)
    }

    pub(crate) fn set_session(&self, session: SessionId) {
        self.session.store(session.0, Ordering::Relaxed);
    }

    /// The session, or [`SessionId::NONE`] before the handshake is done.
    pub(crate) fn session(&self) -> SessionId {
        SessionId(self.session.load(Ordering::Relaxed))
    }
}
