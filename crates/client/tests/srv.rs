//! Servers from DNS: a name server in the test, whose records change.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gk_client::testing::Server;
use gk_client::{Client, ClientBuilder, CreateMode, Error, SessionState, StateStream};
use tokio::net::UdpSocket;
use tokio::sync::watch;

const NAME: &str = "_zookeeper._tcp.example.com";
const NO_SUCH_NAME: u8 = 3;
const SERVER_FAILURE: u8 = 2;
/// Longer than anything here takes, so that what does not happen fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the name server says to who asks for the SRV records of [`NAME`]. All other names do not exist.
#[derive(Clone)]
enum Says {
    Records { servers: Vec<(String, u16)>, time_to_live_s: u32 },
    Code(u8),
}

struct NameServer {
    address: SocketAddr,
    says: Arc<Mutex<Says>>,
    asked: watch::Receiver<u32>,
}

impl NameServer {
    async fn start(says: Says) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = socket.local_addr().expect("bound");
        let says = Arc::new(Mutex::new(says));
        let (count, asked) = watch::channel(0);
        tokio::spawn(serve(socket, says.clone(), count));
        Self { address, says, asked }
    }

    fn says(&self, says: Says) {
        *self.says.lock().expect("not poisoned") = says;
    }

    /// Until it has answered once more from now on.
    async fn asked_again(&self) {
        let mut asked = self.asked.clone();
        let before = *asked.borrow();
        let again = asked.wait_for(|count| *count > before);
        tokio::time::timeout(PATIENCE, again).await.expect("asked in time").expect("it runs");
    }

    fn builder(&self) -> ClientBuilder {
        Client::builder().dns_server(self.address)
    }
}

async fn serve(socket: UdpSocket, says: Arc<Mutex<Says>>, count: watch::Sender<u32>) {
    let mut query = [0; 512];
    loop {
        let (length, asker) = socket.recv_from(&mut query).await.expect("a query");
        let says = says.lock().expect("not poisoned").clone();
        socket.send_to(&answer(&query[..length], &says), asker).await.expect("sent");
        count.send_modify(|count| *count += 1);
    }
}

/// The answer to a query, as RFC 1035 and 2782 have it.
fn answer(query: &[u8], says: &Says) -> Vec<u8> {
    let name_length = query[12..].iter().position(|byte| *byte == 0).expect("a whole name") + 1;
    let question = &query[12..12 + name_length + 4];
    let is_ours = question.to_ascii_lowercase() == [&encoded(NAME)[..], &[0, 33, 0, 1]].concat();
    let (code, records) = match says {
        Says::Records { servers, time_to_live_s } if is_ours => {
            let numbered = (1..).zip(servers);
            (0, numbered.map(|(at, (host, port))| record(at, host, *port, *time_to_live_s)).collect())
        }
        Says::Code(code) if is_ours => (*code, Vec::new()),
        Says::Records { .. } | Says::Code(_) => (NO_SUCH_NAME, Vec::new()),
    };
    let count = u8::try_from(records.len()).expect("few");
    let header = [query[0], query[1], 0x81, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0];
    [&header[..], question, &records.concat()].concat()
}

/// One SRV record of the name in the question.
fn record(priority: u8, host: &str, port: u16, time_to_live_s: u32) -> Vec<u8> {
    let target = encoded(host);
    let mut record = vec![0xc0, 12, 0, 33, 0, 1];
    record.extend(time_to_live_s.to_be_bytes());
    record.extend(u16::try_from(6 + target.len()).expect("short").to_be_bytes());
    record.extend([0, priority, 0, 1]);
    record.extend(port.to_be_bytes());
    record.extend(target);
    record
}

fn encoded(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).expect("short"));
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// Records that may be kept for an hour: they are looked at again because something happened, or never in a test.
fn lasting(servers: &[(&str, u16)]) -> Says {
    records(servers, 3_600)
}

fn records(servers: &[(&str, u16)], time_to_live_s: u32) -> Says {
    Says::Records { servers: servers.iter().map(|(host, port)| ((*host).to_owned(), *port)).collect(), time_to_live_s }
}

fn port(server: &Server) -> u16 {
    server.address().port()
}

async fn until(states: &mut StateStream, wanted: SessionState) {
    let found = async {
        while let Some(state) = states.next().await {
            if state == wanted {
                return true;
            }
        }
        false
    };
    assert!(tokio::time::timeout(PATIENCE, found).await.expect("in time"), "never {wanted:?}");
}

fn connect_string() -> String {
    format!("dns-srv://{NAME}")
}

#[tokio::test]
async fn each_record_is_a_server_and_the_chroot_holds() {
    let server = Server::start().await.unwrap();
    let mut stopped = Server::start().await.unwrap();
    stopped.stop().await.unwrap();
    let says = lasting(&[("localhost", port(&stopped)), ("localhost", port(&server))]);
    let names = NameServer::start(says).await;
    let client = names.builder().connect(&connect_string()).await.unwrap();
    assert_eq!(
        client.server(),
        Some(format!("localhost:{}", port(&server))),
        "the one that runs, of whatever priority"
    );
    client.make_path("/app").await.unwrap();
    let inside = names.builder().connect(&format!("{}./app", connect_string())).await.unwrap();
    inside.create("/a", b"", CreateMode::Persistent).await.unwrap();
    assert_eq!(client.children("/app").await.unwrap(), ["a"], "in the chroot");
}

#[tokio::test]
async fn a_client_waits_for_records_as_for_servers() {
    let server = Server::start().await.unwrap();
    let names = NameServer::start(Says::Code(NO_SUCH_NAME)).await;
    let (builder, connect_string) = (names.builder(), connect_string());
    let connecting = tokio::spawn(async move { builder.connect(&connect_string).await });
    names.asked_again().await;
    names.says(lasting(&[("localhost", port(&server))]));
    let client = tokio::time::timeout(PATIENCE, connecting).await.expect("in time").unwrap().unwrap();
    assert_eq!(client.state(), SessionState::Connected, "once they are there");
}

#[tokio::test]
async fn a_name_without_records_is_named_in_the_error() {
    let names = NameServer::start(lasting(&[("localhost", 1)])).await;
    let builder = names.builder().connect_timeout(Duration::from_millis(500));
    let Err(Error::NotConnected { attempts, .. }) = builder.connect("dns-srv://_nobody._tcp.example.com").await else {
        panic!("connected to nobody")
    };
    assert!(attempts.contains("_nobody._tcp.example.com: there is no SRV record"), "{attempts}");
}

#[tokio::test]
async fn a_client_moves_when_the_records_change_and_its_session_lives() {
    let server = Server::start().await.unwrap();
    // Two names of one server, so that the session is known at both.
    let names = NameServer::start(records(&[("localhost", port(&server))], 1)).await;
    let client = names.builder().connect(&connect_string()).await.unwrap();
    let session = client.session_id();
    client.create("/mine", b"", CreateMode::Ephemeral).await.unwrap();
    let mut states = client.states();
    names.says(records(&[("127.0.0.1", port(&server))], 1));
    until(&mut states, SessionState::Connected).await;
    assert_eq!(client.server(), Some(format!("127.0.0.1:{}", port(&server))), "moved");
    assert_eq!(client.session_id(), session, "the same session");
    assert_eq!(client.ephemerals("/").await.unwrap(), ["/mine"], "with what it holds");
}

#[tokio::test]
async fn a_cut_makes_a_client_look_for_other_servers_at_once() {
    let mut old = Server::start().await.unwrap();
    let new = Server::start().await.unwrap();
    let names = NameServer::start(lasting(&[("localhost", port(&old))])).await;
    let client = names.builder().connect(&connect_string()).await.unwrap();
    let mut states = client.states();
    names.says(lasting(&[("localhost", port(&new))]));
    old.stop().await.unwrap();
    // Which only the new server can say: it does not know the session.
    until(&mut states, SessionState::Expired).await;
}

#[tokio::test]
async fn a_lookup_that_fails_leaves_the_list_as_it_is() {
    let mut server = Server::start().await.unwrap();
    let names = NameServer::start(lasting(&[("localhost", port(&server))])).await;
    let client = names.builder().connect(&connect_string()).await.unwrap();
    let session = client.session_id();
    for says in [Says::Code(SERVER_FAILURE), lasting(&[]), Says::Code(NO_SUCH_NAME)] {
        let mut states = client.states();
        names.says(says);
        server.stop().await.unwrap();
        names.asked_again().await;
        server.restart().await.unwrap();
        until(&mut states, SessionState::Connected).await;
    }
    assert_eq!(client.session_id(), session, "the session has lived through it");
}

#[tokio::test]
async fn a_list_and_dns_do_not_change_places() {
    let server = Server::start().await.unwrap();
    let names = NameServer::start(lasting(&[("localhost", port(&server))])).await;
    let follower = names.builder().connect(&connect_string()).await.unwrap();
    let error = follower.update_servers(&server.connect_string()).unwrap_err();
    assert!(matches!(error, Error::BadArgument { .. }) && error.to_string().contains(NAME), "{error}");
    let given = Client::connect(&server.connect_string()).await.unwrap();
    let error = given.update_servers(&connect_string()).unwrap_err();
    assert!(matches!(error, Error::BadServers { .. }), "{error}");
}

#[test]
fn a_blocking_client_follows_dns_as_well() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (_server, names) = runtime.block_on(async {
        let server = Server::start().await.unwrap();
        let names = NameServer::start(lasting(&[("localhost", port(&server))])).await;
        (server, names)
    });
    let client = gk_client::blocking::Client::connect_with(names.builder(), &connect_string()).unwrap();
    assert_eq!(client.children("/").unwrap(), ["zookeeper"], "connected");
}
