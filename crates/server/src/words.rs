//! Four-letter words: which there are, who may use them, and the exact text of each answer.
//!
//! Pure functions from plain reports to text; monitoring systems parse these texts, so every blank is ZooKeeper 3.9.5's
//! (`org.apache.zookeeper.server.command`). The server fills the reports and does what a word asks for beside its
//! answer (resetting statistics). Nothing here knows a socket, a tree or a clock.
//!
//! Read in this order: [`Word`] and [`Whitelist`] here; `java` (how Java prints numbers, dates and addresses);
//! `server` (`srvr`, `stat`, `cons`), `monitor` (`mntr`), `sessions` (`dump`, `wchs`, `wchc`, `wchp`), `environment`
//! (`conf`, `envi`, `dirs`, `hash`).
//!
//! Not done here: the words of an ensemble's members (`conf` with its membership, `dump` of a follower).

mod java;
mod server;
mod monitor;
mod sessions;
mod environment;

pub use environment::{ConfReport, Environment, conf, dirs, envi, hash};
pub use monitor::{Distribution, MonitorReport, Sample, Summary, Value, mntr};
pub use server::{ConnReport, ConnSession, Latency, Mode, ServerReport, cons, srvr, stat};
pub use sessions::{DumpReport, Expiry, WatchCounts, dump, wchc, wchp, wchs};

use std::collections::BTreeSet;

/// The version we answer with: clients and tools look at its first three numbers and expect the rest in this shape.
pub const VERSION: &str = "3.9.5-293c895a8d966a3ecb92872be4a1daf87d725da2, built on 2026-02-11 20:18 UTC";

/// Answer of a server that has no quorum yet, or is still starting ([`Word::needs_service`]); `hash` sends it without
/// the newline.
pub const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests\n";

/// `ruok`.
pub const I_AM_OK: &str = "imok";

/// `srst`.
pub const SERVER_STATS_RESET: &str = "Server stats reset.\n";

/// `crst`.
pub const CONNECTION_STATS_RESET: &str = "Connection stats reset.\n";

/// `gtmk` before any `stmk`: the trace mask that ZooKeeper starts with. It traces nothing here.
pub const TRACE_MASK: i64 = 306;

/// `isro` of a server that serves: `ro` in read-only mode; one that does not serve answers [`IS_READ_ONLY_UNKNOWN`].
pub fn isro(read_only: bool) -> &'static str {
    if read_only { "ro" } else { "rw" }
}

/// `isro` of a server that does not serve.
pub const IS_READ_ONLY_UNKNOWN: &str = "null";

/// `gtmk`, and `stmk` with the new mask (the big-endian 8 bytes after the word).
pub fn trace_mask(mask: i64) -> String {
    mask.to_string()
}

/// Answer to a word that is not on the whitelist.
pub fn not_executed(word: Word) -> String {
    format!("{} is not executed because it is not in the whitelist.\n", word.name())
}

/// A four-letter word, sent in place of a first frame's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Word {
    /// Configuration in effect.
    Conf,
    /// Connections with their statistics.
    Cons,
    /// Resets the statistics of connections.
    Crst,
    /// Bytes in the directories.
    Dirs,
    /// Sessions, ephemerals and connections.
    Dump,
    /// The process's surroundings.
    Envi,
    /// The trace mask.
    Gtmk,
    /// Digests of the tree.
    Hash,
    /// Whether the server is read-only.
    Isro,
    /// All figures, one a line.
    Mntr,
    /// Whether the process answers.
    Ruok,
    /// Resets the statistics of the server.
    Srst,
    /// Statistics of the server.
    Srvr,
    /// Statistics of the server, and its connections in brief.
    Stat,
    /// Sets the trace mask.
    Stmk,
    /// Watches by session.
    Wchc,
    /// Watches by path.
    Wchp,
    /// How many watches there are.
    Wchs,
    /// What telnet sends on an interrupt: the connection is closed without a text.
    TelnetClose,
}

impl Word {
    /// Every word, in alphabetical order.
    pub const ALL: [Self; 19] = [
        Self::Conf,
        Self::Cons,
        Self::Crst,
        Self::Dirs,
        Self::Dump,
        Self::Envi,
        Self::Gtmk,
        Self::Hash,
        Self::Isro,
        Self::Mntr,
        Self::Ruok,
        Self::Srst,
        Self::Srvr,
        Self::Stat,
        Self::Stmk,
        Self::Wchc,
        Self::Wchp,
        Self::Wchs,
        Self::TelnetClose,
    ];

    /// The word that the first four bytes of a connection spell, if any. As a frame length each would be absurd.
    pub fn from_first_bytes(bytes: [u8; 4]) -> Option<Self> {
        Self::ALL.into_iter().find(|word| word.bytes() == bytes)
    }

    /// As it is sent.
    pub fn bytes(self) -> [u8; 4] {
        *match self {
            Self::Conf => b"conf",
            Self::Cons => b"cons",
            Self::Crst => b"crst",
            Self::Dirs => b"dirs",
            Self::Dump => b"dump",
            Self::Envi => b"envi",
            Self::Gtmk => b"gtmk",
            Self::Hash => b"hash",
            Self::Isro => b"isro",
            Self::Mntr => b"mntr",
            Self::Ruok => b"ruok",
            Self::Srst => b"srst",
            Self::Srvr => b"srvr",
            Self::Stat => b"stat",
            Self::Stmk => b"stmk",
            Self::Wchc => b"wchc",
            Self::Wchp => b"wchp",
            Self::Wchs => b"wchs",
            Self::TelnetClose => b"\xff\xf4\xff\xfd",
        }
    }

    /// As it is written in a whitelist and in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Conf => "conf",
            Self::Cons => "cons",
            Self::Crst => "crst",
            Self::Dirs => "dirs",
            Self::Dump => "dump",
            Self::Envi => "envi",
            Self::Gtmk => "gtmk",
            Self::Hash => "hash",
            Self::Isro => "isro",
            Self::Mntr => "mntr",
            Self::Ruok => "ruok",
            Self::Srst => "srst",
            Self::Srvr => "srvr",
            Self::Stat => "stat",
            Self::Stmk => "stmk",
            Self::Wchc => "wchc",
            Self::Wchp => "wchp",
            Self::Wchs => "wchs",
            Self::TelnetClose => "telnet close",
        }
    }

    /// Whether a server that does not serve answers [`NOT_SERVING`] instead.
    pub fn needs_service(self) -> bool {
        !matches!(self, Self::Ruok | Self::Envi | Self::Gtmk | Self::Stmk | Self::Isro | Self::TelnetClose)
    }
}

/// The words that are answered (`4lw.commands.whitelist`); `srvr` always is, for `zkServer.sh status` needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whitelist(BTreeSet<Word>);

impl Whitelist {
    /// From names separated by commas; `*` means all. Names that are no word are skipped (see [`Whitelist::unknown`]).
    pub fn of(names: &str) -> Self {
        let listed = |word: &Word| names.split(',').any(|name| name.trim() == word.name() || name.trim() == "*");
        let mut words: BTreeSet<Word> = Word::ALL.into_iter().filter(listed).collect();
        words.insert(Word::Srvr);
        words.insert(Word::TelnetClose);
        Self(words)
    }

    /// The names in such a list that are no word.
    pub fn unknown(names: &str) -> impl Iterator<Item = &str> {
        let known = |name: &str| name.is_empty() || name == "*" || Word::ALL.iter().any(|word| word.name() == name);
        names.split(',').map(str::trim).filter(move |name| !known(name))
    }

    /// Adds a word.
    pub fn allow(&mut self, word: Word) {
        self.0.insert(word);
    }

    /// Whether a word is answered.
    pub fn allows(&self, word: Word) -> bool {
        self.0.contains(&word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_recognised_by_its_bytes_and_nothing_else_is() {
        for word in Word::ALL {
            assert_eq!(Word::from_first_bytes(word.bytes()), Some(word), "{}", word.name());
        }
        for bytes in [*b"kill", *b"reqs", *b"RUOK", [0, 0, 0, 45]] {
            assert_eq!(Word::from_first_bytes(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn whitelist_takes_names_with_blanks_and_a_star() {
        let some = Whitelist::of(" stat, ruok ,nope");
        assert!(some.allows(Word::Stat) && some.allows(Word::Ruok) && !some.allows(Word::Dump), "{some:?}");
        assert!(Whitelist::of("").allows(Word::Srvr), "srvr always");
        assert!(Word::ALL.into_iter().all(|word| Whitelist::of("*").allows(word)), "all");
        assert_eq!(Whitelist::unknown("stat,nope, *,").collect::<Vec<_>>(), ["nope"], "unknown");
    }

    #[test]
    fn fixed_answers_are_zookeepers() {
        assert_eq!(not_executed(Word::Hash), "hash is not executed because it is not in the whitelist.\n", "refused");
        assert_eq!((isro(false), isro(true), trace_mask(TRACE_MASK).as_str()), ("rw", "ro", "306"), "no newline");
    }
}
