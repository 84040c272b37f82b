//! Random txns: mostly what a server would make of requests, partly what only a replay over a fuzzy snapshot brings.

use bytes::Bytes;
use gk_proto::acl::{self, Acl, AclList, Id};
use gk_proto::rng::Rng;
use gk_proto::stat::Owner;
use gk_proto::txn::{CreateKind, Txn, TxnHeader};
use gk_proto::{SessionId, WallTime, Xid, Zxid, path};

use crate::model::Model;

/// One of `all`.
pub(crate) fn pick<'a, T>(rng: &mut Rng, all: &'a [T]) -> &'a T {
    &all[usize::try_from(rng.below(u64::try_from(all.len()).unwrap())).unwrap()]
}

/// The next txn for a tree that is as the model.
pub(crate) fn txn(rng: &mut Rng, model: &Model) -> (TxnHeader, Txn) {
    let next = model.zxid.0 + 1;
    let zxid = if rng.below(20) == 0 { rng.below(next + 1) } else { next };
    let time = WallTime(i64::try_from(1_000_000 + zxid).unwrap());
    let header = TxnHeader { session: SessionId(0x10 + rng.below(3)), cxid: Xid(1), zxid: Zxid(zxid), time };
    let txn = match rng.below(40) {
        0 => Txn::CreateSession { timeout_ms: 4000 },
        1 => close(rng, model, header.session),
        2 => Txn::Error { code: -101 },
        3..8 => {
            let mut ops: Vec<Txn> = (0..rng.below(6)).map(|_| op(rng, model)).collect();
            if rng.below(5) == 0 {
                ops.push(Txn::Error { code: -110 });
                ops.push(op(rng, model));
            }
            Txn::Multi(ops)
        }
        8 => quota(rng),
        _ => op(rng, model),
    };
    (header, txn)
}

/// Limits and usage together, as clients make and remove them.
fn quota(rng: &mut Rng) -> Txn {
    let on = *pick(rng, &["/a", "/b", "/a/b", "/zookeeper/a"]);
    let base = path::QUOTA_ROOT.to_owned() + on;
    let nodes = [path::LIMITS, path::STATS].map(|name| format!("{base}/{name}"));
    if rng.below(3) == 0 {
        return Txn::Multi(nodes.into_iter().rev().map(|path| Txn::Delete { path }).collect());
    }
    let parents = on.match_indices('/').skip(1).map(|(at, _)| format!("{}{}", path::QUOTA_ROOT, &on[..at]));
    let all = parents.chain([base]).chain(nodes);
    Txn::Multi(all.map(|path| create(path, Some(b"count=0,bytes=0"), acl::open(), CreateKind::Create, -1)).collect())
}

fn close(rng: &mut Rng, model: &Model, session: SessionId) -> Txn {
    let mut paths = model.ephemerals(session);
    match rng.below(3) {
        0 => return Txn::CloseSession { paths: None },
        1 => {
            paths.truncate(usize::try_from(rng.below(4)).unwrap());
            paths.push(any_path(rng, model));
        }
        _ => {}
    }
    Txn::CloseSession { paths: Some(paths) }
}

fn op(rng: &mut Rng, model: &Model) -> Txn {
    let path = any_path(rng, model);
    let version = i32::try_from(rng.below(100)).unwrap();
    match rng.below(16) {
        0..7 => random_create(rng, model),
        7..10 => match deletable(rng, model) {
            Some(path) => Txn::Delete { path },
            None => Txn::DeleteContainer { path },
        },
        10..13 => Txn::SetData { path, data: data(rng).map(Bytes::from), version },
        13 => Txn::SetAcl { path, acl: list(rng), version },
        14 => Txn::Check { path, version },
        _ => Txn::Delete { path },
    }
}

fn random_create(rng: &mut Rng, model: &Model) -> Txn {
    let parent = any_path(rng, model);
    // No server makes a child of an ephemeral node, and none is ever replayed.
    let is_ephemeral = model.nodes.contains_key(&parent) && matches!(model.owner(&parent), Owner::Session(_));
    let parent = if is_ephemeral || rng.below(4) == 0 { "/".to_owned() } else { parent };
    let kinds = [
        CreateKind::Create,
        CreateKind::Create2,
        CreateKind::Ephemeral,
        CreateKind::Ephemeral2,
        CreateKind::Container,
        CreateKind::Ttl(1000),
    ];
    let kind = *pick(rng, &kinds);
    let counted = model.nodes.get(&parent).map_or(0, |parent| parent.stat.cversion);
    let parent_cversion = match rng.below(8) {
        0 => -1,
        1 => i32::try_from(rng.below(50)).unwrap(),
        _ => counted + 1,
    };
    let name = pick(rng, &["a", "b", "c", "longer name", "ü"]);
    let data = data(rng);
    create(path::join(&parent, name), data.as_deref(), list(rng), kind, parent_cversion)
}

fn create(path: String, data: Option<&[u8]>, acl: AclList, kind: CreateKind, parent_cversion: i32) -> Txn {
    Txn::Create { path, data: data.map(Bytes::copy_from_slice), acl, kind, parent_cversion }
}

/// The path of a node, or of none; never that of a quota, whose text the model does not take from clients.
fn any_path(rng: &mut Rng, model: &Model) -> String {
    let paths: Vec<&String> = model.nodes.keys().filter(|path| !path.starts_with(path::QUOTA_ROOT)).collect();
    let path = (*pick(rng, &paths)).clone();
    // Deep trees make every node an ancestor of many; keep it low.
    let path = if path.len() > 30 { "/a".to_owned() } else { path };
    let past: Vec<&String> = model.past.iter().filter(|path| !path.starts_with(path::QUOTA_ROOT)).collect();
    match rng.below(10) {
        0 if !past.is_empty() => (*pick(rng, &past)).clone(),
        1 => path::join(&path, "missing"),
        _ => path,
    }
}

/// A node without children.
fn deletable(rng: &mut Rng, model: &Model) -> Option<String> {
    let path = any_path(rng, model);
    (model.nodes.contains_key(&path) && model.children(&path).is_empty()).then_some(path)
}

fn data(rng: &mut Rng) -> Option<Vec<u8>> {
    let length = usize::try_from(rng.below(12)).unwrap();
    (length > 0).then(|| vec![b'x'; length - 1])
}

fn list(rng: &mut Rng) -> AclList {
    match rng.below(4) {
        0 => acl::read_only(),
        1 => vec![Acl { perms: 31, id: Id::new("digest", format!("user{}", rng.below(5))) }].into(),
        _ => acl::open(),
    }
}
