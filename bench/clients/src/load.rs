//! Operations in a closed loop: throughput, CPU time and context switches per operation, latencies.
#![expect(clippy::disallowed_methods, reason = "latencies and the window are measured with the clock")]

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use futures_util::stream::{self, FuturesUnordered, StreamExt};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::answered;
use crate::library::Library;
use crate::process;

/// The folder of the nodes that are read and written.
const FOLDER: &str = "/clients-load";

/// Of so many operations in the mixed load one is a write.
const MIXED_WRITE_ONE_IN: u64 = 10;

/// Requests in flight while the nodes are prepared.
const PREPARED_AT_ONCE: usize = 64;

#[derive(Args)]
pub struct Load {
    #[arg(long, value_enum, default_value_t = Operation::GetData)]
    operation: Operation,
    /// Workers, each with one operation in flight; they share the connections in turn.
    #[arg(long, default_value_t = 16)]
    in_flight: usize,
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Who polls the workers.
    #[arg(long, value_enum, default_value_t = Workers::Tasks)]
    workers: Workers,
    /// Bytes of data in a node.
    #[arg(long, default_value_t = 100)]
    size: usize,
    /// Nodes, of which every operation takes one at random.
    #[arg(long, default_value_t = 1000)]
    keys: usize,
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Operation {
    GetData,
    SetData,
    /// Nine getData to one setData.
    Mixed,
}

#[derive(Clone, Copy, ValueEnum)]
enum Workers {
    /// A task each.
    Tasks,
    /// One task polls all of them.
    OneTask,
}

pub async fn run<L: Library>(servers: &str, load: &Load) -> Value {
    let mut clients = Vec::new();
    for _ in 0..load.connections {
        clients.push(answered("connect", L::open(servers).await));
    }
    let work = Arc::new(Work::new(load));
    prepare(&clients[0], &work).await;
    let loops = clients.iter().cycle().take(load.in_flight).zip(1..);
    let loops = loops.map(|(client, seed)| worker(client.clone(), Arc::clone(&work), Random(seed)));
    let mut tasks = JoinSet::new();
    match load.workers {
        Workers::Tasks => loops.for_each(|one| drop(tasks.spawn(one))),
        Workers::OneTask => {
            let all: FuturesUnordered<_> = loops.collect();
            tasks.spawn(all.collect::<()>());
        }
    }

    tokio::time::sleep(Duration::from_secs_f64(load.warm_up)).await;
    let (began, cpu, switches) = (Instant::now(), process::cpu(), process::switches());
    work.phase.store(MEASURED, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs_f64(load.seconds)).await;
    work.phase.store(OVER, Ordering::Relaxed);
    let (elapsed, cpu, switches) = (began.elapsed(), process::cpu() - cpu, process::switches() - switches);

    tasks.join_all().await;
    for client in clients {
        client.end().await;
    }
    let latencies = work.latencies();
    let operations = latencies.len();
    json!({
        "operation": crate::name(load.operation),
        "in_flight": load.in_flight,
        "connections": load.connections,
        "workers": crate::name(load.workers),
        "operations": operations,
        "ops_per_s": operations as f64 / elapsed.as_secs_f64(),
        "cpu_us_per_op": cpu.as_secs_f64() * 1e6 / operations as f64,
        "switches_per_op": switches as f64 / operations as f64,
        "p50_us": latencies.value_at_quantile(0.5) as f64 / 1e3,
        "p99_us": latencies.value_at_quantile(0.99) as f64 / 1e3,
    })
}

/// Creates what is missing of the nodes, and gives all of them data of the right size.
async fn prepare<L: Library>(client: &L, work: &Work) {
    if !answered("exists", client.is_there(FOLDER).await) {
        answered("create", client.make(FOLDER, &[]).await);
    }
    let prepare = async |path: &String| {
        if !answered("exists", client.is_there(path).await) {
            answered("create", client.make(path, &work.data).await);
        } else if answered("getData", client.read(path).await) != work.data.len() {
            answered("setData", client.write(path, &work.data).await);
        }
    };
    stream::iter(&work.paths).map(prepare).buffer_unordered(PREPARED_AT_ONCE).collect::<()>().await;
}

/// One operation after the other until the window is over.
async fn worker<L: Library>(client: L, work: Arc<Work>, mut random: Random) {
    let mut started = Instant::now();
    loop {
        let path = &work.paths[random.below(work.paths.len())];
        let write = match work.operation {
            Operation::GetData => false,
            Operation::SetData => true,
            Operation::Mixed => random.next().is_multiple_of(MIXED_WRITE_ONE_IN),
        };
        if write {
            answered("setData", client.write(path, &work.data).await);
        } else {
            let length = answered("getData", client.read(path).await);
            assert_eq!(length, work.data.len(), "getData of {path} returned data of another length");
        }
        let ended = Instant::now();
        match work.phase.load(Ordering::Relaxed) {
            WARM_UP => {}
            MEASURED => work.record(ended - started),
            _over => return,
        }
        started = ended;
    }
}

/// What the workers share.
struct Work {
    operation: Operation,
    paths: Vec<String>,
    data: Vec<u8>,
    phase: AtomicU8,
    /// One histogram a thread, so that threads do not wait for each other; filled by `record`.
    histograms: Mutex<Vec<Arc<Mutex<Histogram<u64>>>>>,
}

const WARM_UP: u8 = 0;
const MEASURED: u8 = 1;
const OVER: u8 = 2;

thread_local! {
    /// This thread's place in `Work::histograms`.
    static LATENCIES: std::cell::OnceCell<Arc<Mutex<Histogram<u64>>>> = const { std::cell::OnceCell::new() };
}

impl Work {
    fn new(load: &Load) -> Self {
        Work {
            operation: load.operation,
            paths: (0..load.keys).map(|i| format!("{FOLDER}/node-{i:06}")).collect(),
            data: vec![b'x'; load.size],
            phase: AtomicU8::new(WARM_UP),
            histograms: Mutex::default(),
        }
    }

    fn record(&self, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        LATENCIES.with(|mine| {
            let mine = mine.get_or_init(|| {
                let new = Arc::new(Mutex::new(empty_histogram()));
                self.histograms.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&new));
                new
            });
            mine.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(nanoseconds);
        });
    }

    /// All threads' latencies, in nanoseconds.
    fn latencies(&self) -> Histogram<u64> {
        let mut all = empty_histogram();
        for one in self.histograms.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            all += &*one.lock().unwrap_or_else(PoisonError::into_inner);
        }
        all
    }
}

/// Up to a minute, in nanoseconds, to two digits.
fn empty_histogram() -> Histogram<u64> {
    answered("histogram", Histogram::new_with_bounds(1, 60_000_000_000, 2))
}

/// xorshift64: which node is next must cost nothing. The seed must not be 0.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}
