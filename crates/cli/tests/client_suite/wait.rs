//! Waiting for something to be so. Whoever waits says what for, and is told when it never came.

use std::time::Duration;

/// How long anything may take that is not itself a test of time: two cores may be starting six JVMs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(10);

/// The result of `future`, which must come within [`PATIENCE`].
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_elapsed) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

/// Asks again and again until the answer is yes.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    found(what, async || is_so().await.then_some(())).await;
}

/// Asks again and again until there is an answer.
pub(crate) async fn found<T>(what: &str, mut find: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, async {
        let mut interval = tokio::time::interval(INTERVAL);
        loop {
            interval.tick().await;
            if let Some(value) = find().await {
                return value;
            }
        }
    })
    .await
}
