//! What `gk_client::testing` promises, looked at from outside.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod wire;

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use gk_client::testing::Server;
use gk_proto::SessionId;
use socket2::{Domain, Protocol, Socket, Type};
use wire::{Wire, word};

#[tokio::test]
async fn a_session_that_is_expired_loses_its_connection_and_its_ephemeral_nodes() {
    let server = Server::start().await.unwrap();
    let mut doomed = Wire::open(server.address(), 30_000);
    let mut witness = Wire::open(server.address(), 30_000);
    doomed.create("/member", true);
    assert!(witness.exists("/member"), "while the session lives");
    let session = doomed.session;
    assert!(server.expire_session(session.session).await, "there was one to expire");
    doomed.ends();
    let mut later = Wire::open(server.address(), 30_000);
    assert!(!later.exists("/member"), "gone with its session");
    assert_eq!(Wire::resume(server.address(), &session).session.session, SessionId::NONE, "refused");
    assert!(!server.expire_session(session.session).await, "once");
    assert!(!server.expire_session(SessionId(77)).await, "no such session");
}

#[tokio::test]
async fn a_server_that_comes_back_has_its_port_its_data_and_its_sessions() {
    let mut server = Server::start().await.unwrap();
    let (address, servers) = (server.address(), server.connect_string());
    let mut client = Wire::open(address, 30_000);
    let session = client.session;
    client.create("/kept", false);
    client.create("/member", true);
    server.stop().await.unwrap();
    client.ends();
    assert!(TcpStream::connect(address).is_err(), "nobody listens while it is stopped");
    assert!(!server.expire_session(session.session).await, "nobody to do it");
    server.stop().await.unwrap();
    server.restart().await.unwrap();
    assert_eq!((server.address(), server.connect_string()), (address, servers), "the same place");
    let mut client = Wire::resume(address, &session);
    assert_eq!(client.session, session, "resumed");
    assert!(client.exists("/kept") && client.exists("/member"), "the data is there");
}

#[tokio::test]
async fn a_restart_of_a_running_server_breaks_its_connections() {
    let mut server = Server::start().await.unwrap();
    for round in 0..5 {
        let mut client = Wire::open(server.address(), 30_000);
        client.create(&format!("/{round}"), false);
        server.restart().await.unwrap();
        client.ends();
    }
    let mut client = Wire::open(server.address(), 30_000);
    assert!((0..5).all(|round| client.exists(&format!("/{round}"))), "all rounds are there");
}

/// A port that was free while its server was stopped could go to another test.
#[tokio::test]
async fn the_port_of_a_stopped_server_goes_to_nobody_else() {
    let mut server = Server::start().await.unwrap();
    server.stop().await.unwrap();
    // As the system itself asks before it gives out a port.
    let stranger = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    let refused = stranger.bind(&server.address().into()).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::AddrInUse, "{refused}");
    server.restart().await.unwrap();
}

#[tokio::test]
async fn two_servers_share_nothing() {
    let (one, other) = (Server::start().await.unwrap(), Server::start().await.unwrap());
    let mut clients = [&one, &other].map(|server| Wire::open(server.address(), 30_000));
    clients[0].create("/here", false);
    assert_eq!(clients.each_mut().map(|client| client.exists("/here")), [true, false], "on one only");
}

#[tokio::test]
async fn a_server_that_is_dropped_frees_its_port_and_removes_its_directory() {
    let server = Server::start().await.unwrap();
    let (address, directory) = (server.address(), server.directory().to_owned());
    let client = Wire::open(address, 30_000);
    assert!(directory.is_dir(), "{}", directory.display());
    drop(server);
    client.ends();
    assert!(!directory.exists(), "{}", directory.display());
    TcpListener::bind(address).unwrap();
}

#[tokio::test]
async fn a_silent_session_expires_in_a_fraction_of_a_second() {
    let server = Server::builder().tick(Duration::from_millis(20)).start().await.unwrap();
    let mut silent = Wire::open(server.address(), 1);
    assert_eq!(silent.session.timeout_ms, 40, "two ticks at least");
    silent.create("/member", true);
    silent.ends();
    assert!(!Wire::open(server.address(), 1).exists("/member"), "gone with its session");
}

#[tokio::test]
async fn timeouts_and_words_are_as_the_builder_was_told() {
    let plain = Server::start().await.unwrap();
    let timeouts = |server: &Server| [1, 5000, i32::MAX].map(|ms| Wire::open(server.address(), ms).session.timeout_ms);
    assert_eq!(timeouts(&plain), [200, 5000, 60_000], "unless told");
    assert!(word(plain.address(), "conf").contains("not in the whitelist"), "unless told");
    let range = Duration::from_secs(1)..=Duration::from_secs(2);
    let told = Server::builder().session_timeouts(range).words("*").start().await.unwrap();
    assert_eq!(timeouts(&told), [1000, 2000, 2000], "told");
    let directory = told.directory().display().to_string();
    assert!(word(told.address(), "conf").contains(&directory), "the word that shows {directory}");
}
