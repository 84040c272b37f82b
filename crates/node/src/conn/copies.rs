//! Bodies of requests on their way to the node: those that came together lie in one piece of memory.

use bytes::{Bytes, BytesMut};

/// What is copied from one input.
#[derive(Debug, Default)]
pub(super) struct Copies {
    piece: BytesMut,
    /// How many bytes of the input have not been looked at: no more can follow.
    pub(super) ahead: usize,
}

/// A body that waits for long keeps its piece: it should not be much longer than what it holds.
const PIECE_MAX: usize = 4 * 1024;

impl Copies {
    /// A copy of `body`.
    pub(super) fn of(&mut self, body: &[u8]) -> Bytes {
        if self.piece.capacity() < body.len() {
            self.piece = BytesMut::with_capacity(self.ahead.min(PIECE_MAX).max(body.len()));
        }
        self.piece.extend_from_slice(body);
        self.piece.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_of_one_input_share_pieces_of_bounded_size() {
        let mut copies = Copies { ahead: 100_000, ..Copies::default() };
        let bodies: Vec<Bytes> = (0..100_u8).map(|number| copies.of(&[number; 100])).collect();
        for (number, body) in (0..).zip(&bodies) {
            assert_eq!(body[..], [number; 100], "a copy of its own");
        }
        let is_next = |pair: &&[Bytes]| pair[0].as_ptr().wrapping_add(100) == pair[1].as_ptr();
        assert!(bodies.windows(2).filter(is_next).count() >= 96, "forty of a hundred bytes in each piece");
        assert!(copies.piece.capacity() <= PIECE_MAX, "no piece is longer");
        assert_eq!(copies.of(&[7; 50_000]).len(), 50_000, "but for what needs it");
        assert_eq!(copies.of(b""), Bytes::new());
    }
}
