//! `gamekeeper`, the one binary: today it runs a server.
//!
//! Knows nothing of how a server works. It turns a command line into a [`gk_server::config::Config`], sets up what is
//! written to the terminal, and turns the server's end into an exit code.
//!
//! Read in this order:
//! - [`arguments`]: the command line, and the texts of `--help`
//! - [`logging`]: what a log line looks like
//! - [`serve`]: the command `serve`: configuration in, banner out, exit code back

mod arguments;
mod logging;
mod serve;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match arguments::Arguments::parse().command {
        arguments::Command::Serve(arguments) => serve::run(&arguments),
    }
}
