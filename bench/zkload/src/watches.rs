//! `zkload watches`: sessions that hold watches on nodes of `fill` and do nothing else but ping.
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::net::{Conn, Epoll};
use crate::{die, filled_path, line_on_stdin, open_all, wire, Args};

/// getData with a watch requests in flight on each connection while the watches are set.
const DEPTH: usize = 64;

pub fn watches(a: &Args, servers: &[SocketAddr], sessions: usize, each: usize, first: usize, step: usize) {
    let mut conns = open_all(servers, sessions, a.timeout_ms);
    let ep = Epoll::new().expect("epoll");
    for (i, c) in conns.iter().enumerate() {
        ep.set(c.fd(), i as u64, false, true);
    }
    let began = Instant::now();
    let (mut asked, mut answered) = (vec![0; sessions], vec![0; sessions]);
    let (mut errors, mut fired) = (0u64, 0u64);
    let mut events = Vec::new();
    while answered.iter().any(|&n| n < each) {
        for (i, c) in conns.iter_mut().enumerate() {
            while asked[i] < each && asked[i] - answered[i] < DEPTH {
                wire::read(&mut c.out, asked[i] as i32 + 1, wire::GET, &filled_path(first + i * step + asked[i]), true);
                asked[i] += 1;
            }
            c.flush(&ep, i as u64).unwrap_or_else(|e| die("write", e));
        }
        ep.wait(&mut events, 1000);
        for ev in &events {
            let i = ev.u64 as usize;
            let c = &mut conns[i];
            c.frames(|body, _| match wire::get_i32(body, 0) {
                -1 => fired += 1,
                _ => {
                    answered[i] += 1;
                    errors += (wire::get_i32(body, 12) != 0) as u64;
                }
            })
            .unwrap_or_else(|e| die("read", e));
        }
    }
    let set_s = began.elapsed().as_secs_f64();
    eprintln!("zkload: {} watches set", sessions * each);
    let told = line_on_stdin();
    let every = Duration::from_millis(a.timeout_ms as u64 / 3);
    let mut pinged = Instant::now();
    while told.recv_timeout(Duration::from_millis(20)).is_err() {
        if pinged.elapsed() >= every {
            pinged = Instant::now();
            ping(&mut conns, &ep);
        }
        ep.wait(&mut events, 0);
        for ev in &events {
            let event = |body: &[u8], _: &mut Vec<u8>| fired += (wire::get_i32(body, 0) == -1) as u64;
            conns[ev.u64 as usize].frames(event).unwrap_or_else(|e| die("read", e));
        }
    }
    println!("{}", json!({"watches": sessions * each, "sessions": sessions, "set_s": set_s, "errors": errors, "fired": fired}));
}

fn ping(conns: &mut [Conn], ep: &Epoll) {
    for (i, c) in conns.iter_mut().enumerate() {
        wire::ping(&mut c.out);
        c.flush(ep, i as u64).unwrap_or_else(|e| die("ping", e));
    }
}
