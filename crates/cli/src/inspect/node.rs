//! One node, in words and as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gk_proto::acl::{self, Acl};
use gk_proto::stat::{Owner, OwnerRules, StatPersisted};
use serde_json::{Map, Value, json};

use super::text::{self, Secrets};

/// A node of a tree or a snapshot.
pub(crate) struct Node<'a> {
    pub(crate) path: &'a str,
    pub(crate) data: Option<&'a [u8]>,
    /// `None` if a snapshot has no list of the node's number.
    pub(crate) acl: Option<&'a [Acl]>,
    pub(crate) stat: StatPersisted,
    /// A snapshot, read front to back, does not say.
    pub(crate) child_count: Option<usize>,
}

/// Above rows of nodes.
pub(crate) fn heading() -> String {
    row("data", "version", "changed by", "at", "owner", "path")
}

fn row(data: &str, version: &str, mzxid: &str, mtime: &str, owner: &str, path: &str) -> String {
    format!("  {data:>9}  {version:>7}  {mzxid:>12}  {mtime:<24}  {owner:<18}  {path}")
}

impl Node<'_> {
    /// A row of a table of nodes.
    pub(crate) fn row(&self, rules: OwnerRules, secrets: Secrets) -> String {
        let stat = &self.stat;
        // Data as such has no width: it goes behind the path.
        let hidden = Secrets { data: false, ..secrets };
        let mut path = text::escaped(self.path).into_owned();
        match self.acl {
            Some(list) if *list == *acl::open() => {}
            Some(list) => path += &format!("  acl {}", text::acl(list, secrets)),
            None => path += "  acl missing",
        }
        if secrets.data {
            path += &format!("  {}", text::data(self.data, secrets));
        }
        row(
            &text::data(self.data, hidden),
            &stat.version.to_string(),
            &text::zxid(stat.mzxid),
            &text::time(stat.mtime),
            &text::owner(Owner::from_stored(stat.ephemeral_owner, rules)),
            &path,
        )
    }

    pub(crate) fn json(&self, rules: OwnerRules, secrets: Secrets) -> Map<String, Value> {
        let stat = &self.stat;
        let mut out = Map::new();
        out.insert("path".into(), self.path.into());
        put_data(&mut out, self.data, secrets);
        out.insert("acl".into(), self.acl.map_or(Value::Null, |list| acl_json(list, secrets)));
        if let Some(children) = self.child_count {
            out.insert("children".into(), children.into());
        }
        for (name, zxid) in [("czxid", stat.czxid), ("mzxid", stat.mzxid), ("pzxid", stat.pzxid)] {
            out.insert(name.into(), text::zxid(zxid).into());
        }
        for (name, time) in [("ctime_ms", stat.ctime), ("mtime_ms", stat.mtime)] {
            out.insert(name.into(), time.0.into());
        }
        out.insert("version".into(), stat.version.into());
        out.insert("children_created".into(), stat.cversion.into());
        out.insert("acl_version".into(), stat.aversion.into());
        match Owner::from_stored(stat.ephemeral_owner, rules) {
            Owner::Persistent => {}
            Owner::Session(session) => {
                out.insert("session".into(), session.to_string().into());
            }
            Owner::Container => {
                out.insert("container".into(), true.into());
            }
            Owner::Ttl(ms) => {
                out.insert("ttl_ms".into(), ms.into());
            }
        }
        out
    }
}

/// How long data is, and what it is only where that was asked for.
pub(crate) fn put_data(out: &mut Map<String, Value>, data: Option<&[u8]>, secrets: Secrets) {
    out.insert("data_bytes".into(), json!(data.map(<[u8]>::len)));
    if secrets.data {
        out.insert("data_base64".into(), json!(data.map(|bytes| STANDARD.encode(bytes))));
    }
}

pub(crate) fn acl_json(list: &[Acl], secrets: Secrets) -> Value {
    let entry = |acl: &Acl| json!({"perms": acl.perms, "scheme": acl.id.scheme, "id": text::acl_id(acl, secrets)});
    list.iter().map(entry).collect()
}
