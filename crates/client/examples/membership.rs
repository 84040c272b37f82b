//! Membership of a group: who is there, who joins, who leaves.
//!
//! Each member is an ephemeral node. Its number makes the name unique, so that a member that comes back is a new one, and
//! its data says who it is. A member that closes its client is gone at once; one that crashes, or is cut off, when its
//! session times out.
//!
//!     cargo run -p gk-client --example membership [SERVERS]

use std::collections::BTreeMap;
use std::time::Duration;

use gk_client::{Client, CreateMode, Error, ErrorCode, Version};
use tokio::sync::mpsc;

const GROUP: &str = "/group";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let servers = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2181".to_owned());
    let client = Client::connect(&servers).await?;
    // Each run has a node to itself, and its clients live below it; a real program has a fixed one.
    let home = client.create("/membership-", b"", CreateMode::PersistentSequential).await?.path;
    let servers = format!("{servers}{home}");
    let observer = client.chroot(&home)?;
    observer.create(GROUP, b"", CreateMode::Persistent).await?;
    let (tell, mut changes) = mpsc::channel(16);
    let following = tokio::spawn(follow(observer.clone(), tell));

    let ann = join(&servers, "ann").await?;
    expect(&mut changes, "ann joins").await?;
    let bob = join(&servers, "bob").await?;
    expect(&mut changes, "bob joins").await?;
    ann.close().await?;
    expect(&mut changes, "ann leaves").await?;
    // As after a crash: nobody pings any more, and the session has to time out.
    bob.detach();
    expect(&mut changes, "bob leaves").await?;

    drop(changes);
    following.abort();
    observer.delete(GROUP, Version::Any).await?;
    client.delete(&home, Version::Any).await?;
    client.close().await?;
    Ok(())
}

/// Joins the group until the session of the returned client ends.
async fn join(servers: &str, name: &str) -> Result<Client, Error> {
    // So long it takes until the others notice a crash; servers grant no less than two of their ticks, mostly 4 s.
    let client = Client::builder().session_timeout(Duration::from_secs(4)).connect(servers).await?;
    // Protected: were the answer lost, a second try would make one member of two nodes.
    client.create_protected(&format!("{GROUP}/member-"), name, CreateMode::EphemeralSequential).await?;
    Ok(client)
}

/// Tells who joins and who leaves until the session is over, or nobody listens. Who comes and goes between two looks is
/// never told.
async fn follow(client: Client, changes: mpsc::Sender<String>) -> Result<(), Error> {
    let mut members = BTreeMap::new();
    loop {
        let (nodes, _stat, changed) = client.children_and_watch(GROUP).await?;
        let mut told: Vec<String> = members
            .extract_if(.., |node, _name| !nodes.contains(node))
            .map(|(_, name)| format!("{name} leaves"))
            .collect();
        for node in nodes.into_iter().filter(|node| !members.contains_key(node)).collect::<Vec<_>>() {
            match client.get_data(&format!("{GROUP}/{node}")).await {
                Ok((data, _stat)) => {
                    let name = String::from_utf8_lossy(&data).into_owned();
                    told.push(format!("{name} joins"));
                    members.insert(node, name);
                }
                Err(Error::Server { code: ErrorCode::NoNode, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        for change in told {
            if changes.send(change).await.is_err() {
                return Ok(());
            }
        }
        changed.await?;
    }
}

async fn expect(changes: &mut mpsc::Receiver<String>, expected: &str) -> Result<(), Box<dyn std::error::Error>> {
    let change = changes.recv().await.ok_or("the observer has ended")?;
    println!("{change}");
    assert_eq!(change, expected, "the next change");
    Ok(())
}
