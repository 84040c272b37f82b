//! The core is a function of its inputs (S1 to S3): core crates use only the external crates listed here, and nothing of
//! `std` that reaches files, sockets, threads, locks, clocks or the environment.
//!
//! Not done here: calls that clippy knows by name (`disallowed-methods`), and tests and examples, which may read files.

use super::manifests::{Dependency, Member, Use, members};
use super::rust_text::{before_tests, code_only, line_of, test_files, words};
use super::{Repository, Violation};

/// Each core crate and the external crates it may use.
const CORE: &[(&str, &[&str])] = &[
    ("gk-proto", &["bytes", "thiserror"]),
    ("gk-tree", &["bytes", "crc32fast", "foldhash", "hashbrown", "thiserror"]),
    ("gk-zab", &["bytes", "thiserror"]),
    ("gk-node", &["base64", "bytes", "foldhash", "hashbrown", "hmac", "sha1", "sha2", "thiserror"]),
];

/// Folders of other crates that are core all the same, with the file that declares them. What is at the edge of their
/// crate must not reach into them.
const CORE_FOLDERS: &[&str] = &["crates/client/src/core/", "crates/client/src/core.rs"];

/// External crates that the edges of those crates use, and their cores do not.
const EDGE_CRATES: &[&str] = &["futures_core::", "parking_lot::", "tokio::", "tracing::"];

/// What their tests may use besides.
const CORE_TESTS: &[&str] = &["proptest"];

/// What core code may not name, and what to do instead. Address types without sockets are in `core::net`.
const FORBIDDEN: &[(&str, &str)] = &[
    ("std::env", "configuration is an argument"),
    ("std::fs", "files are an effect"),
    ("std::net", "sockets are at the edge; addresses are in core::net"),
    ("std::process", "the core neither starts nor ends programs"),
    ("std::thread", "threads are at the edge"),
    ("std::sync::Condvar", "the core has one owner"),
    ("std::sync::Mutex", "the core has one owner"),
    ("std::sync::RwLock", "the core has one owner"),
    ("std::sync::mpsc", "inputs come in by `handle`, effects leave by `poll_effect`"),
    ("std::time::Instant", "time is an argument (S1)"),
    ("std::time::SystemTime", "time is an argument (S1)"),
    ("std::hash::RandomState", "chance is an argument (S2)"),
];

pub(super) fn check(repository: &Repository) -> Vec<Violation> {
    let mut violations = Vec::new();
    let members = members(repository);
    let ours: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
    let tests = test_files(repository);
    for member in &members {
        let Some((_name, allowed)) = CORE.iter().find(|(name, _allowed)| *name == member.name) else { continue };
        violations.extend(external_crates(member, &ours, allowed));
        let inside = format!("{}/", member.folder());
        let files = repository.rust_files().filter(|file| file.path.starts_with(&inside));
        let examples = format!("{inside}examples/");
        for file in files.filter(|file| !tests.contains(file.path.as_str()) && !file.path.starts_with(&examples)) {
            for (line, message) in forbidden_names(before_tests(&code_only(&file.text))) {
                violations.push(Violation { path: file.path.clone(), line, message });
            }
        }
    }
    for file in repository.rust_files() {
        if CORE_FOLDERS.iter().any(|folder| file.path.starts_with(folder)) {
            let code = code_only(&file.text);
            let code = before_tests(&code);
            let edge = EDGE_CRATES.iter().flat_map(|name| words(code, name).map(move |at| (at, name)));
            let edge = edge.map(|(at, name)| (line_of(code, at), format!("{name} in a core folder (S3)")));
            for (line, message) in forbidden_names(code).into_iter().chain(edge) {
                violations.push(Violation { path: file.path.clone(), line, message });
            }
        }
    }
    violations
}

/// The external crates of a core crate that are not on its list.
fn external_crates(member: &Member<'_>, ours: &[&str], allowed: &[&str]) -> Vec<Violation> {
    let is_allowed = |dependency: &Dependency| {
        let name = dependency.name.as_str();
        let in_tests = dependency.used == Use::TestsOnly && CORE_TESTS.contains(&name);
        ours.contains(&name) || allowed.contains(&name) || in_tests
    };
    let violation = |dependency: &Dependency| {
        let message =
            format!("{} is core; {} is not on its list of external crates (S3)", member.name, dependency.name);
        Violation { path: member.manifest.path.clone(), line: 0, message }
    };
    member.dependencies.iter().filter(|dependency| !is_allowed(dependency)).map(violation).collect()
}

/// Line and complaint for each forbidden path that the code names.
fn forbidden_names(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in words(code, "std::") {
        let text = &code[at..];
        for path in paths(text.split(';').next().unwrap_or(text)) {
            let reaches = |name: &str| match path.strip_suffix('*') {
                Some(module) => name.starts_with(module),
                None => path == name || path.strip_prefix(name).is_some_and(|rest| rest.starts_with("::")),
            };
            for (name, instead) in FORBIDDEN.iter().filter(|(name, _instead)| reaches(name)) {
                found.push((line_of(code, at), format!("{name} in a core crate: {instead}")));
            }
        }
    }
    found
}

/// The paths that a text opens with: `std::fs::File` is one, `std::{fs, time::Instant as Clock}` are two.
fn paths(text: &str) -> Vec<String> {
    let end = text.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | ':' | '*'))).unwrap_or(text.len());
    let (stem, rest) = text.split_at(end);
    match rest.strip_prefix('{') {
        Some(group) => {
            let parts = split_group(group);
            parts.iter().flat_map(|part| paths(part)).map(|path| format!("{stem}{path}")).collect()
        }
        None => vec![stem.trim_end_matches("::self").to_owned()],
    }
}

/// The members of a `use` group whose opening brace is gone, up to its closing one.
fn split_group(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        let closes = c == '}' && depth == 0;
        if closes || (c == ',' && depth == 0) {
            parts.push(text[start..at].trim());
            start = at + 1;
        }
        match c {
            _ if closes => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::super::repository::sample;
    use super::*;

    const MANIFEST: &str = "[package]\nname = \"gk-tree\"\n[dependencies]\nbytes.workspace = true\n";

    fn found(manifest: &str, source: &str) -> Vec<String> {
        let repository = sample(&[("crates/tree/Cargo.toml", manifest), ("crates/tree/src/lib.rs", source)]);
        check(&repository).into_iter().map(|violation| violation.to_string()).collect()
    }

    #[test]
    fn a_core_crate_within_its_means_is_accepted() {
        let source = "use std::{fmt, time::Duration};\nuse core::net::IpAddr;\n// std::fs is elsewhere\n";
        assert_eq!(found(MANIFEST, source), [""; 0]);
    }

    #[test]
    fn an_external_crate_off_the_list_is_found() {
        assert_eq!(found(&format!("{MANIFEST}tokio.workspace = true\n"), "").len(), 1);
        assert_eq!(found(&format!("{MANIFEST}proptest.workspace = true\n"), "").len(), 1, "proptest is for tests");
        assert_eq!(found(&format!("{MANIFEST}[dev-dependencies]\nproptest.workspace = true\n"), ""), [""; 0]);
    }

    #[test]
    fn forbidden_names_are_found_however_they_are_imported() {
        let samples = [
            "use std::fs;",
            "use std::fs::File;",
            "use std::{fmt, fs::{self, File}};",
            "use std::sync::{Arc, Mutex};",
            "use std::{\n    sync::{\n        Arc,\n        RwLock as Lock,\n    },\n};",
            "use std::sync::mpsc::{self, Sender};",
            "fn f() { std::thread::yield_now(); }",
            "fn f() -> ::std::time::Instant { g() }",
            "struct S { at: std::time::SystemTime }",
            "use std::net::IpAddr;",
            "use std::sync::*;",
        ];
        for source in samples {
            assert!(!found(MANIFEST, source).is_empty(), "not found: {source}");
        }
    }

    #[test]
    fn names_that_only_begin_alike_and_tests_are_accepted() {
        let source = "use std::sync::MutexLike;\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n";
        assert_eq!(found(MANIFEST, source), [""; 0]);
    }

    #[test]
    fn the_core_of_a_crate_with_an_edge_is_held_to_the_same_rules() {
        let manifest = "[package]\nname = \"gk-client\"\n";
        for source in ["use std::net::TcpStream;", "use tokio::net::TcpStream;", "fn f() { tracing::info!(\"x\"); }"] {
            let files = [("crates/client/Cargo.toml", manifest), ("crates/client/src/core/wire.rs", source)];
            assert_eq!(check(&sample(&files)).len(), 1, "{source}");
            let files = [("crates/client/Cargo.toml", manifest), ("crates/client/src/driver.rs", source)];
            assert_eq!(check(&sample(&files)), [], "{source}");
        }
    }

    #[test]
    fn an_edge_crate_may_use_files() {
        let manifest = "[package]\nname = \"gk-storage\"\n";
        let repository =
            sample(&[("crates/storage/Cargo.toml", manifest), ("crates/storage/src/lib.rs", "use std::fs;")]);
        assert_eq!(check(&repository), []);
    }
}
