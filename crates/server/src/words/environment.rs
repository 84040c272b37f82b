//! `conf`, `envi`, `dirs` and `hash`: what the server runs with and on.

use super::VERSION;
use gk_proto::{Millis, Zxid};
use std::path::PathBuf;

/// What `conf` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfReport {
    /// Port of clients; -1 when there is none.
    pub client_port: i32,
    /// The directory of the snapshots, `version-2` included.
    pub snapshot_dir: PathBuf,
    /// Bytes in it.
    pub snapshot_dir_bytes: u64,
    /// The directory of the log, `version-2` included.
    pub log_dir: PathBuf,
    /// Bytes in it.
    pub log_dir_bytes: u64,
    /// Unit of time.
    pub tick: Millis,
    /// Connections of one address; 0 is without limit.
    pub per_address_max: u64,
    /// Smallest session timeout.
    pub timeout_min: Millis,
    /// Largest session timeout.
    pub timeout_max: Millis,
    /// Length of the accept queue; -1 is the system's default.
    pub backlog: i32,
    /// This server's id; 0 when standalone.
    pub server_id: u64,
}

/// `conf` of a standalone server.
pub fn conf(report: &ConfReport) -> String {
    // There is no secure port yet, which is -1 in ZooKeeper too.
    format!(
        "clientPort={}\nsecureClientPort=-1\ndataDir={}\ndataDirSize={}\ndataLogDir={}\ndataLogSize={}\ntickTime={}\n\
         maxClientCnxns={}\nminSessionTimeout={}\nmaxSessionTimeout={}\nclientPortListenBacklog={}\nserverId={}\n",
        report.client_port,
        report.snapshot_dir.display(),
        report.snapshot_dir_bytes,
        report.log_dir.display(),
        report.log_dir_bytes,
        report.tick.0,
        report.per_address_max,
        report.timeout_min.0,
        report.timeout_max.0,
        report.backlog,
        report.server_id,
    )
}

/// The process's surroundings, where they mean something without a JVM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// This machine's name.
    pub host_name: String,
    /// Where temporary files go.
    pub tmp_dir: String,
    /// Such as `Linux`.
    pub os_name: String,
    /// As Java names it: `amd64`, `aarch64`.
    pub os_arch: String,
    /// Release of the kernel.
    pub os_version: String,
    /// Who runs the process.
    pub user_name: String,
    /// That user's home.
    pub user_home: String,
    /// Working directory.
    pub user_dir: String,
    /// Bytes that the machine can still give.
    pub memory_free: u64,
    /// Bytes that the machine has.
    pub memory_max: u64,
    /// Bytes that the process has taken.
    pub memory_total: u64,
}

/// `envi`. What only a JVM has is `<NA>`, as ZooKeeper prints what it cannot find.
pub fn envi(environment: &Environment) -> String {
    let Environment { host_name, tmp_dir, os_name, os_arch, os_version, user_name, user_home, user_dir, .. } =
        environment;
    let megabytes = |bytes: u64| format!("{}MB", bytes >> 20);
    format!(
        "Environment:\nzookeeper.version={VERSION}\nhost.name={host_name}\njava.version=<NA>\njava.vendor=<NA>\n\
         java.home=<NA>\njava.class.path=<NA>\njava.library.path=<NA>\njava.io.tmpdir={tmp_dir}\n\
         java.compiler=<NA>\nos.name={os_name}\nos.arch={os_arch}\nos.version={os_version}\nuser.name={user_name}\n\
         user.home={user_home}\nuser.dir={user_dir}\nos.memory.free={}\nos.memory.max={}\nos.memory.total={}\n",
        megabytes(environment.memory_free),
        megabytes(environment.memory_max),
        megabytes(environment.memory_total),
    )
}

impl Environment {
    /// Reads the surroundings of this process; what cannot be found is `<NA>` or 0.
    pub fn of_process() -> Self {
        let uname = rustix::system::uname();
        let named = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        let variable = |name| std::env::var(name).unwrap_or_else(|_| NOT_AVAILABLE.to_owned());
        let arch = std::env::consts::ARCH;
        let (user_name, user_home) = user().unwrap_or_else(|| (variable("USER"), variable("HOME")));
        Self {
            host_name: named(uname.nodename()),
            tmp_dir: std::env::temp_dir().display().to_string(),
            os_name: named(uname.sysname()),
            os_arch: if arch == "x86_64" { "amd64" } else { arch }.to_owned(),
            os_version: named(uname.release()),
            user_name,
            user_home,
            user_dir: std::env::current_dir()
                .map_or_else(|_| NOT_AVAILABLE.to_owned(), |dir| dir.display().to_string()),
            memory_free: kilobytes("/proc/meminfo", "MemAvailable:") << 10,
            memory_max: kilobytes("/proc/meminfo", "MemTotal:") << 10,
            memory_total: kilobytes("/proc/self/status", "VmRSS:") << 10,
        }
    }
}

/// Name and home of the user that runs the process, from the system's list of users: a service has no USER.
fn user() -> Option<(String, String)> {
    let id = rustix::process::getuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| match line.split(':').collect::<Vec<_>>().as_slice() {
        [name, _, user, _, _, home, ..] if *user == id => Some(((*name).to_owned(), (*home).to_owned())),
        _ => None,
    })
}

/// The number after `label` in one of the kernel's tables; 0 where there is none.
fn kilobytes(file: &str, label: &str) -> u64 {
    let table = std::fs::read_to_string(file).unwrap_or_default();
    let line = table.lines().find_map(|line| line.strip_prefix(label)).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// What ZooKeeper prints for a property that is not set.
const NOT_AVAILABLE: &str = "<NA>";

/// `dirs`, with the bytes in the two directories.
pub fn dirs(snapshot_dir_bytes: u64, log_dir_bytes: u64) -> String {
    format!("datadir_size: {snapshot_dir_bytes}\nlogdir_size: {log_dir_bytes}\n")
}

/// `hash`: the digest of the tree after some of its txns, every 128th in ZooKeeper.
pub fn hash(digests: impl IntoIterator<Item = (Zxid, i64)>) -> String {
    digests.into_iter().map(|(zxid, digest)| format!("{zxid}: {digest}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conf_of_a_standalone_server() {
        let report = ConfReport {
            client_port: 23971,
            snapshot_dir: "/var/lib/zk/version-2".into(),
            snapshot_dir_bytes: 478,
            log_dir: "/var/log/zk/version-2".into(),
            log_dir_bytes: 479,
            tick: Millis(2000),
            per_address_max: 60,
            timeout_min: Millis(4000),
            timeout_max: Millis(40_000),
            backlog: -1,
            server_id: 0,
        };
        let expected = "clientPort=23971\nsecureClientPort=-1\ndataDir=/var/lib/zk/version-2\ndataDirSize=478\n\
            dataLogDir=/var/log/zk/version-2\ndataLogSize=479\ntickTime=2000\nmaxClientCnxns=60\n\
            minSessionTimeout=4000\nmaxSessionTimeout=40000\nclientPortListenBacklog=-1\nserverId=0\n";
        assert_eq!(conf(&report), expected, "as Apache 3.9.5 prints it");
    }

    #[test]
    fn envi_has_zookeepers_keys_in_zookeepers_order() {
        let text = envi(&Environment::of_process());
        assert!(text.starts_with("Environment:\nzookeeper.version=3.9.5-"), "{text}");
        let keys: Vec<_> = text.lines().skip(1).filter_map(|line| line.split_once('=')).map(|pair| pair.0).collect();
        let expected = "zookeeper.version host.name java.version java.vendor java.home java.class.path \
            java.library.path java.io.tmpdir java.compiler os.name os.arch os.version user.name user.home user.dir \
            os.memory.free os.memory.max os.memory.total";
        assert_eq!(keys.join(" "), expected, "keys");
        assert!(text.ends_with("MB\n"), "{text}");
    }

    #[test]
    fn dirs_and_hash() {
        assert_eq!(dirs(478, 67_109_358), "datadir_size: 478\nlogdir_size: 67109358\n", "dirs");
        let digests = [(Zxid(0x80), 259_426_035_734), (Zxid(0x100), -5)];
        assert_eq!(hash(digests), "80: 259426035734\n100: -5\n", "hash");
        assert_eq!(hash([]), "", "no history");
    }
}
