//! Whether a start does what `inspect check` says: asked of the storage, change by change, and of a whole server.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use gk_storage::{Opened, RealDisk, StorageError, StoreOptions};
use serde_json::{Value, json};

use crate::directories::{self, TTL, copy, gamekeeper, inspect};

/// What `inspect check` said.
pub(crate) struct Prediction {
    pub(crate) code: i32,
    pub(crate) json: Value,
    pub(crate) text: String,
}

/// Checks a directory, and holds what is said of its next start against starts on copies of it: with and without the
/// acceptance of a loss, and by a server.
pub(crate) fn check_and_start(dir: &Path) -> Prediction {
    let path = dir.to_str().unwrap();
    let output = inspect(dir, &["check", path, TTL, "--output", "json"]);
    let text = inspect(dir, &["check", path, TTL]);
    assert_eq!(output.status.code(), text.status.code(), "one verdict in both forms");
    let code = output.status.code().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&text.stdout), String::from_utf8_lossy(&text.stderr));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_store_does(dir, &json["start"], false);
    if !json["start_accepting_data_loss"].is_null() {
        assert_store_does(dir, &json["start_accepting_data_loss"], true);
    }
    assert_server_does(dir, code);
    Prediction { code, json, text }
}

/// Opens a copy and compares what came out, and every file, with what was said.
fn assert_store_does(dir: &Path, said: &Value, accept_loss: bool) {
    let copied = copy(dir);
    // What was said names files where they were: the copy takes the place of the original for a moment.
    let aside = dir.with_extension("aside");
    fs::rename(dir, &aside).unwrap();
    fs::rename(copied.path(), dir).unwrap();
    let before = directories::state(dir);
    let options = StoreOptions { accept_loss, ..directories::options(dir) };
    let opened = gk_storage::open(Arc::new(RealDisk), &options);
    let did = outcome(&opened);
    let after = directories::state(dir);
    let opened_well = opened.is_ok();
    drop(opened);
    fs::rename(dir, copied.path()).unwrap();
    fs::rename(&aside, dir).unwrap();

    for (key, value) in did.as_object().unwrap() {
        if key == "error" && changes_names(dir) {
            continue;
        }
        assert_eq!(&said[key], value, "{key}, accept_loss {accept_loss}");
    }
    let differs = |path: &PathBuf| before.get(path).map(|file| &file.0) != after.get(path).map(|file| &file.0);
    let changed: BTreeSet<PathBuf> = (before.keys().chain(after.keys()))
        .filter(|path| differs(path) && !path.ends_with("gamekeeper/lock") && !is_dir_of(path, &before, &after))
        .cloned()
        .collect();
    let mut expected = BTreeSet::new();
    let relative = |file: &Value| Path::new(file.as_str().unwrap()).strip_prefix(dir).unwrap().to_owned();
    for change in said["changes"].as_array().into_iter().flatten() {
        let path = relative(&change["file"]);
        expected.extend(explain(change, &path, &before, &after));
    }
    for file in said["removes_unfinished"].as_array().into_iter().flatten() {
        expected.insert(relative(file));
    }
    if said["writes_snapshot"] == true {
        let zxid = said["last_zxid"].as_str().unwrap().trim_start_matches("0x");
        expected.insert(format!("version-2/snapshot.{zxid}").into());
    }
    if opened_well {
        assert_eq!(changed, expected.into_iter().filter(differs).collect(), "what was said changes, and nothing else");
    } else {
        assert_eq!(changed, BTreeSet::new(), "a start that is refused changes nothing");
    }
}

/// Where the directory is no directory, a start fails as it makes what is missing, which looking does not try.
fn changes_names(dir: &Path) -> bool {
    !dir.join("version-2").is_dir() && dir.join("version-2").exists()
}

type State = std::collections::BTreeMap<PathBuf, (Vec<u8>, i64, u32)>;

fn is_dir_of(path: &Path, before: &State, after: &State) -> bool {
    const DIRECTORY: u32 = 0o040_000;
    let mode = after.get(path).or(before.get(path)).unwrap().2;
    mode & 0o170_000 == DIRECTORY
}

/// Asserts that one change was made, and names the files that it may touch.
fn explain(change: &Value, path: &Path, before: &State, after: &State) -> Vec<PathBuf> {
    const HEADER: usize = 16;
    let number = |key: &str| usize::try_from(change[key].as_u64().unwrap()).unwrap();
    let (dir, name) = (path.parent().unwrap(), path.file_name().unwrap().to_str().unwrap());
    let own = if dir.ends_with("gamekeeper") { dir.to_owned() } else { dir.join("gamekeeper") };
    let marks_of = |name: &str| own.join(format!("{name}.marks"));
    let aside = own.join(format!("set-aside/{name}.1"));
    match change["change"].as_str().unwrap() {
        "remove" => {
            assert!(!after.contains_key(path), "{} is gone", path.display());
            vec![path.to_owned()]
        }
        "cut" => {
            let at = number("at");
            assert_eq!(after[path].0, before[path].0[..at], "{} is cut at {at}", path.display());
            vec![path.to_owned()]
        }
        "copy" => {
            let first = change["first"].as_str().unwrap().trim_start_matches("0x");
            let copied = dir.join(format!("log.{first}"));
            let records = &before[path].0[number("from")..number("to")];
            assert_eq!(&after[&copied].0[HEADER..], records, "{} has the records", copied.display());
            let marks = marks_of(&format!("log.{first}"));
            assert!(after.contains_key(&marks), "{} is there", marks.display());
            vec![copied, marks]
        }
        "set_aside" => {
            assert_eq!(after[&aside].0, before[path].0, "{} is set aside", path.display());
            assert!(!after.contains_key(path) || path.ends_with("log.1"), "{} is not in its place", path.display());
            vec![path.to_owned(), aside, marks_of(name)]
        }
        "keep_copy" => {
            assert_eq!(after[&aside].0, before[path].0, "{} is kept", path.display());
            vec![aside]
        }
        other => panic!("an unknown change {other}"),
    }
}

fn outcome(opened: &Result<Opened, StorageError>) -> Value {
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) => return json!({"goes_on": false, "error": error.to_string()}),
    };
    let (tree, report) = (&opened.tree, &opened.report);
    json!({
        "goes_on": true,
        "snapshot": report.snapshot,
        "fresh": report.fresh,
        "logs": report.logs,
        "txns": report.replayed.txns,
        "last_zxid": format!("0x{}", report.last_zxid),
        "nodes": tree.node_count() - 1,
        "sessions": tree.session_count(),
        "orphans_deleted": report.orphans,
        "unknown_acls": report.unknown_acls,
        "digests_checked": report.digests_checked,
        "digest_mismatches": report.digest_mismatch_count,
        "warnings": report.warnings,
    })
}

/// A server on a copy: it serves where `inspect` ended with 0 or 11, and else ends with the code of `inspect`.
fn assert_server_does(dir: &Path, code: i32) {
    let copied = copy(dir);
    let arguments = ["serve", "--listen", "0", "--data-dir", copied.path().to_str().unwrap(), TTL];
    assert_serves_or_ends(gamekeeper(&arguments), code);
}

pub(crate) fn assert_serves_or_ends(mut server: Command, code: i32) {
    let mut child = server.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let serves = BufReader::new(child.stdout.take().unwrap()).lines().any(|line| line.unwrap().contains("  stop"));
    if serves {
        child.kill().unwrap();
    }
    let ended = child.wait().unwrap();
    match code {
        0 | 11 => assert!(serves, "inspect said {code}, and the server ended: {ended}"),
        _ => assert_eq!((serves, ended.code()), (false, Some(code)), "inspect said {code}"),
    }
}
