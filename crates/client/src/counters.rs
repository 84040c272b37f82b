//! What a client has done so far.

/// Counts since the client was made, and two numbers of now. A copy: it does not change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Requests made by the program.
    pub requests: u64,
    /// Answers handed out, errors included.
    pub answers: u64,
    /// Requests that have no answer yet.
    pub requests_waiting: usize,
    /// Connections that a server accepted the session on: 1 if it was never cut.
    pub connections: u64,
    /// Attempts at a connection.
    pub attempts: u64,
    /// Watches that the program holds.
    pub watches: usize,
    /// Events handed to watches.
    pub watch_events: u64,
    /// Events that a stream had no room for; it was told so by [`crate::WatchItem::Missed`].
    pub watch_events_dropped: u64,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
}
