//! Quotas and the configuration of the ensemble: nodes below `/zookeeper`, which have no operations of their own.

use bytes::Bytes;
use gk_proto::ErrorCode;
use gk_proto::answer::Answer;
use gk_proto::op::CreateMode;
use gk_proto::path::{self, LIMITS, QUOTA_ROOT, STATS};
use gk_proto::request::{Read, Write};
use gk_proto::stat::Stat;

use crate::chroot::Chroot;
use crate::client::{Client, misread};
use crate::core::{Failure, Request};
use crate::error::Error;
use crate::options::Version;
use crate::pending::{Asked, Pending};

/// Limits of a node and everything below it. `None` is no limit.
///
/// Going above a soft limit is only logged by the server; going above a hard one is refused with `QuotaExceeded`, if the
/// server enforces quotas (`enforceQuota`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct QuotaLimits {
    /// Nodes, the one with the quota among them. Soft.
    pub nodes: Option<u64>,
    /// Bytes of data. Soft.
    pub bytes: Option<u64>,
    /// Nodes. Hard.
    pub nodes_hard: Option<u64>,
    /// Bytes of data. Hard.
    pub bytes_hard: Option<u64>,
}

/// A quota and what is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quota {
    /// What was set.
    pub limits: QuotaLimits,
    /// Nodes at and below the path.
    pub nodes: u64,
    /// Bytes of their data.
    pub bytes: u64,
}

impl Client {
    /// The quota of exactly this path, if it has one.
    ///
    /// # Errors
    /// `NoAuth`.
    pub async fn quota(&self, path: &str) -> Result<Option<Quota>, Error> {
        let (server, base) = self.quota_node(path)?;
        let (limits, usage) = (path::join(&base, LIMITS), path::join(&base, STATS));
        let (limits, usage) = (server.get_data(&limits), server.get_data(&usage));
        let (limits, usage) = match (limits.await, usage.await) {
            (Err(error), _) | (_, Err(error)) if error.code() == Some(ErrorCode::NoNode) => return Ok(None),
            (limits, usage) => (limits?.0, usage?.0),
        };
        let limits = QuotaLimits {
            nodes: value(&limits, "count"),
            bytes: value(&limits, "bytes"),
            nodes_hard: value(&limits, "countHardLimit"),
            bytes_hard: value(&limits, "byteHardLimit"),
        };
        let counted = |key| value(&usage, key).unwrap_or_default();
        Ok(Some(Quota { limits, nodes: counted("count"), bytes: counted("bytes") }))
    }

    /// Sets the quota of a path, which need not exist. Of nested quotas only the deepest counts, and ZooKeeper's shell
    /// refuses to nest them.
    ///
    /// # Errors
    /// [`Error::BadArgument`] for `/`, which cannot have one (an Apache server would stop); `NoAuth`.
    pub async fn set_quota(&self, path: &str, limits: QuotaLimits) -> Result<(), Error> {
        let (server, base) = self.quota_node(path)?;
        let (limits_node, stats_node) = (path::join(&base, LIMITS), path::join(&base, STATS));
        let text = limits_text(&limits);
        match server.set_data(&limits_node, &text, Version::Any).await {
            Err(error) if error.code() == Some(ErrorCode::NoNode) => {}
            other => return other.map(|_| ()),
        }
        server.make_path(&base).await?;
        let made = server.multi().create(&limits_node, &text, CreateMode::Persistent).create(
            &stats_node,
            "count=0,bytes=0",
            CreateMode::Persistent,
        );
        match made.commit().await {
            // Somebody else set one in between: the last one wins.
            Err(error) if error.code() == Some(ErrorCode::NodeExists) => {
                server.set_data(&limits_node, &text, Version::Any).await.map(|_| ())
            }
            other => other.map(|_| ()),
        }
    }

    /// Removes the quota of exactly this path; whether there was one.
    ///
    /// # Errors
    /// `NoAuth`.
    pub async fn remove_quota(&self, path: &str) -> Result<bool, Error> {
        let (server, base) = self.quota_node(path)?;
        let (limits, stats) = (path::join(&base, LIMITS), path::join(&base, STATS));
        let removed = server.multi().delete(&limits, Version::Any).delete(&stats, Version::Any).commit().await;
        match removed {
            Ok(_) => {}
            Err(error) if error.code() == Some(ErrorCode::NoNode) => return Ok(false),
            Err(error) => return Err(error),
        }
        // Empty nodes on the way are only in the way.
        let mut empty = base.as_str();
        while empty != QUOTA_ROOT && server.delete(empty, Version::Any).await.is_ok() {
            empty = path::parent(empty).unwrap_or(QUOTA_ROOT);
        }
        Ok(true)
    }

    /// The configuration of the ensemble as it stands in `/zookeeper/config`: one `server.N=…` a line, then `version=…`
    /// in hexadecimal. Empty on a standalone server.
    ///
    /// # Errors
    /// `NoNode` before 3.5, `NoAuth`.
    pub fn config(&self) -> Pending<(Bytes, Stat)> {
        let asked = Asked::about(path::CONFIG, &Chroot::none());
        self.submit(Request::read(&Read::GetData { path: path::CONFIG.into(), watch: false }), asked, config_read)
    }

    /// Adds and removes members of the ensemble: `joining` is comma-separated lines such as
    /// `server.4=h4:2888:3888;2181`, `leaving` comma-separated ids. The new configuration comes back.
    ///
    /// `version` is the one that the configuration must have (its last line), or `None`.
    ///
    /// # Errors
    /// `NewConfigNoQuorum`, `ReconfigInProgress`, `ReconfigDisabled`, `BadVersion`, `BadArguments`, `NoAuth`;
    /// `Unimplemented` on a standalone server.
    pub fn reconfig(&self, joining: &str, leaving: &str, version: Option<i64>) -> Pending<(Bytes, Stat)> {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let (joining, leaving) = (given(joining), given(leaving));
        self.send_reconfig(&Write::Reconfig { joining, leaving, members: None, config_id: version.unwrap_or(-1) })
    }

    /// Replaces the members of the ensemble, as [`Client::reconfig`] changes them.
    ///
    /// # Errors
    /// Those of [`Client::reconfig`].
    pub fn reconfig_members(&self, members: &str, version: Option<i64>) -> Pending<(Bytes, Stat)> {
        let members = Some(members.to_owned());
        self.send_reconfig(&Write::Reconfig { joining: None, leaving: None, members, config_id: version.unwrap_or(-1) })
    }

    fn send_reconfig(&self, write: &Write) -> Pending<(Bytes, Stat)> {
        self.submit(Request::write(write), Asked::about(path::CONFIG, &Chroot::none()), config_read)
    }

    /// A client without chroot, and the node on the server that stands for the quota of a path.
    fn quota_node(&self, path: &str) -> Result<(Self, String), Error> {
        let there = self.chroot_ref().absolute(path)?;
        if there == "/" {
            return Err(Error::BadArgument { what: "the root cannot have a quota".to_owned() });
        }
        Ok((self.without_chroot(), [QUOTA_ROOT, &there].concat()))
    }
}

fn config_read(answer: Result<Answer, Failure>, asked: &mut Asked) -> Result<(Bytes, Stat), Error> {
    let Answer::Data(data, stat) = asked.got(answer)? else { return misread(asked) };
    Ok((data.unwrap_or_default(), stat))
}

/// `count=N,bytes=N`, and `=;key=N` for each hard limit: the odd separator is ZooKeeper's (`StatsTrack`).
fn limits_text(limits: &QuotaLimits) -> String {
    let number = |limit: Option<u64>| limit.map_or("-1".to_owned(), |limit| limit.to_string());
    let mut text = format!("count={},bytes={}", number(limits.nodes), number(limits.bytes));
    let hard = [("byteHardLimit", limits.bytes_hard), ("countHardLimit", limits.nodes_hard)];
    let hard: Vec<_> = hard.iter().filter_map(|(key, limit)| limit.map(|limit| format!(";{key}={limit}"))).collect();
    if !hard.is_empty() {
        text.push('=');
        text.push_str(&hard.concat());
    }
    text
}

/// The number of a key; `None` if there is none or it is -1.
fn value(text: &[u8], key: &str) -> Option<u64> {
    let text = String::from_utf8_lossy(text);
    let pairs = text.split([',', ';']).filter_map(|pair| pair.split_once('='));
    pairs.filter(|(name, _)| *name == key).find_map(|(_, number)| number.trim_end_matches('=').parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_written_and_read_as_zookeeper_does() {
        let soft = QuotaLimits { nodes: Some(2), bytes: Some(10), ..QuotaLimits::default() };
        assert_eq!(limits_text(&soft), "count=2,bytes=10");
        let both = QuotaLimits { bytes_hard: Some(20), nodes_hard: Some(3), ..soft };
        let text = limits_text(&both);
        assert_eq!(text, "count=2,bytes=10=;byteHardLimit=20;countHardLimit=3");
        let read = ["count", "bytes", "countHardLimit", "byteHardLimit"].map(|key| value(text.as_bytes(), key));
        assert_eq!(read, [Some(2), Some(10), Some(3), Some(20)]);
        assert_eq!(value(b"count=-1,bytes=5", "count"), None, "no limit");
    }
}
