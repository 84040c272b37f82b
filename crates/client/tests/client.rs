//! The client against the real server, in this process.

use std::time::Duration;

use gk_client::testing::Server;
use gk_client::{
    AddWatchMode, Client, CreateMode, CreateOptions, Error, ErrorCode, EventType, MultiResult, Quota, QuotaLimits,
    ReadResult, SessionState, Version, WatchItem, creator_acl,
};

async fn connected() -> (Server, Client) {
    let server = Server::start().await.expect("a server on a free port");
    let client = Client::connect(&server.connect_string()).await.expect("a session");
    (server, client)
}

#[tokio::test]
async fn nodes_are_made_read_changed_listed_and_removed() {
    let (_server, client) = connected().await;
    let created = client.create("/a", b"one", CreateMode::Persistent).await.unwrap();
    assert_eq!((created.path.as_str(), created.stat.version), ("/a", 0), "created");
    let (data, stat) = client.get_data("/a").await.unwrap();
    assert_eq!((&data[..], stat.data_length), (&b"one"[..], 3), "read");
    let stat = client.set_data("/a", b"two", stat.into()).await.unwrap();
    assert_eq!(stat.version, 1, "changed");
    let old = client.set_data("/a", b"three", Version::Exactly(0)).await.unwrap_err();
    assert_eq!(old, Error::Server { code: ErrorCode::BadVersion, path: "/a".into() }, "an old version");
    client.create("/a/b", b"", CreateMode::Ephemeral).await.unwrap();
    assert_eq!(client.children("/a").await.unwrap(), ["b"], "children");
    assert_eq!(client.ephemerals("/").await.unwrap(), ["/a/b"], "ephemerals");
    assert_eq!(client.descendants("/a").await.unwrap(), 1, "descendants");
    assert_eq!(client.exists("/nowhere").await.unwrap(), None, "a node that is not there");
    client.delete("/a/b", Version::Any).await.unwrap();
    client.sync("/").await.unwrap();
    client.close().await.unwrap();
    assert_eq!(client.get_data("/a").await.unwrap_err(), Error::Closed, "after the end");
}

#[tokio::test]
async fn requests_made_together_take_effect_in_their_order() {
    let (_server, client) = connected().await;
    client.create("/a", b"", CreateMode::Persistent).await.unwrap();
    let sets: Vec<_> = (0..500).map(|i: i32| client.set_data("/a", i.to_string(), Version::Exactly(i))).collect();
    let read = client.get_data("/a");
    for (i, set) in (1..).zip(sets) {
        assert_eq!(set.await.unwrap().version, i, "in order");
    }
    assert_eq!(&read.await.unwrap().0[..], b"499", "a read after them sees them");
}

#[tokio::test]
async fn a_one_shot_watch_tells_one_change() {
    let (_server, client) = connected().await;
    let (stat, created) = client.exists_and_watch("/a").await.unwrap();
    assert_eq!(stat, None, "not there yet");
    client.create("/a", b"", CreateMode::Persistent).await.unwrap();
    let event = created.await.unwrap();
    assert_eq!((event.kind, event.path.as_str()), (EventType::NodeCreated, "/a"), "created");
    let (_, _, children) = client.children_and_watch("/a").await.unwrap();
    let (_, _, data) = client.get_data_and_watch("/a").await.unwrap();
    client.create("/a/b", b"", CreateMode::Persistent).await.unwrap();
    assert_eq!(children.await.unwrap().kind, EventType::NodeChildrenChanged, "a child");
    client.set_data("/a", b"x", Version::Any).await.unwrap();
    assert_eq!(data.await.unwrap().kind, EventType::NodeDataChanged, "the data");
}

#[tokio::test]
async fn a_stream_tells_all_changes_below() {
    let (_server, client) = connected().await;
    let mut stream = client.watch("/a", AddWatchMode::PersistentRecursive).await.unwrap();
    client.create("/a", b"", CreateMode::Persistent).await.unwrap();
    client.create("/a/b", b"", CreateMode::Persistent).await.unwrap();
    client.set_data("/a/b", b"x", Version::Any).await.unwrap();
    client.delete("/a/b", Version::Any).await.unwrap();
    let mut told = Vec::new();
    for _ in 0..4 {
        match stream.next().await.unwrap() {
            WatchItem::Event(event) => told.push((event.kind, event.path)),
            WatchItem::Missed => panic!("nothing was missed"),
        }
    }
    let expected = [
        (EventType::NodeCreated, "/a".to_owned()),
        (EventType::NodeCreated, "/a/b".to_owned()),
        (EventType::NodeDataChanged, "/a/b".to_owned()),
        (EventType::NodeDeleted, "/a/b".to_owned()),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_multi_is_all_or_nothing_and_names_what_failed() {
    let (_server, client) = connected().await;
    let made = client
        .multi()
        .create("/a", b"", CreateMode::Persistent)
        .create("/a/n-", b"", CreateMode::PersistentSequential)
        .set_data("/a", b"x", Version::Exactly(0))
        .check("/a", Version::Exactly(1))
        .commit()
        .await
        .unwrap();
    let [MultiResult::Created(a), MultiResult::Created(n), MultiResult::Changed(stat), MultiResult::Checked] =
        &made[..]
    else {
        panic!("{made:?}")
    };
    assert_eq!((a.path.as_str(), n.path.as_str(), stat.version), ("/a", "/a/n-0000000000", 1), "results");
    let failed = client.multi().delete("/a/n-0000000000", Version::Any).delete("/b", Version::Any).commit().await;
    let no_node = Error::Multi { index: 1, code: ErrorCode::NoNode, path: "/b".into() };
    assert_eq!(failed.unwrap_err(), no_node, "the second failed");
    let read = client.multi_read().get_data("/a").children("/a").get_data("/b").send().await.unwrap();
    let [ReadResult::Data(data, _), ReadResult::Children(names), ReadResult::Failed(error)] = &read[..] else {
        panic!("{read:?}")
    };
    assert_eq!((&data[..], names.len(), error.code()), (&b"x"[..], 1, Some(ErrorCode::NoNode)), "reads");
}

#[tokio::test]
async fn several_chroots_live_on_one_session() {
    let (_server, client) = connected().await;
    client.create("/app", b"", CreateMode::Persistent).await.unwrap();
    let app = client.chroot("/app").unwrap();
    assert_eq!(app.session_id(), client.session_id(), "one session");
    let created = app.create("/n-", b"", CreateMode::EphemeralSequential).await.unwrap();
    assert_eq!(created.path, "/n-0000000000", "as the program knows it");
    assert_eq!(client.children("/app").await.unwrap(), ["n-0000000000"], "as the server knows it");
    let mut stream = app.watch("/", AddWatchMode::PersistentRecursive).await.unwrap();
    client.set_data("/app/n-0000000000", b"x", Version::Any).await.unwrap();
    let Some(WatchItem::Event(event)) = stream.next().await else { panic!("an event") };
    assert_eq!(event.path, "/n-0000000000", "events too");
}

#[tokio::test]
async fn acls_bind_those_who_have_not_authenticated() {
    let (server, client) = connected().await;
    client.auth("digest", b"ann:secret").await.unwrap();
    client.create("/a", b"", CreateOptions::new(CreateMode::Persistent).acl(creator_acl())).await.unwrap();
    let other = Client::connect(&server.connect_string()).await.unwrap();
    assert_eq!(other.get_data("/a").await.unwrap_err().code(), Some(ErrorCode::NoAuth), "a stranger");
    let ann = Client::builder().auth("digest", b"ann:secret").connect(&server.connect_string()).await.unwrap();
    ann.get_data("/a").await.unwrap();
    assert!(ann.who_am_i().await.unwrap().iter().any(|id| id.user == "ann"), "who I am");
    assert_eq!(other.auth("nonsense", b"").await.unwrap_err(), Error::AuthFailed, "an unknown scheme");
    assert_eq!(other.state(), SessionState::AuthFailed, "ends the session");
}

#[tokio::test]
async fn a_session_outlives_its_server_and_its_watches_catch_up() {
    let (mut server, client) = connected().await;
    client.create("/a", b"", CreateMode::Ephemeral).await.unwrap();
    let (_, _, watch) = client.get_data_and_watch("/a").await.unwrap();
    let mut stream = client.watch("/a", AddWatchMode::Persistent).await.unwrap();
    let mut states = client.states();
    server.stop().await.unwrap();
    assert_eq!(states.next().await, Some(SessionState::Disconnected), "cut");
    let waiting = client.set_data("/a", b"later", Version::Any);
    server.restart().await.unwrap();
    assert_eq!(waiting.await.unwrap().version, 1, "sent once there was a server");
    assert_eq!(client.state(), SessionState::Connected, "again");
    assert_eq!(watch.await.unwrap().kind, EventType::NodeDataChanged, "the watch is still there");
    assert_eq!(stream.next().await, Some(WatchItem::Missed), "the stream says that it was away");
    assert!(matches!(stream.next().await, Some(WatchItem::Event(_))), "and goes on");
}

#[tokio::test]
async fn an_expired_session_ends_all_that_waits() {
    let (server, client) = connected().await;
    client.create("/a", b"", CreateMode::Ephemeral).await.unwrap();
    let (_, _, watch) = client.get_data_and_watch("/a").await.unwrap();
    let mut stream = client.watch("/a", AddWatchMode::Persistent).await.unwrap();
    assert!(server.expire_session(client.session_id()).await, "it was alive");
    assert!(watch.await.is_ok(), "the node went while the session was being closed");
    while let Some(item) = stream.next().await {
        assert!(matches!(item, WatchItem::Event(_) | WatchItem::Missed), "{item:?}");
    }
    assert_eq!(client.state(), SessionState::Expired, "over");
    assert_eq!(client.get_data("/a").await.unwrap_err(), Error::SessionExpired, "for good");
}

#[tokio::test]
async fn without_a_server_the_error_says_who_was_tried() {
    let (mut server, client) = connected().await;
    let address = server.connect_string();
    server.stop().await.unwrap();
    drop(client);
    let connect = Client::builder().connect_timeout(Duration::from_millis(300)).connect(&address);
    let error = connect.await.unwrap_err().to_string();
    assert!(error.contains(&address) && error.contains("refused"), "{error}");
}

#[tokio::test]
async fn paths_are_made_and_quotas_are_set_counted_and_removed() {
    let (_server, client) = connected().await;
    let app = client.chroot("/app/x").unwrap();
    app.make_path("/").await.unwrap();
    app.make_path("/a/b/c").await.unwrap();
    app.make_path("/a/b/c").await.unwrap();
    assert_eq!(client.descendants("/app").await.unwrap(), 4, "x and three below it");
    assert_eq!(app.quota("/a").await.unwrap(), None, "no quota yet");
    let limits = QuotaLimits { nodes: Some(10), bytes_hard: Some(1_000), ..QuotaLimits::default() };
    app.set_quota("/a", limits).await.unwrap();
    app.set_data("/a/b", b"12345", Version::Any).await.unwrap();
    assert_eq!(app.quota("/a").await.unwrap(), Some(Quota { limits, nodes: 3, bytes: 5 }), "set and counted");
    let wider = QuotaLimits { nodes: Some(20), ..limits };
    app.set_quota("/a", wider).await.unwrap();
    assert_eq!(app.quota("/a").await.unwrap().map(|quota| quota.limits), Some(wider), "changed");
    assert!(app.remove_quota("/a").await.unwrap(), "there was one");
    assert!(!app.remove_quota("/a").await.unwrap(), "and is no more");
    assert_eq!(client.children("/zookeeper/quota").await.unwrap(), [""; 0], "nothing is left of it");
}

#[tokio::test]
async fn protected_creates_carry_a_tag_that_names_them() {
    let (_server, client) = connected().await;
    let one = client.create_protected("/n-", b"", CreateMode::EphemeralSequential).await.unwrap();
    let two = client.create_protected("/n-", b"", CreateMode::EphemeralSequential).await.unwrap();
    assert!(one.path.starts_with("/_c_") && one.path.ends_with("-n-0000000000"), "{}", one.path);
    assert_ne!(one.path[..40], two.path[..40], "each call has its own");
    client.create_protected("/e", b"", CreateMode::Ephemeral).await.unwrap();
    let plain = client.create_protected("/p", b"", CreateMode::Persistent).await.unwrap_err();
    assert!(matches!(plain, Error::BadArgument { .. }), "{plain}");
}

#[tokio::test]
async fn what_a_server_would_hang_up_on_is_refused_before_it_is_sent() {
    let (_server, client) = connected().await;
    let large = client.create("/a", vec![0; 2_000_000], CreateMode::Persistent).await.unwrap_err();
    assert!(large.to_string().contains("jute.maxbuffer"), "{large}");
    let path = client.get_data("a").await.unwrap_err();
    assert!(path.to_string().contains("slash"), "{path}");
    let ttl = client.create("/a", b"", CreateMode::Ttl).await.unwrap_err();
    assert!(ttl.to_string().contains("time to live"), "{ttl}");
    assert_eq!(client.counters().requests, 0, "nothing was sent");
}

#[test]
fn a_program_without_async_does_the_same() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime.block_on(Server::start()).unwrap();
    let client = gk_client::blocking::Client::connect(&server.connect_string()).unwrap();
    client.create("/a", b"x", CreateMode::Persistent).unwrap();
    let (_, _, watch) = client.get_data_and_watch("/a").unwrap();
    let events = client.watch("/a", AddWatchMode::Persistent).unwrap();
    client.set_data("/a", b"y", Version::Any).unwrap();
    assert_eq!(watch.wait().unwrap().kind, EventType::NodeDataChanged, "watched");
    let (_, _, mut quiet) = client.get_data_and_watch("/a").unwrap();
    assert_eq!(quiet.wait_for(Duration::from_millis(20)).unwrap(), None, "nothing happens");
    client.close().unwrap();
    assert_eq!(events.count(), 1, "one event, then the end");
}

#[tokio::test]
async fn nothing_that_is_secret_is_shown() {
    let (server, client) = connected().await;
    let builder = Client::builder().auth("digest", b"ann:secret-word");
    assert!(!format!("{builder:?}").contains("secret-word"), "{builder:?}");
    client.auth("digest", b"ann:secret-word").await.unwrap();
    let create = client.create("/a", b"secret-word", CreateMode::Persistent);
    let shown = format!("{client:?} {create:?} {:?}", client.identity());
    let letters = format!("{:?}", b"secret-word");
    assert!(!shown.contains("secret-word") && !shown.contains(letters.trim_matches(['[', ']'])), "{shown}");
    assert!(shown.contains("Connected"), "what is shown helps: {shown}");
    drop(server);
}

/// A client whose runtime has ended must not wait for ever.
#[test]
fn a_client_whose_runtime_is_gone_answers_that_it_is_closed() {
    let server_runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let server = server_runtime.block_on(Server::start()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = runtime.block_on(Client::connect(&server.connect_string())).unwrap();
    let (_, watch) = runtime.block_on(client.exists_and_watch("/a")).unwrap();
    drop(runtime);
    let (read, watch) = server_runtime.block_on(async { (client.get_data("/").await, watch.await) });
    assert_eq!((read.unwrap_err(), watch.unwrap_err()), (Error::Closed, Error::Closed));
}
