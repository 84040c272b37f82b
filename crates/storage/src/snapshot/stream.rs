//! How a snapshot's bytes get into and out of its file: plain, gzip, or the stream format of snappy-java.

use std::io::{self, Read, Write};
use std::sync::Arc;

use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use crate::disk::{DiskFile, FileReader};
use crate::name::Compression;

/// The bytes of a snapshot, decompressed.
pub(crate) fn reader(file: Arc<dyn DiskFile>, compression: Compression) -> Box<dyn Read> {
    let raw = FileReader::new(file, 0);
    match compression {
        Compression::None => Box::new(raw),
        Compression::Gzip => Box::new(GzDecoder::new(io::BufReader::with_capacity(1 << 16, raw))),
        Compression::Snappy => Box::new(SnappyReader::new(raw)),
    }
}

/// Appends to a file and syncs it every so often, so that no large amount waits for the last sync.
#[derive(Debug)]
pub(crate) struct FileSink {
    file: Arc<dyn DiskFile>,
    buffer: Vec<u8>,
    offset: u64,
    synced: u64,
}

impl FileSink {
    pub(crate) fn new(file: Arc<dyn DiskFile>) -> Self {
        Self { file, buffer: Vec::with_capacity(WRITE_SIZE), offset: 0, synced: 0 }
    }

    /// Bytes written so far.
    pub(crate) fn len(&self) -> u64 {
        self.offset
    }

    /// Writes what is left and makes all of it durable (row S1).
    pub(crate) fn sync_all(&mut self) -> io::Result<()> {
        self.flush()?;
        self.file.sync_all()
    }
}

impl Write for FileSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= WRITE_SIZE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(&self.buffer, self.offset)?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        if self.offset - self.synced >= SYNC_EVERY {
            // Row S1: spread over the file, so that the log's syncs never wait behind hundreds of megabytes.
            self.file.sync_data()?;
            self.synced = self.offset;
        }
        Ok(())
    }
}

/// Compresses into a file.
#[derive(Debug)]
pub(crate) enum Encoder {
    Plain(FileSink),
    Gzip(GzEncoder<FileSink>),
    Snappy(Box<SnappyWriter>),
}

impl Encoder {
    pub(crate) fn new(sink: FileSink, compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::Plain(sink),
            Compression::Gzip => Self::Gzip(GzEncoder::new(sink, flate2::Compression::default())),
            Compression::Snappy => Self::Snappy(Box::new(SnappyWriter::new(sink)?)),
        })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(sink) => sink.write_all(bytes),
            Self::Gzip(encoder) => encoder.write_all(bytes),
            Self::Snappy(writer) => writer.write(bytes),
        }
    }

    /// Ends the stream; the sink still holds unwritten bytes.
    pub(crate) fn finish(self) -> io::Result<FileSink> {
        match self {
            Self::Plain(sink) => Ok(sink),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Snappy(writer) => writer.finish(),
        }
    }
}

/// `SnappyOutputStream` of snappy-java: a header, then each block of at most 32 KiB compressed by itself, after its
/// compressed length.
#[derive(Debug)]
pub(crate) struct SnappyWriter {
    sink: FileSink,
    encoder: snap::raw::Encoder,
    block: Vec<u8>,
}

impl SnappyWriter {
    fn new(mut sink: FileSink) -> io::Result<Self> {
        sink.write_all(SNAPPY_HEADER)?;
        Ok(Self { sink, encoder: snap::raw::Encoder::new(), block: Vec::with_capacity(SNAPPY_BLOCK) })
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(SNAPPY_BLOCK - self.block.len()));
            self.block.extend_from_slice(now);
            bytes = later;
            if self.block.len() == SNAPPY_BLOCK {
                self.end_block()?;
            }
        }
        Ok(())
    }

    fn end_block(&mut self) -> io::Result<()> {
        let compressed = self.encoder.compress_vec(&self.block).map_err(io::Error::other)?;
        let length = u32::try_from(compressed.len()).expect("INVARIANT: 32 KiB never compress to 4 GiB");
        self.sink.write_all(&length.to_be_bytes())?;
        self.sink.write_all(&compressed)?;
        self.block.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<FileSink> {
        if !self.block.is_empty() {
            self.end_block()?;
        }
        Ok(self.sink)
    }
}

/// `SnappyInputStream` of snappy-java.
struct SnappyReader {
    raw: io::BufReader<FileReader>,
    decoder: snap::raw::Decoder,
    started: bool,
    compressed: Vec<u8>,
    block: Vec<u8>,
    at: usize,
}

impl SnappyReader {
    fn new(raw: FileReader) -> Self {
        let raw = io::BufReader::with_capacity(1 << 16, raw);
        let decoder = snap::raw::Decoder::new();
        Self { raw, decoder, started: false, compressed: Vec::new(), block: Vec::new(), at: 0 }
    }

    /// Reads the next block; false at the end of the file.
    fn next_block(&mut self) -> io::Result<bool> {
        if !self.started {
            let mut header = [0; SNAPPY_HEADER.len()];
            self.raw.read_exact(&mut header)?;
            if header[..8] != SNAPPY_HEADER[..8] {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "not a snappy-java stream"));
            }
            self.started = true;
        }
        let mut first = [0];
        if self.raw.read(&mut first)? == 0 {
            return Ok(false);
        }
        let mut rest = [0; 3];
        self.raw.read_exact(&mut rest)?;
        let length = u32::from_be_bytes([first[0], rest[0], rest[1], rest[2]]);
        self.compressed.clear();
        // Never allocates by the length alone: what is read grows the buffer.
        let got = Read::by_ref(&mut self.raw).take(u64::from(length)).read_to_end(&mut self.compressed)?;
        if got as u64 != u64::from(length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let size = snap::raw::decompress_len(&self.compressed).map_err(invalid)?;
        if size > SNAPPY_BLOCK_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a block that claims to be too large"));
        }
        self.block.resize(size, 0);
        self.decoder.decompress(&self.compressed, &mut self.block).map_err(invalid)?;
        self.at = 0;
        Ok(true)
    }
}

impl Read for SnappyReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.block.len() {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let rest = self.block.get(self.at..).unwrap_or_default();
        let n = rest.len().min(into.len());
        let (now, _) = into.split_at_mut(n);
        now.copy_from_slice(&rest[..n]);
        self.at += n;
        Ok(n)
    }
}

fn invalid(error: snap::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Magic, version 1, lowest compatible version 1.
const SNAPPY_HEADER: &[u8; 16] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// Block size of snappy-java's default.
const SNAPPY_BLOCK: usize = 32 * 1024;
/// Largest block that is believed; snappy-java can be told to use larger ones than its default.
const SNAPPY_BLOCK_MAX: usize = 64 << 20;
const WRITE_SIZE: usize = 256 * 1024;
const SYNC_EVERY: u64 = 1 << 20;
