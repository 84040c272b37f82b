//! A list of servers that DNS keeps: the SRV records of one name, looked up again when they may have changed.
//!
//! Each record names a host and a port, and is one server of the list. Priorities and weights are not looked at, as in the
//! Java client (`DnsSrvHostProvider`): the servers of an ensemble are equals, and a client that kept away from some would
//! only load the others. Unlike there, it is the records that say for how long they may be kept, a cut is a reason to look
//! again at once, and a list that has changed is balanced over when it is known, not at the next cut.
//!
//! Not done here: addresses of hosts. They are resolved at every attempt to connect, as those of any list.

#[cfg(feature = "srv")]
mod lookup;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use gk_proto::{Instant, Millis};
#[cfg(feature = "srv")]
use lookup::look_up;
use tracing::{debug, info, warn};

use crate::clock::{Clock, millis};
use crate::core::{Input, ServerAddress, SessionState};
use crate::error::Error;
use crate::shared::Shared;
use crate::states::StateStream;

/// The shortest time between two lookups as long as nothing is wrong: records that may be kept for less are.
const GAP_MIN: Millis = Millis(5_000);
/// The longest: records that may be kept for more might still be replaced before that.
const GAP_MAX: Millis = Millis(300_000);
/// The shortest time between two lookups after a cut, and before the first connection.
const GAP_URGENT: Millis = Millis(1_000);

/// What is said to those who name a DNS name without the feature.
pub(crate) const NEEDS_FEATURE: &str = "servers from DNS need the cargo feature `srv` of gk-client";

/// The name whose SRV records are the list, and who is asked for them.
#[derive(Clone, Debug)]
pub(crate) struct SrvName {
    name: Arc<str>,
    dns_server: Option<SocketAddr>,
}

/// What one lookup found.
///
/// - There is at least one server.
/// - Servers are sorted, each once, so that lists can be compared: name servers change the order at every answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ServerRecords {
    servers: Vec<Arc<ServerAddress>>,
    time_to_live: Millis,
}

impl SrvName {
    /// `dns_server` is asked in place of the system's name servers.
    pub(crate) fn new(name: Arc<str>, dns_server: Option<SocketAddr>) -> Self {
        Self { name, dns_server }
    }

    /// The records, as soon as there are any: whoever is started before its servers waits for them.
    ///
    /// # Errors
    /// [`Error::NotConnected`] if there are none within the time given.
    pub(crate) async fn first(&self, within: Duration) -> Result<ServerRecords, Error> {
        let mut reason = "no name server has answered".to_owned();
        let found = tokio::time::timeout(within, self.until_found(&mut reason)).await;
        found.map_err(|_| Error::NotConnected {
            waited_ms: millis(within).0,
            attempts: format!("{}: {reason}", self.name),
        })
    }

    async fn until_found(&self, reason: &mut String) -> ServerRecords {
        let mut failures = Failures::default();
        loop {
            match self.look_up().await {
                Ok(found) => {
                    info!(name = &*self.name, servers = listed(&found.servers), "servers from DNS");
                    return found;
                }
                Err(failed) => {
                    failures.count(&self.name, &failed);
                    *reason = failed;
                }
            }
            tokio::time::sleep(Duration::from_millis(GAP_URGENT.0)).await;
        }
    }

    /// Keeps the list of the session as the records have it, until the session is over.
    pub(crate) async fn follow(self, shared: Arc<Shared>, mut states: StateStream, first: ServerRecords) {
        let clock = shared.clock;
        let mut schedule = Schedule::new(clock.now(), first.time_to_live);
        let mut servers = first.servers;
        let mut failures = Failures::default();
        while schedule.wait(clock, &mut states).await {
            let Some(found) = schedule.attend(&mut states, self.look_up()).await else { return };
            match found {
                Ok(found) => {
                    failures = Failures::default();
                    schedule.answered(clock.now(), found.time_to_live);
                    if found.servers != servers {
                        info!(name = &*self.name, servers = listed(&found.servers), "other servers from DNS");
                        servers.clone_from(&found.servers);
                        shared.tell(Input::Servers(found.servers));
                    }
                }
                Err(reason) => {
                    failures.count(&self.name, &reason);
                    schedule.failed(clock.now());
                }
            }
        }
    }

    async fn look_up(&self) -> Result<ServerRecords, String> {
        ServerRecords::of(look_up(&self.name, self.dns_server).await?)
    }
}

/// Connect strings that would lead here are refused without the feature.
#[cfg(not(feature = "srv"))]
async fn look_up(_name: &str, _dns_server: Option<SocketAddr>) -> Result<Vec<SrvRecord>, String> {
    Err(NEEDS_FEATURE.to_owned())
}

/// What of a record matters.
#[derive(Clone, Debug)]
struct SrvRecord {
    /// A name as DNS has it.
    target: String,
    port: u16,
    time_to_live: Millis,
}

impl ServerRecords {
    /// The list, for a session that is being made.
    pub(crate) fn servers(&self) -> Vec<Arc<ServerAddress>> {
        self.servers.clone()
    }

    fn of(records: Vec<SrvRecord>) -> Result<Self, String> {
        let time_to_live = records.iter().map(|record| record.time_to_live).min().unwrap_or(GAP_MIN);
        let mut servers: Vec<_> = records.into_iter().filter_map(server).collect();
        servers.sort_unstable();
        servers.dedup();
        if servers.is_empty() {
            return Err("no SRV record names a server".to_owned());
        }
        let servers = servers.into_iter().map(Arc::new).collect();
        Ok(Self { servers, time_to_live: time_to_live.clamp(GAP_MIN, GAP_MAX) })
    }
}

/// The server of a record. The root as a target says that the service is not offered (RFC 2782), and nobody listens on
/// port 0.
fn server(record: SrvRecord) -> Option<ServerAddress> {
    // Where names are compared (in a hosts file, in a certificate) they have no final dot.
    let host = record.target.trim_end_matches('.').to_ascii_lowercase();
    (!host.is_empty() && record.port != 0).then_some(ServerAddress { host, port: record.port })
}

fn listed(servers: &[Arc<ServerAddress>]) -> String {
    servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Lookups that failed in a row: the first is worth a warning.
#[derive(Default, Debug)]
struct Failures(u32);

impl Failures {
    fn count(&mut self, name: &str, reason: &str) {
        if self.0 == 0 {
            warn!(name, "the servers cannot be looked up, which is tried again: {reason}");
        } else {
            debug!(name, failures = self.0, "the servers cannot be looked up: {reason}");
        }
        self.0 = self.0.saturating_add(1);
    }
}

/// When to look the records up.
///
/// - While there is a connection: when they have been kept for as long as they may be.
/// - When it is cut: at once, but not within [`GAP_URGENT`] of the last answer; then every [`GAP_MIN`].
/// - After a lookup that failed: in [`GAP_MIN`].
#[derive(Debug)]
struct Schedule {
    answered: Instant,
    gap: Millis,
    time_to_live: Millis,
    is_connected: bool,
}

impl Schedule {
    /// The first lookup was answered, and no server has been tried yet.
    fn new(now: Instant, time_to_live: Millis) -> Self {
        Self { answered: now, gap: GAP_MIN, time_to_live, is_connected: false }
    }

    fn due(&self) -> Instant {
        self.answered + self.gap
    }

    fn answered(&mut self, now: Instant, time_to_live: Millis) {
        self.answered = now;
        self.time_to_live = time_to_live;
        self.gap = if self.is_connected { time_to_live } else { GAP_MIN };
    }

    fn failed(&mut self, now: Instant) {
        self.answered(now, GAP_MIN);
    }

    fn entered(&mut self, state: SessionState) {
        match state {
            SessionState::Connected | SessionState::ConnectedReadOnly => {
                self.is_connected = true;
                self.gap = self.time_to_live;
            }
            SessionState::Disconnected | SessionState::Lost => {
                self.is_connected = false;
                self.gap = GAP_URGENT;
            }
            SessionState::Connecting | SessionState::Expired | SessionState::AuthFailed | SessionState::Closed => {}
        }
    }

    /// Waits until the next lookup is due; false if the session is over.
    async fn wait(&mut self, clock: Clock, states: &mut StateStream) -> bool {
        loop {
            match tokio::time::timeout_at(clock.runtime(self.due()), states.next()).await {
                Ok(Some(state)) => self.entered(state),
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }

    /// Does something unless the session is over first.
    async fn attend<T>(&mut self, states: &mut StateStream, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                state = states.next() => self.entered(state?),
                result = &mut work => return Some(result),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{Backoff, Limits, SessionOptions};

    fn record(target: &str, port: u16, seconds: u64) -> SrvRecord {
        SrvRecord { target: target.to_owned(), port, time_to_live: Millis(seconds * 1_000) }
    }

    fn found(records: &[SrvRecord]) -> Result<String, String> {
        let found = ServerRecords::of(records.to_vec())?;
        Ok(format!("{} for {} ms", listed(&found.servers), found.time_to_live.0))
    }

    #[test]
    fn records_become_servers_in_one_order_each_once() {
        let mut records =
            [record("B.example.com.", 2, 60), record("a.example.com.", 9, 30), record("b.example.com.", 2, 90)];
        let servers = "a.example.com:9,b.example.com:2 for 30000 ms";
        assert_eq!(found(&records).unwrap(), servers);
        records.reverse();
        assert_eq!(found(&records).unwrap(), servers, "in another order");
    }

    #[test]
    fn records_that_name_no_server_are_left_out() {
        let records = [record(".", 1, 60), record("a.", 0, 60), record("b.", 7, 60)];
        assert_eq!(found(&records).unwrap(), "b:7 for 60000 ms");
        assert!(found(&records[..2]).unwrap_err().contains("names a server"), "none is left");
        assert!(found(&[]).unwrap_err().contains("names a server"), "no record");
    }

    #[test]
    fn records_are_kept_neither_too_short_nor_too_long() {
        assert_eq!(found(&[record("a.", 1, 0)]).unwrap(), "a:1 for 5000 ms");
        assert_eq!(found(&[record("a.", 1, 86_400)]).unwrap(), "a:1 for 300000 ms");
    }

    #[test]
    fn a_cut_makes_the_next_lookup_urgent_and_a_connection_ends_that() {
        let second = |count: u64| Instant(0) + Millis(count * 1_000);
        let mut schedule = Schedule::new(second(0), Millis(60_000));
        assert_eq!(schedule.due(), second(5), "not connected yet");
        schedule.entered(SessionState::Connected);
        assert_eq!(schedule.due(), second(60), "connected");
        schedule.entered(SessionState::Disconnected);
        assert_eq!(schedule.due(), second(1), "cut: past, unless the answer is of this second");
        schedule.answered(second(30), Millis(60_000));
        assert_eq!(schedule.due(), second(35), "still cut");
        schedule.entered(SessionState::Lost);
        assert_eq!(schedule.due(), second(31), "lost");
        schedule.failed(second(31));
        assert_eq!(schedule.due(), second(36), "failed");
        schedule.entered(SessionState::Connected);
        assert_eq!(schedule.due(), second(36), "connected on the old list, which is to be replaced");
        schedule.answered(second(36), Millis(60_000));
        assert_eq!(schedule.due(), second(96), "as before");
    }

    #[tokio::test]
    async fn following_ends_with_the_session() {
        let options = SessionOptions {
            timeout: Millis(10_000),
            read_only: false,
            resume: None,
            limits: Limits { requests_max: 1, request_bytes_max: 1, answer_bytes_max: 1 },
            backoff: Backoff { first: Millis(50), max: Millis(50) },
        };
        let first = ServerRecords::of(vec![record("a.", 1, 0)]).unwrap();
        let shared = Shared::new(options, first.servers(), 1);
        let states = StateStream::new(&shared);
        let following = tokio::spawn(SrvName::new("a.".into(), None).follow(shared.clone(), states, first));
        shared.tell(Input::Detach);
        tokio::time::timeout(Duration::from_secs(10), following).await.expect("in time").unwrap();
        assert_eq!(Arc::strong_count(&shared), 1, "nothing keeps the session");
    }
}
