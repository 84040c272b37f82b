//! `srvr`, `stat` and `cons`: the server and its connections.

use super::{VERSION, java};
use gk_proto::{SessionId, WallTime, Zxid};
use std::fmt::{self, Write};
use std::net::SocketAddr;

/// Latency of requests since the start or the last reset, in ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Shortest; 0 before the first request.
    pub min: u64,
    /// Longest.
    pub max: u64,
    /// Sum over all requests.
    pub total: u64,
    /// How many requests.
    pub count: u64,
}

impl Latency {
    /// The mean, as ZooKeeper rounds it.
    pub(super) fn average(&self) -> f64 {
        java::average(self.total, self.count)
    }
}

/// What a server is to its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Without an ensemble.
    Standalone,
    /// Leads its ensemble.
    Leader,
    /// Follows, and votes.
    Follower,
    /// Follows without a vote.
    Observer,
    /// Has no quorum and serves reads.
    ReadOnly,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Standalone => "standalone",
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Observer => "observer",
            Self::ReadOnly => "read-only",
        })
    }
}

/// Statistics of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerReport {
    /// Of requests.
    pub latency: Latency,
    /// Packets from clients, four-letter words and connection requests included.
    pub packets_received: u64,
    /// Packets to clients.
    pub packets_sent: u64,
    /// Open client connections, the asking one included.
    pub connections: u64,
    /// Requests that wait for their answer.
    pub outstanding: u64,
    /// Last txn applied.
    pub zxid: Zxid,
    /// Role.
    pub mode: Mode,
    /// Znodes, ZooKeeper's own included.
    pub node_count: u64,
    /// Last, smallest and largest proposal in bytes, -1 before the first; shown by a leader only.
    pub proposal_sizes: Option<[i64; 3]>,
}

/// One client connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnReport {
    /// The client's end.
    pub address: SocketAddr,
    /// What the server waits for on the socket: 1 to read, 4 to write, 0 neither (Java's `SelectionKey`). The
    /// connection that asks shows 0.
    pub interest: u8,
    /// Requests that wait for their answer.
    pub queued: u64,
    /// Packets from the client.
    pub received: u64,
    /// Packets to the client.
    pub sent: u64,
    /// Of the session, once there is one.
    pub session: Option<ConnSession>,
}

/// What `cons` shows about a connection that has a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnSession {
    /// The session.
    pub id: SessionId,
    /// Name of the last operation, such as `GETD`; `NA` before the first.
    pub last_operation: &'static str,
    /// When the connection was accepted.
    pub established: WallTime,
    /// Negotiated timeout.
    pub timeout_ms: i32,
    /// Xid of the last request; not shown while negative.
    pub last_cxid: i64,
    /// Zxid in the last reply; ZooKeeper has all ones before the first.
    pub last_zxid: Zxid,
    /// When the last reply left, in ms of the server's monotonic clock.
    pub last_response_ms: u64,
    /// Of the last request, in ms.
    pub last_latency_ms: u64,
    /// Of all its requests.
    pub latency: Latency,
}

/// `srvr`.
pub fn srvr(report: &ServerReport) -> String {
    version_lines(report.mode) + &statistics(report)
}

/// `stat`.
pub fn stat(report: &ServerReport, connections: &[ConnReport]) -> String {
    let mut text = version_lines(report.mode) + "Clients:\n";
    for connection in connections {
        text.push_str(&brief(connection));
        text.push_str(")\n");
    }
    text + "\n" + &statistics(report)
}

/// `cons`.
pub fn cons(connections: &[ConnReport]) -> String {
    let mut text = String::new();
    for connection in connections {
        text.push_str(&brief(connection));
        if let Some(session) = &connection.session {
            text.push_str(&details(session));
        }
        text.push_str(")\n");
    }
    text + "\n"
}

fn version_lines(mode: Mode) -> String {
    let read_only = if mode == Mode::ReadOnly { "READ-ONLY mode; serving only read-only clients\n" } else { "" };
    format!("Zookeeper version: {VERSION}\n{read_only}")
}

fn statistics(report: &ServerReport) -> String {
    let ServerReport { latency, packets_received, packets_sent, connections, outstanding, zxid, mode, .. } = report;
    let average = java::double(latency.average());
    let mut text = format!(
        "Latency min/avg/max: {}/{average}/{}\nReceived: {packets_received}\nSent: {packets_sent}\n\
         Connections: {connections}\nOutstanding: {outstanding}\nZxid: 0x{zxid}\nMode: {mode}\nNode count: {}\n",
        latency.min, latency.max, report.node_count,
    );
    if let Some([last, min, max]) = report.proposal_sizes {
        writeln!(text, "Proposal sizes last/min/max: {last}/{min}/{max}")
            .expect("INVARIANT: writing to a String does not fail");
    }
    text
}

fn brief(connection: &ConnReport) -> String {
    let ConnReport { address, interest, queued, received, sent, session: _ } = connection;
    format!(" {}[{interest:x}](queued={queued},recved={received},sent={sent}", java::address(*address))
}

fn details(session: &ConnSession) -> String {
    let ConnSession { id, last_operation, established, timeout_ms, last_cxid, last_zxid, .. } = session;
    let cxid = if *last_cxid < 0 { String::new() } else { format!(",lcxid={last_cxid:#x}") };
    let latency = &session.latency;
    format!(
        ",sid={id},lop={last_operation},est={},to={timeout_ms}{cxid},lzxid=0x{last_zxid},lresp={},llat={},minlat={},\
         avglat={},maxlat={}",
        established.0,
        session.last_response_ms,
        session.last_latency_ms,
        latency.min,
        latency.total.checked_div(latency.count).unwrap_or(0),
        latency.max,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use gk_proto::Epoch;

    fn report() -> ServerReport {
        ServerReport {
            latency: Latency { min: 0, max: 7, total: 28, count: 15 },
            packets_received: 17,
            packets_sent: 16,
            connections: 3,
            outstanding: 0,
            zxid: Zxid(6),
            mode: Mode::Standalone,
            node_count: 9,
            proposal_sizes: None,
        }
    }

    fn connections() -> [ConnReport; 2] {
        let session = ConnSession {
            id: SessionId(0x0100_0011_2bd5_0001),
            last_operation: "EXIS",
            established: WallTime(1_795_170_146_173),
            timeout_ms: 10_000,
            last_cxid: 6,
            last_zxid: Zxid(6),
            last_response_ms: 1_150_667,
            last_latency_ms: 1,
            latency: Latency { min: 0, max: 7, total: 17, count: 7 },
        };
        let connection = |port: u16, interest, packets, session| ConnReport {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            interest,
            queued: 0,
            received: packets,
            sent: packets - u64::from(interest == 0),
            session,
        };
        [connection(50128, 0, 1, None), connection(50106, 1, 7, Some(session))]
    }

    #[test]
    fn srvr_of_a_standalone_server() {
        let expected = "Zookeeper version: 3.9.5-293c895a8d966a3ecb92872be4a1daf87d725da2, built on 2026-02-11 20:18 \
                        UTC\nLatency min/avg/max: 0/1.8667/7\nReceived: 17\nSent: 16\nConnections: 3\nOutstanding: 0\n\
                        Zxid: 0x6\nMode: standalone\nNode count: 9\n";
        assert_eq!(srvr(&report()), expected, "as Apache 3.9.5 prints it");
    }

    #[test]
    fn srvr_of_a_leader_ends_in_proposal_sizes_and_of_a_read_only_server_says_so() {
        let zxid = Zxid::new(Epoch(1), 4);
        let leader = ServerReport { mode: Mode::Leader, zxid, proposal_sizes: Some([96, 48, 96]), ..report() };
        let text = srvr(&leader);
        assert!(
            text.ends_with("Zxid: 0x100000004\nMode: leader\nNode count: 9\nProposal sizes last/min/max: 96/48/96\n"),
            "{text}"
        );
        let text = srvr(&ServerReport { mode: Mode::ReadOnly, ..report() });
        assert_eq!(text.lines().nth(1), Some("READ-ONLY mode; serving only read-only clients"), "{text}");
        assert!(text.contains("Mode: read-only\n"), "{text}");
    }

    #[test]
    fn stat_lists_connections_in_brief() {
        let text = stat(&report(), &connections());
        let (clients, statistics) = text.split_once("Clients:\n").unwrap();
        assert_eq!(clients, format!("Zookeeper version: {VERSION}\n"), "head");
        let expected = " /127.0.0.1:50128[0](queued=0,recved=1,sent=0)\n \
                        /127.0.0.1:50106[1](queued=0,recved=7,sent=7)\n\nLatency min/avg/max: 0/1.8667/7\n";
        assert!(statistics.starts_with(expected), "{statistics}");
        assert!(text.ends_with("Node count: 9\n"), "{text}");
    }

    #[test]
    fn cons_lists_connections_with_their_sessions() {
        let expected = " /127.0.0.1:50128[0](queued=0,recved=1,sent=0)\n \
                        /127.0.0.1:50106[1](queued=0,recved=7,sent=7,sid=0x10000112bd50001,lop=EXIS,\
                        est=1795170146173,to=10000,lcxid=0x6,lzxid=0x6,lresp=1150667,llat=1,minlat=0,avglat=2,\
                        maxlat=7)\n\n";
        assert_eq!(cons(&connections()), expected, "as Apache 3.9.5 prints it");
        let mut fresh = connections();
        fresh[1].session.as_mut().unwrap().last_cxid = -1;
        assert!(!cons(&fresh).contains("lcxid"), "no xid yet");
        assert_eq!(cons(&[]), "\n", "nobody");
    }
}
