//! The runtimes that connections live on: one thread each, so that a connection never changes threads and waking it
//! from its own thread needs no system call.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle};
use tokio::sync::Notify;

use crate::link::Link;

/// One runtime and the connections on it that have something in their outboxes.
pub(crate) struct Shard {
    pub(crate) handle: Handle,
    ready: Arc<Ready>,
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
        let shard = Self { handle: runtime.handle().clone(), ready: ready.clone() };
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        std::thread::Builder::new().name(format!("connections-{index}")).spawn(move || {
            runtime.spawn(wake_ready(ready));
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        })?;
        Ok((shard, stop))
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
