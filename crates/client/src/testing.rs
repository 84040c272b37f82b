//! A server inside the test, for programs that are tested against one (feature `testing`).
//!
//! It is the real server with its log and its snapshots, on threads of its own, on a free port of this machine, with a
//! temporary directory as its data. It is there in milliseconds, and what a test cannot make happen to a server
//! elsewhere happens on demand: it stops, comes back with its data, expires a session. No two of them meet: tests run
//! side by side.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), gk_client::testing::ServeError> {
//! use gk_client::testing::Server;
//!
//! let mut server = Server::start().await?;
//! let program_under_test = |servers: String| assert!(servers.starts_with("127.0.0.1:"), "one server: {servers}");
//! program_under_test(server.connect_string());
//!
//! server.stop().await?; // its connections break …
//! server.restart().await?; // … and here it is again, on the same port with the same data
//! # Ok(())
//! # }
//! ```
//!
//! Writes do not wait for the disk, so this server says nothing about how fast another is. TTL nodes are switched on.
//! Session timeouts may be as short as 200 ms.
//!
//! Not done here: ensembles.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use gk_proto::{Millis, SessionId};
use gk_server::Config;
use gk_server::config::{ListenAddress, ListenHost};
use gk_server::words::Whitelist;
use socket2::{Domain, Protocol, Socket, Type};
use tempfile::TempDir;

pub use gk_server::ServeError;

/// A server for tests. Dropping it stops it and removes its data; that takes some milliseconds, during which the thread
/// that drops it waits.
#[derive(Debug)]
pub struct Server {
    // Dropped in this order: nothing uses the directory or the port any more when they go.
    running: Option<gk_server::Server>,
    config: Config,
    port: ReservedPort,
    directory: TempDir,
}

impl Server {
    /// Starts a server as [`Server::builder`] has it.
    ///
    /// # Errors
    /// The system refuses a temporary directory, a port or a thread.
    pub async fn start() -> Result<Self, ServeError> {
        Self::builder().start().await
    }

    /// A server that is not quite like the one of [`Server::start`].
    pub fn builder() -> ServerBuilder {
        ServerBuilder { tick: None, session_timeouts: None, words: None }
    }

    /// What a client is given to connect to this server: `127.0.0.1:PORT`, the same for as long as the server exists.
    pub fn connect_string(&self) -> String {
        self.address().to_string()
    }

    /// Where the server listens while it runs.
    pub fn address(&self) -> SocketAddr {
        self.port.address
    }

    /// Its data directory, for tests that look at files. It is removed with the server.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Ends a session as if its client had been silent for longer than its timeout: its ephemeral nodes are deleted, and
    /// its connection is closed without a word. True once the session is gone; false if this server has no such
    /// session, if the session is ending already, or if the server does not run.
    pub async fn expire_session(&self, session: SessionId) -> bool {
        let Some(running) = &self.running else { return false };
        running.expire_session(session).await
    }

    /// Stops the server: connections break, and nobody listens on its port until [`Server::restart`]. Data and sessions
    /// are kept; no session expires meanwhile. A server that does not run stays as it is.
    ///
    /// # Errors
    /// The server had ended by itself, or the disk failed.
    pub async fn stop(&mut self) -> Result<(), ServeError> {
        let Some(running) = self.running.take() else { return Ok(()) };
        running.stop().await
    }

    /// Starts the server again on the same port with the same data, after stopping it if it runs. Each session has its
    /// full timeout to reconnect.
    ///
    /// # Errors
    /// As [`Server::stop`] and [`Server::start`].
    pub async fn restart(&mut self) -> Result<(), ServeError> {
        self.stop().await?;
        self.running = Some(gk_server::Server::start(self.config.clone()).await?);
        Ok(())
    }
}

/// What a [`Server`] is to be like.
#[derive(Clone, Debug)]
#[must_use = "nothing starts before `start` is awaited"]
pub struct ServerBuilder {
    tick: Option<Duration>,
    session_timeouts: Option<RangeInclusive<Duration>>,
    words: Option<String>,
}

impl ServerBuilder {
    /// The server's unit of time, in whole milliseconds, at least one; 100 ms unless set. Sessions expire on multiples of
    /// it, and their timeouts are at least two of it unless [`Self::session_timeouts`] says otherwise.
    pub fn tick(mut self, tick: Duration) -> Self {
        self.tick = Some(tick);
        self
    }

    /// The timeouts that a session may have; what a client asks for is moved into this range. From 200 ms to a minute
    /// unless set.
    pub fn session_timeouts(mut self, range: RangeInclusive<Duration>) -> Self {
        self.session_timeouts = Some(range);
        self
    }

    /// The four-letter words that are answered, separated by commas, or `*` for all; `srvr,ruok,isro` unless set.
    pub fn words(mut self, words: &str) -> Self {
        self.words = Some(words.to_owned());
        self
    }

    /// Starts the server; clients can connect once this is done.
    ///
    /// # Errors
    /// The system refuses a temporary directory, a port or a thread.
    pub async fn start(self) -> Result<Server, ServeError> {
        let refused = |what| move |source| ServeError::System { what, source };
        let directory =
            tempfile::Builder::new().prefix("gamekeeper-").tempdir().map_err(refused("make a temporary directory"))?;
        let port = ReservedPort::new().map_err(refused("reserve a port"))?;
        let config = self.config(&directory, port.address);
        let mut server = Server { running: None, config, port, directory };
        server.restart().await?;
        Ok(server)
    }

    fn config(self, directory: &TempDir, address: SocketAddr) -> Config {
        let mut config = Config::embedded(directory.path().to_owned());
        config.listen_on(ListenAddress { host: ListenHost::Named(address.ip().to_string()), port: address.port() });
        if let Some(tick) = self.tick {
            config.sessions.tick = Millis(millis(tick).0.max(1));
            config.sessions.timeout_min = Millis(config.sessions.tick.0.saturating_mul(2));
        }
        if let Some(range) = self.session_timeouts {
            config.sessions.timeout_min = millis(*range.start());
            config.sessions.timeout_max = millis(*range.end());
        }
        if let Some(words) = self.words {
            config.clients.words = Whitelist::of(&words);
        }
        config
    }
}

fn millis(span: Duration) -> Millis {
    Millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

/// A port of this machine that the system gives to nobody else, also while the server that uses it is stopped: a socket
/// that is bound and does not listen. Whoever connects meanwhile is refused.
#[derive(Debug)]
struct ReservedPort {
    address: SocketAddr,
    _bound: Socket,
}

impl ReservedPort {
    fn new() -> std::io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        // The server binds the port as well, which Linux allows as both say so and this one does not listen.
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        let address = socket.local_addr()?.as_socket().ok_or(std::io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { address, _bound: socket })
    }
}
