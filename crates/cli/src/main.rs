//! `gamekeeper`, the one binary: it runs a server, looks into its files, and measures what servers can take.
//!
//! Knows nothing of how a server or a client works. It turns a command line into a [`gk_server::config::Config`] or into
//! calls of [`gk_client::Client`], sets up what is written to the terminal, and turns the end into an exit code.
//!
//! Read in this order:
//! - [`arguments`]: the command line, and the texts of `--help`
//! - [`logging`]: what a log line looks like
//! - [`serve`]: the command `serve`: configuration in, banner out, exit code back
//! - [`mod@bench`]: the command `bench`: load on any ensemble, measured
//! - [`inspect`]: the command `inspect`: what is in the files of a server

mod arguments;
mod logging;
mod serve;
mod bench;
mod inspect;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match arguments::Arguments::parse().command {
        arguments::Command::Serve(arguments) => serve::run(&arguments),
        arguments::Command::Bench(arguments) => bench::run(&arguments),
        arguments::Command::Inspect(arguments) => inspect::run(&arguments),
    }
}
