//! Connect strings: `host:port,host:port/chroot`, as every ZooKeeper client takes them, and `dns-srv://name/chroot`, as
//! Apache's newest does (`ConnectStringParser.parseDnsSrvFormat`).

use std::str::FromStr;
use std::sync::Arc;

use gk_proto::path;

use crate::Error;
use crate::core::ServerAddress;
use crate::srv::NEEDS_FEATURE;

/// A list of servers and the path under which a client lives.
///
/// `host[:port]` separated by commas, then an optional chroot: `zk1:2181,zk2,[fd00::3]:2182/app`. The port is 2181 where
/// there is none; an IPv6 address stands in brackets, or alone without a port.
///
/// With the cargo feature `srv` also `dns-srv://` and a DNS name, then an optional chroot:
/// `dns-srv://_zookeeper._tcp.example.com/app`. Each SRV record of that name is one server. They are equals: priorities
/// and weights are not looked at. The name is looked up before the first connection, and a client waits for records as it
/// waits for servers. From then on it keeps to them: it looks again when they have been kept for as long as they may be
/// (at least 5 seconds, at most 5 minutes), and at once when a connection is cut, though only once a second. If there are
/// other servers then, it goes on as after [`Client::update_servers`](crate::Client::update_servers). If the lookup
/// fails, or no record names a server, the list stays as it is. A name without a dot at its end is also looked for in
/// the system's search list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectString {
    source: ServerSource,
    chroot: Arc<str>,
}

/// Where the servers come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ServerSource {
    /// They were given.
    Listed(Vec<Arc<ServerAddress>>),
    /// From the SRV records of this name.
    DnsName(Arc<str>),
}

impl ServerSource {
    /// The name, if they come from DNS.
    pub(crate) fn dns_name(&self) -> Option<&Arc<str>> {
        match self {
            Self::Listed(_) => None,
            Self::DnsName(name) => Some(name),
        }
    }
}

/// What a connect string begins with that names a DNS name.
const DNS_SRV_SCHEME: &str = "dns-srv://";

/// Where servers listen unless told otherwise.
const DEFAULT_PORT: u16 = 2181;

impl ConnectString {
    /// The servers, in the order given; none if they come from DNS.
    pub fn servers(&self) -> impl Iterator<Item = &ServerAddress> {
        let listed = match &self.source {
            ServerSource::Listed(servers) => &servers[..],
            ServerSource::DnsName(_) => &[],
        };
        listed.iter().map(|server| &**server)
    }

    /// The name whose SRV records are the servers; `None` if they were given.
    pub fn dns_name(&self) -> Option<&str> {
        self.source.dns_name().map(|name| &**name)
    }

    /// The chroot without a slash at its end; empty if there is none.
    pub fn chroot(&self) -> &str {
        &self.chroot
    }

    pub(crate) fn into_parts(self) -> (ServerSource, Arc<str>) {
        (self.source, self.chroot)
    }
}

impl FromStr for ConnectString {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |reason: String| Error::BadServers { text: text.to_owned(), reason };
        let (is_dns_name, rest) = match text.strip_prefix(DNS_SRV_SCHEME) {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (list, chroot) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let chroot = if chroot == "/" { "" } else { chroot };
        if !chroot.is_empty() && !path::is_valid(chroot) {
            return Err(bad(format!("{chroot:?} is not a valid path to be the chroot")));
        }
        let source = if is_dns_name { dns_name(list).map(ServerSource::DnsName) } else { listed(list) };
        Ok(Self { source: source.map_err(bad)?, chroot: chroot.into() })
    }
}

/// A DNS name of the letters that host names have and underscores. Whether there is such a name is seen when it is
/// looked up.
fn dns_name(text: &str) -> Result<Arc<str>, String> {
    if !cfg!(feature = "srv") {
        return Err(NEEDS_FEATURE.to_owned());
    }
    if text.is_empty() {
        return Err("it names no DNS name".to_owned());
    }
    if text.contains([',', ':']) {
        return Err(format!("{text:?} is not one DNS name; servers and ports are in its records"));
    }
    let is_label = |label: &str| {
        let is_letter = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'-' || letter == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(is_letter) && !label.starts_with('-')
    };
    let labels = text.strip_suffix('.').unwrap_or(text);
    if labels.len() > 253 || !labels.split('.').all(is_label) {
        return Err(format!("{text:?} is not a DNS name"));
    }
    Ok(text.into())
}

/// Servers separated by commas; empty parts are passed over, and so is what comes twice.
fn listed(text: &str) -> Result<ServerSource, String> {
    let mut servers: Vec<Arc<ServerAddress>> = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let server = Arc::new(server(part)?);
        if !servers.contains(&server) {
            servers.push(server);
        }
    }
    if servers.is_empty() {
        return Err("it names no server".to_owned());
    }
    Ok(ServerSource::Listed(servers))
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
    #[cfg(feature = "srv")]
    fn a_dns_name_and_chroot_are_read() {
        for (text, name, chroot) in [
            ("dns-srv://_zookeeper._tcp.example.com", "_zookeeper._tcp.example.com", ""),
            ("dns-srv://zk.example.com./app/x", "zk.example.com.", "/app/x"),
        ] {
            let parsed: ConnectString = text.parse().unwrap();
            assert_eq!((parsed.dns_name(), parsed.chroot()), (Some(name), chroot), "{text}");
            assert_eq!(parsed.servers().count(), 0, "{text}");
        }
        for (text, reason) in [
            ("dns-srv://", "no DNS name"),
            ("dns-srv:///app", "no DNS name"),
            ("dns-srv://a,b", "not one DNS name"),
            ("dns-srv://a:2181", "not one DNS name"),
            ("dns-srv://a..b", "not a DNS name"),
            ("dns-srv://.", "not a DNS name"),
            ("dns-srv://a b", "not a DNS name"),
            ("dns-srv://z\u{fc}rich.example.com", "not a DNS name"),
            ("dns-srv://a//x", "chroot"),
        ] {
            let error = text.parse::<ConnectString>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }

    #[test]
    #[cfg(not(feature = "srv"))]
    fn a_dns_name_without_its_feature_is_refused_with_the_features_name() {
        let error = "dns-srv://_zookeeper._tcp.example.com/app".parse::<ConnectString>().unwrap_err();
        assert!(error.to_string().contains("cargo feature `srv`"), "{error}");
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
