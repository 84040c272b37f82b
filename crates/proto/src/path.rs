//! Which strings name a znode (ZooKeeper `PathUtils.validatePath`), and how a path splits.

/// Root of the tree of limits and usage.
pub const QUOTA_ROOT: &str = "/zookeeper/quota";
/// The node that holds the ensemble's configuration.
pub const CONFIG: &str = "/zookeeper/config";
/// The reserved subtree.
pub const RESERVED: &str = "/zookeeper";
/// Last component of the node that holds a path's limits.
pub const LIMITS: &str = "zookeeper_limits";
/// Last component of the node that holds a path's usage.
pub const STATS: &str = "zookeeper_stats";

/// Whether the string is a path that a node may have.
///
/// Characters beyond U+FFFF are refused with the surrogates that Java sees in their place.
pub fn is_valid(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else { return false };
    if rest.is_empty() {
        return true;
    }
    // Printable ASCII is the common case and needs no decoding.
    let legal = path.bytes().all(|b| (0x20..0x7f).contains(&b)) || path.chars().all(is_legal);
    legal && rest.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn is_legal(c: char) -> bool {
    !matches!(c, '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..)
}

/// Parent and last component: `/a/b` is (`/a`, `b`), `/a` is (`/`, `a`). The root, and a string without `/`, have none.
///
/// Splits at the last slash as ZooKeeper does, whether or not the path is valid: `/a/` is (`/a`, ``).
pub fn split(path: &str) -> Option<(&str, &str)> {
    let (parent, name) = path.rsplit_once('/')?;
    if path == "/" {
        return None;
    }
    Some((if parent.is_empty() { "/" } else { parent }, name))
}

/// The parent path alone.
pub fn parent(path: &str) -> Option<&str> {
    split(path).map(|(parent, _)| parent)
}

/// Whether the node may be deleted by anybody: the four built-in nodes may not.
pub fn is_deletable(path: &str) -> bool {
    !matches!(path, "/" | RESERVED | QUOTA_ROOT | CONFIG)
}

/// `base` and `name` joined by one slash.
pub fn join(base: &str, name: &str) -> String {
    if base == "/" { format!("/{name}") } else { format!("{base}/{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_zookeepers() {
        for good in ["/", "/a", "/a/...", "/a/.b", "/a..b", "/\u{a0}", "/\u{d7ff}", "/ü/ß", "/a b"] {
            assert!(is_valid(good), "{good:?}");
        }
        let bad = [
            "",
            "a",
            "//",
            "/a/",
            "/a//b",
            "/.",
            "/..",
            "/a/.",
            "/a/../b",
            "/\0",
            "/\x01",
            "/\x1f",
            "/\x7f",
            "/\u{9f}",
            "/\u{e000}",
            "/\u{f8ff}",
            "/\u{fff0}",
            "/\u{fffd}",
            "/\u{ffff}",
            "/\u{1F389}",
        ];
        for path in bad {
            assert!(!is_valid(path), "{path:?}");
        }
    }

    #[test]
    fn splitting_follows_the_last_slash() {
        assert_eq!(split("/a/b"), Some(("/a", "b")), "nested");
        assert_eq!(split("/a"), Some(("/", "a")), "top");
        assert_eq!(split("/a/"), Some(("/a", "")), "trailing");
        assert_eq!(split("/"), None, "root");
        assert_eq!(split("a"), None, "no slash");
        assert_eq!(join("/", "a"), "/a", "join at the root");
    }
}
