//! The command line of `inspect`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use gk_proto::{SessionId, WallTime, Zxid};

use super::text;

/// What to look at, and how to show it.
#[derive(Args, Debug)]
pub(crate) struct InspectArguments {
    #[command(subcommand)]
    pub(crate) question: Question,

    /// A table for people, or JSON for programs
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub(crate) output: Format,

    /// Set a property as for a JVM: what it changes of a start, it changes here
    #[arg(short = 'D', global = true, value_name = "KEY=VALUE")]
    pub(crate) define: Vec<String>,

    /// Show data of nodes, not only how long they are
    #[arg(long, global = true)]
    pub(crate) data: bool,

    /// Show the hashes of passwords in ACLs of the scheme digest
    #[arg(long, global = true)]
    pub(crate) digests: bool,
}

/// For whom the answer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs: one document, or an object a line for lists.
    Json,
}

/// What is asked.
#[derive(Debug, Subcommand)]
pub(crate) enum Question {
    /// Say which files are sound, and what a start would do with them
    Check {
        #[command(flatten)]
        directory: DirectoryArguments,
    },
    /// Print the txns of logs
    Log(LogArguments),
    /// Print the nodes and sessions of a snapshot
    Snapshot {
        /// A snapshot, or a data directory or zoo.cfg: then its newest one
        #[arg(value_name = "FILE|DIR|CONFIG")]
        source: PathBuf,
        #[command(flatten)]
        subtree: SubtreeArguments,
    },
    /// Print the tree as it was after a txn, or as a start would find it
    Tree {
        #[command(flatten)]
        directory: DirectoryArguments,
        /// After this txn; else after the last one
        #[arg(long, value_name = "ZXID", value_parser = text::parse_zxid)]
        at: Option<Zxid>,
        #[command(flatten)]
        subtree: SubtreeArguments,
    },
    /// Show what differs between two snapshots, or between the tree after two txns
    Diff(DiffArguments),
    /// Say who changed a path last, and how
    Who {
        #[command(flatten)]
        directory: DirectoryArguments,
        /// The path of a node, there or not
        #[arg(value_parser = text::parse_path)]
        path: String,
    },
}

/// Where the data is.
#[derive(Args, Debug)]
pub(crate) struct DirectoryArguments {
    /// A data directory (dataDir), or the zoo.cfg that names it
    #[arg(value_name = "DIR|CONFIG")]
    pub(crate) source: PathBuf,

    /// Where the logs are, if not in the data directory (dataLogDir)
    #[arg(long, value_name = "DIR")]
    pub(crate) log_dir: Option<PathBuf>,
}

/// Which nodes.
#[derive(Args, Debug)]
pub(crate) struct SubtreeArguments {
    /// Only this node and what is below it
    #[arg(long, value_name = "PATH", value_parser = text::parse_path)]
    pub(crate) below: Option<String>,
}

/// Which txns.
#[derive(Args, Debug)]
pub(crate) struct LogArguments {
    /// A log, or a data directory or zoo.cfg: then all its logs
    #[arg(value_name = "FILE|DIR|CONFIG")]
    pub(crate) source: PathBuf,

    /// Where the logs are, if not in the data directory (dataLogDir)
    #[arg(long, value_name = "DIR")]
    pub(crate) log_dir: Option<PathBuf>,

    /// Only txns that name this path
    #[arg(long, value_name = "PATH", value_parser = text::parse_path)]
    pub(crate) path: Option<String>,

    /// Only txns that name this path or one below it
    #[arg(long, value_name = "PATH", value_parser = text::parse_path, conflicts_with = "path")]
    pub(crate) below: Option<String>,

    /// Only txns of this session, such as 0x100000f40b30000
    #[arg(long, value_name = "ID", value_parser = text::parse_session)]
    pub(crate) session: Option<SessionId>,

    /// From this txn on
    #[arg(long, value_name = "ZXID", value_parser = text::parse_zxid)]
    pub(crate) from: Option<Zxid>,

    /// Up to this txn
    #[arg(long, value_name = "ZXID", value_parser = text::parse_zxid)]
    pub(crate) to: Option<Zxid>,

    /// From this time on: 2026-11-20, 2026-11-20T08:03:05.924Z, or ms since 1970; always UTC
    #[arg(long, value_name = "TIME", value_parser = text::parse_time)]
    pub(crate) since: Option<WallTime>,

    /// Before this time
    #[arg(long, value_name = "TIME", value_parser = text::parse_time)]
    pub(crate) until: Option<WallTime>,
}

/// Which two trees.
#[derive(Args, Debug)]
pub(crate) struct DiffArguments {
    /// The older snapshot, or a data directory or zoo.cfg
    #[arg(value_name = "FILE|DIR|CONFIG")]
    pub(crate) old: PathBuf,

    /// The newer snapshot
    #[arg(value_name = "FILE", conflicts_with_all = ["from", "to", "log_dir"])]
    pub(crate) new: Option<PathBuf>,

    /// Of a directory: the tree after this txn
    #[arg(long, value_name = "ZXID", value_parser = text::parse_zxid)]
    pub(crate) from: Option<Zxid>,

    /// Of a directory: and the tree after this one; else after the last
    #[arg(long, value_name = "ZXID", value_parser = text::parse_zxid, requires = "from")]
    pub(crate) to: Option<Zxid>,

    /// Where the logs are, if not in the data directory (dataLogDir)
    #[arg(long, value_name = "DIR")]
    pub(crate) log_dir: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) subtree: SubtreeArguments,
}

pub(crate) const ABOUT: &str = "Look into the files of a server, Gamekeeper's or ZooKeeper's, without changing any.

A server may be running on them. Data of nodes is not shown unless asked for.";

pub(crate) const EXAMPLES: &str = "\
Examples:
  Is all of it sound, and what would a start do?
    gamekeeper inspect check /var/lib/zookeeper
  Who deleted it?
    gamekeeper inspect who /var/lib/zookeeper /app/leader
  What happened below /app in that hour?
    gamekeeper inspect log /var/lib/zookeeper --below /app --since 2026-11-20T08:00 --until 2026-11-20T09:00
  What did these txns change?
    gamekeeper inspect diff /var/lib/zookeeper --from 0x500000010 --to 0x500000020
  TTL nodes are known as such only where the server knows them
    gamekeeper inspect tree /var/lib/zookeeper -Dzookeeper.extendedTypesEnabled=true

Exit codes:
    0  All that was read is sound; a torn end that a crash explains is
    1  Unexpected error, or there is nothing of that path
    2  Wrong command line or configuration
    3  The files cannot be read
   10  Damage: a start would be refused, or what was asked for cannot be read whole
   11  Damage that a start goes on with; in what `log` prints, bytes that are no record";
