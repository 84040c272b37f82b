//! Writing a snapshot (ZooKeeper `FileSnap.serialize`) under a temporary name that no rule of ZooKeeper's matches.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use gk_proto::jute::Write;
use gk_proto::{Zxid, acl, digest};
use gk_tree::ViewHead;

use crate::disk::Disk;
use crate::error::StorageError;
use crate::snapshot::SnapshotInfo;
use crate::snapshot::read::{MAGIC, SLASH, VERSION};
use crate::snapshot::stream::{Encoder, FileSink};

/// A snapshot being written. Dropping it is abandoning it.
pub struct SnapshotWriter {
    disk: Arc<dyn Disk>,
    temporary: PathBuf,
    target: PathBuf,
    /// `None` once finished.
    encoder: Option<Encoder>,
    adler: simd_adler32::Adler32,
    zxid: Zxid,
    digest: Option<u64>,
}

impl SnapshotWriter {
    pub(crate) fn create(
        disk: Arc<dyn Disk>,
        temporary: PathBuf,
        target: PathBuf,
        head: &ViewHead,
    ) -> Result<Self, StorageError> {
        let name = target.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let compression = crate::name::Compression::of_name(name);
        let file = disk.create(&temporary).map_err(StorageError::io("create", &temporary))?;
        let encoder = Encoder::new(FileSink::new(file), compression).map_err(StorageError::io("write", &temporary))?;
        let adler = simd_adler32::Adler32::new();
        let (zxid, digest) = (head.zxid, head.digest);
        let mut writer = Self { disk, temporary, target, encoder: Some(encoder), adler, zxid, digest };
        let mut bytes = Vec::new();
        encode_head(head, &mut bytes);
        writer.piece(&bytes)?;
        Ok(writer)
    }

    /// Writes node records as `Tree::view_piece` gives them; synced every megabyte, so that no large sync comes at the
    /// end. After an error the snapshot is of no use: abandon it.
    pub fn piece(&mut self, records: &[u8]) -> Result<(), StorageError> {
        self.adler.write(records);
        let encoder = self.encoder.as_mut().expect("INVARIANT: only finish takes it, and finish consumes the writer");
        encoder.write(records).map_err(StorageError::io("write", &self.temporary))
    }

    /// Seals the file and gives it its name, durably.
    pub fn finish(mut self) -> Result<SnapshotInfo, StorageError> {
        self.piece(SLASH)?;
        self.seal()?;
        // Both sections are always written: a reader that expects one finds it only if none before it is left out.
        // A digest of txn 0 is one that ZooKeeper does not look at.
        let mut section = Vec::new();
        let known = self.digest.filter(|_| self.zxid > Zxid::ZERO);
        section.put_long(known.map_or(0, |_| self.zxid.wire()));
        section.put_int(digest::VERSION);
        section.put_long(known.unwrap_or(0).cast_signed());
        self.piece(&section)?;
        self.seal()?;
        self.piece(&self.zxid.wire().to_be_bytes())?;
        self.seal()?;
        let bytes = self.close_file().map_err(StorageError::io("write", &self.temporary))?;
        // Row S2: complete and durable under its temporary name before it gets the one that counts.
        self.disk.rename(&self.temporary, &self.target).map_err(StorageError::io("rename", &self.target))?;
        let dir = self.target.parent().expect("INVARIANT: the target is a name in a directory");
        // Row S3: only now may older snapshots and logs go.
        self.disk.sync_dir(dir).map_err(StorageError::io("sync", dir))?;
        Ok(SnapshotInfo { zxid: self.zxid, path: self.target.clone(), bytes })
    }

    /// Removes what was written.
    pub fn abandon(self) {}

    fn seal(&mut self) -> Result<(), StorageError> {
        let mut seal = i64::from(self.adler.finish()).to_be_bytes().to_vec();
        seal.extend_from_slice(SLASH);
        self.piece(&seal)
    }

    fn close_file(&mut self) -> io::Result<u64> {
        let encoder = self.encoder.take().expect("INVARIANT: only finish takes it, and finish consumes the writer");
        let mut sink = encoder.finish()?;
        sink.sync_all()?;
        Ok(sink.len())
    }
}

impl fmt::Debug for SnapshotWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotWriter").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        // After a rename there is nothing of this name; what a crash leaves is removed at the next start.
        let _ = self.disk.remove(&self.temporary);
    }
}

fn encode_head(head: &ViewHead, out: &mut Vec<u8>) {
    out.put_int(MAGIC);
    out.put_int(VERSION);
    out.put_long(-1);
    out.put_count(head.sessions.len());
    for &(session, timeout_ms) in &head.sessions {
        out.put_long(session.wire());
        out.put_int(timeout_ms);
    }
    out.put_count(head.acls.len());
    for (id, list) in &head.acls {
        out.put_long(*id);
        acl::encode(list, out);
    }
}
