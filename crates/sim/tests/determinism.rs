//! One seed, two processes, one trace.

use std::process::Command;

fn hash(seed: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_gk-sim")).args(["--hash", seed]).output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn one_seed_gives_the_same_trace_in_two_processes() {
    for seed in ["1", "2", "3"] {
        assert_eq!(hash(seed), hash(seed), "seed {seed}");
    }
    assert_ne!(hash("1"), hash("2"), "the trace depends on the seed");
}
