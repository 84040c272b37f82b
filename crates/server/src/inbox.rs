//! What reaches the node's thread, in batches: one lock to put a batch in, one to take all of them out.
//!
//! The queue is bounded by what feeds it: each connection has at most `conn::HELD_MAX` requests under way, the threads of
//! log and snapshots one report each, and a program that embeds the server waits for each session that it has expired.

use std::time::Duration;

use gk_node::{Connect, Request};
use gk_proto::{ConnId, Instant, SessionId, Zxid};
use gk_tree::ViewHead;
use parking_lot::{Condvar, Mutex};

use crate::error::ServeError;

/// Everything that the node's thread reacts to.
pub(crate) enum Event {
    /// Writes of one wake-up of one connection.
    Requests(Vec<Request>),
    /// A handshake.
    Connect(Connect),
    /// A connection that had a session is gone; when it was last heard.
    Disconnected { conn: ConnId, session: SessionId, heard: Instant },
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
    /// Expire a session; answered once it is gone, and with `false` at once if there is none to expire.
    ExpireSession { session: SessionId, answer: tokio::sync::oneshot::Sender<bool> },
    /// The `dump` word wants its text.
    Dump(tokio::sync::oneshot::Sender<String>),
    /// Stop serving; with the error that makes it impossible to go on.
    Stop(Option<ServeError>),
}

/// The queue in front of the node's thread.
#[derive(Default)]
pub(crate) struct Inbox {
    queue: Mutex<Queue>,
    arrived: Condvar,
}

#[derive(Default)]
struct Queue {
    events: Vec<Event>,
    /// Nobody will take anything any more.
    closed: bool,
}

impl Inbox {
    /// Adds one event and wakes the thread if it sleeps. Once closed, events are dropped: whoever waits for the answer to
    /// one learns that none will come.
    pub(crate) fn push(&self, event: Event) {
        let mut queue = self.queue.lock();
        if !queue.closed {
            queue.events.push(event);
            drop(queue);
            self.arrived.notify_one();
        }
    }

    /// Adds several events, in order, and wakes the thread if it sleeps.
    pub(crate) fn push_all(&self, events: &mut Vec<Event>) {
        let mut queue = self.queue.lock();
        if queue.closed {
            events.clear();
        } else {
            queue.events.append(events);
            drop(queue);
            self.arrived.notify_one();
        }
    }

    /// Drops what waits and all that comes: the node's thread has ended.
    pub(crate) fn close(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        queue.events.clear();
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.lock().events.is_empty()
    }

    /// Moves everything that waits into `into`, after waiting at most `timeout` for the first event.
    pub(crate) fn take(&self, timeout: Duration, into: &mut Vec<Event>) {
        let mut queue = self.queue.lock();
        if queue.events.is_empty() && !timeout.is_zero() {
            self.arrived.wait_for(&mut queue, timeout);
        }
        std::mem::swap(&mut queue.events, into);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The snapshots' thread waited for ever for a view that it had asked of a node's thread that was stopping.
    #[test]
    fn who_waits_for_an_answer_learns_that_the_nodes_thread_has_ended() {
        let inbox = Inbox::default();
        let [(before, asked_before), (after, asked_after)] = [(); 2].map(|()| tokio::sync::oneshot::channel());
        inbox.push(Event::BeginView(before));
        inbox.close();
        inbox.push_all(&mut vec![Event::BeginView(after)]);
        assert!(asked_before.blocking_recv().is_err(), "was waiting");
        assert!(asked_after.blocking_recv().is_err(), "came too late");
        assert!(inbox.is_empty(), "nothing is kept");
    }
}
