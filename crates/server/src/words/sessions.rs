//! `dump`, and the three words about watches.

use super::java;
use gk_proto::{SessionId, WallTime};
use std::fmt::{Display, Write};
use std::net::SocketAddr;

/// What expires at one time: a bucket of ZooKeeper's `ExpiryQueue`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry<T> {
    /// When.
    pub at: WallTime,
    /// What.
    pub members: Vec<T>,
}

/// Sessions, their ephemerals and the connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DumpReport {
    /// By time of expiry, earliest first.
    pub sessions: Vec<Expiry<SessionId>>,
    /// Paths by owner; owners without any are left out.
    pub ephemerals: Vec<(SessionId, Vec<String>)>,
    /// By the time at which each is closed if it stays silent, earliest first; [`SessionId::NONE`] before a session.
    pub connections: Vec<Expiry<(SocketAddr, SessionId)>>,
}

/// How many watches there are. As in ZooKeeper, watches on children alone are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchCounts {
    /// Connections that have any.
    pub connections: u64,
    /// Paths that have any.
    pub paths: u64,
    /// Pairs of the two.
    pub watches: u64,
}

/// `dump` of a server that tracks sessions itself (standalone, leader).
pub fn dump(report: &DumpReport) -> String {
    let mut text = String::from("SessionTracker dump:\nSession ");
    expiries(&mut text, &report.sessions, |session| session.to_string());
    text.push_str("ephemeral nodes dump:\n");
    text.push_str(&format!("Sessions with Ephemerals ({}):\n", report.ephemerals.len()));
    for (session, paths) in &report.ephemerals {
        line(&mut text, format_args!("{session}:"));
        for path in paths {
            line(&mut text, format_args!("\t{path}"));
        }
    }
    text.push_str("Connections dump:\nConnections ");
    expiries(&mut text, &report.connections, |(address, session)| {
        format!("ip: {} sessionId: {session}", java::address(*address))
    });
    text
}

fn expiries<T>(text: &mut String, buckets: &[Expiry<T>], shown: impl Fn(&T) -> String) {
    let count: usize = buckets.iter().map(|bucket| bucket.members.len()).sum();
    line(text, format_args!("Sets ({})/({count}):", buckets.len()));
    for Expiry { at, members } in buckets {
        line(text, format_args!("{} expire at {}:", members.len(), java::date(*at)));
        for member in members {
            line(text, format_args!("\t{}", shown(member)));
        }
    }
}

/// `wchs`.
pub fn wchs(counts: WatchCounts) -> String {
    let WatchCounts { connections, paths, watches } = counts;
    format!("{connections} connections watching {paths} paths\nTotal watches:{watches}\n")
}

/// `wchc`: the paths that each session watches.
pub fn wchc<'a, P>(watches: impl IntoIterator<Item = (SessionId, P)>) -> String
where
    P: IntoIterator<Item = &'a str>,
{
    groups(watches)
}

/// `wchp`: the sessions that watch each path.
pub fn wchp<'a, S>(watches: impl IntoIterator<Item = (&'a str, S)>) -> String
where
    S: IntoIterator<Item = SessionId>,
{
    groups(watches)
}

fn groups<K: Display, V: Display>(groups: impl IntoIterator<Item = (K, impl IntoIterator<Item = V>)>) -> String {
    let mut text = String::new();
    for (key, values) in groups {
        line(&mut text, format_args!("{key}"));
        for value in values {
            line(&mut text, format_args!("\t{value}"));
        }
    }
    text + "\n"
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    writeln!(text, "{content}").expect("INVARIANT: writing to a String does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: SessionId = SessionId(0x0100_0011_2bd5_0000);
    const TWO: SessionId = SessionId(0x0100_0011_2bd5_0001);

    #[test]
    fn dump_lists_buckets_owners_and_connections() {
        let at = |millis, members| Expiry { at: WallTime(millis), members };
        let conn = |port: u16, session| (SocketAddr::from(([127, 0, 0, 1], port)), session);
        let report = DumpReport {
            sessions: vec![at(1_795_170_157_000, vec![TWO]), at(1_795_170_177_000, vec![ONE])],
            ephemerals: vec![(ONE, vec!["/app/e1".into(), "/app/e2".into()]), (TWO, vec!["/app/e3".into()])],
            connections: vec![Expiry {
                at: WallTime(1_795_170_165_000),
                members: vec![conn(50134, SessionId::NONE), conn(50106, TWO)],
            }],
        };
        let expected = "SessionTracker dump:\nSession Sets (2)/(2):\n1 expire at Fri Nov 20 10:22:37 UTC 2026:\n\
            \t0x10000112bd50001\n1 expire at Fri Nov 20 10:22:57 UTC 2026:\n\t0x10000112bd50000\n\
            ephemeral nodes dump:\nSessions with Ephemerals (2):\n0x10000112bd50000:\n\t/app/e1\n\t/app/e2\n\
            0x10000112bd50001:\n\t/app/e3\nConnections dump:\nConnections Sets (1)/(2):\n\
            2 expire at Fri Nov 20 10:22:45 UTC 2026:\n\tip: /127.0.0.1:50134 sessionId: 0x0\n\
            \tip: /127.0.0.1:50106 sessionId: 0x10000112bd50001\n";
        assert_eq!(dump(&report), expected, "as Apache 3.9.5 prints it");
        let expected = "SessionTracker dump:\nSession Sets (0)/(0):\nephemeral nodes dump:\n\
            Sessions with Ephemerals (0):\nConnections dump:\nConnections Sets (0)/(0):\n";
        assert_eq!(dump(&DumpReport::default()), expected, "nothing");
    }

    #[test]
    fn watches_in_total_by_session_and_by_path() {
        let counts = WatchCounts { connections: 2, paths: 4, watches: 5 };
        assert_eq!(wchs(counts), "2 connections watching 4 paths\nTotal watches:5\n", "wchs");
        let by_session = [(TWO, vec!["/missing", "/app"]), (ONE, vec!["/app"])];
        assert_eq!(wchc(by_session), "0x10000112bd50001\n\t/missing\n\t/app\n0x10000112bd50000\n\t/app\n\n", "wchc");
        assert_eq!(wchp([("/app", vec![TWO, ONE])]), "/app\n\t0x10000112bd50001\n\t0x10000112bd50000\n\n", "wchp");
        assert_eq!(wchc(Vec::<(SessionId, Vec<&str>)>::new()), "\n", "none");
    }
}
