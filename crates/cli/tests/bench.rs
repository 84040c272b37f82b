//! The load generator against a real server: what it reports, what it leaves behind, what it survives.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn gamekeeper(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gamekeeper"));
    command.args(arguments).env_remove("JVMFLAGS").env_remove("SERVER_JVMFLAGS").env_remove("RUST_LOG");
    command
}

/// A server process that has started, killed when dropped.
struct Server {
    child: Child,
    /// Kept, so that the server can write to it.
    _stdout: BufReader<ChildStdout>,
    address: String,
}

impl Server {
    /// On this port, or any free one if it is 0.
    fn start(data: &Path, port: u16) -> Self {
        Self::started(gamekeeper(&["serve", "--listen", &port.to_string(), "--data-dir", data.to_str().unwrap()]))
    }

    /// One that grants sessions of a second.
    fn with_short_sessions(dir: &Path) -> Self {
        let file = dir.join("zoo.cfg");
        std::fs::write(&file, format!("dataDir={}\ntickTime=100\n", dir.join("data").display())).unwrap();
        Self::started(gamekeeper(&["serve", "--listen", "127.0.0.1:0", file.to_str().unwrap()]))
    }

    fn started(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut banner = String::new();
        while !banner.contains("  stop") {
            assert_ne!(stdout.read_line(&mut banner).unwrap(), 0, "ended before its banner was whole: {banner}");
        }
        let clients = banner.lines().find_map(|line| line.trim().strip_prefix("clients")).unwrap();
        let address = clients.split(',').next().unwrap().trim().to_owned();
        Self { child, _stdout: stdout, address }
    }

    fn port(&self) -> u16 {
        self.address.rsplit(':').next().unwrap().parse().unwrap()
    }

    /// What a four-letter word answers.
    fn ask(&self, word: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.write_all(word.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// How many nodes there are: those of an empty server are counted too.
    fn nodes(&self) -> u64 {
        self.figure("Node count: ")
    }

    /// How many connections there are, that of the question included.
    fn connections(&self) -> u64 {
        self.figure("Connections: ")
    }

    fn figure(&self, name: &str) -> u64 {
        let answer = self.ask("srvr");
        answer.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse().unwrap()
    }

    fn bench(&self, arguments: &[&str]) -> Command {
        let mut command = gamekeeper(&["bench", "--servers", &self.address]);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stderr(output)))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is a whole number"))
}

/// The run's progress, line by line, from a pipe.
struct Progress(BufReader<ChildStderr>);

impl Progress {
    fn of(bench: &mut Child) -> Self {
        Self(BufReader::new(bench.stderr.take().unwrap()))
    }

    /// Reads on until so many seconds were seen in which operations succeeded.
    fn wait_for_load(&mut self, seconds: usize) {
        let mut seen = 0;
        while seen < seconds {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "ended before {seconds} seconds were seen");
            seen += usize::from(line.contains(" ops/s") && !line.starts_with("0 ops/s"));
        }
    }

    /// Reads on until a line begins like this.
    fn wait_for_line(&mut self, start: &str) {
        let mut line = String::new();
        while !line.starts_with(start) {
            line.clear();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "ended without a line that begins with {start:?}");
        }
    }

    /// All that is still said, until the end.
    fn rest(mut self) -> String {
        let mut rest = String::new();
        self.0.read_to_string(&mut rest).unwrap();
        rest
    }
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Waits until something is so, which is asked again and again.
fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if is_so() {
            return;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    }
    panic!("waited in vain: {what}");
}

const SHORT: [&str; 6] = ["--warm-up", "100ms", "--duration", "1s", "--output", "json"];

#[test]
fn every_operation_is_measured_and_every_node_removed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), 0);
    let nodes = server.nodes();
    let mix = "read=5,write=2,exists=2,children=1,create-delete=2,ephemeral=2,watch=1,sync=1";
    let output = server
        .bench(&SHORT)
        .args(["--mix", mix, "--nodes", "50", "--connections", "5", "--depth", "3", "--data-size", "10-2000"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "", "no progress unless at a terminal");
    let report = report(&output);
    let operations = report["operations"].as_object().unwrap();
    assert_eq!(operations.len(), 10, "{report:#}");
    for (name, figures) in operations {
        assert!(number(&figures["count"]) > 0, "{name}: {report:#}");
        assert_eq!((&figures["errors"], &figures["count"]), (&0.into(), &figures["sent"]), "{name}: {report:#}");
        let latency = |quantile: &str| number(&figures["latency"][quantile]);
        let quantiles = ["p50_us", "p90_us", "p99_us", "p99_9_us", "max_us"].map(latency);
        assert!(quantiles.is_sorted() && quantiles[0] > 0, "{name}: {report:#}");
    }
    let sum: u64 = operations.values().map(|figures| number(&figures["count"])).sum();
    assert_eq!(number(&report["total"]["count"]), sum, "{report:#}");
    assert_eq!(report["measured_s"], 1.0, "{report:#}");
    assert!(report["servers"][0]["zookeeper_version"].as_str().unwrap().starts_with("3.9.5"), "{report:#}");
    assert_eq!(report["servers"][0]["mode"], "standalone", "{report:#}");
    assert!(report["client_cpu_s"].as_f64().unwrap() > 0.0, "{report:#}");
    assert_eq!(server.nodes(), nodes, "nodes are left behind");
}

#[test]
fn a_rate_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), 0);
    let output = server.bench(&SHORT).args(["--rate", "500", "--connections", "3", "--threads", "2"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report = report(&output);
    let (sent, never_sent) = (number(&report["total"]["sent"]), number(&report["never_sent"]));
    assert_eq!(sent + never_sent, 500, "each operation that was due is accounted for: {report:#}");
    assert!(sent > 250, "{report:#}");
}

/// Generators that wait for an answer before they send the next operation see one slow operation for each connection,
/// and report servers that stall as fast ("coordinated omission").
#[test]
fn a_stall_counts_for_every_operation_that_it_delayed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), 0);
    let arguments = ["--rate", "1000", "--connections", "2", "--depth", "1", "--mix", "reads"];
    let mut bench = server
        .bench(&["--warm-up", "0s", "--duration", "1h", "--output", "json", "--progress", "always"])
        .args(arguments)
        .spawn()
        .unwrap();
    let mut progress = Progress::of(&mut bench);
    progress.wait_for_load(1);
    signal(&server.child, Signal::STOP);
    progress.wait_for_line("0 ops/s");
    signal(&server.child, Signal::CONT);
    progress.wait_for_load(2);
    signal(&bench, Signal::INT);
    let rest = progress.rest();
    let report = report(&bench.wait_with_output().unwrap());
    // A second in which nothing was answered, of a few: far more than one operation in a hundred was half a second late.
    assert!(number(&report["total"]["latency"]["p99_us"]) > 500_000, "{rest}{report:#}");
    assert_eq!(report["total"]["errors"], 0, "{report:#}");
}

#[test]
fn the_text_has_a_row_for_each_operation_and_progress_is_shown_on_request() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), 0);
    let arguments = ["--warm-up", "0s", "--duration", "1500ms", "--progress", "always", "--nodes", "10"];
    let output = server.bench(&arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    for start in ["server    127.0.0.1:", "load      read=90,write=10,", "operation ", "read ", "write ", "all "] {
        assert!(text.lines().any(|line| line.starts_with(start)), "{start:?} in {text}");
    }
    assert!(stderr(&output).lines().any(|line| line.contains(" ops/s, p99 ")), "{}", stderr(&output));
}

#[test]
fn nodes_are_made_for_the_identity_alone() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), 0);
    let (nodes, secret) = (server.nodes(), dir.path().join("secret"));
    std::fs::write(&secret, "digest:user:canary\n").unwrap();
    let auth = format!("@{}", secret.display());
    let arguments = ["--auth", &auth, "--root", "/mine", "--duration", "1h", "--output", "json"];
    let bench = server.bench(&arguments).spawn().unwrap();
    wait_for("nodes are made", || server.nodes() > nodes + 1_000);
    let others = server.bench(&["--root", "/mine", "--clean"]).output().unwrap();
    assert!(stderr(&others).contains("/mine: the node's ACL does not permit this"), "{}", stderr(&others));
    assert_eq!(others.status.code(), Some(1), "{}", stderr(&others));
    signal(&bench, Signal::TERM);
    let output = bench.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143), "the run itself is not disturbed: {}", stderr(&output));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(!printed.contains("canary"), "{printed}");
    assert_eq!(server.nodes(), nodes, "nodes are left behind");
}

#[test]
fn what_makes_no_sense_ends_with_code_2_before_anything_is_touched() {
    for (arguments, reason) in [
        (&["--mix", "red=90,write=10"][..], "no operation is called \"red\"; there are read, write, exists"),
        (&["--threads", "0"], "--threads is 0"),
        (&["--servers", "nonsense:port"], "is no list of servers"),
    ] {
        let output = gamekeeper(&["bench"]).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(reason), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn a_root_that_exists_is_neither_used_nor_removed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), 0);
    let nodes = server.nodes();
    let root = ["--root", "/zookeeper-like"];
    let inside = server.bench(&SHORT).args(["--root", "/zookeeper-like/below"]).output().unwrap();
    assert_eq!(inside.status.code(), Some(1), "{}", stderr(&inside));
    assert!(stderr(&inside).contains("the parent of --root must be there already"), "{}", stderr(&inside));
    let mut first = server.bench(&["--duration", "1h"]).args(root).spawn().unwrap();
    wait_for("the first run has nodes", || server.nodes() > nodes);
    let second = server.bench(&SHORT).args(root).output().unwrap();
    assert_eq!(second.status.code(), Some(1), "{}", stderr(&second));
    assert!(stderr(&second).contains("/zookeeper-like: the node exists already"), "{}", stderr(&second));
    signal(&first, Signal::INT);
    assert_eq!(first.wait().unwrap().code(), Some(130), "ended by Ctrl-C");
    assert_eq!(server.nodes(), nodes, "nodes are left behind");
}

#[test]
fn nodes_of_others_stay_whatever_their_names_are() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), 0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = gk_client::Client::connect(&server.address).await.unwrap();
        for path in ["/mine", "/mine/child", "/gamekeeper-bench-cafe0001", "/gamekeeper-bench-cafe0001/child"] {
            client.create(path, "of others", gk_client::CreateMode::Persistent).await.unwrap();
        }
        client.close().await.unwrap();
    });
    let nodes = server.nodes();
    for arguments in [&["--clean"][..], &["--clean", "--root", "/mine"]] {
        let output = server.bench(arguments).output().unwrap();
        assert_eq!(stderr(&output), "Nothing is left behind.\n", "{arguments:?}");
    }
    let output = server.bench(&SHORT).args(["--root", "/mine"]).output().unwrap();
    assert!(
        stderr(&output).contains("cannot make the node of this run: /mine: the node exists already"),
        "{}",
        stderr(&output)
    );
    assert_eq!(server.nodes(), nodes, "nothing was removed or made");
}

#[test]
fn ctrl_c_ends_a_run_with_its_report_and_removes_its_nodes() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), 0);
    let nodes = server.nodes();
    let arguments = ["--warm-up", "0s", "--duration", "1h", "--output", "json", "--progress", "always"];
    let mut bench = server.bench(&arguments).spawn().unwrap();
    let mut progress = Progress::of(&mut bench);
    progress.wait_for_load(1);
    signal(&bench, Signal::INT);
    let rest = progress.rest();
    let output = bench.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{rest}");
    let report = report(&output);
    assert_eq!(report["interrupted"], true, "{report:#}");
    assert!(number(&report["total"]["count"]) > 0, "{report:#}");
    assert_eq!(report["total"]["errors"], 0, "{report:#}");
    assert_eq!(server.nodes(), nodes, "nodes are left behind");
}

#[test]
fn a_restarted_server_is_seen_as_errors_and_the_run_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), 0);
    let (nodes, port) = (server.nodes(), server.port());
    let arguments = ["--warm-up", "0s", "--duration", "1h", "--output", "json", "--progress", "always"];
    let mut bench = server.bench(&arguments).args(["--mix", "writes", "--depth", "4"]).spawn().unwrap();
    let mut progress = Progress::of(&mut bench);
    progress.wait_for_load(1);
    drop(server);
    let server = Server::start(dir.path(), port);
    // The first may be of the time before.
    progress.wait_for_load(3);
    signal(&bench, Signal::INT);
    let rest = progress.rest();
    let output = bench.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{rest}");
    let report = report(&output);
    let total = &report["total"];
    assert!(number(&total["count"]) > 0, "{report:#}");
    assert!(number(&total["errors_by_kind"]["OutcomeUnknown"]) > 0, "{report:#}");
    assert!(number(&report["reconnects"]) > 0, "{report:#}");
    assert_eq!(number(&total["count"]) + number(&total["errors"]), number(&total["sent"]), "{report:#}");
    assert_eq!(server.nodes(), nodes, "nodes are left behind: {rest}");
}

#[test]
fn expired_sessions_are_replaced_and_nodes_removed_by_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with_short_sessions(dir.path());
    let nodes = server.nodes();
    let arguments = ["--duration", "1h", "--session-timeout", "1s", "--output", "json", "--progress", "always"];
    let mut bench = server.bench(&arguments).args(["--warm-up", "0s", "--nodes", "10"]).spawn().unwrap();
    let mut progress = Progress::of(&mut bench);
    progress.wait_for_load(1);
    signal(&bench, Signal::STOP);
    wait_for("the server has expired every session", || server.connections() == 1);
    signal(&bench, Signal::CONT);
    // The first may be of the time before.
    progress.wait_for_load(3);
    signal(&bench, Signal::INT);
    let rest = progress.rest();
    let output = bench.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{rest}");
    let report = report(&output);
    assert!(number(&report["sessions_replaced"]) > 0, "{report:#}");
    assert_eq!(server.nodes(), nodes, "nodes are left behind: {rest}");
}

#[test]
fn what_a_killed_run_leaves_behind_is_named_and_removed_on_request_only() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), 0);
    let nodes = server.nodes();
    let mut bench = server.bench(&["--duration", "1h", "--session-timeout", "4s"]).spawn().unwrap();
    wait_for("nodes are made", || server.nodes() > nodes + 1_000);
    let in_use = server.bench(&["--clean"]).output().unwrap();
    assert!(stderr(&in_use).contains("it stays"), "{}", stderr(&in_use));
    bench.kill().unwrap();
    bench.wait().unwrap();
    let mut said = String::new();
    wait_for("the session of the killed run expires", || {
        said = stderr(&server.bench(&["--clean"]).output().unwrap());
        !said.contains("it stays")
    });
    assert!(said.starts_with("/gamekeeper-bench-") && said.ends_with(" is removed.\n"), "{said}");
    assert_eq!(server.nodes(), nodes, "nodes are left behind");
    let again = server.bench(&["--clean"]).output().unwrap();
    assert_eq!((again.status.code(), &*stderr(&again)), (Some(0), "Nothing is left behind.\n"), "again");
}

#[test]
fn no_server_is_an_error_that_names_it() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let servers = free.to_string();
    let output = gamekeeper(&["bench", "--servers", &servers, "--session-timeout", "300ms"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains(&servers), "{}", stderr(&output));
}

#[test]
fn help_has_the_parts_that_the_help_of_serve_has() {
    for command in ["serve", "bench"] {
        let output = gamekeeper(&[command, "--help"]).output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        for part in ["Usage: gamekeeper ", "Options:", "Examples:", "Environment:", "Exit codes:"] {
            assert!(help.contains(part), "{part:?} of {command}: {help}");
        }
    }
}
