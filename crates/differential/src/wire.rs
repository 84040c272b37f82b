//! One connection to one server: frames out, frames in, and its end. Blocking, as a run goes one step at a time.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use gk_proto::Xid;
use gk_proto::connect::ConnectRequest;
use gk_proto::jute::Reader;
use gk_proto::reply;

/// How long a server may leave a request unanswered before that is taken for its answer.
const SILENCE: Duration = Duration::from_secs(15);

/// What came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Heard {
    /// A handshake's answer.
    Greeting(Vec<u8>),
    /// An answer to a request of this operation.
    Reply(i32, Vec<u8>),
    /// A watch event.
    Event(Vec<u8>),
    /// The end of the connection.
    Closed,
    /// Nothing for [`SILENCE`].
    Silence,
}

/// A connection.
pub(crate) struct Connection {
    socket: TcpStream,
    received: Vec<u8>,
    /// Where in `received` the next frame begins.
    start: usize,
    /// Of the last request that has one of its own.
    xid: i32,
    /// Highest zxid of a reply.
    pub(crate) last_zxid: i64,
    pub(crate) is_closed: bool,
    /// Operations that have not been answered.
    asked: Vec<i32>,
    /// Whether anything that sets a watch was ever asked.
    pub(crate) may_watch: bool,
}

impl Connection {
    /// Connects, and sends a handshake.
    pub(crate) fn open(address: SocketAddr, request: &ConnectRequest) -> std::io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(SILENCE))?;
        socket.set_write_timeout(Some(SILENCE))?;
        let mut connection = Self {
            socket,
            received: Vec::new(),
            start: 0,
            xid: 0,
            last_zxid: 0,
            is_closed: false,
            asked: Vec::new(),
            may_watch: false,
        };
        let mut bytes = Vec::new();
        reply::frame(&mut bytes, |out| request.encode(out));
        connection.write(&bytes);
        Ok(connection)
    }

    /// The xid of the next request that has none of its own.
    pub(crate) fn next_xid(&mut self) -> i32 {
        self.xid += 1;
        self.xid
    }

    /// Sends requests whose operations these are.
    pub(crate) fn send(&mut self, bytes: &[u8], ops: impl IntoIterator<Item = i32>) {
        self.asked.extend(ops);
        self.write(bytes);
    }

    /// Sends bytes that are no request. What fails here is seen when the end of the connection is read.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        if !self.is_closed {
            let _ = self.socket.write_all(bytes);
        }
    }

    /// Events and the answer to the handshake, or the end.
    pub(crate) fn greeting(&mut self) -> Heard {
        match self.frame() {
            Ok(frame) => Heard::Greeting(frame),
            Err(end) => end,
        }
    }

    /// Whatever comes until all requests have been answered, or the end.
    pub(crate) fn answers(&mut self) -> Vec<Heard> {
        let mut heard = Vec::new();
        while !self.asked.is_empty() && !self.is_closed {
            heard.push(self.next());
        }
        heard
    }

    /// Whatever comes until the end, which has to come.
    pub(crate) fn rest(&mut self) -> Vec<Heard> {
        let mut heard = Vec::new();
        while !self.is_closed {
            heard.push(self.next());
        }
        heard
    }

    fn next(&mut self) -> Heard {
        let frame = match self.frame() {
            Ok(frame) => frame,
            Err(end) => return end,
        };
        let header = reply::Header::decode(&mut Reader::new(&frame));
        if header.is_ok_and(|header| header.xid == Xid::NOTIFICATION) {
            return Heard::Event(frame);
        }
        // The zxid of an answer to auth is 0, that of an unknown operation -1.
        self.last_zxid = header.map_or(self.last_zxid, |header| self.last_zxid.max(header.zxid));
        let op = if self.asked.is_empty() { UNASKED } else { self.asked.remove(0) };
        Heard::Reply(op, frame)
    }

    /// The next frame without its length.
    fn frame(&mut self) -> Result<Vec<u8>, Heard> {
        loop {
            let rest = &self.received[self.start..];
            if let Some((length, body)) = rest.split_first_chunk() {
                let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
                if let Some(frame) = body.get(..length) {
                    self.start += 4 + length;
                    return Ok(frame.to_vec());
                }
            }
            self.received.drain(..self.start);
            self.start = 0;
            self.read()?;
        }
    }

    fn read(&mut self) -> Result<(), Heard> {
        if self.is_closed {
            return Err(Heard::Closed);
        }
        let mut piece = [0; 16 * 1024];
        match self.socket.read(&mut piece) {
            Ok(0) => {}
            Ok(length) => {
                self.received.extend_from_slice(&piece[..length]);
                return Ok(());
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                self.is_closed = true;
                return Err(Heard::Silence);
            }
            // Whether what was sent too late is answered with an end or with a reset is a matter of time.
            Err(_) => {}
        }
        self.is_closed = true;
        Err(Heard::Closed)
    }
}

/// Stands for the operation of an answer to nothing.
pub(crate) const UNASKED: i32 = i32::MIN;
