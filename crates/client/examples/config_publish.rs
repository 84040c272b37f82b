//! Configuration publishing: one program changes a setting, all others follow it.
//!
//! The follower reads with a one-shot watch, and reads again when it fires. The watch is set by the request that reads, so
//! no change falls in between: versions that were soon replaced may be skipped, the last one never is.
//!
//! The publisher names the version that it has read: of two that change the same thing one is told so, and begins anew.
//!
//!     cargo run -p gk-client --example config_publish [SERVERS]

use std::time::Duration;

use gk_client::{Client, CreateMode, Error, ErrorCode, Version};
use tokio::sync::watch;

const CONFIG: &str = "/config";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let servers = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2181".to_owned());
    let client = Client::connect(&servers).await?;
    // Each run has a node to itself, and its clients live below it; a real program has a fixed one.
    let home = client.create("/config-publish-", b"", CreateMode::PersistentSequential).await?.path;
    let publisher = client.chroot(&home)?;
    let follower = Client::connect(&format!("{servers}{home}")).await?;

    let (tell, mut current) = watch::channel(None);
    let following = tokio::spawn(follow(follower.clone(), tell));

    publisher.create(CONFIG, b"", CreateMode::Persistent).await?;
    for setting in ["threads=4", "color=red", "threads=8"] {
        publish(&publisher, setting).await?;
        // The rest of the program just looks at the newest value.
        let config = current.wait_for(|config| config.as_deref().is_some_and(|text| text.ends_with(setting))).await?;
        println!("the follower has {:?}", config.as_deref());
    }
    publisher.delete(CONFIG, Version::Any).await?;
    current.wait_for(Option::is_none).await?;
    println!("the follower sees that there is none any more");

    follower.close().await?;
    assert_eq!(following.await?, Err(Error::Closed), "how the follower ended");
    client.delete(&home, Version::Any).await?;
    client.close().await?;
    Ok(())
}

/// Adds a setting, whoever else adds one at the same time.
async fn publish(client: &Client, setting: &str) -> Result<(), Error> {
    loop {
        let (data, stat) = client.get_data(CONFIG).await?;
        let text = String::from_utf8_lossy(&data);
        if text.ends_with(setting) {
            return Ok(());
        }
        match client.set_data(CONFIG, format!("{text} {setting}").trim_start(), stat.into()).await {
            Ok(_) => return Ok(()),
            // Another publisher was faster: begin with what it wrote.
            Err(Error::Server { code: ErrorCode::BadVersion, .. }) => {}
            // The connection broke at the wrong moment: look whether it was done.
            Err(Error::OutcomeUnknown) => {
                client.sync(CONFIG).await?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Keeps `current` at the newest configuration (`None` if there is no node) until the session is over.
async fn follow(client: Client, current: watch::Sender<Option<String>>) -> Result<(), Error> {
    loop {
        let changed = match client.get_data_and_watch(CONFIG).await {
            Ok((data, _stat, changed)) => {
                current.send_replace(Some(String::from_utf8_lossy(&data).into_owned()));
                changed
            }
            Err(Error::Server { code: ErrorCode::NoNode, .. }) => {
                let (stat, changed) = client.exists_and_watch(CONFIG).await?;
                if stat.is_some() {
                    continue; // made in this moment: read it
                }
                current.send_replace(None);
                changed
            }
            // No server for long: go on with what was read last.
            Err(error) if error.is_repeatable() => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        changed.await?;
    }
}
