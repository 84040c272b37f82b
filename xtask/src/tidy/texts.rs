//! Rules for every text file: no notes to self, no paths of one machine, scripts that run and say what they do, links
//! that lead somewhere.

use super::rust_text::words;
use super::{File, Repository, Violation};

/// Notes to self, assembled so that this file does not contain them.
const NOTES: &[&str] = &[concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X")];

/// Directories that exist on one machine, assembled likewise.
const MACHINE_FOLDERS: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/tm", "p/")];

/// Texts that look like such paths and are not: file, text, and why it is there.
const DOCUMENTED_EXAMPLES: &[(&str, &str, &str)] = &[];

/// A file that may contain a licence or a checksum list is still text; these are not ours to word.
const FOREIGN: &[&str] = &["LICENSE", "Cargo.lock"];

/// Words that make a head comment say something.
const HEAD_WORDS_MIN: usize = 5;

pub(super) fn check(repository: &Repository) -> Vec<Violation> {
    let mut violations = Vec::new();
    for file in repository.files().iter().filter(|file| !FOREIGN.contains(&file.path.as_str())) {
        let mut report = |line, message| violations.push(Violation { path: file.path.clone(), line, message });
        for (index, line) in file.text.lines().enumerate() {
            check_line(&file.path, line, &mut |message| report(index + 1, message));
        }
        check_script(file, &mut report);
        if file.has_extension("md") {
            check_links(repository, file, &mut report);
        }
    }
    violations
}

fn check_line(path: &str, line: &str, report: &mut impl FnMut(String)) {
    for note in NOTES.iter().filter(|note| words(line, note).next().is_some()) {
        report(format!("{note}: do it, or open an issue (S40)"));
    }
    for folder in MACHINE_FOLDERS {
        let stands_alone = |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-~$}/".contains(c));
        let is_example = |at: usize| {
            DOCUMENTED_EXAMPLES.iter().any(|(file, text, _why)| *file == path && line[at..].starts_with(text))
        };
        if line.match_indices(folder).any(|(at, _folder)| stands_alone(at) && !is_example(at)) {
            report(format!("{folder}… is a path of one machine"));
        }
    }
}

fn check_script(file: &File, report: &mut impl FnMut(usize, String)) {
    let is_script = file.text.starts_with("#!") && !file.has_extension("rs");
    if !is_script {
        if file.executable {
            report(1, "is executable and does not begin with #!".to_owned());
        }
        if file.has_extension("sh") {
            report(1, "a shell script begins with #!".to_owned());
        }
        if file.has_extension("py") && head_words(&file.text) < HEAD_WORDS_MIN {
            report(1, "a Python module begins with a paragraph that says what it is for".to_owned());
        }
        return;
    }
    if !file.executable {
        report(1, "a script is executable: chmod +x".to_owned());
    }
    if head_words(&file.text) < HEAD_WORDS_MIN {
        report(2, "a script begins with a paragraph that says what it does".to_owned());
    }
}

/// Words in the comment, or Python's docstring, before the first line of code.
fn head_words(text: &str) -> usize {
    let mut lines = text.lines().skip_while(|line| line.starts_with("#!") || line.trim().is_empty()).peekable();
    let quotes = lines.peek().and_then(|line| ["\"\"\"", "'''"].into_iter().find(|quotes| line.starts_with(*quotes)));
    match quotes {
        Some(quotes) => {
            let rest: Vec<&str> = lines.collect();
            rest.join("\n").split(quotes).nth(1).unwrap_or_default().split_whitespace().count()
        }
        None => lines.map_while(|line| line.strip_prefix('#')).flat_map(str::split_whitespace).count(),
    }
}

/// Links to files of the repository, and paths under `docs/` in backticks.
fn check_links(repository: &Repository, file: &File, report: &mut impl FnMut(usize, String)) {
    for (index, line) in file.text.lines().enumerate() {
        let targets = line.match_indices("](").filter_map(|(at, open)| line[at + open.len()..].split(')').next());
        let relative = targets.map(|target| target.split('#').next().unwrap_or(target));
        for target in relative.filter(|target| !target.is_empty() && !target.contains(':')) {
            if !repository.has(&resolve(file.folder(), target)) {
                report(index + 1, format!("the link leads nowhere: {target}"));
            }
        }
        for document in line.split('`').skip(1).step_by(2).filter(|text| is_document(text)) {
            if !repository.has(document) {
                report(index + 1, format!("there is no {document}"));
            }
        }
    }
}

fn is_document(text: &str) -> bool {
    text.starts_with("docs/") && !text.contains(|c: char| c.is_whitespace() || "*<…".contains(c))
}

/// The path of a link, from the root of the repository.
fn resolve(folder: &str, target: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(target.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::super::repository::sample;
    use super::*;

    fn found_in(files: &[(&str, &str)]) -> Vec<String> {
        check(&sample(files)).into_iter().map(|violation| violation.to_string()).collect()
    }

    fn found(text: &str) -> Vec<String> {
        found_in(&[("notes.txt", text)])
    }

    #[test]
    fn a_note_to_self_is_found_in_any_file() {
        for note in NOTES {
            assert_eq!(found(&format!("fine\n{note}: later\n")).len(), 1, "{note}");
            assert_eq!(found(&format!("{note}{note}")), [""; 0], "part of a word, as in a template of mktemp");
        }
    }

    #[test]
    fn a_path_of_one_machine_is_found() {
        for folder in MACHINE_FOLDERS {
            assert_eq!(found(&format!("cd {folder}x")).len(), 1, "{folder}");
            assert_eq!(found(&format!("\"{folder}x\"")).len(), 1, "{folder}");
            assert_eq!(found(&format!("https://example.org{folder}x")), [""; 0], "{folder}");
            assert_eq!(found(&format!("$base{folder}x ${{base}}{folder}x")), [""; 0], "{folder}");
        }
    }

    #[test]
    fn the_licence_is_not_ours_to_word() {
        assert_eq!(found_in(&[("LICENSE", NOTES[0])]), [""; 0]);
    }

    fn script(path: &str, text: &str, executable: bool) -> Vec<Violation> {
        check(&Repository::new(vec![File { path: path.into(), text: text.into(), executable }]))
    }

    const HEAD: &str = "# Runs the suites that are named,\n# or all of them.\n";

    #[test]
    fn a_script_that_runs_and_says_what_it_does_is_accepted() {
        assert_eq!(script("run", &format!("#!/usr/bin/env bash\n{HEAD}set -e\n"), true), []);
        assert_eq!(script("run", "#!/usr/bin/env python3\n\"\"\"Runs the suites\nthat are named.\"\"\"\n", true), []);
    }

    #[test]
    fn a_script_that_cannot_be_executed_is_found() {
        assert_eq!(script("run", &format!("#!/usr/bin/env bash\n{HEAD}"), false).len(), 1);
        assert_eq!(script("run", "data", true).len(), 1, "executable without an interpreter");
        assert_eq!(script("run.sh", HEAD, false).len(), 1, "shell script without an interpreter");
    }

    #[test]
    fn a_script_without_a_head_is_found() {
        assert_eq!(
            script("run", "#!/usr/bin/env bash\nset -e\n# Too late to say what this does now.\n", true).len(),
            1
        );
        assert_eq!(
            script("run", "#!/usr/bin/env python3\n\"\"\"Short.\"\"\"\nimport os, sys, re, json, time\n", true).len(),
            1
        );
        assert_eq!(script("module.py", "import os\n", false).len(), 1);
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let text = "[a](docs/a.md) [b](docs/gone.md#part) [c](https://example.org) [d](#here)\n`docs/lost.md`\n";
        let found = found_in(&[("README.md", text), ("docs/a.md", "[up](../README.md) [all](.)\n")]);
        assert_eq!(
            found,
            ["README.md:1: the link leads nowhere: docs/gone.md", "README.md:2: there is no docs/lost.md"]
        );
    }
}
