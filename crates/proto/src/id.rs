//! Identifiers as types of their own, so that one cannot stand for another.

use std::fmt;

/// Position of one txn in the history: epoch in the high 32 bits, counter in the low 32.
///
/// `Display` is ZooKeeper's lower-case hex without prefix (as in file names), `Debug` is `epoch:counter`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Zxid(pub u64);

impl Zxid {
    /// Before any txn.
    pub const ZERO: Self = Self(0);

    /// The txn `counter` of `epoch`.
    pub fn new(epoch: Epoch, counter: u32) -> Self {
        Self(u64::from(epoch.0) << 32 | u64::from(counter))
    }

    /// The leadership that proposed it.
    pub fn epoch(self) -> Epoch {
        Epoch(u32::try_from(self.0 >> 32).expect("INVARIANT: 32 bits are left of 64 after a shift by 32"))
    }

    /// Its place among the txns of its epoch, from 1.
    pub fn counter(self) -> u32 {
        u32::try_from(self.0 & 0xffff_ffff).expect("INVARIANT: masked to 32 bits")
    }

    /// The following txn of the same epoch, or `None` when the counter would run into the epoch.
    pub fn next(self) -> Option<Self> {
        (self.counter() != u32::MAX).then(|| Self(self.0 + 1))
    }

    /// As a signed jute long.
    pub fn wire(self) -> i64 {
        self.0.cast_signed()
    }

    /// From a signed jute long.
    pub fn from_wire(value: i64) -> Self {
        Self(value.cast_unsigned())
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl fmt::Debug for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch().0, self.counter())
    }
}

/// Number of a leadership (the high half of a zxid).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Epoch(pub u32);

/// A member of the ensemble (`myid`). Standalone servers make session ids as server 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ServerId(pub u64);

/// A session. `Display` and `Debug` are `0x` and hex, as in ZooKeeper's logs and four-letter words.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SessionId(pub u64);

impl SessionId {
    /// No session: asks for a new one in a ConnectRequest, owns nothing.
    pub const NONE: Self = Self(0);

    /// As a signed jute long.
    pub fn wire(self) -> i64 {
        self.0.cast_signed()
    }

    /// From a signed jute long.
    pub fn from_wire(value: i64) -> Self {
        Self(value.cast_unsigned())
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A client's number for one request; negative ones are reserved (see [`Xid::PING`] and its siblings).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Xid(pub i32);

impl Xid {
    /// A watch notification, server to client only.
    pub const NOTIFICATION: Self = Self(-1);
    /// A ping and its reply.
    pub const PING: Self = Self(-2);
    /// An auth packet and its reply, as clients send it by custom; servers echo any.
    pub const AUTH: Self = Self(-4);
    /// setWatches and setWatches2 and their replies, as clients send them by custom; servers echo any.
    pub const SET_WATCHES: Self = Self(-8);
}

/// One client socket of this server, for as long as the process lives; never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct ConnId(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zxid_shows_hex_and_epoch_counter() {
        let zxid = Zxid::new(Epoch(5), 42);
        assert_eq!(format!("{zxid}"), "50000002a", "display");
        assert_eq!(format!("{zxid:?}"), "5:42", "debug");
    }

    #[test]
    fn zxid_next_stops_before_the_epoch() {
        assert_eq!(Zxid::new(Epoch(1), u32::MAX).next(), None, "no wrap");
        assert_eq!(Zxid(7).next(), Some(Zxid(8)), "plus one");
    }
}
