//! Sessions: what they survive, how they move, how they end.

use std::time::Duration;

use gk_client::{
    AddWatchMode, Client, CreateMode, CreateOptions, Error, SessionId, SessionState, Version, WatchItem, creator_acl,
};

use crate::ensemble::TICK;
use crate::proxy::{Proxy, in_front_of, used};
use crate::suite::{Suite, cases, level};
use crate::wait::{until, within};

cases! {
    Any a_session_survives_a_cut,
    Any a_session_moves_to_another_address,
    Any a_session_survives_the_kill_of_its_server,
    Three a_session_survives_the_kill_of_the_leader,
    Three a_session_survives_a_leader_that_stalls,
    Any a_session_leaves_a_server_that_is_silent,
    Any a_session_survives_an_outage_longer_than_its_timeout,
    Any no_session_of_many_is_lost_with_a_server,
    Any an_idle_session_lives_on,
    Any a_request_made_while_disconnected_waits_for_the_next_server,
    Any authentication_is_repeated_after_a_cut,
    Any a_session_that_expired_at_the_server_is_over,
    Any a_closed_session_is_over_at_once,
    Any the_last_client_that_is_dropped_closes_the_session,
    Any a_session_is_resumed_by_another_client,
    Any a_session_whose_password_is_wrong_is_not_resumed,
    Any a_session_that_no_server_can_end_is_closed_all_the_same,
    Any a_server_that_is_not_there_is_passed_over,
    Any a_server_that_does_not_answer_is_passed_over,
    Any a_name_with_several_addresses_is_tried_at_each,
    Any without_any_server_connecting_fails_and_tells_of_each,
    Any many_clients_at_once,
}

async fn a_session_survives_a_cut(suite: &Suite) {
    let proxy = Proxy::start(suite.shared().await.member_address(0)).await;
    let space = suite.chroot().await;
    let client = Client::connect(&format!("{}{space}", proxy.address())).await.unwrap();
    let id = client.session_id();
    client.create("/mine", b"", CreateMode::Ephemeral).await.unwrap();
    let mut states = client.states();
    for cut in 1..=5_usize {
        proxy.cut();
        until("reconnected", async || proxy.accepted() > cut && client.state() == SessionState::Connected).await;
        let stat = client.exists("/mine").await.unwrap();
        assert_eq!(stat.map(|stat| stat.ephemeral_owner), Some(id.wire()), "cut {cut}");
        assert_eq!(client.session_id(), id, "cut {cut}");
    }
    let mut seen = Vec::new();
    for _ in 0..2 {
        seen.push(within("a state", states.next()).await.unwrap());
    }
    assert!(seen.contains(&SessionState::Disconnected) && seen.contains(&SessionState::Connected), "{seen:?}");
}

async fn a_session_moves_to_another_address(suite: &Suite) {
    let ensemble = suite.shared().await;
    let (proxies, servers) = in_front_of(ensemble).await;
    let client = Client::connect(&format!("{servers}{}", suite.chroot().await)).await.unwrap();
    client.create("/mine", b"0", CreateMode::Ephemeral).await.unwrap();
    for turn in 1..=4_i32 {
        let left = used(&proxies).await;
        proxies[left].refuse();
        let stat = client.set_data("/mine", b"x", Version::Any).await;
        // Sent on the connection that was about to be cut, or on the next one.
        assert!(matches!(stat, Ok(_) | Err(Error::OutcomeUnknown)), "turn {turn}: {stat:?}");
        let next = used(&proxies).await;
        assert_ne!(next, left, "turn {turn}");
        let stat = client.exists("/mine").await.unwrap().unwrap();
        assert_eq!(stat.ephemeral_owner, client.session_id().wire(), "turn {turn}");
        proxies[left].open();
    }
}

async fn a_session_survives_the_kill_of_its_server(suite: &Suite) {
    let mut ensemble = suite.taken().await;
    let client = Client::builder().session_timeout(LONG).connect(&ensemble.connect_string()).await.unwrap();
    let mine = format!("/mine-{}", client.session_id());
    client.create(&mine, b"", CreateMode::Ephemeral).await.unwrap();
    let member = ensemble.member_of(client.session_id()).await;
    ensemble.kill(member);
    if ensemble.len() == 1 {
        ensemble.restart(member).await;
    }
    let stat = within("the next server", client.exists(&mine)).await.unwrap();
    assert_eq!(stat.map(|stat| stat.ephemeral_owner), Some(client.session_id().wire()), "after the kill");
    client.set_data(&mine, b"x", Version::Any).await.unwrap();
    client.close().await.unwrap();
}

async fn a_session_survives_the_kill_of_the_leader(suite: &Suite) {
    let mut ensemble = suite.taken().await;
    let client = Client::builder().session_timeout(LONG).connect(&ensemble.connect_string()).await.unwrap();
    let mine = format!("/mine-{}", client.session_id());
    client.create(&mine, b"", CreateMode::Ephemeral).await.unwrap();
    for turn in 0..2 {
        let leader = ensemble.leader().await;
        ensemble.kill(leader);
        until("written", async || client.set_data(&mine, b"x", Version::Any).await.is_ok()).await;
        let stat = client.exists(&mine).await.unwrap();
        assert_eq!(stat.map(|stat| stat.ephemeral_owner), Some(client.session_id().wire()), "turn {turn}");
        ensemble.restart(leader).await;
    }
    client.close().await.unwrap();
}

/// The others elect another leader; the session moves with them, or stays where it is.
async fn a_session_survives_a_leader_that_stalls(suite: &Suite) {
    let mut ensemble = suite.taken().await;
    let client = Client::builder().session_timeout(LONG).connect(&ensemble.connect_string()).await.unwrap();
    let mine = format!("/mine-{}", client.session_id());
    client.create(&mine, b"", CreateMode::Ephemeral).await.unwrap();
    let stalled = ensemble.leader().await;
    ensemble.pause(stalled).await;
    let next = ensemble.leader().await;
    assert_ne!(next, stalled, "another one leads");
    until("written", async || client.set_data(&mine, b"x", Version::Any).await.is_ok()).await;
    ensemble.resume(stalled);
    until("the old leader follows", async || ensemble.mode(stalled).await.as_deref() == Some("follower")).await;
    client.set_data(&mine, b"y", Version::Any).await.unwrap();
    let stat = client.exists(&mine).await.unwrap();
    assert_eq!(stat.map(|stat| stat.ephemeral_owner), Some(client.session_id().wire()), "the same session");
    client.close().await.unwrap();
}

/// The server is stopped in its tracks: its sockets stay open and nothing answers. Only the read deadline tells.
async fn a_session_leaves_a_server_that_is_silent(suite: &Suite) {
    let mut ensemble = suite.taken().await;
    let timeout = Duration::from_secs(6);
    let client = Client::builder().session_timeout(timeout).connect(&ensemble.connect_string()).await.unwrap();
    let id = client.session_id();
    let mine = format!("/mine-{id}");
    client.create(&mine, b"", CreateMode::Ephemeral).await.unwrap();
    let member = ensemble.member_of(id).await;
    ensemble.pause(member).await;
    until("the silence is noticed", async || client.state() != SessionState::Connected).await;
    if ensemble.len() == 1 {
        ensemble.resume(member);
    }
    let stat = within("another server, or the same again", client.exists(&mine)).await.unwrap();
    assert_eq!(stat.map(|stat| stat.ephemeral_owner), Some(id.wire()), "the same session");
    if ensemble.len() > 1 {
        ensemble.resume(member);
    }
    client.close().await.unwrap();
}

/// No server at all: the client cannot know whether its session lives, and it does, because a server that starts gives
/// every session a full timeout.
async fn a_session_survives_an_outage_longer_than_its_timeout(suite: &Suite) {
    let mut ensemble = suite.taken().await;
    let servers = ensemble.connect_string();
    let client = Client::builder().session_timeout(Duration::from_secs(4)).connect(&servers).await.unwrap();
    let mine = format!("/mine-{}", client.session_id());
    client.create(&mine, b"", CreateMode::Ephemeral).await.unwrap();
    for index in 0..ensemble.len() {
        ensemble.kill(index);
    }
    let waits = client.get_data(&mine);
    until("disconnected for a session timeout", async || client.state() == SessionState::Lost).await;
    assert_eq!(within("a request that waited", waits).await.unwrap_err(), Error::ConnectionLost, "given up");
    let error = client.get_data(&mine).await.unwrap_err();
    assert!(error == Error::ConnectionLost && error.is_repeatable(), "{error:?}");

    ensemble.heal().await;
    until("connected again", async || client.state() == SessionState::Connected).await;
    let stat = client.exists(&mine).await.unwrap();
    assert_eq!(stat.map(|stat| stat.ephemeral_owner), Some(client.session_id().wire()), "the same session");
    client.close().await.unwrap();
}

async fn no_session_of_many_is_lost_with_a_server(suite: &Suite) {
    const CLIENTS: usize = 100;
    let mut ensemble = suite.taken().await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let client = Client::builder().session_timeout(LONG).connect(&ensemble.connect_string()).await.unwrap();
        client.create(&format!("/mine-{}", client.session_id()), b"", CreateMode::Ephemeral).await.unwrap();
        clients.push(client);
    }
    let member = ensemble.member_of(clients[0].session_id()).await;
    ensemble.kill(member);
    ensemble.restart(member).await;
    for client in &clients {
        let mine = format!("/mine-{}", client.session_id());
        let stat = within("a client", client.exists(&mine)).await.unwrap();
        assert_eq!(stat.map(|stat| stat.ephemeral_owner), Some(client.session_id().wire()), "{mine}");
    }
    for client in clients {
        client.close().await.unwrap();
    }
}

/// Two sessions alike ask for nothing; the one whose pings get through is there when the other has expired.
async fn an_idle_session_lives_on(suite: &Suite) {
    let ensemble = suite.shared().await;
    let proxy = Proxy::start(ensemble.member_address(0)).await;
    let space = suite.chroot().await;
    let timeout = TICK * 4;
    let (idle, lost) = (format!("{}{space}", ensemble.connect_string()), format!("{}{space}", proxy.address()));
    let idle = Client::builder().session_timeout(timeout).connect(&idle).await.unwrap();
    let lost = Client::builder().session_timeout(timeout).connect(&lost).await.unwrap();
    let witness = Client::connect(&format!("{}{space}", ensemble.connect_string())).await.unwrap();
    idle.create("/idle", b"", CreateMode::Ephemeral).await.unwrap();
    let mut states = idle.states();
    lost.create("/lost", b"", CreateMode::Ephemeral).await.unwrap();
    level(&witness).await;
    let (stat, gone) = witness.exists_and_watch("/lost").await.unwrap();
    assert!(stat.is_some(), "both are there");
    proxy.black_hole();
    within("the other expires", gone).await.unwrap();
    assert!(witness.exists("/idle").await.unwrap().is_some(), "the idle one lives");
    let next = tokio::time::timeout(Duration::ZERO, states.next()).await;
    assert!(next.is_err(), "it was connected all the time, and not {next:?}");
}

async fn a_request_made_while_disconnected_waits_for_the_next_server(suite: &Suite) {
    let proxy = Proxy::start(suite.shared().await.member_address(0)).await;
    let client = Client::connect(&format!("{}{}", proxy.address(), suite.chroot().await)).await.unwrap();
    proxy.refuse();
    until("disconnected", async || client.state() == SessionState::Disconnected).await;
    let created = client.create("/a", b"x", CreateMode::Persistent);
    let read = client.get_data("/a");
    proxy.open();
    assert_eq!(within("created", created).await.unwrap().path, "/a", "sent later");
    assert_eq!(&within("read", read).await.unwrap().0[..], b"x", "and in order");
}

async fn authentication_is_repeated_after_a_cut(suite: &Suite) {
    let proxy = Proxy::start(suite.shared().await.member_address(0)).await;
    let client = Client::connect(&format!("{}{}", proxy.address(), suite.chroot().await)).await.unwrap();
    client.auth("digest", b"alice:secret").await.unwrap();
    let hers = CreateOptions::new(CreateMode::Persistent).acl(creator_acl());
    client.create("/hers", b"", hers).await.unwrap();
    for _ in 0..3 {
        let before = proxy.accepted();
        proxy.cut();
        until("reconnected", async || proxy.accepted() > before).await;
        client.get_data("/hers").await.expect("still alice");
    }
}

/// The client is cut off, by a network that says nothing, for longer than its session may be silent.
async fn a_session_that_expired_at_the_server_is_over(suite: &Suite) {
    let ensemble = suite.shared().await;
    let proxy = Proxy::start(ensemble.member_address(0)).await;
    let space = suite.chroot().await;
    let servers = format!("{}{space}", proxy.address());
    let client = Client::builder().session_timeout(TICK * 4).connect(&servers).await.unwrap();
    let witness = Client::connect(&format!("{}{space}", ensemble.connect_string())).await.unwrap();
    client.create("/mine", b"", CreateMode::Ephemeral).await.unwrap();
    let (_stat, one_shot) = client.exists_and_watch("/mine").await.unwrap();
    let mut stream = client.watch("/", AddWatchMode::PersistentRecursive).await.unwrap();
    let mut states = client.states();
    level(&witness).await;
    let (stat, gone) = witness.exists_and_watch("/mine").await.unwrap();
    assert!(stat.is_some(), "the ephemeral is there");

    proxy.black_hole();
    let write = client.set_data("/mine", b"x", Version::Any);
    let read = client.get_data("/mine");
    within("the server expires the session", gone).await.unwrap();
    proxy.cut();
    proxy.open();
    let error = within("a write that was sent", write).await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown | Error::SessionExpired), "{error:?}");
    // Longer without a server than the session lasts: already before anybody says that it has expired.
    let error = within("a read that was sent", read).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionLost | Error::SessionExpired), "{error:?}");
    until("the client is told", async || client.state() == SessionState::Expired).await;
    let error = client.create("/new", b"", CreateMode::Persistent).await.unwrap_err();
    assert!(error == Error::SessionExpired && error.ends_session(), "{error:?}");
    assert_eq!(within("an end", one_shot).await.unwrap_err(), Error::SessionExpired, "one-shot");
    until("the stream ends", async || !matches!(stream.next().await, Some(WatchItem::Missed | WatchItem::Event(_))))
        .await;
    let mut last = None;
    while let Some(state) = within("a state", states.next()).await {
        last = Some(state);
    }
    assert_eq!(last, Some(SessionState::Expired), "the last state");
}

async fn a_closed_session_is_over_at_once(suite: &Suite) {
    let space = suite.space().await;
    let client = Client::builder().session_timeout(LONG).connect(&space).await.unwrap();
    let witness = Client::connect(&space).await.unwrap();
    client.create("/mine", b"", CreateMode::Ephemeral).await.unwrap();
    let last = client.create("/last", b"", CreateMode::Persistent);
    let twin = client.clone();
    client.close().await.unwrap();
    last.await.expect("made before the close");
    level(&witness).await;
    assert_eq!(witness.exists("/mine").await.unwrap(), None, "gone with the session");
    assert_eq!(twin.exists("/").await.unwrap_err(), Error::Closed, "afterwards");
    assert_eq!(twin.state(), SessionState::Closed, "state");
}

async fn the_last_client_that_is_dropped_closes_the_session(suite: &Suite) {
    let space = suite.space().await;
    let client = Client::builder().session_timeout(LONG).connect(&space).await.unwrap();
    let witness = Client::connect(&space).await.unwrap();
    client.create("/mine", b"", CreateMode::Ephemeral).await.unwrap();
    level(&witness).await;
    let (stat, gone) = witness.exists_and_watch("/mine").await.unwrap();
    assert!(stat.is_some(), "while the client lives");
    let twin = client.clone();
    drop(client);
    twin.exists("/mine").await.unwrap().expect("while its twin lives");
    drop(twin);
    let soon = tokio::time::timeout(LONG / 2, gone).await.expect("long before the session would expire");
    soon.unwrap();
}

async fn a_session_is_resumed_by_another_client(suite: &Suite) {
    let space = suite.space().await;
    let first = Client::builder().session_timeout(LONG).connect(&space).await.unwrap();
    first.create("/mine", b"", CreateMode::Ephemeral).await.unwrap();
    let identity = first.identity().unwrap();
    first.detach();
    assert_eq!(first.exists("/mine").await.unwrap_err(), Error::Closed, "the first client is done");
    let second = Client::builder().session_timeout(LONG).resume(identity).connect(&space).await.unwrap();
    assert_eq!(second.identity(), Some(identity), "the same session");
    second.set_data("/mine", b"x", Version::Exactly(0)).await.unwrap();
    second.close().await.unwrap();
    let third = Client::builder().resume(identity).connect(&space).await;
    assert_eq!(third.unwrap_err(), Error::SessionExpired, "a session that was closed");
}

async fn a_session_whose_password_is_wrong_is_not_resumed(suite: &Suite) {
    let space = suite.space().await;
    let owner = Client::builder().session_timeout(LONG).connect(&space).await.unwrap();
    owner.create("/mine", b"", CreateMode::Ephemeral).await.unwrap();
    let mut stolen = owner.identity().unwrap();
    stolen.password[0] ^= 1;
    let thief = Client::builder().resume(stolen).connect(&space).await;
    assert_eq!(thief.unwrap_err(), Error::SessionExpired, "what servers say to a wrong password");
    let stat = within("the owner's session", owner.exists("/mine")).await.unwrap();
    assert_eq!(stat.map(|stat| stat.ephemeral_owner), Some(owner.session_id().wire()), "lives on");
}

async fn a_session_that_no_server_can_end_is_closed_all_the_same(suite: &Suite) {
    let proxy = Proxy::start(suite.shared().await.member_address(0)).await;
    let client = Client::builder().session_timeout(TICK * 4).connect(&proxy.address().to_string()).await.unwrap();
    proxy.black_hole();
    let closed = within("an end", client.close()).await;
    assert!(closed.is_err(), "nobody confirmed it");
    assert_eq!(client.state(), SessionState::Closed, "state");
}

async fn a_server_that_is_not_there_is_passed_over(suite: &Suite) {
    let nobody = nobody().await;
    let servers = suite.shared().await.connect_string();
    for _ in 0..5 {
        let client = Client::connect(&format!("{nobody},{servers}")).await.unwrap();
        client.exists("/").await.unwrap();
        client.close().await.unwrap();
    }
}

async fn a_server_that_does_not_answer_is_passed_over(suite: &Suite) {
    let ensemble = suite.shared().await;
    let hole = Proxy::start(ensemble.member_address(0)).await;
    hole.black_hole();
    let servers = format!("{},{}", hole.address(), ensemble.member_address(0));
    while hole.accepted() == 0 {
        let client = Client::builder().session_timeout(TICK * 4).connect(&servers).await.unwrap();
        client.exists("/").await.unwrap();
        client.close().await.unwrap();
    }
}

/// `localhost` is an IPv6 address and an IPv4 one on most machines; the servers listen on the latter.
async fn a_name_with_several_addresses_is_tried_at_each(suite: &Suite) {
    let port = suite.shared().await.member_address(0).port();
    let client = Client::connect(&format!("localhost:{port}")).await.unwrap();
    client.exists("/").await.unwrap();
}

async fn without_any_server_connecting_fails_and_tells_of_each(_suite: &Suite) {
    let nobody = nobody().await;
    let error = Client::builder()
        .connect_timeout(Duration::from_millis(300))
        .connect(&nobody)
        .await
        .map(|client| client.session_id())
        .unwrap_err();
    assert!(matches!(&error, Error::NotConnected { .. }), "{error:?}");
    assert!(error.to_string().contains(&nobody), "{error}");
}

async fn many_clients_at_once(suite: &Suite) {
    const CLIENTS: u32 = 200;
    let space = suite.space().await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        let space = space.clone();
        tasks.spawn(async move {
            let client = Client::builder().session_timeout(LONG).connect(&space).await.unwrap();
            client.create(&format!("/client-{number}"), b"", CreateMode::Ephemeral).await.unwrap();
            for _ in 0..10 {
                client.set_data(&format!("/client-{number}"), b"x", Version::Any).await.unwrap();
            }
            client
        });
    }
    let mut clients = Vec::new();
    while let Some(client) = within("a client", tasks.join_next()).await {
        clients.push(client.unwrap());
    }
    let mut ids: Vec<SessionId> = clients.iter().map(Client::session_id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), clients.len(), "each has a session of its own");
    let last = clients.pop().unwrap();
    level(&last).await;
    assert_eq!(last.children("/").await.unwrap().len(), clients.len() + 1, "all are there");
    for client in clients {
        client.close().await.unwrap();
    }
    level(&last).await;
    assert_eq!(last.children("/").await.unwrap().len(), 1, "all but one are gone");
}

/// A session timeout that no pause of the machine uses up.
const LONG: Duration = Duration::from_secs(30);

/// An address at which nobody listens.
async fn nobody() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}
