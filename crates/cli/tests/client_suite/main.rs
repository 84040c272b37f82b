//! What the client library promises, asked for beside real servers: one Gamekeeper, one Apache ZooKeeper, or three.
//!
//!     cargo test -p gamekeeper --test client_suite [NAME]
//!     CLIENT_SUITE=apache-3 cargo test -p gamekeeper --test client_suite
//!     interop/client-suite                    # each target in turn
//!
//! Which targets there are: [`target`]. A case that makes no sense on one server is ignored there and says so; that, and
//! ensembles that end with the run, is why the suite brings its own `main`.
//!
//! Cases that only read and write share an ensemble and stay below a chroot of their own ([`suite`]); those that kill,
//! pause or cut take an ensemble for themselves ([`ensemble`]) and reach it through proxies ([`proxy`]).

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod target;
mod wait;
mod ensemble;
mod proxy;
mod suite;
mod harness;
mod operations;
mod multi;
mod rights;
mod watches;
mod sessions;
mod replies;
mod rewatch;
mod servers;
mod limits;
mod read_only;
mod blocking;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};

use crate::suite::{Case, Suite};
use crate::target::Target;

/// Cases that run side by side unless the command line says otherwise: most of the time they wait.
const SIDE_BY_SIDE: usize = 6;

/// How long one case may take.
const CASE_MAX: Duration = Duration::from_secs(150);

/// All cases, those that take longest first.
const CASES: &[&[Case]] = &[
    rewatch::CASES,
    sessions::CASES,
    read_only::CASES,
    replies::CASES,
    limits::CASES,
    servers::CASES,
    rights::CASES,
    harness::CASES,
    operations::CASES,
    multi::CASES,
    watches::CASES,
    blocking::CASES,
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(SIDE_BY_SIDE);
    let target = match Target::from_environment() {
        Ok(target) => target,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    let suite = Arc::new(Suite::new(target));
    let trials = CASES.iter().copied().flatten().map(|case| trial(case, &suite)).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(case: &'static Case, suite: &Arc<Suite>) -> Trial {
    let is_ignored = !case.needs.met_by(suite.target());
    let name = case.name.trim_start_matches("client_suite::");
    let suite = Arc::clone(suite);
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime
            .block_on(async { tokio::time::timeout(CASE_MAX, (case.run)(&suite)).await })
            .map_err(|_elapsed| format!("not done within {CASE_MAX:?}").into())
    };
    Trial::test(name, run).with_ignored_flag(is_ignored)
}
