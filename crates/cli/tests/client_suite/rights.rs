//! Who may do what: ACLs, authentication, quotas, and the membership of the ensemble.

use gk_client::{
    Client, CreateMode, CreateOptions, Error, ErrorCode, Quota, QuotaLimits, Version, creator_acl, open_acl,
    read_only_acl,
};

use crate::ensemble::{Ensemble, SUPER};
use crate::suite::{Suite, cases, level};

cases! {
    Any a_node_of_a_user_is_for_that_user_only,
    Any an_acl_is_replaced_at_its_version,
    Any an_acl_that_means_nothing_is_refused,
    Any a_scheme_that_the_server_does_not_know_ends_the_session,
    Any a_quota_is_set_read_and_removed,
    One the_members_of_a_single_server_cannot_change,
    Three members_leave_and_join_at_run_time,
}

async fn a_node_of_a_user_is_for_that_user_only(suite: &Suite) {
    let space = suite.space().await;
    let (alice, bob) = (Client::connect(&space).await.unwrap(), Client::connect(&space).await.unwrap());
    alice.auth("digest", b"alice:secret").await.unwrap();
    let hers = CreateOptions::new(CreateMode::Persistent).acl(creator_acl());
    alice.create("/hers", b"private", hers).await.unwrap();

    level(&bob).await;
    assert_eq!(bob.get_data("/hers").await.unwrap_err().code(), Some(ErrorCode::NoAuth), "a stranger");
    bob.auth("digest", b"alice:wrong").await.unwrap();
    assert_eq!(bob.get_data("/hers").await.unwrap_err().code(), Some(ErrorCode::NoAuth), "a wrong password");
    bob.auth("digest", b"alice:secret").await.unwrap();
    assert_eq!(&bob.get_data("/hers").await.unwrap().0[..], b"private", "the user elsewhere");
    assert_eq!(&alice.get_data("/hers").await.unwrap().0[..], b"private", "the user");
}

async fn an_acl_is_replaced_at_its_version(suite: &Suite) {
    let client = suite.client().await;
    client.create("/a", b"", CreateMode::Persistent).await.unwrap();
    let (acl, stat) = client.acl("/a").await.unwrap();
    assert_eq!((acl, stat.aversion), (open_acl(), 0), "as created");
    let stat = client.set_acl("/a", &read_only_acl(), Version::Exactly(0)).await.unwrap();
    assert_eq!((stat.aversion, stat.version), (1, 0), "only the ACL changed");
    assert_eq!(client.acl("/a").await.unwrap().0, read_only_acl(), "as set");
    let refused = client.set_data("/a", b"x", Version::Any).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::NoAuth), "no more writes");
}

async fn an_acl_that_means_nothing_is_refused(suite: &Suite) {
    let client = suite.client().await;
    for acl in [vec![], creator_acl()] {
        let options = CreateOptions::new(CreateMode::Persistent).acl(acl.clone());
        let error = client.create("/a", b"", options).await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::InvalidAcl), "{acl:?}");
    }
}

async fn a_scheme_that_the_server_does_not_know_ends_the_session(suite: &Suite) {
    let client = suite.client().await;
    assert_eq!(client.auth("nonsense", b"x").await.unwrap_err(), Error::AuthFailed, "the answer");
    let error = client.get_data("/").await.unwrap_err();
    assert!(error == Error::AuthFailed && error.ends_session(), "{error:?}");
}

async fn a_quota_is_set_read_and_removed(suite: &Suite) {
    let client = suite.client().await;
    client.auth("digest", SUPER).await.unwrap();
    client.create("/q", b"1234", CreateMode::Persistent).await.unwrap();
    assert_eq!(client.quota("/q").await.unwrap(), None, "none yet");
    assert!(!client.remove_quota("/q").await.unwrap(), "none to remove");

    let limits = QuotaLimits { nodes: Some(5), bytes_hard: Some(10), ..QuotaLimits::default() };
    client.set_quota("/q", limits).await.unwrap();
    client.create("/q/child", b"56", CreateMode::Persistent).await.unwrap();
    let expected = Quota { limits, nodes: 2, bytes: 6 };
    assert_eq!(client.quota("/q").await.unwrap(), Some(expected), "as set, and counted");
    let refused = client.set_data("/q/child", b"1234567", Version::Any).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::QuotaExceeded), "more than the hard limit");

    client.set_quota("/q", QuotaLimits { bytes_hard: Some(11), ..limits }).await.unwrap();
    client.set_data("/q/child", b"1234567", Version::Any).await.expect("within the new limit");
    assert!(client.remove_quota("/q").await.unwrap(), "removed");
    assert_eq!(client.quota("/q").await.unwrap(), None, "as before");
    client.set_data("/q/child", b"1234567890", Version::Any).await.expect("without a limit");
}

async fn the_members_of_a_single_server_cannot_change(suite: &Suite) {
    let client = suite.client().await;
    client.auth("digest", SUPER).await.unwrap();
    let error = client.reconfig("server.2=127.0.0.1:2:3;4", "", None).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::Unimplemented), "{error:?}");
    client.sync("/").await.expect("the session is none the worse");
}

async fn members_leave_and_join_at_run_time(suite: &Suite) {
    // Its members rewrite their configurations: no ensemble for other cases.
    let ensemble = Ensemble::start(suite.target()).await;
    let (leader, leaving) = (ensemble.leader().await, ensemble.follower().await);
    let client = Client::connect(&ensemble.member_address(leader).to_string()).await.unwrap();
    client.auth("digest", SUPER).await.unwrap();

    let (before, _stat) = client.config().await.unwrap();
    let before = String::from_utf8(before.to_vec()).unwrap();
    let prefix = format!("server.{}=", leaving + 1);
    let line = before.lines().find(|line| line.starts_with(&prefix)).unwrap();
    let stale = client.reconfig("", &(leaving + 1).to_string(), Some(1)).await.unwrap_err();
    assert_eq!(stale.code(), Some(ErrorCode::BadVersion), "another configuration than this");

    let (after, _stat) = client.reconfig("", &(leaving + 1).to_string(), version(&before)).await.unwrap();
    let after = String::from_utf8(after.to_vec()).unwrap();
    assert!(!after.contains(&prefix) && version(&after) > version(&before), "{after}");
    let (again, _stat) = client.reconfig(line, "", version(&after)).await.unwrap();
    let again = String::from_utf8(again.to_vec()).unwrap();
    assert!(again.lines().any(|other| other == line), "{again}");
    ensemble.serving(leaving).await;
}

/// The version of a configuration: its last line, in hexadecimal.
fn version(config: &str) -> Option<i64> {
    i64::from_str_radix(config.lines().find_map(|line| line.strip_prefix("version="))?, 16).ok()
}
