//! What the servers say about themselves, by the four-letter word `srvr`.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// One server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Server {
    /// As it was given.
    pub(crate) address: String,
    /// Such as `3.9.5-b79cef3`; `None` if it did not say.
    pub(crate) zookeeper_version: Option<String>,
    /// Such as `standalone` or `leader`; `None` if it did not say.
    pub(crate) mode: Option<String>,
}

/// A server that takes longer has nothing to say that is worth the wait.
const TIME: Duration = Duration::from_secs(2);
/// Longer than any answer.
const ANSWER_MAX: u64 = 16 * 1024;

/// Asks each.
pub(crate) async fn ask(addresses: &[String]) -> Vec<Server> {
    let asked: Vec<_> = addresses.iter().cloned().map(|address| tokio::spawn(ask_one(address))).collect();
    let mut servers = Vec::new();
    for server in asked {
        servers.push(server.await.expect("INVARIANT: these tasks neither panic nor are they cancelled"));
    }
    servers
}

async fn ask_one(address: String) -> Server {
    let exchange = async {
        let mut stream = TcpStream::connect(&address).await?;
        stream.write_all(b"srvr").await?;
        let mut answer = String::new();
        stream.take(ANSWER_MAX).read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(TIME, exchange).await.ok().and_then(Result::ok).unwrap_or_default();
    parse(address, &answer)
}

fn parse(address: String, answer: &str) -> Server {
    let value = |key: &str| answer.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let version = value("Zookeeper version:").map(|version| version.split(',').next().unwrap_or(version).to_owned());
    Server { address, zookeeper_version: version, mode: value("Mode:").map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_and_mode_are_found_in_an_answer() {
        let answer = "Zookeeper version: 3.9.5-b79cef3f, built on 2026-01-21 10:26 UTC\nLatency min/avg/max: 0/0.0/0\n\
                      Mode: standalone\nNode count: 5\n";
        let server = parse("h:1".to_owned(), answer);
        assert_eq!(server.zookeeper_version.as_deref(), Some("3.9.5-b79cef3f"), "version");
        assert_eq!(server.mode.as_deref(), Some("standalone"), "mode");
    }

    #[test]
    fn a_server_that_does_not_tell_is_named_without() {
        let server = parse("h:1".to_owned(), "srvr is not executed because it is not in the whitelist.\n");
        assert_eq!(server, Server { address: "h:1".to_owned(), zookeeper_version: None, mode: None });
    }
}
