//! A subtree in memory, kept up to date: a recursive watch as a stream, and a map.
//!
//! An event says which node changed, not to what: each is answered by reading that node. Events can be missed, when the
//! connection was down or the stream was not read for long. Then the stream says so, and everything is read again. Because
//! the watch is set before the first reading, nothing falls in between; what is told twice does no harm.
//!
//!     cargo run -p gk-client --example watch_subtree [SERVERS]

use std::collections::BTreeMap;

use gk_client::{AddWatchMode, Client, CreateMode, Error, ErrorCode, EventType, Version, WatchItem};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let servers = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2181".to_owned());
    let client = Client::connect(&servers).await?;
    // Each run has a node to itself, and its clients live below it; a real program has a fixed one.
    let home = client.create("/watch-subtree-", b"", CreateMode::PersistentSequential).await?.path;
    let writer = client.chroot(&home)?;
    writer.create("/tree", b"v0", CreateMode::Persistent).await?;

    // Room for few events, so that this example misses some; without this it is 10,000.
    let reader = Client::builder().watch_events_max(5).connect(&format!("{servers}{home}")).await?;
    let mut changes = reader.watch("/tree", AddWatchMode::PersistentRecursive).await?;
    let mut mirror = read_all(&reader, "/tree").await?;
    println!("at first: {mirror:?}");

    writer.create("/tree/a", b"v0", CreateMode::Persistent).await?;
    writer.create("/tree/a/b", b"v0", CreateMode::Persistent).await?;
    writer.set_data("/tree/a/b", b"v1", Version::Any).await?;
    let expected = read_all(&writer, "/tree").await?;
    while mirror != expected {
        let item = changes.next().await.ok_or("the session is over")?;
        follow(&reader, "/tree", &mut mirror, item).await?;
    }
    println!("some changes later: {mirror:?}");

    for number in 0..20 {
        writer.create(&format!("/tree/a/n{number}"), b"v0", CreateMode::Persistent).await?;
    }
    writer.delete("/tree/a/b", Version::Any).await?;
    let expected = read_all(&writer, "/tree").await?;
    // Its answer comes behind the events of what was done before it: all of them are here, and most had no room.
    reader.sync("/").await?;
    let mut missed = 0;
    while mirror != expected {
        let item = changes.next().await.ok_or("the session is over")?;
        missed += usize::from(item == WatchItem::Missed);
        follow(&reader, "/tree", &mut mirror, item).await?;
    }
    println!("after a flood, of which it missed a part: {} nodes", mirror.len());
    assert!(missed > 0, "there was no room for all events");

    reader.close().await?;
    for path in mirror.keys().rev() {
        writer.delete(path, Version::Any).await?;
    }
    client.delete(&home, Version::Any).await?;
    client.close().await?;
    Ok(())
}

/// Changes the mirror as the tree was changed.
async fn follow(
    client: &Client,
    root: &str,
    mirror: &mut BTreeMap<String, String>,
    item: WatchItem,
) -> Result<(), Error> {
    let done = match item {
        WatchItem::Missed => read_all(client, root).await.map(|all| *mirror = all),
        WatchItem::Event(event) if event.kind == EventType::NodeDeleted => {
            mirror.remove(&event.path);
            Ok(())
        }
        WatchItem::Event(event) => match client.get_data(&event.path).await {
            Ok((data, _stat)) => {
                mirror.insert(event.path, String::from_utf8_lossy(&data).into_owned());
                Ok(())
            }
            Err(Error::Server { code: ErrorCode::NoNode, .. }) => {
                mirror.remove(&event.path);
                Ok(())
            }
            Err(error) => Err(error),
        },
    };
    match done {
        // No server: the mirror stays as old as it is, and the stream says Missed when there is one again.
        Err(Error::ConnectionLost) => Ok(()),
        done => done,
    }
}

/// Reads a node and everything below it, a level at a time.
async fn read_all(client: &Client, root: &str) -> Result<BTreeMap<String, String>, Error> {
    let mut found = BTreeMap::new();
    let mut level = vec![root.to_owned()];
    while !level.is_empty() {
        // Requests are made by the call, not by awaiting: a whole level is under way together.
        let reads: Vec<_> =
            level.into_iter().map(|path| (client.get_data(&path), client.children(&path), path)).collect();
        level = Vec::new();
        for (data, children, path) in reads {
            match tokio::try_join!(data, children) {
                Ok(((data, _stat), names)) => {
                    level.extend(names.iter().map(|name| format!("{path}/{name}")));
                    found.insert(path, String::from_utf8_lossy(&data).into_owned());
                }
                // Deleted meanwhile.
                Err(Error::Server { code: ErrorCode::NoNode, .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(found)
}
