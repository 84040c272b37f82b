//! One run: a server, its machine, its clients and what befalls them, from one seed, in virtual time.

mod machine;
mod befall;

use std::collections::BTreeMap;
use std::sync::Arc;

use gk_node::password::{KEY_LEN, Passwords};
use gk_proto::rng::Rng;
use gk_proto::{ConnId, Zxid};
use gk_storage::testing::{Crash, MemDisk};

use crate::around::{Around, Event, Lane, Mend, nanos};
use crate::checkers::Checker;
use crate::checkers::wire::Circumstances;
use crate::clients::Client;
use crate::faults::{Damage, Fault, Left};
use crate::options::Options;
use crate::programs::Shared;
use crate::server::Server;
use machine::{Condition, Copy};

pub(crate) struct World {
    pub(crate) around: Around,
    disk: Arc<MemDisk>,
    server: Option<Server>,
    passwords: Passwords,
    clients: Vec<Client>,
    shared: Shared,
    /// The machine stops at an operation of its disk: what is left then, and for how long it is down.
    stopping: Option<(Left, u64)>,
    paused_until: u64,
    /// What happens to the disk while the server is down.
    damage: Option<Damage>,
    /// The disk as it was when the server last started.
    older: Option<Arc<MemDisk>>,
    /// The disk before it was damaged, for the operator to restore.
    sound: Option<Arc<MemDisk>>,
    /// What is the matter with the disk.
    condition: Condition,
    /// The next start cannot read something, after so many that it reads.
    read_error: Option<u64>,
    /// Copies of the directory, by the fault that brings them back.
    copies: BTreeMap<usize, Copy>,
    faults_done: usize,
    starts: u32,
    is_healed: bool,
    /// Histories that were too hard to judge.
    pub(crate) undecided: u32,
    /// How often damage was refused, and how often it did no harm.
    pub(crate) refusals: u32,
    pub(crate) harmless: u32,
}

impl World {
    pub(crate) fn new(mut rng: Rng, options: Options, trace: bool) -> Self {
        let mut key = [0; KEY_LEN];
        key.iter_mut().for_each(|byte| *byte = u8::try_from(rng.below(256)).unwrap_or(0));
        let how = Circumstances {
            quotas: options.node.enforce_quota,
            was_full: false,
            record_max: options.node.record_max,
            inline_deletes: options.inline_deletes,
        };
        let mut around = Around::new(rng, options.clone(), Checker::new(how), trace);
        let clients = options.clients.iter().enumerate();
        let clients = clients.map(|(number, client)| Client::new(number, client.clone(), &mut around)).collect();
        let mut world = Self {
            around,
            disk: MemDisk::new(),
            server: None,
            passwords: Passwords::Keyed { key, older: std::collections::BTreeSet::new() },
            clients,
            shared: Shared::default(),
            stopping: None,
            paused_until: 0,
            damage: None,
            older: None,
            sound: None,
            condition: Condition::default(),
            read_error: None,
            copies: BTreeMap::new(),
            faults_done: 0,
            starts: 0,
            is_healed: false,
            undecided: 0,
            refusals: 0,
            harmless: 0,
        };
        for (number, (at_ms, fault)) in options.faults.iter().enumerate() {
            if let Fault::Restore { age_ms, .. } = fault {
                world.around.schedule(nanos(at_ms.saturating_sub(*age_ms)), Event::Copy(number));
            }
            world.around.schedule(nanos(*at_ms), Event::Fault(number));
        }
        world.around.schedule(0, Event::Start);
        for client in &mut world.clients {
            client.begin(&mut world.around, &mut world.shared);
        }
        world
    }

    /// The next thing that is due.
    pub(crate) fn step(&mut self) {
        let Some(event) = self.around.next() else {
            return self.around.checker.fail("I28 nothing is ever due again");
        };
        match event {
            Event::Lane(lane) => self.lane(lane),
            Event::ToServer(id) => self.arrives(id),
            Event::ToClient(id) => self.for_client_of(id, event, |client, around, shared| {
                client.received(around, shared, id);
            }),
            Event::Writable(id) => self.for_client_of(id, event, |client, around, _| client.writable(around, id)),
            Event::Dialled { client, attempt } => self.dialled(client, attempt),
            Event::Client(number) => self.for_client(number, event, Client::timeout),
            Event::Program(number) => self.for_client(number, event, Client::run),
            Event::Fault(number) => self.fault(number),
            Event::Copy(number) => self.copy_directory(number),
            Event::Mended(mend) => self.mended(mend),
            Event::Start => self.start(),
        }
        if self.around.rng.below(1000) == 0 {
            self.around.network.tidy();
        }
    }

    fn for_client(&mut self, number: usize, event: Event, act: impl FnOnce(&mut Client, &mut Around, &mut Shared)) {
        let Some(client) = self.clients.get_mut(number) else { return };
        if let Some(until) = client.paused(self.around.now) {
            let after = until - self.around.now + self.around.lag();
            self.around.schedule(after, event);
            return;
        }
        act(client, &mut self.around, &mut self.shared);
    }

    fn for_client_of(&mut self, id: ConnId, event: Event, act: impl FnOnce(&mut Client, &mut Around, &mut Shared)) {
        let Some(number) = self.around.network.pipes.get(&id).map(|pipe| pipe.client) else { return };
        self.for_client(number, event, act);
    }

    fn lane(&mut self, lane: Lane) {
        if self.paused_until > self.around.now {
            let after = self.paused_until - self.around.now + self.around.lag();
            self.around.schedule(after, Event::Lane(lane));
            return;
        }
        let Some(server) = &mut self.server else { return };
        let failed = server.step(&mut self.around, lane);
        if self.disk.has_stopped() {
            return self.machine_stopped();
        }
        if let Some(error) = failed {
            self.around.note(|| format!("the server ends: {error}"));
            if self.disk.failed() == 0 {
                self.around.checker.fail(&format!("I30 the server ends without a reason: {error}"));
            }
            // The process ends with the error; its machine goes on.
            return self.end(Crash::Kill, false, 100);
        }
        server.check(&mut self.around, lane);
        if self.around.steps.is_multiple_of(self.around.options.what_if_every) {
            self.what_if();
        }
    }

    fn arrives(&mut self, id: ConnId) {
        let now = self.around.now;
        let Some(pipe) = self.around.network.pipes.get_mut(&id) else { return };
        pipe.up.arrive(now);
        if pipe.server_gone {
            // A machine that came up again knows nothing of it and says so.
            if pipe.down.ends_unseen() && self.server.is_some() && !pipe.client_gone {
                pipe.down.is_reset();
                let after = self.around.lag();
                self.around.schedule(after, Event::ToClient(id));
            }
            return;
        }
        if let Some(server) = &mut self.server {
            server.socket_changed(&mut self.around, id);
        }
    }

    fn dialled(&mut self, number: usize, attempt: ConnId) {
        let weather = self.around.options.weather.clone();
        let calm = self.is_healed;
        if !calm && self.around.chance(weather.unanswered) {
            return;
        }
        let refused = !calm && self.around.chance(weather.refused);
        let pipe = match &mut self.server {
            Some(server) if !refused => {
                let id = self.around.network.open(number, attempt);
                server.accept(&mut self.around, id);
                Some(id)
            }
            Some(_) | None => None,
        };
        let Some(client) = self.clients.get_mut(number) else { return };
        client.dialled(&mut self.around, &mut self.shared, attempt, pipe);
    }
}

/// The end of a run.
impl World {
    pub(crate) fn is_over(&self) -> bool {
        self.around.checker.violation().is_some()
    }

    /// Whether the part with faults is done.
    pub(crate) fn is_done(&self) -> bool {
        let planned = self.around.options.faults.len();
        let is_time = self.around.now >= nanos(self.around.options.calm_after_ms) && self.faults_done >= planned;
        let is_late = self.around.now >= nanos(3 * self.around.options.calm_after_ms);
        is_time && (is_late || self.clients.iter().all(|client| client.has_gone() || client.left == 0))
    }

    /// No fault from now on.
    pub(crate) fn heal(&mut self) {
        self.around.note(|| "no more faults".to_owned());
        self.is_healed = true;
        self.disk.mend();
        self.set_condition(Condition::default());
        self.read_error = None;
        self.disk.never_stop();
        self.stopping = None;
        self.mended(Mend::FastDisk);
        self.around.stall_ms = 0;
        self.paused_until = self.paused_until.min(self.around.now);
        self.around.options.weather.partial = 0;
        for client in &mut self.clients {
            client.rest();
        }
    }

    /// Whether everybody has been answered, and only sessions of clients that are there are left.
    pub(crate) fn is_at_rest(&self) -> bool {
        let Some(server) = &self.server else { return false };
        let idle = server.is_idle() && self.clients.iter().all(|client| client.is_at_rest(self.around.now));
        let ours = |session| {
            self.clients
                .iter()
                .any(|client| !client.has_gone() && client.session_id().is_some_and(|(id, _)| id == session))
        };
        idle && self.around.checker.model.live_sessions().all(|(session, _)| ours(session)) && self.overdue().is_none()
    }

    /// What the server should have reaped by now.
    pub(crate) fn overdue(&self) -> Option<&str> {
        self.around.checker.overdue(self.around.server_instant())
    }

    /// Why it is not.
    pub(crate) fn waits_for(&self) -> String {
        let waiting: Vec<String> =
            self.clients.iter().filter(|client| !client.is_at_rest(self.around.now)).map(Client::waits_for).collect();
        let sessions: Vec<_> = self.around.checker.model.live_sessions().collect();
        format!("server runs: {}, {waiting:?}, sessions {sessions:?}", self.server.is_some())
    }

    /// What can be asked only once all is at rest.
    pub(crate) fn finish(&mut self) {
        if let Some(server) = &self.server {
            self.around.checker.tree(server.tree());
        }
        self.what_if();
        for client in self.clients.iter().filter(|client| !client.has_gone()) {
            if let Err(what) = client.program().finish(&self.around.checker.model) {
                self.around.checker.fail(&what);
            }
        }
        self.judge_histories();
    }

    fn judge_histories(&mut self) {
        match self.shared.judge() {
            Ok(undecided) => self.undecided += undecided,
            Err(what) => self.around.checker.fail(&what),
        }
    }

    /// History after this txn is lost. Clients that have seen it start afresh, but their sessions do not know at once;
    /// what the others know still holds.
    fn clients_lost_history(&mut self, last: Zxid) {
        self.around.note(|| format!("history after {last:?} is lost"));
        self.judge_histories();
        self.shared.go_back(&self.around.checker.model);
        // So that it is known now who knows what.
        for pipe in self.around.network.pipes.values_mut() {
            pipe.down.loses_the_rest();
        }
        for client in self.clients.iter_mut().filter(|client| client.has_seen() > last) {
            let until = self.around.now + nanos(self.around.rng.below(4000));
            client.lost_history(&mut self.around, &mut self.shared, until);
        }
    }

    /// Calls that programs made.
    pub(crate) fn operations(&self) -> u32 {
        self.clients.iter().map(|client| client.made).sum()
    }

    pub(crate) fn faults_done(&self) -> usize {
        self.faults_done
    }

    pub(crate) fn starts(&self) -> u32 {
        self.starts
    }
}
