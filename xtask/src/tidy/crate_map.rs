//! Arrows between our crates point down (S12): the table here is the whole graph. A new crate or a new arrow changes it
//! in the same commit.

use super::manifests::{Member, members};
use super::{Repository, Violation};

/// Each crate, its directory, and the crates of ours it may use. The same holds for its tests.
const MAP: &[(&str, &str, &[&str])] = &[
    ("gk-proto", "crates/proto", &[]),
    ("gk-tree", "crates/tree", &["gk-proto"]),
    ("gk-zab", "crates/zab", &["gk-proto"]),
    ("gk-node", "crates/node", &["gk-proto", "gk-tree", "gk-zab"]),
    ("gk-storage", "crates/storage", &["gk-proto", "gk-tree"]),
    ("gk-server", "crates/server", &["gk-proto", "gk-node", "gk-storage", "gk-tree"]),
    ("gk-client", "crates/client", &["gk-proto", "gk-server"]), // the server only by its feature `testing`
    ("gk-sim", "crates/sim", &["gk-client", "gk-node", "gk-proto", "gk-storage", "gk-tree", "gk-zab"]),
    ("gamekeeper", "crates/cli", &["gk-client", "gk-proto", "gk-server", "gk-storage", "gk-tree"]),
    ("gk-fuzz", "crates/fuzz", &["gk-client", "gk-node", "gk-proto", "gk-server", "gk-storage", "gk-tree"]),
    ("gk-differential", "crates/differential", &["gk-proto"]),
    ("xtask", "xtask", &[]),
];

pub(super) fn check(repository: &Repository) -> Vec<Violation> {
    let members = members(repository);
    let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
    members.iter().flat_map(|member| check_member(member, &names)).collect()
}

fn check_member(member: &Member<'_>, ours: &[&str]) -> Vec<Violation> {
    let violation = |message: String| Violation { path: member.manifest.path.clone(), line: 0, message };
    let entry = MAP.iter().find(|(name, folder, _uses)| *name == member.name && *folder == member.folder());
    let Some((_name, _folder, allowed)) = entry else {
        return vec![violation(format!("{} is not on the map of crates at this place (S12)", member.name))];
    };
    let arrows = member.dependencies.iter().map(|dependency| dependency.name.as_str());
    arrows
        .filter(|name| ours.contains(name) && !allowed.contains(name))
        .map(|name| violation(format!("the map of crates has no arrow {} -> {name} (S12)", member.name)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::repository::sample;
    use super::*;

    fn manifest(name: &str, section: &str, uses: &str) -> String {
        format!("[package]\nname = \"{name}\"\n[{section}]\n{uses}.workspace = true\n")
    }

    fn arrows(section: &str, from: (&str, &str), to: (&str, &str)) -> Vec<Violation> {
        let (user, used) = (manifest(from.0, section, to.0), manifest(to.0, "dependencies", "bytes"));
        check(&sample(&[(&format!("{}/Cargo.toml", from.1), &user), (&format!("{}/Cargo.toml", to.1), &used)]))
    }

    const PROTO: (&str, &str) = ("gk-proto", "crates/proto");
    const TREE: (&str, &str) = ("gk-tree", "crates/tree");
    const SERVER: (&str, &str) = ("gk-server", "crates/server");

    #[test]
    fn an_arrow_on_the_map_is_accepted() {
        assert_eq!(arrows("dependencies", TREE, PROTO), []);
    }

    #[test]
    fn an_arrow_that_points_up_is_found_even_for_tests() {
        for section in ["dependencies", "dev-dependencies", "build-dependencies", "target.'cfg(unix)'.dev-dependencies"]
        {
            let found = arrows(section, TREE, SERVER);
            assert!(found.len() == 1 && found[0].message.contains("gk-tree -> gk-server"), "{section}: {found:?}");
        }
    }

    #[test]
    fn a_server_that_uses_the_client_is_found_even_for_tests() {
        let client = ("gk-client", "crates/client");
        for (name, folder) in [SERVER, ("gk-node", "crates/node"), ("gk-storage", "crates/storage")] {
            let found = arrows("dev-dependencies", (name, folder), client);
            let arrow = format!("{name} -> gk-client");
            assert!(found.iter().any(|violation| violation.message.contains(&arrow)), "{found:?}");
        }
    }

    #[test]
    fn a_crate_that_is_not_on_the_map_is_found() {
        let text = manifest("gk-utils", "dependencies", "bytes");
        assert_eq!(check(&sample(&[("crates/utils/Cargo.toml", &text)])).len(), 1);
        let misplaced = manifest("gk-tree", "dependencies", "bytes");
        assert_eq!(check(&sample(&[("crates/forest/Cargo.toml", &misplaced)])).len(), 1);
    }
}
