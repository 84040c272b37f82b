//! Leader election: of several candidates one leads; when it ends, crashes or is cut off, another does.
//!
//! The leader is whoever made the one ephemeral node, and its data says who that is. The others watch it. All of them
//! try when it goes, which is fine for a handful; a hundred candidates rather stand in line as in `lock_by_hand`.
//!
//! A leader that is cut off steps down when its client says that the session may be over, which is about when the servers
//! give the node to somebody else. What must never be done by two at once needs fencing as well, as in `lock_by_hand`.
//!
//!     cargo run -p gk-client --example leader_election [SERVERS]

use gk_client::{Client, CreateMode, Error, ErrorCode, SessionState, Version};
use tokio::sync::{mpsc, oneshot};

const LEADER: &str = "/leader";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let servers = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2181".to_owned());
    let client = Client::connect(&servers).await?;
    // Each run has a node to itself, and its clients live below it; a real program has a fixed one.
    let home = client.create("/leader-election-", b"", CreateMode::PersistentSequential).await?.path;
    let observer = client.chroot(&home)?;

    let (tell, mut news) = mpsc::channel(16);
    let (stop_ann, ann_stops) = oneshot::channel();
    let ann = Client::connect(&format!("{servers}{home}")).await?;
    let ann = tokio::spawn(candidate(ann, "ann", tell.clone(), ann_stops));
    println!("{}", news.recv().await.ok_or("no candidate is left")?);
    let (stop_bob, bob_stops) = oneshot::channel();
    let bob = Client::connect(&format!("{servers}{home}")).await?;
    let bob = tokio::spawn(candidate(bob, "bob", tell, bob_stops));

    let (leader, _stat) = observer.get_data(LEADER).await?;
    println!("everybody can see that it is {}", String::from_utf8_lossy(&leader));
    assert_eq!(leader, "ann", "the one who came first");
    let _ = stop_ann.send(());
    println!("{}", news.recv().await.ok_or("no candidate is left")?);
    ann.await??;
    println!("{}", news.recv().await.ok_or("no candidate is left")?);
    let _ = stop_bob.send(());
    println!("{}", news.recv().await.ok_or("no candidate is left")?);
    bob.await??;

    assert_eq!(observer.exists(LEADER).await?, None, "nobody leads");
    client.delete(&home, Version::Any).await?;
    client.close().await?;
    Ok(())
}

/// Leads whenever it can, until it is told to stop.
async fn candidate(
    client: Client,
    name: &'static str,
    news: mpsc::Sender<String>,
    mut stop: oneshot::Receiver<()>,
) -> Result<(), Error> {
    tokio::select! {
        elected = elected(&client, name) => elected?,
        _ = &mut stop => return client.close().await,
    }
    let _ = news.send(format!("{name} leads")).await;
    // Here the leader works. Whatever ends first ends it.
    tokio::select! {
        () = endangered(&client) => {}
        _ = &mut stop => {}
    }
    let _ = news.send(format!("{name} steps down")).await;
    // Stop the work first, then let go: the node goes with the session.
    client.close().await
}

/// Returns once this client leads. If it fails, or is not awaited to its end, close the client.
async fn elected(client: &Client, name: &str) -> Result<(), Error> {
    loop {
        // Protected: were the answer lost, this would lead and not know of it.
        match client.create_protected(LEADER, name, CreateMode::Ephemeral).await {
            Ok(_) => return Ok(()),
            Err(Error::Server { code: ErrorCode::NodeExists, .. }) => {
                let (stat, changed) = client.exists_and_watch(LEADER).await?;
                if stat.is_some() {
                    changed.await?;
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// Returns when the session may be over.
async fn endangered(client: &Client) {
    let mut states = client.states();
    let mut state = Some(client.state());
    while state.is_some_and(|state| state != SessionState::Lost && !state.is_final()) {
        state = states.next().await;
    }
}
