//! Tells Rust code from comments, strings and tests, without parsing it.

use std::collections::BTreeSet;

use super::repository::Repository;

/// The text with the insides of comments, strings and character literals turned into spaces. Offsets and lines stay, as
/// do the quotes, so that a finding in the result points into the original.
pub(super) fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        at = match span_at(bytes, at) {
            Some(Span { blank_from, blank_to, end }) => {
                for byte in &mut code[blank_from..blank_to] {
                    if *byte != b'\n' {
                        *byte = b' ';
                    }
                }
                end
            }
            None => at + 1,
        };
    }
    String::from_utf8_lossy(&code).into_owned()
}

/// A comment or literal: what to blank, and where code goes on.
struct Span {
    blank_from: usize,
    blank_to: usize,
    end: usize,
}

fn span_at(bytes: &[u8], at: usize) -> Option<Span> {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        let end = find(bytes, at, b"\n").unwrap_or(bytes.len());
        return Some(Span { blank_from: at, blank_to: end, end });
    }
    if rest.starts_with(b"/*") {
        let end = block_comment_end(bytes, at);
        return Some(Span { blank_from: at, blank_to: end, end });
    }
    match rest[0] {
        b'"' => Some(quoted(bytes, at, b'"')),
        b'r' if !follows_identifier(bytes, at) => raw_string(bytes, at),
        b'\'' if is_character_literal(rest) => Some(quoted(bytes, at, b'\'')),
        _ => None,
    }
}

fn find(bytes: &[u8], from: usize, needle: &[u8]) -> Option<usize> {
    bytes[from..].windows(needle.len()).position(|window| window == needle).map(|found| from + found)
}

/// Block comments nest in Rust.
fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            (at, depth) = (at + 2, depth + 1);
        } else if bytes[at..].starts_with(b"*/") {
            (at, depth) = (at + 2, depth - 1);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn quoted(bytes: &[u8], start: usize, quote: u8) -> Span {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    let close = at.min(bytes.len());
    Span { blank_from: start + 1, blank_to: close, end: (close + 1).min(bytes.len()) }
}

fn raw_string(bytes: &[u8], start: usize) -> Option<Span> {
    let hashes = bytes[start + 1..].iter().take_while(|byte| **byte == b'#').count();
    let open = start + 1 + hashes;
    if bytes.get(open) != Some(&b'"') {
        return None;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let blank_to = find(bytes, open + 1, &close).unwrap_or(bytes.len());
    Some(Span { blank_from: open + 1, blank_to, end: (blank_to + close.len()).min(bytes.len()) })
}

/// `br"…"` and `cr"…"` are raw strings too; `for"` cannot occur.
fn follows_identifier(bytes: &[u8], at: usize) -> bool {
    let before = at.checked_sub(1).map(|previous| bytes[previous]);
    before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && !matches!(before, Some(b'b' | b'c'))
}

/// Tells `'a'` and `'\n'` from the lifetime `'a`.
fn is_character_literal(rest: &[u8]) -> bool {
    match rest.get(1) {
        Some(b'\\') => true,
        Some(first) => {
            let width =
                if first.is_ascii() { 1 } else { rest[1..].iter().take(4).position(|b| *b == b'\'').unwrap_or(4) };
            rest.get(1 + width) == Some(&b'\'')
        }
        None => false,
    }
}

/// The part of a file before its `#[cfg(test)] mod … {`, which by S31 is the last item. Single test-only items earlier
/// in the file do not end it.
pub(super) fn before_tests(code: &str) -> &str {
    let mut offset = 0;
    let mut lines = code.split_inclusive('\n').peekable();
    while let Some(line) = lines.next() {
        let starts_tests = line.trim() == "#[cfg(test)]"
            && lines.peek().is_some_and(|next| next.trim_start().starts_with("mod ") && next.contains('{'));
        if starts_tests {
            return &code[..offset];
        }
        offset += line.len();
    }
    code
}

/// Paths of files that only tests compile: those under `tests` and `benches`, those named `tests.rs`, and those a
/// parent declares as `#[cfg(test)] mod name;`.
pub(super) fn test_files(repository: &Repository) -> BTreeSet<&str> {
    let declared: BTreeSet<String> = repository.rust_files().flat_map(declared_test_modules).collect();
    let is_test = |path: &str| {
        let in_folder = path.split('/').any(|part| part == "tests" || part == "benches" || part == "tests.rs");
        let in_module = || {
            let module = path.trim_end_matches(".rs");
            declared.iter().any(|test| {
                module.strip_prefix(test.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        };
        in_folder || in_module()
    };
    repository.rust_files().map(|file| file.path.as_str()).filter(|path| is_test(path)).collect()
}

/// Paths, without `.rs`, of the modules that this file declares for tests only.
fn declared_test_modules(file: &super::File) -> Vec<String> {
    let folder = match file.name() {
        "lib.rs" | "main.rs" | "mod.rs" => file.folder().to_owned(),
        _ => file.path.trim_end_matches(".rs").to_owned(),
    };
    let code = code_only(&file.text);
    let lines: Vec<&str> = code.lines().map(str::trim).collect();
    lines
        .windows(2)
        .filter(|pair| pair[0] == "#[cfg(test)]")
        .filter_map(|pair| module_declared(pair[1]))
        .map(|module| format!("{folder}/{module}"))
        .collect()
}

/// The name in `mod name;`, with any visibility.
pub(super) fn module_declared(line: &str) -> Option<&str> {
    let (visibility, name) = line.trim().strip_suffix(';')?.rsplit_once("mod ")?;
    let is_declaration = visibility.is_empty() || visibility.starts_with("pub");
    is_declaration.then_some(name.trim())
}

/// The line, from 1, of a byte offset.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count()
}

/// Offsets at which `word` stands in `text` with no letter, digit or underscore on either side.
pub(super) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let joins = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).map(|(at, _word)| at).filter(move |at| {
        let joined_before = word.starts_with(joins) && text[..*at].ends_with(joins);
        let joined_after = word.ends_with(joins) && text[at + word.len()..].starts_with(joins);
        !joined_before && !joined_after
    })
}

#[cfg(test)]
mod tests {
    use super::super::repository::sample;
    use super::*;

    #[test]
    fn comments_strings_and_characters_are_blanked_and_lines_stay() {
        let text =
            "a(); // b1()\nlet s = \"c1 \\\" d1\"; /* e1 /* f1 */ g1 */ h();\nlet r = r#\"i1 \"j1\"#; let c = '\\'';\n";
        let code = code_only(text);
        assert_eq!(code.len(), text.len());
        assert_eq!(code.lines().count(), text.lines().count());
        assert!(!code.contains('1'), "what ends in 1 is comment or string: {code:?}");
        for kept in ["a();", "h();", "let r = r#\"", "let c = '"] {
            assert!(code.contains(kept), "{kept:?} is lost from {code:?}");
        }
    }

    #[test]
    fn lifetimes_are_code_and_wide_characters_are_literals() {
        let code = code_only("fn f<'a>(x: &'a str) { g('é', '\"'); real() } // no");
        assert!(code.contains("fn f<'a>(x: &'a str)") && code.contains("real() }"), "{code}");
        assert!(!code.contains("no"), "{code}");
    }

    #[test]
    fn a_test_module_with_a_body_ends_the_file_and_a_single_item_does_not() {
        let text = "#[cfg(test)]\nfn helper() {}\nfn real() {}\n#[cfg(test)]\nmod tests {\n}\n";
        assert_eq!(before_tests(text), "#[cfg(test)]\nfn helper() {}\nfn real() {}\n");
    }

    #[test]
    fn test_files_are_those_only_tests_compile() {
        let repository = sample(&[
            ("crates/a/src/lib.rs", "mod real;\n#[cfg(test)]\nmod harness;\n"),
            ("crates/a/src/real.rs", "#[cfg(test)]\nmod oracle;\n"),
            ("crates/a/src/harness.rs", ""),
            ("crates/a/src/harness/deep.rs", ""),
            ("crates/a/src/real/oracle.rs", ""),
            ("crates/a/src/real/tests.rs", ""),
            ("crates/a/tests/one.rs", ""),
        ]);
        let found: Vec<&str> = test_files(&repository).into_iter().collect();
        let expected = [
            "crates/a/src/harness.rs",
            "crates/a/src/harness/deep.rs",
            "crates/a/src/real/oracle.rs",
            "crates/a/src/real/tests.rs",
            "crates/a/tests/one.rs",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn words_are_matched_whole() {
        let found: Vec<usize> = words("foo foobar _foo foo", "foo").collect();
        assert_eq!(found, [0, 16]);
        assert_eq!(words("x.expect(y)", ".expect(").count(), 1);
    }
}
