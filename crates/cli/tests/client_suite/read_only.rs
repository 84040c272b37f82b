//! A server without a quorum that still answers reads.

use gk_client::{Client, CreateMode, ErrorCode, SessionState};

use crate::ensemble::Ensemble;
use crate::suite::{Suite, cases, level};
use crate::wait::{until, within};

cases! {
    Three a_client_that_may_reads_from_a_server_without_quorum_and_returns_to_a_full_one,
}

async fn a_client_that_may_reads_from_a_server_without_quorum_and_returns_to_a_full_one(suite: &Suite) {
    // Apache's read-only servers make local sessions only, and these cannot move: no ensemble for the other cases.
    let local = "localSessionsEnabled=true\nlocalSessionsUpgradingEnabled=true\n";
    let mut ensemble = Ensemble::start_with(suite.target(), local).await;
    let writer = Client::connect(&ensemble.connect_string()).await.unwrap();
    writer.create("/a", b"data", CreateMode::Persistent).await.unwrap();
    for index in 0..ensemble.len() {
        let address = ensemble.member_address(index).to_string();
        let reader = Client::connect(&address).await.unwrap();
        level(&reader).await;
        reader.close().await.unwrap();
    }
    writer.close().await.unwrap();

    ensemble.kill(0);
    ensemble.kill(1);
    until("server 2 is read-only", async || ensemble.mode(2).await.as_deref() == Some("read-only")).await;
    let client = Client::builder().read_only(true).connect(&ensemble.connect_string()).await.unwrap();
    assert_eq!(client.state(), SessionState::ConnectedReadOnly, "state");
    assert_eq!(&client.get_data("/a").await.unwrap().0[..], b"data", "a read");
    let error = client.create("/b", b"", CreateMode::Persistent).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NotReadOnly), "a write");

    ensemble.heal().await;
    until("connected to a full server", async || client.state() == SessionState::Connected).await;
    within("a write", client.create("/b", b"", CreateMode::Persistent)).await.unwrap();
}
