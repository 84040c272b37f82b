//! The runtimes that connections live on: one thread each, so that a connection never changes threads and waking it
//! from its own thread needs no system call.
//!
//! What connections have for the node is gathered until all that are ready have run, and handed over together: one
//! wake-up of the node's thread for many requests (design rule 11).

use std::cell::RefCell;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Notify, oneshot};

use crate::inbox::{Event, Inbox};
use crate::link::Link;

thread_local! {
    static OUTGOING: RefCell<Outgoing> = RefCell::default();
}

/// What the connections of this thread have for the node.
#[derive(Default)]
struct Outgoing {
    events: Vec<Event>,
    flusher: Option<Waker>,
}

/// Hands an event to the node, together with those of the other connections that run now. Only for tasks of a shard.
pub(crate) fn send(event: Event, inbox: &Inbox) {
    OUTGOING.with_borrow_mut(|outgoing| {
        match (outgoing.events.last_mut(), event) {
            (Some(Event::Requests(before)), Event::Requests(mut more)) => {
                before.append(&mut more);
                // So many that the node had better begin: it works on them while the others are read.
                if before.len() >= HANDED_OVER_AT {
                    inbox.push_all(&mut outgoing.events);
                    return;
                }
            }
            (_, event) => outgoing.events.push(event),
        }
        if let Some(flusher) = outgoing.flusher.take() {
            flusher.wake();
        }
    });
}

/// Requests that are handed to the node before all connections that are ready have run.
const HANDED_OVER_AT: usize = 400;

/// Hands over what was gathered, whenever there is something: it is queued behind the connections that are ready.
async fn flush_outgoing(inbox: Arc<Inbox>) {
    std::future::poll_fn(|cx| {
        OUTGOING.with_borrow_mut(|outgoing| {
            if !outgoing.events.is_empty() {
                inbox.push_all(&mut outgoing.events);
            }
            outgoing.flusher = Some(cx.waker().clone());
        });
        Poll::<()>::Pending
    })
    .await;
}

/// One runtime and the connections on it that have something in their outboxes.
pub(crate) struct Shard {
    pub(crate) handle: Handle,
    ready: Arc<Ready>,
}

/// The thread of a shard. Dropping it ends the connections on it, and then the thread.
pub(crate) struct ShardThread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for ShardThread {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic in it has been printed; the server ends anyway.
            let _ = thread.join();
        }
    }
}

#[derive(Default)]
struct Ready {
    links: Mutex<Vec<Arc<Link>>>,
    notify: Notify,
}

impl Shard {
    /// Starts the thread. What its connections have for the node goes into `inbox`.
    pub(crate) fn start(index: usize, inbox: Arc<Inbox>) -> std::io::Result<(Self, ShardThread)> {
        let runtime = Builder::new_current_thread().enable_all().event_interval(64).build()?;
        let ready = Arc::new(Ready::default());
        let shard = Self { handle: runtime.handle().clone(), ready: ready.clone() };
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name(format!("connections-{index}")).spawn(move || {
            runtime.spawn(wake_ready(ready));
            runtime.spawn(flush_outgoing(inbox));
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        })?;
        Ok((shard, ShardThread { stop: Some(stop), thread: Some(thread) }))
    }

    /// Has these connections woken, with one wake-up of the thread for all of them.
    pub(crate) fn wake(&self, links: &mut Vec<Arc<Link>>) {
        if links.is_empty() {
            return;
        }
        self.ready.links.lock().append(links);
        self.ready.notify.notify_one();
    }
}

/// Wakes connections from within their own thread.
async fn wake_ready(ready: Arc<Ready>) {
    let mut links = Vec::new();
    loop {
        ready.notify.notified().await;
        std::mem::swap(&mut *ready.links.lock(), &mut links);
        for link in links.drain(..) {
            link.wake();
        }
    }
}
