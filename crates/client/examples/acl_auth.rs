//! Access control: nodes that only their makers may change, and that others may read, or not even that.
//!
//! Each node has a list of its own: nothing is inherited, and who may create or delete a node is said by the list of its
//! *parent*. Whoever has authenticated by a name and password is known by both; servers keep only a hash.
//!
//! Passwords cross the network as they are: do this inside a network that you trust.
//!
//!     cargo run -p gk-client --example acl_auth [SERVERS]

use gk_client::{
    Acl, Client, CreateMode, CreateOptions, Error, ErrorCode, Id, Version, creator_acl, perm, read_only_acl,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let servers = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2181".to_owned());
    // A program takes the password from its environment or a file, not from its source.
    let ann = Client::builder().auth("digest", b"ann:secret").connect(&servers).await?;
    // Each run has a node to itself, and its clients live below it; a real program has a fixed one.
    let home = ann.create("/acl-auth-", b"", CreateMode::PersistentSequential).await?.path;
    let servers = format!("{servers}{home}");
    let stranger = Client::connect(&servers).await?;
    let home_of_ann = ann.chroot(&home)?;

    // Hers alone.
    let private = CreateOptions::new(CreateMode::Persistent).acl(creator_acl());
    home_of_ann.create("/private", b"42", private).await?;
    println!("a stranger reads /private: {}", verdict(stranger.get_data("/private").await)?);

    // Hers to change, everybody's to read: two entries.
    let published = [creator_acl(), read_only_acl()].concat();
    home_of_ann.create("/public", b"42", CreateOptions::new(CreateMode::Persistent).acl(published)).await?;
    println!("a stranger reads /public: {}", verdict(stranger.get_data("/public").await)?);
    println!("a stranger changes /public: {}", verdict(stranger.set_data("/public", b"", Version::Any).await)?);
    println!("ann changes /public: {}", verdict(home_of_ann.set_data("/public", b"43", Version::Any).await)?);

    // Another connection, the same person.
    let again = Client::connect(&servers).await?;
    println!("before authenticating: {}", verdict(again.get_data("/private").await)?);
    again.auth("digest", b"ann:secret").await?;
    println!("after: {}", verdict(again.get_data("/private").await)?);

    // The list has a version of its own: whoever changes it names the one that was read.
    let (mut list, stat) = home_of_ann.acl("/private").await?;
    list.push(Acl { perms: perm::READ, id: Id::new("world", "anyone") });
    home_of_ann.set_acl("/private", &list, Version::Exactly(stat.aversion)).await?;
    println!("a stranger reads /private, now that everybody may: {}", verdict(stranger.get_data("/private").await)?);
    println!(
        "ann is known as: {:?}",
        home_of_ann.acl("/private").await?.0.first().map(|entry| entry.id.scheme.clone())
    );

    again.close().await?;
    // The parent is open to everybody, so everybody may delete what is in it.
    stranger.delete("/private", Version::Any).await?;
    stranger.delete("/public", Version::Any).await?;
    stranger.close().await?;
    ann.delete(&home, Version::Any).await?;
    ann.close().await?;
    Ok(())
}

/// Whether the server allowed it.
fn verdict<T>(answer: Result<T, Error>) -> Result<&'static str, Error> {
    match answer {
        Ok(_) => Ok("allowed"),
        Err(Error::Server { code: ErrorCode::NoAuth, .. }) => Ok("refused"),
        Err(error) => Err(error),
    }
}
