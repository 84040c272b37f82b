//! Unique ids, made by many processes: blocks of numbers that no two of them are given.
//!
//! Each change of a node's data counts its version up, and the answer says to what. So a block is reserved by changing a
//! node, whatever it was; the version is the number of the block. A process that stops wastes the rest of its block, and
//! a lost answer wastes a whole one: ids have gaps, and they are never given twice.
//!
//!     cargo run -p gk-client --example unique_ids [SERVERS]

use std::collections::BTreeSet;
use std::ops::Range;

use gk_client::{Client, CreateMode, Error, Version};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const IDS: &str = "/ids";
/// The larger, the fewer requests and the larger the gaps. There are two billion blocks.
const BLOCK: u64 = 1_000;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let servers = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2181".to_owned());
    let client = Client::connect(&servers).await?;
    // Each run has a node to itself, and its clients live below it; a real program has a fixed one.
    let home = client.create("/unique-ids-", b"", CreateMode::PersistentSequential).await?.path;
    let owner = client.chroot(&home)?;
    owner.create(IDS, b"", CreateMode::Persistent).await?;

    let makers: Vec<_> = (0..4).map(|_| tokio::spawn(make(format!("{servers}{home}"), 2_500))).collect();
    let mut ids = BTreeSet::new();
    for maker in makers {
        ids.extend(maker.await??);
    }
    println!("4 processes have made {} different ids", ids.len());
    assert_eq!(ids.len(), 4 * 2_500, "an id was given twice");
    let requests = owner.exists(IDS).await?.ok_or("the counter is gone")?.version;
    println!("with {requests} requests");

    owner.delete(IDS, Version::Any).await?;
    client.delete(&home, Version::Any).await?;
    client.close().await?;
    Ok(())
}

/// Makes so many ids.
async fn make(servers: String, count: usize) -> Result<Vec<u64>, Failure> {
    let client = Client::connect(&servers).await?;
    let mut ids = Vec::new();
    let mut block = 0..0;
    while ids.len() < count {
        match block.next() {
            Some(id) => ids.push(id),
            None => block = reserve(&client).await?,
        }
    }
    client.close().await?;
    Ok(ids)
}

/// A block of ids that nobody else is given.
async fn reserve(client: &Client) -> Result<Range<u64>, Failure> {
    loop {
        match client.set_data(IDS, b"", Version::Any).await {
            Ok(stat) => {
                // Versions wrap around into the negative.
                let block = u64::try_from(stat.version).map_err(|_| "all ids are used up")?;
                return Ok(block * BLOCK..(block + 1) * BLOCK);
            }
            // Whether a block is wasted does not matter: the next one is another.
            Err(Error::OutcomeUnknown) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
