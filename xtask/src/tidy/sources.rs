//! Rust sources: size (S14), the map at the top of each `lib.rs` (S13), the text of `expect` (S28), and what must not
//! be left behind (S40). Size, map and `expect` are asked of the members of our workspace.

use std::ops::RangeInclusive;

use super::manifests::separate_workspaces;
use super::rust_text::{before_tests, code_only, line_of, module_declared, test_files, words};
use super::{File, Repository, Violation};

/// Lines a file may have before its tests.
const FILE_LINES_MAX: usize = 600;

/// Lines for a file that dispatches a state machine.
const DISPATCHER_LINES_MAX: usize = 900;

/// The files that dispatch a state machine: one for each machine, named here in the commit that needs it.
const DISPATCHERS: &[&str] = &["crates/client/src/core/session.rs", "crates/node/src/node.rs"];

/// Lines of the map that a `lib.rs` opens with.
const MAP_LINES: RangeInclusive<usize> = 10..=30;

/// What `expect` outside tests must begin with.
const EXPECT_PREFIX: &str = "INVARIANT: ";

/// Code that is not to be committed.
const LEFTOVERS: &[&str] = &["dbg!", "todo!", "unimplemented!", "#[ignore"];

pub(super) fn check(repository: &Repository) -> Vec<Violation> {
    let tests = test_files(repository);
    let separate = separate_workspaces(repository);
    let mut violations = Vec::new();
    for file in repository.rust_files() {
        let code = code_only(&file.text);
        let mut report = |line, message| violations.push(Violation { path: file.path.clone(), line, message });
        check_leftovers(&code, &mut report);
        check_commented_out(&file.text, &code, &mut report);
        if separate.iter().any(|folder| file.path.starts_with(&format!("{folder}/"))) {
            continue;
        }
        if file.name() == "lib.rs" {
            check_map(file, &code, &mut report);
        }
        if !tests.contains(file.path.as_str()) {
            check_size(file, before_tests(&code), &mut report);
            check_expect(&file.text, before_tests(&code), &mut report);
        }
    }
    violations
}

fn check_leftovers(code: &str, report: &mut impl FnMut(usize, String)) {
    for leftover in LEFTOVERS {
        for at in words(code, leftover) {
            report(line_of(code, at), format!("{leftover} is not to be committed (S40)"));
        }
    }
}

/// A comment that is a statement, a declaration or an import on its own. Prose that merely ends in `;` is let through.
fn check_commented_out(text: &str, code: &str, report: &mut impl FnMut(usize, String)) {
    for (index, (line, code)) in text.lines().zip(code.lines()).enumerate() {
        let comment = line.trim_start().strip_prefix("//").filter(|rest| !rest.starts_with(['/', '!']));
        if let Some(comment) = comment
            && code.trim().is_empty()
            && is_statement(comment.trim())
        {
            report(index + 1, "code in a comment: delete it, history keeps it (S40)".to_owned());
        }
    }
}

fn is_statement(comment: &str) -> bool {
    let Some(statement) = comment.strip_suffix([';', '{']) else { return false };
    let first = statement.split(['(', ' ']).next().unwrap_or(statement);
    let is_path = |word: &str| {
        !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | ':' | '!'))
    };
    let is_call = comment.ends_with(");") && statement[first.len()..].starts_with('(') && is_path(first);
    let is_binding = statement.starts_with("let ") && statement.contains(" = ");
    let is_import = (first == "use" || statement.starts_with("pub use ")) && statement.contains("::");
    let is_function = comment.ends_with('{') && words(statement, "fn").next().is_some() && statement.contains('(');
    is_call || is_binding || is_import || is_function
}

fn check_size(file: &File, code: &str, report: &mut impl FnMut(usize, String)) {
    let is_dispatcher = DISPATCHERS.contains(&file.path.as_str());
    let max = if is_dispatcher { DISPATCHER_LINES_MAX } else { FILE_LINES_MAX };
    let lines = code.lines().count();
    if lines > max {
        report(0, format!("{lines} lines before its tests, at most {max}: split it by phase or by noun (S14)"));
    }
}

fn check_expect(text: &str, code: &str, report: &mut impl FnMut(usize, String)) {
    const CALL: &str = ".expect(";
    for at in words(code, CALL) {
        let argument = &text[at + CALL.len()..];
        let literal = argument.trim_start().strip_prefix('"');
        if literal.is_some_and(|literal| !literal.starts_with(EXPECT_PREFIX)) {
            report(line_of(code, at), format!("expect says why it cannot fail: expect(\"{EXPECT_PREFIX}…\") (S28)"));
        }
    }
}

/// The map names modules in its list items, before the first colon, and as links anywhere; those it lists are declared
/// in the order in which it lists them.
fn check_map(file: &File, code: &str, report: &mut impl FnMut(usize, String)) {
    let map: Vec<&str> = file.text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim).collect();
    if !MAP_LINES.contains(&map.len()) {
        let (least, most) = (MAP_LINES.start(), MAP_LINES.end());
        report(1, format!("opens with a map of {} lines, {least} to {most} are asked (S13)", map.len()));
        return;
    }
    let declared: Vec<&str> = code.lines().filter_map(module_declared).collect();
    let linked = map.iter().flat_map(|line| between(line, "[`", "`]"));
    let heads = map.iter().filter_map(|line| line.strip_prefix("- ")?.split(": ").next());
    let listed: Vec<&str> =
        heads.flat_map(|head| between(head, "`", "`")).filter(|name| is_module_name(name)).collect();
    for name in linked.filter(|name| is_module_name(name)).chain(listed.iter().copied()) {
        if !declared.contains(&name) {
            report(1, format!("the map names `{name}`, which is no module here (S13)"));
            return;
        }
    }
    let order: Vec<&str> = declared.iter().copied().filter(|name| listed.contains(name)).collect();
    if order != listed {
        report(1, format!("modules are declared as {order:?}, the map reads them as {listed:?} (S13)"));
    }
}

fn between<'a>(line: &'a str, open: &'a str, close: &'a str) -> impl Iterator<Item = &'a str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let (_before, inside) = rest.split_once(open)?;
        let (found, after) = inside.split_once(close)?;
        rest = after;
        Some(found)
    })
}

fn is_module_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::super::repository::sample;
    use super::*;

    fn found_in(path: &str, text: &str) -> Vec<String> {
        check(&sample(&[(path, text)])).into_iter().map(|violation| violation.to_string()).collect()
    }

    fn found(text: &str) -> Vec<String> {
        found_in("crates/a/src/x.rs", text)
    }

    #[test]
    fn a_file_over_its_lines_is_found_and_its_tests_do_not_count() {
        let line = "fn f() {}\n";
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", line.repeat(FILE_LINES_MAX));
        assert_eq!(found(&format!("{}{tests}", line.repeat(FILE_LINES_MAX))), [""; 0]);
        assert_eq!(found(&line.repeat(FILE_LINES_MAX + 1)).len(), 1);
        assert_eq!(found_in("crates/a/src/x/tests.rs", &line.repeat(FILE_LINES_MAX + 1)), [""; 0]);
    }

    #[test]
    fn an_expect_without_its_invariant_is_found() {
        assert_eq!(
            found("fn f() {\n    g().expect(\"it works\");\n}\n"),
            ["crates/a/src/x.rs:2: expect says why it \
                    cannot fail: expect(\"INVARIANT: …\") (S28)"]
        );
        assert_eq!(found("fn f() {\n    g().expect(\n        \"it works\",\n    );\n}\n").len(), 1);
    }

    #[test]
    fn an_expect_with_its_invariant_in_tests_or_in_a_comment_is_accepted() {
        let text = "fn f() { g().expect(\"INVARIANT: g was checked\") } // .expect(\"x\")\n#[cfg(test)]\nmod tests {\n    \
                    fn t() { g().expect(\"x\") }\n}\n";
        assert_eq!(found(text), [""; 0]);
    }

    #[test]
    fn a_tool_in_its_own_workspace_is_asked_for_leftovers_only() {
        let manifest = ("bench/load/Cargo.toml", "[package]\nname = \"load\"\n[workspace]\n");
        let source = "fn f() {\n    g().expect(\"it works\");\n    dbg!(1);\n}\n";
        let found = check(&sample(&[manifest, ("bench/load/src/lib.rs", source)]));
        assert!(found.len() == 1 && found[0].line == 3, "{found:?}");
    }

    #[test]
    fn leftovers_are_found_in_tests_too() {
        for leftover in LEFTOVERS {
            let text = format!("#[cfg(test)]\nmod tests {{\n    {leftover}\n}}\n");
            assert_eq!(found(&text).len(), 1, "{leftover}");
            assert_eq!(found(&format!("// {leftover}\nfn f() {{ g(\"{leftover}\") }}\n")), [""; 0], "{leftover}");
        }
    }

    #[test]
    fn code_in_comments_is_found_and_prose_is_not() {
        let code = ["let x = 1;", "self.flush();", "use std::fmt;", "pub fn f(x: u8) {", "assert!(ok);", "a::b(c, d);"];
        for line in code {
            assert_eq!(found(&format!("    // {line}\n")).len(), 1, "{line}");
        }
        let prose = [
            "The log is synced first;",
            "use the tree's clock;",
            "let it run;",
            "as Apache does (DataTree.processTxn);",
            "a set {",
        ];
        for line in prose {
            assert_eq!(found(&format!("    // {line}\n")), [""; 0], "{line}");
        }
        assert_eq!(found("/// self.flush();\nfn f() {}\n"), [""; 0], "documentation may show code");
    }

    fn map(lines: usize, items: &str, declarations: &str) -> Vec<String> {
        let prose = "//! What it is.\n".repeat(lines - items.lines().count());
        found_in("crates/a/src/lib.rs", &format!("{prose}{items}\n{declarations}"))
    }

    #[test]
    fn a_map_of_the_right_length_that_names_its_modules_in_order_is_accepted() {
        let items = "//! - [`one`], `two`: first [`Type`]\n//! - [`three`]: then `std::fmt`\n";
        assert_eq!(map(10, items, "mod one;\npub mod two;\npub(crate) mod three;\nmod unlisted;\n"), [""; 0]);
    }

    #[test]
    fn a_map_that_is_absent_too_short_or_too_long_is_found() {
        assert_eq!(found_in("crates/a/src/lib.rs", "pub fn f() {}\n").len(), 1);
        assert_eq!(map(9, "", "").len(), 1);
        assert_eq!(map(31, "", "").len(), 1);
    }

    #[test]
    fn a_map_that_names_no_module_of_the_crate_is_found() {
        assert_eq!(map(10, "//! - `gone`: was here\n", "mod one;\n").len(), 1);
        assert_eq!(map(10, "//! See [`gone`].\n", "mod one;\n").len(), 1);
    }

    #[test]
    fn modules_declared_in_another_order_than_the_map_are_found() {
        assert_eq!(map(10, "//! - `one`: first\n//! - `two`: second\n", "mod two;\nmod one;\n").len(), 1);
    }
}
