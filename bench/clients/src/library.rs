//! What the harness asks of a client library.

use std::fmt::Display;
use std::time::Duration;

/// The session timeout that every library asks for: long, so that pings are rare in every figure.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(30);

/// A client of one session; a clone shares the session.
///
/// Implementations use their library as its documentation shows it, and hand back what it hands back: a reply is decoded
/// and its data owned by the caller before the future is ready.
pub trait Library: Clone + Send + Sync + 'static {
    /// A one-shot data watch that has been set and has not fired.
    type Watch: Send + 'static;
    type Error: Display + Send;

    /// Opens a session.
    fn open(servers: &str) -> impl Future<Output = Result<Self, Self::Error>> + Send;

    /// Closes the session, and waits until the server has confirmed it. There must be no other clone.
    fn end(self) -> impl Future<Output = ()> + Send;

    /// Creates a persistent node.
    fn make(&self, path: &str, data: &[u8]) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// True if there is such a node.
    fn is_there(&self, path: &str) -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// getData; the length of the data.
    fn read(&self, path: &str) -> impl Future<Output = Result<usize, Self::Error>> + Send;

    /// setData at any version; the new version.
    fn write(&self, path: &str, data: &[u8]) -> impl Future<Output = Result<i32, Self::Error>> + Send;

    /// getData with a watch.
    fn watch(&self, path: &str) -> impl Future<Output = Result<Self::Watch, Self::Error>> + Send;
}
