//! A queue of work: producers put items in, each is done by one of many consumers, none is lost when a consumer crashes.
//!
//! An item is a sequential node. A consumer does not delete it and then begin: were it to crash, the item would be lost.
//! It makes an ephemeral *claim*, does the work, and then deletes item and claim together. If it crashes its claim goes,
//! and somebody else does the item, perhaps for the second time: work must bear that.
//!
//! Every consumer looks whenever something changes, and the whole list is read each time: good for tens of consumers and
//! hundreds of items, not in place of a message broker.
//!
//!     cargo run -p gk-client --example queue_by_hand [SERVERS]

use gk_client::{Client, CreateMode, Error, ErrorCode, Version};
use tokio::sync::mpsc;

const ITEMS: &str = "/items";
const CLAIMS: &str = "/claims";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let servers = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2181".to_owned());
    let client = Client::connect(&servers).await?;
    // Each run has a node to itself, and its clients live below it; a real program has a fixed one.
    let home = client.create("/queue-by-hand-", b"", CreateMode::PersistentSequential).await?.path;
    let producer = client.chroot(&home)?;
    producer.create(ITEMS, b"", CreateMode::Persistent).await?;
    producer.create(CLAIMS, b"", CreateMode::Persistent).await?;
    for number in 0..20 {
        producer.create(&format!("{ITEMS}/item-"), format!("work {number}"), CreateMode::PersistentSequential).await?;
    }

    let weak = Client::connect(&format!("{servers}{home}")).await?;
    let (item, work) = take(&weak).await?;
    println!("one consumer takes {work:?} and ends before it is done");
    weak.close().await?;

    let (tell, mut done) = mpsc::channel(16);
    let consumers: Vec<_> = (0..3).map(|_| tokio::spawn(consume(format!("{servers}{home}"), tell.clone()))).collect();
    let mut seen = Vec::new();
    while seen.len() < 20 {
        seen.push(done.recv().await.ok_or("no consumer is left")?);
    }
    for consumer in consumers {
        consumer.abort();
    }
    seen.sort();
    println!("three others have done all {}, that one too: {}", seen.len(), seen.contains(&item));
    seen.dedup();
    assert_eq!(seen.len(), 20, "one was done twice, though nobody crashed");

    assert_eq!(producer.descendants(ITEMS).await?, 0, "items are left");
    producer.delete(ITEMS, Version::Any).await?;
    producer.delete(CLAIMS, Version::Any).await?;
    client.delete(&home, Version::Any).await?;
    client.close().await?;
    Ok(())
}

/// Does items for as long as its session lives.
async fn consume(servers: String, done: mpsc::Sender<String>) -> Result<(), Error> {
    let client = Client::connect(&servers).await?;
    loop {
        let (item, _work) = take(&client).await?;
        // Here the work is done.
        finish(&client, &item).await?;
        if done.send(item).await.is_err() {
            return client.close().await;
        }
    }
}

/// Waits for an item and claims it: its name and its data. If this fails, close the client, so that no claim is left.
async fn take(client: &Client) -> Result<(String, String), Error> {
    loop {
        // Watches on both: an item may come, and a claim may be given up.
        let ((mut items, _, items_changed), (claims, _, claims_changed)) =
            tokio::try_join!(client.children_and_watch(ITEMS), client.children_and_watch(CLAIMS))?;
        items.retain(|item| !claims.contains(item));
        items.sort();
        for item in &items {
            if claim(client, item).await? {
                let (data, _stat) = client.get_data(&format!("{ITEMS}/{item}")).await?;
                return Ok((item.clone(), String::from_utf8_lossy(&data).into_owned()));
            }
        }
        if items.is_empty() {
            tokio::select! {
                changed = items_changed => changed?,
                changed = claims_changed => changed?,
            };
        }
    }
}

/// True if the item is ours now, false if it is done or somebody else's.
async fn claim(client: &Client, item: &str) -> Result<bool, Error> {
    let (item, claim) = (format!("{ITEMS}/{item}"), format!("{CLAIMS}/{item}"));
    loop {
        let both = client.multi().check(&item, Version::Any).create(&claim, b"", CreateMode::Ephemeral);
        match both.commit().await {
            Ok(_) => return Ok(true),
            // The next round finds out whether it was made.
            Err(Error::OutcomeUnknown) => {}
            Err(Error::Multi { code: ErrorCode::NoNode, .. }) => return Ok(false),
            Err(Error::Multi { code: ErrorCode::NodeExists, .. }) => {
                let stat = client.exists(&claim).await?;
                return Ok(stat.is_some_and(|stat| stat.ephemeral_owner == client.session_id().wire()));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Removes an item that is done, and the claim, in one step.
async fn finish(client: &Client, item: &str) -> Result<(), Error> {
    let (item, claim) = (format!("{ITEMS}/{item}"), format!("{CLAIMS}/{item}"));
    loop {
        match client.multi().delete(&item, Version::Any).delete(&claim, Version::Any).commit().await {
            Err(Error::OutcomeUnknown) => {}
            // Gone: the answer to the round before was lost.
            Ok(_) | Err(Error::Multi { index: 0, code: ErrorCode::NoNode, .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
