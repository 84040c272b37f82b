//! The files that rules look at: everything git tracks or would track, as text.

use std::error::Error;
use std::path::Path;
use std::process::Command;

/// One text file.
#[derive(Debug, Clone)]
pub struct File {
    /// Path from the root of the repository, with `/`.
    pub path: String,
    /// Its contents.
    pub text: String,
    /// Whether its owner may execute it.
    pub executable: bool,
}

impl File {
    /// Whether the name ends in `.extension`.
    pub fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|found| found == extension)
    }

    /// The last component of the path.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// The path without its last component, empty at the root.
    pub fn folder(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(folder, _name)| folder)
    }
}

/// All text files of a working tree, by path. Files that are not UTF-8 are binary to us and left out.
#[derive(Debug)]
pub struct Repository {
    files: Vec<File>,
}

impl Repository {
    /// A repository made of the given files.
    pub fn new(mut files: Vec<File>) -> Self {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Self { files }
    }

    /// Reads the working tree at `root`. New files count before `git add`, so that a rule speaks up before the commit.
    ///
    /// # Errors
    /// Git cannot list the files, or one cannot be read.
    pub fn load(root: &Path) -> Result<Self, Box<dyn Error>> {
        let mut git = Command::new("git");
        git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root);
        let output = git.output().map_err(|error| format!("git does not start: {error}"))?;
        if !output.status.success() {
            return Err(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let mut files = Vec::new();
        for path in String::from_utf8(output.stdout)?.split_terminator('\0') {
            let place = root.join(path);
            // A file deleted but not yet removed from the index, or a link to a directory, has no text.
            let Ok(metadata) = place.metadata() else { continue };
            if !metadata.is_file() {
                continue;
            }
            if let Ok(text) = String::from_utf8(std::fs::read(&place)?) {
                files.push(File { path: path.to_owned(), text, executable: is_executable(&metadata) });
            }
        }
        Ok(Self::new(files))
    }

    /// The files, by path.
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// The Rust sources, by path.
    pub fn rust_files(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.has_extension("rs"))
    }

    /// The file at exactly this path.
    pub fn find(&self, path: &str) -> Option<&File> {
        self.files.binary_search_by(|file| file.path.as_str().cmp(path)).ok().map(|at| &self.files[at])
    }

    /// Whether the path names a file, or a directory that holds one.
    pub fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let inside = format!("{path}/");
        path.is_empty() || self.files.iter().any(|file| file.path == path || file.path.starts_with(&inside))
    }
}

fn is_executable(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o100 != 0
}

/// A repository of plain files, for the tests of the rules.
#[cfg(test)]
pub(crate) fn sample(files: &[(&str, &str)]) -> Repository {
    let file = |(path, text): &(&str, &str)| File { path: (*path).into(), text: (*text).into(), executable: false };
    Repository::new(files.iter().map(file).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loading_finds_this_file_and_knows_its_directories() {
        let repository = Repository::load(&crate::ci::workspace_root()).unwrap();
        let this = repository.find("xtask/src/tidy/repository.rs").unwrap();
        assert!(!this.executable, "sources are not executable");
        assert_eq!((this.name(), this.folder()), ("repository.rs", "xtask/src/tidy"));
        assert!(repository.has("xtask/src/") && !repository.has("xtask/sr"), "directories are matched whole");
    }
}
