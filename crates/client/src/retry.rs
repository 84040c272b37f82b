//! Doing something again until it succeeds, or until there is no point in it.

use std::future::Future;
use std::time::Duration;

use crate::error::Error;

/// How often to try, and how long to wait in between.
///
/// What may be repeated is known by the error: [`Error::is_repeatable`] ones certainly had no effect. After
/// [`Error::OutcomeUnknown`] only an operation that may happen twice is repeated ([`Retry::idempotent`]). Everything else
/// is returned at once: an answer of the server's will not change by asking again, and a session that is over stays so.
///
/// ```
/// # async fn example(client: gk_client::Client) -> Result<(), gk_client::Error> {
/// use gk_client::{Retry, Version};
///
/// let stat = Retry::new(5).run(|| client.set_data("/a", "x", Version::Exactly(3))).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Retry {
    attempts_max: u32,
    wait_first: Duration,
    wait_max: Duration,
    is_idempotent: bool,
}

impl Retry {
    /// At most so many attempts in all, with 100 ms between the first two, doubled each time up to 5 s.
    pub fn new(attempts_max: u32) -> Self {
        let (wait_first, wait_max) = (Duration::from_millis(100), Duration::from_secs(5));
        Self { attempts_max: attempts_max.max(1), wait_first, wait_max, is_idempotent: false }
    }

    /// Other waits.
    #[must_use]
    pub fn waits(mut self, first: Duration, max: Duration) -> Self {
        (self.wait_first, self.wait_max) = (first, max);
        self
    }

    /// The operation may happen twice: it is repeated when its outcome is unknown too.
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.is_idempotent = true;
        self
    }

    /// Runs the operation until it succeeds, fails for good, or was tried often enough. Needs a tokio runtime for waiting.
    ///
    /// # Errors
    /// That of the last attempt.
    pub async fn run<T, F>(&self, mut operation: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut wait = self.wait_first;
        let mut attempts = 1;
        loop {
            let error = match operation().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let may_repeat = error.is_repeatable() || (self.is_idempotent && error == Error::OutcomeUnknown);
            if !may_repeat || attempts >= self.attempts_max {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(self.wait_max);
            attempts += 1;
        }
    }
}
