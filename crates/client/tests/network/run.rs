//! A whole run of one seed: faults while the program works, then none; everything must come to rest, and what is left is
//! compared. Then the session is closed.

use gk_client::core::{Input, SessionState};
use gk_proto::rng::Rng;
use gk_proto::{Instant, Millis};

use crate::checker::Violation;
use crate::ensemble::Mode;
use crate::network::{Weather, below};
use crate::options::Options;
use crate::program::Op;
use crate::world::{Event, World, address};

/// What a run came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Report {
    pub(crate) hash: u64,
    pub(crate) executions: usize,
    pub(crate) connections: u64,
    /// Watches that were held against the history at the end.
    pub(crate) watches: usize,
    pub(crate) ended: Option<SessionState>,
}

/// A run with options that the seed draws.
pub(crate) fn run(seed: u64, adjust: impl FnOnce(&mut Options)) -> Result<Report, Violation> {
    let mut rng = Rng::new(seed);
    let mut options = Options::draw(&mut rng);
    adjust(&mut options);
    let mut world = World::new(rng, options);
    world.schedule(0, Event::Program);
    world.schedule(0, Event::Others);
    world.schedule(10, Event::Fault);
    while world.ops_left > 0 && world.checker.violation.is_none() {
        world.step();
    }
    world.heal();
    let ended = Some(world.session.state()).filter(|state| state.is_final());
    let watches = world.checker.waiting_watches();
    world.finish();
    let report = Report {
        hash: world.hash(),
        executions: world.ensemble.executions.len(),
        connections: world.current.0,
        watches,
        ended,
    };
    world.violation().map_or(Ok(report), Err)
}

impl World {
    pub(crate) fn program(&mut self) {
        let burst = 1 + self.rng.below(self.options.burst_max);
        for _ in 0..burst {
            if self.ops_left == 0 {
                return;
            }
            self.ops_left -= 1;
            let mut op = self.paths.op(&mut self.rng);
            if self.rng.below(1_000) < self.options.closes {
                op = Op::Close;
            }
            if let Op::Auth { is_known } = &mut op {
                *is_known = !self.chance(self.options.bad_auths);
            }
            self.ask(&op);
        }
        if self.session.state().is_final() {
            // All that can be seen now is that everything fails at once and nothing is sent.
            self.ops_left = self.ops_left.min(10);
        }
        let after = self.rng.below(2 * self.options.op_every_ms + 1);
        self.schedule(after, Event::Program);
    }

    pub(crate) fn fault(&mut self) {
        let after = self.rng.below(2 * self.options.fault_every_ms + 1);
        self.schedule(after, Event::Fault);
        let server = below(&mut self.rng, self.options.servers);
        let timeout = self.options.timeout_ms;
        match self.rng.below(100) {
            0..20 => self.schedule(0, Event::Cut(self.current)),
            20..30 => self.cut_amid_events(),
            30..36 => self.network.swallow(self.current),
            36..48 => {
                let while_ms = self.rng.below(timeout / 2);
                self.mode(server, Mode::Down, while_ms);
            }
            48..52 if self.options.read_only => {
                let while_ms = self.rng.below(timeout);
                (0..self.options.servers).for_each(|server| self.mode(server, Mode::ReadOnly, while_ms));
            }
            48..64 => {
                let applied = self.ensemble.servers[server].applied;
                let back = below(&mut self.rng, applied.min(30) + 1);
                self.ensemble.restore(server, applied - back);
            }
            64..74 => {
                let while_ms = self.rng.below(timeout / 2);
                self.lags_until[server] = self.now + Millis(while_ms);
            }
            74..82 => {
                let while_ms = self.rng.below(timeout * 3 / 2) / (1 + self.rng.below(6));
                self.paused_until = self.now + Millis(while_ms);
            }
            82..90 => {
                let mut servers: Vec<usize> = (0..self.options.servers).collect();
                for _ in 0..self.rng.below(self.options.servers as u64) {
                    servers.remove(below(&mut self.rng, servers.len()));
                }
                self.input(Input::Servers(servers.into_iter().map(address).collect()));
            }
            90..99 => {
                let current = self.current;
                if let Some(conn) = self.ensemble.conns.get_mut(&current) {
                    conn.skips_reply = true;
                    let after = self.rng.below(200);
                    self.schedule(after, Event::Cut(current));
                }
            }
            _ => {
                let session = self.ensemble.conns.get(&self.current).and_then(|conn| conn.session);
                session.into_iter().for_each(|session| self.ensemble.expire_session(session));
            }
        }
    }

    /// Others change several nodes at once, and the connection is cut while it brings the events of that.
    fn cut_amid_events(&mut self) {
        let changes = self.paths.by_others(&mut self.rng, &self.ensemble.history);
        self.ensemble.history.append(changes);
        let server = self.ensemble.conns.get(&self.current).map(|conn| conn.server);
        if let Some(server) = server.filter(|server| self.lags_until[*server] <= self.now) {
            while self.ensemble.is_behind(server) {
                self.ensemble.apply(server);
            }
        }
        self.flush();
        self.cut(self.current);
    }

    fn mode(&mut self, server: usize, mode: Mode, while_ms: u64) {
        self.ensemble.set_mode(server, mode);
        self.schedule(while_ms, Event::Mended(server));
    }

    /// No fault from now on: all must be answered in time, and what is left must be right.
    pub(crate) fn heal(&mut self) {
        self.is_healed = true;
        self.options.weather = Weather { late: self.options.weather.late, ..Weather::CALM };
        self.lags_until.fill(Instant(0));
        self.paused_until = self.now;
        for server in 0..self.options.servers {
            if self.ensemble.servers[server].mode != Mode::ReadWrite {
                self.ensemble.set_mode(server, Mode::ReadWrite);
            }
        }
        self.rest();
        if self.session.state() == SessionState::Connected && self.checker.violation.is_none() {
            // An answer as of the last txn: what was not told before it, is lost.
            self.ask(&Op::Exists { path: "/".to_owned(), watch: false });
            self.rest();
        }
        if self.session.state() == SessionState::Connected && self.checker.violation.is_none() {
            self.checker.no_leaks(&self.ensemble, self.current);
        }
    }

    /// Until nothing is under way, or the session is over.
    pub(crate) fn rest(&mut self) {
        let until = self.now + Millis(20 * self.options.timeout_ms + 30_000);
        while self.checker.violation.is_none() && !self.is_at_rest() && !self.session.state().is_final() {
            if self.now >= until {
                let unanswered = self.checker.unanswered();
                let what = format!("{unanswered:?} are not answered, and the session is {:?}", self.session.state());
                return self.checker.fail("liveness", what);
            }
            self.step();
        }
    }

    /// The session ends, if it has not, and is silent from then on.
    pub(crate) fn finish(&mut self) {
        if self.checker.violation.is_some() {
            return;
        }
        if !self.session.state().is_final() {
            if self.chance(20) {
                self.input(Input::Detach);
            } else {
                self.ask(&Op::Close);
            }
            self.rest();
        }
        let until = self.now + Millis(500);
        while self.checker.violation.is_none() && self.now < until {
            self.step();
        }
        let unanswered = self.checker.unanswered();
        if !unanswered.is_empty() {
            self.checker.fail("answers", format!("the session is over, and {unanswered:?} are not answered"));
        }
    }
}
