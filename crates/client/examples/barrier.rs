//! A double barrier: workers begin a phase together, once all of them are there, and end it together, once all are done.
//!
//! Each worker is an ephemeral node. Whoever completes the number makes the node `open`, for which the others wait; at the
//! end they wait until no worker's node is left. A worker that crashes does not hold up the end; at the beginning the
//! others wait for somebody in its place.
//!
//! Each phase has a barrier of its own, because a fast worker may be in the next one while a slow one leaves the last.
//!
//!     cargo run -p gk-client --example barrier [SERVERS]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use gk_client::{Client, CreateMode, Error, ErrorCode, Version};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const WORKERS: u32 = 3;
const PHASES: [&str; 2] = ["/map", "/reduce"];

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let servers = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2181".to_owned());
    let client = Client::connect(&servers).await?;
    // Each run has a node to itself, and its clients live below it; a real program has a fixed one.
    let home = client.create("/barrier-", b"", CreateMode::PersistentSequential).await?.path;
    let owner = client.chroot(&home)?;
    for phase in PHASES {
        owner.make_path(&format!("{phase}/workers")).await?;
    }

    let arrived = Arc::new(AtomicU32::new(0));
    let workers: Vec<_> =
        (0..WORKERS).map(|worker| tokio::spawn(work(format!("{servers}{home}"), worker, arrived.clone()))).collect();
    for worker in workers {
        worker.await??;
    }
    println!("{WORKERS} workers have done {} phases, each together", PHASES.len());

    for phase in PHASES {
        owner.delete(&format!("{phase}/workers"), Version::Any).await?;
        owner.delete(&format!("{phase}/open"), Version::Any).await?;
        owner.delete(phase, Version::Any).await?;
    }
    client.delete(&home, Version::Any).await?;
    client.close().await?;
    Ok(())
}

async fn work(servers: String, worker: u32, arrived: Arc<AtomicU32>) -> Result<(), Failure> {
    let client = Client::connect(&servers).await?;
    let name = format!("worker-{worker}");
    for (done, phase) in (1..).zip(PHASES) {
        // They come one after another.
        tokio::time::sleep(Duration::from_millis(20) * worker).await;
        arrived.fetch_add(1, Ordering::SeqCst);
        enter(&client, phase, &name, WORKERS).await?;
        assert_eq!(arrived.load(Ordering::SeqCst), done * WORKERS, "{name} began {phase} before all were there");
        // Here the work is done.
        leave(&client, phase, &name).await?;
    }
    client.close().await?;
    Ok(())
}

/// Returns once `count` workers have entered, and never waits once it was so.
async fn enter(client: &Client, barrier: &str, name: &str, count: u32) -> Result<(), Error> {
    let (open, workers) = (format!("{barrier}/open"), format!("{barrier}/workers"));
    // The watch before the node: whoever counts it afterwards opens the barrier, and that is not missed.
    let (stat, opened) = client.exists_and_watch(&open).await?;
    make(client, &format!("{workers}/{name}"), CreateMode::Ephemeral).await?;
    if stat.is_some() {
        return Ok(());
    }
    if client.exists(&workers).await?.is_some_and(|stat| stat.num_children.cast_unsigned() >= count) {
        return make(client, &open, CreateMode::Persistent).await;
    }
    opened.await?;
    Ok(())
}

/// Returns once all workers have left.
async fn leave(client: &Client, barrier: &str, name: &str) -> Result<(), Error> {
    let workers = format!("{barrier}/workers");
    loop {
        match client.delete(&format!("{workers}/{name}"), Version::Any).await {
            Err(Error::OutcomeUnknown) => {}
            Ok(()) | Err(Error::Server { code: ErrorCode::NoNode, .. }) => break,
            Err(error) => return Err(error),
        }
    }
    loop {
        let (names, _stat, changed) = client.children_and_watch(&workers).await?;
        if names.is_empty() {
            return Ok(());
        }
        changed.await?;
    }
}

/// Makes a node of which it does not matter who makes it, so that it may be tried twice.
async fn make(client: &Client, path: &str, mode: CreateMode) -> Result<(), Error> {
    loop {
        match client.create(path, b"", mode).await {
            Err(Error::OutcomeUnknown) => {}
            Ok(_) | Err(Error::Server { code: ErrorCode::NodeExists, .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
