//! clients: drives one client library for ZooKeeper at a time, and measures what it costs the program that uses it.
//!
//! Every subcommand prints one JSON object. CPU time, context switches and memory are those of this process, so of the
//! library together with the harness around it; the harness is the same code for every library (`Library`).
//!
//! Reading order: `library` (what is asked of a library), `ours` and `rival` (who answers), `load` (operations), `memory`
//! (connections and watches), `process` (figures of this process).
mod library;
mod ours;
mod rival;
mod load;
mod memory;
mod process;

use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use library::Library;
use load::Load;

/// Worker threads of the runtime that has several.
const WORKERS: usize = 2;

#[derive(Parser)]
#[command(version, about)]
struct Args {
    /// The library that is driven.
    #[arg(long, value_enum)]
    library: LibraryName,
    /// Servers, as a connect string.
    #[arg(long, default_value = "127.0.0.1:2181")]
    servers: String,
    /// The flavour of the tokio runtime.
    #[arg(long, value_enum, default_value_t = Flavour::CurrentThread)]
    runtime: Flavour,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, ValueEnum)]
enum LibraryName {
    /// Our own, crates/client.
    Gamekeeper,
    /// zookeeper-client 0.11 (kezhuw/zookeeper-client-rust).
    ZookeeperClient,
}

#[derive(Clone, Copy, ValueEnum)]
enum Flavour {
    /// Everything on one thread.
    CurrentThread,
    /// Two worker threads.
    MultiThread,
}

#[derive(Subcommand)]
enum Command {
    /// Steady load: every worker has one operation in flight, and starts the next when it is answered.
    Load(Load),
    /// Memory of a connection that was used once and is idle.
    Connections {
        #[arg(long, default_value_t = 2000)]
        count: usize,
    },
    /// Creates the nodes that `watches` watches.
    Fill {
        #[arg(long, default_value_t = 200_000)]
        count: usize,
    },
    /// Memory of a one-shot data watch, each on a node of its own, all by one connection.
    Watches {
        #[arg(long, default_value_t = 200_000)]
        count: usize,
    },
}

fn main() {
    let args = Args::parse();
    let figures = match args.library {
        LibraryName::Gamekeeper => run::<gk_client::Client>(&args),
        LibraryName::ZookeeperClient => run::<zookeeper_client::Client>(&args),
    };
    println!("{figures}");
}

fn run<L: Library>(args: &Args) -> Value {
    let servers = args.servers.as_str();
    let mut figures = runtime(args.runtime).block_on(async {
        match &args.command {
            Command::Load(load) => load::run::<L>(servers, load).await,
            Command::Connections { count } => memory::connections::<L>(servers, *count).await,
            Command::Fill { count } => memory::fill::<L>(servers, *count).await,
            Command::Watches { count } => memory::watches::<L>(servers, *count).await,
        }
    });
    figures["library"] = json!(name(args.library));
    figures["runtime"] = json!(name(args.runtime));
    figures
}

fn runtime(flavour: Flavour) -> Runtime {
    let built = match flavour {
        Flavour::CurrentThread => Builder::new_current_thread().enable_all().build(),
        Flavour::MultiThread => Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build(),
    };
    answered("runtime", built)
}

/// The name of a choice on the command line.
fn name(choice: impl ValueEnum) -> String {
    choice.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// The value, or the end of the process: no figure counts if an operation failed.
fn answered<T>(what: &str, result: Result<T, impl std::fmt::Display>) -> T {
    result.unwrap_or_else(|error| {
        eprintln!("{what}: {error}");
        std::process::exit(1);
    })
}

/// How long to wait until buffers, threads and the server have settled.
const SETTLE: Duration = Duration::from_secs(2);
