//! The command line.

use crate::bench::arguments::{self, BenchArguments};
use crate::inspect::arguments::{self as inspect, InspectArguments};
use clap::{Args, Parser, Subcommand};
use gk_proto::Millis;
use gk_server::config::ListenAddress;
use std::path::PathBuf;

/// Everything that can be said on the command line.
#[derive(Debug, Parser)]
#[command(name = "gamekeeper", version = VERSION, about = ABOUT, after_help = "Start with: gamekeeper serve")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a server
    #[command(long_about = SERVE, after_long_help = SERVE_EXAMPLES, override_usage = SERVE_USAGE)]
    Serve(ServeArguments),
    /// Measure what servers can take
    #[command(long_about = arguments::ABOUT, after_long_help = arguments::EXAMPLES)]
    Bench(Box<BenchArguments>),
    /// Look into a server's files: what is in them, whether they are sound, what a start would do
    #[command(long_about = inspect::ABOUT, after_long_help = inspect::EXAMPLES)]
    Inspect(Box<InspectArguments>),
}

/// What a server is told.
#[derive(Args, Debug)]
pub(crate) struct ServeArguments {
    /// A zoo.cfg, or what to run with in its place
    ///
    /// Nothing: this machine only, data in ./gamekeeper-data. One word: the path of a zoo.cfg. Two to four words: port,
    /// data directory, tickTime in ms and connections per address, as Apache's server takes them.
    #[arg(value_name = "CONFIG | PORT DATADIR [TICKTIME [MAXCNXNS]]", num_args = 0..=4)]
    pub(crate) source: Vec<String>,

    /// Where clients connect, whatever the configuration says
    ///
    /// A bare port is open to this machine only; 0.0.0.0:2181 is every address; port 0 lets the system choose.
    #[arg(long, value_name = "[HOST:]PORT")]
    pub(crate) listen: Option<ListenAddress>,

    /// Where data is kept, whatever the configuration says
    ///
    /// The log goes there too unless the configuration has a dataLogDir.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Set a property as for a JVM, such as -Dzookeeper.snapCount=50000
    ///
    /// Those in SERVER_JVMFLAGS and JVMFLAGS count too. A line of the configuration file wins over a property.
    #[arg(short = 'D', value_name = "KEY=VALUE")]
    pub(crate) define: Vec<String>,

    /// Start although the transaction log is damaged before its end, and drop what follows the damage
    ///
    /// The server names the damage and this option when it refuses to start. What is dropped was acknowledged to
    /// clients: copy the data directory first.
    #[arg(long, alias = "accept-loss")]
    pub(crate) accept_data_loss: bool,
}

/// What the words of [`ServeArguments::source`] mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    BuiltIn,
    File(PathBuf),
    Shorthand { port: u16, data_dir: PathBuf, tick: Option<Millis>, per_address_max: Option<usize> },
}

impl ServeArguments {
    /// The meaning of the words, or what is wrong with them.
    pub(crate) fn source(&self) -> Result<Source, String> {
        let mut words = self.source.iter().map(String::as_str);
        let Some(first) = words.next() else {
            return Ok(Source::BuiltIn);
        };
        let Some(data_dir) = words.next() else {
            return Ok(Source::File(first.into()));
        };
        Ok(Source::Shorthand {
            port: number(first, "PORT")?,
            data_dir: data_dir.into(),
            tick: words.next().map(|word| number::<u32>(word, "TICKTIME")).transpose()?.map(|ms| Millis(ms.into())),
            per_address_max: words.next().map(|word| number(word, "MAXCNXNS")).transpose()?,
        })
    }
}

fn number<T: std::str::FromStr>(word: &str, what: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("{what} is \"{word}\", which is no such number\n\nUsage: {SERVE_USAGE}"))
}

/// Of this program, and of the ZooKeeper it answers as.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (answers as ZooKeeper 3.9.5)");

const ABOUT: &str = "Gamekeeper, a coordination service that takes the place of Apache ZooKeeper: the same client \
                     protocol, the same files, the same configuration.";

const SERVE: &str = "Run a server until a signal ends it.

Without arguments it listens on 127.0.0.1:2181, keeps its data in ./gamekeeper-data and needs no configuration. An \
ordinary zoo.cfg works as it is: docs/operations.md lists its keys, and the server names at its start those that have \
no effect.";

const SERVE_USAGE: &str = "gamekeeper serve [OPTIONS] [CONFIG]
       gamekeeper serve [OPTIONS] PORT DATADIR [TICKTIME [MAXCNXNS]]";

const SERVE_EXAMPLES: &str = "\
Examples:
  Try it: this machine only, data below this directory
    gamekeeper serve
  In place of an existing ZooKeeper
    gamekeeper serve /etc/zookeeper/zoo.cfg
  Every address, ZooKeeper's defaults
    gamekeeper serve 2181 /var/lib/zookeeper
  No file, but open to the network, and with every four-letter word
    gamekeeper serve --listen 0.0.0.0:2181 -Dzookeeper.4lw.commands.whitelist=*

Environment:
  RUST_LOG       What is logged: error, warn, info (the default), debug, trace
  NO_COLOR       No colours, even at a terminal
  JVMFLAGS, SERVER_JVMFLAGS
                 Their -Dkey=value parts are properties, as for zkServer.sh

Exit codes:
    1  Unexpected error, or the client port is taken
    2  Wrong command line or configuration
    3  The data directory cannot be used
   10  The disk failed, or the data on it is damaged
  143, 130, 129  Stopped by SIGTERM, SIGINT (Ctrl-C), SIGHUP";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn serve(words: &[&str]) -> ServeArguments {
        match Arguments::try_parse_from(["gamekeeper", "serve"].iter().chain(words)).unwrap().command {
            Command::Serve(arguments) => arguments,
            Command::Bench(_) | Command::Inspect(_) => panic!("{words:?} are arguments of serve"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn words_are_nothing_a_file_or_apaches_shorthand() {
        assert_eq!(serve(&[]).source(), Ok(Source::BuiltIn), "nothing");
        assert_eq!(serve(&["zoo.cfg"]).source(), Ok(Source::File("zoo.cfg".into())), "a file");
        let shorthand =
            |tick, per_address_max| Ok(Source::Shorthand { port: 2181, data_dir: "/d".into(), tick, per_address_max });
        assert_eq!(serve(&["2181", "/d"]).source(), shorthand(None, None), "two words");
        assert_eq!(serve(&["2181", "/d", "500", "7"]).source(), shorthand(Some(Millis(500)), Some(7)), "four words");
        assert!(serve(&["zoo.cfg", "/d"]).source().unwrap_err().starts_with("PORT is \"zoo.cfg\""), "no port");
        assert!(Arguments::try_parse_from(["gamekeeper", "serve", "1", "2", "3", "4", "5"]).is_err(), "five words");
    }

    #[test]
    fn properties_are_taken_as_a_jvm_takes_them() {
        let arguments = serve(&["-Dzookeeper.snapCount=5", "zoo.cfg", "-D", "jute.maxbuffer=6"]);
        assert_eq!(arguments.define, ["zookeeper.snapCount=5", "jute.maxbuffer=6"], "both ways");
        assert_eq!(arguments.source(), Ok(Source::File("zoo.cfg".into())), "and the file");
    }
}
