//! `gamekeeper inspect`: on directories that ZooKeeper wrote, on ours, on damaged copies of both, and while a server
//! runs.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod directories;
mod start;
mod answers;
mod damage;
mod running;
