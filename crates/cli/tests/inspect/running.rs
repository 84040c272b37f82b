//! Looking while a server writes.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};

use gk_client::blocking::Client;
use gk_client::{CreateMode, Version};
use serde_json::Value;

use crate::directories::gamekeeper;

/// Times that each question is asked.
const ROUNDS: usize = 10;

/// Nothing that a running server does looks like damage, and what it has acknowledged is seen.
#[test]
fn a_directory_in_use_is_sound_and_holds_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let properties = ["-Dzookeeper.snapCount=50", "-Dzookeeper.preAllocSize=64"];
    let arguments = [&["serve", "--listen", "0", "--data-dir", path], &properties[..]].concat();
    let mut server = gamekeeper(&arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let address = BufReader::new(server.stdout.take().unwrap())
        .lines()
        .find_map(|line| Some(line.unwrap().trim().strip_prefix("clients")?.split(',').next()?.trim().to_owned()))
        .unwrap();
    let client = Client::connect(&address).unwrap();
    client.create("/counter", "0", CreateMode::Persistent).unwrap();
    let (written, asked) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Until all was asked: every look falls into writes, snapshots and new logs.
            while asked.load(Ordering::Acquire) < ROUNDS as u64 {
                let next = written.load(Ordering::Acquire) + 1;
                client.set_data("/counter", next.to_string(), Version::Any).unwrap();
                written.store(next, Ordering::Release);
            }
        });
        for _ in 0..ROUNDS {
            let before = written.load(Ordering::Acquire);
            look(path, server.id(), before);
            asked.fetch_add(1, Ordering::Release);
        }
    });
    server.kill().unwrap();
    server.wait().unwrap();
    look_afterwards(path, written.load(Ordering::Acquire));
}

fn json(arguments: &[&str]) -> (Option<i32>, Value) {
    let output = gamekeeper(&["inspect", "--output", "json"]).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let first = serde_json::Deserializer::from_str(&text).into_iter().last();
    let value = first.unwrap_or_else(|| panic!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), value.unwrap())
}

fn look(path: &str, server: u32, written: u64) {
    let (code, check) = json(&["check", path]);
    assert_eq!((code, &check["verdict"]), (Some(0), &Value::from("sound")), "{check:#}");
    assert_eq!(check["used_by_process"], server, "the kernel's list of locks says who");
    assert!(counter(path) >= written, "what was acknowledged is seen");
    let (_, who) = json(&["who", path, "/counter"]);
    assert_eq!(who["now"]["path"], "/counter", "{who:#}");
    let log = gamekeeper(&["inspect", "log", path]).output().unwrap();
    assert!(matches!(log.status.code(), Some(0 | 11)), "{}", String::from_utf8_lossy(&log.stderr));
}

fn look_afterwards(path: &str, written: u64) {
    let (code, check) = json(&["check", path]);
    assert_eq!((code, &check["used_by_process"]), (Some(0), &Value::Null), "{check:#}");
    assert!(counter(path) >= written, "what was acknowledged is there after a kill");
}

/// The number that the tree holds.
fn counter(path: &str) -> u64 {
    let output = gamekeeper(&["inspect", "tree", path, "--below", "/counter", "--data"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let node = text.lines().find(|line| line.contains("/counter")).unwrap_or_else(|| panic!("{text}"));
    node.rsplit('"').nth(1).unwrap().parse().unwrap()
}
