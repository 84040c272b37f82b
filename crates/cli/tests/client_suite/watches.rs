//! Watches as values: what they tell, and that nothing is left of them when they are dropped.

use std::time::Duration;

use gk_client::{AddWatchMode, Client, CreateMode, EventType, OneshotWatch, Version, WatchItem, WatchStream};

use crate::suite::{Suite, cases};
use crate::wait::{until, within};

cases! {
    Any a_one_shot_watch_tells_of_the_next_change,
    Any a_watch_may_wait_for_a_node_that_does_not_exist,
    Any a_watch_of_children_tells_of_children_only,
    Any several_watches_on_one_path_are_all_told,
    Any a_persistent_watch_tells_of_every_change,
    Any a_recursive_watch_tells_of_the_whole_subtree,
    Any watches_of_all_kinds_on_one_path_are_told_each_in_its_way,
    Any a_dropped_one_shot_watch_is_removed_at_the_server,
    Any a_dropped_stream_is_removed_at_the_server_and_others_stay,
    Any an_event_comes_before_the_answer_that_shows_its_effect,
    Any the_end_of_the_session_ends_its_watches,
}

/// What happened, and where.
type Event = (EventType, String);

fn event(kind: EventType, path: &str) -> Event {
    (kind, path.to_owned())
}

/// What a one-shot watch tells.
pub(crate) async fn told(watch: OneshotWatch) -> Event {
    let event = within("an event", watch).await.unwrap();
    (event.kind, event.path)
}

/// What a stream tells next, which must not be that it missed something.
pub(crate) async fn next(stream: &mut WatchStream) -> Event {
    match within("an event", stream.next()).await {
        Some(WatchItem::Event(event)) => (event.kind, event.path),
        other => panic!("no event but {other:?}"),
    }
}

async fn a_one_shot_watch_tells_of_the_next_change(suite: &Suite) {
    let client = suite.client().await;
    client.create("/a", b"", CreateMode::Persistent).await.unwrap();
    let (_data, _stat, data) = client.get_data_and_watch("/a").await.unwrap();
    let (_stat, exists) = client.exists_and_watch("/a").await.unwrap();
    let (_children, _stat, children) = client.children_and_watch("/a").await.unwrap();
    client.set_data("/a", b"x", Version::Any).await.unwrap();
    client.set_data("/a", b"y", Version::Any).await.unwrap();
    assert_eq!(told(data).await, event(EventType::NodeDataChanged, "/a"), "get_data");
    assert_eq!(told(exists).await, event(EventType::NodeDataChanged, "/a"), "exists");
    client.delete("/a", Version::Any).await.unwrap();
    assert_eq!(told(children).await, event(EventType::NodeDeleted, "/a"), "children");
}

async fn a_watch_may_wait_for_a_node_that_does_not_exist(suite: &Suite) {
    let client = suite.client().await;
    let (stat, watch) = client.exists_and_watch("/later").await.unwrap();
    assert_eq!(stat, None, "not yet");
    client.create("/later", b"", CreateMode::Persistent).await.unwrap();
    assert_eq!(told(watch).await, event(EventType::NodeCreated, "/later"), "event");
    assert!(client.get_data_and_watch("/none").await.is_err(), "a read that fails sets no watch");
}

async fn a_watch_of_children_tells_of_children_only(suite: &Suite) {
    let client = suite.client().await;
    client.create("/p", b"", CreateMode::Persistent).await.unwrap();
    let (_children, _stat, watch) = client.children_and_watch("/p").await.unwrap();
    client.set_data("/p", b"x", Version::Any).await.unwrap();
    client.create("/p/c", b"", CreateMode::Persistent).await.unwrap();
    assert_eq!(told(watch).await, event(EventType::NodeChildrenChanged, "/p"), "event");
}

async fn several_watches_on_one_path_are_all_told(suite: &Suite) {
    let client = suite.client().await;
    client.create("/a", b"", CreateMode::Persistent).await.unwrap();
    let mut watches = Vec::new();
    for _ in 0..5 {
        watches.push(client.get_data_and_watch("/a").await.unwrap().2);
    }
    drop(watches.remove(2));
    client.set_data("/a", b"x", Version::Any).await.unwrap();
    for watch in watches {
        assert_eq!(told(watch).await, event(EventType::NodeDataChanged, "/a"), "each");
    }
}

async fn a_persistent_watch_tells_of_every_change(suite: &Suite) {
    let client = suite.client().await;
    let mut stream = client.watch("/a", AddWatchMode::Persistent).await.unwrap();
    client.create("/a", b"", CreateMode::Persistent).await.unwrap();
    client.set_data("/a", b"x", Version::Any).await.unwrap();
    client.create("/a/c", b"", CreateMode::Persistent).await.unwrap();
    client.set_data("/a/c", b"not seen from /a", Version::Any).await.unwrap();
    client.delete("/a/c", Version::Any).await.unwrap();
    client.delete("/a", Version::Any).await.unwrap();
    for expected in [
        EventType::NodeCreated,
        EventType::NodeDataChanged,
        EventType::NodeChildrenChanged,
        EventType::NodeChildrenChanged,
        EventType::NodeDeleted,
    ] {
        assert_eq!(next(&mut stream).await, event(expected, "/a"), "in order");
    }
}

async fn a_recursive_watch_tells_of_the_whole_subtree(suite: &Suite) {
    let client = suite.client().await;
    client.create("/a", b"", CreateMode::Persistent).await.unwrap();
    let mut stream = client.watch("/a", AddWatchMode::PersistentRecursive).await.unwrap();
    client.make_path("/a/b/c").await.unwrap();
    client.create("/ab", b"", CreateMode::Persistent).await.unwrap();
    client.set_data("/a/b/c", b"x", Version::Any).await.unwrap();
    client.delete("/a/b/c", Version::Any).await.unwrap();
    for expected in [
        event(EventType::NodeCreated, "/a/b"),
        event(EventType::NodeCreated, "/a/b/c"),
        event(EventType::NodeDataChanged, "/a/b/c"),
        event(EventType::NodeDeleted, "/a/b/c"),
    ] {
        assert_eq!(next(&mut stream).await, expected, "in order");
    }
}

async fn watches_of_all_kinds_on_one_path_are_told_each_in_its_way(suite: &Suite) {
    let client = suite.client().await;
    client.create("/a", b"", CreateMode::Persistent).await.unwrap();
    let (_data, _stat, one_shot) = client.get_data_and_watch("/a").await.unwrap();
    let mut persistent = client.watch("/a", AddWatchMode::Persistent).await.unwrap();
    let mut recursive = client.watch("/a", AddWatchMode::PersistentRecursive).await.unwrap();
    client.set_data("/a", b"x", Version::Any).await.unwrap();
    client.create("/a/c", b"", CreateMode::Persistent).await.unwrap();

    let changed = event(EventType::NodeDataChanged, "/a");
    assert_eq!(told(one_shot).await, changed, "one-shot");
    assert_eq!(next(&mut persistent).await, changed.clone(), "persistent");
    let children = event(EventType::NodeChildrenChanged, "/a");
    assert_eq!(next(&mut persistent).await, children, "persistent");
    assert_eq!(next(&mut recursive).await, changed, "recursive");
    let created = event(EventType::NodeCreated, "/a/c");
    assert_eq!(next(&mut recursive).await, created, "recursive");
}

async fn a_dropped_one_shot_watch_is_removed_at_the_server(suite: &Suite) {
    let client = suite.client().await;
    let (_stat, first) = client.exists_and_watch("/dropped").await.unwrap();
    let (_stat, second) = client.exists_and_watch("/dropped").await.unwrap();
    assert!(is_watched(suite, &client, "/dropped").await, "while somebody waits");
    drop(first);
    client.sync("/").await.unwrap();
    assert!(is_watched(suite, &client, "/dropped").await, "while somebody else waits");
    drop(second);
    until("the server forgets the watch", async || !is_watched(suite, &client, "/dropped").await).await;
}

async fn a_dropped_stream_is_removed_at_the_server_and_others_stay(suite: &Suite) {
    let client = suite.client().await;
    client.create("/a", b"", CreateMode::Persistent).await.unwrap();
    let persistent = client.watch("/a", AddWatchMode::Persistent).await.unwrap();
    let mut recursive = client.watch("/a", AddWatchMode::PersistentRecursive).await.unwrap();
    let (_data, _stat, one_shot) = client.get_data_and_watch("/a").await.unwrap();
    drop(persistent);
    client.sync("/").await.unwrap();
    client.set_data("/a", b"x", Version::Any).await.unwrap();
    let changed = event(EventType::NodeDataChanged, "/a");
    assert_eq!(told(one_shot).await, changed, "one-shot");
    assert_eq!(next(&mut recursive).await, changed, "recursive");
    drop(recursive);
    until("the server forgets the watches", async || !is_watched(suite, &client, "/a").await).await;
}

async fn an_event_comes_before_the_answer_that_shows_its_effect(suite: &Suite) {
    let client = suite.client().await;
    client.create("/a", b"0", CreateMode::Persistent).await.unwrap();
    for turn in 0..100_u32 {
        let (_data, _stat, watch) = client.get_data_and_watch("/a").await.unwrap();
        client.set_data("/a", turn.to_string().into_bytes(), Version::Any).await.unwrap();
        let told = tokio::time::timeout(Duration::ZERO, watch).await;
        assert!(told.is_ok(), "turn {turn}: answered, and not yet told");
    }
}

async fn the_end_of_the_session_ends_its_watches(suite: &Suite) {
    let client = suite.client().await;
    let (_stat, one_shot) = client.exists_and_watch("/a").await.unwrap();
    let mut stream = client.watch("/", AddWatchMode::PersistentRecursive).await.unwrap();
    client.close().await.unwrap();
    assert!(within("an end", one_shot).await.unwrap_err().ends_session(), "one-shot");
    assert_eq!(within("an end", stream.next()).await, None, "stream");
}

/// Whether a server knows of any watch of this client on `path`.
async fn is_watched(suite: &Suite, client: &Client, path: &str) -> bool {
    let ensemble = suite.shared().await;
    let session = client.session_id().to_string();
    for index in 0..ensemble.len() {
        let by_session = ensemble.word(index, "wchc").await;
        let of_client = by_session.lines().skip_while(|line| *line != session).skip(1);
        if of_client.take_while(|line| line.starts_with('\t')).any(|line| line.ends_with(path)) {
            return true;
        }
    }
    false
}
