//! Watches across reconnects: told of what changed meanwhile, and set again.

use std::time::Duration;

use gk_client::{AddWatchMode, Client, CreateMode, EventType, OneshotWatch, SessionState, Version, WatchItem};

use crate::proxy::{Proxy, in_front_of, used};
use crate::suite::{Suite, cases, level};
use crate::wait::{until, within};
use crate::watches::{next, told};

cases! {
    Any ten_thousand_watches_survive_a_move,
    Any a_stream_tells_that_it_may_have_missed_something,
    Any watches_survive_the_restart_of_their_server,
    Any a_watch_dropped_while_disconnected_is_not_set_again,
}

/// Nodes with one watch each. Every third of them changes while the client is away, the others afterwards.
const WATCHED: usize = 10_000;

async fn ten_thousand_watches_survive_a_move(suite: &Suite) {
    let ensemble = suite.shared().await;
    let (proxies, servers) = in_front_of(ensemble).await;
    let space = suite.chroot().await;
    let timeout = Duration::from_secs(60);
    let client = Client::builder().session_timeout(timeout).connect(&format!("{servers}{space}")).await.unwrap();
    let writer = Client::connect(&format!("{}{space}", ensemble.connect_string())).await.unwrap();
    let there: Vec<_> = (0..WATCHED)
        .filter(|number| number % 4 != 2)
        .map(|number| writer.create(&path(number), b"", CreateMode::Persistent))
        .collect();
    for created in there {
        created.await.unwrap();
    }
    level(&client).await;
    let watches = watch_all(&client).await;

    let left = used(&proxies).await;
    for proxy in &proxies {
        proxy.refuse();
    }
    until("disconnected", async || client.state() != SessionState::Connected).await;
    change(&writer, (0..WATCHED).filter(|number| number % 3 == 0)).await;
    for (index, proxy) in proxies.iter().enumerate() {
        if index != left {
            proxy.open();
        }
    }
    within("reconnected", client.exists("/")).await.unwrap();
    change(&writer, (0..WATCHED).filter(|number| number % 3 != 0)).await;

    assert_eq!(watches.len(), WATCHED, "all of them");
    for (number, watch) in watches {
        let kind = match number % 4 {
            0 | 1 => EventType::NodeDataChanged,
            2 => EventType::NodeCreated,
            _ => EventType::NodeChildrenChanged,
        };
        assert_eq!(told(watch).await, (kind, path(number)), "watch {number}");
    }
}

fn path(number: usize) -> String {
    format!("/a-node-with-a-name-of-some-length-{number}")
}

/// Watches in turn the data of a node, the existence of one that is there, that of one that is not, and children.
async fn watch_all(client: &Client) -> Vec<(usize, OneshotWatch)> {
    let of = |kind: usize| (kind..WATCHED).step_by(4);
    let data: Vec<_> = of(0).map(|number| (number, client.get_data_and_watch(&path(number)))).collect();
    let exist: Vec<_> = of(1).chain(of(2)).map(|number| (number, client.exists_and_watch(&path(number)))).collect();
    let children: Vec<_> = of(3).map(|number| (number, client.children_and_watch(&path(number)))).collect();
    let mut watches = Vec::new();
    for (number, asked) in data {
        watches.push((number, asked.await.unwrap().2));
    }
    for (number, asked) in exist {
        watches.push((number, asked.await.unwrap().1));
    }
    for (number, asked) in children {
        watches.push((number, asked.await.unwrap().2));
    }
    watches
}

/// Changes each node in the way that its watch waits for.
async fn change(writer: &Client, numbers: impl Iterator<Item = usize>) {
    let (mut creates, mut sets) = (Vec::new(), Vec::new());
    for number in numbers {
        let path = path(number);
        match number % 4 {
            0 | 1 => sets.push(writer.set_data(&path, b"x", Version::Any)),
            2 => creates.push(writer.create(&path, b"", CreateMode::Persistent)),
            _ => creates.push(writer.create(&format!("{path}/child"), b"", CreateMode::Persistent)),
        }
    }
    for created in creates {
        created.await.unwrap();
    }
    for set in sets {
        set.await.unwrap();
    }
}

async fn a_stream_tells_that_it_may_have_missed_something(suite: &Suite) {
    let ensemble = suite.shared().await;
    let proxy = Proxy::start(ensemble.member_address(0)).await;
    let space = suite.chroot().await;
    let client = Client::connect(&format!("{}{space}", proxy.address())).await.unwrap();
    let writer = Client::connect(&format!("{}{space}", ensemble.connect_string())).await.unwrap();
    let mut persistent = client.watch("/", AddWatchMode::Persistent).await.unwrap();
    let mut recursive = client.watch("/", AddWatchMode::PersistentRecursive).await.unwrap();
    proxy.refuse();
    until("disconnected", async || client.state() != SessionState::Connected).await;
    writer.create("/missed", b"", CreateMode::Persistent).await.unwrap();
    proxy.open();
    within("reconnected", client.sync("/")).await.unwrap();
    writer.create("/seen", b"", CreateMode::Persistent).await.unwrap();
    for (name, stream, expected) in [
        ("persistent", &mut persistent, (EventType::NodeChildrenChanged, "/")),
        ("recursive", &mut recursive, (EventType::NodeCreated, "/seen")),
    ] {
        assert_eq!(within("the gap", stream.next()).await, Some(WatchItem::Missed), "{name}");
        assert_eq!(next(stream).await, (expected.0, expected.1.to_owned()), "{name}");
    }
}

async fn watches_survive_the_restart_of_their_server(suite: &Suite) {
    let mut ensemble = suite.taken().await;
    let timeout = Duration::from_secs(30);
    let client = Client::builder().session_timeout(timeout).connect(&ensemble.connect_string()).await.unwrap();
    let id = client.session_id();
    let (one, two) = (format!("/watched-{id}"), format!("/awaited-{id}"));
    client.create(&one, b"", CreateMode::Persistent).await.unwrap();
    let (_data, _stat, changed) = client.get_data_and_watch(&one).await.unwrap();
    let (_stat, created) = client.exists_and_watch(&two).await.unwrap();
    let member = ensemble.member_of(id).await;
    ensemble.kill(member);
    ensemble.restart(member).await;
    within("reconnected", client.sync("/")).await.unwrap();
    client.set_data(&one, b"x", Version::Any).await.unwrap();
    client.create(&two, b"", CreateMode::Persistent).await.unwrap();
    assert_eq!(told(changed).await, (EventType::NodeDataChanged, one), "data");
    assert_eq!(told(created).await, (EventType::NodeCreated, two), "creation");
    client.close().await.unwrap();
}

async fn a_watch_dropped_while_disconnected_is_not_set_again(suite: &Suite) {
    let ensemble = suite.shared().await;
    let proxy = Proxy::start(ensemble.member_address(0)).await;
    let client = Client::connect(&format!("{}{}", proxy.address(), suite.chroot().await)).await.unwrap();
    let (_stat, dropped) = client.exists_and_watch("/dropped").await.unwrap();
    let (_stat, kept) = client.exists_and_watch("/kept").await.unwrap();
    proxy.refuse();
    until("disconnected", async || client.state() != SessionState::Connected).await;
    drop(dropped);
    proxy.open();
    within("reconnected", client.sync("/")).await.unwrap();
    let session = client.session_id().to_string();
    let report = ensemble.word(0, "wchc").await;
    let watched: Vec<&str> =
        report.lines().skip_while(|line| *line != session).skip(1).take_while(|line| line.starts_with('\t')).collect();
    assert!(watched.len() == 1 && watched[0].ends_with("/kept"), "{watched:?}");
    drop(kept);
}
