//! The text format of zoo.cfg: Java's `.properties` (`java.util.Properties.load`).
//!
//! Differs from Java in one thing: Java reads bytes as Latin-1, which mangles a path with an accent in it; the text
//! here has been decoded already (see [`super::load`]).
//!
//! Not done here: what the keys mean.

use super::error::Problem;

/// One `key=value` of the text, trimmed on both sides as ZooKeeper does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Property {
    pub(super) key: String,
    pub(super) value: String,
    /// Line on which it starts, from 1.
    pub(super) line: usize,
}

/// All properties of `text` in the order of the file, duplicates included; or the line that cannot be read, and why.
pub(super) fn parse(text: &str) -> Result<Vec<Property>, (usize, Problem)> {
    let mut properties = Vec::new();
    let mut lines = Lines { rest: text, number: 0 };
    while let Some((line, logical)) = lines.next_logical() {
        let (key, value) = split(&logical);
        let key = unescape(key).map_err(|problem| (line, problem))?;
        let value = unescape(value).map_err(|problem| (line, problem))?;
        properties.push(Property { key: key.trim().to_owned(), value: value.trim().to_owned(), line });
    }
    Ok(properties)
}

/// Cuts text into lines that end in `\n`, `\r` or `\r\n`, and joins those that a backslash continues.
struct Lines<'a> {
    rest: &'a str,
    number: usize,
}

impl<'a> Lines<'a> {
    /// The next line that is neither blank nor a comment, joined with what continues it, and the number it starts on.
    fn next_logical(&mut self) -> Option<(usize, String)> {
        loop {
            let natural = self.next_natural()?.trim_start_matches(BLANKS);
            if natural.is_empty() || natural.starts_with(['#', '!']) {
                continue;
            }
            let line = self.number;
            let mut logical = natural.to_owned();
            while continues(&logical) {
                logical.pop();
                // A continuation is content whatever it starts with: `#` opens a comment only on a fresh line.
                match self.next_natural() {
                    Some(next) => logical.push_str(next.trim_start_matches(BLANKS)),
                    None => break,
                }
            }
            return Some((line, logical));
        }
    }

    fn next_natural(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        self.number += 1;
        let Some(end) = self.rest.find(['\n', '\r']) else {
            return Some(std::mem::take(&mut self.rest));
        };
        let line = &self.rest[..end];
        let terminator = if self.rest[end..].starts_with("\r\n") { 2 } else { 1 };
        self.rest = &self.rest[end + terminator..];
        Some(line)
    }
}

/// Whether a line ends in an odd number of backslashes: in an even number they escape each other.
fn continues(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Key and value, still escaped. The key ends at the first bare `=`, `:` or blank; blanks and one `=` or `:` follow it.
fn split(logical: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = logical.find(|c: char| {
        let ends = !escaped && (c == '=' || c == ':' || BLANKS.contains(&c));
        escaped = !escaped && c == '\\';
        ends
    });
    let Some(end) = end else {
        return (logical, "");
    };
    let value = logical[end..].trim_start_matches(BLANKS);
    let value = value.strip_prefix(['=', ':']).unwrap_or(value);
    (&logical[..end], value.trim_start_matches(BLANKS))
}

/// Resolves `\t \n \r \f`, `\uXXXX` (UTF-16 units, so a pair makes one character) and `\c` for any other `c`.
fn unescape(text: &str) -> Result<String, Problem> {
    let mut plain = String::with_capacity(text.len());
    let mut units: Vec<u16> = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let escape = if c == '\\' { chars.next() } else { None };
        if escape == Some('u') {
            let digits = chars.as_str().get(..4).unwrap_or(chars.as_str());
            let unit = digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok());
            match unit.flatten().filter(|_| digits.len() == 4) {
                Some(unit) => units.push(unit),
                None => return Err(Problem::MalformedUnicodeEscape),
            }
            chars = chars.as_str()[4..].chars();
            continue;
        }
        flush_units(&mut units, &mut plain);
        plain.push(match escape {
            None if c == '\\' => break,
            None => c,
            Some('t') => '\t',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('f') => '\u{c}',
            Some(other) => other,
        });
    }
    flush_units(&mut units, &mut plain);
    Ok(plain)
}

fn flush_units(units: &mut Vec<u16>, plain: &mut String) {
    plain.extend(char::decode_utf16(units.drain(..)).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)));
}

/// What Java counts as white space within a line.
const BLANKS: [char; 3] = [' ', '\t', '\u{c}'];

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String, usize)> {
        parse(text).unwrap().into_iter().map(|p| (p.key, p.value, p.line)).collect()
    }

    fn one(text: &str) -> (String, String) {
        let found = pairs(text);
        assert_eq!(found.len(), 1, "one property in {text:?}, found {found:?}");
        (found[0].0.clone(), found[0].1.clone())
    }

    fn is(text: &str, key: &str, value: &str) {
        assert_eq!(one(text), (key.to_owned(), value.to_owned()), "{text:?}");
    }

    #[test]
    fn three_separators_with_and_without_blanks_around() {
        for text in ["k=v", "k:v", "k v", "  k = v  ", "k\tv", "k : v", "k\t=\tv", "\u{c}k=v"] {
            is(text, "k", "v");
        }
        is("k", "k", "");
        is("k=", "k", "");
        is("k==v", "k", "=v");
        is("server.1=h:2888:3888;2181", "server.1", "h:2888:3888;2181");
    }

    #[test]
    fn comments_and_blank_lines_are_skipped_but_counted() {
        let found = pairs("# a\n! b\n\n   \t\n  # c \\\nk=v\r\n\r\nx=y\rz=1");
        let lines: Vec<_> = found.iter().map(|(key, _, line)| (key.as_str(), *line)).collect();
        assert_eq!(lines, [("k", 6), ("x", 8), ("z", 9)], "a backslash does not continue a comment");
    }

    #[test]
    fn continuation_joins_lines_and_drops_the_indent() {
        is("k=a,\\\n    b,\\\r\n  c", "k", "a,b,c");
        is("k=a\\\n#b", "k", "a#b");
        is("k=a\\", "k", "a");
        is("k\\\n=v", "k", "v");
        assert_eq!(pairs("k=a\\\\\nx=y").len(), 2, "an escaped backslash does not continue");
        assert_eq!(pairs("k=a\\\n\nx=y").len(), 2, "an empty line ends a continuation");
    }

    #[test]
    fn escapes_in_key_and_value() {
        is(r"a\=b\:c\ d=v", "a=b:c d", "v");
        is(r"k=C\:\\dir\tx", "k", "C:\\dir\tx");
        is(r"k=\u0041\u00e9", "k", "A\u{e9}");
        is(r"k=\ud83d\ude00!", "k", "\u{1f600}!");
        is(r"k=\qx", "k", "qx");
    }

    #[test]
    fn malformed_unicode_escape_is_refused_with_its_line() {
        for text in ["\n\nk=\\u12", "\n\nk=\\u12g4", "\n\nk=\\u+123", "\n\nk=\\u\u{e9}\u{e9}\u{e9}"] {
            let (line, problem) = parse(text).unwrap_err();
            assert_eq!(line, 3, "{text:?}");
            assert!(matches!(problem, Problem::MalformedUnicodeEscape), "{problem}");
        }
    }
}
