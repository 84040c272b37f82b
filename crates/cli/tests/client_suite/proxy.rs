//! A proxy between client and server that loses, holds back and cuts on command.
//!
//! What is held back is neither read nor lost until the connection is cut: a reply that was held when the connection
//! was cut is a reply to a request that the server has carried out and of which the client never heard.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::ensemble::Ensemble;
use crate::wait::{found, until};

/// What passes.
#[derive(Clone, Copy, Debug, Default)]
struct Gate {
    /// Connections are closed as soon as they are made.
    refuses: bool,
    /// Bytes of the client are not passed on.
    holds_requests: bool,
    /// Bytes of the server are not passed on.
    holds_replies: bool,
    /// Counts the cuts: each ends all connections made before it.
    cuts: u64,
}

/// What a test looks at.
#[derive(Debug, Default)]
struct Counters {
    /// Connections that are open.
    open: AtomicUsize,
    /// Connections that ever were.
    accepted: AtomicUsize,
    /// Bytes that the client has sent and that are held back, by all connections that are open.
    requests_held: AtomicUsize,
    /// The same of the server's bytes.
    replies_held: AtomicUsize,
}

/// A proxy in front of one server, on a port of its own. It ends with the runtime it was made on.
pub(crate) struct Proxy {
    address: SocketAddr,
    gate: watch::Sender<Gate>,
    counters: Arc<Counters>,
}

impl Proxy {
    /// Starts listening; connections go to `server`.
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (gate, passes) = watch::channel(Gate::default());
        let counters = Arc::new(Counters::default());
        tokio::spawn(accept(listener, server, passes, Arc::clone(&counters)));
        Self { address, gate, counters }
    }

    /// Where the client is to connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections; what was held is lost. New ones are accepted as before.
    pub(crate) fn cut(&self) {
        self.gate.send_modify(|gate| gate.cuts += 1);
    }

    /// Ends all connections and accepts no more.
    pub(crate) fn refuse(&self) {
        self.gate.send_modify(|gate| {
            gate.refuses = true;
            gate.cuts += 1;
        });
    }

    /// Holds back what the server sends from now on.
    pub(crate) fn hold_replies(&self) {
        self.gate.send_modify(|gate| gate.holds_replies = true);
    }

    /// Holds back what the client sends from now on.
    pub(crate) fn hold_requests(&self) {
        self.gate.send_modify(|gate| gate.holds_requests = true);
    }

    /// Holds back everything: no end learns that the other is out of reach.
    pub(crate) fn black_hole(&self) {
        self.gate.send_modify(|gate| {
            gate.holds_requests = true;
            gate.holds_replies = true;
        });
    }

    /// Passes everything on, and what was held first.
    pub(crate) fn open(&self) {
        self.gate.send_modify(|gate| {
            gate.refuses = false;
            gate.holds_requests = false;
            gate.holds_replies = false;
        });
    }

    /// Number of connections that are open.
    pub(crate) fn connections(&self) -> usize {
        self.counters.open.load(Ordering::SeqCst)
    }

    /// Number of connections that were ever accepted.
    pub(crate) fn accepted(&self) -> usize {
        self.counters.accepted.load(Ordering::SeqCst)
    }

    /// Waits until the client has asked something that is held back.
    pub(crate) async fn request_held(&self) {
        until("a request is held back", async || self.counters.requests_held.load(Ordering::SeqCst) > 0).await;
    }

    /// Waits until the server has answered something that is held back.
    pub(crate) async fn reply_held(&self) {
        until("a reply is held back", async || self.counters.replies_held.load(Ordering::SeqCst) > 0).await;
    }
}

/// Two proxies, in front of two servers if there are as many, and both addresses as a client wants them.
pub(crate) async fn in_front_of(ensemble: &Ensemble) -> ([Proxy; 2], String) {
    let first = Proxy::start(ensemble.member_address(0)).await;
    let second = Proxy::start(ensemble.member_address(ensemble.len() - 1)).await;
    let servers = format!("{},{}", first.address(), second.address());
    ([first, second], servers)
}

/// The proxy through which the only client is connected.
pub(crate) async fn used(proxies: &[Proxy; 2]) -> usize {
    found("a connection", async || {
        let open: Vec<usize> = (0..2).filter(|index| proxies[*index].connections() > 0).collect();
        if let [only] = open[..] { Some(only) } else { None }
    })
    .await
}

async fn accept(listener: TcpListener, server: SocketAddr, passes: watch::Receiver<Gate>, counters: Arc<Counters>) {
    while let Ok((client, _from)) = listener.accept().await {
        counters.accepted.fetch_add(1, Ordering::SeqCst);
        if passes.borrow().refuses {
            continue;
        }
        tokio::spawn(carry(client, server, passes.clone(), Arc::clone(&counters)));
    }
}

/// Carries one connection until either end closes it or it is cut.
async fn carry(client: TcpStream, server: SocketAddr, passes: watch::Receiver<Gate>, counters: Arc<Counters>) {
    let cuts_before = passes.borrow().cuts;
    let mut gate = passes.clone();
    let Ok(server) = TcpStream::connect(server).await else { return };
    counters.open.fetch_add(1, Ordering::SeqCst);
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let requests = HeldBytes { of_all: &counters.requests_held, of_this: 0 };
    let replies = HeldBytes { of_all: &counters.replies_held, of_this: 0 };
    tokio::select! {
        biased; // what is held when a connection is cut is lost, even if the gate opens in the same moment
        _cut = gate.wait_for(|gate| gate.cuts != cuts_before) => {}
        () = pump(from_client, to_server, passes.clone(), |gate| gate.holds_requests, requests) => {}
        () = pump(from_server, to_client, passes, |gate| gate.holds_replies, replies) => {}
    }
    counters.open.fetch_sub(1, Ordering::SeqCst);
}

/// The bytes that one connection holds back, as part of the sum over all; gone with the connection.
struct HeldBytes<'a> {
    of_all: &'a AtomicUsize,
    of_this: usize,
}

impl HeldBytes<'_> {
    fn set(&mut self, bytes: usize) {
        self.of_all.fetch_add(bytes, Ordering::SeqCst);
        self.of_all.fetch_sub(self.of_this, Ordering::SeqCst);
        self.of_this = bytes;
    }
}

impl Drop for HeldBytes<'_> {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Passes bytes on in one direction, piece by piece, while the gate lets them.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut passes: watch::Receiver<Gate>,
    holds: fn(&Gate) -> bool,
    mut held: HeldBytes<'_>,
) {
    let mut piece = vec![0; 64 * 1024];
    loop {
        let Ok(length @ 1..) = from.read(&mut piece).await else { return };
        if holds(&passes.borrow()) {
            held.set(length);
        }
        if passes.wait_for(|gate| !holds(gate)).await.is_err() || to.write_all(&piece[..length]).await.is_err() {
            return;
        }
        held.set(0);
    }
}
