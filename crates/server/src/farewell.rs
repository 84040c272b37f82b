//! What the log says of connections: who authenticated, and which ended otherwise than by closeSession.
//!
//! One line each, worded as ZooKeeper's where it has one (`NIOServerCnxn`, `ZooKeeperServer`), at its level. Of strangers,
//! who have no session, so many a second are told of and the others counted: they cost their clients nothing.

use std::collections::BTreeSet;
use std::io;

use gk_node::conn::Complaint;
use gk_proto::SessionId;
use gk_proto::acl::Id;
use parking_lot::Mutex;
use tracing::{info, warn};

use crate::link::Link;
use crate::shared::Shared;
use crate::throttle::Remarks;

/// Lines about strangers in a second.
const STRANGERS_TOLD_OF: u64 = 20;

/// How often strangers were told of.
pub(crate) struct Farewells(Mutex<Remarks>);

impl Default for Farewells {
    fn default() -> Self {
        Self(Mutex::new(Remarks::new(STRANGERS_TOLD_OF)))
    }
}

/// The client ended the connection.
pub(crate) fn lost(link: &Link, shared: &Shared) {
    let session = link.session();
    let Some(others) = others(session, shared) else { return };
    info!(
        "Unable to read additional data from client, it probably closed the socket: address = {}, session = \
         {session}{others}",
        link.remote
    );
}

/// The connection broke.
pub(crate) fn broken(link: &Link, error: &io::Error, shared: &Shared) {
    let session = link.session();
    let Some(others) = others(session, shared) else { return };
    warn!("Close of session {session}: {error}, client {}{others}", link.remote);
}

/// The server closes the connection because of what its client did.
pub(crate) fn complained(link: &Link, complaint: &Complaint, shared: &Shared) {
    let (session, client) = (link.session(), link.remote);
    let Some(others) = others(session, shared) else { return };
    match complaint {
        Complaint::SeenMore { session, seen, last } => info!(
            "Refusing session({session}) request for client {client} as it has seen zxid {seen:#x} our last zxid is \
             {last:#x} client must try another server{others}"
        ),
        Complaint::UnknownSession(session) => {
            info!("Invalid session {session} for client {client}, probably expired{others}");
        }
        Complaint::WrongPassword(session) => {
            warn!("Incorrect password from {client} for session {session}{others}");
        }
        Complaint::FrameLength { .. }
        | Complaint::MalformedHandshake
        | Complaint::MalformedRequest
        | Complaint::UnknownOperation(_)
        | Complaint::NotAuthenticated
        | Complaint::AuthFailed { .. }
        | Complaint::OverWatched => warn!("Close of session {session}: {complaint}, client {client}{others}"),
    }
}

/// The client has ids now.
pub(crate) fn authenticated(link: &Link, ids: &[Id]) {
    let schemes: BTreeSet<&str> = ids.iter().map(|id| id.scheme.as_str()).collect();
    let schemes = schemes.into_iter().collect::<Vec<_>>().join(", ");
    info!("Session {}: auth success, now known by {schemes}, address {}", link.session(), link.remote);
}

/// What a line says of those that were kept back before it; `None` if it is kept back itself.
fn others(session: SessionId, shared: &Shared) -> Option<String> {
    if session != SessionId::NONE {
        return Some(String::new());
    }
    let kept_back = shared.farewells.0.lock().allow(shared.clock.instant())?;
    Some(if kept_back == 0 { String::new() } else { format!("; {kept_back} lines about others were left out") })
}
