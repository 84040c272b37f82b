//! A transaction over several nodes: money moves from one account to another, all of it or nothing, and once.
//!
//! The changes are made by one multi, each under the condition that the account still has the version that was read. If
//! somebody else has changed one of them meanwhile, nothing happens, and the transfer is worked out anew.
//!
//! Whether a request took effect whose answer was lost, nobody can tell from the balances. So the same multi leaves a
//! receipt, under a name that the caller chose: a second try finds it.
//!
//!     cargo run -p gk-client --example transfer [SERVERS]

use gk_client::{Client, CreateMode, Error, ErrorCode, Version};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let servers = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2181".to_owned());
    let client = Client::connect(&servers).await?;
    // Each run has a node to itself, and its clients live below it; a real program has a fixed one.
    let home = client.create("/transfer-", b"", CreateMode::PersistentSequential).await?.path;
    let bank = client.chroot(&home)?;
    bank.create("/ann", b"100", CreateMode::Persistent).await?;
    bank.create("/bob", b"0", CreateMode::Persistent).await?;
    bank.create("/receipts", b"", CreateMode::Persistent).await?;

    // Ten at once, over the same two accounts: most of them will have to try again.
    let transfers: Vec<_> = (0..10)
        .map(|number| {
            let bank = bank.clone();
            tokio::spawn(async move { transfer(&bank, "/ann", "/bob", 7, &format!("/receipts/{number}")).await })
        })
        .collect();
    for transfer in transfers {
        transfer.await??;
    }
    let (ann, bob) = (balance(&bank, "/ann").await?.0, balance(&bank, "/bob").await?.0);
    println!("after 10 transfers of 7: ann has {ann}, bob has {bob}");
    assert_eq!((ann, bob), (30, 70), "money came or went");

    transfer(&bank, "/ann", "/bob", 7, "/receipts/3").await?;
    println!("the fourth one tried again: ann has {}", balance(&bank, "/ann").await?.0);
    assert_eq!(balance(&bank, "/ann").await?.0, 30, "it was carried out twice");
    let refused = transfer(&bank, "/ann", "/bob", 31, "/receipts/10").await;
    println!("more than there is: {}", refused.err().ok_or("it was carried out")?);

    for receipt in bank.children("/receipts").await? {
        bank.delete(&format!("/receipts/{receipt}"), Version::Any).await?;
    }
    let all = bank.multi().delete("/ann", Version::Any).delete("/bob", Version::Any);
    all.delete("/receipts", Version::Any).commit().await?;
    client.delete(&home, Version::Any).await?;
    client.close().await?;
    Ok(())
}

/// Moves an amount, once for each receipt, however often it is called.
async fn transfer(bank: &Client, from: &str, to: &str, amount: u64, receipt: &str) -> Result<(), Failure> {
    loop {
        if bank.exists(receipt).await?.is_some() {
            return Ok(());
        }
        let ((payer, payer_version), (payee, payee_version)) =
            tokio::try_join!(balance(bank, from), balance(bank, to))?;
        let rest = payer.checked_sub(amount).ok_or_else(|| format!("{from} has {payer}, not {amount}"))?;
        let all = bank
            .multi()
            .create(receipt, b"", CreateMode::Persistent)
            .set_data(from, rest.to_string(), payer_version)
            .set_data(to, (payee + amount).to_string(), payee_version);
        match all.commit().await {
            Ok(_) => return Ok(()),
            Err(Error::Multi { index: 0, code: ErrorCode::NodeExists, .. }) => return Ok(()),
            // Another transfer was faster: with the new balances.
            Err(Error::Multi { code: ErrorCode::BadVersion, .. }) => {}
            // The receipt will tell; the server that is asked might lag behind, hence the sync.
            Err(Error::OutcomeUnknown) => bank.sync(receipt).await?,
            Err(error) => return Err(error.into()),
        }
    }
}

/// What is on an account, and the version that says so.
async fn balance(bank: &Client, account: &str) -> Result<(u64, Version), Failure> {
    let (data, stat) = bank.get_data(account).await?;
    Ok((std::str::from_utf8(&data)?.parse()?, stat.into()))
}
