//! Connect strings: `host:port,host:port/chroot`, as every ZooKeeper client takes them.

use std::str::FromStr;
use std::sync::Arc;

use gk_proto::path;

use crate::Error;
use crate::core::ServerAddress;

/// A list of servers and the path under which a client lives.
///
/// `host[:port]` separated by commas, then an optional chroot: `zk1:2181,zk2,[fd00::3]:2182/app`. The port is 2181 where
/// there is none; an IPv6 address stands in brackets, or alone without a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectString {
    servers: Vec<Arc<ServerAddress>>,
    chroot: Arc<str>,
}

/// Where servers listen unless told otherwise.
const DEFAULT_PORT: u16 = 2181;

impl ConnectString {
    /// The servers, in the order given.
    pub fn servers(&self) -> impl Iterator<Item = &ServerAddress> {
        self.servers.iter().map(|server| &**server)
    }

    /// The chroot without a slash at its end; empty if there is none.
    pub fn chroot(&self) -> &str {
        &self.chroot
    }

    pub(crate) fn into_parts(self) -> (Vec<Arc<ServerAddress>>, Arc<str>) {
        (self.servers, self.chroot)
    }
}

impl FromStr for ConnectString {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |reason: String| Error::BadServers { text: text.to_owned(), reason };
        let (list, chroot) = match text.find('/') {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        let chroot = if chroot == "/" { "" } else { chroot };
        if !chroot.is_empty() && !path::is_valid(chroot) {
            return Err(bad(format!("{chroot:?} is not a valid path to be the chroot")));
        }
        let mut servers: Vec<Arc<ServerAddress>> = Vec::new();
        for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let server = Arc::new(server(part).map_err(bad)?);
            if !servers.contains(&server) {
                servers.push(server);
            }
        }
        if servers.is_empty() {
            return Err(bad("it names no server".to_owned()));
        }
        Ok(Self { servers, chroot: chroot.into() })
    }
}

/// One `host`, `host:port`, `[ipv6]`, `[ipv6]:port` or bare IPv6 address.
fn server(text: &str) -> Result<ServerAddress, String> {
    if text.parse::<core::net::Ipv6Addr>().is_ok() {
        return Ok(ServerAddress { host: text.to_owned(), port: DEFAULT_PORT });
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(|| format!("{text:?} has no closing bracket"))?;
            if host.split('%').next().unwrap_or(host).parse::<core::net::Ipv6Addr>().is_err() {
                return Err(format!("{host:?} is not an IPv6 address"));
            }
            match port {
                "" => (host, None),
                _ => (
                    host,
                    Some(port.strip_prefix(':').ok_or_else(|| format!("{text:?} has no colon before its port"))?),
                ),
            }
        }
        None => match text.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err(format!("{text:?}: an IPv6 address with a port stands in brackets"));
            }
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err(format!("{text:?} has no host name"));
    }
    let port = match port {
        None => DEFAULT_PORT,
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(|| format!("{port:?} is not a port"))?,
    };
    Ok(ServerAddress { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let parsed: ConnectString = text.parse().unwrap();
        let servers: Vec<_> = parsed.servers().map(ToString::to_string).collect();
        format!("{} in {:?}", servers.join(" "), parsed.chroot())
    }

    #[test]
    fn servers_ports_and_chroot_are_read() {
        assert_eq!(shown("a"), "a:2181 in \"\"");
        assert_eq!(shown("a:1,b , c:3/"), "a:1 b:2181 c:3 in \"\"");
        assert_eq!(shown("a:1,a:1,/x/y"), "a:1 in \"/x/y\"", "doubled and empty parts");
        assert_eq!(shown("[::1]:5,::1,[fe80::1%eth0]/x"), "[::1]:5 [::1]:2181 [fe80::1%eth0]:2181 in \"/x\"");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_a_reason() {
        for (text, reason) in [
            ("", "names no server"),
            ("/x", "names no server"),
            ("a:0", "not a port"),
            ("a:99999", "not a port"),
            ("a:b", "not a port"),
            (":2181", "no host name"),
            ("a b", "no host name"),
            ("fe80::1:2:99999999", "brackets"),
            ("[::1", "closing bracket"),
            ("[::1]2181", "colon"),
            ("[nonsense]:1", "not an IPv6"),
            ("a/x/", "chroot"),
            ("a//x", "chroot"),
        ] {
            let error = text.parse::<ConnectString>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }
}
