//! Names of files: which are logs, which are snapshots, and of which zxid.

use std::path::{Path, PathBuf};

use gk_proto::Zxid;

/// Directory below the two data directories (`FileTxnSnapLog`).
pub(crate) const VERSION_DIR: &str = "version-2";
/// Directory below that for what Apache's formats lack; no rule of Apache's looks into it.
pub(crate) const OWN_DIR: &str = "gamekeeper";

/// How the bytes of a snapshot are stored (`snapshot.compression.method`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Compression {
    /// As they are.
    #[default]
    None,
    /// One gzip stream, name ends in `.gz`.
    Gzip,
    /// The stream format of snappy-java, name ends in `.snappy`.
    Snappy,
}

impl Compression {
    /// From the end of a snapshot's name; what is unknown is taken as plain, as Apache does.
    pub(crate) fn of_name(name: &str) -> Self {
        match name.rsplit('.').next() {
            Some("gz") => Self::Gzip,
            Some("snappy") => Self::Snappy,
            _ => Self::None,
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Snappy => ".snappy",
        }
    }
}

/// Name of the log whose first txn is `zxid`.
pub(crate) fn log_name(zxid: Zxid) -> String {
    format!("log.{zxid}")
}

/// Name of the snapshot taken at `zxid`.
pub(crate) fn snapshot_name(zxid: Zxid, compression: Compression) -> String {
    format!("snapshot.{zxid}{}", compression.suffix())
}

/// Name, in [`OWN_DIR`], of the marks of the log whose first txn is `zxid`.
pub(crate) fn marks_name(zxid: Zxid) -> String {
    format!("log.{zxid}.marks")
}

/// The zxid in a log's name. Unlike Apache we take only the exact form: `log.5.bak` is somebody's copy, not a log.
pub(crate) fn log_zxid(name: &str) -> Option<Zxid> {
    hex(name.strip_prefix("log.")?)
}

/// The zxid in the name of a file of marks.
pub(crate) fn marks_zxid(name: &str) -> Option<Zxid> {
    hex(name.strip_prefix("log.")?.strip_suffix(".marks")?)
}

/// The zxid in a snapshot's name. Apache also takes `snapshot.5f.tmp`, the remains of a snapshot that was never
/// finished; we do not. Its snapshot of an empty, untrusted database, at zxid -1, counts as one at 0.
pub(crate) fn snapshot_zxid(name: &str) -> Option<Zxid> {
    let rest = name.strip_prefix("snapshot.")?;
    let digits = rest.strip_suffix(".gz").or_else(|| rest.strip_suffix(".snappy")).unwrap_or(rest);
    Some(hex(digits)?).map(|zxid| if zxid.wire() < 0 { Zxid::ZERO } else { zxid })
}

fn hex(digits: &str) -> Option<Zxid> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if plain { u64::from_str_radix(digits, 16).ok().map(Zxid) } else { None }
}

/// `<base>/version-2`
pub(crate) fn version_dir(base: &Path) -> PathBuf {
    base.join(VERSION_DIR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_names_are_logs_and_snapshots() {
        assert_eq!(log_zxid("log.10000002a"), Some(Zxid(0x1_0000_002a)), "log");
        assert_eq!(log_name(Zxid(0x1_0000_002a)), "log.10000002a", "and back");
        for name in ["log", "log.", "log.x", "log.+5", "log.5.bak", "log.5.gz", "snapshot.5", "xlog.5"] {
            assert_eq!(log_zxid(name), None, "{name}");
        }
        for name in ["snapshot.5f", "snapshot.5f.gz", "snapshot.5f.snappy"] {
            assert_eq!(snapshot_zxid(name), Some(Zxid(0x5f)), "{name}");
        }
        for name in ["snapshot.5f.tmp", "snapshot", "snapshot.", "snapshot.5f.gz.tmp", "log.5"] {
            assert_eq!(snapshot_zxid(name), None, "{name}");
        }
        assert_eq!(snapshot_zxid("snapshot.ffffffffffffffff"), Some(Zxid::ZERO), "Apache's empty, untrusted tree");
        assert_eq!(marks_zxid(&marks_name(Zxid(7))), Some(Zxid(7)), "marks");
    }
}
