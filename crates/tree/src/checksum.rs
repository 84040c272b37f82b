//! Checksums of nodes, whose sum is Apache's tree digest, version 2 (`DigestCalculator`).

use gk_proto::digest;
use gk_proto::stat::StatPersisted;

/// CRC-32 of path and data, the root's path being empty: the part of a node's checksum that does not depend on its
/// stat.
pub fn prefix_crc(path: &str, data: Option<&[u8]>) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    if path != "/" {
        hasher.update(path.as_bytes());
    }
    hasher.update(data.unwrap_or_default());
    hasher.finalize()
}

/// What a node adds to the tree digest under this stat: the CRC-32 of `prefix_crc` carried on over 60 bytes.
pub fn checksum(prefix_crc: u32, stat: &StatPersisted) -> u64 {
    let mut hasher = crc32fast::Hasher::new_with_initial(prefix_crc);
    hasher.update(&digest::stat_bytes(stat));
    u64::from(hasher.finalize())
}
