//! Figures of this process, from its CPU clock and from /proc.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::answered;

/// CPU time, user and system, that all threads of this process have used so far.
pub fn cpu() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    answered("CPU clock", Duration::try_from(used))
}

/// Context switches, voluntary and not, of all threads that this process has now.
pub fn switches() -> u64 {
    let tasks = answered("/proc/self/task", std::fs::read_dir("/proc/self/task"));
    let statuses = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("status")).ok());
    statuses.map(|status| status.lines().filter_map(|line| value(line, "ctxt_switches:")).sum::<u64>()).sum()
}

/// Resident memory; summed over the mappings, because the counters of `status` lag behind on each CPU.
pub fn resident_bytes() -> f64 {
    let rollup = answered("/proc/self/smaps_rollup", std::fs::read_to_string("/proc/self/smaps_rollup"));
    let kib = rollup.lines().find_map(|line| value(line, "Rss:"));
    answered("Rss", kib.ok_or("not in /proc/self/smaps_rollup")) as f64 * 1024.0
}

/// The number of a line `name: number unit`, if its name ends so.
fn value(line: &str, name: &str) -> Option<u64> {
    let mut words = line.split_whitespace();
    words.next()?.ends_with(name).then(|| words.next()?.parse().ok()).flatten()
}
