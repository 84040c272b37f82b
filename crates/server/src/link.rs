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
/// Bytes of the events among them, as they will be sent; the same happens at this many.
const OUTBOX_BYTES_MAX: usize = 16 << 20;
/// Bytes of an event besides its path: length, header, kind, state.
const EVENT_BYTES: usize = 32;

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
    /// Something that ends the connection is in the outbox. The task may be unable to obey, waiting for a client that
    /// takes nothing.
    told_to_close: AtomicBool,
    aborted: AtomicBool,
    /// Ids for the check when a watch fires.
    pub(crate) ids: Mutex<Ids>,
    /// What the task last published of its counters.
    pub(crate) published: Mutex<Published>,
    /// Set by the `crst` word; the task obeys at the beginning of its next turn.
    stats_reset: AtomicBool,
}

/// Numbers of a connection as its task last knew them.
#[derive(Debug, Default, Clone)]
pub(crate) struct Published {
    pub(crate) stats: ConnStats,
    pub(crate) queued: usize,
    pub(crate) timeout_ms: i32,
}

#[derive(Default)]
struct Outbox {
    items: VecDeque<Delivery>,
    event_bytes: usize,
    /// It was full: its last item is the end of the connection, and nothing follows.
    is_cut: bool,
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
            told_to_close: AtomicBool::new(false),
            aborted: AtomicBool::new(false),
            ids: Mutex::new(ids),
            published: Mutex::default(),
            stats_reset: AtomicBool::new(false),
        }
    }

    /// Has the counters begin anew: for whoever looks at once, for the task from its next turn on.
    pub(crate) fn reset_stats(&self) {
        let mut published = self.published.lock();
        published.stats.reset();
        self.stats_reset.store(true, Ordering::Relaxed);
    }

    /// Whether the counters are to begin anew; told once.
    pub(crate) fn take_stats_reset(&self) -> bool {
        self.stats_reset.load(Ordering::Relaxed) && self.stats_reset.swap(false, Ordering::Relaxed)
    }

    /// Puts something into the outbox; whether the task must be woken for it.
    pub(crate) fn push(&self, delivery: Delivery) -> bool {
        let mut outbox = self.outbox.lock();
        let ends = matches!(delivery, Delivery::Close | Delivery::Refused(_));
        let is_full = outbox.items.len() >= OUTBOX_MAX || outbox.event_bytes >= OUTBOX_BYTES_MAX;
        if let Delivery::Event { path, .. } = &delivery {
            outbox.event_bytes += EVENT_BYTES + path.len();
        }
        if !is_full {
            outbox.items.push_back(delivery);
        } else if !outbox.is_cut {
            outbox.is_cut = true;
            outbox.items.push_back(Delivery::Close);
        }
        if ends || is_full {
            self.told_to_close.store(true, Ordering::Relaxed);
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
            let mut outbox = self.outbox.lock();
            outbox.event_bytes = 0;
            std::mem::take(&mut outbox.items)
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

    /// Whether the connection has been told to end, be it that its task has not come to it.
    pub(crate) fn is_told_to_close(&self) -> bool {
        self.told_to_close.load(Ordering::Relaxed)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Link {
        Link::new(ConnId(1), ([127, 0, 0, 1], 1).into(), 0, Instant(1), std::sync::Arc::new([]))
    }

    /// A client that took nothing kept its connection for ever: the task, waiting for the socket, never saw the order
    /// to close that its expired session had caused.
    #[test]
    fn an_order_to_close_shows_before_the_task_takes_it() {
        let link = link();
        link.push(Delivery::Event {
            zxid: gk_proto::Zxid(1),
            kind: gk_proto::watch::EventType::NodeCreated,
            path: "/".into(),
        });
        assert!(!link.is_told_to_close(), "an event ends nothing");
        link.push(Delivery::Close);
        assert!(link.is_told_to_close(), "told");
        assert_eq!(link.closing_since(), None, "the task has not begun");
    }

    /// A hundred thousand events of a path of a megabyte took all memory at once when their client began to read.
    #[test]
    fn events_of_long_paths_fill_the_outbox_sooner() {
        let link = link();
        let path: std::sync::Arc<str> = "/".repeat(OUTBOX_BYTES_MAX / 100).into();
        for _ in 0..200 {
            let kind = gk_proto::watch::EventType::NodeCreated;
            link.push(Delivery::Event { zxid: gk_proto::Zxid(1), kind, path: path.clone() });
        }
        assert!(link.is_told_to_close(), "at the bound");
        let items = link.take();
        assert_eq!(items.len(), 101, "what came later is dropped");
        assert!(matches!(items.back(), Some(Delivery::Close)), "and the last is the end");
    }

    #[test]
    fn an_outbox_that_is_full_ends_the_connection() {
        let link = link();
        for _ in 0..OUTBOX_MAX + 10 {
            link.push(Delivery::Event {
                zxid: gk_proto::Zxid(1),
                kind: gk_proto::watch::EventType::NodeCreated,
                path: "/".into(),
            });
        }
        assert!(link.is_told_to_close(), "at the bound");
        let items = link.take();
        assert_eq!(items.len(), OUTBOX_MAX + 1, "what came later is dropped");
        assert!(matches!(items.back(), Some(Delivery::Close)), "and the last is the end");
    }
}
