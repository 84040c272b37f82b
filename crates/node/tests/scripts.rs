//! Plays the scripts beside this file against the real state machines, and compares the trace of everything that
//! leaves them. One file a situation: prose, then commands (`> …`) each followed by what it caused.
//!
//! `UPDATE_SCRIPTS=1 cargo test -p gk-node --test scripts` writes the traces anew; the difference is reviewed as code.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test may fail by panicking")]

mod rig;

use std::path::Path;

#[test]
fn every_script_gives_its_trace() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut names: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert!(names.len() > 10, "scripts are missing from {}", dir.display());
    let update = std::env::var_os("UPDATE_SCRIPTS").is_some();
    let mut wrong = Vec::new();
    for name in names {
        let script = std::fs::read_to_string(&name).unwrap();
        let played = play(&script);
        if update {
            std::fs::write(&name, &played).unwrap();
        } else if played != script {
            wrong.push(format!("{} gives:\n{played}", name.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The script with its traces replaced by what happens now.
fn play(script: &str) -> String {
    let mut rig = rig::Rig::new();
    let mut out = String::new();
    let mut in_trace = false;
    for line in script.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            out.push_str(&format!("> {command}\n"));
            for line in rig.command(command) {
                out.push_str(&format!("  {line}\n"));
            }
            in_trace = true;
        } else if !(in_trace && line.starts_with("  ")) {
            out.push_str(&format!("{line}\n"));
            in_trace = false;
        }
    }
    out
}
