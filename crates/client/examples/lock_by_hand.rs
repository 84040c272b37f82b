//! A lock: one holder at a time, in the order of arrival.
//!
//! Whoever wants the lock makes an ephemeral sequential node; the lowest number holds the lock. Everybody else watches the
//! node just before its own, so that a release wakes one waiter and not all.
//!
//! No lock of any coordination service stops a holder that was suspended for longer than its session timeout and does not
//! know yet. Two things help: work that ends when the session may be over, and *fencing*: the resource is given a number
//! that grows from holder to holder, here the node's czxid, and refuses a lower one than it has seen.
//!
//!     cargo run -p gk-client --example lock_by_hand [SERVERS]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use gk_client::{Client, CreateMode, Error, ErrorCode, SessionState, Version, Zxid};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const LOCK: &str = "/lock";

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let servers = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2181".to_owned());
    let client = Client::connect(&servers).await?;
    // Each run has a node to itself, and its clients live below it; a real program has a fixed one.
    let home = client.create("/lock-by-hand-", b"", CreateMode::PersistentSequential).await?.path;
    client.create(&format!("{home}{LOCK}"), b"", CreateMode::Persistent).await?;

    let early = Client::connect(&format!("{servers}{home}")).await?;
    let old = acquire(&early).await?;
    release(&early, &old).await?;
    early.close().await?;

    let resource = Arc::new(Resource::default());
    let workers: Vec<_> = (0..3).map(|_| tokio::spawn(worker(format!("{servers}{home}"), resource.clone()))).collect();
    for worker in workers {
        worker.await??;
    }
    let value = resource.value.load(Ordering::SeqCst);
    println!("3 workers have added 5 each, under the lock: {value}");
    assert_eq!(value, 15, "an addition was lost: two held the lock at once");
    // Somebody wakes up who held the lock long ago.
    let refused = resource.add_one(old.token).await.is_err();
    println!("a holder of long ago is refused: {refused}");
    assert!(refused, "an old token must not be taken");

    client.delete(&format!("{home}{LOCK}"), Version::Any).await?;
    client.delete(&home, Version::Any).await?;
    client.close().await?;
    Ok(())
}

async fn worker(servers: String, resource: Arc<Resource>) -> Result<(), Failure> {
    let client = Client::connect(&servers).await?;
    for _ in 0..5 {
        let held = acquire(&client).await?;
        tokio::select! {
            done = resource.add_one(held.token) => done?,
            () = endangered(&client) => return Err("the session may be over, and the lock somebody else's".into()),
        }
        release(&client, &held).await?;
    }
    client.close().await?;
    Ok(())
}

/// A lock that is held.
struct Held {
    path: String,
    token: Zxid,
}

/// Waits for the lock. If this fails, or is not awaited to its end, close the client: its place in the queue goes with the
/// session, and would come to hold the lock otherwise.
async fn acquire(client: &Client) -> Result<Held, Failure> {
    // Protected: were the answer lost, a node would stand in the queue of which nobody knows whose it is.
    let path = client.create_protected(&format!("{LOCK}/place-"), b"", CreateMode::EphemeralSequential).await?.path;
    loop {
        let mut places: Vec<_> = client.children(LOCK).await?.iter().map(|name| format!("{LOCK}/{name}")).collect();
        places.sort_by(|one, other| number(one).cmp(number(other)));
        let Some(mine) = places.iter().position(|place| *place == path) else {
            return Err("somebody has deleted our place in the queue".into());
        };
        let before = mine.checked_sub(1).and_then(|before| places.get(before));
        let (stat, changed) = client.exists_and_watch(before.unwrap_or(&path)).await?;
        match (before, stat) {
            (None, Some(stat)) => return Ok(Held { path, token: stat.czxid }),
            (Some(_), Some(_)) => drop(changed.await?),
            (_, None) => {} // gone meanwhile: look again
        }
    }
}

/// What the server put at the end of a name.
fn number(place: &str) -> &str {
    place.rsplit('-').next().unwrap_or(place)
}

/// Gives the lock back. If this fails, close the client.
async fn release(client: &Client, held: &Held) -> Result<(), Error> {
    loop {
        match client.delete(&held.path, Version::Any).await {
            // No other node ever has this name, so it may be deleted twice.
            Err(Error::OutcomeUnknown) => {}
            Ok(()) | Err(Error::Server { code: ErrorCode::NoNode, .. }) => return Ok(()),
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

/// What the lock protects: it remembers the highest token that it was given.
#[derive(Default)]
struct Resource {
    value: AtomicU32,
    token: AtomicU64,
}

impl Resource {
    /// Goes wrong if two do it at once.
    async fn add_one(&self, token: Zxid) -> Result<(), Failure> {
        let value = self.value.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(1)).await;
        if self.token.fetch_max(token.0, Ordering::SeqCst) > token.0 {
            return Err("somebody has held the lock since".into());
        }
        self.value.store(value + 1, Ordering::SeqCst);
        Ok(())
    }
}
