//! What is printed: lines to stdout, JSON that is safe at a terminal, tables.

use std::borrow::Cow;
use std::io::{self, Write};

use serde_json::Value;

use super::text::is_unsafe;

/// Where answers go.
pub(crate) struct Output {
    stream: io::BufWriter<Box<dyn Write>>,
}

impl Output {
    pub(crate) fn stdout() -> Self {
        Self { stream: io::BufWriter::with_capacity(1 << 16, Box::new(io::stdout())) }
    }

    /// One line of text.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.stream, "{text}")
    }

    /// One object on one line.
    pub(crate) fn json_line(&mut self, value: &Value) -> io::Result<()> {
        writeln!(self.stream, "{}", safe(&value.to_string()))
    }

    /// One document, indented.
    pub(crate) fn json_document(&mut self, value: &Value) -> io::Result<()> {
        writeln!(self.stream, "{}", safe(&format!("{value:#}")))
    }

    /// Rows with columns of equal width, indented by two; columns of numbers to the right.
    pub(crate) fn table(&mut self, numbers: &[bool], rows: &[Vec<String>]) -> io::Result<()> {
        let width =
            |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..numbers.len()).map(|column| width(column).unwrap_or(0)).collect();
        for row in rows {
            let mut line = String::new();
            for ((cell, &width), &is_number) in row.iter().zip(&widths).zip(numbers) {
                let padding = " ".repeat(width - cell.chars().count());
                let (before, after) = if is_number { (padding.as_str(), "") } else { ("", padding.as_str()) };
                line += &format!("  {before}{cell}{after}");
            }
            self.line(line.trim_end())?;
        }
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// JSON that steers no terminal: such characters come out as `\u` and four digits. They are within strings, where that
/// means the same; but for the ends of lines, which are between them.
fn safe(json: &str) -> Cow<'_, str> {
    let is_hostile = |c: char| c != '\n' && is_unsafe(c);
    if !json.contains(is_hostile) {
        return json.into();
    }
    let mut out = String::with_capacity(json.len() + 8);
    for c in json.chars() {
        if is_hostile(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out += &format!("\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_is_safe_at_a_terminal_and_means_the_same() {
        let value = json!({"p\u{9b}": "/a\u{202e}\u{e0001}\u{7f}\n\u{1b}ü", "n": [1, {"x": null}]});
        for json in [value.to_string(), format!("{value:#}")] {
            let text = safe(&json);
            assert!(!text.chars().any(|c| c != '\n' && is_unsafe(c)), "{text}");
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value, "{text}");
        }
    }
}
