//! The command `serve`: configuration in, banner out, exit code back.

use crate::arguments::{ServeArguments, Source};
use crate::logging;
use gk_server::config::{Config, ConfigError, Loaded, Severity, load, load_shorthand, system_properties};
use gk_server::words::VERSION;
use gk_server::{Exit, Listening, ServeError};
use gk_storage::StorageError;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use tracing::{info, warn};

/// Runs a server until it ends.
pub(crate) fn run(arguments: &ServeArguments) -> ExitCode {
    let source = match arguments.source() {
        Ok(source) => source,
        Err(wrong) => {
            complain(&wrong);
            return ExitCode::from(INVALID);
        }
    };
    let Loaded { mut config, notices } = match configuration(&source, &arguments.define) {
        Ok(loaded) => loaded,
        Err(error) => {
            complain(&format!("{error}\nInvalid config, exiting abnormally"));
            return ExitCode::from(INVALID);
        }
    };
    logging::start();
    if let Source::File(path) = &source {
        info!("Reading configuration from: {}", path.display());
    }
    info!("Server environment:zookeeper.version={VERSION}");
    for notice in &notices {
        match notice.severity {
            Severity::Info => info!("{notice}"),
            Severity::Warning => warn!("{notice}"),
        }
    }
    override_by(&mut config, arguments, &source);
    let banner = Banner::of(&config);
    match gk_server::serve(config, |listening| banner.print(listening)) {
        Ok(Exit::Signal(number)) => ExitCode::from(by_signal(number)),
        Err(error) => {
            let (code, text) = failure(&error);
            complain(&format!("{error}\n{text}"));
            ExitCode::from(code)
        }
    }
}

fn configuration(source: &Source, define: &[String]) -> Result<Loaded, ConfigError> {
    let system = system_properties(|name| std::env::var(name).ok(), define);
    match source.clone() {
        Source::BuiltIn => load(None, &system),
        Source::File(path) => load(Some(&path), &system),
        Source::Shorthand { port, data_dir, tick, per_address_max } => {
            load_shorthand(port, data_dir, tick, per_address_max, &system)
        }
    }
}

/// What the command line says wins over any file.
fn override_by(config: &mut Config, arguments: &ServeArguments, source: &Source) {
    if let Some(listen) = &arguments.listen {
        match source {
            Source::BuiltIn => config.listen_on(listen.clone()),
            Source::File(_) | Source::Shorthand { .. } => config.clients.listen = Some(listen.clone()),
        }
    }
    let storage = &mut config.storage;
    if let Some(data_dir) = &arguments.data_dir {
        if storage.log_dir == storage.data_dir {
            storage.log_dir.clone_from(data_dir);
        }
        storage.data_dir.clone_from(data_dir);
    }
    storage.accept_data_loss = arguments.accept_data_loss;
}

/// What a started server says about itself, once it can be connected to.
struct Banner {
    /// Data directory, and the log's where it is another.
    directories: Vec<String>,
}

impl Banner {
    fn of(config: &Config) -> Self {
        let storage = &config.storage;
        let absolute =
            |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string();
        let mut directories = vec![absolute(&storage.data_dir)];
        if storage.log_dir != storage.data_dir {
            directories.push(absolute(&storage.log_dir));
        }
        Self { directories }
    }

    fn print(&self, listening: &Listening) {
        // Nobody may be reading any more; a server serves even so.
        let _ = std::io::stdout().write_all(self.text(&listening.addresses).as_bytes());
    }

    fn text(&self, addresses: &[SocketAddr]) -> String {
        let release = env!("CARGO_PKG_VERSION");
        let mut text = format!("Gamekeeper {release}, one standalone server, answers as ZooKeeper 3.9.5\n");
        let shown: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
        text += &format!("  clients  {}\n", if shown.is_empty() { "no port".to_owned() } else { shown.join(", ") });
        for (label, directory) in ["data", "log"].into_iter().zip(&self.directories) {
            text += &format!("  {label:7}  {directory}\n");
        }
        if let Some(first) = addresses.first() {
            text += &format!("  connect  zkCli.sh -server {}\n", reachable(*first));
        }
        text + "  stop     Ctrl-C, or SIGTERM\n"
    }
}

/// An address to connect to from this machine: nobody connects to 0.0.0.0.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = if address.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address.ip() };
    SocketAddr::new(ip, address.port())
}

/// 128 and the number, as a JVM and every shell have it: service files for ZooKeeper expect 143.
fn by_signal(number: i32) -> u8 {
    u8::try_from(number).map_or(UNEXPECTED, |number| 128_u8.saturating_add(number))
}

/// The exit code of an error, and the line that scripts around ZooKeeper look for.
fn failure(error: &ServeError) -> (u8, &'static str) {
    const UNUSABLE: (u8, &str) = (INACCESSIBLE, "Unable to access datadir, exiting abnormally");
    match error {
        ServeError::Storage(error) if is_inaccessible(error) => UNUSABLE,
        ServeError::Key { source, .. } if is_refusal(source) => UNUSABLE,
        ServeError::Storage(_) | ServeError::Key { .. } => {
            (DISK_FAILED, "Data cannot be read or written, exiting abnormally")
        }
        ServeError::Resolve { .. } => (INVALID, "Invalid config, exiting abnormally"),
        ServeError::Listen { .. } | ServeError::System { .. } | _ => {
            (UNEXPECTED, "Unexpected exception, exiting abnormally")
        }
    }
}

/// Whether the directory itself is not as it must be, rather than what is in it: exit code 3 and not 10.
pub(crate) fn is_inaccessible(error: &StorageError) -> bool {
    if let StorageError::Io { source, .. } = error {
        return is_refusal(source);
    }
    matches!(
        error,
        StorageError::DirectoryMissing { .. }
            | StorageError::EmptyUntrusted { .. }
            | StorageError::InUse { .. }
            | StorageError::Misplaced { .. }
    )
}

/// Whether the file system did not let us in, which it says at the start or never.
fn is_refusal(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{AlreadyExists, NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), AlreadyExists | NotADirectory | NotFound | PermissionDenied | ReadOnlyFilesystem)
}

/// An error ends on stderr whether or not logging has started.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "gamekeeper: {text}");
}

// Exit codes of ZooKeeper (`org.apache.zookeeper.server.ExitCode`).
const UNEXPECTED: u8 = 1;
const INVALID: u8 = 2;
const INACCESSIBLE: u8 = 3;
const DISK_FAILED: u8 = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use gk_server::config::ListenAddress;
    use std::path::PathBuf;

    fn arguments(listen: Option<&str>, data_dir: Option<&str>) -> ServeArguments {
        ServeArguments {
            source: Vec::new(),
            listen: listen.map(|text| text.parse().unwrap()),
            data_dir: data_dir.map(PathBuf::from),
            define: Vec::new(),
            accept_data_loss: false,
        }
    }

    #[test]
    fn command_line_wins_over_the_configuration() {
        let mut config = Config::built_in();
        override_by(&mut config, &arguments(Some("0.0.0.0:2199"), Some("/d")), &Source::BuiltIn);
        assert_eq!(
            config.clients.listen.as_ref().map(ListenAddress::to_string).as_deref(),
            Some("0.0.0.0:2199"),
            "port"
        );
        assert_eq!(config.clients.per_address_max, Some(60), "beyond loopback");
        assert_eq!((config.storage.data_dir, config.storage.log_dir), ("/d".into(), "/d".into()), "one directory");
    }

    #[test]
    fn a_log_directory_of_its_own_and_a_limit_of_the_file_stay() {
        let mut config = Config::built_in();
        config.storage.log_dir = "/l".into();
        config.clients.per_address_max = Some(7);
        override_by(&mut config, &arguments(Some("0.0.0.0:1"), Some("/d")), &Source::File("zoo.cfg".into()));
        assert_eq!((config.storage.data_dir, config.storage.log_dir), ("/d".into(), "/l".into()), "log apart");
        assert_eq!(config.clients.per_address_max, Some(7), "maxClientCnxns");
    }

    #[test]
    fn banner_says_where_to_connect_and_where_the_data_is() {
        let banner = Banner { directories: vec!["/d".into(), "/l".into()] };
        let text = banner.text(&["0.0.0.0:2181".parse().unwrap(), "[::]:2181".parse().unwrap()]);
        let lines: Vec<_> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "  clients  0.0.0.0:2181, [::]:2181",
                "  data     /d",
                "  log      /l",
                "  connect  zkCli.sh -server 127.0.0.1:2181",
                "  stop     Ctrl-C, or SIGTERM",
            ],
            "banner"
        );
        assert!(!banner.text(&[]).contains("connect"), "no port, no command");
    }

    #[test]
    fn exit_codes_are_zookeepers() {
        assert_eq!([15, 2, 1].map(by_signal), [143, 130, 129], "signals");
        let taken = ServeError::Listen { address: "h:1".into(), source: std::io::ErrorKind::AddrInUse.into() };
        assert_eq!(failure(&taken).0, 1, "port taken");
        let io = |kind: std::io::ErrorKind| {
            let source = kind.into();
            failure(&ServeError::Storage(StorageError::Io { action: "open", path: "/d".into(), source })).0
        };
        assert_eq!(io(std::io::ErrorKind::PermissionDenied), 3, "directory not accessible");
        assert_eq!(io(std::io::ErrorKind::StorageFull), 10, "disk failed");
        assert_eq!(failure(&ServeError::Storage(StorageError::InUse { dir: "/d".into() })).0, 3, "in use");
    }
}
