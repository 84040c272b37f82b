//! The secret behind session passwords (design rule 12): made at the first start, kept beside the data.
//!
//! A text file of mode 0600: the key in hex on the first line, then one id a line: sessions that were there when the
//! key was made, which keep ZooKeeper's computable password until they end.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use gk_node::password::{KEY_LEN, Passwords};
use gk_proto::SessionId;
use gk_tree::Tree;

use crate::error::ServeError;

/// Name of the file in the data directory.
const FILE: &str = "gamekeeper.session-key";

/// Reads the key of this data directory, making it first if there is none.
pub(crate) fn load_or_make(data_dir: &Path, tree: &Tree) -> Result<Passwords, ServeError> {
    let path = data_dir.join(FILE);
    let read = || std::fs::read_to_string(&path);
    let text = match read() {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => make(data_dir, &path, tree).and_then(|()| read()),
        other => other,
    };
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "it is not a session key");
    text.and_then(|text| parse(&text).ok_or_else(damaged))
        .map_err(|source| ServeError::Key { path: path.clone(), source })
}

/// Written whole under another name first: a crash leaves either no key or a whole one.
fn make(data_dir: &Path, path: &Path, tree: &Tree) -> io::Result<()> {
    let mut key = [0; KEY_LEN];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    let mut text = hex(&key);
    for (session, _) in tree.sessions() {
        text.push_str(&format!("\n{:x}", session.0));
    }
    text.push('\n');
    let made = data_dir.join(format!("{FILE}.new"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&made)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&made, path)?;
    File::open(data_dir)?.sync_all()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse(text: &str) -> Option<Passwords> {
    let mut lines = text.lines();
    let first = lines.next()?;
    let mut key = [0; KEY_LEN];
    if first.len() != 2 * KEY_LEN {
        return None;
    }
    for (i, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(first.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    let older: Option<BTreeSet<SessionId>> =
        lines.map(|line| u64::from_str_radix(line, 16).ok().map(SessionId)).collect();
    Some(Passwords::Keyed { key, older: older? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_round_trips() {
        let text = format!("{}\n1000019dbcc0000\nff\n", hex(&[7; KEY_LEN]));
        let Some(Passwords::Keyed { key, older }) = parse(&text) else { panic!("parses") };
        assert_eq!(key, [7; KEY_LEN], "key");
        assert_eq!(older, BTreeSet::from([SessionId(0x0100_0019_dbcc_0000), SessionId(255)]), "older sessions");
    }

    #[test]
    fn a_damaged_key_file_is_refused() {
        for text in ["", "abc", "zz", &hex(&[1; 31]), &format!("{}\nnot hex", hex(&[1; 32]))] {
            assert!(parse(text).is_none(), "{text:?}");
        }
    }
}
