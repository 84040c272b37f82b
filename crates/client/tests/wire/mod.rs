//! Just enough of the protocol to look at a server from outside, on a blocking socket: the servers under test have
//! threads of their own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use gk_proto::connect::{ConnectRequest, ConnectResponse};
use gk_proto::jute::{Reader, Write as _};
use gk_proto::op::OpCode;
use gk_proto::reply::frame;
use gk_proto::request::Header;
use gk_proto::{ErrorCode, SessionId, Xid, acl};

/// A test that would wait for longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// One connection with its session.
pub(crate) struct Wire {
    stream: TcpStream,
    pub(crate) session: ConnectResponse,
}

impl Wire {
    /// A new session, with the timeout that the server makes of the one given.
    pub(crate) fn open(address: SocketAddr, timeout_ms: i32) -> Self {
        Self::connect(address, timeout_ms, SessionId::NONE, vec![0; 16])
    }

    /// The session of another connection, or a refusal.
    pub(crate) fn resume(address: SocketAddr, session: &ConnectResponse) -> Self {
        Self::connect(address, session.timeout_ms, session.session, session.password.to_vec())
    }

    fn connect(address: SocketAddr, timeout_ms: i32, session: SessionId, password: Vec<u8>) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request =
            ConnectRequest { protocol_version: 0, last_zxid_seen: 0, timeout_ms, session, password, read_only: None };
        send(&mut stream, |out| request.encode(out));
        let session = ConnectResponse::decode(&receive(&mut stream)).unwrap();
        Self { stream, session }
    }

    pub(crate) fn create(&mut self, path: &str, ephemeral: bool) {
        let code = self.call(OpCode::Create, |out| {
            out.put_text(path);
            out.put_buffer(Some(b"data"));
            out.put_count(1);
            out.put_int(acl::perm::ALL);
            out.put_text("world");
            out.put_text("anyone");
            out.put_int(i32::from(ephemeral));
        });
        assert_eq!(code, ErrorCode::Ok, "{path}");
    }

    /// Whether there is such a node; a watch is left on it.
    pub(crate) fn exists(&mut self, path: &str) -> bool {
        let code = self.call(OpCode::Exists, |out| {
            out.put_text(path);
            out.put_boolean(true);
        });
        assert!(matches!(code, ErrorCode::Ok | ErrorCode::NoNode), "{path}: {code:?}");
        code == ErrorCode::Ok
    }

    /// Waits until the server has closed the connection; whatever it sent before that is a failure.
    pub(crate) fn ends(mut self) {
        match self.stream.read(&mut [0]) {
            Ok(0) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            other => panic!("the connection did not end: {other:?}"),
        }
    }

    fn call(&mut self, op: OpCode, body: impl FnOnce(&mut Vec<u8>)) -> ErrorCode {
        send(&mut self.stream, |out| {
            Header { xid: Xid(1), op: op.code() }.encode(out);
            body(out);
        });
        let reply = receive(&mut self.stream);
        let mut reader = Reader::new(&reply);
        assert_eq!((reader.int(), reader.long().is_ok()), (Ok(1), true), "the reply to what was asked");
        ErrorCode::from_code(reader.int().unwrap()).unwrap()
    }
}

/// The answer to a four-letter word.
pub(crate) fn word(address: SocketAddr, word: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(word.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn send(stream: &mut TcpStream, body: impl FnOnce(&mut Vec<u8>)) {
    let mut out = Vec::new();
    frame(&mut out, body);
    stream.write_all(&out).unwrap();
}

fn receive(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut body = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
    stream.read_exact(&mut body).unwrap();
    body
}
