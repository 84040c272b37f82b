//! One txn, in words and as JSON.

use gk_proto::ErrorCode;
use gk_proto::acl;
use gk_proto::txn::{CreateKind, LoggedTxn, Txn};
use serde_json::{Map, Value, json};

use super::node::{acl_json, put_data};
use super::text::{self, Secrets};

/// The name of a txn's kind, as ZooKeeper calls the operation.
pub(crate) fn name(txn: &Txn) -> &'static str {
    match txn {
        Txn::Create { kind, .. } => match kind {
            CreateKind::Create | CreateKind::Ephemeral => "create",
            CreateKind::Create2 | CreateKind::Ephemeral2 => "create2",
            CreateKind::Container => "createContainer",
            CreateKind::Ttl(_) => "createTTL",
        },
        Txn::Delete { .. } => "delete",
        Txn::DeleteContainer { .. } => "deleteContainer",
        Txn::SetData { .. } => "setData",
        Txn::Reconfig { .. } => "reconfig",
        Txn::SetAcl { .. } => "setACL",
        Txn::Check { .. } => "check",
        Txn::Multi(_) => "multi",
        Txn::CreateSession { .. } => "createSession",
        Txn::CloseSession { .. } => "closeSession",
        Txn::Error { .. } => "error",
    }
}

/// The node that a txn is about; none for sessions, errors and multis as a whole.
pub(crate) fn path(txn: &Txn) -> Option<&str> {
    match txn {
        Txn::Create { path, .. }
        | Txn::Delete { path }
        | Txn::DeleteContainer { path }
        | Txn::SetData { path, .. }
        | Txn::Reconfig { path, .. }
        | Txn::SetAcl { path, .. }
        | Txn::Check { path, .. } => Some(path),
        Txn::Multi(_) | Txn::CreateSession { .. } | Txn::CloseSession { .. } | Txn::Error { .. } => None,
    }
}

/// Whether a txn names a path that `wanted` takes: its own, one of its ops, or an ephemeral node of the session it
/// ends. A closeSession without a list names none.
pub(crate) fn names(txn: &Txn, wanted: &dyn Fn(&str) -> bool) -> bool {
    match txn {
        Txn::Multi(txns) => txns.iter().any(|txn| names(txn, wanted)),
        Txn::CloseSession { paths: Some(paths) } => paths.iter().any(|path| wanted(path)),
        Txn::Create { .. }
        | Txn::Delete { .. }
        | Txn::DeleteContainer { .. }
        | Txn::SetData { .. }
        | Txn::Reconfig { .. }
        | Txn::SetAcl { .. }
        | Txn::Check { .. }
        | Txn::CreateSession { .. }
        | Txn::CloseSession { paths: None }
        | Txn::Error { .. } => path(txn).is_some_and(wanted),
    }
}

/// Whether it is a multi that was refused: its ops were not carried out.
pub(crate) fn is_failed_multi(txn: &Txn) -> bool {
    matches!(txn, Txn::Multi(txns) if txns.iter().any(|txn| matches!(txn, Txn::Error { .. })))
}

/// What a txn says beside its name, on one line, and a line for each part of a multi.
pub(crate) fn lines(txn: &Txn, secrets: Secrets) -> (String, Vec<String>) {
    let Txn::Multi(txns) = txn else { return (words(txn, secrets), Vec::new()) };
    let failed = if is_failed_multi(txn) { ", refused as a whole" } else { "" };
    let head = format!("{}{failed}", text::some(txns.len() as u64, "op"));
    (head, txns.iter().map(|txn| format!("{:<15} {}", name(txn), words(txn, secrets))).collect())
}

fn words(txn: &Txn, secrets: Secrets) -> String {
    let path = text::escaped(path(txn).unwrap_or_default());
    match txn {
        Txn::Create { data, acl: list, kind, .. } => {
            let kind = match kind {
                CreateKind::Ephemeral | CreateKind::Ephemeral2 => ", ephemeral".to_owned(),
                CreateKind::Ttl(ms) => format!(", ttl {}", text::duration(*ms)),
                CreateKind::Create | CreateKind::Create2 | CreateKind::Container => String::new(),
            };
            let acl = if *list == acl::open() { String::new() } else { format!(", acl {}", text::acl(list, secrets)) };
            format!("{path}  {}{kind}{acl}", text::data(data.as_deref(), secrets))
        }
        Txn::Delete { .. } | Txn::DeleteContainer { .. } => path.into_owned(),
        Txn::SetData { data, version, .. } | Txn::Reconfig { data, version, .. } => {
            format!("{path}  {}, version {version}", text::data(data.as_deref(), secrets))
        }
        Txn::SetAcl { acl, version, .. } => format!("{path}  {}, version {version}", text::acl(acl, secrets)),
        Txn::Check { version, .. } => format!("{path}  version {}", version.wrapping_sub(1)),
        Txn::Multi(txns) => text::some(txns.len() as u64, "op"),
        Txn::CreateSession { timeout_ms } => format!("timeout {}", text::duration(i64::from(*timeout_ms))),
        Txn::CloseSession { paths: None } => "with all its ephemeral nodes, which are not listed".to_owned(),
        Txn::CloseSession { paths: Some(paths) } if paths.is_empty() => "without ephemeral nodes".to_owned(),
        Txn::CloseSession { paths: Some(paths) } => {
            paths.iter().map(|path| text::escaped(path)).collect::<Vec<_>>().join(" ")
        }
        Txn::Error { code } => error_name(*code),
    }
}

fn error_name(code: i32) -> String {
    ErrorCode::from_code(code).map_or_else(|| code.to_string(), |known| format!("{known:?} ({code})"))
}

/// A record of a log with all that it says.
pub(crate) fn record_json(logged: &LoggedTxn, secrets: Secrets) -> Map<String, Value> {
    let header = &logged.header;
    let mut out = json_of(&logged.txn, secrets);
    out.insert("zxid".into(), text::zxid(header.zxid).into());
    out.insert("time_ms".into(), header.time.0.into());
    out.insert("time".into(), text::time(header.time).into());
    out.insert("session".into(), header.session.to_string().into());
    out.insert("cxid".into(), header.cxid.0.into());
    if let Some(digest) = logged.digest {
        out.insert("tree_digest".into(), format!("{digest:#x}").into());
    }
    out
}

fn json_of(txn: &Txn, secrets: Secrets) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("type".into(), name(txn).into());
    if let Some(path) = path(txn) {
        out.insert("path".into(), path.into());
    }
    match txn {
        Txn::Create { data, acl, kind, parent_cversion, .. } => {
            put_data(&mut out, data.as_deref(), secrets);
            out.insert("acl".into(), acl_json(acl, secrets));
            out.insert("parent_cversion".into(), (*parent_cversion).into());
            match kind {
                CreateKind::Ephemeral | CreateKind::Ephemeral2 => {
                    out.insert("ephemeral".into(), true.into());
                }
                CreateKind::Ttl(ms) => {
                    out.insert("ttl_ms".into(), (*ms).into());
                }
                CreateKind::Create | CreateKind::Create2 | CreateKind::Container => {}
            }
        }
        Txn::SetData { data, version, .. } | Txn::Reconfig { data, version, .. } => {
            put_data(&mut out, data.as_deref(), secrets);
            out.insert("version".into(), (*version).into());
        }
        Txn::SetAcl { acl, version, .. } => {
            out.insert("acl".into(), acl_json(acl, secrets));
            out.insert("version".into(), (*version).into());
        }
        Txn::Check { version, .. } => {
            out.insert("version".into(), version.wrapping_sub(1).into());
        }
        Txn::Multi(txns) => {
            out.insert("failed".into(), is_failed_multi(txn).into());
            out.insert("ops".into(), txns.iter().map(|txn| Value::from(json_of(txn, secrets))).collect());
        }
        Txn::CreateSession { timeout_ms } => {
            out.insert("timeout_ms".into(), (*timeout_ms).into());
        }
        Txn::CloseSession { paths } => {
            out.insert("paths".into(), json!(paths));
        }
        Txn::Error { code } => {
            out.insert("code".into(), (*code).into());
        }
        Txn::Delete { .. } | Txn::DeleteContainer { .. } => {}
    }
    out
}
