//! The hunt for planted bugs (S35): each must be noticed by a checker outside the session. An assertion of the session's
//! own does not count. `GK_BUG` names one to hunt alone; the scripts then run with it as well.

use std::panic::{AssertUnwindSafe, catch_unwind};

use gk_client::core::Bug;

use crate::options::named_bug;
use crate::run;

/// Seeds within which a bug must be found.
const SEEDS_MAX: u64 = 5_000;

#[test]
fn every_planted_bug_is_found_from_outside() {
    std::panic::set_hook(Box::new(|_| ()));
    let mut missed = Vec::new();
    let wanted = named_bug().map_or(Bug::ALL.to_vec(), |bug| vec![bug]);
    for bug in wanted {
        let mut asserted = 0;
        let found = (0..SEEDS_MAX).find_map(|seed| {
            let result = catch_unwind(AssertUnwindSafe(|| run::run(seed, |options| options.bug = Some(bug))));
            asserted += u64::from(result.is_err());
            result.ok()?.err().map(|violation| (seed, violation))
        });
        match found {
            Some((seed, violation)) => {
                println!("| {bug:?} | {} | {} |", violation.checker, seed + 1);
                println!("    {}", violation.what);
            }
            None => missed.push(bug),
        }
        if asserted > 0 {
            println!("    ({asserted} seeds before it ended in an assertion of the session)");
        }
    }
    let _hook = std::panic::take_hook();
    assert!(missed.is_empty(), "{missed:?} are not found within {SEEDS_MAX} seeds");
}
