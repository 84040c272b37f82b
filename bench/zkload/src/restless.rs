//! `zkload restless`: what a busy ensemble's clients do beside reading and writing: they come, hold ephemerals, leave with
//! or without a word, and watch nodes that change.
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::net::{Conn, Epoll};
use crate::{die, line_on_stdin, open_all, pump, wire, Args};

/// Nodes that are watched.
const NODES: usize = 100;
/// Tokens of sessions that come and go begin here; below are the watchers', and the writer's.
const FIRST_GUEST: u64 = 1 << 32;

/// A session that came and will go.
struct Guest {
    conn: Conn,
    opened: Instant,
    closing: bool,
}

#[derive(Default)]
struct Counts {
    opened: u64,
    closed: u64,
    left: u64,
    lost: u64,
    events: u64,
    errors: u64,
}

/// Counts a reply that is an error; -1 is an event.
fn error_of(body: &[u8]) -> u64 {
    (wire::get_i32(body, 0) >= 0 && wire::get_i32(body, 12) != 0) as u64
}

fn node(k: usize) -> String {
    format!("/restless/w{k}")
}

pub fn restless(a: &Args, servers: &[SocketAddr], rate: f64, ephemerals: usize, life_s: f64, watchers: usize, writes: f64) {
    let ep = Epoll::new().expect("epoll");
    let mut watching = watch_nodes(a, servers, watchers);
    for (i, c) in watching.iter_mut().enumerate() {
        ep.set(c.fd(), i as u64, false, true);
        c.flush(&ep, i as u64).unwrap_or_else(|e| die("write", e));
    }
    eprintln!("zkload: restless");
    let told = line_on_stdin();
    let mut guests: HashMap<u64, Guest> = HashMap::new();
    let (mut counts, mut written) = (Counts::default(), 0);
    let (began, life) = (Instant::now(), Duration::from_secs_f64(life_s));
    let mut events = Vec::new();
    while told.try_recv().is_err() {
        let elapsed = began.elapsed().as_secs_f64();
        if (counts.opened as f64) < elapsed * rate {
            let token = FIRST_GUEST + counts.opened;
            guests.insert(token, come(a, servers, &ep, token, ephemerals));
            counts.opened += 1;
        }
        while (written as f64) < elapsed * writes {
            written += 1;
            wire::set(&mut watching[watchers].out, written as i32, &node(written % NODES), b"changed");
        }
        watching[watchers].flush(&ep, watchers as u64).unwrap_or_else(|e| die("write", e));
        go(&mut guests, &ep, life, &mut counts);
        ep.wait(&mut events, 2);
        for ev in &events {
            match watching.get_mut(ev.u64 as usize) {
                Some(c) => {
                    c.frames(|body, out| watch_again(body, out, &mut counts)).unwrap_or_else(|e| die("read", e));
                    c.flush(&ep, ev.u64).unwrap_or_else(|e| die("write", e));
                }
                None => hear(&mut guests, &ep, ev.u64, &mut counts),
            }
        }
    }
    println!(
        "{}",
        json!({"opened": counts.opened, "closed": counts.closed, "left": counts.left, "lost": counts.lost,
               "events": counts.events, "errors": counts.errors, "writes": written})
    );
}

/// Makes the nodes; returns the watchers, with their first requests ready to be sent, and the writer as the last.
fn watch_nodes(a: &Args, servers: &[SocketAddr], watchers: usize) -> Vec<Conn> {
    let mut conns = open_all(servers, watchers + 1, a.timeout_ms);
    let mut k = 0;
    pump(&mut conns[watchers..], 1, |out, xid| {
        let path = if k == 0 { "/restless".to_string() } else { node(k - 1) };
        k += 1;
        if k <= NODES + 1 {
            wire::create(out, xid, &path, b"", wire::PERSISTENT);
        }
        k <= NODES + 1
    });
    for c in &mut conns[..watchers] {
        (0..NODES).for_each(|k| wire::read(&mut c.out, 1, wire::GET, &node(k), true));
    }
    conns
}

/// An event is answered with the same watch once more.
fn watch_again(body: &[u8], out: &mut Vec<u8>, counts: &mut Counts) {
    counts.errors += error_of(body);
    if wire::get_i32(body, 0) == -1 {
        counts.events += 1;
        let length = wire::get_i32(body, 24) as usize;
        let path = std::str::from_utf8(&body[28..28 + length]).expect("path of an event");
        wire::read(out, 1, wire::GET, path, true);
    }
}

/// Opens a session and has it make its ephemerals.
fn come(a: &Args, servers: &[SocketAddr], ep: &Epoll, token: u64, ephemerals: usize) -> Guest {
    let (mut conn, session) = Conn::open(servers[0], a.timeout_ms).unwrap_or_else(|e| die("connect", e));
    ep.set(conn.fd(), token, false, true);
    for k in 0..ephemerals {
        wire::create(&mut conn.out, k as i32 + 1, &format!("/restless/{session:x}-{k}"), b"", wire::EPHEMERAL);
    }
    conn.flush(ep, token).unwrap_or_else(|e| die("write", e));
    Guest { conn, opened: Instant::now(), closing: false }
}

/// Has those whose time is over close their session, or leave it: every second one without a word.
fn go(guests: &mut HashMap<u64, Guest>, ep: &Epoll, life: Duration, counts: &mut Counts) {
    guests.retain(|token, guest| {
        if guest.closing || guest.opened.elapsed() < life {
            return true;
        }
        if token % 2 == 0 {
            counts.left += 1;
            return false;
        }
        guest.closing = true;
        wire::close(&mut guest.conn.out, i32::MAX);
        guest.conn.flush(ep, *token).is_ok()
    });
}

/// Reads what the server has for a guest; the end of the connection belongs to a close.
fn hear(guests: &mut HashMap<u64, Guest>, ep: &Epoll, token: u64, counts: &mut Counts) {
    let Some(guest) = guests.get_mut(&token) else { return };
    let alive = guest.conn.frames(|body, _| counts.errors += error_of(body)).and_then(|()| guest.conn.flush(ep, token));
    if alive.is_err() {
        if guest.closing {
            counts.closed += 1;
        } else {
            counts.lost += 1;
        }
        guests.remove(&token);
    }
}
