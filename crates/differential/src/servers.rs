//! Real servers in processes of their own, which end with this one.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::clock::Moment;
use crate::options::Options;

/// How long a server may take to serve.
const START_MAX: Duration = Duration::from_secs(90);

/// How long it is left alone between two looks at whether it serves.
const LOOK_AGAIN: Duration = Duration::from_millis(30);

/// What makes a JVM start sooner.
const JVM_OPTIONS: &str = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto";

/// Starts the server, and kills it when told to, or when nobody is left who could tell; then its directory goes too.
const KEEPER: &str = r#"
home=$1 log=$2 command=$3
sh -c "exec $command" >>"$log" 2>&1 </dev/null &
server=$!
echo "$server"
read -r word
kill -KILL "$server"
wait "$server" 2>/dev/null
[ -n "$word" ] || rm -rf "$home"
"#;

/// A standalone server with a directory of its own.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    keeper: Child,
    orders: ChildStdin,
    home: TempDir,
}

impl Server {
    /// Starts `command`, in which `{config}` becomes the path of a `zoo.cfg`, and waits until it serves.
    pub(crate) fn start(command: &str, options: &Options) -> Result<Self, String> {
        let problem = |error: std::io::Error| format!("cannot start {command}: {error}");
        // In memory if there is such a place: what is on the disk is compared elsewhere.
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let home = tempfile::Builder::new().prefix("gk-differential-").tempdir_in(parent).map_err(problem)?;
        let (config, data, log) =
            (home.path().join("zoo.cfg"), home.path().join("data"), home.path().join("server.log"));
        let port = free_port();
        let text =
            format!("{}clientPort={port}\nclientPortAddress=127.0.0.1\ndataDir={}\n", options.lines(), data.display());
        std::fs::create_dir(&data).and_then(|()| std::fs::write(&config, text)).map_err(problem)?;
        OpenOptions::new().create(true).append(true).open(&log).map_err(problem)?;
        let template = if command.contains("{config}") { command.to_owned() } else { format!("{command} {{config}}") };
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .args([home.path(), log.as_path()])
            .arg(template.replace("{config}", &config.display().to_string()))
            .env("ZK_HEAP", "512m")
            .env("JAVA_TOOL_OPTIONS", format!("{} {JVM_OPTIONS}", options.properties()))
            .env("JVMFLAGS", options.properties())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0) // an interrupt at the terminal ends this program; the keeper then ends the server
            .spawn()
            .map_err(problem)?;
        let orders = keeper.stdin.take().ok_or("the keeper has no standard input")?;
        let mut line = String::new();
        let output = keeper.stdout.take().ok_or("the keeper has no standard output")?;
        BufReader::new(output).read_line(&mut line).map_err(problem)?;
        let mut server = Self { address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), keeper, orders, home };
        server.wait_until_it_serves(line.trim())?;
        Ok(server)
    }

    fn wait_until_it_serves(&mut self, process: &str) -> Result<(), String> {
        let began = Moment::now();
        while began.elapsed() < START_MAX {
            if ask(self.address, "srvr").is_ok_and(|answer| answer.contains("Mode: standalone")) {
                return Ok(());
            }
            // Its keeper waits for it only when told to end it: until then what is left of it can be seen.
            let state = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
            if state.contains("State:\tZ") {
                return Err(format!("the server has ended; it logged last:\n{}", self.log_tail()));
            }
            // Nothing tells when a server has come so far.
            std::thread::park_timeout(LOOK_AGAIN);
        }
        Err(format!("the server does not serve; it logged last:\n{}", self.log_tail()))
    }

    /// The last lines that it logged.
    pub(crate) fn log_tail(&self) -> String {
        let text = std::fs::read(self.home.path().join("server.log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The keeper ends only when told, so this reaches it, and it ends.
        if writeln!(self.orders, "kill").is_ok() {
            let _ = self.keeper.wait();
        }
    }
}

fn ask(address: SocketAddr, word: &str) -> std::io::Result<String> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    socket.write_all(word.as_bytes())?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A port that nobody listens on, outside the range from which outgoing connections take theirs, and not given away
/// twice in one process. Several processes begin at different places.
fn free_port() -> u16 {
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 20_000;
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id().wrapping_mul(7_919) % u32::from(COUNT);
    loop {
        let offset = (start + u32::from(TAKEN.fetch_add(1, Ordering::Relaxed))) % u32::from(COUNT);
        let port = FIRST + u16::try_from(offset).unwrap_or(0);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
