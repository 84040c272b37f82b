//! The bytes of one connection: frames cut from what arrives, and how much of what was queued the transport has taken.

use gk_proto::DecodeError;

/// A frame's body, and what follows it.
pub(super) type Cut<'a> = (&'a [u8], &'a [u8]);

/// Bytes of requests that may wait for the transport before no further request is encoded.
pub(super) const OUT_BYTES_MAX: usize = 64 * 1024;
/// Capacity that a buffer keeps while it is empty.
const IDLE_CAPACITY_MAX: usize = 128 * 1024;

/// Both directions of a connection.
///
/// - `taken <= queued`, and `queued - taken` bytes are in `out` from `start` on.
#[derive(Debug)]
pub(super) struct Wire {
    out: Vec<u8>,
    start: usize,
    queued: u64,
    taken: u64,
    /// Half a frame.
    input: Vec<u8>,
    answer_bytes_max: usize,
}

impl Wire {
    /// Nothing sent, nothing received. A longer frame than `answer_bytes_max` is an error.
    pub(super) fn new(answer_bytes_max: usize) -> Self {
        Self { out: Vec::new(), start: 0, queued: 0, taken: 0, input: Vec::new(), answer_bytes_max }
    }

    /// Appends what `write` writes; the place in the stream at which it ends.
    pub(super) fn queue(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> u64 {
        let before = self.out.len();
        write(&mut self.out);
        self.queued += (self.out.len() - before) as u64;
        self.queued
    }

    /// What the transport has not taken.
    pub(super) fn waiting(&self) -> &[u8] {
        self.out.get(self.start..).unwrap_or_default()
    }

    /// Whether further requests should stay where they can still be taken back.
    pub(super) fn is_full(&self) -> bool {
        self.out.len() - self.start >= OUT_BYTES_MAX
    }

    /// The transport took so many bytes of `waiting`.
    pub(super) fn take(&mut self, bytes: usize) {
        assert!(bytes <= self.waiting().len(), "{bytes} bytes taken of {}", self.waiting().len());
        self.start += bytes;
        self.taken += bytes as u64;
        if self.start == self.out.len() {
            self.start = 0;
            if self.out.capacity() > IDLE_CAPACITY_MAX {
                self.out = Vec::new();
            } else {
                self.out.clear();
            }
        } else if self.start >= OUT_BYTES_MAX {
            self.out.drain(..self.start);
            self.start = 0;
        }
    }

    /// Whether the transport has taken all bytes up to this place: the server may have them.
    pub(super) fn has_left(&self, end: u64) -> bool {
        end <= self.taken
    }

    /// Gives buffers back that an idle connection does not need.
    pub(super) fn shrink(&mut self) {
        if self.start == self.out.len() {
            self.out = Vec::new();
            self.start = 0;
        }
        if self.input.is_empty() {
            self.input = Vec::new();
        }
    }

    /// The bytes that arrived before and did not make a frame.
    pub(super) fn take_partial(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.input)
    }

    /// Keeps what does not make a frame yet: `buffer` from `start` on.
    pub(super) fn keep_partial(&mut self, mut buffer: Vec<u8>, start: usize) {
        buffer.drain(..start);
        self.input = buffer;
    }

    /// Whether nothing is left of an earlier frame.
    pub(super) fn is_between_frames(&self) -> bool {
        self.input.is_empty()
    }

    /// Cuts one frame off the front: its body, and what follows it. `None` if it is not there whole.
    pub(super) fn cut<'a>(&self, bytes: &'a [u8]) -> Result<Option<Cut<'a>>, DecodeError> {
        let Some((length, rest)) = bytes.split_first_chunk() else { return Ok(None) };
        let length = i32::from_be_bytes(*length);
        let too_long = DecodeError::BadLength(length);
        let length = usize::try_from(length).map_err(|_| too_long)?;
        if length > self.answer_bytes_max {
            return Err(too_long);
        }
        Ok(rest.split_at_checked(length))
    }
}
