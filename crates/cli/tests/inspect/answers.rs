//! What is printed: held against what a client of ZooKeeper read, and what another program found in the logs.

use std::collections::BTreeMap;
use std::fs;

use base64::Engine as _;
use gk_proto::acl::{Acl, Id};
use gk_proto::txn::{CreateKind, LoggedTxn, Txn, TxnHeader};
use gk_proto::{SessionId, WallTime, Xid, Zxid};
use serde_json::{Value, json};

use crate::directories::{TTL, answer, gamekeeper, golden, golden_file, inspect, open, ours};

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn expected_tree() -> Value {
    serde_json::from_slice(&fs::read(golden_file("standalone/expected-tree.json")).unwrap()).unwrap()
}

#[test]
fn log_has_every_record_where_another_program_found_it() {
    let dir = golden("standalone");
    let found = lines(&answer(dir.path(), &["log", dir.path().to_str().unwrap(), "--output", "json"]));
    let expected = fs::read_to_string(golden_file("standalone/txns.jsonl")).unwrap();
    let expected: Vec<Value> = lines(&expected).into_iter().filter(|line| line["hdr"].is_object()).collect();
    assert_eq!(found.len(), expected.len(), "records");
    let codes = BTreeMap::from([
        ("create", 1),
        ("delete", 2),
        ("setData", 5),
        ("setACL", 7),
        ("multi", 14),
        ("create2", 15),
        ("createContainer", 19),
        ("deleteContainer", 20),
        ("createTTL", 21),
        ("createSession", -10),
        ("closeSession", -11),
        ("error", -1),
    ]);
    for (found, expected) in found.iter().zip(&expected) {
        let header = &expected["hdr"];
        assert!(found["file"].as_str().unwrap().ends_with(expected["file"].as_str().unwrap()), "{expected}");
        assert_eq!(found["offset"], expected["offset"], "{expected}");
        assert_eq!(found["zxid"], header["zxid"], "{expected}");
        assert_eq!(found["session"], header["clientId"], "{expected}");
        assert_eq!(found["cxid"], header["cxid"], "{expected}");
        assert_eq!(found["time_ms"], header["time"], "{expected}");
        assert_eq!(json!(codes[found["type"].as_str().unwrap()]), header["type"], "{expected}");
        assert_eq!(found["path"], expected["rec"]["path"], "{expected}");
    }
}

#[test]
fn tree_is_what_a_client_read() {
    let (dir, expected) = (golden("standalone"), expected_tree());
    let arguments = ["tree", dir.path().to_str().unwrap(), TTL, "--output", "json", "--data", "--digests"];
    let found = lines(&answer(dir.path(), &arguments));
    assert_eq!(found[0]["tree"]["zxid"], expected["lastZxid"], "last txn");
    let sessions: BTreeMap<&str, i64> = (found.iter().filter(|line| line["timeout_ms"].is_i64()))
        .map(|line| (line["session"].as_str().unwrap(), line["timeout_ms"].as_i64().unwrap()))
        .collect();
    assert_eq!(json!(sessions), expected["sessions"], "sessions");
    let nodes: BTreeMap<&str, &Value> = found.iter().filter_map(|line| Some((line["path"].as_str()?, line))).collect();
    let expected = expected["tree"].as_object().unwrap();
    assert_eq!(nodes.keys().copied().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "paths");
    let hex = |base64: &Value| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(base64.as_str()?).unwrap();
        Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    };
    for (path, node) in &nodes {
        let (expected, stat) = (&expected[*path], &expected[*path]["stat"]);
        let acl = |acl: &Value| json!([acl["perms"], acl["scheme"], acl["id"]]);
        let list: Vec<Value> = node["acl"].as_array().unwrap().iter().map(acl).collect();
        assert_eq!(json!(list), expected["acl"], "ACL of {path}");
        assert_eq!(node["children"], stat["numChildren"], "{path}");
        if path.ends_with("zookeeper_stats") || *path == "/zookeeper/config" {
            // Computed by each server for itself.
            continue;
        }
        assert_eq!(
            hex(&node["data_base64"]).unwrap_or_default(),
            expected["data"].as_str().unwrap_or_default(),
            "{path}"
        );
        for (ours, theirs) in [("czxid", "czxid"), ("mzxid", "mzxid"), ("pzxid", "pzxid")] {
            let zxid = format!("{:#x}", stat[theirs].as_u64().unwrap_or_else(|| hex_of(&stat[theirs])));
            assert_eq!(node[ours], zxid, "{ours} of {path}");
        }
        assert_eq!((&node["ctime_ms"], &node["mtime_ms"]), (&stat["ctime"], &stat["mtime"]), "{path}");
        assert_eq!((&node["version"], &node["acl_version"]), (&stat["version"], &stat["aversion"]), "{path}");
    }
}

fn hex_of(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

#[test]
fn snapshots_say_the_same_in_every_compression() {
    let mut answers = Vec::new();
    for name in ["snapshot.5f", "snapshot.5f.gz", "snapshot.5f.snappy"] {
        let dir = golden(&format!("compressed/{name}"));
        let file = dir.path().join("version-2").join(name);
        let by_file = answer(dir.path(), &["snapshot", file.to_str().unwrap(), TTL]);
        let by_directory = answer(dir.path(), &["snapshot", dir.path().to_str().unwrap(), TTL]);
        assert_eq!(by_file, by_directory, "{name}");
        let (head, rest) = by_file.split_once('\n').unwrap();
        assert_eq!(head, name);
        let (nodes, end) = rest.trim_end().rsplit_once('\n').unwrap();
        assert!(end.contains("after txn 0x5f; every checksum is right"), "{end}");
        answers.push(nodes.to_owned());
    }
    assert!(answers[0].contains("  ttl 3600 s          /ttl\n"), "{}", answers[0]);
    assert!(answers[0] == answers[1] && answers[0] == answers[2], "the same nodes");
}

#[test]
fn a_tree_before_the_oldest_snapshot_or_behind_the_end_is_said_to_be_so() {
    let dir = golden("standalone");
    let path = dir.path().to_str().unwrap();
    let behind = inspect(dir.path(), &["tree", path, "--at", "0x1000"]);
    assert_eq!(behind.status.code(), Some(0));
    assert_eq!(behind.stderr, b"gamekeeper: the files end before 0x1000, at 0x5f\n");
    for name in ["log.1", "snapshot.0", "snapshot.17"] {
        fs::remove_file(dir.path().join("version-2").join(name)).unwrap();
    }
    let before = inspect(dir.path(), &["tree", path, "--at", "0x20"]);
    assert_eq!(before.status.code(), Some(1));
    let text = String::from_utf8(before.stderr).unwrap();
    assert!(text.starts_with("gamekeeper: the tree at 0x20 cannot be made any more"), "{text}");
}

#[test]
fn every_tree_that_was_is_the_one_that_the_logs_make() {
    let dir = golden("standalone");
    let path = dir.path().to_str().unwrap();
    let at = |zxid: u64| answer(dir.path(), &["tree", path, TTL, "--output", "json", "--at", &format!("{zxid:x}")]);
    let with_snapshots: Vec<String> = (0..=0x5f).step_by(5).map(at).collect();
    for name in ["snapshot.17", "snapshot.30", "snapshot.58"] {
        fs::remove_file(dir.path().join("version-2").join(name)).unwrap();
    }
    let from_the_first_txn: Vec<String> = (0..=0x5f).step_by(5).map(at).collect();
    // Usage of quotas is counted at the load of a snapshot, as every server does.
    let without_usage = |trees: Vec<String>| -> Vec<Vec<String>> {
        let lines =
            |tree: String| tree.lines().filter(|line| !line.contains("zookeeper_stats")).map(str::to_owned).collect();
        trees.into_iter().map(lines).collect()
    };
    assert_eq!(without_usage(with_snapshots), without_usage(from_the_first_txn));
}

#[test]
fn log_is_cut_by_path_subtree_session_zxid_and_time() {
    let dir = golden("standalone");
    let zxids = |more: &[&str]| -> Vec<u64> {
        let arguments = [&["log", dir.path().to_str().unwrap(), "--output", "json"], more].concat();
        lines(&answer(dir.path(), &arguments)).iter().map(|line| hex_of(&line["zxid"])).collect()
    };
    assert_eq!(zxids(&["--path", "/p/empty"]), [0x5, 0x22], "one path");
    assert_eq!(zxids(&["--below", "/p/empty"]), [0x5, 0x14, 0x15, 0x22], "a subtree");
    assert_eq!(zxids(&["--path", "/eb"]), [0x18, 0x36], "with the end of its session");
    assert_eq!(zxids(&["--session", "0x100000f40b30001"]), [0x2, 0x18, 0x19, 0x36], "a session");
    assert_eq!(zxids(&["--from", "0x30", "--to", "33"]), [0x30, 0x31, 0x32, 0x33], "across two logs");
    let time = ["--since", "2026-11-20T08:03:05.924Z", "--until", "1795161785947"];
    assert_eq!(zxids(&time), [0x1, 0x2], "a span of time, its end not in it");
    let none = answer(dir.path(), &["log", dir.path().to_str().unwrap(), "--path", "/nowhere"]);
    assert_eq!(none, "Nothing of that kind in 4 logs.\n");
}

#[test]
fn who_tells_the_last_change_from_logs_and_where_those_are_gone_from_the_stat() {
    let dir = golden("standalone");
    let path = dir.path().to_str().unwrap();
    let text = answer(dir.path(), &["who", path, "/p/empty"]);
    let first =
        "/p/empty\n  last change: ACL set by session 0x100000f40b30000 with txn 0x22 at 2026-11-20T08:03:06.003Z\n";
    assert!(text.starts_with(first), "{text}");
    assert!(text.contains("child created or deleted  0x14"), "{text}");
    let gone = answer(dir.path(), &["who", path, "/eb"]);
    assert!(gone.contains("last change: deleted by session 0x100000f40b30001 with txn 0x36"), "{gone}");
    assert!(gone.contains("closeSession  log.32, byte ") && gone.contains("now: not there"), "{gone}");
    let nothing = inspect(dir.path(), &["who", path, "/never"]);
    assert_eq!(nothing.status.code(), Some(1));
    fs::remove_file(dir.path().join("version-2/log.1")).unwrap();
    fs::remove_file(dir.path().join("version-2/log.19")).unwrap();
    let json = answer(dir.path(), &["who", path, "/p", "--output", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let (created, set) = (&json["changes"]["created"], &json["changes"]["data_set"]);
    assert_eq!((&created["zxid"], &created["session"]), (&json!("0x4"), &Value::Null), "{json}");
    assert_eq!((&set["zxid"], &json["last_change"]), (&json!("0x25"), &json!("data_set")), "{json}");
}

#[test]
fn diff_of_two_snapshots_is_the_diff_of_their_txns() {
    let dir = golden("standalone");
    let version_dir = dir.path().join("version-2");
    let file = |name: &str| version_dir.join(name).to_str().unwrap().to_owned();
    // The first was written by a server without traffic, the other holds parts of nothing later.
    let files = answer(dir.path(), &["diff", &file("snapshot.0"), &file("snapshot.58"), TTL, "--below", "/p"]);
    let times =
        answer(dir.path(), &["diff", dir.path().to_str().unwrap(), "--from", "0", "--to", "58", TTL, "--below", "/p"]);
    assert_eq!(files, times);
    assert!(files.starts_with("from the tree after 0x0 to that after 0x58\n+ /p  8 B\n+ /p/empty  0 B\n"), "{files}");
    let one = answer(dir.path(), &["diff", dir.path().to_str().unwrap(), "--from", "23", "--to", "25", TTL]);
    let changed = "~ /p  data 10 B -> 8 B, version 0 -> 2, changed by 0x4 -> 0x25\n";
    assert_eq!(one, format!("from the tree after 0x23 to that after 0x25\n{changed}0 added, 0 removed, 1 changed\n"));
}

/// Data, and the hashes behind passwords in ACLs, show where they were asked for and nowhere else.
#[test]
fn secrets_show_on_request_only() {
    let dir = golden("standalone");
    let path = dir.path().to_str().unwrap();
    let expected = expected_tree();
    let acls = expected["tree"].as_object().unwrap().values().flat_map(|node| node["acl"].as_array().unwrap());
    let hashes: Vec<&str> = (acls.filter(|acl| acl[1] == "digest"))
        .map(|acl| acl[2].as_str().unwrap().split_once(':').unwrap().1)
        .collect();
    assert!(!hashes.is_empty(), "there are digests to hide");
    let questions: [&[&str]; 6] = [
        &["check", path],
        &["log", path],
        &["snapshot", path],
        &["tree", path],
        &["diff", path, "--from", "0"],
        &["who", path, "/acl"],
    ];
    let ask = |question: &[&str], more: &[&str]| answer(dir.path(), &[question, &[TTL], more].concat());
    let persistent = base64::engine::general_purpose::STANDARD.encode("persistent");
    for question in questions {
        for format in ["text", "json"] {
            let text = ask(question, &["--output", format]);
            assert!(!hashes.iter().any(|hash| text.contains(hash)), "{question:?}: {text}");
            assert!(!text.contains("\"persistent\"") && !text.contains(&persistent), "{question:?}: {text}");
        }
    }
    for question in &questions[1..] {
        let text = ask(question, &["--digests"]);
        assert!(hashes.iter().any(|hash| text.contains(hash)) || question[0] == "diff", "{question:?}: {text}");
    }
    assert!(ask(questions[1], &["--data"]).contains("/p  \"persistent\""), "data in text");
    assert!(ask(questions[1], &["--data", "--output", "json"]).contains(&persistent), "data in JSON");
}

/// What a client may once have written into a path or an ACL must not reach a terminal as it is (Z-5058).
#[test]
fn hostile_names_cannot_steer_a_terminal() {
    let hostile = "/\u{1b}]0;x\u{7}\u{9b}2J\n\u{202e}\\u{1b}";
    let dir = ours();
    let mut opened = open(dir.path()).unwrap();
    let header =
        TxnHeader { session: SessionId(0x77), cxid: Xid(31), zxid: Zxid(31), time: WallTime(1_795_161_785_000) };
    let txn = Txn::Create {
        path: hostile.to_owned(),
        data: Some(hostile.as_bytes().to_vec().into()),
        acl: vec![Acl { perms: 1, id: Id::new(hostile, hostile) }].into(),
        kind: CreateKind::Create,
        parent_cversion: 31,
    };
    let mut payload = Vec::new();
    LoggedTxn { header, txn, digest: None }.encode(&mut payload);
    opened.log.append(Zxid(31), &payload);
    opened.log.commit().unwrap();
    drop(opened);
    let path = dir.path().to_str().unwrap();
    let shown = r"/\u{1b}]0;x\u{7}\u{9b}2J\n\u{202e}\\u{1b}";
    for question in [&["log", path][..], &["tree", path], &["diff", path, "--from", "1e"], &["who", path, hostile]] {
        // `answer` refuses any control character in either form.
        let text = answer(dir.path(), &[question, &["--data"]].concat());
        assert!(text.contains(shown), "{question:?}: {text}");
        let json = answer(dir.path(), &[question, &["--output", "json"]].concat());
        assert!(!json.contains('\u{202e}'), "{question:?}: {json}");
        if question[0] != "who" {
            let paths: Vec<Value> = lines(&json).into_iter().map(|line| line["path"].clone()).collect();
            assert!(paths.contains(&json!(hostile)), "{question:?}: the same name: {json}");
        }
    }
}

#[test]
fn damage_in_what_is_printed_is_said_and_ends_with_a_code() {
    let dir = golden("standalone");
    let path = dir.path().to_str().unwrap();
    for (name, at) in [("log.32", 2500), ("snapshot.58", 9000)] {
        let file = dir.path().join("version-2").join(name);
        let mut bytes = fs::read(&file).unwrap();
        bytes[at] ^= 1;
        fs::write(file, bytes).unwrap();
    }
    let log = inspect(dir.path(), &["log", path]);
    let text = String::from_utf8(log.stdout).unwrap();
    assert_eq!(log.status.code(), Some(11), "{text}");
    assert!(text.contains("the checksum does not match; ") && text.contains("log.5a\n"), "goes on: {text}");
    let snapshot = inspect(dir.path(), &["snapshot", path]);
    assert_eq!(snapshot.status.code(), Some(10));
    assert!(
        String::from_utf8(snapshot.stderr).unwrap().contains("snapshot.58 is damaged: the checksum does not match")
    );
    let tree = inspect(dir.path(), &["tree", path]);
    assert_eq!(tree.status.code(), Some(10));
    let who = inspect(dir.path(), &["who", path, "/p"]);
    let text = String::from_utf8(who.stdout).unwrap();
    assert_eq!(who.status.code(), Some(10), "{text}");
    assert!(text.contains("last change: data set by session 0x100000f40b30000 with txn 0x25"), "{text}");
}

#[test]
fn wrong_questions_end_with_code_2_and_say_what_would_be_right() {
    let dir = golden("standalone");
    let path = dir.path().to_str().unwrap();
    let (log, snapshot) = (format!("{path}/version-2/log.1"), format!("{path}/version-2/snapshot.0"));
    let wrong: [(&[&str], &str); 8] = [
        (&["check", &log], "needs the data directory"),
        (&["log", &snapshot], "inspect snapshot"),
        (&["snapshot", &log], "inspect log"),
        (&["diff", path], "--from"),
        (&["diff", &snapshot, &log], "is no snapshot"),
        (&["tree", path, "--at", "0xyz"], "is no zxid"),
        (&["who", path, "p"], "a path begins with /"),
        (&["log", path, "--since", "yesterday"], "is no time"),
    ];
    for (arguments, says) in wrong {
        let output = inspect(dir.path(), arguments);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(says), "{arguments:?}: {text}");
    }
}

#[test]
fn a_configuration_names_the_directories() {
    let (dir, logs) = (golden("standalone"), tempfile::tempdir().unwrap());
    let (version_dir, log_dir) = (dir.path().join("version-2"), logs.path().join("version-2"));
    fs::create_dir(&log_dir).unwrap();
    for name in ["log.1", "log.19", "log.32", "log.5a"] {
        fs::rename(version_dir.join(name), log_dir.join(name)).unwrap();
    }
    let config = logs.path().join("zoo.cfg");
    let text =
        format!("dataDir={}\ndataLogDir={}\nextendedTypesEnabled=true\n", dir.path().display(), logs.path().display());
    fs::write(&config, text).unwrap();
    let by_config = answer(dir.path(), &["check", config.to_str().unwrap()]);
    let paths = [dir.path().to_str().unwrap(), logs.path().to_str().unwrap()];
    let by_words = answer(dir.path(), &["check", paths[0], "--log-dir", paths[1], TTL]);
    assert_eq!(by_config, by_words);
    assert!(by_config.contains("loads snapshot.58 and 7 txns of log.32, log.5a"), "{by_config}");
    let inner =
        answer(dir.path(), &["check", version_dir.to_str().unwrap(), "--log-dir", log_dir.to_str().unwrap(), TTL]);
    assert_eq!(inner, by_words, "the directory that the files are in will do");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let dir = golden("standalone");
    let mut command = gamekeeper(&["inspect", "log", dir.path().to_str().unwrap()]);
    let mut child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}
