//! Txns as they stand in a log and in a PROPOSAL: header, record by type, digest. The input is one payload.
//!
//! What decodes is encoded again and decoded again; and it is applied to a small tree, which takes any txn whatever.

use bytes::Bytes;
use gk_proto::jute::Reader;
use gk_proto::stat::OwnerRules;
use gk_proto::txn::{CreateKind, LoggedTxn, Txn, decode_header};
use gk_proto::{Zxid, acl};
use gk_tree::{Tree, TreeOptions};

pub(crate) fn run(data: &[u8]) {
    let payload = Bytes::copy_from_slice(data);
    let header = decode_header(&mut Reader::new(&payload));
    let Ok(logged) = LoggedTxn::decode(&payload) else { return };
    assert_eq!(header, Ok((logged.header, logged.txn.code())), "the header alone");
    let mut out = Vec::new();
    logged.encode(&mut out);
    let again = LoggedTxn::decode(&out.into());
    // The empty body of a closeSession has no end of its own: nobody writes a digest behind it, and what stands behind a
    // list that is null cannot be told from a list.
    if !(logged.txn == Txn::CloseSession { paths: None } && logged.digest.is_some()) {
        assert_eq!(again.as_ref(), Ok(&logged), "{logged:?} encoded again");
    }
    apply(&logged);
}

/// Applying is total: whatever a txn says, twice, the tree is a tree after it.
fn apply(logged: &LoggedTxn) {
    let owner_rules = OwnerRules { extended_types: true, emulate_353: false };
    let mut tree = Tree::new(TreeOptions { owner_rules, hash_key: 1, digest: true });
    let mut header = logged.header;
    let create = |path: &str, kind| {
        let (path, data) = (path.to_owned(), Some(Bytes::from_static(b"data")));
        Txn::Create { path, data, acl: acl::open(), kind, parent_cversion: -1 }
    };
    let before = [
        Txn::CreateSession { timeout_ms: 4000 },
        create("/a", CreateKind::Create),
        create("/a/b", CreateKind::Container),
        create("/a/e", CreateKind::Ephemeral),
    ];
    for (zxid, txn) in (1..).zip(before.iter().chain([&logged.txn, &logged.txn])) {
        header.zxid = Zxid(zxid);
        tree.apply(&header, txn, &mut ());
    }
    while tree.sweep(16) {}
    tree.check_invariants();
}
