//! The notable situations by name, each a script on a calm network with the one fault that it is about. The checkers look
//! on as in any other run.

use gk_client::core::{Failure, SessionState};
use gk_proto::rng::Rng;
use gk_proto::{ErrorCode, Instant, Millis};

use crate::ensemble::Mode;
use crate::history::Change;
use crate::network::Weather;
use crate::options::{Options, PADDING};
use crate::program::Op;
use crate::world::{Event, World};

/// Bytes of the handshake as the client sends it, and of the server's answer.
const GREETING: u64 = 4 + 45;
const GREETED: u64 = 4 + 37;

/// A session that is served by one of so many servers.
fn served(servers: usize) -> World {
    served_from(1, servers)
}

fn served_from(seed: u64, servers: usize) -> World {
    let mut world = World::new(Rng::new(seed), Options::calm(servers));
    world.rest();
    assert_eq!(world.session.state(), SessionState::Connected, "{:?}", world.checker.violation);
    world
}

impl World {
    fn does(&mut self, op: Op) -> u32 {
        let tag = self.ask(&op).unwrap();
        self.rest();
        tag
    }

    fn others(&mut self, changes: Vec<Change>) {
        self.ensemble.history.append(changes);
        self.flush();
    }

    fn passes(&mut self, ms: u64) {
        let until = self.now + Millis(ms);
        while self.now < until && self.checker.violation.is_none() {
            self.step();
        }
    }

    fn serving(&self) -> usize {
        usize::from(self.session.server().expect("a connection").port)
    }

    /// The end of any run: everything is compared.
    fn ends(mut self) {
        self.heal();
        self.finish();
        assert!(self.checker.violation.is_none(), "{:?}", self.checker.violation);
    }
}

fn get(path: &str) -> Op {
    Op::Get { path: path.to_owned(), watch: true }
}

fn exists(path: &str) -> Op {
    Op::Exists { path: path.to_owned(), watch: true }
}

fn create(path: &str) -> Op {
    Op::Create { path: path.to_owned(), ephemeral: false }
}

fn set(path: &str) -> Change {
    Change::SetData { path: path.to_owned(), data: b"new".to_vec() }
}

/// Z-4655: all events of a multi have one zxid. A client that counts it as seen with the first loses the others.
#[test]
fn a_cut_amid_the_events_of_one_multi_loses_none() {
    const EVENT: u64 = 4 + 16 + 4 + 4 + 4 + 2;
    for told in 0..=3 {
        let mut world = served(1);
        let watches = ["/a", "/b", "/c"].map(|path| {
            world.does(create(path));
            world.does(get(path))
        });
        let lane = &mut world.network.pipes.get_mut(&world.current).unwrap().to_client;
        lane.limit = Some(lane.delivered + told * EVENT);
        world.others(vec![set("/a"), set("/b"), set("/c")]);
        world.passes(200);
        world.rest();
        assert_eq!(world.current.0, 2, "a second connection");
        assert!(watches.into_iter().all(|tag| !world.checker.waits(tag)), "cut after {told} events");
        world.ends();
    }
}

/// The reply to the first piece has a zxid of its own. A client that counts it as seen has the second piece catch up from
/// there the next time, and loses what happened before.
#[test]
fn a_cut_between_two_pieces_of_set_watches_loses_none() {
    let paths: Vec<String> = (0..12).map(|number| format!("/{number}{}", "x".repeat(PADDING))).collect();
    for cut_at in (60_000..190_000).step_by(10_000) {
        // What of the other direction is lost too, is drawn.
        let mut world = served_from(cut_at, 1);
        let watches: Vec<u32> = paths
            .iter()
            .map(|path| {
                world.does(create(path));
                world.does(get(path))
            })
            .collect();
        world.cuts.insert(2, (Some(GREETING + cut_at), None));
        world.ensemble.hang_up(world.current);
        world.schedule(0, Event::ClientEnd(world.current));
        world.others(paths.iter().map(|path| set(path)).collect());
        world.passes(500);
        world.rest();
        assert_eq!(world.current.0, 3, "a third connection");
        assert!(watches.into_iter().all(|tag| !world.checker.waits(tag)), "cut after {cut_at} bytes");
        world.ends();
    }
}

/// The server has one watch for both. Removing it with the first would take it from the second, whose read may be at the
/// server already.
#[test]
fn unwatch_while_another_read_of_the_path_is_under_way_keeps_its_watch() {
    let mut world = served(1);
    world.does(create("/a"));
    let first = world.does(get("/a"));
    let second = world.ask(&get("/a")).unwrap();
    world.ask(&Op::Unwatch(0));
    world.rest();
    assert!(!world.checker.waits(first) && world.checker.waits(second), "the first was given up");
    world.others(vec![set("/a")]);
    world.rest();
    assert!(!world.checker.waits(second), "the second was told");
    world.ends();
}

#[test]
fn a_watch_given_up_before_its_read_is_answered_is_removed_with_the_answer() {
    let mut world = served(1);
    world.does(create("/a"));
    world.ask(&get("/a"));
    world.ask(&Op::Unwatch(0));
    world.rest();
    world.ends();
}

#[test]
fn a_refused_handshake_ends_the_session_and_is_not_repeated() {
    let mut world = served(3);
    let session = world.ensemble.conns[&world.current].session.unwrap();
    let waiting = world.does(exists("/a"));
    world.ensemble.expire_session(session);
    world.flush();
    world.passes(2);
    let asked = world.ask(&create("/a")).unwrap();
    world.passes(100);
    assert_eq!(world.session.state(), SessionState::Expired);
    assert_eq!(world.checker.outcome(asked), Some(Err(Failure::SessionExpired)), "it was never sent");
    assert!(world.checker.waits(waiting), "a watch of an ended session is told nothing");
    assert_eq!(world.current.0, 2, "one attempt learns of it, and no other follows");
    world.ends();
}

/// A server that has not seen what the client has seen closes the connection without a word; the next one is tried.
#[test]
fn servers_behind_the_client_are_skipped() {
    let mut world = served(3);
    let serving = world.serving();
    let others: Vec<usize> = (0..3).filter(|server| *server != serving).collect();
    others.iter().for_each(|server| world.lags_until[*server] = Instant(0) + Millis(60_000));
    let watch = world.does_while_others_lag(exists("/a"));
    let made = world.does_while_others_lag(create("/a"));
    assert_eq!(world.checker.outcome(made), Some(Ok(())), "the serving one is not behind");
    assert!(!world.checker.waits(watch), "told of its own create");
    world.schedule(0, Event::Cut(world.current));
    world.passes(1_000);
    assert_eq!(world.serving(), serving, "the others are behind");
    assert!(world.current.0 >= 2, "it was connected anew");
    world.ends();
}

impl World {
    /// Nothing is at rest while servers lag: what was asked is answered all the same.
    fn does_while_others_lag(&mut self, op: Op) -> u32 {
        let tag = self.ask(&op).unwrap();
        self.passes(50);
        tag
    }
}

/// Until a server takes writes there is no session that others know: the first of them makes a new one.
#[test]
fn a_read_only_server_serves_until_another_takes_writes() {
    let mut world = World::new(Rng::new(1), Options { read_only: true, ..Options::calm(2) });
    (0..2).for_each(|server| world.ensemble.set_mode(server, Mode::ReadOnly));
    world.passes(50);
    assert_eq!(world.session.state(), SessionState::ConnectedReadOnly);
    let watch = world.ask(&exists("/a")).unwrap();
    let write = world.ask(&create("/a")).unwrap();
    world.passes(50);
    let refused = Err(Failure::Server(ErrorCode::NotReadOnly.code()));
    assert_eq!(world.checker.outcome(write), Some(refused), "reads only");
    assert!(world.checker.waits(watch), "watches work");
    let other = 1 - world.serving();
    world.ensemble.set_mode(other, Mode::ReadWrite);
    world.passes(5_000);
    assert_eq!(world.session.state(), SessionState::Connected);
    assert_eq!(world.serving(), other, "the one that takes writes");
    world.does(create("/a"));
    assert!(!world.checker.waits(watch), "the watch has moved too");
    world.ends();
}

/// The transport took all but a byte: no server can have it, so it is sent again.
#[test]
fn a_write_one_byte_short_at_the_cut_is_sent_again() {
    let (mut world, length) = with_a_write_about_to_be_cut();
    world.takes = Some(length - 1);
    let write = world.ask(&create("/a")).unwrap();
    world.takes = None;
    world.schedule(0, Event::ClientEnd(world.current));
    world.passes(100);
    world.rest();
    assert_eq!(world.checker.outcome(write), Some(Ok(())));
    world.ends();
}

/// The transport took the last byte: nobody can say, and it is not sent again.
#[test]
fn a_write_taken_whole_at_the_cut_has_an_unknown_outcome() {
    let (mut world, length) = with_a_write_about_to_be_cut();
    world.takes = Some(length);
    let write = world.ask(&create("/a")).unwrap();
    world.takes = None;
    world.schedule(0, Event::ClientEnd(world.current));
    world.passes(100);
    world.rest();
    assert_eq!(world.checker.outcome(write), Some(Err(Failure::OutcomeUnknown)));
    assert!(!world.ensemble.history.head.nodes.contains_key("/a"), "it never arrived");
    world.ends();
}

/// A connection that swallows what it is given, and the bytes of the request that comes next.
fn with_a_write_about_to_be_cut() -> (World, usize) {
    let mut world = served(1);
    world.network.swallow(world.current);
    (world, create("/a").request(1).unwrap().request.len())
}

/// On a new connection all auths are sent again, and answered in that order: the reply to the first, accepted long ago,
/// was taken for that to the second.
#[test]
fn the_reply_to_a_repeated_auth_does_not_answer_a_later_one() {
    let mut world = served(1);
    let first = world.does(Op::Auth { is_known: true });
    world.schedule(0, Event::Cut(world.current));
    world.passes(10);
    assert!(!world.session.state().is_connected(), "cut");
    let second = world.ask(&Op::Auth { is_known: false }).unwrap();
    world.cuts.insert(2, (None, Some(GREETED + 20)));
    world.passes(1_000);
    assert_eq!(world.checker.outcome(first), Some(Ok(())));
    assert_eq!(world.checker.outcome(second), Some(Err(Failure::AuthFailed)), "refused");
    assert_eq!(world.session.state(), SessionState::AuthFailed);
    world.ends();
}

/// While a session leaves for another server, what is asked waits for the next connection; the end of the session, too.
#[test]
fn close_while_leaving_a_server_ends_the_session_at_the_next() {
    let mut world = served(2);
    let session = world.ensemble.conns[&world.current].session.unwrap();
    world.ask(&exists("/a"));
    world.session_moves();
    let write = world.ask(&create("/a")).unwrap();
    let close = world.ask(&Op::Close).unwrap();
    world.rest();
    assert_eq!(world.checker.outcome(write), Some(Ok(())), "asked before the end");
    assert_eq!(world.checker.outcome(close), Some(Ok(())));
    assert!(!world.ensemble.sessions.contains_key(&session), "the server knows of it");
    world.ends();
}

/// The bytes of a connection that was given up arrive while the next one is open, and count for nothing.
#[test]
fn late_bytes_of_an_earlier_connection_are_not_heard() {
    let late = Weather { late: 100, delay_max_ms: 40, ..Weather::CALM };
    let mut world = World::new(Rng::new(1), Options { weather: late, ..Options::calm(2) });
    world.rest();
    for round in 0..20 {
        world.ask(&create(&format!("/{round}")));
        world.ask(&get(&format!("/{round}")));
        world.passes(world.rng.clone().below(40));
        world.session_moves();
        world.rest();
    }
    assert!(world.current.0 > 5, "{:?} after twenty moves", world.current);
    world.ends();
}

impl World {
    /// The list of servers becomes the other server alone, so that the session moves there.
    fn session_moves(&mut self) {
        let other = self.session.server().map_or(0, |server| 1 - usize::from(server.port));
        self.input(gk_client::core::Input::Servers(vec![crate::world::address(other)]));
    }
}
