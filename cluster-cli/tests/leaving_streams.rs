//! Connections that are more than requests and responses end as the program, or their protocol, ends them.

#[path = "support/programs.rs"]
mod programs;
mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

use programs::{assert_graceful, each_node, end, left, log, printed, program, reload, start};
use support::{Lines, PATIENCE, eventually};

/// A connection, and what has been read from it.
struct Client {
    connection: TcpStream,
    received: Vec<u8>,
}

impl Client {
    fn send(address: SocketAddr, request: &str) -> Self {
        let mut connection = TcpStream::connect(address).expect("it listens");
        connection.set_read_timeout(Some(PATIENCE)).expect("a socket");
        connection.write_all(request.as_bytes()).expect("it reads");
        Self { connection, received: Vec::new() }
    }

    /// Reads until that has come.
    #[track_caller]
    fn until(&mut self, wanted: &[u8]) {
        while !self.received.windows(wanted.len()).any(|window| window == wanted) {
            let mut buffer = [0; 1024];
            let length = self.connection.read(&mut buffer).expect("there is more");
            let text = String::from_utf8_lossy(&self.received);
            assert!(length > 0, "{wanted:?} does not come: {text:?}");
            self.received.extend_from_slice(&buffer[..length]);
        }
    }

    /// Reads to the end, which must be one.
    #[track_caller]
    fn end(mut self) -> Vec<u8> {
        self.connection.read_to_end(&mut self.received).expect("it ends as it should");
        self.received
    }
}

const OPTIONS: [&str; 4] = ["-n", "2", "--grace", "50"];

/// A server's close frame with code 1001, and a client's answer (masked with zeros).
const GOING_AWAY: [u8; 4] = [0x88, 2, 0x03, 0xE9];
const ANSWER: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE9];

fn open_websocket(address: SocketAddr) -> Client {
    let mut client = Client::send(
        address,
        "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    client.until(b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n");
    client.until(b"hello from ");
    client
}

/// Clients that answer when the program closes their connections, each when its worker leaves.
struct Answering(Vec<JoinHandle<Vec<u8>>>);

impl Answering {
    fn open(address: SocketAddr) -> Self {
        // All are open before the first of them is asked to close.
        let clients: Vec<_> = (0..6).map(|_| open_websocket(address)).collect();
        let answer = |mut client: Client| {
            std::thread::spawn(move || {
                client.until(&GOING_AWAY);
                client.connection.write_all(&ANSWER).expect("it waits for that");
                client.end()
            })
        };
        Self(clients.into_iter().map(answer).collect())
    }

    /// The program closed each, and ended the connection when the client had answered.
    #[track_caller]
    fn assert_closed(self) {
        for client in self.0 {
            let received = client.join().expect("it is closed in order");
            assert!(received.ends_with(&GOING_AWAY), "{received:?}");
        }
    }
}

#[test]
fn websockets_are_closed_by_the_programs_own_handler() {
    for placement in ["handoff", "shared"] {
        each_node(|node| {
            let options = [&OPTIONS[..], &["--placement", placement]].concat();
            let mut cluster = start(node, &options, &["websocket.cjs"]);
            let address = cluster.listening(2);
            let clients = Answering::open(address);
            reload(&cluster, 1);
            clients.assert_closed();
            let clients = Answering::open(address);
            end(&mut cluster);
            clients.assert_closed();
            assert_graceful(&cluster);
            assert_eq!(left(&cluster, "code 0"), 4, "{}", log(&cluster));
            assert_eq!(printed(&cluster, "all clients are gone"), 4, "{}", log(&cluster));
        });
    }
}

#[test]
fn event_streams_are_ended_by_the_programs_own_handler() {
    each_node(|node| {
        let mut cluster = start(node, &OPTIONS, &["events.cjs"]);
        let address = cluster.listening(2);
        let open = || {
            let request = "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n";
            let mut client = Client::send(address, request);
            client.until(b"data: first\n\n");
            client
        };
        let assert_ended = |clients: Vec<Client>| {
            for client in clients {
                let received = client.end();
                let text = String::from_utf8_lossy(&received);
                assert!(text.contains("event: bye\n\n") && text.ends_with("0\r\n\r\n"), "{text:?}");
            }
        };
        let clients = (0..4).map(|_| open()).collect();
        reload(&cluster, 1);
        assert_ended(clients);
        let clients = (0..4).map(|_| open()).collect();
        end(&mut cluster);
        assert_ended(clients);
        assert_graceful(&cluster);
        assert_eq!(printed(&cluster, "ending 2 streams"), 4, "{}", log(&cluster));
    });
}

/// A client on a session of its own that it never closes.
fn http2_stream_finishes(node: &Path, handler: &str) {
    let mut cluster = start(node, &["-n", "1", "--grace", "50"], &["http2.cjs", handler]);
    let address = cluster.listening(1);
    let mut run = Command::new(node);
    run.arg(program("http2-client.cjs")).arg(address.port().to_string());
    let mut client = run.stdout(Stdio::piped()).spawn().expect("Node starts");
    let lines = Lines::default();
    lines.collect(client.stdout.take().expect("it is a pipe"));
    cluster.out.wait_for(1, |line| line.contains("stream begins"));
    reload(&cluster, 1);
    let status = eventually("the client ends", || client.try_wait().expect("it is our child"));
    lines.wait_for(1, |line| line == "closed");
    assert!(status.success(), "{status}: {:#?}", lines.all());
    let body = "body 0 1 2 3 4 5 6 7 8 9 end";
    assert!(lines.all().iter().any(|line| line == body), "{:#?}", lines.all());
    assert!(lines.all().iter().any(|line| line == "goaway 0"), "{:#?}", lines.all());
    end(&mut cluster);
    assert_graceful(&cluster);
    let asked = if handler == "handler" { 2 } else { 0 };
    assert_eq!(printed(&cluster, "SIGTERM"), asked, "{}", log(&cluster));
}

#[test]
fn http2_streams_finish() {
    each_node(|node| http2_stream_finishes(node, "none"));
}

#[test]
fn http2_streams_finish_before_a_handler_runs() {
    each_node(|node| http2_stream_finishes(node, "handler"));
}
