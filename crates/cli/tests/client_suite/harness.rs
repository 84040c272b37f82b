//! The harness itself: what the other cases take for granted.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::proxy::Proxy;
use crate::suite::{Suite, cases};

cases! {
    Any a_killed_server_is_silent_until_it_is_started_again,
    Any a_paused_server_is_silent_until_it_goes_on,
    Three there_is_one_leader,
    Any a_proxy_holds_what_it_is_told_to_hold_and_loses_it_with_the_connection,
}

/// Long enough for any server that runs to answer.
const SILENCE: Duration = Duration::from_millis(300);

async fn a_killed_server_is_silent_until_it_is_started_again(suite: &Suite) {
    let mut ensemble = suite.taken().await;
    assert_eq!(ensemble.word(0, "ruok").await, "imok", "before");
    ensemble.kill(0);
    assert!(TcpStream::connect(ensemble.member_address(0)).await.is_err(), "nobody listens");
    ensemble.restart(0).await;
    assert_eq!(ensemble.word(0, "ruok").await, "imok", "after");
}

async fn a_paused_server_is_silent_until_it_goes_on(suite: &Suite) {
    let mut ensemble = suite.taken().await;
    ensemble.pause(0).await;
    let mut socket = TcpStream::connect(ensemble.member_address(0)).await.unwrap();
    socket.write_all(b"ruok").await.unwrap();
    let mut answer = String::new();
    assert!(tokio::time::timeout(SILENCE, socket.read_to_string(&mut answer)).await.is_err(), "{answer}");
    ensemble.resume(0);
    ensemble.serving(0).await;
}

async fn there_is_one_leader(suite: &Suite) {
    let ensemble = suite.shared().await;
    let leader = ensemble.leader().await;
    for index in (0..ensemble.len()).filter(|index| *index != leader) {
        assert_eq!(ensemble.mode(index).await.as_deref(), Some("follower"), "server {index}");
    }
}

async fn a_proxy_holds_what_it_is_told_to_hold_and_loses_it_with_the_connection(suite: &Suite) {
    let proxy = Proxy::start(suite.shared().await.member_address(0)).await;
    let mut answer = String::new();
    proxy.hold_replies();
    let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
    socket.write_all(b"ruok").await.unwrap();
    proxy.reply_held().await;
    proxy.cut();
    socket.read_to_string(&mut answer).await.unwrap_or_default();
    assert_eq!(answer, "", "the answer that was held");

    let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
    socket.write_all(b"ruok").await.unwrap();
    proxy.reply_held().await;
    proxy.open();
    socket.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "imok", "passed on at last");
}
