//! Every operation on one node, its result and its errors.

use std::time::Duration;

use gk_client::{Client, CreateMode, CreateOptions, Error, ErrorCode, EventType, Version};

use crate::suite::{Suite, cases, level};
use crate::wait::within;

cases! {
    Any a_node_is_created_read_changed_and_deleted,
    Any what_does_not_exist_is_none_or_an_error_that_names_it,
    Any errors_name_code_and_path,
    Any a_path_that_no_server_takes_is_never_sent,
    Any sequential_nodes_count_up_below_their_parent,
    Any an_ephemeral_belongs_to_its_session_and_is_listed,
    Any an_emptied_container_is_removed_by_the_server,
    Any a_node_with_a_time_to_live_is_removed_by_the_server,
    Any a_path_is_made_with_all_that_is_missing,
    Any children_come_with_and_without_their_parents_stat,
    Any descendants_are_counted_below_a_node,
    Any sync_brings_the_writes_of_others,
    Any the_server_tells_who_the_client_is,
    Any below_a_chroot_all_paths_are_relative_to_it,
    Any one_session_may_have_several_chroots,
    Any requests_take_effect_in_the_order_in_which_they_were_made,
    Any a_request_whose_answer_nobody_awaits_is_carried_out_all_the_same,
}

async fn a_node_is_created_read_changed_and_deleted(suite: &Suite) {
    let client = suite.client().await;
    let created = client.create("/a", b"one", CreateMode::Persistent).await.unwrap();
    assert_eq!((created.path.as_str(), created.stat.version), ("/a", 0), "created");
    assert_eq!(created.stat.data_length, 3, "{:?}", created.stat);

    let (data, stat) = client.get_data("/a").await.unwrap();
    assert_eq!((&data[..], stat), (&b"one"[..], created.stat), "read");
    let changed = client.set_data("/a", b"", Version::Exactly(0)).await.unwrap();
    assert_eq!((changed.version, changed.data_length), (1, 0), "changed");
    assert!(changed.mzxid > stat.mzxid && changed.czxid == stat.czxid, "{changed:?} after {stat:?}");
    assert_eq!(client.exists("/a").await.unwrap(), Some(changed), "as the change left it");

    client.delete("/a", Version::Exactly(1)).await.unwrap();
    assert_eq!(client.exists("/a").await.unwrap(), None, "deleted");
    client.close().await.unwrap();
}

async fn what_does_not_exist_is_none_or_an_error_that_names_it(suite: &Suite) {
    let client = suite.client().await;
    let missing = |path: &str| Error::Server { code: ErrorCode::NoNode, path: path.to_owned() };
    assert_eq!(client.exists("/none").await, Ok(None), "exists");
    assert_eq!(client.get_data("/none").await.unwrap_err(), missing("/none"), "data");
    assert_eq!(client.children("/none").await.unwrap_err(), missing("/none"), "children");
    assert_eq!(client.children_stat("/none").await.unwrap_err(), missing("/none"), "children and stat");
    assert_eq!(client.acl("/none").await.unwrap_err(), missing("/none"), "ACL");
    assert_eq!(client.set_data("/none", b"", Version::Any).await.unwrap_err(), missing("/none"), "set");
    assert_eq!(client.delete("/none", Version::Any).await.unwrap_err(), missing("/none"), "delete");
    let orphan = client.create("/none/child", b"", CreateMode::Persistent).await.unwrap_err();
    assert_eq!(orphan, missing("/none/child"), "a child of nothing");
}

async fn errors_name_code_and_path(suite: &Suite) {
    let client = suite.client().await;
    client.create("/parent", b"", CreateMode::Persistent).await.unwrap();
    client.create("/parent/child", b"", CreateMode::Ephemeral).await.unwrap();
    let code = |result: Result<(), Error>| result.unwrap_err().code().unwrap();

    let again = client.create("/parent", b"", CreateMode::Persistent).await.map(|_created| ());
    assert_eq!(code(again), ErrorCode::NodeExists, "a node that exists");
    assert_eq!(code(client.delete("/parent", Version::Any).await), ErrorCode::NotEmpty, "a node with children");
    let stale = client.set_data("/parent", b"x", Version::Exactly(7)).await.map(|_stat| ());
    assert_eq!(code(stale), ErrorCode::BadVersion, "a version that is not the current one");
    assert_eq!(code(client.delete("/parent/child", Version::Exactly(7)).await), ErrorCode::BadVersion, "delete");
    let below = client.create("/parent/child/x", b"", CreateMode::Persistent).await.map(|_created| ());
    assert_eq!(code(below), ErrorCode::NoChildrenForEphemerals, "a child of an ephemeral");

    let error = client.delete("/parent", Version::Any).await.unwrap_err();
    assert!(!error.is_repeatable() && !error.ends_session(), "{error:?}");
    assert!(error.to_string().starts_with("/parent: "), "{error}");
}

async fn a_path_that_no_server_takes_is_never_sent(suite: &Suite) {
    let client = suite.client().await;
    for path in ["", "a", "/a/", "//", "/a//b", "/./a", "/a/../b", "/a\0b"] {
        let error = client.get_data(path).await.unwrap_err();
        assert!(matches!(error, Error::BadArgument { .. }), "{path:?}: {error:?}");
        let error = client.create(path, b"", CreateMode::Persistent).await.unwrap_err();
        assert!(matches!(error, Error::BadArgument { .. }), "{path:?}: {error:?}");
    }
    client.sync("/").await.expect("the session is none the worse");
}

async fn sequential_nodes_count_up_below_their_parent(suite: &Suite) {
    let client = suite.client().await;
    client.create("/queue", b"", CreateMode::Persistent).await.unwrap();
    let mut paths = Vec::new();
    for mode in [CreateMode::PersistentSequential, CreateMode::EphemeralSequential, CreateMode::PersistentSequential] {
        paths.push(client.create("/queue/item-", b"", mode).await.unwrap().path);
    }
    let expected = ["/queue/item-0000000000", "/queue/item-0000000001", "/queue/item-0000000002"];
    assert_eq!(paths, expected, "suffixes");
    let (mut children, stat) = client.children_stat("/queue").await.unwrap();
    children.sort();
    assert_eq!(children, expected.map(|path| path.trim_start_matches("/queue/")), "names");
    assert_eq!((stat.num_children, stat.cversion), (3, 3), "{stat:?}");
}

async fn an_ephemeral_belongs_to_its_session_and_is_listed(suite: &Suite) {
    let space = suite.space().await;
    let (owner, other) = (Client::connect(&space).await.unwrap(), Client::connect(&space).await.unwrap());
    let created = owner.create("/mine", b"", CreateMode::Ephemeral).await.unwrap();
    assert_eq!(created.stat.ephemeral_owner, owner.session_id().wire(), "owner");
    owner.create("/kept", b"", CreateMode::Persistent).await.unwrap();
    assert_eq!(owner.ephemerals("/").await.unwrap(), ["/mine"], "of the owner");
    assert_eq!(owner.ephemerals("/kept").await.unwrap(), [""; 0], "of the owner, elsewhere");
    assert_eq!(other.ephemerals("/").await.unwrap(), [""; 0], "of the other");

    level(&other).await;
    let (stat, gone) = other.exists_and_watch("/mine").await.unwrap();
    assert!(stat.is_some(), "the other sees it");
    owner.close().await.unwrap();
    let event = within("the ephemeral goes with its session", gone).await.unwrap();
    assert_eq!((event.kind, event.path.as_str()), (EventType::NodeDeleted, "/mine"), "event");
    assert_eq!(other.exists("/kept").await.unwrap().map(|stat| stat.ephemeral_owner), Some(0), "the persistent one");
}

async fn an_emptied_container_is_removed_by_the_server(suite: &Suite) {
    let client = suite.client().await;
    let created = client.create("/container", b"", CreateMode::Container).await.unwrap();
    assert_eq!(created.stat.ephemeral_owner, 0, "no session owns a container");
    client.create("/container/child", b"", CreateMode::Persistent).await.unwrap();
    let (_stat, gone) = client.exists_and_watch("/container").await.unwrap();
    client.delete("/container/child", Version::Any).await.unwrap();
    assert_eq!(within("the container goes", gone).await.unwrap().kind, EventType::NodeDeleted, "event");
}

async fn a_node_with_a_time_to_live_is_removed_by_the_server(suite: &Suite) {
    let client = suite.client().await;
    let short = CreateOptions::new(CreateMode::Ttl).ttl(Duration::from_millis(200));
    client.create("/short", b"", short).await.unwrap();
    let numbered = CreateOptions::new(CreateMode::TtlSequential).ttl(Duration::from_secs(3_600));
    let long = client.create("/long-", b"", numbered).await.unwrap().path;
    assert_eq!(long, "/long-0000000001", "a sequential one");
    if let (Some(_stat), gone) = client.exists_and_watch("/short").await.unwrap() {
        assert_eq!(within("its time is over", gone).await.unwrap().kind, EventType::NodeDeleted, "event");
    }
    assert!(client.exists(&long).await.unwrap().is_some(), "has an hour left");
}

async fn a_path_is_made_with_all_that_is_missing(suite: &Suite) {
    let space = suite.space().await;
    let (one, two) = (Client::connect(&space).await.unwrap(), Client::connect(&space).await.unwrap());
    let (first, second) = tokio::join!(one.make_path("/a/b/c/d"), two.make_path("/a/b/c/e"));
    first.unwrap();
    second.unwrap();
    one.make_path("/a/b/c/d").await.expect("what exists is fine");
    level(&one).await;
    let mut children = one.children("/a/b/c").await.unwrap();
    children.sort();
    assert_eq!(children, ["d", "e"], "both leaves");
}

async fn children_come_with_and_without_their_parents_stat(suite: &Suite) {
    let client = suite.client().await;
    client.create("/p", b"data", CreateMode::Persistent).await.unwrap();
    assert_eq!(client.children("/p").await.unwrap(), [""; 0], "none yet");
    client.create("/p/ä", b"", CreateMode::Persistent).await.unwrap();
    client.create("/p/b", b"", CreateMode::Persistent).await.unwrap();
    client.delete("/p/b", Version::Any).await.unwrap();
    let (children, stat) = client.children_stat("/p").await.unwrap();
    assert_eq!(children, ["ä"], "names");
    assert_eq!((stat.cversion, stat.num_children, stat.data_length), (3, 1, 4), "{stat:?}");
}

async fn descendants_are_counted_below_a_node(suite: &Suite) {
    let client = suite.client().await;
    client.make_path("/a/b/c").await.unwrap();
    client.make_path("/a/d").await.unwrap();
    assert_eq!(client.descendants("/a").await.unwrap(), 3, "b, c and d");
    assert_eq!(client.descendants("/a/b/c").await.unwrap(), 0, "a leaf");
}

async fn sync_brings_the_writes_of_others(suite: &Suite) {
    let ensemble = suite.shared().await;
    let chroot = suite.chroot().await;
    let writer = Client::connect(&format!("{}{chroot}", ensemble.connect_string())).await.unwrap();
    let follower = ensemble.member_address(ensemble.follower().await);
    let reader = Client::connect(&format!("{follower}{chroot}")).await.unwrap();
    for turn in 0..50_u32 {
        let path = format!("/{turn}");
        writer.create(&path, b"", CreateMode::Persistent).await.unwrap();
        reader.sync("/").await.unwrap();
        assert!(reader.exists(&path).await.unwrap().is_some(), "{path}: not seen after a sync");
    }
}

async fn the_server_tells_who_the_client_is(suite: &Suite) {
    let client = suite.client().await;
    let ids = client.who_am_i().await.unwrap();
    assert!(ids.iter().any(|id| id.scheme == "ip" && id.user == "127.0.0.1"), "{ids:?}");
    client.auth("digest", b"alice:secret").await.unwrap();
    let ids = client.who_am_i().await.unwrap();
    assert!(ids.iter().any(|id| id.scheme == "digest" && id.user == "alice"), "{ids:?}");
}

async fn below_a_chroot_all_paths_are_relative_to_it(suite: &Suite) {
    let client = suite.client().await;
    client.create("/sub", b"root", CreateMode::Persistent).await.unwrap();
    let below = client.chroot("/sub").unwrap();
    assert_eq!(&below.get_data("/").await.unwrap().0[..], b"root", "its root");
    assert_eq!(below.create("/x", b"", CreateMode::Persistent).await.unwrap().path, "/x", "created");
    assert_eq!(below.create("/s-", b"", CreateMode::EphemeralSequential).await.unwrap().path, "/s-0000000001", "seq");
    assert!(client.exists("/sub/x").await.unwrap().is_some(), "seen from outside");
    assert_eq!(below.ephemerals("/").await.unwrap(), ["/s-0000000001"], "ephemerals");

    let missing = below.delete("/none", Version::Any).await.unwrap_err();
    assert_eq!(missing, Error::Server { code: ErrorCode::NoNode, path: "/none".to_owned() }, "an error");
    let (_data, _stat, changed) = below.get_data_and_watch("/x").await.unwrap();
    client.set_data("/sub/x", b"new", Version::Any).await.unwrap();
    assert_eq!(within("the change", changed).await.unwrap().path, "/x", "an event");
    let (_children, _stat, changed) = below.children_and_watch("/").await.unwrap();
    client.create("/sub/y", b"", CreateMode::Persistent).await.unwrap();
    assert_eq!(within("the new child", changed).await.unwrap().path, "/", "an event at the root");
}

async fn one_session_may_have_several_chroots(suite: &Suite) {
    let client = suite.client().await;
    let mut chroots = Vec::new();
    for name in ["/one", "/two"] {
        client.create(name, b"", CreateMode::Persistent).await.unwrap();
        chroots.push(client.chroot(name).unwrap());
    }
    for chroot in &chroots {
        chroot.create("/same", b"", CreateMode::Ephemeral).await.unwrap();
        assert_eq!(chroot.session_id(), client.session_id(), "one session");
    }
    let mut ephemerals = client.ephemerals("/").await.unwrap();
    ephemerals.sort();
    assert_eq!(ephemerals, ["/one/same", "/two/same"], "of the session");
    drop(client);
    assert!(chroots[0].exists("/same").await.unwrap().is_some(), "lives on in its other clients");
}

async fn requests_take_effect_in_the_order_in_which_they_were_made(suite: &Suite) {
    let client = suite.client().await;
    client.create("/n", b"", CreateMode::Persistent).await.unwrap();
    let pairs: Vec<_> = (0..500_i32)
        .map(|turn| {
            let data = turn.to_string().into_bytes();
            (turn, client.set_data("/n", data, Version::Exactly(turn)), client.get_data("/n"))
        })
        .collect();
    // Awaited from the last to the first: what was asked first is answered first, whoever looks.
    for (turn, set, read) in pairs.into_iter().rev() {
        let (data, stat) = read.await.unwrap();
        assert_eq!(stat.version, turn + 1, "the read after write {turn}");
        assert_eq!(&data[..], turn.to_string().as_bytes(), "the read after write {turn}");
        assert_eq!(set.await.unwrap(), stat, "write {turn}");
    }
}

async fn a_request_whose_answer_nobody_awaits_is_carried_out_all_the_same(suite: &Suite) {
    let client = suite.client().await;
    for turn in 0..100_u32 {
        let abandoned = client.create(&format!("/abandoned-{turn}"), b"", CreateMode::Persistent);
        let read = client.get_data(&format!("/abandoned-{turn}"));
        drop(abandoned);
        if turn % 2 == 0 {
            drop(read);
        } else {
            assert_eq!(read.await.unwrap().1.version, 0, "answer {turn} is for its own request");
        }
    }
    // Given up while it waits, not before it was polled.
    let slow = tokio::time::timeout(Duration::ZERO, client.create("/late", b"", CreateMode::Persistent)).await;
    client.sync("/").await.unwrap();
    assert!(client.exists("/late").await.unwrap().is_some(), "{slow:?}");
    assert_eq!(client.children("/").await.unwrap().len(), 101, "all of them");
}
