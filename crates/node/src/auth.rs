//! Who a connection is, and what a node's ACL lets it do (ZooKeeper `AuthenticationProvider`, `ZooKeeperServer.checkACL`,
//! `PrepRequestProcessor.fixupACL`).

use core::fmt::Debug;
use core::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gk_proto::ErrorCode;
use gk_proto::acl::{self, Acl, AclList, Id};
use gk_proto::request::{AclSpec, RawAcl};
use sha1::Digest as _;

/// One way of telling who somebody is. `world`, `auth` and `super` are not schemes: they are built into the rules.
pub trait Scheme: Debug + Send + Sync {
    /// The name in ACLs and auth packets.
    fn name(&self) -> &'static str;

    /// The ids that an auth packet (its text may be null) earns the connection; `None` refuses it.
    fn authenticate(&self, remote: IpAddr, auth: Option<&[u8]>) -> Option<Vec<Id>>;

    /// Whether the text may stand as an id of this scheme in an ACL.
    fn is_valid(&self, acl_id: &str) -> bool;

    /// Whether a connection's id satisfies an ACL's.
    fn matches(&self, conn_id: &str, acl_id: &str) -> bool;

    /// Whether its ids stand for the user where an ACL says `auth`.
    fn is_authenticated(&self) -> bool;

    /// How whoAmI shows an id.
    fn user<'a>(&self, id: &'a str) -> &'a str {
        id
    }
}

/// `digest`: user and password, compared by hash.
#[derive(Debug)]
pub struct DigestScheme {
    /// `user:hash` that also becomes [`SUPER`].
    pub super_digest: Option<String>,
    /// Hash of the ids.
    pub algorithm: DigestAlgorithm,
}

/// Hash of the digest scheme (`zookeeper.DigestAuthenticationProvider.digestAlg`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DigestAlgorithm {
    /// ZooKeeper's default.
    #[default]
    Sha1,
    /// SHA-256
    Sha256,
    /// SHA-512
    Sha512,
}

impl DigestAlgorithm {
    fn hash(self, text: &[u8]) -> String {
        match self {
            Self::Sha1 => STANDARD.encode(sha1::Sha1::digest(text)),
            Self::Sha256 => STANDARD.encode(sha2::Sha256::digest(text)),
            Self::Sha512 => STANDARD.encode(sha2::Sha512::digest(text)),
        }
    }
}

/// The scheme that passes every check.
pub const SUPER: &str = "super";

impl Scheme for DigestScheme {
    fn name(&self) -> &'static str {
        "digest"
    }

    fn authenticate(&self, _remote: IpAddr, auth: Option<&[u8]>) -> Option<Vec<Id>> {
        let text = gk_proto::jute::lenient_utf8(auth?);
        let user = text.split(':').next().unwrap_or_default();
        let id = format!("{user}:{}", self.algorithm.hash(text.as_bytes()));
        let mut ids = Vec::new();
        if self.super_digest.as_ref() == Some(&id) {
            ids.push(Id::new(SUPER, ""));
        }
        ids.push(Id::new("digest", id));
        Some(ids)
    }

    fn is_valid(&self, acl_id: &str) -> bool {
        // Two parts as Java's split counts them: it drops empty ones at the end.
        acl_id.trim_end_matches(':').split(':').count() == 2
    }

    fn matches(&self, conn_id: &str, acl_id: &str) -> bool {
        conn_id == acl_id
    }

    fn is_authenticated(&self) -> bool {
        true
    }

    fn user<'a>(&self, id: &'a str) -> &'a str {
        id.split(':').next().unwrap_or(id)
    }
}

/// `ip`: the address at the other end, by prefix, of either family.
#[derive(Debug)]
pub struct IpScheme;

/// An address and how many of its bits count.
fn parse_prefix(text: &str) -> Option<(u128, u32, bool)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) if bits.bytes().all(|b| b.is_ascii_digit()) => (address, Some(bits.parse::<u32>().ok()?)),
        Some(_) => return None,
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let (value, width) = bits_of(address);
    let bits = bits.unwrap_or(width);
    (bits <= width).then_some((value, bits, width == 32))
}

fn bits_of(address: IpAddr) -> (u128, u32) {
    match address.to_canonical() {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    }
}

impl Scheme for IpScheme {
    fn name(&self) -> &'static str {
        "ip"
    }

    fn authenticate(&self, remote: IpAddr, _auth: Option<&[u8]>) -> Option<Vec<Id>> {
        Some(vec![ip_id(remote)])
    }

    fn is_valid(&self, acl_id: &str) -> bool {
        parse_prefix(acl_id).is_some()
    }

    fn matches(&self, conn_id: &str, acl_id: &str) -> bool {
        // Most entries are one IPv4 address, whose text is the only one it has.
        if conn_id == acl_id || !acl_id.contains(['/', ':']) {
            return conn_id == acl_id;
        }
        let (Some((ours, width, ours_v4)), Some((theirs, bits, theirs_v4))) =
            (parse_prefix(conn_id), parse_prefix(acl_id))
        else {
            return false;
        };
        let ignored = width - bits.min(width);
        ours_v4 == theirs_v4 && (bits == 0 || ours >> ignored == theirs >> ignored)
    }

    fn is_authenticated(&self) -> bool {
        false
    }
}

/// The id that every connection has from the start.
pub fn ip_id(remote: IpAddr) -> Id {
    Id::new("ip", remote.to_canonical().to_string())
}

/// The configured schemes and what switches the checks off.
#[derive(Debug)]
pub struct AuthRules {
    /// Schemes by name.
    pub schemes: Vec<Box<dyn Scheme>>,
    /// `skipACL=yes`: everything is allowed.
    pub skip_acl: bool,
    /// Schemes of which a connection must hold an id before anything else (`enforce.auth.*`); empty: none needed.
    pub enforced: Vec<String>,
}

impl AuthRules {
    fn scheme(&self, name: &str) -> Option<&dyn Scheme> {
        self.schemes.iter().map(|scheme| &**scheme).find(|scheme| scheme.name() == name)
    }

    /// What an auth packet earns; `None` if the scheme is unknown or refuses.
    pub fn authenticate(&self, scheme: &str, remote: IpAddr, auth: Option<&[u8]>) -> Option<Vec<Id>> {
        self.scheme(scheme)?.authenticate(remote, auth)
    }

    /// Whether ids that were never authenticated enough must be turned away.
    pub fn must_authenticate(&self, ids: &[Id]) -> bool {
        !self.enforced.is_empty() && !ids.iter().any(|id| self.enforced.contains(&id.scheme))
    }

    /// Whether a connection with these ids has any of the wanted permission bits on a node with this ACL.
    pub fn allows(&self, acl: &[Acl], wanted: i32, ids: &[Id]) -> bool {
        if self.skip_acl || acl.is_empty() {
            return true;
        }
        let granting = || acl.iter().filter(|entry| entry.perms & wanted != 0).map(|entry| &entry.id);
        if granting().any(|id| id.scheme == "world" && id.id == "anyone") {
            return true;
        }
        ids.iter().any(|own| own.scheme == SUPER)
            || granting().any(|want| {
                let Some(scheme) = self.scheme(&want.scheme) else { return false };
                ids.iter().any(|own| own.scheme == want.scheme && scheme.matches(&own.id, &want.id))
            })
    }

    /// Checks a list being set and expands `auth`; duplicates are dropped, order is kept. A list that would have more than
    /// `ACL_ENTRIES_MAX` entries is invalid.
    pub fn expand(&self, spec: &AclSpec, ids: &[Id]) -> Result<AclList, ErrorCode> {
        let list = match spec {
            AclSpec::Open => return Ok(acl::open()),
            AclSpec::List(list) => list.as_deref().unwrap_or_default(),
        };
        let mut expanded: Vec<Acl> = Vec::new();
        for RawAcl { perms, scheme, id } in list {
            let Some(scheme) = scheme else { return Err(ErrorCode::InvalidAcl) };
            // The id beside `auth` is ignored, and some clients send null.
            if scheme == "auth" {
                let mut own = ids.iter().filter(|own| self.scheme(&own.scheme).is_some_and(|s| s.is_authenticated()));
                let first = own.next().ok_or(ErrorCode::InvalidAcl)?;
                for own in core::iter::once(first).chain(own) {
                    if expanded.len() >= ACL_ENTRIES_MAX {
                        return Err(ErrorCode::InvalidAcl);
                    }
                    expanded.push(Acl { perms: *perms, id: own.clone() });
                }
                continue;
            }
            let Some(id) = id else { return Err(ErrorCode::InvalidAcl) };
            let valid = match scheme.as_str() {
                "world" => id == "anyone",
                other => self.scheme(other).is_some_and(|scheme| scheme.is_valid(id)),
            };
            if !valid || expanded.len() >= ACL_ENTRIES_MAX {
                return Err(ErrorCode::InvalidAcl);
            }
            expanded.push(Acl { perms: *perms, id: Id::new(scheme.clone(), id.clone()) });
        }
        if expanded.is_empty() { Err(ErrorCode::InvalidAcl) } else { Ok(without_repetitions(expanded)) }
    }

    /// The list as a reader without ADMIN sees it: digest hashes are masked.
    pub fn masked(&self, acl: &AclList, ids: &[Id]) -> AclList {
        if self.allows(acl, gk_proto::acl::perm::ADMIN, ids) {
            return acl.clone();
        }
        let mask = |entry: &Acl| {
            let mut entry = entry.clone();
            if entry.id.scheme == "digest"
                && let Some((user, _)) = entry.id.id.split_once(':')
            {
                entry.id.id = format!("{user}:x");
            }
            entry
        };
        acl.iter().map(mask).collect()
    }

    /// How whoAmI shows an id.
    pub fn user<'a>(&self, id: &'a Id) -> &'a str {
        self.scheme(&id.scheme).map_or(id.id.as_str(), |scheme| scheme.user(&id.id))
    }
}

/// Entries of a list as it is expanded, repetitions included. A request of the usual size holds fewer, but `auth` stands
/// for each id of the connection.
const ACL_ENTRIES_MAX: usize = 100_000;

/// The first of each entry, in order. Sorting finds the others: a request may bring tens of thousands.
fn without_repetitions(mut list: Vec<Acl>) -> AclList {
    if list.len() > 1 {
        let mut order: Vec<usize> = (0..list.len()).collect();
        order.sort_by_key(|&at| (list.get(at), at));
        let mut repeats = vec![false; list.len()];
        for pair in order.windows(2) {
            if let &[before, after] = pair
                && list.get(before) == list.get(after)
                && let Some(repeat) = repeats.get_mut(after)
            {
                *repeat = true;
            }
        }
        let mut repeats = repeats.into_iter();
        list.retain(|_| !repeats.next().unwrap_or(false));
    }
    list.into()
}

/// The ids of one connection, shared by its requests in flight.
pub type Ids = Arc<[Id]>;

/// Ids of one connection, and bytes of them; an auth that would earn more is refused like one that fails.
const IDS_MAX: usize = 64;
const IDS_BYTES_MAX: usize = 128 << 10;

/// The ids of a connection with those that it has earned besides; none if they would be too many.
pub(crate) fn with_earned(ids: &Ids, earned: Vec<Id>) -> Option<Ids> {
    let mut all = ids.to_vec();
    for id in earned {
        if !all.contains(&id) {
            all.push(id);
        }
    }
    (all.len() <= IDS_MAX && bytes_of(&all) <= IDS_BYTES_MAX).then(|| all.into())
}

/// Bytes of their texts.
pub(crate) fn bytes_of(ids: &[Id]) -> usize {
    ids.iter().map(|id| id.scheme.len() + id.id.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gk_proto::acl::perm;

    fn rules() -> AuthRules {
        let super_digest = Some("super:D/InIHSb7yEEbrWz8b9l71RjZJU=".to_owned());
        AuthRules {
            schemes: vec![
                Box::new(IpScheme),
                Box::new(DigestScheme { super_digest, algorithm: DigestAlgorithm::Sha1 }),
            ],
            skip_acl: false,
            enforced: Vec::new(),
        }
    }

    fn raw(scheme: &str, id: &str) -> AclSpec {
        AclSpec::List(Some(vec![RawAcl { perms: 31, scheme: Some(scheme.into()), id: Some(id.into()) }]))
    }

    const LOCAL: IpAddr = IpAddr::V4(core::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn digest_ids_are_apaches() {
        let ids = rules().authenticate("digest", LOCAL, Some(b"user:pw")).unwrap();
        assert_eq!(ids, [Id::new("digest", "user:2Om+GBbT2q/tS6pdvACZbbm7/1A=")], "vector 33");
    }

    #[test]
    fn super_password_passes_every_check() {
        let ids = rules().authenticate("digest", LOCAL, Some(b"super:test")).unwrap();
        assert!(ids.contains(&Id::new(SUPER, "")), "{ids:?}");
        let acl = [Acl { perms: 0, id: Id::new("digest", "a:b") }];
        assert!(rules().allows(&acl, perm::ADMIN, &ids), "super");
        assert!(!rules().allows(&acl, perm::ADMIN, &[]), "anybody else");
    }

    #[test]
    fn ip_prefixes_match_both_families() {
        let yes = [("10.1.2.3", "10.1.0.0/16"), ("10.1.2.3", "10.1.2.3"), ("::1", "::/0"), ("fe80::1", "fe80::/10")];
        for (own, want) in yes {
            assert!(IpScheme.matches(own, want), "{own} in {want}");
        }
        for (own, want) in [("10.2.2.3", "10.1.0.0/16"), ("10.1.2.3", "::/0"), ("::1", "0.0.0.0/0")] {
            assert!(!IpScheme.matches(own, want), "{own} not in {want}");
        }
        for bad in ["", "10.1.2", "10.1.2.3/33", "::1/129", "10.1.2.3/", "10.1.2.3/-1", "host"] {
            assert!(!IpScheme.is_valid(bad), "{bad:?}");
        }
    }

    /// Z-1877: malformed ids must be refused, not crash.
    #[test]
    fn invalid_lists_are_refused() {
        let rules = rules();
        let bad = [
            ("world", "me"),
            ("digest", "nocolon"),
            ("digest", "a:b:c"),
            ("digest", "user:"),
            ("super", ""),
            ("x\0", "y"),
        ];
        for (scheme, id) in bad {
            assert_eq!(rules.expand(&raw(scheme, id), &[]), Err(ErrorCode::InvalidAcl), "{scheme}:{id}");
        }
        for list in [None, Some(vec![]), Some(vec![RawAcl { perms: 1, scheme: None, id: None }])] {
            assert_eq!(rules.expand(&AclSpec::List(list), &[]), Err(ErrorCode::InvalidAcl), "empty or null");
        }
        assert_eq!(rules.expand(&raw("auth", ""), &[ip_id(LOCAL)]), Err(ErrorCode::InvalidAcl), "ip is no user");
    }

    #[test]
    fn auth_expands_to_the_users_of_the_connection() {
        let rules = rules();
        let ids = rules.authenticate("digest", LOCAL, Some(b"user:pw")).unwrap();
        let list = rules.expand(&raw("auth", "ignored"), &ids).unwrap();
        assert_eq!(list[..], [Acl { perms: 31, id: ids[0].clone() }], "one entry an id");
        // kazoo sends null for an empty string.
        let null = AclSpec::List(Some(vec![RawAcl { perms: 31, scheme: Some("auth".into()), id: None }]));
        assert_eq!(rules.expand(&null, &ids), Ok(list), "the id beside auth is ignored, null or not");
    }

    /// A list of tens of thousands held up all writes for seconds: each entry was compared with every other.
    #[test]
    fn repetitions_go_and_the_order_stays() {
        let list = |texts: &[(i32, &str)]| -> Vec<RawAcl> {
            let entry = |&(perms, id): &(i32, &str)| RawAcl {
                perms,
                scheme: Some("digest".to_owned()),
                id: Some(format!("{id}:x")),
            };
            texts.iter().map(entry).collect()
        };
        let given = list(&[(1, "b"), (1, "a"), (2, "a"), (1, "b"), (1, "a"), (1, "c"), (1, "b")]);
        let kept = rules().expand(&AclSpec::List(Some(given)), &[]).unwrap();
        let kept: Vec<(i32, &str)> = kept.iter().map(|entry| (entry.perms, entry.id.id.as_str())).collect();
        assert_eq!(kept, [(1, "b:x"), (1, "a:x"), (2, "a:x"), (1, "c:x")], "the first of each");
    }

    /// A megabyte of `auth` entries and many ids made gigabytes of list.
    #[test]
    fn lists_that_expand_without_end_are_invalid() {
        let ids: Vec<Id> = (0..100).map(|user| Id::new("digest", format!("{user}:x"))).collect();
        let auth = |perms: i32| RawAcl { perms, scheme: Some("auth".to_owned()), id: None };
        let expand = |count: i32| rules().expand(&AclSpec::List(Some((0..count).map(auth).collect())), &ids);
        assert_eq!(expand(1000).map(|list| list.len()), Ok(100_000), "at the bound");
        assert_eq!(expand(1001), Err(ErrorCode::InvalidAcl), "beyond it");
    }

    /// A client could keep adding ids: each auth packet took memory for as long as its connection lived.
    #[test]
    fn a_connection_has_a_bounded_number_of_ids_of_bounded_size() {
        let mut ids: Ids = Arc::new([ip_id(LOCAL)]);
        for user in 1..IDS_MAX {
            ids = with_earned(&ids, vec![Id::new("digest", format!("{user}:x"))]).expect("room for another one");
        }
        assert!(with_earned(&ids, vec![Id::new("digest", "1:x")]).is_some(), "one that it has");
        assert!(with_earned(&ids, vec![Id::new("digest", "more:x")]).is_none(), "one too many");
        let long = |len: usize| with_earned(&Ids::from([]), vec![Id::new("digest", "u".repeat(len - 6))]);
        assert!(long(IDS_BYTES_MAX).is_some() && long(IDS_BYTES_MAX + 1).is_none(), "bytes");
    }

    /// CVE-2019-0201: getACL must not show hashes to those who may not change them.
    #[test]
    fn digests_are_masked_without_admin() {
        let rules = rules();
        let list: AclList = vec![
            Acl { perms: perm::READ, id: Id::new("world", "anyone") },
            Acl { perms: perm::ALL, id: Id::new("digest", "user:hash") },
        ]
        .into();
        assert_eq!(rules.masked(&list, &[])[1].id.id, "user:x", "masked");
        assert_eq!(rules.masked(&list, &[Id::new("digest", "user:hash")])[1].id.id, "user:hash", "the owner sees it");
    }
}
