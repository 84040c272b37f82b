//! The rules of style that a compiler does not check, as functions over the repository's files.
//!
//! Every rule is pure: it takes a [`Repository`] and returns what it found, so its test can hand it a bad sample. What
//! a rule cannot see without guessing is left to review.
//!
//! Not done here: formatting, lints and broken links of rustdoc, which rustfmt, clippy and rustdoc check.

mod repository;
mod rust_text;
mod manifests;
mod crate_map;
mod sources;
mod core_crates;
mod texts;

use std::error::Error;
use std::fmt;
use std::path::Path;

pub use repository::{File, Repository};

/// One place that breaks one rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// Path of the file, from the root of the repository.
    pub path: String,
    /// Line, from 1; 0 when the finding concerns the file as a whole.
    pub line: usize,
    /// What is wrong and what to do instead.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.message),
            line => write!(f, "{}:{line}: {}", self.path, self.message),
        }
    }
}

/// Checks the working tree at `root`; returns the number of files read.
///
/// # Errors
/// The files cannot be listed or read, or there are violations: then the error's text lists them, one a line.
pub fn run(root: &Path) -> Result<usize, Box<dyn Error>> {
    let repository = Repository::load(root)?;
    let violations = check(&repository);
    if violations.is_empty() {
        return Ok(repository.files().len());
    }
    let lines: Vec<String> = violations.iter().map(|violation| format!("tidy: {violation}")).collect();
    Err(lines.join("\n").into())
}

/// All violations, by path and line.
pub fn check(repository: &Repository) -> Vec<Violation> {
    let rules = [manifests::check, crate_map::check, sources::check, core_crates::check, texts::check];
    let mut violations: Vec<Violation> = rules.iter().flat_map(|rule| rule(repository)).collect();
    violations.sort();
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_repository_is_tidy() {
        let result = run(&crate::ci::workspace_root());
        assert!(result.is_ok(), "{}", result.unwrap_err());
    }

    #[test]
    fn a_violation_prints_as_a_place_an_editor_can_open() {
        let at = |line| Violation { path: "a.rs".into(), line, message: "wrong".into() };
        assert_eq!(at(7).to_string(), "a.rs:7: wrong");
        assert_eq!(at(0).to_string(), "a.rs: wrong");
    }
}
