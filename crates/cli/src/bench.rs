//! The command `bench`: a load generator for any ensemble that speaks ZooKeeper's client protocol.
//!
//! A run makes nodes below one of its own, opens its connections, waits until all are there, lets them work for a while,
//! measures, reports, and removes its nodes. What is measured are operations whose sending falls into the measured time,
//! each counted as answered or failed however late that was known: nothing slow is left out.
//!
//! Read in this order:
//! - [`arguments`]: the command line, and the settings that it comes to
//! - [`mix`]: which operations, and in which proportion
//! - `clock`, `tally`: time, and the figures of a run
//! - `workspace`: the nodes of a run, and how they go away again
//! - `load`: what all threads share
//! - `operation`, `lane`: one operation under way; one connection under load
//! - `worker`: one thread with its connections, and the schedule
//! - `servers`, `progress`, `report`: what is shown

pub(crate) mod arguments;
mod mix;
mod clock;
mod tally;
mod workspace;
mod load;
mod operation;
mod lane;
mod worker;
mod servers;
mod progress;
mod report;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use gk_client::{Client, Error, ErrorCode};
use gk_proto::rng::Rng;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::logging;
use arguments::{BenchArguments, Output, Settings};
use clock::{Clock, between};
use load::{Load, Window};
use progress::Progress;
use report::Report;
use servers::Server;
use tally::Tally;
use worker::{Event, Worker};
use workspace::Workspace;

/// Runs the load, or removes what earlier runs have left.
pub(crate) fn run(arguments: &BenchArguments) -> ExitCode {
    let settings = match Settings::new(arguments) {
        Ok(settings) => settings,
        Err(wrong) => {
            complain(&wrong);
            return ExitCode::from(INVALID);
        }
    };
    if std::env::var_os("RUST_LOG").is_some() {
        logging::start();
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("cannot start: {error}"));
            return ExitCode::from(FAILED);
        }
    };
    let ended = runtime
        .block_on(async { if arguments.clean { clean(&settings).await } else { bench(settings, arguments).await } });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Signal(number)) => ExitCode::from(128_u8.saturating_add(number)),
        Err(Stop::Failed(why)) => {
            complain(&why);
            ExitCode::from(FAILED)
        }
    }
}

/// Why the command does not end with success.
#[derive(Debug)]
enum Stop {
    Signal(u8),
    Failed(String),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Removes what runs that were killed have left behind.
async fn clean(settings: &Settings) -> Result<(), Stop> {
    let client = load::connect(settings).await?;
    let found = workspace::leftovers(&client, settings.root.as_deref()).await?;
    if found.is_empty() {
        eprintln!("Nothing is left behind.");
    }
    for leftover in found {
        if leftover.is_running {
            eprintln!("{} is in use by a run, or was until a moment ago: it stays.", leftover.root);
        } else {
            workspace::remove(&client, &leftover.root).await?;
            eprintln!("{} is removed.", leftover.root);
        }
    }
    Ok(client.close().await?)
}

/// One run from the first connection to the last deleted node.
async fn bench(settings: Settings, arguments: &BenchArguments) -> Result<(), Stop> {
    let mut signals = Signals::new().map_err(|error| Stop::Failed(format!("cannot watch for signals: {error}")))?;
    let clock = Clock::start();
    let seed = clock.seed();
    let progress = Progress::new(arguments.progress);
    let payload = load::payload(&mut Rng::new(seed), settings.data_size.max());
    let workspace = Workspace::name(&settings, seed);
    let load = Arc::new(Load { settings, clock, workspace, seed, payload, window: Window::new() });

    progress.say("connecting");
    let connected = tokio::select! {
        connected = load.connect() => connected.map_err(Stop::from),
        number = signals.next() => Err(Stop::Signal(number)),
    };
    progress.end();
    let client = connected?;
    warn_of_leftovers(&client).await;
    load.workspace.claim(&client).await.map_err(|error| Stop::Failed(cannot_begin(&error)))?;
    let mut course = Course { load: load.clone(), progress, signals };
    let ended = course.run(&client, arguments.output).await;
    course.progress.end();
    let removed = course.remove(client).await;
    match (ended, removed) {
        (ended, Ok(())) => ended,
        (Ok(()), Err(why)) => Err(Stop::Failed(why)),
        (Err(stop), Err(why)) => {
            complain(&why);
            Err(stop)
        }
    }
}

async fn warn_of_leftovers(client: &Client) {
    let Ok(found) = workspace::leftovers(client, None).await else { return };
    for leftover in found.iter().filter(|leftover| !leftover.is_running) {
        complain(&format!("{} is left from an earlier run; --clean removes it", leftover.root));
    }
}

/// A run whose root is made.
struct Course {
    load: Arc<Load>,
    progress: Progress,
    signals: Signals,
}

/// What is known when the time is over.
struct Outcome {
    tally: Tally,
    client_cpu: Duration,
    measured: Duration,
    /// The signal that ended it.
    signal: Option<u8>,
}

impl Course {
    /// Makes the nodes, runs the load, prints the report.
    async fn run(&mut self, client: &Client, output: Output) -> Result<(), Stop> {
        let load = self.load.clone();
        let settings = &load.settings;
        self.progress.say("making nodes");
        let mut rng = Rng::new(load.seed.wrapping_add(1));
        tokio::select! {
            filled = load.workspace.fill(client, settings, &load.payload, &mut rng) => filled?,
            number = self.signals.next() => return Err(Stop::Signal(number)),
        }
        let servers = servers::ask(&settings.each_server).await;
        let outcome = self.under_load().await?;
        self.progress.end();
        print(&load, &servers, &outcome, output);
        match outcome.signal {
            Some(number) => Err(Stop::Signal(number)),
            None if outcome.tally.total().succeeded() == 0 => {
                Err(Stop::Failed("not one operation succeeded".to_owned()))
            }
            None => Ok(()),
        }
    }

    /// Starts the threads, and watches them until the time is over.
    async fn under_load(&mut self) -> Result<Outcome, Stop> {
        let threads = self.load.settings.threads;
        // Each thread reports twice.
        let (events_in, mut events) = mpsc::channel(2 * threads);
        let (go, started) = watch::channel(false);
        let mut workers = Vec::new();
        for first in 0..threads {
            let worker = Worker::start(&self.load, first, events_in.clone(), started.clone());
            workers.push(worker.map_err(|error| Stop::Failed(format!("cannot start a thread: {error}")))?);
        }
        drop((events_in, started));
        self.progress.say("connecting");
        let ended = match self.connected(&mut events, threads).await {
            Ok(()) => {
                self.load.window.open(self.load.clock.now(), &self.load.settings);
                go.send_replace(true);
                Ok(self.until_done(&mut events, &workers).await)
            }
            Err(stop) => Err(stop),
        };
        drop(go);
        let mut tally = Tally::new();
        for worker in workers {
            let figures = worker.tally.clone();
            worker.join();
            tally.add(&figures.lock());
        }
        let (client_cpu, signal) = ended?;
        tally.give_up();
        let window = &self.load.window;
        let measured = between(window.measured_from(), window.end());
        Ok(Outcome { tally, client_cpu, measured, signal })
    }

    /// Waits until every thread has its connections.
    async fn connected(&mut self, events: &mut mpsc::Receiver<Event>, threads: usize) -> Result<(), Stop> {
        for _ in 0..threads {
            let event = tokio::select! {
                event = events.recv() => event,
                number = self.signals.next() => return Err(Stop::Signal(number)),
            };
            match event {
                Some(Event::Connected) => {}
                Some(Event::Failed(error)) => return Err(Stop::Failed(cannot_connect(&error))),
                Some(Event::Done) | None => return Err(Stop::Failed("a thread ended before it began".to_owned())),
            }
        }
        Ok(())
    }

    /// Shows progress until every thread is done: CPU time of this program while it measured, and the signal that ended
    /// it early.
    async fn until_done(&mut self, events: &mut mpsc::Receiver<Event>, workers: &[Worker]) -> (Duration, Option<u8>) {
        let load = self.load.clone();
        let window = &load.window;
        let mut signal = None;
        let mut left = workers.len();
        let mut ticks = tokio::time::interval(progress::PERIOD);
        let warm = tokio::time::sleep(load.settings.warm_up);
        let over = tokio::time::sleep(load.settings.warm_up + load.settings.duration);
        tokio::pin!(warm, over);
        let (mut cpu_before, mut cpu_after) = (None, None);
        ticks.tick().await;
        while left > 0 {
            tokio::select! {
                event = events.recv() => match event {
                    Some(Event::Done) => left -= 1,
                    Some(Event::Connected | Event::Failed(_)) => {}
                    None => break,
                },
                _ = ticks.tick() => {
                    self.progress.show(&load, load.clock.now(), workers.iter().map(|worker| &worker.tally));
                }
                () = &mut warm, if cpu_before.is_none() => cpu_before = Some(load.clock.cpu()),
                () = &mut over, if cpu_after.is_none() => cpu_after = Some(load.clock.cpu()),
                number = self.signals.next() => {
                    cpu_after.get_or_insert_with(|| load.clock.cpu());
                    window.close(load.clock.now());
                    if signal.replace(number).is_some() {
                        self.abandon(number);
                    }
                }
            }
        }
        let now = load.clock.cpu();
        let spent = cpu_after.unwrap_or(now).saturating_sub(cpu_before.unwrap_or(now));
        (spent, signal)
    }

    /// Asked twice, everything is left as it is.
    fn abandon(&self, number: u8) -> ! {
        self.progress.end();
        complain(&format!("{} is left behind, remove it with --clean", self.load.workspace.root));
        std::process::exit(128 + i32::from(number));
    }

    /// Removes the nodes. If the session of the beginning has ended, or no server can be reached for now, another try is
    /// made with a new one.
    async fn remove(&mut self, client: Client) -> Result<(), String> {
        let root = &self.load.workspace.root;
        let attempts = async {
            let mut last = workspace::remove(&client, root).await;
            let _ = tokio::time::timeout(CLOSE_TIME, client.close()).await;
            for _ in 0..REMOVE_RETRIES {
                let Err(error) = &last else { break };
                if error.code().is_some() {
                    break;
                }
                last = match self.load.connect().await {
                    Ok(client) => workspace::remove(&client, root).await,
                    Err(error) => Err(error),
                };
            }
            last.map_err(|error| error.to_string())
        };
        let removed = tokio::select! {
            removed = attempts => removed,
            _ = self.signals.next() => Err("stopped by a signal".to_owned()),
        };
        removed.map_err(|why| format!("{root} could not be removed, use --clean later: {why}"))
    }
}

/// Prints what was measured.
fn print(load: &Load, servers: &[Server], outcome: &Outcome, output: Output) {
    let sent = outcome.tally.total().sent;
    let report = Report {
        settings: &load.settings,
        servers,
        tally: &outcome.tally,
        measured: outcome.measured,
        client_cpu: outcome.client_cpu,
        never_sent: load.due_in_all().map(|due| due.saturating_sub(sent)),
        is_interrupted: outcome.signal.is_some(),
    };
    let text = match output {
        Output::Text => report.text(),
        Output::Json => format!("{:#}\n", report.json()),
    };
    // Nobody may be reading any more; nodes are removed even so.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn cannot_begin(error: &Error) -> String {
    let mut text = format!("cannot make the node of this run: {error}");
    if error.code() == Some(ErrorCode::NoNode) {
        text += "\nThe chroot of --servers and the parent of --root must be there already.";
    }
    text
}

fn cannot_connect(error: &Error) -> String {
    let mut text = format!("not all connections could be made: {error}");
    if matches!(error, Error::NotConnected { .. } | Error::ConnectionLost) {
        text += "\nServers limit the connections of one address: maxClientCnxns, 60 unless configured.";
    }
    text
}

/// SIGINT, SIGTERM and SIGHUP: they end the run, not the program.
struct Signals {
    signals: [(u8, Signal); 3],
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let hear = |kind: SignalKind| {
            let number = u8::try_from(kind.as_raw_value()).unwrap_or_default();
            Ok::<_, std::io::Error>((number, signal(kind)?))
        };
        let kinds = (SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup());
        Ok(Self { signals: [hear(kinds.0)?, hear(kinds.1)?, hear(kinds.2)?] })
    }

    /// The number of the next one.
    async fn next(&mut self) -> u8 {
        std::future::poll_fn(|context| {
            for (number, signal) in &mut self.signals {
                if signal.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(*number);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "gamekeeper: {text}");
}

/// How long the end of the session that made the nodes is waited for, and how often another one tries to remove them:
/// long enough for a server that is being restarted.
const CLOSE_TIME: Duration = Duration::from_secs(2);
const REMOVE_RETRIES: usize = 3;

const FAILED: u8 = 1;
const INVALID: u8 = 2;
