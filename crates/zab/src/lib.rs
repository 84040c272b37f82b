//! Agreement on one order of txns: today the broadcast of an ensemble of one voter, with its persist points.
//!
//! A txn is opaque bytes under a zxid. [`Zab`] hands it to the log, learns that it is durable, and calls it committed
//! once a quorum has it, which with one voter is at once. Nothing is committed that is not durable, and nothing is
//! committed twice or out of order.
//!
//! Knows nothing of trees, sessions, sockets and files; reads no clock. Feed one input, drain the effects, feed the
//! next.
//!
//! Not done here: election, discovery, synchronisation, learners. One voter needs none of them: its history is the
//! agreed one, and its epoch is that of its last zxid (ZooKeeper's standalone server keeps no epoch files either).
//!
//! Read in this order:
//! - [`broadcast`]: the machine

pub mod broadcast;

pub use broadcast::{Effect, Input, Zab};
