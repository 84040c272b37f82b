//! Watches as values: a future for one change, a stream for many. Dropping one ends the watch, at the server too.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;

use crate::chroot::Chroot;
use crate::core::{WatchIntent, WatchItem, WatchKind, WatchedEvent, WatcherId};
use crate::error::Error;
use crate::shared::Shared;

/// What is needed to end a watch.
#[derive(Debug)]
struct Watch {
    shared: Arc<Shared>,
    /// As the server names it.
    path: Arc<str>,
    chroot: Chroot,
    watcher: WatcherId,
}

impl Watch {
    fn new(shared: &Arc<Shared>, path: &str, chroot: &Chroot, watcher: WatcherId) -> Self {
        Self { shared: shared.clone(), path: path.into(), chroot: chroot.clone(), watcher }
    }

    fn intent(&self, kind: WatchKind) -> WatchIntent {
        WatchIntent { watcher: self.watcher, kind, path: self.path.clone() }
    }

    fn shown(&self, event: WatchedEvent) -> WatchedEvent {
        WatchedEvent { path: self.chroot.relative(event.path), ..event }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.drop_watcher(&self.path, self.watcher);
    }
}

/// The next change of what a read returned, as a future.
///
/// It survives reconnects: what changed meanwhile is told then. It fires once. Dropped before that, the server forgets it
/// (unless another watch of this session needs it). It does not keep the session alive.
///
/// # Errors
/// The session ended first: [`Error::SessionExpired`], [`Error::AuthFailed`] or [`Error::Closed`].
#[derive(Debug)]
#[must_use = "a watch that is dropped is removed"]
pub struct OneshotWatch(Watch);

impl OneshotWatch {
    pub(crate) fn new(shared: &Arc<Shared>, path: &str, chroot: &Chroot) -> Self {
        Self(Watch::new(shared, path, chroot, shared.new_one_shot()))
    }

    pub(crate) fn intent(&self, kind: WatchKind) -> WatchIntent {
        self.0.intent(kind)
    }
}

impl Future for OneshotWatch {
    type Output = Result<WatchedEvent, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let watch = &self.0;
        Poll::Ready(match ready!(watch.shared.poll_one_shot(watch.watcher, context)) {
            Ok(event) => Ok(watch.shown(event)),
            Err(state) => Err(Error::of_state(state)),
        })
    }
}

/// Changes of a node, or of a node and everything below it, as a stream.
///
/// Servers do not remember what a persistent watch would have fired while the connection was down. So after every
/// reconnect the stream has a [`WatchItem::Missed`]: read again what you follow. The same item stands for events that
/// were dropped because the stream was not read: it keeps as many as the client's builder says (10,000).
/// What follows a `Missed` may tell of changes that were told before: the next server may be a little behind the last.
///
/// It ends with the session, and does not keep it alive. Dropped, the server forgets the watch (unless another stream of
/// this session has the same path and mode).
#[derive(Debug)]
#[must_use = "a watch that is dropped is removed"]
pub struct WatchStream(Watch);

impl WatchStream {
    pub(crate) fn new(shared: &Arc<Shared>, path: &str, chroot: &Chroot) -> Self {
        Self(Watch::new(shared, path, chroot, shared.new_stream()))
    }

    pub(crate) fn intent(&self, kind: WatchKind) -> WatchIntent {
        self.0.intent(kind)
    }

    /// The next item; `None` once the session is over and all is read. Cancel-safe.
    pub async fn next(&mut self) -> Option<WatchItem> {
        std::future::poll_fn(|context| self.poll_item(context)).await
    }

    fn poll_item(&self, context: &Context<'_>) -> Poll<Option<WatchItem>> {
        let item = ready!(self.0.shared.poll_stream(self.0.watcher, context));
        Poll::Ready(item.map(|item| match item {
            WatchItem::Event(event) => WatchItem::Event(self.0.shown(event)),
            WatchItem::Missed => item,
        }))
    }
}

impl Stream for WatchStream {
    type Item = WatchItem;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<WatchItem>> {
        self.poll_item(context)
    }
}
