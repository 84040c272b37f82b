//! The targets on a stable compiler: every seed as it is, and changed by chance from a fixed seed of its own.

#![allow(clippy::unwrap_used, reason = "all of this file is tests and their helpers")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use gk_fuzz::{TARGETS, Target};
use gk_proto::rng::Rng;

/// Runs of one target, shared among its seeds.
const DECODER_RUNS: usize = 100_000;
const OTHER_RUNS: usize = 10_000;
/// Changes of one input at most.
const CHANGES_MAX: u64 = 6;

macro_rules! replay {
    ($($name:ident: $runs:expr,)*) => {
        $(#[test]
        fn $name() {
            replay(stringify!($name), $runs);
        })*

        #[test]
        fn every_target_is_replayed() {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*], "the targets");
        }
    };
}

replay! {
    requests: DECODER_RUNS,
    replies: DECODER_RUNS,
    txns: DECODER_RUNS,
    text: DECODER_RUNS,
    log_file: OTHER_RUNS,
    snapshot_file: OTHER_RUNS,
    session: OTHER_RUNS,
    client_session: OTHER_RUNS,
}

fn replay(name: &str, runs: usize) {
    let target = *TARGETS.iter().find(|target| target.name == name).unwrap();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(name);
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let seeds: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(!seeds.is_empty(), "{name} has no seeds");
    run(target, &[]);
    for seed in &seeds {
        run(target, seed);
    }
    let mut rng = Rng::new(1);
    for i in 0..runs {
        let mut input = seeds[i % seeds.len()].clone();
        for _ in 0..=rng.below(CHANGES_MAX) {
            change(&mut rng, &mut input, &seeds);
        }
        run(target, &input);
    }
}

/// Runs one input; one that fails is printed.
fn run(target: Target, input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(input))) {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        eprintln!("the input of {}, for `xxd -r -p`: {hex}", target.name);
        resume_unwind(panic);
    }
}

/// Numbers at which lengths and counts go wrong.
const EDGES: [u32; 10] = [0, 1, 2, 0x7f, 0x80, 0xff, 0xffff, i32::MAX.cast_unsigned(), 1 << 31, u32::MAX];

fn change(rng: &mut Rng, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    let place = |rng: &mut Rng, len: usize| usize::try_from(rng.below(len as u64 + 1)).unwrap();
    let byte = |rng: &mut Rng| rng.next_u64().to_be_bytes()[0];
    let at = place(rng, input.len());
    match rng.below(8) {
        0 => input.truncate(at),
        1 => input.insert(at, byte(rng)),
        2 if at < input.len() => drop(input.remove(at)),
        3 if at < input.len() => input[at] ^= 1 << rng.below(8),
        4 if at < input.len() => input[at] = byte(rng),
        5 => {
            // What another seed goes on with.
            let other = &seeds[place(rng, seeds.len() - 1)];
            input.truncate(at);
            input.extend_from_slice(&other[place(rng, other.len())..]);
        }
        6 => {
            // A part of itself once more.
            let part = input[at..(at + 16).min(input.len())].to_vec();
            let to = place(rng, input.len());
            input.splice(to..to, part);
        }
        _ => {
            let edge = EDGES[place(rng, EDGES.len() - 1)].to_be_bytes();
            let end = (at + 4).min(input.len());
            input.splice(at..end, edge);
        }
    }
}
