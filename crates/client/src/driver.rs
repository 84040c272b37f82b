//! The task of a session: it owns the socket and lets time pass. All else is the machine's ([`crate::core`]).
//!
//! After a batch of answers it steps aside, to the end of the runtime's queue: the tasks that they woke make their next
//! requests meanwhile, and all of them leave with one system call. A large batch is taken in parts, so that the server is at
//! work on one while the next is made. Where a single request is under way there is nobody to wait for, and on a runtime
//! with several threads stepping aside would wake another one.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use gk_proto::{ConnId, Instant, Millis};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use crate::core::{Input, ServerAddress};
use crate::dial::{dial, takes_writes};
use crate::shared::{Command, Shared};

/// Bytes taken from the socket, or put into it, by one call.
const PIECE: usize = 64 * 1024;
/// Pieces read before other tasks of the runtime get their turn.
const PIECES_A_TURN: usize = 16;
/// Tasks woken before what they ask is sent: the server works on it while the next are woken.
const WOKEN_AT_ONCE: usize = 64;
/// How long a server has to answer `isro`.
const PROBE_TIME: Millis = Millis(1_000);

/// What it means when a server takes a connection and ends it in place of answering the handshake.
const TURNED_AWAY: &str = "it ended the connection without an answer: it does not serve (no quorum, or read-only), has \
                           not caught up with what this client has seen, or has too many connections";

thread_local! {
    /// Shared by all sessions of a thread, so that an idle one holds no buffer.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

type Dialing = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

/// Runs until its session is over.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    line: Line,
    timer: Pin<Box<Sleep>>,
    /// When the timer goes off. It may be early: a deadline that moved on is looked at again then.
    timer_at: Instant,
    has_stepped_aside: bool,
    /// Answers handed out by the last reading.
    answered: u64,
    /// Tasks that were answered and not woken yet.
    to_wake: VecDeque<Waker>,
}

/// The connection.
enum Line {
    Down,
    Dialing { conn: ConnId, dialing: Dialing },
    Up { conn: ConnId, stream: TcpStream },
}

impl Driver {
    /// The task of a session that was just made.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let timer_at = shared.clock.now();
        let timer = Box::pin(tokio::time::sleep_until(shared.clock.runtime(timer_at)));
        Self {
            shared,
            line: Line::Down,
            timer,
            timer_at,
            has_stepped_aside: false,
            answered: 0,
            to_wake: VecDeque::new(),
        }
    }

    /// Carries out what the machine said about connections.
    fn obey(&mut self) {
        for command in self.shared.change(|state| state.take_commands()) {
            match command {
                Command::Connect { conn, server, timeout } => {
                    self.shared.change(|state| {
                        state.counters_mut().attempts += 1;
                        state.begin_attempt(server.clone());
                    });
                    let dialing = Box::pin(async move { dial(&server, timeout).await });
                    self.line = Line::Dialing { conn, dialing };
                }
                Command::Disconnect { conn } => match &self.line {
                    Line::Dialing { conn: current, .. } | Line::Up { conn: current, .. } if *current == conn => {
                        self.line = Line::Down;
                    }
                    Line::Dialing { .. } | Line::Up { .. } | Line::Down => {}
                },
                Command::Probe { server } => self.probe(server),
            }
        }
    }

    fn probe(&self, server: Arc<ServerAddress>) {
        let shared = Arc::downgrade(&self.shared);
        tokio::spawn(async move {
            let read_write = takes_writes(&server, PROBE_TIME).await;
            if let Some(shared) = shared.upgrade() {
                shared.tell(Input::Probed { server, read_write });
            }
        });
    }

    /// Waits for the connection that is being made.
    fn poll_dial(&mut self, context: &mut Context<'_>) {
        let Line::Dialing { conn, dialing } = &mut self.line else { return };
        let Poll::Ready(result) = dialing.as_mut().poll(context) else { return };
        let conn = *conn;
        let now = self.shared.clock.now();
        match result {
            Ok(stream) => {
                self.line = Line::Up { conn, stream };
                self.shared.change(|state| state.input(now, Input::Connected(conn)));
            }
            Err(error) => self.down(now, conn, &error),
        }
    }

    fn down(&mut self, now: Instant, conn: ConnId, error: &io::Error) {
        let was_up = matches!(self.line, Line::Up { .. });
        self.line = Line::Down;
        self.shared.change(|state| {
            let is_turned_away = was_up && !state.session().state().is_connected();
            state.note_attempt(if is_turned_away { TURNED_AWAY.to_owned() } else { error.to_string() });
            state.input(now, Input::Disconnected(conn));
        });
    }

    /// Reads what is there. Ready when there may be more.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<()> {
        for _ in 0..PIECES_A_TURN {
            let Line::Up { conn, stream } = &mut self.line else { return Poll::Pending };
            let (conn, shared) = (*conn, &self.shared);
            let (answered, to_wake) = (&mut self.answered, &mut self.to_wake);
            let piece = with_scratch(|scratch| {
                // Unlike try_read this knows that a short read has emptied the socket, and saves the call that says so.
                let mut buffer = ReadBuf::new(scratch);
                ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
                let bytes = buffer.filled();
                if bytes.is_empty() {
                    return Poll::Ready(Err(io::Error::other("closed by the server")));
                }
                let now = shared.clock.now();
                shared.change(|state| {
                    state.counters_mut().bytes_received += bytes.len() as u64;
                    let before = state.counters_mut().answers;
                    state.input(now, Input::Received(conn, bytes));
                    *answered += state.counters_mut().answers - before;
                    to_wake.extend(state.take_wakers());
                });
                Poll::Ready(Ok(()))
            });
            match ready!(piece) {
                // The machine may have had enough of this connection.
                Ok(()) if self.shared.look(|state| state.has_commands()) => return Poll::Ready(()),
                Ok(()) => {}
                Err(error) => {
                    let now = self.shared.clock.now();
                    self.down(now, conn, &error);
                    return Poll::Ready(());
                }
            }
        }
        Poll::Ready(())
    }

    /// Writes what is to be sent. Pending when the socket takes no more for now.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let Line::Up { conn, stream } = &self.line else { return Poll::Ready(()) };
            let conn = *conn;
            let shared = &self.shared;
            let sent = with_scratch(|scratch| {
                let count = shared.change(|state| {
                    let bytes = state.session_mut().transmit();
                    let count = bytes.len().min(PIECE);
                    let bytes = bytes.get(..count).unwrap_or_default();
                    scratch.get_mut(..count).unwrap_or_default().copy_from_slice(bytes);
                    count
                });
                if count == 0 {
                    return Poll::Ready(Ok(0));
                }
                loop {
                    ready!(stream.poll_write_ready(context))?;
                    match stream.try_write(scratch.get(..count).unwrap_or_default()) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        other => return Poll::Ready(other),
                    }
                }
            });
            let now = self.shared.clock.now();
            match ready!(sent) {
                Ok(0) => return Poll::Ready(()),
                Ok(count) => self.shared.change(|state| {
                    state.counters_mut().bytes_sent += count as u64;
                    state.session_mut().transmitted(now, count);
                }),
                Err(error) => {
                    self.down(now, conn, &error);
                    return Poll::Ready(());
                }
            }
        }
    }

    /// Lets time pass, and sees to it that the task is woken when it matters.
    fn poll_time(&mut self, context: &mut Context<'_>) {
        let now = self.shared.clock.now();
        let next = self.shared.change(|state| {
            if state.session().poll_timeout().is_some_and(|at| now >= at) {
                state.timeout(now);
            }
            state.session().poll_timeout()
        });
        let Some(next) = next else { return };
        let has_gone_off = self.timer.is_elapsed();
        if next < self.timer_at || has_gone_off || now >= self.timer_at {
            self.timer_at = next;
            self.timer.as_mut().reset(self.shared.clock.runtime(next));
        }
        if self.timer.as_mut().poll(context).is_ready() {
            context.waker().wake_by_ref();
        }
    }

    /// Wakes the next tasks that were answered, and sends what those before them have asked meanwhile; true if it is to
    /// step aside for them.
    fn wake_some(&mut self, context: &mut Context<'_>) -> bool {
        let steps_aside = !self.to_wake.is_empty() && self.expects_requests();
        if steps_aside && self.has_stepped_aside {
            let _ = self.poll_write(context);
        }
        let count = self.to_wake.len().min(WOKEN_AT_ONCE);
        self.to_wake.drain(..count).for_each(Waker::wake);
        if self.to_wake.is_empty() {
            self.answered = 0;
        }
        self.has_stepped_aside = steps_aside;
        steps_aside
    }

    /// Whether tasks that are about to run have requests to make: those whose answers came just now. One alone, with nothing
    /// else under way, is not worth waiting for.
    fn expects_requests(&self) -> bool {
        self.answered > 1 || self.answered == 1 && self.shared.look(|state| state.session().waiting() != (0, 0))
    }
}

impl Drop for Driver {
    /// The runtime ends before the session: nobody will answer what waits.
    fn drop(&mut self) {
        self.shared.tell(Input::Detach);
        self.to_wake.drain(..).for_each(Waker::wake);
    }
}

/// The buffer of this thread, which is put back afterwards: wakers run meanwhile, and may do anything.
fn with_scratch<T>(work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut scratch = SCRATCH.take();
    scratch.resize(PIECE, 0);
    let result = work(&mut scratch);
    SCRATCH.set(scratch);
    result
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            this.obey();
            this.poll_dial(context);
            let has_more =
                this.to_wake.is_empty() && this.poll_read(context).is_ready() && matches!(this.line, Line::Up { .. });
            this.poll_time(context);
            if this.wake_some(context) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let is_blocked = this.poll_write(context).is_pending();
            let is_up = matches!(this.line, Line::Up { .. });
            let (has_work, is_over) = this.shared.change(|state| {
                // A request may have come in after the last look: asking again and falling asleep are one step.
                let has_bytes = is_up && !is_blocked && !state.session_mut().transmit().is_empty();
                let has_work = state.has_commands() || has_bytes;
                if !has_work && !has_more {
                    state.sleep_driver(context);
                }
                (has_work, state.session().state().is_final())
            });
            if has_work {
                continue;
            }
            if is_over {
                return Poll::Ready(());
            }
            if has_more {
                context.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
    }
}
