//! The differential test as a program; `interop/differential` builds and runs it.

use std::process::ExitCode;

fn main() -> ExitCode {
    gk_differential::run::main()
}
