//! Reading a snapshot (ZooKeeper `FileSnap.deserialize`, `DataTree.deserialize`).
//!
//! The file is read once, front to back, in a window of a few hundred kilobytes; node records are handed on from
//! where they lie. Every seal is checked, and nothing may follow the last one.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use gk_proto::acl::{self, AclList};
use gk_proto::jute::Reader;
use gk_proto::stat::StatPersisted;
use gk_proto::{DecodeError, SessionId, Zxid, digest};
use gk_tree::TreeBuilder;

use crate::disk::{Disk, DiskFile, read_full};
use crate::error::{Damage, StorageError};
use crate::name::Compression;
use crate::snapshot::stream;

/// Takes the parts of a snapshot in the order of the file. What it is handed is proven sound only once the whole file
/// has been read.
pub trait SnapshotSink {
    /// A session and its timeout.
    fn session(&mut self, session: SessionId, timeout_ms: i32);
    /// An entry of the table of ACLs.
    fn acl(&mut self, id: i64, list: AclList);
    /// A node, after its parent; the root first, and as `""`. An error ends the reading.
    fn node(&mut self, path: &str, data: Option<&[u8]>, acl_id: i64, stat: &StatPersisted) -> Result<(), Damage>;
}

impl SnapshotSink for TreeBuilder {
    fn session(&mut self, session: SessionId, timeout_ms: i32) {
        Self::session(self, session, timeout_ms);
    }

    fn acl(&mut self, id: i64, list: AclList) {
        Self::acl(self, id, list);
    }

    fn node(&mut self, path: &str, data: Option<&[u8]>, acl_id: i64, stat: &StatPersisted) -> Result<(), Damage> {
        Self::node(self, path, data, acl_id, stat).map_err(|error| Damage::NoTree(error.to_string()))
    }
}

/// Lets a snapshot be checked without building a tree.
#[derive(Debug, Default)]
pub(crate) struct CheckOnly;

impl SnapshotSink for CheckOnly {
    fn session(&mut self, _: SessionId, _: i32) {}
    fn acl(&mut self, _: i64, _: AclList) {}
    fn node(&mut self, _: &str, _: Option<&[u8]>, _: i64, _: &StatPersisted) -> Result<(), Damage> {
        Ok(())
    }
}

/// What a snapshot says beside its nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SnapshotSections {
    /// The tree's digest and the txn it is of, if the writer kept one of a version that we compute.
    pub digest: Option<(Zxid, u64)>,
    /// The last txn applied when the file was written.
    pub last_zxid: Option<Zxid>,
    /// Bytes of the file as stored.
    pub bytes: u64,
    /// Nodes, the root among them.
    pub nodes: u64,
}

/// Why a snapshot cannot be used: the disk failed (stop), or the file is damaged (try an older one).
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It cannot be read.
    #[error(transparent)]
    Disk(StorageError),
    /// It was read, and is not what was written.
    #[error(transparent)]
    Damaged(Damage),
}

impl From<Damage> for SnapshotError {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

/// Reads a whole snapshot into `sink` and checks every seal.
pub(crate) fn read(
    disk: &dyn Disk,
    path: &Path,
    sink: &mut impl SnapshotSink,
) -> Result<SnapshotSections, SnapshotError> {
    let file = disk.open(path).map_err(StorageError::io("open", path)).map_err(SnapshotError::Disk)?;
    let bytes = file.len().map_err(StorageError::io("look at", path)).map_err(SnapshotError::Disk)?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let source = stream::reader(file, Compression::of_name(name));
    let mut window = Window::new(source, path);
    let mut sections = parse(&mut window, sink)?;
    sections.bytes = bytes;
    Ok(sections)
}

/// The cheap check that comes before loading (`FileSnap.isValidSnapshot`), by the end or the start of the file.
pub(crate) fn looks_complete(file: &Arc<dyn DiskFile>, compression: Compression) -> std::io::Result<bool> {
    let len = file.len()?;
    let at = match compression {
        Compression::None if len < 10 => return Ok(false),
        Compression::None => len - 5,
        Compression::Gzip | Compression::Snappy => 0,
    };
    let mut bytes = [0; 8];
    let n = read_full(&**file, &mut bytes, at)?;
    let (bytes, _) = bytes.split_at(n);
    Ok(match compression {
        Compression::None => bytes == SLASH,
        Compression::Gzip => bytes.starts_with(b"\x1f\x8b"),
        Compression::Snappy => bytes == b"\x82SNAPPY\0",
    })
}

fn parse(window: &mut Window<'_>, sink: &mut impl SnapshotSink) -> Result<SnapshotSections, SnapshotError> {
    let magic = window.next(|r| Ok((r.int()?, r.int()?, r.long()?)))?;
    if (magic.0, magic.1) != (MAGIC, VERSION) {
        return Err(Damage::BadHeader.into());
    }
    for _ in 0..window.next(count)? {
        let (id, timeout_ms) = window.next(|r| Ok((r.long()?, r.int()?)))?;
        sink.session(SessionId::from_wire(id), timeout_ms);
    }
    for _ in 0..window.next(count)? {
        let (id, list) = window.next(|r| Ok((r.long()?, acl::decode(r)?)))?;
        sink.acl(id, list);
    }
    let mut nodes = 0;
    while window.next(|r| node(r, sink))?? {
        nodes += 1;
    }
    window.seal()?;
    let mut sections = tail(window)?;
    sections.nodes = nodes;
    Ok(sections)
}

/// A number of entries; not backed by bytes, so nothing is reserved by it.
fn count(r: &mut Reader<'_>) -> Result<u32, DecodeError> {
    let value = r.int()?;
    u32::try_from(value).map_err(|_| DecodeError::BadLength(value))
}

/// One node record, or false at the terminator.
fn node(r: &mut Reader<'_>, sink: &mut impl SnapshotSink) -> Result<Result<bool, Damage>, DecodeError> {
    let path = r.text()?;
    if path == "/" {
        return Ok(Ok(false));
    }
    let data = r.buffer()?;
    let acl_id = r.long()?;
    let stat = StatPersisted::decode(r)?;
    Ok(sink.node(&path, data, acl_id, &stat).map(|()| true))
}

/// The optional sections. Which ones are there shows in how many bytes are left: a writer leaves out either one by
/// configuration, and nothing in the file says so.
fn tail(window: &mut Window<'_>) -> Result<SnapshotSections, SnapshotError> {
    let mut sections = SnapshotSections::default();
    let left = window.left_up_to(TAIL_MAX)?;
    if left == LAST_ZXID_LEN || left == DIGEST_LEN + LAST_ZXID_LEN || left == DIGEST_LEN || left == 0 {
        if left >= DIGEST_LEN {
            let (zxid, version, value) = window.next(|r| Ok((r.long()?, r.int()?, r.long()?)))?;
            let known = version == digest::VERSION;
            sections.digest = known.then_some((Zxid::from_wire(zxid), value.cast_unsigned()));
            window.seal()?;
        }
    } else {
        // A digest of version 1 is a string of hex digits; we do not compute that version.
        window.next(|r| Ok((r.long()?, r.int()?, r.buffer()?.is_some())))?;
        window.seal()?;
    }
    if window.left_up_to(TAIL_MAX)? > 0 {
        sections.last_zxid = Some(Zxid::from_wire(window.next(|r| r.long())?));
        window.seal()?;
    }
    if window.left_up_to(1)? > 0 {
        return Err(Damage::Trailing.into());
    }
    Ok(sections)
}

/// A stretch of the file in memory, and the checksum of all that was consumed before.
struct Window<'a> {
    source: Box<dyn Read>,
    path: &'a Path,
    bytes: Vec<u8>,
    /// Consumed up to here.
    at: usize,
    /// Checksummed up to here.
    summed: usize,
    adler: simd_adler32::Adler32,
    ended: bool,
}

impl<'a> Window<'a> {
    fn new(source: Box<dyn Read>, path: &'a Path) -> Self {
        Self { source, path, bytes: Vec::new(), at: 0, summed: 0, adler: simd_adler32::Adler32::new(), ended: false }
    }

    /// Reads one item; `read` runs again from the item's start if it does not lie in memory as a whole yet, so it may
    /// act only when it has read all of it.
    fn next<T>(&mut self, mut read: impl FnMut(&mut Reader<'_>) -> Result<T, DecodeError>) -> Result<T, SnapshotError> {
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let mut reader = Reader::new(rest);
            match read(&mut reader) {
                Ok(item) => {
                    self.at += rest.len() - reader.remaining();
                    return Ok(item);
                }
                Err(DecodeError::Truncated) if self.ended => return Err(Damage::Cut.into()),
                Err(DecodeError::Truncated) => self.fill()?,
                Err(error) => return Err(Damage::Undecodable(error).into()),
            }
        }
    }

    /// Checksum of all bytes before it, and the string "/".
    fn seal(&mut self) -> Result<(), SnapshotError> {
        self.sum();
        let expected = i64::from(self.adler.finish());
        let (stored, _) = self.next(|r| Ok((r.long()?, r.buffer()?.is_some())))?;
        if stored == expected { Ok(()) } else { Err(Damage::BadChecksum.into()) }
    }

    /// How many bytes are left, counted no further than one beyond `max`.
    fn left_up_to(&mut self, max: usize) -> Result<usize, SnapshotError> {
        while !self.ended && self.bytes.len() - self.at <= max {
            self.fill()?;
        }
        Ok(self.bytes.len() - self.at)
    }

    fn sum(&mut self) {
        self.adler.write(self.bytes.get(self.summed..self.at).unwrap_or_default());
        self.summed = self.at;
    }

    /// Reads more. What was consumed makes room; an item longer than the window makes it grow with what is there.
    fn fill(&mut self) -> Result<(), SnapshotError> {
        self.sum();
        self.bytes.drain(..self.at);
        (self.at, self.summed) = (0, 0);
        match Read::by_ref(&mut self.source).take(READ_SIZE).read_to_end(&mut self.bytes) {
            Ok(n) => self.ended = (n as u64) < READ_SIZE,
            Err(error) => return Err(self.read_error(error)),
        }
        Ok(())
    }

    /// An error of the operating system has a number; one of a decompressor has not.
    fn read_error(&self, source: std::io::Error) -> SnapshotError {
        match source.raw_os_error() {
            Some(_) => SnapshotError::Disk(StorageError::Io { action: "read", path: self.path.to_owned(), source }),
            None => SnapshotError::Damaged(Damage::BadStream(source.to_string())),
        }
    }
}

/// "ZKSN"
pub(crate) const MAGIC: i32 = 0x5a4b_534e;
pub(crate) const VERSION: i32 = 2;
/// The string "/" after each seal's checksum, and in place of a node's path after the last node.
pub(crate) const SLASH: &[u8; 5] = b"\0\0\0\x01/";
const SEAL_LEN: usize = 13;
const DIGEST_LEN: usize = 8 + 4 + 8 + SEAL_LEN;
const LAST_ZXID_LEN: usize = 8 + SEAL_LEN;
/// More than the sections can have.
const TAIL_MAX: usize = 4096;
const READ_SIZE: u64 = 256 * 1024;
