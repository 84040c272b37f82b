//! The edge of configuration: files, `-D` on the command line, JVMFLAGS.

use super::error::{ConfigError, Notice, Place, Problem};
use super::parse::{apply_system, parse};
use super::settings::SystemProperty;
use super::{Config, ListenAddress, ListenHost};
use gk_proto::Millis;
use std::io;
use std::path::{Path, PathBuf};

/// A configuration and what the operator should know about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What to run with.
    pub config: Config,
    /// To be logged once, in this order.
    pub notices: Vec<Notice>,
}

/// Loads the zoo.cfg at `path`, or what holds without one.
pub fn load(path: Option<&Path>, system: &[SystemProperty]) -> Result<Loaded, ConfigError> {
    let Some(path) = path else {
        return apply_system(Config::built_in(), system);
    };
    let name = path.display().to_string();
    let text = read(path)
        .map_err(|error| ConfigError { at: Place::File(name.clone()), problem: Problem::Unreadable(error) })?;
    let loaded = parse(&name, &text, system, &read_if_there)?;
    check_resolves(&name, &loaded.config)?;
    Ok(loaded)
}

/// What `port dataDir [tickTime] [maxClientCnxns]` instead of a file stands for: ZooKeeper's defaults otherwise.
pub fn load_shorthand(
    port: u16,
    data_dir: PathBuf,
    tick: Option<Millis>,
    per_address_max: Option<usize>,
    system: &[SystemProperty],
) -> Result<Loaded, ConfigError> {
    let mut config = Config::zookeeper_defaults(data_dir);
    if let Some(tick) = tick {
        config.set_tick(tick);
    }
    config.clients.listen = Some(ListenAddress { host: ListenHost::Any, port });
    if let Some(max) = per_address_max {
        config.clients.per_address_max = (max > 0).then_some(max);
    }
    apply_system(config, system)
}

/// The `-Dkey=value` that an operator gives to a JVM: in SERVER_JVMFLAGS, in JVMFLAGS and as `arguments` (each without
/// its `-D`). Later ones win, which is the order in which `zkServer.sh` puts them.
pub fn system_properties(
    variable: impl Fn(&'static str) -> Option<String>,
    arguments: &[String],
) -> Vec<SystemProperty> {
    let mut properties = Vec::new();
    for name in ["SERVER_JVMFLAGS", "JVMFLAGS"] {
        let flags = variable(name).unwrap_or_default();
        // The shell splits the variable at blanks and knows no quotes in it; neither do we.
        let defined = flags.split_whitespace().filter_map(|flag| flag.strip_prefix("-D"));
        properties.extend(defined.map(|text| property(Place::Variable(name), text)));
    }
    properties.extend(arguments.iter().map(|text| property(Place::CommandLine, text)));
    properties
}

fn property(at: Place, text: &str) -> SystemProperty {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    SystemProperty { at, key: key.trim().to_owned(), value: value.trim().to_owned() }
}

fn read(path: &Path) -> io::Result<String> {
    std::fs::read(path).map(decode)
}

fn read_if_there(path: &Path) -> io::Result<Option<String>> {
    match read(path) {
        Ok(text) => Ok(Some(text)),
        // What lies below something that is no directory is not there either.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// UTF-8, and what is not is Latin-1, as Java reads every properties file.
fn decode(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| error.into_bytes().into_iter().map(char::from).collect())
}

fn check_resolves(file: &str, config: &Config) -> Result<(), ConfigError> {
    let Some(listen) = &config.clients.listen else {
        return Ok(());
    };
    match listen.resolve() {
        Ok(_) => Ok(()),
        Err(error) => Err(ConfigError {
            at: Place::File(file.to_owned()),
            problem: Problem::UnresolvedAddress { host: listen.to_string(), error },
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_come_from_variables_and_arguments_later_ones_last() {
        let variable = |name| match name {
            "JVMFLAGS" => Some("-Xmx1g -Dzookeeper.snapCount=7  -Djute.maxbuffer=9".to_owned()),
            _ => None,
        };
        let found = system_properties(variable, &["zookeeper.snapCount=8".to_owned(), "flag".to_owned()]);
        let shown: Vec<_> = found.iter().map(|p| format!("{} {}={}", p.at, p.key, p.value)).collect();
        assert_eq!(
            shown,
            [
                "environment variable JVMFLAGS zookeeper.snapCount=7",
                "environment variable JVMFLAGS jute.maxbuffer=9",
                "command line zookeeper.snapCount=8",
                "command line flag=",
            ],
            "in order"
        );
    }

    #[test]
    fn a_missing_file_and_a_directory_are_errors_that_name_them() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path().join("zoo.cfg"), dir.path().to_owned()] {
            let error = load(Some(&path), &[]).unwrap_err();
            assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
            assert!(matches!(error.problem, Problem::Unreadable(_)), "{error}");
        }
    }

    /// Blamed on the configuration (exit code 2), where the data directory is at fault (3).
    #[test]
    fn a_data_directory_that_is_a_file_is_left_to_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        std::fs::write(&data, "").unwrap();
        let file = dir.path().join("zoo.cfg");
        std::fs::write(&file, format!("dataDir={}\nclientPort=2181\n", data.display())).unwrap();
        assert!(load(Some(&file), &[]).is_ok(), "there is no myid");
    }

    #[test]
    fn a_file_with_one_server_line_listens_where_that_line_says() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("myid"), "1\n").unwrap();
        let file = dir.path().join("zoo.cfg");
        let text = format!("dataDir={}\nserver.1=localhost:2888:3888;2181\n", dir.path().display());
        std::fs::write(&file, text).unwrap();
        let config = load(Some(&file), &[]).unwrap().config;
        let expected = ListenAddress { host: ListenHost::Any, port: 2181 };
        assert_eq!(config.clients.listen, Some(expected), "as the official container image configures it");
    }

    #[test]
    fn a_file_that_is_not_utf8_is_latin1() {
        assert_eq!(decode(b"caf\xe9".to_vec()), "caf\u{e9}", "latin-1");
        assert_eq!(decode("caf\u{e9}".as_bytes().to_vec()), "caf\u{e9}", "utf-8");
    }

    #[test]
    fn shorthand_means_zookeepers_defaults_on_every_address() {
        let loaded = load_shorthand(2199, "/d".into(), Some(Millis(500)), Some(0), &[]).unwrap();
        let config = loaded.config;
        assert_eq!(config.clients.listen.unwrap().to_string(), "0.0.0.0:2199", "port");
        assert_eq!(config.sessions.timeout_max, Millis(10_000), "twenty ticks");
        assert_eq!(config.clients.per_address_max, None, "0 is off");
        assert!(!config.clients.words.allows(crate::words::Word::Ruok), "words as in ZooKeeper");
    }

    #[test]
    fn properties_apply_without_a_file_too() {
        let system = system_properties(|_| None, &["zookeeper.4lw.commands.whitelist=*".to_owned()]);
        let loaded = load(None, &system).unwrap();
        assert!(loaded.config.clients.words.allows(crate::words::Word::Mntr), "whitelist");
        assert_eq!(loaded.notices, [], "nothing to remark");
    }
}
