//! Some seeds, twice and in two processes, and a lie for each checker. `cargo xtask sim` runs more of them.

use std::process::Command;

/// What the simulator prints; it must succeed.
fn output(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_gk-sim")).args(arguments).output().expect("it starts");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{arguments:?}: {text}");
    text
}

#[test]
fn some_seeds_run_clean() {
    assert!(output(&["--seeds", "8"]).starts_with("8 seeds from 1 on"), "a line that adds them up");
}

#[test]
fn one_seed_gives_the_same_trace_in_two_processes() {
    for seed in ["1", "2", "3"] {
        assert_eq!(output(&["--hash", seed]), output(&["--hash", seed]), "seed {seed}");
    }
    assert_ne!(output(&["--hash", "1"]), output(&["--hash", "2"]), "the trace depends on the seed");
}

/// Each checker speaks up when the run is made wrong in its field.
#[test]
fn every_lie_is_found_by_the_checker_that_it_concerns() {
    let found = output(&["--lies"]);
    assert!(found.lines().count() > 15 && !found.contains("right: false"), "{found}");
}
