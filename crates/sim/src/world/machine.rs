//! The server's machine: starts and ends of the server, and what its disk holds in between.

use std::path::PathBuf;
use std::sync::Arc;

use gk_proto::rng::Rng;
use gk_storage::testing::{Crash, MemDisk, Operation, SECTOR};

use super::World;
use crate::around::{Event, nanos};
use crate::checkers::Past;
use crate::faults::{Damage, Left};
use crate::network::below;
use crate::server::Server;

/// What is the matter with the disk, whoever uses it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Condition {
    /// There is room for so many bytes; and whether also writes are refused that need more.
    pub(super) capacity: Option<u64>,
    pub(super) is_strict: bool,
    pub(super) read_only: bool,
}

/// A copy of the whole directory.
pub(super) struct Copy {
    disk: Arc<MemDisk>,
    past: Past,
}

impl World {
    pub(super) fn start(&mut self) {
        if self.server.is_some() {
            return;
        }
        self.starts += 1;
        if let Some(damage) = self.damage.take() {
            self.sound = Some(self.disk.clone_files());
            self.apply_damage(damage);
        }
        self.around.checker.how.was_full = false;
        if let Some(after) = self.read_error.take() {
            self.disk.fail_operation(Operation::Read, after, std::io::ErrorKind::Other);
        }
        let started = Server::start(&mut self.around, self.disk.clone(), self.passwords.clone());
        match started {
            Ok(_) if self.disk.has_stopped() => self.machine_stopped(),
            Ok(server) => {
                if self.sound.take().is_some() {
                    self.harmless += 1;
                }
                self.around.checker.may_lose_after(None);
                self.around.proven = server.tree().last_zxid();
                self.older = Some(self.disk.clone_files());
                self.server = Some(server);
                if let Some(last) = self.around.checker.take_loss() {
                    self.clients_lost_history(last);
                }
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
            self.around.checker.may_lose_after(None);
            self.use_disk(sound);
        } else if self.disk.failed() > 0 || self.condition.capacity.is_some() {
            self.use_disk(self.disk.crash(Crash::Kill));
            // A sector that was of no concern at the start before this one may be now.
            self.disk.mend();
        } else {
            return self.around.checker.fail(&format!("I28 the server does not start: {error}"));
        }
        let after = nanos(1 + self.around.rng.below(50));
        self.around.schedule(after, Event::Start);
    }

    /// The server ends here; another one starts after a while on what is left of the disk.
    pub(super) fn end(&mut self, how: Crash, is_silent: bool, down_ms: u64) {
        let disk = self.disk.crash(how);
        if let Some(server) = self.server.take() {
            server.crash(&mut self.around, is_silent);
        }
        self.around.forget_lanes();
        self.around.disk_slowness = 1;
        self.around.stall_ms = 0;
        self.use_disk(disk);
        self.stopping = None;
        self.paused_until = 0;
        self.around.fold(b"end");
        let after = nanos(1 + self.around.rng.below(down_ms));
        self.around.schedule(after, Event::Start);
    }

    pub(super) fn machine_stopped(&mut self) {
        let (left, down_ms) = self.stopping.take().unwrap_or((Left::Nothing, 10));
        self.around.note(|| format!("the machine stopped, leaving {left:?}"));
        self.end(left.crash(), true, down_ms);
    }

    /// From now on this is the disk; what was the matter with the last one is with this one.
    fn use_disk(&mut self, disk: Arc<MemDisk>) {
        self.disk = disk;
        self.set_condition(self.condition);
    }

    pub(super) fn set_condition(&mut self, condition: Condition) {
        self.condition = condition;
        self.disk.set_capacity(condition.capacity);
        self.disk.refuse_growth(condition.is_strict);
        self.disk.set_read_only(condition.read_only);
    }

    /// What the disk would give back if the power failed now, on a copy.
    pub(super) fn what_if(&mut self) {
        let seed = self.around.rng.next_u64();
        for how in [Crash::LoseAll, Crash::Random(seed)] {
            let disk = self.disk.crash(how);
            match gk_storage::open(disk.clone(), &self.around.options.store) {
                Ok(opened) => self.around.checker.what_if(&opened.tree),
                Err(_) if disk.failed() > 0 => {}
                Err(error) => self.around.checker.fail(&format!("I11 after a power failure: {error}")),
            }
        }
    }

    /// Makes the copy that a fault will bring back.
    pub(super) fn copy_directory(&mut self, fault: usize) {
        self.around.note(|| "a copy of the directory is made".to_owned());
        let copy = Copy { disk: self.disk.crash(Crash::KeepAll), past: self.around.checker.past() };
        self.copies.insert(fault, copy);
    }

    /// The directory is as it was when the copy was made.
    pub(super) fn restore_directory(&mut self, fault: usize, down_ms: u64) {
        let Some(copy) = self.copies.remove(&fault) else { return };
        if self.server.is_some() {
            self.end(Crash::Kill, false, down_ms);
        }
        self.damage = None;
        // With clock and directory put back at once nothing is left by which two starts could differ.
        self.around.wall_repeats(false);
        self.use_disk(copy.disk);
        self.around.checker.restored(copy.past);
    }

    fn apply_damage(&mut self, damage: Damage) {
        let is_ours = |path: &&PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name != "lock" && !name.ends_with(".tmp")
        };
        let paths: Vec<PathBuf> = self.disk.paths().iter().filter(is_ours).cloned().collect();
        let Some(path) = paths.get(below(&mut Rng::new(damage.file()), paths.len())) else { return };
        self.around.note(|| format!("{damage:?} of {}", path.display()));
        let Some(mut bytes) = self.disk.peek(path) else { return };
        let older = self.older.as_ref().and_then(|older| older.peek(path));
        // Behind the last byte that is not zero there is only what was reserved.
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let place = |at: u64, length: usize| below(&mut Rng::new(at), length.max(1));
        let sector = |at: u64| place(at, used.div_ceil(SECTOR)) * SECTOR;
        match damage {
            Damage::Gone { .. } => return self.disk.unpoke(path),
            Damage::Unreadable { at, .. } => return self.disk.break_sector(path, sector(at) / SECTOR),
            Damage::Bit { at, .. } => {
                let at = place(at, used * 8);
                if let Some(byte) = bytes.get_mut(at / 8) {
                    *byte ^= 1 << (at % 8);
                }
            }
            Damage::Sector { at, .. } => put_sector(&mut bytes, sector(at), &[]),
            Damage::Truncated { at, .. } => bytes.truncate(place(at, used)),
            Damage::Stale { .. } => match older {
                Some(older) => bytes = older,
                None => return,
            },
            Damage::StaleSector { at, .. } => match older {
                Some(older) => put_sector(&mut bytes, sector(at), older.get(sector(at)..).unwrap_or_default()),
                None => return,
            },
            Damage::Misplaced { at, from, .. } => {
                let other = bytes.get(sector(from)..).unwrap_or_default().to_vec();
                put_sector(&mut bytes, sector(at), &other);
            }
        }
        self.disk.poke(path, &bytes);
    }
}

/// Puts other bytes into a sector, and zeros where there are too few of them.
fn put_sector(bytes: &mut [u8], start: usize, other: &[u8]) {
    let others = other.iter().copied().chain(std::iter::repeat(0));
    bytes.iter_mut().skip(start).take(SECTOR).zip(others).for_each(|(byte, other)| *byte = other);
}
