//! The command `inspect`: what is in the files of a server, and what it would do with them. Nothing is changed.
//!
//! What is sound, and what a start would do, is decided by `gk-storage`, by the code that a start runs.
//!
//! Read in this order:
//! - [`arguments`]: the command line
//! - `text`, `output`: how things are said, and where to; what of others is safe to show
//! - `directory`, `watched`: what is looked at, and through what
//! - `check`: the files of a directory, and the next start
//! - `txn`, `log`: one txn; the txns of logs
//! - `node`, `snapshot`, `tree`, `diff`: one node; all of a snapshot, of a tree; what differs between two
//! - `who`: who changed a path last

pub(crate) mod arguments;
mod text;
mod output;
mod directory;
mod watched;
mod check;
mod txn;
mod log;
mod node;
mod snapshot;
mod tree;
mod diff;
mod who;

use std::io::Write as _;
use std::process::ExitCode;

use gk_storage::{SnapshotError, StorageError};

use crate::serve::is_inaccessible;
use arguments::{Format, InspectArguments, Question};
use output::Output;
use text::Secrets;

/// Answers one question.
pub(crate) fn run(arguments: &InspectArguments) -> ExitCode {
    let look = Look {
        arguments,
        is_json: arguments.output == Format::Json,
        secrets: Secrets { data: arguments.data, digests: arguments.digests },
    };
    let mut output = Output::stdout();
    let mut ended = look.answer(&mut output);
    if let (Ok(_), Err(error)) = (&ended, output.flush()) {
        ended = Err(error.into());
    }
    match ended {
        Ok(Found::Sound) => ExitCode::SUCCESS,
        Ok(Found::Damaged) => ExitCode::from(DAMAGED),
        Ok(Found::Refused) => ExitCode::from(REFUSED),
        Ok(Found::Unusable) => ExitCode::from(INACCESSIBLE),
        // Whoever read the answer has seen enough.
        Err(Stop::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(stop) => {
            let _ = output.flush();
            let (code, text) = match stop {
                Stop::Output(error) => (UNEXPECTED, format!("cannot write the answer: {error}")),
                Stop::Nothing(text) => (UNEXPECTED, text),
                Stop::Usage(text) => (INVALID, text),
                Stop::Unreadable(text) => (INACCESSIBLE, text),
                Stop::Refused(text) => (REFUSED, text),
            };
            let _ = writeln!(std::io::stderr(), "gamekeeper: {text}");
            ExitCode::from(code)
        }
    }
}

/// One look into files: how the answer is to be given.
struct Look<'a> {
    arguments: &'a InspectArguments,
    is_json: bool,
    secrets: Secrets,
}

impl Look<'_> {
    fn answer(&self, output: &mut Output) -> Result<Found, Stop> {
        match &self.arguments.question {
            Question::Check { directory } => self.check(directory, output),
            Question::Log(which) => self.log(which, output),
            Question::Snapshot { source, subtree } => self.snapshot(source, subtree, output),
            Question::Tree { directory, at, subtree } => self.tree(directory, *at, subtree, output),
            Question::Diff(which) => self.diff(which, output),
            Question::Who { directory, path } => self.who(directory, path, output),
        }
    }
}

/// What the files are, after all that was asked for has been read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Found {
    Sound,
    /// Something is damaged, and a start copes with it.
    Damaged,
    /// A start would end because of damage.
    Refused,
    /// A start would end because the directory or a file cannot be used.
    Unusable,
}

/// Why there is no answer, or not the whole of it.
#[derive(Debug)]
enum Stop {
    /// The answer could not be printed.
    Output(std::io::Error),
    /// There is nothing that could be said.
    Nothing(String),
    /// The question is wrong.
    Usage(String),
    /// The files cannot be read.
    Unreadable(String),
    /// What was asked for is damaged.
    Refused(String),
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<StorageError> for Stop {
    fn from(error: StorageError) -> Self {
        let text = text::escaped(&error.to_string()).into_owned();
        if matches!(error, StorageError::NotKept { .. }) {
            Self::Nothing(text)
        } else if is_inaccessible(&error) {
            Self::Unreadable(text)
        } else {
            Self::Refused(text)
        }
    }
}

/// For `map_err`: a snapshot that could not be read whole.
fn snapshot_stop(path: &std::path::Path) -> impl FnOnce(SnapshotError) -> Stop {
    move |error| match error {
        SnapshotError::Disk(error) => error.into(),
        SnapshotError::Damaged(damage) => Stop::Refused(format!(
            "{} is damaged: {damage}. A start passes it over for an older one; `inspect check` on its directory says \
             what that comes to",
            directory::shown(path)
        )),
    }
}

// Where they mean the same, the codes are those of `serve`.
const UNEXPECTED: u8 = 1;
const INVALID: u8 = 2;
const INACCESSIBLE: u8 = 3;
const REFUSED: u8 = 10;
const DAMAGED: u8 = 11;
