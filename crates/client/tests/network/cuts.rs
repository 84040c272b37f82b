//! One script of requests, cut after every byte: whichever the cut leaves on either side, the run must end as any other.

use crate::options::Options;
use crate::program::Op;
use crate::world::{Event, World};
use gk_proto::Millis;
use gk_proto::rng::Rng;

/// A little of everything, all of it in flight at once.
fn script() -> Vec<Op> {
    let path = |path: &str| path.to_owned();
    vec![
        Op::Auth { is_known: true },
        Op::Create { path: path("/a"), ephemeral: false },
        Op::Get { path: path("/a"), watch: true },
        Op::AddWatch { path: path("/"), recursive: true },
        Op::Exists { path: path("/b"), watch: true },
        Op::Children { path: path("/a"), watch: true, stat: true },
        Op::Multi(vec![
            Op::Create { path: path("/a/p"), ephemeral: true },
            Op::Create { path: path("/b"), ephemeral: false },
            Op::Set { path: path("/a"), version: 0 },
        ]),
        Op::Get { path: path("/b"), watch: true },
        Op::Unwatch(0),
        Op::Delete { path: path("/b") },
        Op::Sync,
        Op::MultiRead(vec![path("/a"), path("/b")]),
        Op::Set { path: path("/a"), version: -1 },
    ]
}

/// Bytes that went in each direction of the cut connection.
fn run(conn: u64, cut: (Option<u64>, Option<u64>)) -> (u64, u64) {
    let mut world = World::new(Rng::new(1), Options::calm(2));
    world.cuts.insert(conn, cut);
    for op in script() {
        world.ask(&op);
    }
    // The second connection is cut where it has something to set again, too.
    while conn == 2 && world.current.0 == 1 {
        let first = world.current;
        if world.is_at_rest() {
            world.schedule(0, Event::Cut(first));
        }
        world.step();
    }
    world.rest();
    let end = world.now + Millis(50);
    while world.now < end {
        world.step();
    }
    world.heal();
    world.finish();
    if let Some(violation) = world.violation() {
        panic!("connection {conn} cut at {cut:?}: {}: {}", violation.checker, violation.what);
    }
    let pipe = &world.network.pipes[&gk_proto::ConnId(conn)];
    (pipe.to_server.delivered, pipe.to_client.delivered)
}

fn every_byte(conn: u64) {
    let (to_server, to_client) = run(conn, (None, None));
    assert!(to_server > 100 && to_client > 100, "{to_server} and {to_client} bytes are no script");
    for byte in 0..to_server {
        run(conn, (Some(byte), None));
    }
    for byte in 0..to_client {
        run(conn, (None, Some(byte)));
    }
}

#[test]
fn a_first_connection_cut_at_any_byte_leaves_nothing_wrong() {
    every_byte(1);
}

#[test]
fn a_second_connection_cut_at_any_byte_leaves_nothing_wrong() {
    every_byte(2);
}
