//! Long child lists, encoded in pieces with the tree's guard released in between, so that no reader keeps the writer
//! waiting for a million names (design, "Who owns what at run time").

use gk_proto::jute::Write as _;
use gk_proto::{ErrorCode, Xid, Zxid, reply};
use gk_tree::{NodeRef, WatchKind};

use super::{Conn, World};
use crate::auth::Ids;

/// Names encoded under one guard; a list that is not longer is encoded at once.
pub(super) const PIECE: usize = 1024;
/// How often a list is begun anew because the node's children changed, before it is encoded under one guard.
const TRIES_MAX: u32 = 3;

/// A reply to getChildren that is being put together.
#[derive(Debug)]
pub(super) struct Listing {
    xid: Xid,
    path: String,
    /// Who asks, as of when they did.
    ids: Ids,
    watch: bool,
    /// Whether the reply has a stat.
    stat: bool,
    names: Vec<u8>,
    /// Where the next piece begins among the children.
    place: usize,
    count: usize,
    /// Changes with every child that comes or goes.
    version: (i32, Zxid),
    tries: u32,
}

impl Listing {
    pub(super) fn new(xid: Xid, path: &str, (watch, stat): (bool, bool), ids: Ids) -> Self {
        let (path, names) = (path.to_owned(), Vec::new());
        Self { xid, path, ids, watch, stat, names, place: 0, count: 0, version: (0, Zxid::ZERO), tries: 0 }
    }

    /// Encodes one more piece; true once all names are there.
    /// Nodes of a dead owner that are being removed move others about without a trace: then all is done at once.
    fn advance(&mut self, node: NodeRef<'_>, sweeping: bool) -> bool {
        let stat = node.stat();
        let version = (stat.cversion, stat.pzxid);
        if self.place == 0 || version != self.version || sweeping {
            (self.place, self.count, self.version) = (0, 0, version);
            self.names.clear();
            self.tries += 1;
        }
        let budget = if sweeping || self.tries > TRIES_MAX { usize::MAX } else { PIECE };
        let mut taken = 0;
        for (next, name) in node.children_from(self.place).take(budget) {
            self.names.put_text(name);
            self.place = next;
            taken += 1;
        }
        self.count += taken;
        taken < budget
    }
}

impl Conn {
    /// Goes on with the list that is being put together; its reply is complete once none is left.
    pub(super) fn advance_listing(&mut self, world: &impl World, out: &mut Vec<u8>) {
        let Some(mut listing) = self.listing.take() else { return };
        // The zxid and the watch belong to the last piece: what changes after it is told by an event.
        let zxid = world.tree().last_zxid().wire();
        let node = match self.asker(&listing.ids).readable(&listing.path, world) {
            Ok(node) => node,
            Err(code) => return self.bare(listing.xid, zxid, code, out),
        };
        if !listing.advance(node, world.tree().is_sweeping()) {
            self.listing = Some(listing);
            return;
        }
        if listing.watch {
            self.watch(&listing.path, WatchKind::Child, world);
        }
        reply::frame(out, |out| {
            reply::encode_header(listing.xid, zxid, ErrorCode::Ok, out);
            out.put_count(listing.count);
            out.extend_from_slice(&listing.names);
            if listing.stat {
                node.stat().encode(out);
            }
        });
        self.stats.sent += 1;
    }
}
