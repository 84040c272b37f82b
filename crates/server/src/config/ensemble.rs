//! `server.N` lines: enough of them to tell a standalone server from a member of an ensemble, and to find this server's
//! client port, which container images give there and nowhere else.
//!
//! Not done here: groups and weights, which only an ensemble has.

use super::error::{ConfigError, Problem};
use super::settings::Setting;
use super::values::number;
use super::{ListenAddress, ListenHost};
use std::collections::BTreeMap;

/// One `server.N` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) id: i64,
    pub(super) observer: bool,
    /// The part after the semicolon.
    pub(super) client: Option<ListenAddress>,
}

/// The servers that `members` list, by id, `group` and `weight` lines aside. `server.1` and `server.01` are one.
pub(super) fn servers(members: &[Setting], multi_address: bool) -> Result<Vec<Server>, ConfigError> {
    let mut servers = BTreeMap::new();
    for line in members.iter().filter(|member| member.key.starts_with("server.")) {
        let server = server(line, multi_address)?;
        servers.insert(server.id, server);
    }
    Ok(servers.into_values().collect())
}

/// `<addr>[|<addr>..][;<client>]`, where `<addr>` is `<host>:<port>:<port>[:<role>]` (`QuorumServer` in ZooKeeper).
fn server(line: &Setting, multi_address: bool) -> Result<Server, ConfigError> {
    let id = line.key["server.".len()..].to_owned();
    let id = number(&Setting { key: line.key.clone(), value: id, at: line.at.clone() }, i64::MIN, i64::MAX)?;
    let malformed = || line.wrong(Problem::MalformedServer { value: line.value.clone() });
    // Java's split drops empty parts at the end, so `host:port:port;` is well-formed.
    let mut parts = line.value.trim_end_matches(';').split(';');
    let addresses = parts.next().unwrap_or_default();
    let client = parts.next().map(|part| client_address(part).ok_or_else(malformed)).transpose()?;
    if parts.next().is_some() {
        return Err(malformed());
    }
    if addresses.contains('|') && !multi_address {
        return Err(line.wrong(Problem::MultiAddressDisabled));
    }
    let mut observer = None;
    for address in addresses.split('|') {
        let role = role_of(line, id, &fields(address).ok_or_else(malformed)?)?;
        if observer.replace(role).is_some_and(|earlier| earlier != role) {
            return Err(malformed());
        }
    }
    Ok(Server { id, observer: observer.unwrap_or(false), client })
}

/// Checks one address and says whether it is an observer's.
fn role_of(line: &Setting, server_id: i64, fields: &[&str]) -> Result<bool, ConfigError> {
    let malformed = || line.wrong(Problem::MalformedServer { value: line.value.clone() });
    let (quorum, election, role) = match fields {
        [_, quorum, election] => (quorum, election, None),
        [_, quorum, election, role] => (quorum, election, Some(role)),
        _ => return Err(malformed()),
    };
    let quorum: u16 = quorum.parse().map_err(|_| malformed())?;
    let election: u16 = election.parse().map_err(|_| malformed())?;
    if quorum == election {
        return Err(line.wrong(Problem::SamePorts { server_id }));
    }
    role.map_or(Ok(false), |role| is_observer(line, role))
}

/// Reads a role, in any case of letters.
pub(super) fn is_observer(line: &Setting, role: &str) -> Result<bool, ConfigError> {
    match role.to_ascii_lowercase().as_str() {
        "observer" => Ok(true),
        "participant" => Ok(false),
        _ => Err(line.wrong(Problem::UnknownPeerType { value: role.to_owned() })),
    }
}

/// `<port>` or `<host>:<port>`.
pub(super) fn client_address(part: &str) -> Option<ListenAddress> {
    let fields = fields(part)?;
    let (host, port) = match fields.as_slice() {
        [port] => ("0.0.0.0", port),
        [host, port] => (*host, port),
        _ => return None,
    };
    Some(ListenAddress { host: listen_host(host), port: port.parse().ok()? })
}

/// The addresses of this machine that a host in a configuration stands for.
pub(super) fn listen_host(host: &str) -> ListenHost {
    // Brackets are for IPv6 addresses alone, as in Java; around anything else they lead to no address.
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match bracketed.filter(|host| host.contains(':')).unwrap_or(host) {
        // Java listens on both families for either of these.
        "0.0.0.0" | "::" | "0:0:0:0:0:0:0:0" => ListenHost::Any,
        named => ListenHost::Named(named.to_owned()),
    }
}

/// Splits at colons, except within the brackets of an IPv6 host; `None` when brackets do not match.
fn fields(address: &str) -> Option<Vec<&str>> {
    let Some(bracketed) = address.strip_prefix('[') else {
        return Some(address.split(':').collect());
    };
    let (host, rest) = bracketed.split_once(']')?;
    let mut fields = vec![host];
    match rest.strip_prefix(':') {
        Some(rest) => fields.extend(rest.split(':')),
        None if rest.is_empty() => {}
        None => return None,
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::super::error::Place;
    use super::*;

    fn parse(value: &str) -> Result<Server, ConfigError> {
        let at = Place::Line("zoo.cfg".into(), 1);
        server(&Setting { at, key: "server.3".into(), value: value.into() }, value.contains("multi"))
    }

    fn client(value: &str) -> Option<String> {
        parse(value).unwrap().client.map(|client| client.to_string())
    }

    #[test]
    fn well_formed_lines_give_role_and_client_address() {
        assert_eq!(parse("h:2888:3888").unwrap(), Server { id: 3, observer: false, client: None }, "three fields");
        assert!(parse("h:2888:3888:OBSERVER").unwrap().observer, "role in any case");
        assert!(!parse("h:2888:3888:participant;2181").unwrap().observer, "role and client");
        assert!(parse("multi1:1:2:observer|multi2:3:4:observer").unwrap().observer, "alternatives");
        assert_eq!(client("h:2888:3888;2181").as_deref(), Some("0.0.0.0:2181"), "bare port");
        assert_eq!(client("h:2888:3888;10.0.0.1:2181").as_deref(), Some("10.0.0.1:2181"), "host and port");
        assert_eq!(client("[2001:db8::1]:2888:3888;[::1]:2181").as_deref(), Some("[::1]:2181"), "IPv6");
        assert_eq!(client("h:2888:3888;"), None, "empty client part");
    }

    #[test]
    fn malformed_lines_are_refused() {
        for value in
            ["h:2888", "h", "", "h:a:b", "h:1:2:observer:x", "h:1:2;3;4", "h:1:2;a:b:c", "[::1:1:2", "[::1]x:1:2"]
        {
            let error = parse(value).unwrap_err();
            assert!(matches!(error.problem, Problem::MalformedServer { .. }), "{value}: {error}");
        }
        assert!(matches!(parse("h:1:1").unwrap_err().problem, Problem::SamePorts { server_id: 3 }), "ports");
        assert!(matches!(parse("h:1:2:king").unwrap_err().problem, Problem::UnknownPeerType { .. }), "role");
        assert!(matches!(parse("a:1:2|b:1:2").unwrap_err().problem, Problem::MultiAddressDisabled), "alternatives");
        assert!(parse("multi1:1:2:observer|multi2:3:4").is_err(), "alternatives of different roles");
    }
}
