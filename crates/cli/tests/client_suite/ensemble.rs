//! Real servers in processes of their own: started, killed, stopped in their tracks, asked how they are.
//!
//! A server outlives neither its [`Ensemble`] nor the suite: between the two stands a small shell, the keeper, that
//! kills the server when its standard input ends, however the suite ended.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use gk_client::SessionId;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::target::Target;
use crate::wait::{found, until};

/// Length of a tick. Sessions may be as short as two of them.
pub(crate) const TICK: Duration = Duration::from_millis(500);

/// How long a four-letter word may go unanswered.
const WORD_MAX: Duration = Duration::from_secs(2);

/// The digest user that every server lets do anything.
pub(crate) const SUPER: &str = "super:suite";

/// `super:` and the digest of [`SUPER`], as `DigestAuthenticationProvider.superDigest` wants it.
const SUPER_DIGEST: &str = "super:byqk9J+vIAxISordpK5TdXrJG2w=";

/// Properties that ZooKeeper takes from no configuration file. Containers are looked for often; the rest starts a JVM
/// sooner. Apache's JVM and Gamekeeper read them from variables of different names.
const PROPERTIES: &str = "-Dznode.container.checkIntervalMs=150 -Dreadonlymode.enabled=true";
const JVM_OPTIONS: &str = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto";

/// Starts the server, tells its process id, and kills it when told to, or when nobody is left who could tell. In the
/// latter case what the suite would have cleaned up is cleaned up here.
const KEEPER: &str = r#"
home=$1 log=$2
shift 2
"$@" >>"$log" 2>&1 &
server=$!
echo "$server"
read -r word
kill -KILL "$server"
wait "$server" 2>/dev/null
[ -n "$word" ] || rm -rf "$home"
"#;

/// One server or several that agree.
pub(crate) struct Ensemble {
    target: Target,
    members: Vec<Member>,
    home: TempDir,
}

/// One server of an ensemble. Its place in the ensemble is its server id less one.
struct Member {
    client_port: u16,
    folder: PathBuf,
    process: Option<Process>,
    is_paused: bool,
}

impl Ensemble {
    /// Starts all servers, and waits until each serves.
    pub(crate) async fn start(target: Target) -> Self {
        Self::start_with(target, "").await
    }

    /// The same, with further lines in each configuration.
    pub(crate) async fn start_with(target: Target, lines: &str) -> Self {
        let home = TempDir::with_prefix("gk-client-suite-").unwrap();
        let client_ports: Vec<u16> = (0..target.members()).map(|_| free_port()).collect();
        let servers = server_lines(&client_ports);
        let folders = (1..).map(|id| (id, home.path().join(format!("member-{id}"))));
        let mut members = Vec::new();
        for ((id, folder), client_port) in folders.zip(client_ports) {
            std::fs::create_dir_all(folder.join("data")).unwrap();
            std::fs::write(folder.join("data/myid"), format!("{id}\n")).unwrap();
            let places = if target.members() == 1 {
                format!("clientPort={client_port}\nclientPortAddress=127.0.0.1\n")
            } else {
                servers.clone()
            };
            std::fs::write(folder.join("zoo.cfg"), config(&folder.join("data")) + &places + lines).unwrap();
            members.push(Member { client_port, folder, process: None, is_paused: false });
        }
        let mut ensemble = Self { target, members, home };
        ensemble.heal().await;
        ensemble
    }

    /// Starts what was killed and resumes what was paused, and waits until each server serves.
    pub(crate) async fn heal(&mut self) {
        for index in 0..self.members.len() {
            if self.members[index].is_paused {
                self.resume(index);
            }
            if self.members[index].process.is_none() {
                self.spawn(index);
            }
        }
        for index in 0..self.members.len() {
            self.serving(index).await;
        }
    }

    /// Number of servers.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Where clients reach this server.
    pub(crate) fn member_address(&self, index: usize) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.members[index].client_port))
    }

    /// All servers, as a client wants them.
    pub(crate) fn connect_string(&self) -> String {
        let addresses: Vec<String> = (0..self.len()).map(|index| self.member_address(index).to_string()).collect();
        addresses.join(",")
    }

    /// The server that decides; the only one if there is one.
    pub(crate) async fn leader(&self) -> usize {
        found("a leader", async || {
            for index in 0..self.len() {
                if matches!(self.mode(index).await.as_deref(), Some("leader" | "standalone")) {
                    return Some(index);
                }
            }
            None
        })
        .await
    }

    /// A server at which `sync` does what it should: a follower, or the only server. Apache's leader answers at once, also
    /// while it has yet to apply what a follower has already told its clients.
    pub(crate) async fn follower(&self) -> usize {
        let leader = self.leader().await;
        (0..self.len()).find(|index| *index != leader).unwrap_or(leader)
    }

    /// The server that holds the connection of a session.
    pub(crate) async fn member_of(&self, session: SessionId) -> usize {
        let wanted = format!("sid={session},");
        found("a connection of the session", async || {
            for index in 0..self.len() {
                if self.word(index, "cons").await.contains(&wanted) {
                    return Some(index);
                }
            }
            None
        })
        .await
    }

    /// `leader`, `follower`, `standalone` or `read-only`; nothing from a server that does not serve.
    pub(crate) async fn mode(&self, index: usize) -> Option<String> {
        let answer = self.word(index, "srvr").await;
        answer.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
    }

    /// The answer to a four-letter word, empty from a server that is not there.
    pub(crate) async fn word(&self, index: usize, word: &str) -> String {
        if self.members[index].process.is_none() || self.members[index].is_paused {
            return String::new();
        }
        four_letter_word(self.member_address(index), word).await.unwrap_or_default()
    }

    /// Ends a server as a power cut would.
    pub(crate) fn kill(&mut self, index: usize) {
        let member = &mut self.members[index];
        member.is_paused = false;
        let process = member.process.take().unwrap_or_else(|| panic!("server {index} is dead already"));
        process.kill();
    }

    /// Starts a server that was killed, on the data that it left.
    pub(crate) async fn restart(&mut self, index: usize) {
        self.spawn(index);
        self.serving(index).await;
    }

    /// Starts a server that was killed, and does not wait for it.
    pub(crate) fn spawn(&mut self, index: usize) {
        let member = &mut self.members[index];
        assert!(member.process.is_none(), "server {index} runs already");
        member.process = Some(Process::start(self.target, self.home.path(), &member.folder));
    }

    /// Stops a server in its tracks: its sockets stay open, and nothing answers.
    pub(crate) async fn pause(&mut self, index: usize) {
        self.signal(index, Signal::STOP);
        self.members[index].is_paused = true;
        let server = self.members[index].process.as_ref().map(|process| process.server);
        until("every thread of the server is stopped", async || server.is_some_and(is_stopped)).await;
    }

    /// Lets a paused server go on.
    pub(crate) fn resume(&mut self, index: usize) {
        self.signal(index, Signal::CONT);
        self.members[index].is_paused = false;
    }

    /// Waits until a server serves as a member of a quorum.
    pub(crate) async fn serving(&self, index: usize) {
        let what = format!("server {index} serves");
        until(&what, async || matches!(self.mode(index).await.as_deref(), Some("leader" | "follower" | "standalone")))
            .await;
    }

    fn signal(&self, index: usize, signal: Signal) {
        let process = self.members[index].process.as_ref().unwrap_or_else(|| panic!("server {index} is dead"));
        kill_process(process.server, signal).unwrap();
    }

    /// The last lines that a server has logged.
    fn log_tail(&self, index: usize) -> String {
        let text = std::fs::read(self.members[index].folder.join("server.log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Ensemble {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for index in 0..self.len() {
                eprintln!("server {index} logged last:\n{}", self.log_tail(index));
            }
        }
        for member in &mut self.members {
            if let Some(process) = member.process.take() {
                process.kill();
            }
        }
    }
}

/// A running server with its keeper.
struct Process {
    keeper: Child,
    orders: ChildStdin,
    server: Pid,
}

impl Process {
    fn start(target: Target, home: &Path, folder: &Path) -> Self {
        let config = folder.join("zoo.cfg").display().to_string();
        let log = folder.join("server.log");
        OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .args([home, &log])
            .args(target.command().iter().map(|word| word.replace("{config}", &config)))
            .env("ZK_HEAP", "128m")
            .env("JAVA_TOOL_OPTIONS", format!("{PROPERTIES} {JVM_OPTIONS}"))
            .env("JVMFLAGS", PROPERTIES)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0) // an interrupt at the terminal ends the suite; the keeper then ends the server
            .spawn()
            .unwrap();
        let orders = keeper.stdin.take().unwrap();
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let server = Pid::from_raw(line.trim().parse().unwrap()).unwrap();
        Self { keeper, orders, server }
    }

    /// Kills the server and waits until it is gone.
    fn kill(mut self) {
        // The keeper cannot be gone: it ends only when told.
        writeln!(self.orders, "kill").unwrap();
        self.keeper.wait().unwrap();
    }
}

/// What all servers are told but for where they are.
fn config(data: &Path) -> String {
    format!(
        "tickTime={}\ninitLimit=40\nsyncLimit=6\ndataDir={}\nmaxClientCnxns=0\nmaxSessionTimeout=120000\n\
         4lw.commands.whitelist=*\nadmin.enableServer=false\npreAllocSize=1024\nextendedTypesEnabled=true\n\
         enforceQuota=true\nreconfigEnabled=true\nDigestAuthenticationProvider.superDigest={SUPER_DIGEST}\n",
        TICK.as_millis(),
        data.display()
    )
}

fn server_lines(client_ports: &[u16]) -> String {
    let mut lines = String::new();
    for (id, client_port) in (1..).zip(client_ports) {
        let (quorum_port, election_port) = (free_port(), free_port());
        writeln!(lines, "server.{id}=127.0.0.1:{quorum_port}:{election_port};127.0.0.1:{client_port}").unwrap();
    }
    lines
}

/// A port that nobody listens on, outside the range from which outgoing connections take theirs, and not given away
/// twice in one process. Several suites that run at the same time begin at different places.
fn free_port() -> u16 {
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 20_000;
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id().wrapping_mul(7_919) % u32::from(COUNT);
    let start = u16::try_from(start).unwrap();
    loop {
        let offset = (u32::from(start) + u32::from(TAKEN.fetch_add(1, Ordering::Relaxed))) % u32::from(COUNT);
        let port = FIRST + u16::try_from(offset).unwrap();
        if std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Whether all threads of a process are stopped (proc(5)).
fn is_stopped(process: Pid) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    threads.filter_map(|thread| std::fs::read_to_string(thread.unwrap().path().join("stat")).ok()).all(|stat| {
        let after_name = stat.rsplit_once(')').unwrap().1;
        after_name.trim_start().starts_with('T')
    })
}

async fn four_letter_word(address: SocketAddr, word: &str) -> std::io::Result<String> {
    let ask = async {
        let mut socket = TcpStream::connect(address).await?;
        socket.write_all(word.as_bytes()).await?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    // A server that is about to serve may take a connection and never answer.
    tokio::time::timeout(WORD_MAX, ask).await?
}
