//! `cargo xtask`: the commands a contributor needs beside cargo's own.

use std::process::ExitCode;

use xtask::{ci, fuzz, network, sim, tidy};

const USAGE: &str = "\
usage: cargo xtask <command>

  ci               format, tidy, clippy, documentation, all tests; what a commit must pass
  ci --quick       format, tidy, clippy, unit tests; for the minutes between two edits
  tidy             the rules of style that a compiler does not check
  interop [SUITE]  stock clients and a real ZooKeeper against our server; one suite, or all of them
  client-network [--seeds N | --seed S | --bugs]
                   the client's session on a simulated network: many seeds, one of them with every step shown, or a
                   hunt for planted bugs
  sim [--seeds N [--from S] | --seed S [what a failure printed] | --lies | --bugs [NAME …]]
                   a server, its disk and its clients from one seed: many seeds, or one with every step shown
  fuzz [--seconds N] [--target T]... [--coverage]
                   libFuzzer on every target or the named ones; what of each crate's code they reach
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = ci::workspace_root();
    let result = match arguments.as_slice() {
        ["ci"] => ci::run(&root, ci::Depth::Full),
        ["ci", "--quick"] => ci::run(&root, ci::Depth::Quick),
        ["tidy"] => tidy::run(&root).map(|files| println!("tidy: {files} files, nothing to say")),
        ["interop"] => ci::interop(&root, None),
        ["interop", suite] => ci::interop(&root, Some(suite)),
        ["client-network", runs @ ..] => match network::Runs::parse(runs) {
            Some(runs) => network::run(&root, runs),
            None => return usage(),
        },
        ["sim", arguments @ ..] => sim::run(&root, arguments),
        ["fuzz", arguments @ ..] => match fuzz::Runs::parse(arguments) {
            Some(runs) => fuzz::run(&root, &runs),
            None => return usage(),
        },
        [] | ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => return usage(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprint!("{USAGE}");
    ExitCode::from(2)
}
