//! Without async: a counter that threads of an ordinary program change together, and a thread that looks on.
//!
//! A change names the version that was read. If another thread, or another program, was faster, the server refuses it,
//! and the new value is worked out from what is there now.
//!
//!     cargo run -p gk-client --example blocking [SERVERS]

use std::thread;

use gk_client::blocking::Client;
use gk_client::{AddWatchMode, CreateMode, Error, ErrorCode, EventType, Version, WatchItem};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const COUNTER: &str = "/counter";

fn main() -> Result<(), Failure> {
    let servers = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2181".to_owned());
    let client = Client::connect(&servers)?;
    // Each run has a node to itself, and its clients live below it; a real program has a fixed one.
    let home = client.create("/blocking-", b"", CreateMode::PersistentSequential)?.path;
    let counters = client.chroot(&home)?;
    counters.create(COUNTER, b"0", CreateMode::Persistent)?;

    // An iterator over changes; it ends with the node here, and with the session in any case.
    let changes = counters.watch(COUNTER, AddWatchMode::Persistent)?;
    let looker = thread::spawn(move || {
        let is_end = |item: &WatchItem| matches!(item, WatchItem::Event(event) if event.kind == EventType::NodeDeleted);
        changes.take_while(|item| !is_end(item)).count()
    });

    // Clones share the session; each call waits for its own answer.
    let adders: Vec<_> = (0..4)
        .map(|_| {
            let counters = counters.clone();
            thread::spawn(move || (0..10).try_for_each(|_| add(&counters, 1)))
        })
        .collect();
    for adder in adders {
        adder.join().map_err(|_| "a thread has panicked")??;
    }
    let (data, stat) = counters.get_data(COUNTER)?;
    println!("4 threads have added 10 each: {}", String::from_utf8_lossy(&data));
    assert_eq!(data, "40", "an addition was lost");

    counters.delete(COUNTER, stat.into())?;
    let seen = looker.join().map_err(|_| "a thread has panicked")?;
    println!("the one who looks on was told of {seen} changes");

    client.delete(&home, Version::Any)?;
    client.close()?;
    Ok(())
}

/// Adds to the counter, whoever else does at the same time.
///
/// If the connection breaks at the wrong moment this fails with [`Error::OutcomeUnknown`]: the value does not tell who
/// changed it. Where that matters see `transfer`, which leaves a receipt.
fn add(client: &Client, number: u64) -> Result<(), Failure> {
    loop {
        let (data, stat) = client.get_data(COUNTER)?;
        let value: u64 = std::str::from_utf8(&data)?.parse()?;
        match client.set_data(COUNTER, (value + number).to_string(), stat.into()) {
            Ok(_) => return Ok(()),
            Err(Error::Server { code: ErrorCode::BadVersion, .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
