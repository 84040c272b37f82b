//! The checksum of one node in Apache's tree digest, version 2 (`DigestCalculator`).

use crate::stat::StatPersisted;

/// The version that accompanies a digest in a txn or a snapshot.
pub const VERSION: i32 = 2;

/// Whether a node counts: everything but what lies below `/zookeeper/` (that node itself counts).
pub fn counts(path: &str) -> bool {
    !path.starts_with("/zookeeper/")
}

/// The bytes of the stat that the checksum covers, after path and data.
pub fn stat_bytes(stat: &StatPersisted) -> [u8; 60] {
    let mut out = [0; 60];
    let longs = [stat.czxid.wire(), stat.mzxid.wire(), stat.pzxid.wire(), stat.ctime.0, stat.mtime.0];
    let (head, tail) = out.split_at_mut(40);
    for (chunk, value) in head.chunks_exact_mut(8).zip(longs) {
        chunk.copy_from_slice(&value.to_be_bytes());
    }
    let (ints, owner) = tail.split_at_mut(12);
    for (chunk, value) in ints.chunks_exact_mut(4).zip([stat.version, stat.cversion, stat.aversion]) {
        chunk.copy_from_slice(&value.to_be_bytes());
    }
    owner.copy_from_slice(&stat.ephemeral_owner.to_be_bytes());
    out
}
