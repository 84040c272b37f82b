//! The binary itself: what it prints, what it never prints, and the codes it ends with.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn gamekeeper(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gamekeeper"));
    command.args(arguments).env_remove("JVMFLAGS").env_remove("SERVER_JVMFLAGS").env_remove("RUST_LOG");
    command
}

fn ended(arguments: &[&str]) -> Output {
    gamekeeper(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A server that has printed its banner.
struct Started {
    child: Child,
    banner: String,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Started {
    fn new(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut banner = String::new();
        while !banner.contains("  stop") {
            assert_ne!(stdout.read_line(&mut banner).unwrap(), 0, "ended before its banner was whole: {banner}");
        }
        Self { child, banner, stdout }
    }

    /// Sends a signal; exit code, and all that was printed.
    fn end(mut self, signal: rustix::process::Signal) -> (Option<i32>, String) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, signal).unwrap();
        let mut printed = self.banner;
        self.stdout.read_to_string(&mut printed).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut printed).unwrap();
        (self.child.wait().unwrap().code(), printed)
    }
}

#[test]
fn a_wrong_configuration_ends_with_code_2_and_says_where_and_why() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("zoo.cfg");
    std::fs::write(&file, "dataDir=data\ntickTime=2x\n").unwrap();
    let output = ended(&["serve", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let expected = format!("gamekeeper: {}, line 2: tickTime is \"2x\", which is not a whole number", file.display());
    assert!(stderr(&output).starts_with(&expected), "{}", stderr(&output));
    assert!(stderr(&output).contains("Invalid config, exiting abnormally"), "{}", stderr(&output));
}

#[test]
fn a_wrong_command_line_ends_with_code_2() {
    for arguments in [&["serve", "no-such.cfg"][..], &["serve", "port", "dir"], &["serve", "--nope"], &["nope"], &[]] {
        assert_eq!(ended(arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(ended(&["serve", "--help"]).status.code(), Some(0), "help is no mistake");
}

#[test]
fn a_data_directory_that_cannot_be_made_ends_with_code_3() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let output = ended(&["serve", "--listen", "0", "--data-dir", file.join("data").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("Unable to access datadir, exiting abnormally"), "{}", stderr(&output));
}

#[test]
fn a_started_server_says_where_it_is_and_ends_by_a_signal_with_its_code() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    for (signal, code) in [(rustix::process::Signal::TERM, 143), (rustix::process::Signal::INT, 130)] {
        let server = Started::new(gamekeeper(&["serve", "--listen", "0", "--data-dir", data.to_str().unwrap()]));
        let line = |label: &str| server.banner.lines().find_map(|line| line.trim().strip_prefix(label)).map(str::trim);
        assert_eq!(line("data").map(Path::new), Some(data.as_path()), "{}", server.banner);
        let first = line("clients").and_then(|clients| clients.split(',').next()).unwrap();
        assert!(first.starts_with("127.0.0.1:") && !first.ends_with(":0"), "{}", server.banner);
        assert_eq!(line("connect"), Some(format!("zkCli.sh -server {first}").as_str()), "{}", server.banner);
        assert_eq!(server.end(signal).0, Some(code), "{signal:?}");
    }
}

#[test]
fn a_port_that_is_taken_ends_with_code_1() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = ended(&["serve", "--listen", &port, "--data-dir", dir.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains(&format!("cannot listen on 127.0.0.1:{port}")), "{}", stderr(&output));
}

/// ZooKeeper logged the secrets of its configuration at its start (CVE-2026-24308).
#[test]
fn no_secret_of_the_configuration_is_ever_printed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("zoo.cfg");
    let text = format!(
        "dataDir={}\nclientPort=0\nDigestAuthenticationProvider.superDigest=super:canary\n\
         ssl.keyStore.password=canary\nmy.own.password=canary\n",
        dir.path().display()
    );
    std::fs::write(&file, text).unwrap();
    let mut command = gamekeeper(&["serve", file.to_str().unwrap(), "-Dzookeeper.ssl.trustStore.password=canary"]);
    command.env("RUST_LOG", "trace").env("JVMFLAGS", "-Dzookeeper.superUser=canary");
    let (_, printed) = Started::new(command).end(rustix::process::Signal::TERM);
    for key in ["superDigest", "ssl.keyStore.password", "my.own.password", "ssl.trustStore.password", "superUser"] {
        assert!(printed.contains(key), "{key} is remarked on: {printed}");
    }
    assert!(!printed.contains("canary"), "{printed}");
}
