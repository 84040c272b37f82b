//! What can be wrong or worth saying about a configuration, and where in it.

use std::fmt;

/// Where a setting was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The file as a whole: something is missing from it.
    File(String),
    /// A line of a file, from 1.
    Line(String, usize),
    /// A `-Dkey=value` on the command line.
    CommandLine,
    /// A `-Dkey=value` within this environment variable.
    Variable(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name) => f.write_str(name),
            Self::Line(name, line) => write!(f, "{name}, line {line}"),
            Self::CommandLine => f.write_str("command line"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
        }
    }
}

/// How much a [`Notice`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Nothing the operator relies on is missing.
    Info,
    /// The server will not do what the line asks for, or not as it seems to.
    Warning,
}

/// A remark on one setting, to be logged once at start. It never repeats a value, which may be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Where the setting was given.
    pub at: Place,
    /// Its key as written.
    pub key: String,
    /// How much it matters.
    pub severity: Severity,
    /// What happens to it, and what to do where something can be done.
    pub text: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.at, self.key, self.text)
    }
}

/// A configuration with which the server does not start: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{at}: {problem}")]
pub struct ConfigError {
    /// Where it is wrong.
    pub at: Place,
    /// What is wrong, and what to do about it.
    pub problem: Problem,
}

/// What is wrong with a configuration. The texts say what to do; where ZooKeeper has a well-known text they keep it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file, or one it names, is missing or cannot be read.
    #[error("cannot be read ({0}); give the path of a readable configuration, or none to start with the defaults")]
    Unreadable(#[source] std::io::Error),
    /// `\u` without four hexadecimal digits.
    #[error("\\u must be followed by four hexadecimal digits; write a plain backslash as \\\\")]
    MalformedUnicodeEscape,
    /// A required key is absent.
    #[error("{key} is not set; add a line such as {example}")]
    Missing {
        /// The key.
        key: &'static str,
        /// A line that would do.
        example: &'static str,
    },
    /// A number is not one, or does not fit.
    #[error("{key} is \"{value}\", which is not a whole number from {min} to {max}")]
    NotANumber {
        /// The key as written.
        key: String,
        /// What stands there.
        value: String,
        /// Smallest number that does.
        min: i64,
        /// Largest number that does.
        max: i64,
    },
    /// A key that ZooKeeper checks is neither `true` nor `false`.
    #[error("Invalid option {value} for {key}. Choose 'true' or 'false.'")]
    NotABoolean {
        /// The key as written.
        key: String,
        /// What stands there.
        value: String,
    },
    /// A key takes one of a few words.
    #[error("{key} is \"{value}\"; choose one of: {choices}")]
    UnknownChoice {
        /// The key as written.
        key: String,
        /// What stands there.
        value: String,
        /// The words that do.
        choices: &'static str,
    },
    /// An address without its port.
    #[error("{address} is set but {port} is not set; add {port}=<port> or remove {address}")]
    AddressWithoutPort {
        /// The key of the address.
        address: &'static str,
        /// The key of the port.
        port: &'static str,
    },
    /// A name that leads to no address.
    #[error("the address {host} cannot be resolved ({error}); give a clientPortAddress that this machine has")]
    UnresolvedAddress {
        /// Host as written.
        host: String,
        /// What the resolver said.
        error: std::io::Error,
    },
    /// The bounds of session timeouts are crossed.
    #[error(
        "minSessionTimeout must not be larger than maxSessionTimeout: {min_ms} ms and {max_ms} ms \
         (when not set they are 2 and 20 times tickTime)"
    )]
    SessionTimeoutsCrossed {
        /// Lower bound.
        min_ms: u64,
        /// Upper bound.
        max_ms: u64,
    },
    /// Election algorithms other than fast leader election are gone from ZooKeeper too.
    #[error("Invalid electionAlg value. Only 3 is supported; remove the line")]
    UnsupportedElection,
    /// A metrics provider that ZooKeeper does not have either.
    #[error(
        "metrics provider class was not found; remove the line, or name \
         org.apache.zookeeper.metrics.impl.DefaultMetricsProvider"
    )]
    UnknownMetricsProvider,
    /// One flag of quorum SASL requires another.
    #[error("{required} is disabled, so cannot enable {flag}; set {required}=true or remove {flag}")]
    QuorumSaslInconsistent {
        /// The flag that is on.
        flag: &'static str,
        /// The flag that it requires.
        required: &'static str,
    },
    /// `enforce.auth.enabled` without a scheme to enforce.
    #[error("enforce.auth.enabled is true but enforce.auth.schemes is not set; add enforce.auth.schemes=digest")]
    NothingEnforced,
    /// Clients would have to authenticate by a scheme that is not there.
    #[error(
        "{key} asks for \"{scheme}\", which this server does not offer, so no client could be let in; choose from: \
         {offered}"
    )]
    EnforcedSchemeNotOffered {
        /// The key as written.
        key: String,
        /// The scheme.
        scheme: String,
        /// What could stand there.
        offered: &'static str,
    },
    /// A `server.N` line does not parse.
    #[error(
        "{value} does not have the form server_config or server_config;client_config where server_config is the pipe \
         separated list of host:port:port or host:port:port:type and client_config is port or host:port"
    )]
    MalformedServer {
        /// What stands there.
        value: String,
    },
    /// A role other than the two.
    #[error("Unrecognised peertype: {value}; choose participant or observer")]
    UnknownPeerType {
        /// What stands there.
        value: String,
    },
    /// Quorum and election port of a server are the same.
    #[error("Client and election port must be different! Please update the configuration file on server.{server_id}")]
    SamePorts {
        /// The server.
        server_id: i64,
    },
    /// `|` without the switch for it.
    #[error("several addresses for one server need multiAddress.enabled=true")]
    MultiAddressDisabled,
    /// Membership in the static file although another file is named for it.
    #[error(
        "parameter: {key} must be in a separate dynamic config file; move it to the file that dynamicConfigFile names"
    )]
    MembershipInStaticFile {
        /// The key as written.
        key: String,
    },
    /// A key in the dynamic file that does not belong there.
    #[error("Unrecognised parameter: {key}; a dynamic configuration file holds server, group and weight lines only")]
    UnknownDynamicParameter {
        /// The key as written.
        key: String,
    },
    /// `version` in a dynamic file.
    #[error("dynamic file shouldn't have version inside; the version is the suffix of the file's name")]
    VersionInDynamicFile,
    /// `myid` holds something else.
    #[error("serverid {found} is not a number; write this server's N of server.N into the file's first line")]
    MyIdNotANumber {
        /// The first line of the file.
        found: String,
    },
    /// The port of this server's `server.N` line is not `clientPort`.
    #[error(
        "client address for this server (id = {server_id}) in static config file is different from client address \
         found in its server line; make clientPort and the part after the semicolon agree, or remove one of them"
    )]
    ClientAddressContradicts {
        /// This server.
        server_id: i64,
    },
    /// Only observers are listed, or observers beside a single voter.
    #[error("Observers w/o quorum is an invalid configuration; list the voters too, or remove the observers")]
    ObserversWithoutQuorum,
    /// `standaloneEnabled=false` and no voter.
    #[error("standaloneEnabled = false then number of participants should be >0; add server lines or remove it")]
    NoParticipants,
    /// More than one voter.
    #[error(
        "ensembles are not in this version: the configuration lists {voters} voting server(s){because}; \
         keep one server line or none to run standalone, or run Apache ZooKeeper for an ensemble"
    )]
    EnsembleNotOffered {
        /// How many.
        voters: usize,
        /// Why one is too many.
        because: &'static str,
    },
}
