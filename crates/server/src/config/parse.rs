//! From the text of a zoo.cfg to a [`Config`]: ZooKeeper's `QuorumPeerConfig.parseProperties`, in its order of checks.

use super::ensemble::{self, Server};
use super::error::{ConfigError, Notice, Place, Problem, Severity};
use super::load::Loaded;
use super::settings::{Setting, Settings, SystemProperty};
use super::values::{Values, boolean, number};
use super::{
    AccessConfig, ClientConfig, Compression, Config, ConnectRate, DigestAlgorithm, ListenAddress, ListenHost,
    PurgeConfig, ReaperConfig, RequestConfig, SessionConfig, StorageConfig, properties,
};
use crate::words::Whitelist;
use gk_proto::Millis;
use std::path::{Path, PathBuf};

/// Reads `text`, which messages call `file`, with `system` properties beside it.
///
/// `read` gives the content of the two files that a configuration leads to (`myid`, `dynamicConfigFile`), `None` when
/// there is no such file.
pub fn parse(
    file: &str,
    text: &str,
    system: &[SystemProperty],
    read: &dyn Fn(&Path) -> std::io::Result<Option<String>>,
) -> Result<Loaded, ConfigError> {
    let whole = Place::File(file.to_owned());
    let mut notices = Vec::new();
    let settings = collect(file, text, system, &mut notices)?;
    check_natives(&settings)?;
    let Some(data_dir) = settings.get("dataDir").filter(|setting| !setting.value.is_empty()) else {
        let problem = Problem::Missing { key: "dataDir", example: "dataDir=/var/lib/zookeeper" };
        return Err(ConfigError { at: whole, problem });
    };
    let mut config = Config::zookeeper_defaults(PathBuf::from(&data_dir.value));
    apply(&mut config, &settings, &mut notices)?;
    let own = own_server(&whole, &settings, &config.storage.data_dir, &mut notices, read)?;
    join_client_address(&mut config, &settings, own)?;
    if config.clients.listen.is_none() {
        let text = "is not set, and so no client can connect; add clientPort=2181";
        notices.push(Notice { at: whole, key: "clientPort".into(), severity: Severity::Warning, text: text.into() });
    }
    Ok(Loaded { config, notices })
}

/// Applies `system` properties to a configuration that comes from no file.
pub(super) fn apply_system(mut config: Config, system: &[SystemProperty]) -> Result<Loaded, ConfigError> {
    let mut notices = Vec::new();
    let settings = Settings::collect("", Vec::new(), system, &mut notices);
    apply(&mut config, &settings, &mut notices)?;
    Ok(Loaded { config, notices })
}

fn collect(
    file: &str,
    text: &str,
    system: &[SystemProperty],
    notices: &mut Vec<Notice>,
) -> Result<Settings, ConfigError> {
    let properties = properties::parse(text)
        .map_err(|(line, problem)| ConfigError { at: Place::Line(file.to_owned(), line), problem })?;
    Ok(Settings::collect(file, properties, system, notices))
}

/// What ZooKeeper refuses whether or not we make use of it.
fn check_natives(settings: &Settings) -> Result<(), ConfigError> {
    use super::keys::Form;
    for (setting, form) in settings.natives() {
        match form {
            Form::Text => {}
            Form::Number => {
                number(setting, i64::from(i32::MIN), i64::from(i32::MAX))?;
            }
            Form::Boolean => {
                boolean(setting)?;
            }
        }
    }
    if let Some(setting) = settings.get("electionAlg").filter(|setting| number(setting, 3, 3).is_err()) {
        return Err(setting.wrong(Problem::UnsupportedElection));
    }
    if let Some(setting) = settings.get("peerType") {
        ensemble::is_observer(setting, &setting.value)?;
    }
    let provider = settings.get("metricsProvider.className");
    if let Some(setting) = provider.filter(|setting| !METRICS_PROVIDERS.contains(&setting.value.as_str())) {
        return Err(setting.wrong(Problem::UnknownMetricsProvider));
    }
    check_port_pair(settings, "secureClientPortAddress", "secureClientPort")?;
    check_quorum_sasl(settings)
}

fn check_port_pair(settings: &Settings, address: &'static str, port: &'static str) -> Result<(), ConfigError> {
    if let Some(setting) = settings.get(port) {
        number(setting, 0, 65_535)?;
        return Ok(());
    }
    match settings.get(address) {
        Some(setting) => Err(setting.wrong(Problem::AddressWithoutPort { address, port })),
        None => Ok(()),
    }
}

/// `QuorumPeerConfig`: a flag of quorum SASL must not be on while one that it needs is off.
fn check_quorum_sasl(settings: &Settings) -> Result<(), ConfigError> {
    const ENABLED: &str = "quorum.auth.enableSasl";
    const SERVER: &str = "quorum.auth.serverRequireSasl";
    const LEARNER: &str = "quorum.auth.learnerRequireSasl";
    for (flag, required) in [(SERVER, ENABLED), (LEARNER, ENABLED), (SERVER, LEARNER)] {
        let on = |name| settings.get(name).is_some_and(|setting| setting.is("true"));
        if let Some(setting) = settings.get(flag).filter(|setting| setting.is("true") && !on(required)) {
            return Err(setting.wrong(Problem::QuorumSaslInconsistent { flag, required }));
        }
    }
    Ok(())
}

/// Everything but the ensemble.
fn apply(config: &mut Config, settings: &Settings, notices: &mut Vec<Notice>) -> Result<(), ConfigError> {
    let mut values = Values { settings, notices };
    storage(&mut config.storage, &mut values)?;
    config.storage.purge = purge(config.storage.purge, &mut values)?;
    sessions(config, &mut values)?;
    clients(&mut config.clients, &mut values)?;
    requests(&mut config.requests, &mut values)?;
    access(&mut config.access, &mut values)?;
    config.access.enforced_schemes = enforced_schemes(&config.access, &mut values)?;
    // A standalone server is never read-only, but it answers those who ask.
    if values.property_flag("readonlymode.enabled", false) {
        config.clients.words.allow(crate::words::Word::Isro);
    }
    reaper(&mut config.reaper, &mut values)?;
    config.tree_digest = values.property_flag("digest.enabled", config.tree_digest);
    Ok(())
}

fn storage(storage: &mut StorageConfig, values: &mut Values<'_>) -> Result<(), ConfigError> {
    for name in ["dataDir", "dataLogDir"] {
        if let Some(setting) = values.settings.get(name).filter(|setting| Path::new(&setting.value).is_relative()) {
            let text = "a relative path, so the data is found only from the directory the server is started in";
            values.notices.push(setting.notice(Severity::Warning, text));
        }
    }
    if let Some(log_dir) = values.text("dataLogDir") {
        storage.log_dir = PathBuf::from(log_dir);
    }
    storage.autocreate = values.property_flag("datadir.autocreate", storage.autocreate);
    storage.force_sync = values.text("forceSync") != Some("no");
    if !storage.force_sync {
        warn(values, "forceSync", "acknowledged changes are lost when the machine stops without warning");
    }
    set(&mut storage.preallocation_bytes, values.kilobytes("preAllocSize")?.map(Option::unwrap_or_default));
    if let Some(count) = values.number("snapCount", i64::from(i32::MIN), i64::from(i32::MAX))? {
        if count < 2 {
            warn(values, "snapCount", "too small, taken for 2 as in ZooKeeper");
        }
        storage.snapshot_txns = count.max(2).unsigned_abs();
    }
    set(&mut storage.snapshot_log_bytes, values.kilobytes("snapSizeLimitInKb")?);
    set(&mut storage.log_file_bytes_max, values.kilobytes("txnLogSizeLimitInKb")?);
    set(&mut storage.fsync_warning, values.millis("fsync.warningthresholdms")?);
    storage.compression = match values.text("snapshot.compression.method") {
        None => Compression::None,
        Some("gz") => Compression::Gzip,
        Some("snappy") => Compression::Snappy,
        Some(_) => {
            return Err(unknown_choice(values.settings, "snapshot.compression.method", "gz, snappy, or nothing"));
        }
    };
    storage.trust_empty_snapshot = values.property_flag("snapshot.trust.empty", storage.trust_empty_snapshot);
    if !values.property_flag("serializeLastProcessedZxid.enabled", true) {
        let text = "no effect: snapshots always end in the last zxid, which ZooKeeper before 3.9 does not look for";
        warn(values, "serializeLastProcessedZxid.enabled", text);
    }
    Ok(())
}

fn purge(default: Option<PurgeConfig>, values: &mut Values<'_>) -> Result<Option<PurgeConfig>, ConfigError> {
    let Some(mut purge) = default else {
        return Ok(None);
    };
    if let Some(kept) = values.number("autopurge.snapRetainCount", i64::from(i32::MIN), i64::from(i32::MAX))? {
        if kept < 3 {
            warn(values, "autopurge.snapRetainCount", "too small, taken for 3 as in ZooKeeper");
        }
        set(&mut purge.snapshots_kept, usize::try_from(kept.max(3)).ok());
    }
    let Some(setting) = values.settings.get("autopurge.purgeInterval") else {
        return Ok(Some(purge));
    };
    // Hours, or (ZooKeeper after 3.9) a number with one of these units.
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let (digits, unit) = units
        .iter()
        .find_map(|(suffix, unit)| setting.value.strip_suffix(suffix).map(|digits| (digits, *unit)))
        .unwrap_or((setting.value.as_str(), 3_600_000));
    let plain = Setting { value: digits.trim_end().to_owned(), ..setting.clone() };
    let interval = number(&plain, i64::from(i32::MIN), i64::from(i32::MAX))?;
    purge.interval = Millis(interval.max(0).unsigned_abs() * unit);
    Ok((interval > 0).then_some(purge))
}

fn sessions(config: &mut Config, values: &mut Values<'_>) -> Result<(), ConfigError> {
    if let Some(tick) = values.count("tickTime", 0)? {
        if tick == 0 {
            let problem = Problem::Missing { key: "tickTime", example: "tickTime=2000" };
            let at = values.settings.get("tickTime").map(|setting| setting.at.clone());
            return Err(ConfigError { at: at.unwrap_or(Place::CommandLine), problem });
        }
        config.set_tick(Millis(tick.into()));
    }
    let sessions: &mut SessionConfig = &mut config.sessions;
    // -1 stands for the default, in ZooKeeper too; any other number below 0 is no bound.
    for (name, bound) in
        [("minSessionTimeout", &mut sessions.timeout_min), ("maxSessionTimeout", &mut sessions.timeout_max)]
    {
        let found = values.number(name, i64::from(i32::MIN), i64::from(i32::MAX))?;
        set(bound, found.filter(|value| *value != -1).map(|value| Millis(value.max(0).unsigned_abs())));
    }
    if sessions.timeout_min > sessions.timeout_max {
        let problem =
            Problem::SessionTimeoutsCrossed { min_ms: sessions.timeout_min.0, max_ms: sessions.timeout_max.0 };
        let lines = ["minSessionTimeout", "maxSessionTimeout"].map(|name| values.settings.get(name));
        let at = lines.into_iter().flatten().next().map(|setting| setting.at.clone());
        return Err(ConfigError { at: at.unwrap_or(Place::CommandLine), problem });
    }
    set(&mut sessions.local, values.flag("localSessionsEnabled")?);
    set(&mut sessions.local_upgrade, values.flag("localSessionsUpgradingEnabled")?);
    sessions.close_lists_ephemerals = values.property_flag("closeSessionTxn.enabled", sessions.close_lists_ephemerals);
    Ok(())
}

fn clients(clients: &mut ClientConfig, values: &mut Values<'_>) -> Result<(), ConfigError> {
    check_port_pair(values.settings, "clientPortAddress", "clientPort")?;
    if let Some(port) = values.number("clientPort", 0, 65_535)? {
        let port = u16::try_from(port).expect("INVARIANT: a number from 0 to 65535 was just read");
        let host = values.text("clientPortAddress").map_or(ListenHost::Any, ensemble::listen_host);
        clients.listen = Some(ListenAddress { host, port });
    }
    set(&mut clients.backlog, values.limit("clientPortListenBacklog")?);
    clients.tcp_keepalive = values.property_flag("clientTcpKeepAlive", clients.tcp_keepalive);
    set(&mut clients.per_address_max, values.limit("maxClientCnxns")?);
    set(&mut clients.total_max, values.limit("maxCnxns")?);
    clients.connect_rate = connect_rate(values)?;
    set(&mut clients.sessionless_timeout, values.millis("nio.sessionlessCnxnTimeout")?);
    clients.threads = values.limit("nio.numWorkerThreads")?.flatten();
    if let Some(setting) = values.settings.get("4lw.commands.whitelist") {
        clients.words = Whitelist::of(&setting.value);
        for unknown in Whitelist::unknown(&setting.value) {
            let text = format!("\"{unknown}\" is no four-letter word");
            values.notices.push(setting.notice(Severity::Warning, text));
        }
    }
    Ok(())
}

fn connect_rate(values: &Values<'_>) -> Result<Option<ConnectRate>, ConfigError> {
    let tokens = values.count("connection_throttle_tokens", 0)?;
    let fill_time = values.millis("connection_throttle_fill_time")?.unwrap_or(Millis(1));
    let fill_count = values.count("connection_throttle_fill_count", 0)?.unwrap_or(1);
    Ok(tokens.filter(|tokens| *tokens > 0).map(|tokens_max| ConnectRate { tokens_max, fill_time, fill_count }))
}

fn requests(requests: &mut RequestConfig, values: &mut Values<'_>) -> Result<(), ConfigError> {
    set(&mut requests.length_max, values.count("jute.maxbuffer", 1)?);
    // Less than 1024 was never allowed: the slack was a constant once.
    requests.record_extra = values.count("jute.maxbuffer.extrasize", 0)?.unwrap_or(requests.length_max).max(1024);
    requests.enforce_quota = values.property_flag("enforceQuota", requests.enforce_quota);
    let outstanding_max = values.count("globalOutstandingLimit", 1)?.and_then(|count| usize::try_from(count).ok());
    set(&mut requests.outstanding_max, outstanding_max);
    if let Some(Some(throttle)) = values.limit("request_throttle_max_requests")? {
        requests.outstanding_max = requests.outstanding_max.min(throttle);
    }
    let bytes_max = values.count("largeRequestMaxBytes", 1)?.and_then(|count| usize::try_from(count).ok());
    set(&mut requests.outstanding_bytes_max, bytes_max);
    Ok(())
}

fn access(access: &mut AccessConfig, values: &mut Values<'_>) -> Result<(), ConfigError> {
    access.skip_acl = values.text("skipACL") == Some("yes");
    if access.skip_acl {
        warn(values, "skipACL", "no ACL is checked: every client may read and change everything");
    }
    access.super_digest = values.text("DigestAuthenticationProvider.superDigest").map(super::Secret::new);
    if access.super_digest.is_some() {
        warn(values, "DigestAuthenticationProvider.superDigest", "a client that knows its password passes every check");
    }
    access.digest_enabled = values.property_flag("DigestAuthenticationProvider.enabled", access.digest_enabled);
    let algorithm = "DigestAuthenticationProvider.digestAlg";
    access.digest_algorithm = match values.text(algorithm).map(str::to_ascii_uppercase).as_deref() {
        None | Some("SHA1" | "SHA-1") => DigestAlgorithm::Sha1,
        Some("SHA-256") => DigestAlgorithm::Sha256,
        Some("SHA-512") => DigestAlgorithm::Sha512,
        Some(_) => return Err(unknown_choice(values.settings, algorithm, "SHA1, SHA-256, SHA-512")),
    };
    set(&mut access.reconfig, values.flag("reconfigEnabled")?);
    Ok(())
}

/// `AuthenticationHelper`: requiring SASL is enforcing the scheme `sasl`, and what is enforced must be there.
fn enforced_schemes(access: &AccessConfig, values: &mut Values<'_>) -> Result<Option<Vec<String>>, ConfigError> {
    let require_sasl = values.property_flag("sessionRequireClientSASLAuth", false);
    let enforce = values.property_flag("enforce.auth.enabled", false);
    if let Some(setting) = values.settings.get("sessionRequireClientSASLAuth").filter(|_| require_sasl) {
        let offered = "nothing, or enforce.auth.enabled=true with enforce.auth.schemes=digest";
        return Err(setting.wrong(Problem::EnforcedSchemeNotOffered {
            key: setting.key.clone(),
            scheme: "sasl".into(),
            offered,
        }));
    }
    let Some(switch) = values.settings.get("enforce.auth.enabled").filter(|_| enforce) else {
        return Ok(None);
    };
    let Some(setting) = values.settings.get("enforce.auth.schemes") else {
        return Err(switch.wrong(Problem::NothingEnforced));
    };
    let offered = if access.digest_enabled { "digest, ip" } else { "ip" };
    let schemes: Vec<String> = setting.value.split(',').map(|scheme| scheme.trim().to_owned()).collect();
    match schemes.iter().find(|scheme| !offered.split(", ").any(|known| known == scheme.as_str())) {
        Some(scheme) => Err(setting.wrong(Problem::EnforcedSchemeNotOffered {
            key: setting.key.clone(),
            scheme: scheme.clone(),
            offered,
        })),
        None => Ok(Some(schemes)),
    }
}

fn reaper(reaper: &mut ReaperConfig, values: &mut Values<'_>) -> Result<(), ConfigError> {
    reaper.extended_types = values.property_flag("extendedTypesEnabled", reaper.extended_types);
    reaper.emulate_353 = values.property_flag("emulate353TTLNodes", reaper.emulate_353);
    if let Some(interval) = values.count("znode.container.checkIntervalMs", 1)? {
        reaper.interval = Millis(interval.into());
    }
    set(&mut reaper.removals_per_minute, values.count("znode.container.maxPerMinute", 1)?);
    set(&mut reaper.never_used, values.millis("znode.container.maxNeverUsedIntervalMs")?);
    Ok(())
}

/// This server's own `server.N` line, once it is clear that there is no ensemble.
fn own_server(
    whole: &Place,
    settings: &Settings,
    data_dir: &Path,
    notices: &mut Vec<Notice>,
    read: &dyn Fn(&Path) -> std::io::Result<Option<String>>,
) -> Result<Option<Server>, ConfigError> {
    let dynamic = match settings.get("dynamicConfigFile") {
        Some(setting) => Some(dynamic_members(setting, settings, read)?),
        None => None,
    };
    let members = dynamic.as_ref().unwrap_or(&settings.members);
    let multi_address = settings.get("multiAddress.enabled").is_some_and(|setting| setting.is("true"));
    let servers = ensemble::servers(members, multi_address)?;
    let standalone = settings.get("standaloneEnabled").is_none_or(|setting| setting.is("true"));
    let at = || members.first().map_or_else(|| whole.clone(), |member| member.at.clone());
    check_standalone(&servers, standalone).map_err(|problem| ConfigError { at: at(), problem })?;
    let id = my_id(data_dir, read)?;
    let Some(first) = members.first().filter(|_| !servers.is_empty()) else {
        return Ok(None);
    };
    notices.push(first.notice(Severity::Info, "only one server listed: it runs standalone, without peers"));
    if id.is_none() && servers.iter().any(|server| server.client.is_some()) {
        let text = format!(
            "its client port is not used, since {} does not say which server this is; write the N of server.N into it",
            data_dir.join("myid").display()
        );
        notices.push(first.notice(Severity::Warning, text));
    }
    Ok(servers.into_iter().find(|server| Some(server.id) == id))
}

/// `QuorumPeerConfig.parseDynamicConfig`, and the end of what this version does.
fn check_standalone(servers: &[Server], standalone: bool) -> Result<(), Problem> {
    let voters = servers.iter().filter(|server| !server.observer).count();
    let observers = servers.len() - voters;
    match voters {
        0 if !standalone => Err(Problem::NoParticipants),
        0 | 1 if observers > 0 && standalone => Err(Problem::ObserversWithoutQuorum),
        0 => Ok(()),
        1 if standalone => Ok(()),
        1 => Err(Problem::EnsembleNotOffered { voters, because: " and standaloneEnabled=false" }),
        _ => Err(Problem::EnsembleNotOffered { voters, because: "" }),
    }
}

fn dynamic_members(
    setting: &Setting,
    settings: &Settings,
    read: &dyn Fn(&Path) -> std::io::Result<Option<String>>,
) -> Result<Vec<Setting>, ConfigError> {
    if let Some(member) = settings.members.first() {
        return Err(member.wrong(Problem::MembershipInStaticFile { key: member.key.clone() }));
    }
    let text = read_named(Path::new(&setting.value), read)?
        .ok_or_else(|| setting.wrong(Problem::Unreadable(std::io::ErrorKind::NotFound.into())))?;
    let file = setting.value.as_str();
    let properties = properties::parse(&text)
        .map_err(|(line, problem)| ConfigError { at: Place::Line(file.to_owned(), line), problem })?;
    for property in &properties {
        let at = || Place::Line(file.to_owned(), property.line);
        if property.key == "version" {
            return Err(ConfigError { at: at(), problem: Problem::VersionInDynamicFile });
        }
        if !super::settings::is_membership(&property.key) {
            return Err(ConfigError {
                at: at(),
                problem: Problem::UnknownDynamicParameter { key: property.key.clone() },
            });
        }
    }
    Ok(Settings::collect(file, properties, &[], &mut Vec::new()).members)
}

/// The first line of `myid`, which a standalone server need not have.
fn my_id(data_dir: &Path, read: &dyn Fn(&Path) -> std::io::Result<Option<String>>) -> Result<Option<i64>, ConfigError> {
    let path = data_dir.join("myid");
    let Some(text) = read_named(&path, read)? else {
        return Ok(None);
    };
    let found = text.lines().next().unwrap_or_default();
    match found.parse() {
        Ok(id) => Ok(Some(id)),
        Err(_) => Err(ConfigError {
            at: Place::Line(path.display().to_string(), 1),
            problem: Problem::MyIdNotANumber { found: found.chars().take(40).collect() },
        }),
    }
}

fn read_named(
    path: &Path,
    read: &dyn Fn(&Path) -> std::io::Result<Option<String>>,
) -> Result<Option<String>, ConfigError> {
    read(path).map_err(|error| ConfigError {
        at: Place::File(path.display().to_string()),
        problem: Problem::Unreadable(error),
    })
}

/// `QuorumPeerConfig.setupClientPort`: `clientPort` and this server's own line must not contradict each other.
fn join_client_address(config: &mut Config, settings: &Settings, own: Option<Server>) -> Result<(), ConfigError> {
    let Some(Server { id, client: Some(dynamic), .. }) = own else {
        return Ok(());
    };
    if let Some(fixed) = &config.clients.listen {
        let agree = if fixed.host == ListenHost::Any { fixed.port == dynamic.port } else { *fixed == dynamic };
        if let Some(setting) = settings.get("clientPort").filter(|_| !agree) {
            return Err(setting.wrong(Problem::ClientAddressContradicts { server_id: id }));
        }
    }
    config.clients.listen = Some(dynamic);
    Ok(())
}

/// Overwrites a default where something was found.
fn set<T>(target: &mut T, found: Option<T>) {
    if let Some(value) = found {
        *target = value;
    }
}

fn warn(values: &mut Values<'_>, name: &'static str, text: &str) {
    if let Some(setting) = values.settings.get(name) {
        values.notices.push(setting.notice(Severity::Warning, text));
    }
}

fn unknown_choice(settings: &Settings, name: &'static str, choices: &'static str) -> ConfigError {
    let setting = settings.get(name).expect("INVARIANT: called only for a key whose text was just read");
    let (key, value) = (setting.key.clone(), setting.value.clone());
    setting.wrong(Problem::UnknownChoice { key, value, choices })
}

const METRICS_PROVIDERS: &[&str] = &[
    "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider",
    "org.apache.zookeeper.metrics.impl.NullMetricsProvider",
    "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider",
];

#[cfg(test)]
mod tests;
