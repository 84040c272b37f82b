//! The task of one client connection: moves bytes between the socket and the connection's machine.
//!
//! A connection that idles holds no buffers: reading and writing use those of its thread, and only what the socket
//! would not take, or half a frame, is kept. All frames that one read brought are answered by one write.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use gk_node::conn::{Conn, Effect, Input, Latency};
use gk_node::{Connect, Request};
use gk_proto::{Instant, Millis};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::farewell;
use crate::inbox::Event;
use crate::link::Link;
use crate::report;
use crate::shard;
use crate::shared::Shared;

/// Bytes read at once.
const READ_BUFFER: usize = 64 << 10;
/// Bytes of a request that count as hearing from its client before it is whole. One that sends a byte now and then does not
/// keep its session by that.
const HEARD_BYTES_MIN: usize = 1024;
/// A connection that has been served for so long lets the others of its thread go first.
const TURN_MAX: Millis = Millis(1);
/// A thread's output buffer that grew beyond this for one reply is given back.
const WRITE_BUFFER_KEPT: usize = 256 << 10;

/// What the connections of one thread share: only one of them runs at a time.
struct Scratch {
    input: Vec<u8>,
    out: Vec<u8>,
}

impl Scratch {
    /// Writes what the socket takes of `out`, and appends the rest to `unsent`. Nothing stays here, also when the socket
    /// is gone: it would go to the next connection of this thread.
    fn send_to(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
        unsent: &mut Vec<u8>,
    ) -> Result<(), Gone> {
        let mut at = 0;
        let sent = loop {
            let rest = self.out.get(at..).unwrap_or_default();
            if rest.is_empty() {
                break Ok(());
            }
            match Pin::new(&mut *stream).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => break Err(Gone::Lost),
                Poll::Ready(Err(failed)) => break Err(Gone::Broken(failed)),
                Poll::Ready(Ok(taken)) => at += taken,
                Poll::Pending => {
                    unsent.extend_from_slice(rest);
                    break Ok(());
                }
            }
        };
        self.out.clear();
        self.out.shrink_to(WRITE_BUFFER_KEPT);
        sent
    }
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        input: vec![0; READ_BUFFER],
        out: Vec::new(),
    });
}

/// One connection.
pub(crate) struct Task {
    shared: Arc<Shared>,
    link: Arc<Link>,
    stream: TcpStream,
    conn: Conn,
    /// What the socket would not take.
    unsent: Vec<u8>,
    /// Bytes of requests that wait here or at the node, as counted for the whole server.
    held_bytes: usize,
    /// Bytes of a request that did not count as hearing from the client.
    unheard: usize,
    /// The answer to a four-letter word that somebody else prepares.
    word: Option<oneshot::Receiver<String>>,
    closing: bool,
}

/// What the machine wants that is done once the guard of the tree is released.
#[derive(Default)]
struct Wanted {
    requests: Vec<Request>,
    word: Option<([u8; 4], Option<i64>)>,
}

/// The socket is of no more use.
enum Gone {
    /// This side ends the connection.
    Closed,
    /// The client has ended it.
    Lost,
    /// It broke.
    Broken(io::Error),
}

/// Has the task polled again, after the runtime has looked at all other sockets of this thread and served what came.
fn step_aside(cx: &mut Context<'_>) {
    let yielding = std::pin::pin!(tokio::task::yield_now());
    assert!(yielding.poll(cx).is_pending(), "yielding takes a second poll");
}

/// Serves the connection until it ends. A future by hand: an async function would keep a second copy of everything.
impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.link.register(cx.waker());
        match SCRATCH.with_borrow_mut(|scratch| self.turn(cx, scratch)) {
            Poll::Ready(Err(gone)) => {
                self.tell(&gone);
                self.end();
                Poll::Ready(())
            }
            Poll::Ready(Ok(())) => unreachable!("a turn ends with the socket or waits"),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Task {
    pub(crate) fn new(shared: Arc<Shared>, link: Arc<Link>, stream: TcpStream, conn: Conn) -> Self {
        Self { shared, link, stream, conn, unsent: Vec::new(), held_bytes: 0, unheard: 0, word: None, closing: false }
    }

    /// Has the log say how the connection ended, unless it was this side that closed it for reasons of its own.
    fn tell(&mut self, gone: &Gone) {
        if let Some(complaint) = self.conn.take_complaint() {
            return farewell::complained(&self.link, &complaint, &self.shared);
        }
        match gone {
            Gone::Closed => {}
            Gone::Lost | Gone::Broken(_) if self.closing => {}
            Gone::Lost => farewell::lost(&self.link, &self.shared),
            Gone::Broken(error) => farewell::broken(&self.link, error, &self.shared),
        }
    }

    /// Removes every trace of the connection but its session.
    fn end(&self) {
        self.shared.links.write().remove(&self.link.id);
        self.shared.watches.lock().drop_conn(self.link.id);
        self.shared.stats.outstanding_bytes.fetch_sub(self.held_bytes, Ordering::Relaxed);
        if let Some(session) = self.conn.session() {
            let (conn, heard) = (self.link.id, self.link.last_heard());
            shard::send(Event::Disconnected { conn, session, heard }, &self.shared.inbox);
        }
    }

    /// Goes on until there is nothing to do but wait, or until it is time for the other connections of this thread.
    fn turn(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<Result<(), Gone>> {
        let mut began = None;
        loop {
            if self.link.is_aborted() {
                return Poll::Ready(Err(Gone::Closed));
            }
            ready!(self.flush_unsent(cx))?;
            if self.closing {
                ready!(self.finish_word(cx))?;
                return Poll::Ready(Err(Gone::Closed));
            }
            let at = if self.link.is_ready() || self.conn.has_backlog() {
                self.serve(0, scratch)
            } else if self.conn.wants_bytes() && !self.must_wait() {
                let mut buffer = ReadBuf::new(&mut scratch.input);
                match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                    Ok(()) if buffer.filled().is_empty() => return Poll::Ready(Err(Gone::Lost)),
                    Ok(()) => {}
                    Err(failed) => return Poll::Ready(Err(Gone::Broken(failed))),
                }
                let length = buffer.filled().len();
                self.serve(length, scratch)
            } else {
                return Poll::Pending;
            };
            self.send(cx, scratch)?;
            if *began.get_or_insert(at) + TURN_MAX <= at {
                step_aside(cx);
                return Poll::Pending;
            }
        }
    }

    /// Whether the server has more to do than it may take on, and this connection will be woken by an answer.
    fn must_wait(&self) -> bool {
        let (stats, limits) = (&self.shared.stats, &self.shared.config.requests);
        let is_full = stats.outstanding.load(Ordering::Relaxed) > limits.outstanding_max
            || stats.outstanding_bytes.load(Ordering::Relaxed) > limits.outstanding_bytes_max;
        is_full && self.conn.queued() > 0
    }

    /// Hands deliveries, then `length` bytes of input, to the machine, all under one guard of the tree. When it began.
    fn serve(&mut self, length: usize, scratch: &mut Scratch) -> Instant {
        let Scratch { input, out } = scratch;
        let now = self.shared.clock.instant();
        if self.link.take_stats_reset() {
            self.conn.reset_stats();
        }
        let before = self.counters();
        let mut wanted = Wanted::default();
        {
            let shared = self.shared.clone();
            let world = shared.world();
            for delivery in self.link.take() {
                self.conn.handle(now, Input::Deliver(delivery), &world, out);
                self.effects(&mut wanted);
            }
            let input = match input.get(..length) {
                Some(bytes) if !bytes.is_empty() => Input::Bytes(bytes),
                Some(_) | None => Input::Continue,
            };
            self.conn.handle(now, input, &world, out);
            self.effects(&mut wanted);
        }
        self.unheard += length;
        if self.conn.stats().received != before.0 || self.unheard >= HEARD_BYTES_MIN {
            self.link.heard(now);
            self.unheard = 0;
        }
        if !wanted.requests.is_empty() {
            shard::send(Event::Requests(wanted.requests), &self.shared.inbox);
        }
        if let Some((word, argument)) = wanted.word {
            match report::answer(word, argument, &self.shared, &self.link) {
                report::Answer::Text(text) => out.extend_from_slice(text.as_bytes()),
                report::Answer::Later(receiver) => self.word = Some(receiver),
            }
        }
        if self.closing {
            self.link.set_closing(now);
        }
        self.publish(before);
        now
    }

    fn effects(&mut self, wanted: &mut Wanted) {
        while let Some(effect) = self.conn.poll_effect() {
            match effect {
                Effect::Request(request) => wanted.requests.push(request),
                Effect::Connect(connect) => self.connect(connect),
                Effect::Authenticated(ids) => {
                    let mut known = self.link.ids.lock();
                    // A client may say who it is over and over: it earns nothing by it, and no line either.
                    if *known != ids {
                        farewell::authenticated(&self.link, &ids);
                    }
                    *known = ids;
                }
                Effect::Close => self.closing = true,
                Effect::Word { word, argument } => {
                    self.closing = true;
                    wanted.word = Some((word, argument));
                }
            }
        }
        if let Some(session) = self.conn.session() {
            self.link.set_session(session);
        }
    }

    fn connect(&mut self, connect: Connect) {
        if self.shared.throttle.take(self.shared.clock.instant()) {
            shard::send(Event::Connect(connect), &self.shared.inbox);
        } else {
            self.shared.stats.connections_rejected.fetch_add(1, Ordering::Relaxed);
            self.closing = true;
        }
    }

    /// Writes what there is with one call; the rest is kept.
    fn send(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<(), Gone> {
        scratch.send_to(&mut self.stream, cx, &mut self.unsent)
    }

    /// Sends what the socket would not take before. Meanwhile the client is not read, so taking counts as speaking: its
    /// pings wait behind what it asked for.
    fn flush_unsent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let mut at = 0;
        while at < self.unsent.len() {
            match Pin::new(&mut self.stream).poll_write(cx, self.unsent.get(at..).unwrap_or_default()) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(Gone::Lost)),
                Poll::Ready(Err(failed)) => return Poll::Ready(Err(Gone::Broken(failed))),
                Poll::Ready(Ok(n)) => {
                    at += n;
                    self.link.heard(self.shared.clock.instant());
                }
                Poll::Pending => {
                    self.unsent.drain(..at);
                    return Poll::Pending;
                }
            }
        }
        self.unsent = Vec::new();
        Poll::Ready(Ok(()))
    }

    /// Waits for the text of a four-letter word that was not at hand, and sends it.
    fn finish_word(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let Some(receiver) = &mut self.word else { return Poll::Ready(Ok(())) };
        let text = ready!(Pin::new(receiver).poll(cx));
        self.word = None;
        self.unsent = text.unwrap_or_default().into_bytes();
        self.flush_unsent(cx)
    }

    fn counters(&self) -> (u64, u64, Latency) {
        let stats = self.conn.stats();
        (stats.received, stats.sent, stats.latency)
    }

    /// Lets the rest of the server see the counters.
    fn publish(&mut self, (received, sent, latency): (u64, u64, Latency)) {
        let held_bytes = self.conn.held_bytes();
        if held_bytes != self.held_bytes {
            // Added first: the sum of all never goes below zero.
            self.shared.stats.outstanding_bytes.fetch_add(held_bytes, Ordering::Relaxed);
            self.shared.stats.outstanding_bytes.fetch_sub(self.held_bytes, Ordering::Relaxed);
            self.held_bytes = held_bytes;
        }
        let stats = self.conn.stats();
        self.shared.stats.add(stats.received - received, stats.sent - sent, &latency, &stats.latency);
        let mut published = self.link.published.lock();
        published.stats.clone_from(self.conn.stats());
        published.queued = self.conn.queued();
        published.timeout_ms = self.conn.timeout_ms();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `room` bytes, then none; or, once closed, fails.
    struct Socket {
        room: usize,
        closed: bool,
    }

    impl AsyncWrite for Socket {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
            if self.closed {
                return Poll::Ready(Err(std::io::ErrorKind::ConnectionReset.into()));
            }
            let taken = bytes.len().min(self.room);
            self.room -= taken;
            if taken == 0 { Poll::Pending } else { Poll::Ready(Ok(taken)) }
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn write(room: usize, closed: bool, scratch: &mut Scratch) -> (bool, Vec<u8>) {
        let mut unsent = Vec::new();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let sent = scratch.send_to(&mut Socket { room, closed }, &mut cx, &mut unsent);
        (sent.is_ok(), unsent)
    }

    /// A reply to a client that had reset its connection went to the next client that the thread served.
    #[test]
    fn replies_to_a_client_that_has_gone_go_to_nobody() {
        let mut scratch = Scratch { input: Vec::new(), out: b"secret".to_vec() };
        assert_eq!(write(0, true, &mut scratch), (false, Vec::new()), "the socket is gone");
        assert!(scratch.out.is_empty(), "nothing is left for another connection");
    }

    #[test]
    fn what_the_socket_does_not_take_is_kept_for_its_connection() {
        let mut scratch = Scratch { input: Vec::new(), out: b"replies".to_vec() };
        assert_eq!(write(3, false, &mut scratch), (true, b"lies".to_vec()), "the rest waits");
        assert!(scratch.out.is_empty(), "in the connection, not in the thread's buffer");
    }
}
