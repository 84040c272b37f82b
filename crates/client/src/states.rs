//! The states of a session as they come.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::SessionState;
use crate::shared::Shared;

/// Each state that the session enters from now on, in order, until it is over.
///
/// A reader that is slow loses the oldest of more than 64. The last state is never lost.
#[derive(Debug)]
pub struct StateStream {
    shared: Arc<Shared>,
    listener: usize,
}

impl StateStream {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: shared.clone(), listener: shared.new_listener() }
    }

    /// The next state; `None` once the session is over and that was told. Cancel-safe.
    pub async fn next(&mut self) -> Option<SessionState> {
        std::future::poll_fn(|context| self.shared.poll_state(self.listener, context)).await
    }
}

impl Stream for StateStream {
    type Item = SessionState;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<SessionState>> {
        self.shared.poll_state(self.listener, context)
    }
}

impl Drop for StateStream {
    fn drop(&mut self) {
        self.shared.drop_listener(self.listener);
    }
}
