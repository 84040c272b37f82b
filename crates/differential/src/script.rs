//! Steps as data and as text: what a seed draws, what a shrunk difference is printed as, what `--script` replays.
//!
//! A script is a text of lines. `#` begins a comment. `option NAME=VALUE` lines come first. Every other line is a step:
//! the number of a slot (a place for one connection to each server), and what happens there.
//!
//! | line | what happens |
//! |---|---|
//! | `3 !open s7 60000` | a connection with a new session, called s7 from now on, asking for a timeout of 60000 ms |
//! | `3 !open s7 60000 short`, `… ahead` | the same without the last byte of the handshake; with a zxid no server has reached |
//! | `3 !resume s7 right 60000` | a connection that resumes s7; instead of `right` also `wrong`, `empty`, or another session's name |
//! | `3 !cut` | the client ends the connection; the session lives on |
//! | `3 !bytes 0xffffffff` | these bytes, after which servers close |
//! | `3 create "/a" "x" 1 31 "world" "anyone" 0` | a request: its operation, then the fields of its body in jute |
//! | `3 delete "/a" -1 \| exists "/a" true` | two requests, sent at once |
//!
//! Fields: `5` int, `5L` long, `true`, `"text"` a string or buffer (`\xNN` for a byte), `null`, `x*1000` a buffer of a
//! thousand letters, `zxid-3` the last zxid of this connection less three, `0x…` bytes as they are. Counts of vectors
//! are ints. An operation without a name is `op99`.

use std::fmt;

use gk_proto::Xid;
use gk_proto::jute::Write as _;
use gk_proto::op::OpCode;

use crate::options::Options;

/// Options, and steps one after the other.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Script {
    pub(crate) options: Options,
    pub(crate) steps: Vec<Step>,
}

/// What happens in one slot, on both servers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Step {
    pub(crate) slot: usize,
    pub(crate) action: Action,
}

/// What happens there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    Open { session: String, timeout_ms: i32, form: Form },
    Resume { session: String, password: Password, timeout_ms: i32 },
    Cut,
    Bytes(Vec<u8>),
    Send(Vec<Frame>),
}

/// How a handshake looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    Plain,
    /// Without the byte that old clients do not know.
    Short,
    /// With a zxid that no server has reached.
    Ahead,
}

/// With what a session is resumed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Password {
    Right,
    Wrong,
    Empty,
    /// That of another session.
    Of(String),
}

/// A request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Frame {
    /// See [`OPERATIONS`]; any other number too.
    pub(crate) op: i32,
    pub(crate) fields: Vec<Field>,
}

/// One value in the body of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Field {
    Int(i32),
    Long(i64),
    Boolean(bool),
    Buffer(Option<Vec<u8>>),
    /// A buffer of so many letters.
    Fill(usize),
    /// The last zxid that the connection has seen, less so much.
    ZxidLess(i64),
    Raw(Vec<u8>),
}

impl Field {
    /// A string.
    pub(crate) fn text(text: &str) -> Self {
        Self::Buffer(Some(text.as_bytes().to_vec()))
    }

    fn encode(&self, last_zxid: i64, out: &mut Vec<u8>) {
        match self {
            Self::Int(value) => out.put_int(*value),
            Self::Long(value) => out.put_long(*value),
            Self::Boolean(value) => out.put_boolean(*value),
            Self::Buffer(bytes) => out.put_buffer(bytes.as_deref()),
            Self::Fill(length) => out.put_buffer(Some(&vec![b'x'; *length])),
            Self::ZxidLess(less) => out.put_long(last_zxid - less),
            Self::Raw(bytes) => out.extend_from_slice(bytes),
        }
    }
}

impl Frame {
    /// A request of a known operation.
    pub(crate) fn new(op: OpCode, fields: Vec<Field>) -> Self {
        Self { op: op.code(), fields }
    }

    /// Appends length, header and body; `number` is the xid unless the operation has one of its own.
    pub(crate) fn encode(&self, number: i32, last_zxid: i64, out: &mut Vec<u8>) {
        let xid = match OpCode::from_code(self.op) {
            Some(OpCode::Ping) => Xid::PING.0,
            Some(OpCode::Auth) => Xid::AUTH.0,
            Some(OpCode::SetWatches | OpCode::SetWatches2) => Xid::SET_WATCHES.0,
            _ => number,
        };
        gk_proto::reply::frame(out, |out| {
            out.put_int(xid);
            out.put_int(self.op);
            for field in &self.fields {
                field.encode(last_zxid, out);
            }
        });
    }
}

/// What only servers ask of each other.
pub(crate) const CREATE_SESSION: i32 = -10;
pub(crate) const DELETE_CONTAINER: i32 = 20;

/// Names of operations in scripts and tables.
pub(crate) const OPERATIONS: &[(&str, i32)] = &[
    ("create", 1),
    ("create2", 15),
    ("createContainer", 19),
    ("createTTL", 21),
    ("delete", 2),
    ("deleteContainer", DELETE_CONTAINER),
    ("setData", 5),
    ("setACL", 7),
    ("check", 13),
    ("multi", 14),
    ("sync", 9),
    ("reconfig", 16),
    ("createSession", CREATE_SESSION),
    ("closeSession", -11),
    ("exists", 3),
    ("getData", 4),
    ("getACL", 6),
    ("getChildren", 8),
    ("getChildren2", 12),
    ("getAllChildrenNumber", 104),
    ("getEphemerals", 103),
    ("whoAmI", 107),
    ("multiRead", 22),
    ("addWatch", 106),
    ("checkWatches", 17),
    ("removeWatches", 18),
    ("setWatches", 101),
    ("setWatches2", 105),
    ("auth", 100),
    ("sasl", 102),
    ("ping", 11),
];

/// The name of an operation.
pub(crate) fn operation_name(op: i32) -> String {
    OPERATIONS.iter().find(|(_, code)| *code == op).map_or_else(|| format!("op{op}"), |(name, _)| (*name).to_owned())
}

/// Bytes as a quoted text.
pub(crate) fn quoted(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for byte in bytes {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => text += &format!("\\x{byte:02x}"),
        }
    }
    text.push('"');
    text
}

/// Bytes in hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::from("0x"), |text, byte| text + &format!("{byte:02x}"))
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.options)?;
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.slot)?;
        match &self.action {
            Action::Open { session, timeout_ms, form } => {
                let form = match form {
                    Form::Plain => "",
                    Form::Short => " short",
                    Form::Ahead => " ahead",
                };
                write!(f, "!open {session} {timeout_ms}{form}")
            }
            Action::Resume { session, password, timeout_ms } => {
                let password = match password {
                    Password::Right => "right",
                    Password::Wrong => "wrong",
                    Password::Empty => "empty",
                    Password::Of(other) => other,
                };
                write!(f, "!resume {session} {password} {timeout_ms}")
            }
            Action::Cut => write!(f, "!cut"),
            Action::Bytes(bytes) => write!(f, "!bytes {}", hex(bytes)),
            Action::Send(frames) => {
                let frames: Vec<String> = frames.iter().map(Frame::to_string).collect();
                write!(f, "{}", frames.join(" | "))
            }
        }
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", operation_name(self.op))?;
        self.fields.iter().try_for_each(|field| write!(f, " {field}"))
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => write!(f, "{value}"),
            Self::Long(value) => write!(f, "{value}L"),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Buffer(None) => write!(f, "null"),
            Self::Buffer(Some(bytes)) => write!(f, "{}", quoted(bytes)),
            Self::Fill(length) => write!(f, "x*{length}"),
            Self::ZxidLess(less) => write!(f, "zxid-{less}"),
            Self::Raw(bytes) => write!(f, "{}", hex(bytes)),
        }
    }
}

impl Script {
    /// Reads a script; an error names the line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut script = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let read = if let Some(option) = line.strip_prefix("option ") {
                script.options.set(option)
            } else {
                parse_step(line).map(|step| script.steps.push(step))
            };
            read.map_err(|problem| format!("line {number}: {problem}: {line}"))?;
        }
        Ok(script)
    }
}

fn parse_step(line: &str) -> Result<Step, String> {
    let mut words = words(line)?.into_iter();
    let mut word = move || words.next();
    let slot = word().ok_or("no slot")?.parse().map_err(|_| "a step begins with the number of a slot")?;
    let first = word().ok_or("no action")?;
    let mut need = |what: &str| word().ok_or_else(|| format!("{what} is missing"));
    let number = |text: String| text.parse::<i32>().map_err(|_| format!("{text} is no number"));
    let action = match first.as_str() {
        "!open" => {
            let (session, timeout_ms) = (need("session")?, number(need("timeout")?)?);
            let form = match need("form").ok().as_deref() {
                None => Form::Plain,
                Some("short") => Form::Short,
                Some("ahead") => Form::Ahead,
                Some(other) => return Err(format!("unknown form {other}")),
            };
            Action::Open { session, timeout_ms, form }
        }
        "!resume" => {
            let session = need("session")?;
            let password = match need("password")?.as_str() {
                "right" => Password::Right,
                "wrong" => Password::Wrong,
                "empty" => Password::Empty,
                other => Password::Of(other.to_owned()),
            };
            Action::Resume { session, password, timeout_ms: number(need("timeout")?)? }
        }
        "!cut" => Action::Cut,
        "!bytes" => Action::Bytes(unhex(&need("bytes")?)?),
        _ => {
            let mut all = vec![first];
            all.extend(std::iter::from_fn(|| need("").ok()));
            let frames: Result<Vec<Frame>, String> = all.split(|word| word == "|").map(parse_frame).collect();
            Action::Send(frames?)
        }
    };
    Ok(Step { slot, action })
}

fn parse_frame(words: &[String]) -> Result<Frame, String> {
    let (name, fields) = words.split_first().ok_or("an empty request")?;
    let named = OPERATIONS.iter().find(|(known, _)| known == name).map(|(_, code)| *code);
    let op = match named {
        Some(code) => code,
        None => name.strip_prefix("op").and_then(|code| code.parse().ok()).ok_or(format!("no operation {name}"))?,
    };
    let fields: Result<Vec<Field>, String> = fields.iter().map(|word| parse_field(word)).collect();
    Ok(Frame { op, fields: fields? })
}

fn parse_field(word: &str) -> Result<Field, String> {
    let bad = || format!("{word} is no field");
    Ok(match word {
        "true" => Field::Boolean(true),
        "false" => Field::Boolean(false),
        "null" => Field::Buffer(None),
        _ if word.starts_with('"') => Field::Buffer(Some(unquoted(word)?)),
        _ if word.starts_with("0x") => Field::Raw(unhex(word)?),
        _ => {
            if let Some(length) = word.strip_prefix("x*") {
                Field::Fill(length.parse().map_err(|_| bad())?)
            } else if let Some(less) = word.strip_prefix("zxid-") {
                Field::ZxidLess(less.parse().map_err(|_| bad())?)
            } else if let Some(long) = word.strip_suffix('L') {
                Field::Long(long.parse().map_err(|_| bad())?)
            } else {
                Field::Int(word.parse().map_err(|_| bad())?)
            }
        }
    })
}

/// Words between spaces; a quoted text is one word, with its quotes.
fn words(line: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut is_quoted) = (Vec::new(), String::new(), false);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        if letter == ' ' && !is_quoted {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            continue;
        }
        word.push(letter);
        match letter {
            '"' => is_quoted = !is_quoted,
            '\\' if is_quoted => word.extend(letters.next()),
            _ => {}
        }
    }
    if is_quoted {
        return Err("a quote is not closed".to_owned());
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    Ok(words)
}

fn unquoted(word: &str) -> Result<Vec<u8>, String> {
    let inside = word.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or("a quote inside of a word")?;
    let (mut bytes, mut rest) = (Vec::new(), inside.bytes());
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next() {
            Some(b'x') => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                let digits = String::from_utf8(digits).unwrap_or_default();
                bytes.push(u8::from_str_radix(&digits, 16).map_err(|_| format!("\\x{digits} is no byte"))?);
            }
            Some(other) => bytes.push(other),
            None => return Err("a backslash at the end".to_owned()),
        }
    }
    Ok(bytes)
}

fn unhex(word: &str) -> Result<Vec<u8>, String> {
    let bad = || format!("{word} are no bytes");
    let digits = word.strip_prefix("0x").filter(|digits| digits.len() % 2 == 0).ok_or_else(bad)?;
    let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap_or_default());
    pairs.map(|pair| u8::from_str_radix(pair, 16).map_err(|_| bad())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_back() {
        let text = "option enforceQuota=true\n3 !open s7 60000 short\n3 !resume s7 s2 5\n1 !cut\n2 !bytes 0xffff\n\
                    0 create \"/a\\xc3\\xbc\\\"\\\\ |\" null 1 31 \"world\" \"anyone\" 0 | exists \"/a\" true\n\
                    4 setWatches zxid-3 0 0 0\n4 op99 5L 0x00 x*12 -1\n4 ping\n";
        let script = Script::parse(text).unwrap();
        assert_eq!(script.to_string(), text);
        assert_eq!(script.steps.len(), 8, "each line but the option is a step");
    }

    #[test]
    fn a_line_that_is_no_step_is_named() {
        for line in ["x", "1", "1 nothing", "1 create \"", "1 create zx", "1 !open s1", "1 !bytes 0x0", "option a=b"] {
            let error = Script::parse(&format!("# comment\n{line}\n")).unwrap_err();
            assert!(error.starts_with("line 2: "), "{line}: {error}");
        }
    }

    #[test]
    fn fields_become_jute() {
        let frame = |text: &str| {
            let Action::Send(mut frames) = Script::parse(text).unwrap().steps.remove(0).action else {
                panic!("no request: {text}");
            };
            frames.remove(0)
        };
        let mut out = Vec::new();
        frame("0 op7 1 2L true null \"a\" x*1 zxid-3 0xff").encode(9, 5, &mut out);
        let body = b"\0\0\0\x01\0\0\0\0\0\0\0\x02\x01\xff\xff\xff\xff\0\0\0\x01a\0\0\0\x01x\0\0\0\0\0\0\0\x02\xff";
        assert_eq!(out, [b"\0\0\0\x2c\0\0\0\x09\0\0\0\x07".as_slice(), body].concat());
    }
}
