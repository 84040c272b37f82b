//! The simulator as a program; `cargo xtask sim` runs it.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    gk_sim::run::main(&arguments)
}
