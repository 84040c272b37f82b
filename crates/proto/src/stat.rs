//! The numbers beside a node's data: as stored ([`StatPersisted`]) and as shown to clients ([`Stat`]).

use crate::jute::{Reader, Write};
use crate::{DecodeError, WallTime, Zxid};

/// `StatPersisted`: the 60 bytes of a node's record in a snapshot, and of the tree digest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StatPersisted {
    /// Zxid of the create.
    pub czxid: Zxid,
    /// Zxid of the last setData.
    pub mzxid: Zxid,
    /// Time of the create.
    pub ctime: WallTime,
    /// Time of the last setData.
    pub mtime: WallTime,
    /// Number of setData.
    pub version: i32,
    /// Number of children ever created (clients see creates plus deletes).
    pub cversion: i32,
    /// Number of setACL.
    pub aversion: i32,
    /// Session of an ephemeral node, or the marks of container and TTL nodes ([`Owner`]).
    pub ephemeral_owner: i64,
    /// Zxid of the last create or delete of a child.
    pub pzxid: Zxid,
}

impl StatPersisted {
    /// Appends the 60 bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_long(self.czxid.wire());
        out.put_long(self.mzxid.wire());
        out.put_long(self.ctime.0);
        out.put_long(self.mtime.0);
        out.put_int(self.version);
        out.put_int(self.cversion);
        out.put_int(self.aversion);
        out.put_long(self.ephemeral_owner);
        out.put_long(self.pzxid.wire());
    }

    /// Reads 60 bytes.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            czxid: Zxid::from_wire(reader.long()?),
            mzxid: Zxid::from_wire(reader.long()?),
            ctime: WallTime(reader.long()?),
            mtime: WallTime(reader.long()?),
            version: reader.int()?,
            cversion: reader.int()?,
            aversion: reader.int()?,
            ephemeral_owner: reader.long()?,
            pzxid: Zxid::from_wire(reader.long()?),
        })
    }
}

/// `Stat`: what clients see, 68 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stat {
    /// Zxid of the create.
    pub czxid: Zxid,
    /// Zxid of the last setData.
    pub mzxid: Zxid,
    /// Time of the create.
    pub ctime: WallTime,
    /// Time of the last setData.
    pub mtime: WallTime,
    /// Number of setData.
    pub version: i32,
    /// Creates plus deletes of children.
    pub cversion: i32,
    /// Number of setACL.
    pub aversion: i32,
    /// Session of an ephemeral node, else 0.
    pub ephemeral_owner: i64,
    /// Bytes of data; 0 for null.
    pub data_length: i32,
    /// Number of children.
    pub num_children: i32,
    /// Zxid of the last create or delete of a child.
    pub pzxid: Zxid,
}

impl Stat {
    /// Appends the 68 bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_long(self.czxid.wire());
        out.put_long(self.mzxid.wire());
        out.put_long(self.ctime.0);
        out.put_long(self.mtime.0);
        out.put_int(self.version);
        out.put_int(self.cversion);
        out.put_int(self.aversion);
        out.put_long(self.ephemeral_owner);
        out.put_int(self.data_length);
        out.put_int(self.num_children);
        out.put_long(self.pzxid.wire());
    }

    /// Reads 68 bytes.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            czxid: Zxid::from_wire(reader.long()?),
            mzxid: Zxid::from_wire(reader.long()?),
            ctime: WallTime(reader.long()?),
            mtime: WallTime(reader.long()?),
            version: reader.int()?,
            cversion: reader.int()?,
            aversion: reader.int()?,
            ephemeral_owner: reader.long()?,
            data_length: reader.int()?,
            num_children: reader.int()?,
            pzxid: Zxid::from_wire(reader.long()?),
        })
    }
}

/// What a stored `ephemeralOwner` says of a node (ZooKeeper `EphemeralType`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// Stays until deleted.
    Persistent,
    /// Goes with its session.
    Session(crate::SessionId),
    /// Goes when emptied.
    Container,
    /// Goes when empty and unchanged for so many milliseconds.
    Ttl(i64),
}

/// How TTL marks are read; the two settings of `zoo.cfg`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OwnerRules {
    /// `extendedTypesEnabled`: owners whose high byte is 0xff are TTL nodes.
    pub extended_types: bool,
    /// `emulate353TTLNodes`: any other negative owner is a TTL of 60 bits.
    pub emulate_353: bool,
}

/// Largest TTL: 40 bits of milliseconds.
pub const TTL_MAX_MS: i64 = 0xff_ffff_ffff;
const CONTAINER: i64 = i64::MIN;
const TTL_MARK: u64 = 0xff00_0000_0000_0000;

impl Owner {
    /// What a stored value means. A TTL mark with an unknown feature id is taken as a session, as when TTL is off.
    pub fn from_stored(value: i64, rules: OwnerRules) -> Self {
        let bits = value.cast_unsigned();
        match value {
            0 => Self::Persistent,
            CONTAINER => Self::Container,
            _ if rules.extended_types && bits >> 40 == TTL_MARK >> 40 => {
                Self::Ttl((bits & TTL_MAX_MS.cast_unsigned()).cast_signed())
            }
            _ if rules.extended_types && rules.emulate_353 && value < 0 => {
                Self::Ttl((bits & 0x0fff_ffff_ffff_ffff).cast_signed())
            }
            _ => Self::Session(crate::SessionId::from_wire(value)),
        }
    }

    /// The value to store.
    pub fn stored(self) -> i64 {
        match self {
            Self::Persistent => 0,
            Self::Session(session) => session.wire(),
            Self::Container => CONTAINER,
            Self::Ttl(ms) => (TTL_MARK | ms.cast_unsigned()).cast_signed(),
        }
    }

    /// What clients see.
    pub fn shown(self) -> i64 {
        match self {
            Self::Session(session) => session.wire(),
            Self::Persistent | Self::Container | Self::Ttl(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SessionId;

    const ON: OwnerRules = OwnerRules { extended_types: true, emulate_353: false };

    #[test]
    fn owners_round_trip() {
        let session = Owner::Session(SessionId(0x0100_0019_dbcc_0000));
        for owner in [Owner::Persistent, Owner::Container, Owner::Ttl(1), Owner::Ttl(TTL_MAX_MS), session] {
            assert_eq!(Owner::from_stored(owner.stored(), ON), owner, "{owner:?}");
        }
    }

    /// Z-2901: the TTL mark collides with server ids above 127 unless it is opted into.
    #[test]
    fn sessions_of_large_server_ids_are_no_ttl_nodes() {
        let session = SessionId(0xff00_0000_0000_1234);
        let off = OwnerRules::default();
        assert_eq!(Owner::from_stored(session.wire(), off), Owner::Session(session), "extended types off");
        let server_200 = SessionId(0xc800_0019_dbcc_0000);
        assert_eq!(Owner::from_stored(server_200.wire(), ON), Owner::Session(server_200), "another high byte");
    }
}
