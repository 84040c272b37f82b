//! The runtimes that connections live on: one thread each, so that a connection never changes threads and waking it
//! from its own thread needs no system call.
//!
//! What connections have for the node is gathered until all that are ready have run, and handed over together: one
//! wake-up of the node's thread for many requests (design rule 11).

use std::cell::RefCell;
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};

use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle};
use tokio::sync::Notify;

use crate::inbox::{Event, Inbox};
use crate::link::Link;
use crate::shared::Shared;

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
async fn flush_outgoing(shared: Arc<OnceLock<Arc<Shared>>>) {
    std::future::poll_fn(|cx| {
        OUTGOING.with_borrow_mut(|outgoing| {
            if !outgoing.events.is_empty()
                && let Some(shared) = shared.get()
            {
                shared.inbox.push_all(&mut outgoing.events);
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
    shared: Arc<OnceLock<Arc<Shared>>>,
}

#[derive(Default)]
struct Ready {
    links: Mutex<Vec<Arc<Link>>>,
    notify: Notify,
}

impl Shard {
    /// Starts the thread; it runs until the process ends or the returned sender is dropped.
    pub(crate) fn start(index: usize) -> std::io::Result<(Self, tokio::sync::oneshot::Sender<()>)> {
        let runtime = Builder::new_current_thread().enable_all().event_interval(64).build()?;
        let ready = Arc::new(Ready::default());
        let shared = Arc::new(OnceLock::new());
        let shard = Self { handle: runtime.handle().clone(), ready: ready.clone(), shared: shared.clone() };
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        std::thread::Builder::new().name(format!("connections-{index}")).spawn(move || {
            runtime.spawn(wake_ready(ready));
            runtime.spawn(flush_outgoing(shared));
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        })?;
        Ok((shard, stop))
    }

    /// Tells the shard where the node's inbox is, before any connection runs on it.
    pub(crate) fn attach(&self, shared: &Arc<Shared>) {
        let first = self.shared.set(shared.clone()).is_ok();
        assert!(first, "a shard belongs to one server");
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
