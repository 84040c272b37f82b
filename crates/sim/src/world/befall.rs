//! What befalls the server, its machine, its network and its clients.

use gk_proto::ConnId;
use gk_proto::connect::{ConnectRequest, PASSWORD_LEN};
use gk_proto::rng::Rng;
use gk_storage::testing::{Crash, Operation};

use super::World;
use super::machine::Condition;
use crate::around::{Event, Mend, nanos};
use crate::clients::Client;
use crate::faults::{Damage, Fault, Left};
use crate::network::below;

impl World {
    pub(super) fn fault(&mut self, number: usize) {
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
                self.disk.fail_operation(which, after, std::io::ErrorKind::Other);
                // Most is read at a start.
                self.read_error = (which == Operation::Read).then_some(after);
            }
            Fault::DiskFull { for_ms, is_strict } => {
                let capacity = Some(self.disk.used());
                self.set_condition(Condition { capacity, is_strict, ..self.condition });
                self.around.schedule(nanos(for_ms), Event::Mended(Mend::Disk));
            }
            Fault::ReadOnly { for_ms } => {
                self.set_condition(Condition { read_only: true, ..self.condition });
                self.around.schedule(nanos(for_ms), Event::Mended(Mend::Writable));
            }
            Fault::Stall { ms } => self.around.stall_ms = ms,
            Fault::SlowDisk { times, for_ms } => {
                self.around.disk_slowness = times;
                self.around.schedule(nanos(for_ms), Event::Mended(Mend::FastDisk));
            }
            Fault::Damage { what, how, down_ms } if self.server.is_some() => self.end_with_damage(what, how, down_ms),
            Fault::Restore { down_ms, .. } => self.restore_directory(number, down_ms),
            Fault::SameClock { down_ms } if self.server.is_some() => {
                self.around.wall_repeats(true);
                self.end(Crash::LoseAll, true, down_ms);
            }
            Fault::Drift { ppm } => self.around.drifts(ppm),
            Fault::WallClock { ms } => {
                self.around.wall_jumps(ms);
                if ms < 0 {
                    self.around.checker.set_back();
                }
            }
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
            Fault::Kill { .. } | Fault::PowerFailure { .. } | Fault::Damage { .. } | Fault::SameClock { .. } => {}
        }
    }

    /// What was the matter with the disk is over.
    pub(super) fn mended(&mut self, mend: Mend) {
        match mend {
            Mend::Disk => self.set_condition(Condition { capacity: None, is_strict: false, ..self.condition }),
            Mend::Writable => self.set_condition(Condition { read_only: false, ..self.condition }),
            Mend::FastDisk => self.around.disk_slowness = 1,
        }
    }

    /// Ends the server, by a kill unless the power fails in some way, and has bytes changed before the next start.
    fn end_with_damage(&mut self, what: Damage, how: Option<Left>, down_ms: u64) {
        if !self.around.unproven {
            self.damage = Some(what);
            self.around.checker.may_lose_after(how.map(|_| self.around.proven));
        }
        self.end(how.map_or(Crash::Kill, Left::crash), how.is_some(), down_ms);
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
