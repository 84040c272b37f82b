//! Nothing of a server for tests is left when it has gone. Alone in its process: what is counted belongs to the process.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod wire;

use std::time::Duration;

use gk_client::testing::Server;
use wire::{Wire, word};

/// Growth of the memory of a process that is no leak: sixty servers have lived, and the smallest takes more than a
/// sixtieth of this.
const MEMORY_NOISE_KB: u64 = 2048;

/// How long the system may take to put away threads that have ended.
const PATIENCE: Duration = Duration::from_secs(20);

fn entries(directory: &str) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}

fn threads() -> usize {
    entries("/proc/self/task")
}

/// Open files of this process, and kilobytes of its memory.
fn held() -> (usize, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB")).unwrap();
    (entries("/proc/self/fd"), memory.trim().parse().unwrap())
}

/// A life with everything in it that could hold on to a server: a client in mid-session, a watch, a restart.
async fn live() {
    let mut server = Server::start().await.unwrap();
    let mut client = Wire::open(server.address(), 30_000);
    client.create("/member", true);
    assert!(client.exists("/member"), "with a watch");
    assert!(word(server.address(), "srvr").contains("Mode: standalone"), "a word");
    server.restart().await.unwrap();
    assert!(Wire::resume(server.address(), &client.session).exists("/member"), "resumed");
    let open = Wire::open(server.address(), 30_000);
    drop(server);
    open.ends();
}

#[tokio::test]
async fn servers_that_have_gone_leave_no_thread_no_file_and_no_memory() {
    let threads_before = threads();
    // What is made once for all of them is made by the first.
    for _ in 0..5 {
        live().await;
    }
    let (files_before, memory_before) = held();
    for _ in 0..30 {
        live().await;
    }
    let (files, memory) = held();
    assert_eq!(files, files_before, "open files");
    assert!(memory < memory_before + MEMORY_NOISE_KB, "{memory_before} kB have become {memory}");
    // A thread that has been joined is listed until the kernel has put it away.
    let put_away = async {
        while threads() > threads_before {
            tokio::task::yield_now().await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, put_away).await;
    assert!(in_time.is_ok(), "{threads_before} threads have become {}", threads());
}
