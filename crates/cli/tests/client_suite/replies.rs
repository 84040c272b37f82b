//! Replies that are lost: which requests are sent again, and which nobody can know about.

use std::time::Duration;

use gk_client::{Client, CreateMode, Error, Retry, SessionState, Version};

use crate::proxy::Proxy;
use crate::suite::{Suite, cases};
use crate::wait::{until, within};

cases! {
    Any a_write_whose_reply_is_lost_has_an_unknown_outcome_and_is_not_repeated,
    Any a_multi_whose_reply_is_lost_has_an_unknown_outcome,
    Any a_read_whose_reply_is_lost_is_sent_again,
    Any a_read_that_is_sent_again_keeps_its_place_before_later_writes,
    Any a_write_that_no_server_got_has_an_unknown_outcome_as_well,
    Any a_protected_create_whose_reply_is_lost_finds_its_node,
    Any a_protected_create_that_no_server_got_is_made_once,
    Any a_write_that_may_happen_twice_is_retried_if_the_program_says_so,
    Any answers_in_order_after_many_cuts,
}

/// A client behind a proxy, and one that nobody disturbs, below the same chroot.
async fn behind_a_proxy(suite: &Suite) -> (Proxy, Client, Client) {
    let space = suite.space().await;
    let (_servers, chroot) = space.split_once('/').unwrap();
    let ensemble = suite.shared().await;
    let proxy = Proxy::start(ensemble.member_address(ensemble.follower().await)).await;
    let timeout = Duration::from_secs(60); // no ping is answered in the middle of a test
    let through = format!("{}/{chroot}", proxy.address());
    let client = Client::builder().session_timeout(timeout).connect(&through).await.unwrap();
    (proxy, client, Client::connect(&space).await.unwrap())
}

async fn a_write_whose_reply_is_lost_has_an_unknown_outcome_and_is_not_repeated(suite: &Suite) {
    let (proxy, client, _witness) = behind_a_proxy(suite).await;
    client.create("/a", b"", CreateMode::Persistent).await.unwrap();
    proxy.hold_replies();
    let write = client.set_data("/a", b"x", Version::Any);
    proxy.reply_held().await;
    proxy.cut();
    proxy.open();
    let error = within("the write", write).await.unwrap_err();
    assert!(error == Error::OutcomeUnknown && !error.is_repeatable(), "{error:?}");
    let (data, stat) = within("a read", client.get_data("/a")).await.unwrap();
    assert_eq!((&data[..], stat.version), (&b"x"[..], 1), "it took effect, once");
}

async fn a_multi_whose_reply_is_lost_has_an_unknown_outcome(suite: &Suite) {
    let (proxy, client, _witness) = behind_a_proxy(suite).await;
    proxy.hold_replies();
    let multi = client.multi().create("/a", b"", CreateMode::Persistent).create("/b", b"", CreateMode::Persistent);
    let multi = multi.commit();
    proxy.reply_held().await;
    proxy.cut();
    proxy.open();
    assert_eq!(within("the multi", multi).await.unwrap_err(), Error::OutcomeUnknown, "multi");
    assert_eq!(within("a read", client.children("/")).await.unwrap().len(), 2, "it took effect");
}

async fn a_read_whose_reply_is_lost_is_sent_again(suite: &Suite) {
    let (proxy, client, witness) = behind_a_proxy(suite).await;
    client.create("/a", b"old", CreateMode::Persistent).await.unwrap();
    proxy.hold_replies();
    let reads = (client.get_data("/a"), client.exists("/a"), client.children("/"), client.acl("/a"));
    let (synced, watched) = (client.sync("/"), client.get_data_and_watch("/a"));
    proxy.reply_held().await;
    witness.set_data("/a", b"new", Version::Any).await.unwrap();
    proxy.cut();
    proxy.open();
    assert!(within("data", reads.0).await.is_ok(), "data");
    assert!(within("exists", reads.1).await.unwrap().is_some(), "exists");
    assert_eq!(within("children", reads.2).await.unwrap(), ["a"], "children");
    assert!(within("ACL", reads.3).await.is_ok(), "ACL");
    within("sync", synced).await.unwrap();
    let (data, _stat, changed) = within("data and watch", watched).await.unwrap();
    assert_eq!(&data[..], b"new", "read after a sync");
    witness.set_data("/a", b"newer", Version::Any).await.unwrap();
    within("the watch that was asked for twice", changed).await.unwrap();
}

async fn a_read_that_is_sent_again_keeps_its_place_before_later_writes(suite: &Suite) {
    let (proxy, client, _witness) = behind_a_proxy(suite).await;
    client.create("/a", b"", CreateMode::Persistent).await.unwrap();
    proxy.hold_replies();
    let read = client.get_data("/a");
    proxy.reply_held().await;
    proxy.refuse();
    until("disconnected", async || client.state() == SessionState::Disconnected).await;
    let write = client.set_data("/a", b"later", Version::Any);
    proxy.open();
    assert_eq!(within("the read", read).await.unwrap().1.version, 0, "read before the write");
    assert_eq!(within("the write", write).await.unwrap().version, 1, "written after it");
}

async fn a_write_that_no_server_got_has_an_unknown_outcome_as_well(suite: &Suite) {
    let (proxy, client, _witness) = behind_a_proxy(suite).await;
    proxy.hold_requests();
    let write = client.create("/a", b"", CreateMode::Persistent);
    proxy.request_held().await;
    proxy.cut();
    proxy.open();
    assert_eq!(within("the write", write).await.unwrap_err(), Error::OutcomeUnknown, "as far as the client knows");
    assert_eq!(within("a read", client.exists("/a")).await.unwrap(), None, "it was not repeated");
}

async fn a_protected_create_whose_reply_is_lost_finds_its_node(suite: &Suite) {
    let (proxy, client, _witness) = behind_a_proxy(suite).await;
    for mode in [CreateMode::EphemeralSequential, CreateMode::PersistentSequential, CreateMode::Ephemeral] {
        proxy.hold_replies();
        let lose_the_reply = async {
            proxy.reply_held().await;
            proxy.cut();
            proxy.open();
        };
        let create = client.create_protected("/lock-", b"", mode);
        let (created, ()) = within("the create", async { tokio::join!(create, lose_the_reply) }).await;
        let created = created.unwrap();
        assert!(within("a read", client.exists(&created.path)).await.unwrap().is_some(), "{}", created.path);
    }
    assert_eq!(client.children("/").await.unwrap().len(), 3, "one each");
}

async fn a_protected_create_that_no_server_got_is_made_once(suite: &Suite) {
    let (proxy, client, _witness) = behind_a_proxy(suite).await;
    proxy.hold_requests();
    let lose_the_request = async {
        proxy.request_held().await;
        proxy.cut();
        proxy.open();
    };
    let create = client.create_protected("/lock-", b"", CreateMode::EphemeralSequential);
    let (created, ()) = within("the create", async { tokio::join!(create, lose_the_request) }).await;
    let created = created.unwrap();
    let children = within("a read", client.children("/")).await.unwrap();
    assert_eq!(children, [created.path.trim_start_matches('/')], "one");
}

async fn a_write_that_may_happen_twice_is_retried_if_the_program_says_so(suite: &Suite) {
    let (proxy, client, _witness) = behind_a_proxy(suite).await;
    client.create("/a", b"", CreateMode::Persistent).await.unwrap();
    for (retry, expected) in [(Retry::new(3), Err(Error::OutcomeUnknown)), (Retry::new(3).idempotent(), Ok(3))] {
        within("connected", client.exists("/a")).await.unwrap();
        proxy.hold_replies();
        let lose_the_reply = async {
            proxy.reply_held().await;
            proxy.cut();
            proxy.open();
        };
        let write = retry.run(|| client.set_data("/a", b"x", Version::Any));
        let (stat, ()) = within("a write", async { tokio::join!(write, lose_the_reply) }).await;
        assert_eq!(stat.map(|stat| stat.version), expected, "{retry:?}");
    }
}

/// Reads and writes while the connection is cut again and again: each answer belongs to its request, a write that was
/// answered is there, one with an unknown outcome is there or not, and no write is there twice.
async fn answers_in_order_after_many_cuts(suite: &Suite) {
    let (proxy, client, _witness) = behind_a_proxy(suite).await;
    client.create("/log", b"", CreateMode::Persistent).await.unwrap();
    let (mut known, mut unknown) = (0, 0);
    for round in 0..20_u32 {
        let writes: Vec<_> = (0..20)
            .map(|turn| client.create(&format!("/log/{round}-{turn}-"), b"", CreateMode::PersistentSequential))
            .collect();
        let read = client.get_data("/log");
        tokio::task::yield_now().await;
        proxy.cut();
        for (turn, write) in writes.into_iter().enumerate() {
            match within("a write", write).await {
                Ok(created) => {
                    known += 1;
                    assert!(created.path.starts_with(&format!("/log/{round}-{turn}-")), "{}", created.path);
                }
                Err(Error::OutcomeUnknown) => unknown += 1,
                Err(error) => panic!("round {round}, write {turn}: {error:?}"),
            }
        }
        within("a read", read).await.unwrap();
    }
    let children = within("children", client.children("/log")).await.unwrap();
    let mut names: Vec<&str> = children.iter().map(|name| name.rsplit_once('-').unwrap().0).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all, "no write is there twice");
    assert!((known..=known + unknown).contains(&all), "{all} there, {known} answered, {unknown} unknown");
}
