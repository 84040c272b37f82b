//! What is logged: to stderr, one line an event, `time level text`.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Starts logging. `RUST_LOG` chooses what is logged; colours are for terminals, and not with `NO_COLOR`.
pub(crate) fn start() {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        // The module of a line is of use to those who ask for more than the default.
        .with_target(std::env::var_os("RUST_LOG").is_some())
        .init();
}
