//! Making TCP connections: names are resolved at every attempt, and each address of a name gets its share of the time.
//!
//! Not done here: TLS. It comes with the server's; its handshake belongs behind `dial`, and its stream beside the
//! `TcpStream` of the driver.

use std::io;
use std::time::Duration;

use gk_proto::Millis;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::core::ServerAddress;

/// A connection to the server, within the time given.
pub(crate) async fn dial(server: &ServerAddress, within: Millis) -> io::Result<TcpStream> {
    let within = Duration::from_millis(within.0);
    timeout(within, dial_any(server, within)).await.unwrap_or_else(|_| Err(timed_out("no connection in time")))
}

async fn dial_any(server: &ServerAddress, within: Duration) -> io::Result<TcpStream> {
    let found = tokio::net::lookup_host((server.host.as_str(), server.port)).await;
    let found = found.map_err(|error| io::Error::new(error.kind(), format!("the name cannot be resolved: {error}")))?;
    let addresses: Vec<_> = found.collect();
    let share = within / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // A request is written whole: there is nothing to wait for.
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = timed_out("no connection in time"),
        }
    }
    Err(last)
}

fn timed_out(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

/// Whether the server takes writes, by the four-letter word `isro`.
pub(crate) async fn takes_writes(server: &ServerAddress, within: Millis) -> bool {
    let ask = async {
        let mut stream = dial(server, within).await?;
        stream.write_all(b"isro").await?;
        let mut said = [0; 2];
        stream.read_exact(&mut said).await?;
        Ok::<_, io::Error>(&said == b"rw")
    };
    matches!(timeout(Duration::from_millis(within.0), ask).await, Ok(Ok(true)))
}
