//! Manifests: every dependency comes from the workspace and has its reason there (S39); licence and lints everywhere.
//!
//! Also what the other rules need to know of a crate: its name, its place and what it depends on. A tool with a
//! `[workspace]` of its own (a load generator, a fuzz target) is no member: it has its own lock file, and of these rules
//! only the licence binds it.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::{File, Repository, Violation};

const LICENCE: &str = "Apache-2.0";

/// Whether a dependency is in the shipped program or only in tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Always,
    TestsOnly,
}

/// One dependency of a member, as its manifest names it.
#[derive(Debug)]
pub(super) struct Dependency {
    pub(super) name: String,
    pub(super) used: Use,
    from_workspace: bool,
}

/// One member of the workspace.
#[derive(Debug)]
pub(super) struct Member<'a> {
    pub(super) manifest: &'a File,
    pub(super) name: String,
    pub(super) dependencies: Vec<Dependency>,
    table: Table,
}

impl Member<'_> {
    /// The directory of the crate.
    pub(super) fn folder(&self) -> &str {
        self.manifest.folder()
    }
}

/// The members whose manifests parse; `check` reports those that do not.
pub(super) fn members(repository: &Repository) -> Vec<Member<'_>> {
    let separate = separate_workspaces(repository);
    let in_ours = |manifest: &&File| !separate.contains(&manifest.folder());
    manifests(repository).filter(in_ours).filter_map(|manifest| member(manifest).ok()).collect()
}

/// Directories below the root that are workspaces by themselves.
pub(super) fn separate_workspaces(repository: &Repository) -> Vec<&str> {
    let is_separate =
        |manifest: &&File| manifest.text.parse::<Table>().is_ok_and(|table| table.contains_key("workspace"));
    manifests(repository).filter(is_separate).map(File::folder).collect()
}

fn manifests(repository: &Repository) -> impl Iterator<Item = &File> {
    repository.files().iter().filter(|file| file.name() == "Cargo.toml" && !file.folder().is_empty())
}

fn member(manifest: &File) -> Result<Member<'_>, String> {
    let table: Table = manifest.text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
    let name = string_at(&table, &["package", "name"]).ok_or("no package.name")?;
    let mut dependencies = dependencies_of(&table);
    let targets = table.get("target").and_then(Value::as_table);
    for target in targets.into_iter().flat_map(Table::values).filter_map(Value::as_table) {
        dependencies.extend(dependencies_of(target));
    }
    Ok(Member { manifest, name, dependencies, table })
}

fn dependencies_of(table: &Table) -> Vec<Dependency> {
    let sections =
        [("dependencies", Use::Always), ("build-dependencies", Use::Always), ("dev-dependencies", Use::TestsOnly)];
    let mut dependencies = Vec::new();
    for (section, used) in sections {
        for (name, value) in table.get(section).and_then(Value::as_table).into_iter().flatten() {
            let from_workspace = value.get("workspace").and_then(Value::as_bool) == Some(true);
            dependencies.push(Dependency { name: name.clone(), used, from_workspace });
        }
    }
    dependencies
}

fn value_at<'a>(table: &'a Table, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(table.get(*first)?, |value, key| value.get(key))
}

fn string_at(table: &Table, path: &[&str]) -> Option<String> {
    value_at(table, path).and_then(Value::as_str).map(str::to_owned)
}

pub(super) fn check(repository: &Repository) -> Vec<Violation> {
    let mut violations = Vec::new();
    let separate = separate_workspaces(repository);
    for manifest in manifests(repository) {
        match member(manifest) {
            Ok(tool) if separate.contains(&manifest.folder()) => check_licence(manifest, &tool.table, &mut violations),
            Ok(member) => check_member(&member, &mut violations),
            Err(error) => violations.push(at(manifest, 0, error)),
        }
    }
    match repository.find("Cargo.toml") {
        Some(root) => check_root(root, &mut violations),
        None => violations.push(Violation { path: "Cargo.toml".into(), line: 0, message: "is missing".into() }),
    }
    if !repository.has("LICENSE") {
        violations.push(Violation { path: "LICENSE".into(), line: 0, message: "is missing".into() });
    }
    violations
}

fn at(file: &File, line: usize, message: impl Into<String>) -> Violation {
    Violation { path: file.path.clone(), line, message: message.into() }
}

fn check_member(member: &Member<'_>, violations: &mut Vec<Violation>) {
    for dependency in member.dependencies.iter().filter(|dependency| !dependency.from_workspace) {
        let message = format!("take {} from the workspace: `{0}.workspace = true` (S39)", dependency.name);
        violations.push(at(member.manifest, 0, message));
    }
    let inherited = |path: &[&str]| value_at(&member.table, path).and_then(Value::as_bool) == Some(true);
    if !inherited(&["package", "license", "workspace"]) {
        violations.push(at(member.manifest, 0, "`license.workspace = true` is missing"));
    }
    if !inherited(&["lints", "workspace"]) {
        violations.push(at(member.manifest, 0, "`[lints] workspace = true` is missing: no lint of ours would apply"));
    }
}

fn check_licence(manifest: &File, table: &Table, violations: &mut Vec<Violation>) {
    if string_at(table, &["package", "license"]).as_deref() != Some(LICENCE) {
        violations.push(at(manifest, 0, format!("package.license is not {LICENCE:?}")));
    }
}

fn check_root(root: &File, violations: &mut Vec<Violation>) {
    let table: Table = match root.text.parse() {
        Ok(table) => table,
        Err(error) => {
            let error: toml::de::Error = error;
            violations.push(at(root, 0, error.message()));
            return;
        }
    };
    if string_at(&table, &["workspace", "package", "license"]).as_deref() != Some(LICENCE) {
        violations.push(at(root, 0, format!("workspace.package.license is not {LICENCE:?}")));
    }
    let lines = dependency_lines(&root.text);
    let dependencies = value_at(&table, &["workspace", "dependencies"]).and_then(Value::as_table);
    for (name, value) in dependencies.into_iter().flatten().filter(|(_name, value)| value.get("path").is_none()) {
        let (line, text) = lines.get(name.as_str()).copied().unwrap_or((0, ""));
        let reason = comment_of(text).unwrap_or_default();
        if reason.is_empty() {
            let message = format!("say on the line of {name} why it is there (S39)");
            violations.push(at(root, line, message));
        } else if value.as_str() == Some("*") {
            violations.push(at(root, line, format!("{name} accepts any version")));
        }
    }
}

/// The lines of `[workspace.dependencies]` by the key they open with: a parser drops the comments we are after.
fn dependency_lines(text: &str) -> BTreeMap<&str, (usize, &str)> {
    let mut lines = BTreeMap::new();
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        if line.starts_with('[') {
            inside = line.trim_end() == "[workspace.dependencies]";
        } else if inside && let Some((key, _value)) = line.split_once('=') {
            lines.insert(key.trim(), (index + 1, line));
        }
    }
    lines
}

/// What follows the first `#` outside a string.
fn comment_of(line: &str) -> Option<&str> {
    let mut quoted = false;
    for (at, character) in line.char_indices() {
        match character {
            '"' => quoted = !quoted,
            '#' if !quoted => return Some(line[at + 1..].trim()),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::repository::sample;
    use super::*;

    const ROOT: &str =
        "[workspace.package]\nlicense = \"Apache-2.0\"\n[workspace.dependencies]\nbytes = \"1\" # a # reason\n";
    const MEMBER: &str = "[package]\nname = \"a\"\nlicense.workspace = true\n[lints]\nworkspace = true\n";

    fn found(root: &str, member: &str) -> Vec<String> {
        let repository = sample(&[("Cargo.toml", root), ("crates/a/Cargo.toml", member), ("LICENSE", "")]);
        check(&repository).into_iter().map(|violation| violation.to_string()).collect()
    }

    #[test]
    fn a_workspace_in_order_has_no_violation() {
        let member = format!("{MEMBER}[dependencies]\nbytes.workspace = true\nlibc = {{ workspace = true }}\n");
        assert_eq!(found(ROOT, &member), [""; 0]);
    }

    #[test]
    fn a_version_in_a_member_is_found_also_for_tests_and_targets() {
        for section in ["dependencies", "dev-dependencies", "build-dependencies", "target.'cfg(unix)'.dependencies"] {
            let member = format!("{MEMBER}[{section}]\nlibc = \"0.2\"\n");
            assert_eq!(found(ROOT, &member).len(), 1, "{section}");
        }
    }

    #[test]
    fn a_dependency_without_a_reason_is_found_on_its_line() {
        let root = format!("{ROOT}libc = \"0.2\"\ntokio = {{ version = \"1\" }} #\n");
        let found = found(&root, MEMBER);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("Cargo.toml:5: say on the line of libc"), "{found:?}");
    }

    #[test]
    fn a_hash_inside_a_string_is_not_a_reason() {
        assert_eq!(comment_of("a = \"#1\""), None);
        assert_eq!(comment_of("a = \"#1\" # why"), Some("why"));
    }

    #[test]
    fn missing_licence_and_lints_are_found() {
        let found = found("[workspace.package]\nlicense = \"MIT\"\n", "[package]\nname = \"a\"\nlicense = \"MIT\"\n");
        assert_eq!(found.len(), 3, "{found:?}");
    }

    #[test]
    fn a_manifest_that_does_not_parse_is_found() {
        let found = found(ROOT, "[package");
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn a_workspace_of_its_own_needs_only_its_licence() {
        let tool =
            "[package]\nname = \"load\"\nlicense = \"Apache-2.0\"\n[workspace]\n[dependencies]\nlibc = \"0.2\"\n";
        assert_eq!(found(ROOT, tool), [""; 0]);
        assert_eq!(found(ROOT, &tool.replace("Apache-2.0", "MIT")).len(), 1);
    }

    #[test]
    fn a_repository_without_licence_text_is_found() {
        assert_eq!(check(&sample(&[("Cargo.toml", ROOT)])).len(), 1);
    }
}
