//! Who a connection is: auth and sasl, which are answered at once, ahead of what waits.

use gk_proto::jute::{Reader, Write as _};
use gk_proto::request::AuthPacket;
use gk_proto::{ErrorCode, Xid, reply};

use super::{Complaint, Conn, Effect};
use crate::auth;

impl Conn {
    pub(super) fn authenticate(&mut self, xid: Xid, payload: &[u8], out: &mut Vec<u8>) {
        let Ok(packet) = AuthPacket::decode(payload) else {
            return self.close_for(Complaint::MalformedRequest);
        };
        let scheme = packet.scheme.as_deref().unwrap_or_default();
        let earned = self.rules.authenticate(scheme, self.remote, packet.auth);
        let Some(ids) = earned.and_then(|earned| auth::with_earned(&self.ids, earned)) else {
            self.bare(xid, 0, ErrorCode::AuthFailed, out);
            return self.close_for(Complaint::AuthFailed { scheme: scheme.chars().take(SCHEME_SHOWN_MAX).collect() });
        };
        if !self.held.is_empty() {
            // What waits keeps the ids of before.
            self.held_bytes += auth::bytes_of(&ids);
        }
        self.ids = ids;
        self.effects.push_back(Effect::Authenticated(self.ids.clone()));
        self.bare(xid, 0, ErrorCode::Ok, out);
    }

    /// A server without SASL answers a null token, which clients take as "not supported". A client that sends none ends
    /// its connection, as in ZooKeeper.
    pub(super) fn sasl(&mut self, xid: Xid, payload: &[u8], out: &mut Vec<u8>) {
        let Ok(Some(_)) = Reader::new(payload).buffer() else {
            return self.close_for(Complaint::MalformedRequest);
        };
        reply::frame(out, |out| {
            reply::encode_header(xid, 0, ErrorCode::Ok, out);
            out.put_buffer(None);
        });
        self.stats.sent += 1;
    }
}

/// Characters of a scheme that nobody knows which the log repeats.
const SCHEME_SHOWN_MAX: usize = 64;
