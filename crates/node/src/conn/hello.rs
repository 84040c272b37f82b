//! How a connection begins: with a four-letter word, or with a ConnectRequest.

use gk_proto::SessionId;
use gk_proto::connect::ConnectRequest;

use super::{Complaint, Conn, Effect, Phase, World};
use crate::message::Connect;

impl Conn {
    /// A first length that no frame may have, being negative or above `max`: a four-letter word if no handshake has
    /// been, else the end.
    pub(super) fn word_or_close(&mut self, bytes: &[u8], max: usize) {
        let word: Option<[u8; 4]> = bytes.first_chunk().copied();
        let argument = bytes.get(4..12).and_then(|bytes| bytes.try_into().ok()).map(i64::from_be_bytes);
        match word {
            Some(word) if self.phase == Phase::Fresh && &word == b"stmk" => {
                if argument.is_some() {
                    self.phase = Phase::Ending;
                    self.effects.push_back(Effect::Word { word, argument });
                }
            }
            Some(word) if self.phase == Phase::Fresh && WORDS.contains(&&word) => {
                self.phase = Phase::Ending;
                self.effects.push_back(Effect::Word { word, argument: None });
            }
            _ => {
                let length = word.map_or(0, i32::from_be_bytes);
                self.close_for(Complaint::FrameLength { length, max });
            }
        }
    }

    /// The first frame.
    pub(super) fn connect(&mut self, body: &[u8], world: &impl World) {
        let Ok(request) = ConnectRequest::decode(body) else {
            return self.close_for(Complaint::MalformedHandshake);
        };
        self.stats.received += 1;
        // A client that has seen what this server has not must find another one.
        let (session, seen, last) = (request.session, request.last_zxid_seen, world.tree().last_zxid().wire());
        if seen > last {
            return self.close_for(Complaint::SeenMore { session, seen, last });
        }
        if request.session == SessionId::NONE {
            self.stats.creates_session();
        }
        self.speaks_read_only = request.read_only.is_some();
        self.phase = Phase::Connecting;
        self.effects.push_back(Effect::Connect(Connect {
            conn: self.id,
            session: request.session,
            password: request.password,
            timeout_ms: self.config.negotiate(request.timeout_ms),
        }));
    }
}

/// The words that are answered with text (`FourLetterCommands`), and the telnet interrupt, which only closes.
const WORDS: [&[u8; 4]; 17] = [
    b"conf", b"cons", b"crst", b"dirs", b"dump", b"envi", b"gtmk", b"hash", b"isro", b"mntr", b"ruok", b"srst",
    b"srvr", b"stat", b"wchc", b"wchp", b"wchs",
];
