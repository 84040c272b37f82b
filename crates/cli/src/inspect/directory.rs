//! What is looked at: a data directory, found by its name or by a zoo.cfg, or one file.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use gk_server::config::{Config, Loaded, load, system_properties};
use gk_storage::{FileKind, StorageError, StoreOptions, lock_files};

use super::Stop;
use super::arguments::{DirectoryArguments, InspectArguments};
use super::text;

/// What a word of the command line leads to.
pub(crate) enum Source {
    Directory(StoreOptions),
    Log(PathBuf),
    Snapshot(PathBuf),
}

impl Source {
    /// A directory is a data directory; a file is a log or a snapshot by its first bytes or its name, else a zoo.cfg.
    pub(crate) fn find(source: &Path, log_dir: Option<&Path>, arguments: &InspectArguments) -> Result<Self, Stop> {
        let unreadable = |error: std::io::Error| Stop::Unreadable(format!("cannot open {}: {error}", shown(source)));
        if std::fs::metadata(source).map_err(unreadable)?.is_dir() {
            let mut config = configuration(None, arguments)?;
            let base = base_of(source);
            config.storage.data_dir.clone_from(&base);
            config.storage.log_dir = log_dir.map_or(base, base_of);
            return Ok(Self::Directory(options(&config, log_dir)?));
        }
        let mut head = Vec::new();
        File::open(source).and_then(|file| file.take(8).read_to_end(&mut head)).map_err(unreadable)?;
        match (&head[..], FileKind::of(source)) {
            ([b'Z', b'K', b'L', b'G', ..], _) | (_, Some(FileKind::Log(_))) => Ok(Self::Log(source.to_owned())),
            ([b'Z', b'K', b'S', b'N', ..], _) | (_, Some(FileKind::Snapshot(_))) => {
                Ok(Self::Snapshot(source.to_owned()))
            }
            _ => {
                let mut config = configuration(Some(source), arguments)?;
                if let Some(log_dir) = log_dir {
                    config.storage.log_dir = base_of(log_dir);
                }
                Ok(Self::Directory(options(&config, log_dir)?))
            }
        }
    }
}

/// The directory that is asked about.
pub(crate) fn directory(of: &DirectoryArguments, arguments: &InspectArguments) -> Result<StoreOptions, Stop> {
    match Source::find(&of.source, of.log_dir.as_deref(), arguments)? {
        Source::Directory(options) => Ok(options),
        Source::Log(path) | Source::Snapshot(path) => {
            Err(Stop::Usage(format!("{} is one file; this needs the data directory that it is in", shown(&path))))
        }
    }
}

pub(crate) fn configuration(file: Option<&Path>, arguments: &InspectArguments) -> Result<Config, Stop> {
    let system = system_properties(|name| std::env::var(name).ok(), &arguments.define);
    match load(file, &system) {
        Ok(Loaded { config, .. }) => Ok(config),
        Err(error) => Err(Stop::Usage(format!("{error}. Or give the data directory itself"))),
    }
}

fn options(config: &Config, log_dir: Option<&Path>) -> Result<StoreOptions, Stop> {
    let options = StoreOptions { accept_loss: false, ..gk_server::store_options(config) };
    for dir in [&options.data_dir, &options.log_dir] {
        std::fs::read_dir(dir).map_err(|error| Stop::Unreadable(format!("cannot list {}: {error}", shown(dir))))?;
    }
    if log_dir.is_some() && !options.log_dir.join("version-2").is_dir() {
        return Err(Stop::Unreadable(format!("{} holds no logs: no version-2 in it", shown(&options.log_dir))));
    }
    Ok(options)
}

/// Whoever names the directory that the files are in means the one above it.
fn base_of(dir: &Path) -> PathBuf {
    let is_version_dir = dir.file_name().is_some_and(|name| name == "version-2");
    match dir.parent().filter(|_| is_version_dir) {
        Some(parent) if parent.as_os_str().is_empty() => ".".into(),
        Some(parent) => parent.to_owned(),
        None => dir.to_owned(),
    }
}

/// A path of the file system, safe at a terminal.
pub(crate) fn shown(path: &Path) -> String {
    text::escaped(&path.to_string_lossy()).into_owned()
}

/// The name of a file alone, safe at a terminal.
pub(crate) fn file_name(path: &Path) -> String {
    text::escaped(&path.file_name().unwrap_or_default().to_string_lossy()).into_owned()
}

/// The process that holds one of the locks of a server. Asked of the kernel's list: to try the lock would, for a moment,
/// keep a server from starting. A server on another machine, or one that keeps no lock (ZooKeeper), does not show.
pub(crate) fn holder(options: &StoreOptions) -> Option<u32> {
    let list = std::fs::read_to_string("/proc/locks").ok()?;
    lock_files(options).iter().find_map(|lock| {
        let lock = std::fs::metadata(lock).ok()?;
        holders(&list, lock.ino()).find(|&process| may_have_open(process, &lock))
    })
}

/// Lines are `1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF`: process, device and inode of the file. On some file
/// systems the device is not the one that files are said to be on, so it is of no use.
fn holders(list: &str, inode: u64) -> impl Iterator<Item = u32> {
    list.lines().filter_map(move |line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[_, "FLOCK", _, "WRITE", process, place, ..] = &words[..] else { return None };
        let found: u64 = place.rsplit(':').next()?.parse().ok()?;
        if found == inode { process.parse().ok() } else { None }
    })
}

/// Whether a process has a file open, or does not let us know.
fn may_have_open(process: u32, file: &Metadata) -> bool {
    let Ok(open) = std::fs::read_dir(format!("/proc/{process}/fd")) else { return true };
    let is_it = |other: Metadata| (other.dev(), other.ino()) == (file.dev(), file.ino());
    open.flatten().any(|entry| std::fs::metadata(entry.path()).is_ok_and(is_it))
}

/// How often a directory is looked at that a server is writing to, before what is found counts.
pub(crate) const TRIES_IN_USE: usize = 3;

/// Looks again if there was an error while a server wrote, which may have removed what was about to be read or been in
/// the middle of a write.
pub(crate) fn steadily<T>(
    options: &StoreOptions,
    look: impl Fn() -> Result<T, StorageError>,
) -> Result<T, StorageError> {
    let mut tries = 1;
    loop {
        let before = Traces::of(options);
        let looked = look();
        if looked.is_ok() || tries == TRIES_IN_USE || before == Traces::of(options) {
            return looked;
        }
        tries += 1;
    }
}

/// What shows that somebody has written to a directory: names, lengths and times of change. ZooKeeper's servers take no
/// lock that would.
#[derive(PartialEq, Eq)]
pub(crate) struct Traces(Vec<(PathBuf, u64, i64, i64)>);

impl Traces {
    pub(crate) fn of(options: &StoreOptions) -> Self {
        let mut found = Vec::new();
        for dir in [&options.data_dir, &options.log_dir] {
            for entry in std::fs::read_dir(dir.join("version-2")).into_iter().flatten().flatten() {
                if let Ok(metadata) = entry.metadata() {
                    found.push((entry.path(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()));
                }
            }
        }
        found.sort_unstable();
        Self(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holders_are_those_of_whole_file_locks_on_the_inode() {
        let list = "1: POSIX  ADVISORY  WRITE 11 08:01:77 0 EOF\n2: FLOCK  ADVISORY  WRITE 12 08:01:77 0 EOF\n\
                    3: FLOCK  ADVISORY  READ 13 08:01:77 0 EOF\n4: FLOCK  ADVISORY  WRITE 14 00:2f:78 0 EOF\n\
                    4: -> FLOCK  ADVISORY  WRITE 15 00:2f:77 0 EOF\nnonsense\n";
        assert_eq!(holders(list, 77).collect::<Vec<_>>(), [12], "neither other kinds nor those that wait");
    }

    #[test]
    fn a_process_has_open_what_it_has_open() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let metadata = std::fs::metadata(file.path()).unwrap();
        assert!(may_have_open(std::process::id(), &metadata), "open");
        drop(file);
        assert!(!may_have_open(std::process::id(), &metadata), "closed");
    }
}
