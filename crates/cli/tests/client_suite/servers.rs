//! The list of servers, changed at run time.

use gk_client::{Client, CreateMode, Version};

use crate::proxy::{in_front_of, used};
use crate::suite::{Suite, cases};
use crate::wait::{until, within};

cases! {
    Any a_server_that_left_the_list_is_left,
    Any clients_move_to_servers_that_joined_the_list,
    Any a_list_that_still_holds_the_server_moves_nobody_needlessly,
    Any a_list_that_cannot_be_read_changes_nothing,
}

async fn a_server_that_left_the_list_is_left(suite: &Suite) {
    let (proxies, servers) = in_front_of(suite.shared().await).await;
    let client = Client::connect(&format!("{servers}{}", suite.chroot().await)).await.unwrap();
    client.create("/mine", b"", CreateMode::Ephemeral).await.unwrap();
    let left = used(&proxies).await;
    let next = 1 - left;
    client.update_servers(&proxies[next].address().to_string()).unwrap();
    until("moved", async || proxies[left].connections() == 0 && proxies[next].connections() == 1).await;
    let stat = within("the session lives on", client.exists("/mine")).await.unwrap().unwrap();
    assert_eq!(stat.ephemeral_owner, client.session_id().wire(), "in the same session");
    client.set_data("/mine", b"x", Version::Any).await.unwrap();
}

/// One server gets company: about half of its clients should move, whatever chance says not all and not none.
async fn clients_move_to_servers_that_joined_the_list(suite: &Suite) {
    const CLIENTS: usize = 40;
    let (proxies, servers) = in_front_of(suite.shared().await).await;
    let first = proxies[0].address().to_string();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Client::connect(&first).await.unwrap());
    }
    for client in &clients {
        client.update_servers(&servers).unwrap();
    }
    let few_to_most = CLIENTS / 8..=CLIENTS * 7 / 8;
    until("some have moved, and all are connected", async || {
        let (old, new) = (proxies[0].connections(), proxies[1].connections());
        old + new == CLIENTS && few_to_most.contains(&new)
    })
    .await;
    for client in &clients {
        within("a client", client.exists("/")).await.unwrap();
    }
}

async fn a_list_that_still_holds_the_server_moves_nobody_needlessly(suite: &Suite) {
    let (proxies, servers) = in_front_of(suite.shared().await).await;
    let client = Client::connect(&servers).await.unwrap();
    let before = used(&proxies).await;
    client.update_servers(&servers).unwrap();
    client.exists("/").await.unwrap();
    assert_eq!(
        (used(&proxies).await, proxies[0].accepted() + proxies[1].accepted()),
        (before, 1),
        "the same connection"
    );
}

async fn a_list_that_cannot_be_read_changes_nothing(suite: &Suite) {
    let (proxies, servers) = in_front_of(suite.shared().await).await;
    let client = Client::connect(&servers).await.unwrap();
    for wrong in ["", ",", "host:port", "h:99999", "h:1/chroot"] {
        assert!(client.update_servers(wrong).is_err(), "{wrong:?}");
    }
    client.exists("/").await.unwrap();
    assert_eq!(proxies[0].accepted() + proxies[1].accepted(), 1, "the same connection");
}
