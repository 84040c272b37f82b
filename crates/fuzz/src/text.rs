//! Texts: paths, zoo.cfg, connect strings, identities and access control lists. The first byte says which.

use std::net::IpAddr;
use std::path::Path;
use std::sync::LazyLock;

use gk_client::ConnectString;
use gk_node::auth::{AuthRules, DigestAlgorithm, DigestScheme, IpScheme, Scheme as _, ip_id};
use gk_proto::acl::{Id, perm};
use gk_proto::jute::lenient_utf8;
use gk_proto::path;
use gk_proto::request::{AclSpec, RawAcl};
use gk_server::config::{SystemProperty, parse, system_properties};

use crate::input::Input;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 5 {
        0 => paths(&lenient_utf8(input.rest())),
        1 => configuration(&mut input),
        2 => connect_string(&lenient_utf8(input.rest())),
        3 => addresses(&mut input),
        _ => lists(&mut input),
    }
}

fn paths(text: &str) {
    assert_eq!(path::is_valid(text), is_valid_in_java(text), "{text:?} as a path");
    let Some((parent, name)) = path::split(text) else { return };
    if path::is_valid(text) {
        assert!(path::is_valid(parent), "{parent:?}, the parent of {text:?}");
        assert_eq!(path::join(parent, name), text, "parent and name joined again");
    }
}

/// `PathUtils.validatePath`, character by character as Java has them.
fn is_valid_in_java(text: &str) -> bool {
    let units: Vec<u16> = text.encode_utf16().collect();
    let [first, .., last] = *units.as_slice() else { return text == "/" };
    let (slash, dot) = (u16::from(b'/'), u16::from(b'.'));
    if first != slash || last == slash {
        return false;
    }
    let ends = |at: usize| units.get(at + 1).is_none_or(|&next| next == slash);
    units.iter().enumerate().skip(1).all(|(at, &unit)| {
        let before = units[at - 1];
        match unit {
            0 => false,
            _ if unit == slash => before != slash,
            _ if unit == dot && before == dot => !(units[at - 2] == slash && ends(at)),
            _ if unit == dot => !(before == slash && ends(at)),
            0x1..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0.. => false,
            _ => true,
        }
    })
}

/// Up to two files and a line of JVM flags. A configuration that is refused says why.
fn configuration(input: &mut Input<'_>) {
    let other = lenient_utf8(input.piece());
    let flags = lenient_utf8(input.piece());
    let text = lenient_utf8(input.rest());
    let system: Vec<SystemProperty> = system_properties(|name| (name == "JVMFLAGS").then(|| flags.to_string()), &[]);
    let read = |_: &Path| Ok((!other.is_empty()).then(|| other.to_string()));
    match parse("zoo.cfg", &text, &system, &read) {
        Ok(loaded) => {
            let silent = loaded.notices.iter().find(|notice| notice.to_string().is_empty());
            assert!(silent.is_none(), "a notice without words: {silent:?}");
        }
        Err(error) => assert!(!error.to_string().is_empty(), "a refusal says why"),
    }
}

/// What is understood is understood again when it is put together from its parts.
fn connect_string(text: &str) {
    let Ok(parsed) = text.parse::<ConnectString>() else { return };
    let servers: Vec<String> = parsed.servers().map(ToString::to_string).collect();
    assert!(parsed.chroot().is_empty() || path::is_valid(parsed.chroot()), "the chroot of {text:?}");
    if servers.is_empty() {
        // Where the client is built with them (all features at once, as the gate's tests are).
        return assert!(text.trim_start().starts_with("dns-srv://"), "{text:?} has no servers");
    }
    let again = format!("{}{}", servers.join(","), parsed.chroot());
    assert_eq!(again.parse::<ConnectString>().ok(), Some(parsed), "{text:?} put together again");
}

/// An address, and what may stand in an ACL for it.
fn addresses(input: &mut Input<'_>) {
    let (address, acl_id) = (lenient_utf8(input.piece()), lenient_utf8(input.rest()));
    let Ok(address) = address.parse::<IpAddr>() else { return };
    let own = ip_id(address).id;
    assert!(IpScheme.is_valid(&own) && IpScheme.matches(&own, &own), "{own:?} is itself");
    if IpScheme.is_valid(&acl_id) {
        let is_within = is_within(address.to_canonical(), &acl_id);
        assert_eq!(IpScheme.matches(&own, &acl_id), is_within == Some(true), "{own:?} within {acl_id:?}");
    }
}

/// Whether the leading bits are the same.
fn is_within(address: IpAddr, prefix: &str) -> Option<bool> {
    let (network, bits) = prefix.split_once('/').map_or((prefix, None), |(network, bits)| (network, Some(bits)));
    let network: IpAddr = network.parse().ok()?;
    let (same, width) = match (address, network.to_canonical()) {
        (IpAddr::V4(one), IpAddr::V4(other)) => ((one.to_bits() ^ other.to_bits()).leading_zeros(), 32),
        (IpAddr::V6(one), IpAddr::V6(other)) => ((one.to_bits() ^ other.to_bits()).leading_zeros(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return Some(false),
    };
    Some(same >= bits.map_or(Ok(width), str::parse).ok()?)
}

static RULES: LazyLock<AuthRules> = LazyLock::new(|| AuthRules {
    schemes: vec![Box::new(IpScheme), Box::new(DigestScheme { super_digest: None, algorithm: DigestAlgorithm::Sha1 })],
    skip_acl: false,
    enforced: Vec::new(),
});

/// A list as a client sends it, set by somebody who has authenticated.
fn lists(input: &mut Input<'_>) {
    const SCHEMES: [Option<&str>; 7] =
        [None, Some("world"), Some("auth"), Some("digest"), Some("ip"), Some("super"), Some("")];
    const IDS: [Option<&str>; 7] =
        [None, Some("anyone"), Some(""), Some("u:x"), Some("u"), Some("10.0.0.0/8"), Some("::1")];
    let mut ids = vec![Id::new("ip", "10.0.0.1")];
    let auth = input.piece();
    ids.extend(RULES.authenticate("digest", [10, 0, 0, 1].into(), Some(auth)).into_iter().flatten());
    let mut list = Vec::new();
    while let Some(choice) = input.command() {
        let scheme = SCHEMES[usize::from(choice % 7)].map(str::to_owned);
        let id = match choice / 7 % 8 {
            7 => Some(lenient_utf8(input.piece()).into_owned()),
            known => IDS[usize::from(known)].map(str::to_owned),
        };
        list.push(RawAcl { perms: input.signed_byte(), scheme, id });
    }
    let Ok(expanded) = RULES.expand(&AclSpec::List(Some(list)), &ids) else { return };
    assert!(!expanded.is_empty(), "an accepted list has entries");
    // Nothing is left to expand, so nobody's identity matters any more.
    let again = RULES.expand(&AclSpec::from(&*expanded), &[]);
    assert_eq!(again.as_ref(), Ok(&expanded), "a list that was expanded, expanded again");
    let masked = RULES.masked(&expanded, &[]);
    let by_nobody = RULES.allows(&expanded, perm::ADMIN, &[]);
    let shows = masked.iter().any(|acl| acl.id.scheme == "digest" && !acl.id.id.ends_with(":x"));
    assert!(by_nobody || !shows, "a hash is shown to somebody without rights: {masked:?}");
}
