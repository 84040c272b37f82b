//! Damaged copies, one row a kind of damage: what `check` says, its exit code, and that a start does just that.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;

use tempfile::TempDir;

use crate::directories::{GOLDEN, TTL, copy, gamekeeper, golden, ours, payload};
use crate::start::{assert_serves_or_ends, check_and_start};

const SOUND: i32 = 0;
const UNUSABLE: i32 = 3;
const REFUSED: i32 = 10;
const DAMAGED: i32 = 11;

/// One row.
struct Case {
    name: &'static str,
    /// The directory before.
    of: fn() -> TempDir,
    /// What happens to the files in its `version-2`.
    damage: fn(&Path),
    code: i32,
    /// What the text says, among others.
    says: &'static [&'static str],
}

fn zookeepers() -> TempDir {
    golden("standalone")
}

/// The last sound record of ZooKeeper's last log: 6 records end at byte 515.
const LAST: &str = "log.5a";
const LAST_END: usize = 515;

const CASES: &[Case] = &[
    Case {
        name: "torn tail of ZooKeeper's: the last record is half there, then padding",
        of: zookeepers,
        damage: |dir| edit(dir, LAST, |bytes| bytes[LAST_END - 30..LAST_END].fill(0)),
        code: SOUND,
        says: &[
            "log.5a   0x5a  0x5e     5",
            "torn: from byte 4",
            "warns: ",
            "dropped",
            "ends at txn 0x5e",
            "\nsound\n",
        ],
    },
    Case {
        name: "torn tail of ours: half a record above the watermark",
        of: ours,
        damage: |dir| half_a_record(dir, "log.15"),
        code: SOUND,
        says: &["log.15   0x15  0x1e    10", "0x1e  torn: from byte", "cuts log.15 at byte", "\nsound\n"],
    },
    Case {
        name: "last record of ours cut off below the watermark",
        of: ours,
        damage: |dir| edit(dir, "log.15", |bytes| truncate_content(bytes, 300)),
        code: REFUSED,
        says: &["damaged: at byte", "--accept-data-loss", "keeps a copy of log.15 in set-aside", "a start refuses it"],
    },
    Case {
        name: "zeroed sector in the middle of a log of ZooKeeper's that is needed",
        of: zookeepers,
        damage: |dir| edit(dir, "log.32", |bytes| bytes[2048..2560].fill(0)),
        code: REFUSED,
        says: &["log.32", "damaged: at byte", "the checksum does not match", "refuses: "],
    },
    Case {
        name: "zeroed sector in the middle of a log of ours",
        of: ours,
        damage: |dir| edit(dir, "log.b", |bytes| bytes[2048..2560].fill(0)),
        code: REFUSED,
        says: &["log.b", "damaged: at byte", "moves log.15 to set-aside", "up to 0x1e at least", "a start refuses it"],
    },
    Case {
        name: "flipped bit in a needed log",
        of: zookeepers,
        damage: |dir| edit(dir, "log.5a", |bytes| bytes[200] ^= 4),
        code: REFUSED,
        says: &["damaged: at byte", "the checksum does not match", "ends at txn 0x5"],
    },
    Case {
        name: "flipped bit in an old log that no start needs",
        of: zookeepers,
        damage: |dir| edit(dir, "log.1", |bytes| bytes[200] ^= 4),
        code: DAMAGED,
        says: &["log.1     0x1   0x3     3", "damaged: at byte 199", "damaged, but a start goes on"],
    },
    Case {
        name: "flipped bit in the newest snapshot",
        of: zookeepers,
        damage: |dir| edit(dir, "snapshot.58", |bytes| bytes[9000] ^= 1),
        code: DAMAGED,
        says: &[
            "snapshot.58      -",
            "damaged: the checksum does not match",
            "loads snapshot.30",
            "damaged and passed over",
        ],
    },
    Case {
        name: "flipped bit in every snapshot",
        of: zookeepers,
        damage: |dir| {
            for name in ["snapshot.0", "snapshot.17", "snapshot.30", "snapshot.58"] {
                edit(dir, name, |bytes| bytes[30] ^= 1);
            }
        },
        code: REFUSED,
        says: &["none of the snapshots", "a start refuses it"],
    },
    Case {
        name: "snapshot with a wrong trailer",
        of: zookeepers,
        damage: |dir| edit(dir, "snapshot.58", |bytes| *bytes.last_mut().unwrap() = b'x'),
        code: DAMAGED,
        says: &["damaged: it ends inside a record", "not complete and is passed over", "loads snapshot.30"],
    },
    Case {
        name: "newest snapshot unreadable, and the logs after the one before it gone",
        of: zookeepers,
        damage: |dir| {
            edit(dir, "snapshot.58", |bytes| bytes[9000] ^= 1);
            fs::remove_file(dir.join("log.32")).unwrap();
            fs::remove_file(dir.join("log.5a")).unwrap();
        },
        code: REFUSED,
        says: &["txns up to 0x58 existed", "moves snapshot.58 to set-aside"],
    },
    Case {
        name: "flipped bit in a mark",
        of: ours,
        damage: |dir| edit(dir, "gamekeeper/log.15.marks", |bytes| bytes[32 + 24 * 4 + 5] ^= 1),
        code: DAMAGED,
        says: &["0x1e, 1 damaged mark  sound", "damaged, but a start goes on"],
    },
    Case {
        name: "flipped bit in the header of marks",
        of: ours,
        damage: |dir| edit(dir, "gamekeeper/log.15.marks", |bytes| bytes[9] ^= 1),
        code: DAMAGED,
        says: &["marks damaged  sound", "writes 0x15 to 0x1e anew into log.15"],
    },
    Case {
        name: "marks of a log that is gone",
        of: ours,
        damage: |dir| fs::remove_file(dir.join("log.15")).unwrap(),
        code: REFUSED,
        says: &["txns up to 0x1e existed", "the files end at 0x14", "moves log.15.marks to set-aside"],
    },
    Case {
        name: "another server wrote the log that marks were made for",
        of: ours,
        damage: |dir| edit(dir, "log.15", |bytes| rewrite_first_record(bytes)),
        code: SOUND,
        says: &["is not the file that its marks were made for", "nothing  sound"],
    },
    Case {
        name: "empty last log",
        of: zookeepers,
        damage: |dir| fs::write(dir.join("log.60"), b"").unwrap(),
        code: SOUND,
        says: &["empty: begun, and nothing written to it", "removes log.60, which holds nothing", "\nsound\n"],
    },
    Case {
        name: "part of a header in the last log",
        of: ours,
        damage: |dir| fs::write(dir.join("log.1f"), b"ZKLG\0\0").unwrap(),
        code: SOUND,
        says: &["empty: begun", "removes log.1f", "\nsound\n"],
    },
    Case {
        name: "last log that is none",
        of: zookeepers,
        damage: |dir| fs::write(dir.join("log.60"), b"not a log, but long enough for one").unwrap(),
        code: REFUSED,
        says: &["damaged: at byte 0: it does not begin with the header of its kind", "moves log.60 to set-aside"],
    },
    Case {
        name: "missing log in the middle, of ours",
        of: ours,
        damage: |dir| fs::remove_file(dir.join("log.b")).unwrap(),
        code: REFUSED,
        says: &[
            "gap: txns after 0xa are missing before it",
            "the txns after 0xa are missing",
            "moves log.15 to set-aside",
        ],
    },
    Case {
        name: "missing log in the middle, of ZooKeeper's, before the newest snapshot",
        of: zookeepers,
        damage: |dir| fs::remove_file(dir.join("log.19")).unwrap(),
        code: DAMAGED,
        says: &["log.32   0x32  0x59    40", "gap: txns after 0x18 are missing before it", "loads snapshot.58"],
    },
    Case {
        name: "2 GB as the length of the last record",
        of: zookeepers,
        damage: |dir| edit(dir, LAST, |bytes| set_last_length(bytes, i32::MAX)),
        code: SOUND,
        says: &["torn: from byte", "it ends inside a record", "ends at txn 0x5e"],
    },
    Case {
        name: "negative length in the middle",
        of: zookeepers,
        damage: |dir| edit(dir, LAST, |bytes| bytes[24..28].copy_from_slice(&(-2i32).to_be_bytes())),
        code: REFUSED,
        says: &["damaged: at byte 16: impossible record length -2", "moves log.5a to set-aside"],
    },
    Case {
        name: "length of 2 GB in the middle of a log of ours",
        of: ours,
        damage: |dir| edit(dir, "log.15", |bytes| bytes[24..28].copy_from_slice(&i32::MAX.to_be_bytes())),
        code: REFUSED,
        says: &["damaged: at byte 16: it ends inside a record"],
    },
    Case {
        name: "logs without any snapshot",
        of: zookeepers,
        damage: |dir| {
            for name in ["snapshot.0", "snapshot.17", "snapshot.30", "snapshot.58"] {
                fs::remove_file(dir.join(name)).unwrap();
            }
        },
        code: REFUSED,
        says: &["no snapshot in", "snapshot.trust.empty=true"],
    },
    Case {
        name: "snapshot that was never finished",
        of: ours,
        damage: |dir| fs::write(dir.join("gamekeeper/snapshot.1e.tmp"), b"ZKSN").unwrap(),
        code: SOUND,
        says: &["removes snapshot.1e.tmp, which was never finished"],
    },
    Case {
        name: "empty directory",
        of: || tempfile::tempdir().unwrap(),
        damage: |_| (),
        code: SOUND,
        says: &["loads an empty tree and 0 txns", "writes a first snapshot", "\nno data\n"],
    },
    Case {
        name: "a file where the directory should be",
        of: || tempfile::tempdir().unwrap(),
        damage: |dir| fs::write(dir, b"").unwrap(),
        code: UNUSABLE,
        says: &["cannot list", "Not a directory"],
    },
    Case {
        name: "a link in the place of a log",
        of: zookeepers,
        damage: |dir| {
            fs::rename(dir.join("log.5a"), dir.join("elsewhere")).unwrap();
            symlink("elsewhere", dir.join("log.5a")).unwrap();
        },
        code: REFUSED,
        says: &["damaged: cannot open", "log.5a", "Too many levels of symbolic links"],
    },
];

#[test]
fn each_damage_is_named_and_a_start_does_what_was_said() {
    for case in CASES {
        println!("{}", case.name);
        let dir = (case.of)();
        (case.damage)(&dir.path().join("version-2"));
        let said = check_and_start(dir.path());
        assert_eq!(said.code, case.code, "{}: {}", case.name, said.text);
        for words in case.says {
            assert!(said.text.contains(words), "{}: {words:?} is not in\n{}", case.name, said.text);
        }
        let verdict = ["sound", "unusable", "refused", "damaged"]
            [[SOUND, UNUSABLE, REFUSED, DAMAGED].iter().position(|code| *code == case.code).unwrap()];
        assert_eq!(said.json["verdict"], verdict, "{}", case.name);
    }
}

#[test]
fn golden_directories_are_sound_and_start_as_said() {
    for name in GOLDEN {
        println!("{name}");
        let said = check_and_start(golden(name).path());
        assert_eq!(said.code, SOUND, "{name}: {}", said.text);
        assert_eq!(said.json["start"]["digest_mismatches"], 0, "{name}");
    }
    assert_eq!(check_and_start(ours().path()).code, SOUND, "ours");
}

/// Root may read everything, so this looks as somebody who may not.
#[test]
fn what_may_not_be_read_is_said_and_a_server_says_the_same() {
    const NOBODY: u32 = 65_534;
    let cases = [
        ("version-2/log.5a", UNUSABLE),
        ("version-2/snapshot.58", UNUSABLE),
        ("version-2", UNUSABLE),
        ("version-2/log.1", DAMAGED),
        ("version-2/snapshot.17", DAMAGED),
    ];
    for (name, code) in cases {
        let dir = copy(golden("standalone").path());
        let is_root = rustix::process::geteuid().is_root();
        if is_root {
            let own = std::process::Command::new("chown").args(["-R", "65534"]).arg(dir.path()).status().unwrap();
            assert!(own.success(), "chown");
        }
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(0o000)).unwrap();
        let path = dir.path().to_str().unwrap();
        let run = |arguments: &[&str]| {
            let mut command = gamekeeper(arguments);
            if is_root {
                command.uid(NOBODY).gid(NOBODY);
            }
            command
        };
        let said = run(&["inspect", "check", path, TTL]).output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        assert_eq!(said.status.code(), Some(code), "{name}: {text}");
        assert!(text.contains("Permission denied") && text.contains(name), "{name}: {text}");
        assert_serves_or_ends(run(&["serve", "--listen", "0", "--data-dir", path, TTL]), code);
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(0o700)).unwrap();
    }
}

#[test]
fn a_directory_that_is_not_there_is_an_error_of_access() {
    let output = gamekeeper(&["inspect", "check", "/no/such/directory"]).output().unwrap();
    assert_eq!(output.status.code(), Some(UNUSABLE));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("gamekeeper: cannot open /no/such/directory: No such file"), "{text}");
}

fn edit(dir: &Path, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let path = dir.join(name);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(&path, bytes).unwrap();
}

fn content_end(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1
}

/// Takes the end of what was written away, as if it had never reached the disk.
fn truncate_content(bytes: &mut [u8], count: usize) {
    let end = content_end(bytes);
    bytes[end - count..end].fill(0);
}

/// A record as the log would have got it next, cut in its middle.
fn half_a_record(dir: &Path, name: &str) {
    edit(dir, name, |bytes| {
        bytes.truncate(content_end(bytes));
        let payload = payload(31);
        bytes.extend_from_slice(&[0, 0, 0, 0, 1, 2, 3, 4]);
        bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(&payload[..payload.len() / 2]);
    });
}

/// The same txn from another session, with a right checksum: what a server without marks may have written.
fn rewrite_first_record(bytes: &mut [u8]) {
    let length = usize::try_from(u32::from_be_bytes(bytes[24..28].try_into().unwrap())).unwrap();
    bytes[28 + 7] ^= 1;
    let checksum = adler32(&bytes[28..28 + length]);
    bytes[16..24].copy_from_slice(&u64::from(checksum).to_be_bytes());
}

fn adler32(bytes: &[u8]) -> u32 {
    let (a, b) = bytes.iter().fold((1u32, 0u32), |(a, b), &byte| {
        let a = (a + u32::from(byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    b << 16 | a
}

fn set_last_length(bytes: &mut [u8], length: i32) {
    let (mut at, mut last) = (16, 16);
    while bytes[at..at + 12].iter().any(|byte| *byte != 0) {
        last = at;
        at += 13 + usize::try_from(u32::from_be_bytes(bytes[at + 8..at + 12].try_into().unwrap())).unwrap();
    }
    assert_eq!(at, LAST_END, "the records of {LAST}");
    bytes[last + 8..last + 12].copy_from_slice(&length.to_be_bytes());
}
