//! Accepting client connections, within limits, and ending those that never say hello.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gk_node::Delivery;
use gk_node::auth::ip_id;
use gk_node::conn::Conn;
use gk_proto::{ConnId, SessionId};
use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tracing::{info, warn};

use crate::config::ListenAddress;
use crate::error::ServeError;
use crate::link::Link;
use crate::shared::Shared;
use crate::task::Task;
use crate::throttle::Remarks;

/// File descriptors kept for everything that is not a client connection.
const FILES_RESERVED: u64 = 64;
/// Accept queue where the configuration does not say: the largest that Linux takes by default.
const BACKLOG: i32 = 4096;
/// Pause after an error of accept, most often of a process without file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// How often connections without a session are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Binds the client port: an IPv4 address must succeed, a second address (IPv6) may be missing on this machine.
pub(crate) fn bind(address: &ListenAddress, backlog: Option<u32>) -> Result<Vec<std::net::TcpListener>, ServeError> {
    let text = address.to_string();
    let mut addresses = address.resolve().map_err(|source| ServeError::Resolve { address: text.clone(), source })?;
    let mut listeners: Vec<std::net::TcpListener> = Vec::new();
    for wanted in &mut addresses {
        // A port that the system chose for the first address serves the second too.
        if let Some(port) = listeners.first().and_then(|first| first.local_addr().ok()) {
            wanted.set_port(port.port());
        }
        match bind_one(*wanted, backlog) {
            Ok(listener) => {
                info!("binding to port {}", listener.local_addr().unwrap_or(*wanted));
                listeners.push(listener);
            }
            Err(source) if listeners.is_empty() => return Err(ServeError::Listen { address: text, source }),
            Err(source) => info!("not listening on {wanted}: {source}"),
        }
    }
    Ok(listeners)
}

fn bind_one(address: SocketAddr, backlog: Option<u32>) -> std::io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(backlog.and_then(|backlog| i32::try_from(backlog).ok()).unwrap_or(BACKLOG))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Gives out numbers and counts connections by address.
pub(crate) struct Door {
    shared: Arc<Shared>,
    next: AtomicU64,
    total_max: usize,
    /// About connections that are turned away.
    remarks: Mutex<Remarks>,
}

impl Door {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let by_files = usize::try_from(raise_file_limit().saturating_sub(FILES_RESERVED)).unwrap_or(usize::MAX).max(1);
        let total_max = shared.config.clients.total_max.unwrap_or(usize::MAX).min(by_files);
        Self { shared, next: AtomicU64::new(1), total_max, remarks: Mutex::new(Remarks::new(1)) }
    }

    /// Accepts until the runtime ends. An error of accept costs one pause and never the listener.
    pub(crate) async fn accept(&self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, remote)) => self.admit(stream, remote),
                Err(failed) => {
                    warn!("cannot accept a client connection: {failed}");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream, remote: SocketAddr) {
        let shared = &self.shared;
        if shared.is_stopping() || !self.has_room(remote) {
            shared.stats.connections_rejected.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if self.prepare(&stream).is_err() {
            return;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = ConnId(number);
        let shards = u64::try_from(shared.shards.len()).unwrap_or(1);
        let shard = usize::try_from(number % shards).unwrap_or(0);
        let ids = Arc::new([ip_id(remote.ip())]);
        let link = Arc::new(Link::new(id, remote, shard, shared.clock.instant(), ids));
        let conn = Conn::new(id, remote.ip(), shared.node_config.clone(), shared.rules.clone());
        shared.links.write().insert(id, link.clone());
        let Some(home) = shared.shards.get(shard) else { return };
        let moved = stream.into_std().and_then(|stream| {
            let _home = home.handle.enter();
            TcpStream::from_std(stream)
        });
        match moved {
            Ok(stream) => {
                home.handle.spawn(Task::new(shared.clone(), link, stream, conn));
            }
            Err(failed) => {
                warn!("cannot serve {remote}: {failed}");
                shared.links.write().remove(&id);
            }
        }
    }

    fn prepare(&self, stream: &TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        if self.shared.config.clients.tcp_keepalive {
            socket2::SockRef::from(stream).set_keepalive(true)?;
        }
        Ok(())
    }

    fn has_room(&self, remote: SocketAddr) -> bool {
        let ip = remote.ip();
        let per_address_max = self.shared.config.clients.per_address_max;
        let (all, same) = {
            let links = self.shared.links.read();
            let same = || links.values().filter(|link| link.remote.ip() == ip).count();
            (links.len(), per_address_max.map_or(0, |_| same()))
        };
        if all >= self.total_max {
            if let Some(others) = self.remarks.lock().allow(self.shared.clock.instant()) {
                let max = self.total_max;
                warn!("Too many connections: {all} of at most {max}; {remote} is turned away, and {others} before it");
            }
            return false;
        }
        let Some(max) = per_address_max else { return true };
        if same >= max
            && let Some(others) = self.remarks.lock().allow(self.shared.clock.instant())
        {
            warn!("Too many connections from {ip} - max is {max}; {others} were turned away before it");
        }
        same < max
    }

    /// Ends connections that have no session after the configured time, and those that end and do not take what is
    /// left for them.
    pub(crate) async fn sweep(&self) {
        let limit = self.shared.config.clients.sessionless_timeout;
        let mut told = BTreeSet::new();
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            let now = self.shared.clock.instant();
            let mut tell_next = BTreeSet::new();
            for link in self.shared.all_links() {
                if link.is_told_to_close() && link.closing_since().is_none() {
                    link.set_closing(now);
                }
                let silent = link.session() == SessionId::NONE && link.opened + limit <= now;
                if told.contains(&link.id) || link.closing_since().is_some_and(|since| since + limit <= now) {
                    link.abort();
                } else if silent {
                    link.push(Delivery::Close);
                    link.wake();
                    tell_next.insert(link.id);
                }
            }
            told = tell_next;
        }
    }
}

/// Raises the soft limit of open files to the hard one; the limit that holds then.
fn raise_file_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: now.maximum, maximum: now.maximum };
    let limit = if setrlimit(Resource::Nofile, raised).is_ok() { now.maximum } else { now.current };
    limit.unwrap_or(u64::MAX)
}
