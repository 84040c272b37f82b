//! Options of a client, and how one comes to be.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gk_proto::Instant;
use tracing::Instrument as _;

use crate::client::Client;
use crate::clock::{Clock, millis};
use crate::core::{Backoff, Identity, Input, Limits, SessionOptions, SessionState};
use crate::driver::Driver;
use crate::error::Error;
use crate::servers::{ConnectString, ServerSource};
use crate::shared::Shared;
use crate::srv::SrvName;
use crate::states::StateStream;

/// Options of a client. Made by [`Client::builder`].
#[derive(Clone, Debug)]
#[must_use = "nothing happens before `connect`"]
pub struct ClientBuilder {
    session_timeout: Duration,
    connect_timeout: Option<Duration>,
    read_only: bool,
    resume: Option<Identity>,
    auths: Vec<(String, Secret)>,
    limits: Limits,
    request_bytes_max: usize,
    watch_events_max: usize,
    backoff: Backoff,
    dns_server: Option<SocketAddr>,
}

impl ClientBuilder {
    pub(crate) fn new() -> Self {
        Self {
            session_timeout: Duration::from_secs(30),
            connect_timeout: None,
            read_only: false,
            resume: None,
            auths: Vec::new(),
            limits: Limits {
                requests_max: 100_000,
                request_bytes_max: 256 * 1024 * 1024,
                answer_bytes_max: 128 * 1024 * 1024,
            },
            request_bytes_max: 0xf_ffff,
            watch_events_max: 10_000,
            backoff: Backoff { first: millis(Duration::from_millis(50)), max: millis(Duration::from_secs(5)) },
            dns_server: None,
        }
    }

    /// The session timeout to ask for (30 s): so long after its client has gone silent, a session's ephemeral nodes go.
    /// Servers grant between 2 and 20 of their ticks, 4 s to 40 s by default: see [`Client::session_timeout`].
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.session_timeout = timeout;
        self
    }

    /// How long [`ClientBuilder::connect`] tries (the session timeout); the lookup of a DNS name is part of it.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = Some(timeout);
        self
    }

    /// Whether a read-only server will do (no): one that has lost its quorum and serves reads, which may be old. Meanwhile
    /// the client looks for one that takes writes, and moves there.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Resumes a session in place of making one: [`Client::identity`] of a client that was [detached](Client::detach),
    /// or whose process has died. Watches are not resumed: they were the old client's.
    pub fn resume(mut self, identity: Identity) -> Self {
        self.resume = Some(identity);
        self
    }

    /// Authenticates before anything else, see [`Client::auth`]. May be called again for further identities.
    pub fn auth(mut self, scheme: &str, auth: impl AsRef<[u8]>) -> Self {
        self.auths.push((scheme.to_owned(), Secret(auth.as_ref().to_vec())));
        self
    }

    /// How many requests may wait for their answers (100,000), those included that wait to be sent while there is no
    /// connection. A further one fails with [`Error::TooManyRequests`].
    pub fn requests_max(mut self, count: usize) -> Self {
        self.limits.requests_max = count;
        self
    }

    /// The longest request in bytes (1,048,575, as servers have it by default). Give what the servers' `jute.maxbuffer`
    /// says: a longer request fails with [`Error::BadArgument`], where a server would end the connection.
    pub fn request_bytes_max(mut self, bytes: usize) -> Self {
        self.request_bytes_max = bytes.min(i32::MAX.unsigned_abs() as usize / 2);
        self
    }

    /// The longest answer in bytes (128 MiB). A longer one fails its request and ends the connection.
    pub fn answer_bytes_max(mut self, bytes: usize) -> Self {
        self.limits.answer_bytes_max = bytes;
        self
    }

    /// How many events a [`crate::WatchStream`] keeps that is not read (10,000). Further ones are dropped, and a
    /// [`crate::WatchItem::Missed`] stands in their place.
    pub fn watch_events_max(mut self, count: usize) -> Self {
        self.watch_events_max = count.max(1);
        self
    }

    /// Waits between attempts to connect: none within the first round of the servers, then `first` (50 ms), doubled each
    /// round up to `max` (5 s, or a sixth of the session timeout if that is shorter), each cut at random by up to half.
    pub fn backoff(mut self, first: Duration, max: Duration) -> Self {
        self.backoff = Backoff { first: millis(first), max: millis(max) };
        self
    }

    /// The name server that is asked for the SRV records of a `dns-srv://` connect string (those of the system). The
    /// hosts in the records are resolved by the system all the same. Needs the cargo feature `srv`.
    #[cfg(feature = "srv")]
    pub fn dns_server(mut self, address: SocketAddr) -> Self {
        self.dns_server = Some(address);
        self
    }

    /// Connects, and returns once a server has accepted the session. See [`Client::connect`].
    ///
    /// # Errors
    /// [`Error::BadServers`]; [`Error::NotConnected`] with what each server said, or why a DNS name gave no servers;
    /// [`Error::SessionExpired`] if the session to resume is over; [`Error::AuthFailed`]; [`Error::BadArgument`] outside
    /// a tokio runtime.
    pub async fn connect(self, servers: &str) -> Result<Client, Error> {
        let parsed: ConnectString = servers.parse()?;
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| Error::BadArgument {
            what: "a client needs a tokio runtime: call connect within one, or use gk_client::blocking".to_owned(),
        })?;
        let within = self.connect_timeout.unwrap_or(self.session_timeout);
        let deadline = Clock::start().runtime(Instant(0) + millis(within));
        let span = tracing::info_span!("zookeeper", servers);
        let (source, chroot) = parsed.into_parts();
        let dns_name = source.dns_name().cloned();
        let (list, followed) = match source {
            ServerSource::Listed(list) => (list, None),
            ServerSource::DnsName(name) => {
                let name = SrvName::new(name, self.dns_server);
                let found = name.first(within).instrument(span.clone()).await?;
                (found.servers(), Some((name, found)))
            }
        };
        let options = SessionOptions {
            timeout: millis(self.session_timeout),
            read_only: self.read_only,
            resume: self.resume,
            limits: self.limits,
            backoff: self.backoff,
        };
        let shared = Shared::new(options, list, self.watch_events_max);
        let client = Client::new(shared.clone(), chroot, dns_name, self.request_bytes_max);
        let states = client.states();
        for (scheme, auth) in &self.auths {
            // Its failure ends the session, which is what is waited for below.
            drop(client.auth(scheme, &auth.0));
        }
        if let Some((name, found)) = followed {
            runtime.spawn(name.follow(shared.clone(), client.states(), found).instrument(span.clone()));
        }
        runtime.spawn(Driver::new(shared.clone()).instrument(span));
        match tokio::time::timeout_at(deadline, first_connection(states)).await {
            Ok(SessionState::Connected | SessionState::ConnectedReadOnly) => Ok(client),
            Ok(ended) if ended.is_final() => Err(Error::of_state(ended)),
            Ok(_) | Err(_) => Err(not_connected(&shared, within)),
        }
    }
}

/// Bytes that are not shown.
#[derive(Clone)]
struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// The first state that says whether there is a session.
async fn first_connection(mut states: StateStream) -> SessionState {
    while let Some(state) = states.next().await {
        if state.is_connected() || state.is_final() {
            return state;
        }
    }
    SessionState::Closed
}

fn not_connected(shared: &Arc<Shared>, within: Duration) -> Error {
    let attempts = shared.look(|state| state.attempts());
    shared.tell(Input::Detach);
    Error::NotConnected { waited_ms: millis(within).0, attempts }
}
