//! One run: a server, its machine, its clients and what befalls them, from one seed, in virtual time.

use std::path::PathBuf;
use std::sync::Arc;

use gk_node::password::{KEY_LEN, Passwords};
use gk_proto::ConnId;
use gk_proto::connect::{ConnectRequest, PASSWORD_LEN};
use gk_proto::rng::Rng;
use gk_storage::testing::{Crash, MemDisk, SECTOR};

use crate::around::{Around, Event, Lane, Mend, nanos};
use crate::checkers::Checker;
use crate::checkers::linearize::{Found, State, search};
use crate::checkers::wire::Circumstances;
use crate::clients::Client;
use crate::faults::{Damage, Fault, Left};
use crate::network::below;
use crate::options::Options;
use crate::programs::Shared;
use crate::server::Server;

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
    /// An error of the disk was asked for and may stop a start.
    errors_wanted: bool,
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
            errors_wanted: false,
            faults_done: 0,
            starts: 0,
            is_healed: false,
            undecided: 0,
            refusals: 0,
            harmless: 0,
        };
        for (number, (at_ms, _)) in options.faults.iter().enumerate() {
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
            Event::Mended(Mend::Disk) => self.disk.set_capacity(None),
            Event::Mended(Mend::FastDisk) => self.around.disk_slowness = 1,
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

/// The server and its machine.
impl World {
    fn start(&mut self) {
        if self.server.is_some() {
            return;
        }
        self.starts += 1;
        if let Some(damage) = self.damage.take() {
            self.sound = Some(self.disk.clone_files());
            self.apply_damage(damage);
        }
        self.around.checker.how.was_full = false;
        let started = Server::start(&mut self.around, self.disk.clone(), self.passwords.clone());
        match started {
            Ok(_) if self.disk.has_stopped() => self.machine_stopped(),
            Ok(server) => {
                if self.sound.take().is_some() {
                    self.harmless += 1;
                }
                self.older = Some(self.disk.clone_files());
                self.server = Some(server);
            }
            Err(_) if self.disk.has_stopped() => self.machine_stopped(),
            Err(error) => self.not_started(&error.to_string()),
        }
    }

    /// Why a server does not start: damage, which an operator mends; or an error of the disk, which passes.
    fn not_started(&mut self, error: &str) {
        self.around.note(|| format!("not started: {error}"));
        self.around.fold(error.as_bytes());
        if let Some(sound) = self.sound.take() {
            self.refusals += 1;
            self.disk = sound;
        } else if self.disk.failed() > 0 {
            self.disk = self.disk.crash(Crash::Kill);
        } else {
            return self.around.checker.fail(&format!("I28 the server does not start: {error}"));
        }
        let after = nanos(1 + self.around.rng.below(50));
        self.around.schedule(after, Event::Start);
    }

    /// The server ends here; another one starts after a while on what is left of the disk.
    fn end(&mut self, how: Crash, is_silent: bool, down_ms: u64) {
        let disk = self.disk.crash(how);
        if let Some(server) = self.server.take() {
            server.crash(&mut self.around, is_silent);
        }
        self.around.forget_lanes();
        self.around.disk_slowness = 1;
        self.disk = disk;
        self.stopping = None;
        self.errors_wanted = false;
        self.paused_until = 0;
        self.around.fold(b"end");
        let after = nanos(1 + self.around.rng.below(down_ms));
        self.around.schedule(after, Event::Start);
    }

    fn machine_stopped(&mut self) {
        let (left, down_ms) = self.stopping.take().unwrap_or((Left::Nothing, 10));
        self.around.note(|| format!("the machine stopped, leaving {left:?}"));
        self.end(left.crash(), true, down_ms);
    }

    /// What the disk would give back if the power failed now, on a copy.
    fn what_if(&mut self) {
        let seed = self.around.rng.next_u64();
        for how in [Crash::LoseAll, Crash::Random(seed)] {
            let disk = self.disk.crash(how);
            match gk_storage::open(disk, &self.around.options.store) {
                Ok(opened) => self.around.checker.what_if(&opened.tree),
                Err(error) => self.around.checker.fail(&format!("I11 after a power failure: {error}")),
            }
        }
    }

    fn apply_damage(&mut self, damage: Damage) {
        let is_ours = |path: &&PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name != "lock" && !name.ends_with(".tmp")
        };
        let paths: Vec<PathBuf> = self.disk.paths().iter().filter(is_ours).cloned().collect();
        let pick = |file: u64| paths.get(below(&mut Rng::new(file), paths.len()));
        let (Damage::Bit { file, .. }
        | Damage::Sector { file, .. }
        | Damage::Truncated { file, .. }
        | Damage::Gone { file }
        | Damage::Stale { file }) = damage;
        let Some(path) = pick(file) else { return };
        self.around.note(|| format!("{damage:?} of {}", path.display()));
        let Some(mut bytes) = self.disk.peek(path) else { return };
        // Behind the last byte that is not zero there is only what was reserved.
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let place = |at: u64, length: usize| below(&mut Rng::new(at), length.max(1));
        match damage {
            Damage::Gone { .. } => return self.disk.unpoke(path),
            Damage::Bit { at, .. } => {
                let at = place(at, used * 8);
                if let Some(byte) = bytes.get_mut(at / 8) {
                    *byte ^= 1 << (at % 8);
                }
            }
            Damage::Sector { at, .. } => {
                let start = place(at, used.div_ceil(SECTOR)) * SECTOR;
                bytes.iter_mut().skip(start).take(SECTOR).for_each(|byte| *byte = 0);
            }
            Damage::Truncated { at, .. } => bytes.truncate(place(at, used)),
            Damage::Stale { .. } => match self.older.as_ref().and_then(|older| older.peek(path)) {
                Some(older) => bytes = older,
                None => return,
            },
        }
        self.disk.poke(path, &bytes);
    }
}

/// Faults.
impl World {
    fn fault(&mut self, number: usize) {
        let Some((_, fault)) = self.around.options.faults.get(number).copied() else { return };
        self.around.note(|| format!("fault: {fault:?}"));
        self.faults_done += 1;
        match fault {
            Fault::Kill { down_ms } if self.server.is_some() => self.end(Crash::Kill, false, down_ms),
            Fault::PowerFailure { how, down_ms } if self.server.is_some() => self.end(how.crash(), true, down_ms),
            Fault::StopAtOperation { after, how, down_ms } => {
                self.stopping = Some((how, down_ms));
                self.disk.stop_after(after);
            }
            Fault::Restart { down_ms } => self.restart(down_ms),
            Fault::DiskError { which, after } => {
                self.errors_wanted = true;
                self.disk.fail_operation(which, after, std::io::ErrorKind::Other);
            }
            Fault::DiskFull { for_ms } => {
                self.disk.set_capacity(Some(self.disk.used()));
                self.around.schedule(nanos(for_ms), Event::Mended(Mend::Disk));
            }
            Fault::SlowDisk { times, for_ms } => {
                self.around.disk_slowness = times;
                self.around.schedule(nanos(for_ms), Event::Mended(Mend::FastDisk));
            }
            Fault::Damage { what, down_ms } if self.server.is_some() => {
                self.damage = Some(what).filter(|_| !self.around.unproven);
                self.end(Crash::Kill, false, down_ms);
            }
            Fault::WallClock { ms } => self.around.wall_jumps(ms),
            Fault::PauseServer { for_ms } => self.paused_until = self.around.now + nanos(for_ms),
            Fault::PauseClient { client, for_ms } => {
                let until = self.around.now + nanos(for_ms);
                if let Some(client) = self.pick(client) {
                    client.pause(until);
                }
            }
            Fault::Cut { client } => self.cut(client),
            Fault::Hole { client } => {
                let pipe = self.pick(client).and_then(|client| client.pipe());
                if let Some(pipe) = pipe.and_then(|pipe| self.around.network.pipes.get_mut(&pipe)) {
                    pipe.swallow();
                }
            }
            Fault::Vanish { client } => self.vanish(client),
            Fault::Stranger { client } => self.stranger(client),
            Fault::Kill { .. } | Fault::PowerFailure { .. } | Fault::Damage { .. } => {}
        }
    }

    fn pick(&mut self, client: u64) -> Option<&mut Client> {
        let at = below(&mut Rng::new(client), self.clients.len());
        self.clients.get_mut(at)
    }

    fn restart(&mut self, down_ms: u64) {
        let Some(server) = self.server.take() else { return };
        let stopped = server.stop(&mut self.around);
        self.around.note(|| format!("stopped: {stopped:?}"));
        if let Err(error) = stopped
            && self.disk.failed() == 0
            && !self.disk.has_stopped()
            && !self.around.checker.how.was_full
        {
            self.around.checker.fail(&format!("I30 the server does not stop: {error}"));
        }
        if self.disk.has_stopped() {
            return self.machine_stopped();
        }
        self.end(Crash::Kill, false, down_ms);
    }

    fn cut(&mut self, client: Option<u64>) {
        let pipes: Vec<ConnId> = match client {
            Some(client) => self.pick(client).and_then(|client| client.pipe()).into_iter().collect(),
            None => self.around.network.pipes.keys().copied().collect(),
        };
        for id in pipes {
            let Some(pipe) = self.around.network.pipes.get_mut(&id) else { continue };
            pipe.cut(&mut self.around.rng);
            for event in [Event::ToServer(id), Event::ToClient(id)] {
                let after = self.around.micros(200_000);
                self.around.schedule(after, event);
            }
        }
    }

    /// A client goes; one of the same kind takes its place.
    fn vanish(&mut self, client: u64) {
        let number = self.clients.len();
        let at = below(&mut Rng::new(client), number);
        let Some(gone) = self.clients.get_mut(at).filter(|client| !client.has_gone()) else { return };
        gone.vanish(&mut self.around, &mut self.shared);
        let left = gone.left;
        let Some(mut options) = self.around.options.clients.get(at).cloned() else { return };
        options.operations = left;
        options.seed = client;
        let mut heir = Client::new(number, options.clone(), &mut self.around);
        heir.begin(&mut self.around, &mut self.shared);
        self.clients.push(heir);
        self.around.options.clients.push(options);
    }

    /// Somebody who knows a session's id, and not its password.
    fn stranger(&mut self, client: u64) {
        let Some((session, mut password)) = self.pick(client).and_then(|client| client.session_id()) else { return };
        let Some(server) = &mut self.server else { return };
        let at = below(&mut self.around.rng, PASSWORD_LEN);
        if let Some(byte) = password.get_mut(at) {
            *byte ^= 0x40;
        }
        // Nobody reads what it is answered: the checker at the socket does.
        let id = self.around.network.open(usize::MAX, ConnId(0));
        server.accept(&mut self.around, id);
        let hello = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 0,
            timeout_ms: 1000,
            session,
            password: password.to_vec(),
            read_only: Some(false),
        };
        let mut bytes = Vec::new();
        gk_proto::reply::frame(&mut bytes, |out| hello.encode(out));
        let Some(pipe) = self.around.network.pipes.get_mut(&id) else { return };
        let arrivals = pipe.up.send(&mut self.around.rng, &self.around.options.weather, self.around.now, &bytes);
        for at in arrivals {
            self.around.schedule(at - self.around.now, Event::ToServer(id));
        }
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
        self.disk.set_capacity(None);
        self.disk.never_stop();
        self.stopping = None;
        self.around.disk_slowness = 1;
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
        idle && self.around.checker.model.live_sessions().all(|(session, _)| ours(session))
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
        let start = State { value: 0, version: 0 };
        for (path, history) in &self.shared.histories {
            match search(history.clone(), start) {
                Found::Linearizable => {}
                Found::GaveUp => self.undecided += 1,
                Found::Impossible => {
                    self.around.checker.fail(&format!("I22 the calls on {path} have no order: {history:?}"));
                }
            }
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
