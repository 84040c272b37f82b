//! The jute binary encoding: big-endian numbers, length-prefixed buffers and strings, counted vectors.
//!
//! A length of -1 is null, which is not the same as empty. Reading never allocates by a length that the bytes do not
//! back, and strings are read leniently (what is not UTF-8 becomes U+FFFD), as ZooKeeper's own reader does.

use std::borrow::Cow;

use bytes::Bytes;

use crate::DecodeError;

/// A cursor over the bytes of one record.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Exactly `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    /// One byte; any value but zero is true.
    pub fn boolean(&mut self) -> Result<bool, DecodeError> {
        Ok(self.array::<1>()? != [0])
    }

    /// Four bytes.
    pub fn int(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// Eight bytes.
    pub fn long(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A buffer; `None` is null.
    pub fn buffer(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        match self.int()? {
            -1 => Ok(None),
            n => self.take(usize::try_from(n).map_err(|_| DecodeError::BadLength(n))?).map(Some),
        }
    }

    /// A string; `None` is null. Surrogate pairs in the CESU-8 manner of Java's writer become one character.
    pub fn string(&mut self) -> Result<Option<Cow<'a, str>>, DecodeError> {
        Ok(self.buffer()?.map(lenient_utf8))
    }

    /// A string that must not be null.
    pub fn text(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        self.string()?.ok_or(DecodeError::UnexpectedNull)
    }

    /// Number of elements of a vector; `None` is null, counts below -1 read as empty. Not backed by bytes: push
    /// elements as they are decoded, do not reserve by it.
    pub fn count(&mut self) -> Result<Option<usize>, DecodeError> {
        match self.int()? {
            -1 => Ok(None),
            n => Ok(Some(usize::try_from(n).unwrap_or(0))),
        }
    }

    /// Fails if anything is left: files and peer packets have no trailing bytes.
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(self.rest.len())) }
    }
}

/// Bytes as text: UTF-8, or CESU-8 surrogate pairs, or U+FFFD where neither holds.
pub fn lenient_utf8(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(from_cesu8(bytes)),
    }
}

fn from_cesu8(bytes: &[u8]) -> String {
    let mut out = String::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let pair = surrogate(rest, 0xa0).zip(rest.get(3..).and_then(|low| surrogate(low, 0xb0)));
        if let Some((high, low)) = pair {
            let scalar = 0x1_0000 + (high << 10) + low;
            out.push(char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER));
            rest = rest.get(6..).unwrap_or_default();
            continue;
        }
        // Half a pair is one character that is none, as Java's reader has it.
        if is_surrogate(rest) {
            out.push(char::REPLACEMENT_CHARACTER);
            rest = rest.get(3..).unwrap_or_default();
            continue;
        }
        let next = (1..rest.len()).find(|&i| is_surrogate(rest.get(i..).unwrap_or_default()));
        let (head, tail) = rest.split_at(next.unwrap_or(rest.len()));
        out.push_str(&String::from_utf8_lossy(head));
        rest = tail;
    }
    out
}

fn is_surrogate(bytes: &[u8]) -> bool {
    surrogate(bytes, 0xa0).is_some() || surrogate(bytes, 0xb0).is_some()
}

/// The ten bits of a surrogate whose second byte has the given top nibble-and-half (0xa0 high, 0xb0 low).
fn surrogate(bytes: &[u8], half: u8) -> Option<u32> {
    match bytes {
        [0xed, second, third, ..] if second & 0xf0 == half && third & 0xc0 == 0x80 => {
            Some(u32::from(second & 0x0f) << 6 | u32::from(third & 0x3f))
        }
        _ => None,
    }
}

/// Appends jute values to a byte vector.
pub trait Write {
    /// One byte, 0 or 1.
    fn put_boolean(&mut self, value: bool);
    /// Four bytes.
    fn put_int(&mut self, value: i32);
    /// Eight bytes.
    fn put_long(&mut self, value: i64);
    /// A buffer; `None` is null.
    fn put_buffer(&mut self, value: Option<&[u8]>);
    /// A string, as plain UTF-8.
    fn put_text(&mut self, value: &str) {
        self.put_buffer(Some(value.as_bytes()));
    }
    /// A string; `None` is null.
    fn put_string(&mut self, value: Option<&str>) {
        self.put_buffer(value.map(str::as_bytes));
    }
    /// A number of elements.
    fn put_count(&mut self, count: usize);
}

impl Write for Vec<u8> {
    fn put_boolean(&mut self, value: bool) {
        self.push(u8::from(value));
    }

    fn put_int(&mut self, value: i32) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn put_long(&mut self, value: i64) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn put_buffer(&mut self, value: Option<&[u8]>) {
        match value {
            None => self.put_int(-1),
            Some(bytes) => {
                self.put_count(bytes.len());
                self.extend_from_slice(bytes);
            }
        }
    }

    fn put_count(&mut self, count: usize) {
        self.put_int(
            i32::try_from(count)
                .expect("INVARIANT: what is encoded came from frames and files below 2 GiB, or was measured"),
        );
    }
}

/// `part` as shared bytes without copying, where `part` is a piece of `whole`.
pub fn shared(whole: &Bytes, part: &[u8]) -> Bytes {
    whole.slice_ref(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_and_empty_differ() {
        let mut out = Vec::new();
        out.put_buffer(None);
        out.put_buffer(Some(b""));
        let mut reader = Reader::new(&out);
        assert_eq!(reader.buffer(), Ok(None), "null");
        assert_eq!(reader.buffer(), Ok(Some(&b""[..])), "empty");
        assert_eq!(reader.finish(), Ok(()), "both read");
    }

    #[test]
    fn lying_lengths_are_refused() {
        for length in [-2, i32::MIN, 5, i32::MAX] {
            let mut out = length.to_be_bytes().to_vec();
            out.extend_from_slice(b"four");
            assert!(Reader::new(&out).buffer().is_err(), "length {length}");
        }
    }

    #[test]
    fn surrogate_pairs_become_one_character() {
        assert_eq!(lenient_utf8(b"a\xed\xa0\xbc\xed\xbe\x89z"), "a\u{1F389}z", "written by Java");
        assert_eq!(lenient_utf8("a\u{1F389}z".as_bytes()), "a\u{1F389}z", "plain UTF-8");
        for half in [b"a\xed\xa0\xbcx", b"a\xed\xbe\x89x"] {
            assert_eq!(lenient_utf8(half), "a\u{FFFD}x", "half a pair");
        }
        assert_eq!(lenient_utf8(b"\xed\xa0\xbc\xed\xa0\xbc\xed\xbe\x89"), "\u{FFFD}\u{1F389}", "a half, then a pair");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_read_as_some_text(bytes: Vec<u8>) {
            let text = lenient_utf8(&bytes);
            proptest::prop_assert!(std::str::from_utf8(&bytes).is_err() || text.as_bytes() == bytes);
        }
    }
}
