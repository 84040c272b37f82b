//! Naming: services register the addresses at which they can be reached, others resolve them.
//!
//! An address is an ephemeral node, so it goes with the process that serves it. A process that crashed and came back
//! within the session timeout finds its old node still there, and has to replace it: left alone, the node would vanish
//! when the old session expires, and the new process would be unreachable.
//!
//!     cargo run -p gk-client --example naming [SERVERS]

use gk_client::{Client, CreateMode, Error, ErrorCode, Version};

const BILLING: &str = "/billing";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let servers = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2181".to_owned());
    let client = Client::connect(&servers).await?;
    // Each run has a node to itself, and its clients live below it; a real program has a fixed one.
    let home = client.create("/naming-", b"", CreateMode::PersistentSequential).await?.path;
    let servers = format!("{servers}{home}");
    let resolver = client.chroot(&home)?;
    println!("at first: {:?}", resolve(&resolver, BILLING).await?);

    resolver.create(BILLING, b"", CreateMode::Persistent).await?;
    let one = Client::connect(&servers).await?;
    register(&one, BILLING, "one", "10.0.0.1:8080").await?;
    let two = Client::connect(&servers).await?;
    register(&two, BILLING, "two", "10.0.0.2:8080").await?;
    println!("two instances: {:?}", resolve(&resolver, BILLING).await?);

    // As after a crash: the process is gone, its session and its node are still there.
    one.detach();
    let one = Client::connect(&servers).await?;
    register(&one, BILLING, "one", "10.0.0.1:9090").await?;
    println!("one was restarted: {:?}", resolve(&resolver, BILLING).await?);

    two.close().await?;
    let found = resolve(&resolver, BILLING).await?;
    println!("two has stopped: {found:?}");
    assert_eq!(found, ["10.0.0.1:9090"], "who is left");

    one.close().await?;
    resolver.delete(BILLING, Version::Any).await?;
    client.delete(&home, Version::Any).await?;
    client.close().await?;
    Ok(())
}

/// Registers the address of an instance until the session of this client ends. After [`Error::SessionExpired`]
/// connect and register again.
async fn register(client: &Client, service: &str, instance: &str, address: &str) -> Result<(), Error> {
    let path = format!("{service}/{instance}");
    loop {
        match client.create_protected(&path, address, CreateMode::Ephemeral).await {
            Ok(_) => return Ok(()),
            Err(Error::Server { code: ErrorCode::NodeExists, .. }) => {
                // It is of an earlier session of this instance, whose name nobody else uses.
                match client.delete(&path, Version::Any).await {
                    Ok(()) | Err(Error::OutcomeUnknown | Error::Server { code: ErrorCode::NoNode, .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// The addresses of a service, in the order of the names of its instances.
async fn resolve(client: &Client, service: &str) -> Result<Vec<String>, Error> {
    let mut instances = match client.children(service).await {
        Err(Error::Server { code: ErrorCode::NoNode, .. }) => Vec::new(),
        other => other?,
    };
    instances.sort();
    // Requests are made by the call, not by awaiting: all of these are under way together.
    let reads: Vec<_> = instances.iter().map(|instance| client.get_data(&format!("{service}/{instance}"))).collect();
    let mut addresses = Vec::new();
    for read in reads {
        match read.await {
            Ok((data, _stat)) => addresses.push(String::from_utf8_lossy(&data).into_owned()),
            // It stopped in this moment.
            Err(Error::Server { code: ErrorCode::NoNode, .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(addresses)
}
