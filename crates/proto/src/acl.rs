//! Access control lists as stored in the tree, the log and snapshots.

use std::sync::{Arc, LazyLock};

use crate::DecodeError;
use crate::jute::{Reader, Write};

/// Permission bits of an ACL entry. Other bits are stored as given.
pub mod perm {
    /// Read data, children and the ACL.
    pub const READ: i32 = 1;
    /// Set data.
    pub const WRITE: i32 = 2;
    /// Create children.
    pub const CREATE: i32 = 4;
    /// Delete children.
    pub const DELETE: i32 = 8;
    /// Set the ACL.
    pub const ADMIN: i32 = 16;
    /// All five.
    pub const ALL: i32 = 31;
}

/// An authenticated identity, or the right-hand side of an ACL entry.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Id {
    /// `world`, `ip`, `digest`, `super` …
    pub scheme: String,
    /// Meaning depends on the scheme.
    pub id: String,
}

impl Id {
    /// An id of two strings.
    pub fn new(scheme: impl Into<String>, id: impl Into<String>) -> Self {
        Self { scheme: scheme.into(), id: id.into() }
    }
}

/// One entry: who may do what.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Acl {
    /// Bits of [`perm`].
    pub perms: i32,
    /// Who.
    pub id: Id,
}

/// A whole list, shared by all nodes that have it.
pub type AclList = Arc<[Acl]>;

static OPEN: LazyLock<AclList> =
    LazyLock::new(|| vec![Acl { perms: perm::ALL, id: Id::new("world", "anyone") }].into());
static READ_ONLY: LazyLock<AclList> =
    LazyLock::new(|| vec![Acl { perms: perm::READ, id: Id::new("world", "anyone") }].into());

/// `world:anyone` with all permissions.
pub fn open() -> AclList {
    OPEN.clone()
}

/// `world:anyone` may read: the ACL of `/zookeeper/config`.
pub fn read_only() -> AclList {
    READ_ONLY.clone()
}

/// The bytes of a jute vector that holds only the open entry: lets the common list be recognised without decoding.
pub const OPEN_BYTES: &[u8] = b"\0\0\0\x01\0\0\0\x1f\0\0\0\x05world\0\0\0\x06anyone";

/// Appends the list as `vector<ACL>`.
pub fn encode(list: &[Acl], out: &mut Vec<u8>) {
    out.put_count(list.len());
    for acl in list {
        out.put_int(acl.perms);
        out.put_text(&acl.id.scheme);
        out.put_text(&acl.id.id);
    }
}

/// Reads a `vector<ACL>` of a log or snapshot; a null list reads as empty, null strings as empty ones.
pub fn decode(reader: &mut Reader<'_>) -> Result<AclList, DecodeError> {
    if let Some(rest) = reader.rest().strip_prefix(OPEN_BYTES) {
        reader.take(reader.remaining() - rest.len())?;
        return Ok(open());
    }
    let mut list = Vec::new();
    for _ in 0..reader.count()?.unwrap_or(0) {
        let perms = reader.int()?;
        let scheme = reader.string()?.unwrap_or_default().into_owned();
        let id = reader.string()?.unwrap_or_default().into_owned();
        list.push(Acl { perms, id: Id { scheme, id } });
    }
    Ok(list.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_bytes_are_the_open_list() {
        let mut out = Vec::new();
        encode(&open(), &mut out);
        assert_eq!(out, OPEN_BYTES, "the shortcut must match what is encoded");
        assert_eq!(decode(&mut Reader::new(&out)), Ok(open()), "and decode to it");
    }
}
