//! The fuzzer's bytes as numbers, choices and pieces. Reading never fails: what is missing is zero or empty.

/// A cursor over an input.
#[derive(Clone, Debug)]
pub(crate) struct Input<'a> {
    rest: &'a [u8],
}

/// From this first byte on, the length of a piece is in the two bytes behind it.
pub(crate) const LONG: u8 = 0xf0;

impl<'a> Input<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    /// The next command, until the input is used up.
    pub(crate) fn command(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.command().unwrap_or_default()
    }

    /// A number that is often small, of either sign.
    pub(crate) fn signed_byte(&mut self) -> i32 {
        i32::from(self.byte().cast_signed())
    }

    pub(crate) fn short(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// Mostly what fits a byte; any number after 0x80.
    pub(crate) fn int(&mut self) -> i32 {
        match self.byte() {
            0x80 => i32::from_be_bytes([self.byte(), self.byte(), self.byte(), self.byte()]),
            byte => i32::from(byte.cast_signed()),
        }
    }

    /// Mostly what fits a byte; any number after 0x80.
    pub(crate) fn long(&mut self) -> i64 {
        match self.byte() {
            0x80 => {
                let mut bytes = [0; 8];
                bytes.iter_mut().for_each(|byte| *byte = self.byte());
                i64::from_be_bytes(bytes)
            }
            byte => i64::from(byte.cast_signed()),
        }
    }

    /// One of several things.
    pub(crate) fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::from(self.byte()) % from.len()]
    }

    /// A piece behind its length.
    pub(crate) fn piece(&mut self) -> &'a [u8] {
        let length = match self.byte() {
            LONG.. => self.short(),
            byte => u16::from(byte),
        };
        let (piece, rest) = self.rest.split_at(self.rest.len().min(usize::from(length)));
        self.rest = rest;
        piece
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }
}
