//! Whole configurations in, typed configuration, notices and errors out.

use super::super::Secret;
use super::*;
use crate::words::Word;

fn load(text: &str, system: &[&str], files: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let define = |text: &&str| {
        let (key, value) = text.split_once('=').unwrap();
        SystemProperty { at: Place::CommandLine, key: key.into(), value: value.into() }
    };
    let system: Vec<_> = system.iter().map(define).collect();
    let read = |path: &Path| {
        let found = files.iter().find(|(name, _)| Path::new(name) == path);
        Ok(found.map(|(_, content)| (*content).to_owned()))
    };
    parse("zoo.cfg", text, &system, &read)
}

/// `lines` after a `dataDir=/d` and a `clientPort=2181`, so the first of them is line 3.
fn with(lines: &str) -> Result<Loaded, ConfigError> {
    load(&format!("dataDir=/d\nclientPort=2181\n{lines}\n"), &[], &[])
}

fn config(lines: &str) -> Config {
    let loaded = with(lines).unwrap();
    assert_eq!(loaded.notices, [], "no remark on {lines:?}");
    loaded.config
}

fn notices(lines: &str) -> Vec<String> {
    with(lines).unwrap().notices.iter().map(ToString::to_string).collect()
}

fn refused(text: &str, system: &[&str], files: &[(&str, &str)]) -> String {
    load(text, system, files).expect_err("the configuration is refused").to_string()
}

#[track_caller]
fn refuses(lines: &str, expected: &str) {
    let error = refused(&format!("dataDir=/d\nclientPort=2181\n{lines}\n"), &[], &[]);
    assert!(error.starts_with(expected), "expected {expected:?}, got {error:?}");
}

#[test]
fn sample_file_of_zookeeper_gives_its_defaults_and_purging() {
    let sample = "# The number of milliseconds of each tick\ntickTime=2000\ninitLimit=10\nsyncLimit=5\n\
                  dataDir=/var/lib/zookeeper\nclientPort=2181\n#maxClientCnxns=60\n";
    let Loaded { config, notices } = load(sample, &[], &[]).unwrap();
    assert_eq!(notices, [], "nothing to remark");
    assert_eq!(config.storage.data_dir, Path::new("/var/lib/zookeeper"), "dataDir");
    assert_eq!(config.storage.log_dir, Path::new("/var/lib/zookeeper"), "the log is beside it");
    let everywhere = ListenAddress { host: ListenHost::Any, port: 2181 };
    assert_eq!(config.clients.listen, Some(everywhere), "every address");
    assert_eq!(config.clients.per_address_max, Some(60), "maxClientCnxns");
    let sessions = config.sessions;
    assert_eq!(
        [sessions.tick, sessions.timeout_min, sessions.timeout_max],
        [Millis(2000), Millis(4000), Millis(40_000)],
        "time"
    );
    let hourly = PurgeConfig { snapshots_kept: 3, interval: Millis(3_600_000) };
    assert_eq!(config.storage.purge, Some(hourly), "on unless set to 0");
    let allowed: Vec<_> = Word::ALL.into_iter().filter(|word| config.clients.words.allows(*word)).collect();
    assert_eq!(allowed, [Word::Srvr, Word::TelnetClose], "only what ZooKeeper answers");
}

#[test]
fn tick_time_without_a_line_is_three_seconds() {
    let sessions = config("").sessions;
    assert_eq!([sessions.tick, sessions.timeout_min], [Millis(3000), Millis(6000)], "ZooKeeper's default");
    assert_eq!(config("minSessionTimeout=-1").sessions, sessions, "-1 is the default");
    assert_eq!(config("minSessionTimeout=-5").sessions.timeout_min, Millis(0), "no bound");
}

#[test]
fn storage_keys_reach_their_fields_with_their_units() {
    let storage = config(
        "dataLogDir=/l\nforceSync=yes\npreAllocSize=1024\nsnapCount=500\nsnapSizeLimitInKb=-1\ntxnLogSizeLimitInKb=2\n\
         fsync.warningthresholdms=20\nsnapshot.compression.method=gz\n\
         snapshot.trust.empty=TRUE\nautopurge.snapRetainCount=5\n\
         autopurge.purgeInterval=24\ndatadir.autocreate=false",
    )
    .storage;
    assert_eq!(storage.log_dir, Path::new("/l"), "dataLogDir");
    assert_eq!(storage.preallocation_bytes, 1 << 20, "KB");
    assert_eq!((storage.snapshot_txns, storage.snapshot_log_bytes), (500, None), "snapshots");
    assert_eq!(storage.log_file_bytes_max, Some(2048), "KB");
    assert_eq!(storage.fsync_warning, Millis(20), "ms");
    assert_eq!(storage.compression, Compression::Gzip, "gz");
    assert_eq!((storage.trust_empty_snapshot, storage.autocreate), (true, false), "flags");
    let daily = PurgeConfig { snapshots_kept: 5, interval: Millis(86_400_000) };
    assert_eq!(storage.purge, Some(daily), "hours");
}

#[test]
fn purge_interval_zero_is_off_and_units_of_later_versions_are_read() {
    assert_eq!(config("autopurge.purgeInterval=0").storage.purge, None, "off");
    assert_eq!(config("autopurge.purgeInterval=-1").storage.purge, None, "off");
    for (written, millis) in [("90s", 90_000), ("500ms", 500), ("5m", 300_000), ("2h", 7_200_000), ("1 d", 86_400_000)]
    {
        let purge = config(&format!("autopurge.purgeInterval={written}")).storage.purge;
        assert_eq!(purge.map(|purge| purge.interval), Some(Millis(millis)), "{written}");
    }
    refuses("autopurge.purgeInterval=often", "zoo.cfg, line 3: autopurge.purgeInterval is \"often\"");
}

#[test]
fn client_and_session_keys_reach_their_fields() {
    let config = config(
        "clientPortAddress=10.1.2.3\nclientPortListenBacklog=128\nclientTcpKeepAlive=true\nmaxClientCnxns=0\n\
         maxCnxns=5000\nnio.sessionlessCnxnTimeout=1500\nnio.numWorkerThreads=2\n4lw.commands.whitelist=stat, ruok\ntickTime=100\n\
         minSessionTimeout=50\nmaxSessionTimeout=90000\nlocalSessionsEnabled=true\nlocalSessionsUpgradingEnabled=TRUE\n\
         closeSessionTxn.enabled=false\nzookeeper.connection_throttle_tokens=50\nconnection_throttle_fill_time=20",
    );
    let clients = &config.clients;
    assert_eq!(clients.listen.as_ref().map(ToString::to_string).as_deref(), Some("10.1.2.3:2181"), "address");
    assert_eq!((clients.backlog, clients.tcp_keepalive), (Some(128), true), "socket options");
    assert_eq!((clients.per_address_max, clients.total_max), (None, Some(5000)), "0 is off");
    assert_eq!(clients.sessionless_timeout, Millis(1500), "ms");
    assert_eq!(clients.threads, Some(2), "threads of connections");
    let rate = ConnectRate { tokens_max: 50, fill_time: Millis(20), fill_count: 1 };
    assert_eq!(clients.connect_rate, Some(rate), "what is not said is one token");
    assert!(clients.words.allows(Word::Ruok) && !clients.words.allows(Word::Isro), "whitelist");
    let sessions = config.sessions;
    assert_eq!((sessions.timeout_min, sessions.timeout_max), (Millis(50), Millis(90_000)), "bounds");
    assert_eq!((sessions.local, sessions.local_upgrade, sessions.close_lists_ephemerals), (true, true, false), "flags");
}

#[test]
fn request_and_reaper_keys_reach_their_fields() {
    let config = config(
        "jute.maxbuffer=0x400000\nenforceQuota=true\nextendedTypesEnabled=true\n\
         emulate353TTLNodes=true\nznode.container.checkIntervalMs=10\nznode.container.maxPerMinute=12\n\
         znode.container.maxNeverUsedIntervalMs=13\ndigest.enabled=false\nglobalOutstandingLimit=70\n\
         request_throttle_max_requests=60\nlargeRequestMaxBytes=5000000",
    );
    let expected = RequestConfig {
        length_max: 4 << 20,
        record_extra: 4 << 20,
        enforce_quota: true,
        outstanding_max: 60,
        outstanding_bytes_max: 5_000_000,
    };
    assert_eq!(config.requests, expected, "requests; the extra size follows jute.maxbuffer");
    let expected = ReaperConfig {
        extended_types: true,
        emulate_353: true,
        interval: Millis(10),
        removals_per_minute: 12,
        never_used: Millis(13),
    };
    assert_eq!(config.reaper, expected, "reaper");
    assert!(!config.tree_digest, "digest.enabled");
}

#[test]
fn dangerous_settings_take_effect_and_are_remarked_on_without_their_values() {
    let loaded = with("skipACL=yes\nforceSync=no\nDigestAuthenticationProvider.superDigest=super:canary").unwrap();
    assert!(loaded.config.access.skip_acl && !loaded.config.storage.force_sync, "in effect");
    assert_eq!(loaded.config.access.super_digest.as_ref().map(Secret::expose), Some("super:canary"), "in effect");
    assert_eq!(loaded.notices.len(), 3, "{:?}", loaded.notices);
    assert!(loaded.notices.iter().all(|notice| notice.severity == Severity::Warning), "{:?}", loaded.notices);
    assert!(!format!("{loaded:?}").contains("canary"), "{loaded:?}");
}

#[test]
fn flags_among_the_properties_are_true_or_else_false() {
    assert!(!config("digest.enabled=FALSE").tree_digest, "false");
    let found = notices("digest.enabled=yes");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("zoo.cfg, line 3: digest.enabled: neither true nor false"), "{found:?}");
    assert!(!with("digest.enabled=yes").unwrap().config.tree_digest, "as ZooKeeper reads it");
}

#[test]
fn digest_scheme_and_enforcement() {
    let access = config(
        "DigestAuthenticationProvider.digestAlg=SHA-256\nenforce.auth.enabled=true\nenforce.auth.schemes=digest, ip",
    )
    .access;
    assert_eq!(access.digest_algorithm, DigestAlgorithm::Sha256, "hash");
    assert_eq!(access.enforced_schemes, Some(vec!["digest".into(), "ip".into()]), "schemes");
    assert_eq!(config("enforce.auth.schemes=digest").access.enforced_schemes, None, "not enabled");
    refuses("enforce.auth.enabled=true", "zoo.cfg, line 3: enforce.auth.enabled is true but enforce.auth.schemes");
    refuses(
        "enforce.auth.enabled=true\nenforce.auth.schemes=digest,sasl",
        "zoo.cfg, line 4: enforce.auth.schemes asks for \"sasl\", which this server does not offer",
    );
    refuses("sessionRequireClientSASLAuth=true", "zoo.cfg, line 3: sessionRequireClientSASLAuth asks for \"sasl\"");
    refuses("DigestAuthenticationProvider.digestAlg=MD4", "zoo.cfg, line 3: DigestAuthenticationProvider.digestAlg is");
}

#[test]
fn read_only_mode_allows_its_word() {
    let config = config("readonlymode.enabled=true");
    assert!(config.clients.words.allows(Word::Isro), "isro");
}

#[test]
fn unknown_keys_are_named_with_their_line_and_without_their_value() {
    let found = notices("snapcount=5\n\n# a comment\nmy.password=canary");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("zoo.cfg, line 3: snapcount: unknown key, ignored"), "{found:?}");
    assert!(found[1].starts_with("zoo.cfg, line 6: my.password: unknown key"), "{found:?}");
    assert!(!found[1].contains("canary"), "{found:?}");
}

#[test]
fn keys_of_what_is_not_offered_yet_are_warned_about_once_each() {
    let lines = [
        ("secureClientPort=2281", "TLS"),
        ("ssl.keyStore.password=canary", "TLS"),
        ("zookeeper.ssl.trustStore.location=/t", "TLS"),
        ("authProvider.sasl=org.apache.zookeeper.server.auth.SASLAuthenticationProvider", "authentication schemes"),
        ("quorum.auth.enableSasl=true", "SASL"),
        ("admin.serverPort=8081", "admin server"),
        ("metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider", "metrics"),
        ("metricsProvider.httpPort=7000", "metrics"),
        ("audit.enable=true", "audit"),
        ("connection_throttle_freeze_time=100", "throttling"),
    ];
    for (line, what) in lines {
        let found = notices(line);
        assert_eq!(found.len(), 1, "{line}: {found:?}");
        assert!(found[0].contains(what) && found[0].contains("not offered yet"), "{found:?}");
        assert!(!found[0].contains("canary"), "{found:?}");
    }
}

#[test]
fn what_is_switched_off_and_what_is_always_there_needs_no_warning() {
    config("admin.enableServer=false\nsslQuorum=false\naudit.enable=False\nportUnification=false");
    config("connection_throttle_tokens=0\nlargeRequestThreshold=-1");
    config("metricsProvider.className=org.apache.zookeeper.metrics.impl.DefaultMetricsProvider");
    config("authProvider.1=org.apache.zookeeper.server.auth.DigestAuthenticationProvider");
    config("serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\nelectionAlg=3\npeerType=observer");
}

#[test]
fn keys_of_the_java_servers_inside_are_remarked_on() {
    for line in ["jvm.pause.monitor=true", "nio.numSelectorThreads=4", "watchManagerName=x", "commitProcessor.a=1"] {
        let loaded = with(line).unwrap();
        let severities: Vec<_> = loaded.notices.iter().map(|notice| notice.severity).collect();
        assert_eq!(severities, [Severity::Info], "{line}: {:?}", loaded.notices);
    }
}

#[test]
fn a_later_line_wins_whatever_its_spelling() {
    let loaded = with("snapCount=5\nzookeeper.snapCount=6\nfsync.warningthresholdms=1").unwrap();
    assert_eq!(loaded.config.storage.snapshot_txns, 6, "the later");
    let shown: Vec<_> = loaded.notices.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["zoo.cfg, line 3: snapCount: given again on line 4, which counts"], "one remark");
}

#[test]
fn a_line_wins_over_a_property_except_where_zookeeper_reads_the_property_only() {
    let text = "dataDir=/d\nclientPort=1\nsnapCount=5\njute.maxbuffer=6000";
    let loaded =
        load(text, &["zookeeper.snapCount=9", "jute.maxbuffer=7000", "zookeeper.preAllocSize=1"], &[]).unwrap();
    assert_eq!(loaded.config.storage.snapshot_txns, 5, "the line");
    assert_eq!(loaded.config.requests.length_max, 7000, "the property");
    assert_eq!(loaded.config.storage.preallocation_bytes, 1024, "no line");
    let shown: Vec<_> = loaded.notices.iter().map(ToString::to_string).collect();
    assert_eq!(shown.len(), 1, "{shown:?}");
    assert!(shown[0].starts_with("zoo.cfg, line 4: jute.maxbuffer: overridden by the -D"), "{shown:?}");
    let text = "dataDir=/d\nclientPort=1\nssl.a=1";
    let loaded = load(text, &["zookeeper.ssl.a=2", "zookeeper.ssl.b=3"], &[]).unwrap();
    let keys: Vec<_> = loaded.notices.iter().map(|notice| notice.key.as_str()).collect();
    assert_eq!(keys, ["ssl.a", "zookeeper.ssl.b"], "each of a family by itself");
}

#[test]
fn properties_that_are_not_zookeepers_pass_in_silence_and_misspelt_ones_do_not() {
    let system = ["java.net.preferIPv4Stack=true", "log4j.x=y", "zookeeper.snapcount=1", "zookeeper.clientPort=2"];
    let shown: Vec<_> = load("dataDir=/d\nclientPort=1", &system, &[]).unwrap().notices;
    let shown: Vec<_> = shown.iter().map(ToString::to_string).collect();
    assert_eq!(shown.len(), 2, "{shown:?}");
    assert!(shown[0].starts_with("command line: zookeeper.snapcount: unknown property"), "{shown:?}");
    assert!(shown[1].starts_with("command line: zookeeper.clientPort: ignored"), "{shown:?}");
}

#[test]
fn values_that_zookeeper_corrects_are_corrected_with_a_warning() {
    assert_eq!(notices("serializeLastProcessedZxid.enabled=false").len(), 1, "always written");
    let loaded = with("snapCount=1\nautopurge.snapRetainCount=1").unwrap();
    assert_eq!(loaded.config.storage.snapshot_txns, 2, "snapCount");
    assert_eq!(loaded.config.storage.purge.unwrap().snapshots_kept, 3, "snapRetainCount");
    assert_eq!(loaded.notices.len(), 2, "{:?}", loaded.notices);
    assert_eq!(config("jute.maxbuffer=4096\njute.maxbuffer.extrasize=1").requests.record_extra, 1024, "extrasize");
}

#[test]
fn relative_directories_are_accepted_with_a_warning() {
    let loaded = load("dataDir=data\nclientPort=1", &[], &[]).unwrap();
    assert_eq!(loaded.config.storage.data_dir, Path::new("data"), "as written");
    assert!(loaded.notices[0].text.starts_with("a relative path"), "{:?}", loaded.notices);
}

#[test]
fn a_file_without_a_client_port_is_accepted_with_a_warning() {
    let loaded = load("dataDir=/d", &[], &[]).unwrap();
    assert_eq!(loaded.config.clients.listen, None, "no port");
    assert_eq!(loaded.notices[0].key, "clientPort", "{:?}", loaded.notices);
    let chosen = load("dataDir=/d\nclientPort=0", &[], &[]).unwrap();
    assert_eq!(chosen.config.clients.listen.map(|listen| listen.port), Some(0), "the system chooses");
}

#[test]
fn fatal_errors_name_file_line_fault_and_cure() {
    assert_eq!(
        refused("", &[], &[]),
        "zoo.cfg: dataDir is not set; add a line such as dataDir=/var/lib/zookeeper",
        "no dataDir"
    );
    refuses(
        "tickTime=2x",
        "zoo.cfg, line 3: tickTime is \"2x\", which is not a whole number from -2147483648 to 2147483647",
    );
    refuses("tickTime=0", "zoo.cfg, line 3: tickTime is not set; add a line such as tickTime=2000");
    refuses(
        "reconfigEnabled=yes",
        "zoo.cfg, line 3: Invalid option yes for reconfigEnabled. Choose 'true' or 'false.'",
    );
    refuses("sslQuorum=1", "zoo.cfg, line 3: Invalid option 1 for sslQuorum");
    refuses("initLimit=ten", "zoo.cfg, line 3: initLimit is \"ten\"");
    refuses("minSessionTimeout=9\nmaxSessionTimeout=8", "zoo.cfg, line 3: minSessionTimeout must not be larger than");
    refuses(
        "maxSessionTimeout=8",
        "zoo.cfg, line 3: minSessionTimeout must not be larger than maxSessionTimeout: 6000 ms",
    );
    refuses(
        "secureClientPortAddress=h",
        "zoo.cfg, line 3: secureClientPortAddress is set but secureClientPort is not set",
    );
    refuses("clientPort=65536", "zoo.cfg, line 3: clientPort is \"65536\"");
    refuses("electionAlg=0", "zoo.cfg, line 3: Invalid electionAlg value. Only 3 is supported");
    refuses("peerType=king", "zoo.cfg, line 3: Unrecognised peertype: king");
    refuses("metricsProvider.className=a.B", "zoo.cfg, line 3: metrics provider class was not found");
    refuses(
        "quorum.auth.serverRequireSasl=true",
        "zoo.cfg, line 3: quorum.auth.enableSasl is disabled, so cannot enable",
    );
    refuses("snapCount=many", "zoo.cfg, line 3: snapCount is \"many\"");
    refuses(
        "snapshot.compression.method=zip",
        "zoo.cfg, line 3: snapshot.compression.method is \"zip\"; choose one of",
    );
    refuses("x=\\u12", "zoo.cfg, line 3: \\u must be followed by four hexadecimal digits");
    let error = refused("dataDir=/d\nclientPortAddress=h", &[], &[]);
    assert!(error.starts_with("zoo.cfg, line 2: clientPortAddress is set but clientPort is not set"), "{error}");
    let error = refused("dataDir=/d", &["zookeeper.snapCount=many"], &[]);
    assert!(error.starts_with("command line: zookeeper.snapCount is \"many\""), "{error}");
}

#[test]
fn one_voter_runs_standalone_and_takes_the_port_of_its_line() {
    let text = "dataDir=/d\nserver.7=h:2888:3888;2199";
    let loaded = load(text, &[], &[("/d/myid", "7\n")]).unwrap();
    assert_eq!(loaded.config.clients.listen.unwrap().to_string(), "0.0.0.0:2199", "as container images configure it");
    assert_eq!(loaded.notices.len(), 1, "{:?}", loaded.notices);
    let loaded = load(text, &[], &[]).unwrap();
    assert_eq!(loaded.config.clients.listen, None, "nobody says which line is this server's");
    assert!(loaded.notices.iter().any(|notice| notice.text.contains("/d/myid")), "{:?}", loaded.notices);
}

#[test]
fn client_port_and_own_line_must_agree() {
    let contradicts = |port: &str, line: &str| {
        let text = format!("dataDir=/d\n{port}\nserver.1=h:2888:3888;{line}");
        load(&text, &[], &[("/d/myid", "1")]).map(|loaded| loaded.config.clients.listen.unwrap().to_string())
    };
    assert_eq!(contradicts("clientPort=2181", "10.0.0.1:2181").unwrap(), "10.0.0.1:2181", "same port");
    assert!(contradicts("clientPort=2181", "2182").is_err(), "other port");
    assert!(contradicts("clientPort=2181\nclientPortAddress=10.0.0.2", "10.0.0.1:2181").is_err(), "other address");
}

#[test]
fn ensembles_are_refused_and_so_is_what_zookeeper_refuses() {
    let two = "server.1=a:2888:3888\nserver.2=b:2888:3888";
    refuses(
        two,
        "zoo.cfg, line 3: ensembles are not in this version: the configuration lists 2 voting server(s); keep",
    );
    refuses("server.1=a:2888:3888\nstandaloneEnabled=false", "zoo.cfg, line 3: ensembles are not in this version");
    refuses("server.1=a:2888:3888:observer", "zoo.cfg, line 3: Observers w/o quorum");
    refuses("server.1=a:2888:3888\nserver.2=b:2888:3888:observer", "zoo.cfg, line 3: Observers w/o quorum");
    refuses("standaloneEnabled=false", "zoo.cfg: standaloneEnabled = false then number of participants should be >0");
    let one = with("server.1=a:2888:3888\nserver.01=a:2889:3889").unwrap();
    assert!(one.config.clients.listen.is_some(), "one server, listed twice");
    assert!(notices("weightless=1")[0].contains("unknown key"), "not a weight");
    refuses("server.1=a:2888", "zoo.cfg, line 3: a:2888 does not have the form server_config");
    refuses("server.x=a:2888:3888", "zoo.cfg, line 3: server.x is \"x\"");
    let error = refused("dataDir=/d", &[], &[("/d/myid", "one\n")]);
    assert!(error.starts_with("/d/myid, line 1: serverid one is not a number"), "{error}");
}

#[test]
fn dynamic_file_lists_members_and_nothing_else() {
    let text = "dataDir=/d\ndynamicConfigFile=/c/zoo.cfg.dynamic.1";
    let load_with = |dynamic: &str| load(text, &[], &[("/c/zoo.cfg.dynamic.1", dynamic), ("/d/myid", "1")]);
    let loaded = load_with("server.1=h:1:2:participant;0.0.0.0:2199").unwrap();
    assert_eq!(loaded.config.clients.listen.unwrap().port, 2199, "its port");
    let error = |dynamic: &str| load_with(dynamic).unwrap_err().to_string();
    assert!(
        error("\nversion=1").starts_with("/c/zoo.cfg.dynamic.1, line 2: dynamic file shouldn't have version"),
        "version"
    );
    assert!(
        error("tickTime=1").starts_with("/c/zoo.cfg.dynamic.1, line 1: Unrecognised parameter: tickTime"),
        "other key"
    );
    assert!(error("server.1=a:1:2\nserver.2=b:1:2").contains("ensembles are not in this version"), "ensemble");
    let inline = format!("{text}\nserver.1=h:1:2");
    assert!(refused(&inline, &[], &[]).contains("must be in a separate dynamic config file"), "both");
    assert!(refused(text, &[], &[]).starts_with("zoo.cfg, line 2: cannot be read"), "missing file");
}
