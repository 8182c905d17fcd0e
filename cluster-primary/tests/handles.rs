//! Descriptors beside users' messages, to and from unmodified Node.js workers.

#[path = "support/node.rs"]
mod node;
#[path = "support/process.rs"]
mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use cluster_primary::proto::{DgramType, HandleKind};
use cluster_primary::{
    AnySocket, Event, EventHandle, Object, Outgoing, Pressure, SendError, Settings, Signal, Value,
    WorkerId,
};
use node::nodes;
use support::{Cluster, Folder};

fn beside(node: &Path) -> Settings {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/js/beside.cjs");
    let mut settings = Settings::new(script);
    settings.exec_path = Some(node.to_owned());
    settings
}

fn start(node: &Path) -> (Cluster, WorkerId) {
    start_with(beside(node))
}

fn start_with(settings: Settings) -> (Cluster, WorkerId) {
    let mut cluster = Cluster::with(settings);
    let worker = cluster.fork();
    assert_eq!(cluster.message(worker), "ready");
    (cluster, worker)
}

fn order(what: &str) -> Object {
    Object::new().with("do", what)
}

/// The next message of that worker, and the descriptor that came with it.
fn next(cluster: &mut Cluster, from: WorkerId) -> (Value, Option<EventHandle>) {
    let message = |e: &Event| matches!(e, Event::Message { worker, .. } if *worker == from);
    match cluster.until("message", message) {
        Event::Message { message, handle, .. } => {
            (message.value().expect("it can be decoded"), handle)
        }
        _ => unreachable!("it was asked for"),
    }
}

fn with_handle(cluster: &mut Cluster, from: WorkerId) -> (Value, EventHandle) {
    let (message, handle) = next(cluster, from);
    (message, handle.expect("a descriptor came with it"))
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn port_of(message: &Value) -> u16 {
    message["port"].as_u64().and_then(|port| port.try_into().ok()).expect("a port")
}

/// All that comes until the other end closes; the primary runs meanwhile.
fn read_all(cluster: &mut Cluster, mut from: impl Read + Send + 'static) -> String {
    cluster.run(move || {
        let mut text = String::new();
        from.read_to_string(&mut text).expect("it can be read");
        text
    })
}

fn blocking(handle: OwnedFd) -> AnySocket {
    let socket = AnySocket::from(handle);
    socket.set_nonblocking(false).expect("a socket");
    socket
}

#[test]
fn a_listener_goes_to_a_worker_which_serves_it() {
    for node in nodes() {
        let (mut cluster, worker) = start(&node);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let at = listener.local_addr().expect("it is bound");
        cluster.primary.send_handle(worker, order("serve"), listener).expect("it is connected");
        assert_eq!(cluster.message(worker), "serving");
        let client = TcpStream::connect(at).expect("it listens");
        assert_eq!(read_all(&mut cluster, client), "served Server\n");
    }
}

#[test]
fn connections_go_to_a_worker_which_answers_them() {
    for node in nodes() {
        let (mut cluster, worker) = start(&node);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        let (connection, _) = listener.accept().expect("it connected");
        cluster.primary.send_handle(worker, order("answer"), connection).expect("connected");
        assert_eq!(read_all(&mut cluster, client), "answered Socket\n");
        // The primary holds no copy: the client saw the end.

        let (near, far) = UnixStream::pair().expect("a pair");
        cluster.primary.send_handle(worker, order("answer"), far).expect("connected");
        assert_eq!(read_all(&mut cluster, near), "answered Socket\n");
    }
}

#[test]
fn a_datagram_socket_goes_to_a_worker_which_answers_on_it() {
    for node in nodes() {
        let (mut cluster, worker) = start(&node);
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let at = socket.local_addr().expect("it is bound");
        cluster.primary.send_handle(worker, order("receive"), socket).expect("connected");
        assert_eq!(cluster.message(worker), "receiving");
        let heard = cluster.run(move || {
            let client = UdpSocket::bind("127.0.0.1:0").expect("a port");
            client.send_to(b"hello", at).expect("loopback takes it");
            let mut answer = [0; 64];
            let (length, _) = client.recv_from(&mut answer).expect("an answer");
            String::from_utf8_lossy(&answer[..length]).into_owned()
        });
        assert_eq!(heard, "heard hello");
    }
}

#[test]
fn a_workers_servers_come_to_the_primary_and_work_there() {
    for node in nodes() {
        let folder = Folder::new("beside-from");
        let (mut cluster, worker) = start(&node);
        let at = Object::new().with("host", "127.0.0.1").with("port", 0);
        cluster.primary.send(worker, order("sendServer").with("at", at)).expect("connected");
        let (message, received) = with_handle(&mut cluster, worker);
        assert_eq!(received.kind, HandleKind::NetServer);
        let AnySocket::TcpListener(listener) = blocking(received.handle) else {
            panic!("not what it is said to be")
        };
        let client = TcpStream::connect(loopback(port_of(&message))).expect("it listens");
        let (connection, peer) = listener.accept().expect("it connected");
        assert_eq!(peer, client.local_addr().expect("connected"));
        drop(connection);

        let path = folder.0.join("from");
        let at = Object::new().with("path", path.to_str());
        cluster.primary.send(worker, order("sendServer").with("at", at)).expect("connected");
        let (_, received) = with_handle(&mut cluster, worker);
        assert!(matches!(AnySocket::from(received.handle), AnySocket::UnixListener(_)));

        cluster.primary.send(worker, order("sendDatagrams")).expect("connected");
        let (message, received) = with_handle(&mut cluster, worker);
        assert_eq!(received.kind, HandleKind::DgramSocket(DgramType::Udp4));
        let AnySocket::UdpSocket(socket) = blocking(received.handle) else {
            panic!("not what it is said to be")
        };
        let client = UdpSocket::bind("127.0.0.1:0").expect("a port");
        // The worker holds it too, and does not read from it.
        assert_eq!(socket.local_addr().expect("bound"), loopback(port_of(&message)));
        drop(client);
    }
}

#[test]
fn a_connection_that_is_kept_open_is_open_at_both_ends() {
    for node in nodes() {
        let (mut cluster, worker) = start(&node);
        cluster
            .primary
            .send(worker, order("sendSocket").with("keepOpen", true))
            .expect("connected");
        let (message, _) = next(&mut cluster, worker);
        let client = TcpStream::connect(loopback(port_of(&message))).expect("it listens");
        let (_, received) = with_handle(&mut cluster, worker);
        let AnySocket::TcpStream(mut connection) = blocking(received.handle) else {
            panic!("not what it is said to be")
        };
        connection.write_all(b"from the primary ").expect("it is open here");
        drop(connection);
        cluster.primary.send(worker, order("goOn")).expect("connected");
        let heard = read_all(&mut cluster, client);
        assert_eq!(heard, "from the primary and from here\n", "and was there");
    }
}

#[test]
fn a_connection_that_the_primary_keeps_open_is_open_at_both_ends() {
    for node in nodes() {
        let (mut cluster, worker) = start(&node);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut client =
            TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        let (mut connection, _) = listener.accept().expect("it connected");
        let sent = connection.try_clone().expect("a duplicate");
        cluster.primary.send_handle(worker, order("echo"), sent).expect("connected");
        assert_eq!(cluster.message(worker), "echoing");
        client.write_all(b"to the worker\n").expect("it is open");
        let heard = |client: &TcpStream, length| {
            let mut client = client.try_clone().expect("a duplicate");
            move || {
                let mut heard = vec![0; length];
                client.read_exact(&mut heard).expect("it is open");
                String::from_utf8_lossy(&heard).into_owned()
            }
        };
        assert_eq!(cluster.run(heard(&client, 14)), "to the worker\n");
        connection.write_all(b"from the primary\n").expect("it is open here");
        assert_eq!(cluster.run(heard(&client, 17)), "from the primary\n");
        // It was kept to the end: the worker's going does not close it.
        assert!(cluster.primary.kill(worker, Signal::KILL).expect("it is there"));
        cluster.exit_of(worker);
        connection.write_all(b"still\n").expect("it is open here");
        drop(connection);
        assert_eq!(read_all(&mut cluster, client), "still\n");
    }
}

#[test]
fn a_workers_server_counts_the_connections_that_it_sent_away() {
    for node in nodes() {
        let (mut cluster, worker) = start(&node);
        cluster
            .primary
            .send(worker, order("sendSocket").with("keepOpen", false))
            .expect("connected");
        let (message, _) = next(&mut cluster, worker);
        let at = loopback(port_of(&message));
        let clients: Vec<_> = (0..3).map(|_| TcpStream::connect(at).expect("it listens")).collect();
        let mut held: Vec<_> = clients
            .iter()
            .map(|_| {
                let (_, received) = with_handle(&mut cluster, worker);
                assert!(received.key.is_some() && received.counted.is_some(), "{received:?}");
                received
            })
            .collect();
        cluster.primary.send(worker, order("connections")).expect("connected");
        assert_eq!(next(&mut cluster, worker).0["count"].as_u64(), Some(3));
        // From another thread, as one that serves it might.
        let done = held.pop();
        cluster.run(move || drop(done));
        cluster.primary.send(worker, order("connections")).expect("connected");
        assert_eq!(next(&mut cluster, worker).0["count"].as_u64(), Some(2));
        // A server closes when the last of its connections has, wherever that is.
        cluster.primary.send(worker, order("close")).expect("connected");
        drop(held);
        assert_eq!(cluster.message(worker), "closed");
    }
}

/// They are close-on-exec.
#[test]
#[cfg(target_os = "linux")]
fn connections_that_were_sent_away_close_when_another_image_goes_on() {
    for node in nodes() {
        let (mut cluster, worker) = start(&node);
        cluster
            .primary
            .send(worker, order("sendSocket").with("keepOpen", false))
            .expect("connected");
        let (message, _) = next(&mut cluster, worker);
        let at = loopback(port_of(&message));
        let client = TcpStream::connect(at).expect("it listens");
        let (_, held) = with_handle(&mut cluster, worker);
        cluster.primary.send(worker, order("close")).expect("connected");
        // Once it has asked to be told it says no more until it is.
        cluster.primary.send(worker, order("connections")).expect("connected");
        assert!(next(&mut cluster, worker).0["count"].as_u64().is_some());
        cluster.upgrade();
        assert_eq!(cluster.message(worker), "closed");
        drop((client, held));
    }
}

#[test]
fn a_worker_is_asked_for_the_connections_that_were_sent_to_it() {
    for node in nodes() {
        let (mut cluster, worker) = start(&node);
        let (near, far) = UnixStream::pair().expect("a pair");
        let outgoing = Outgoing::from(far).key("4:127.0.0.1:80");
        cluster.primary.send_handle(worker, order("keep"), outgoing).expect("connected");
        assert_eq!(cluster.message(worker), "kept");
        cluster.primary.count_sockets(worker, "4:127.0.0.1:80").expect("connected");
        let count = cluster.until("count", |e| matches!(e, Event::SocketCount { .. }));
        let Event::SocketCount { key, count, .. } = count else { unreachable!() };
        assert_eq!((key.as_str(), count), ("4:127.0.0.1:80", 1));
        cluster.primary.await_sockets(worker, "4:127.0.0.1:80").expect("connected");
        cluster.primary.send(worker, order("drop")).expect("connected");
        cluster.until("the last to close", |e| matches!(e, Event::SocketsClosed { .. }));
        near.shutdown(Shutdown::Both).expect("it was connected");
    }
}

#[test]
fn both_sides_send_descriptors_at_once_and_nothing_is_lost_or_out_of_order() {
    const COUNT: u64 = 60;
    const SIZE: usize = 200_000;
    for node in nodes() {
        let folder = Folder::new("beside-both");
        let path = folder.0.join("partner");
        let partner = UnixListener::bind(&path).expect("a socket");
        let mut settings = beside(&node);
        settings.args = vec![path.into()];
        let (mut cluster, worker) = start_with(settings);
        let all = order("exchange").with("count", COUNT).with("size", SIZE as u64);
        cluster.primary.send(worker, all).expect("connected");
        let payload = "y".repeat(SIZE);
        let mut kept = Vec::new();
        for n in 0..COUNT {
            let (near, far) = UnixStream::pair().expect("a pair");
            kept.push(near);
            let message = order("take").with("n", n).with("payload", payload.as_str());
            cluster.primary.send_handle(worker, message, far).expect("there is room");
        }
        let accepting = std::thread::spawn(move || {
            (0..COUNT).map(|_| partner.accept().expect("it connects").0).collect::<Vec<_>>()
        });
        let (mut taken, mut received) = (Vec::new(), 0);
        while taken.len() < COUNT as usize || received < COUNT {
            let (message, handle) = next(&mut cluster, worker);
            match message["took"].as_u64() {
                Some(n) => {
                    assert_eq!(message["length"].as_u64(), Some(SIZE as u64));
                    taken.push(n);
                }
                None => {
                    assert!(message["n"].as_u64().is_some() && handle.is_some(), "{handle:?}");
                    assert_eq!(message["payload"].as_str().map(str::len), Some(SIZE));
                    received += 1;
                }
            }
        }
        assert_eq!(taken, (0..COUNT).collect::<Vec<_>>(), "in the order of their sending");
        assert_eq!(cluster.primary.stats().unexpected_handles, 0);
        drop(accepting.join().expect("no panic"));
    }
}

#[test]
fn what_became_of_a_message_is_reported() {
    for node in nodes() {
        let (mut cluster, worker) = start(&node);
        let (_near, far) = UnixStream::pair().expect("a pair");
        let plain = cluster.primary.send_reported(worker, order("fds"), None).expect("connected");
        let with = cluster
            .primary
            .send_reported(worker, order("answer"), Some(far.into()))
            .expect("connected");
        for expected in [plain, with] {
            let sent = cluster.until("sent", |e| matches!(e, Event::Sent { .. }));
            assert!(
                matches!(sent, Event::Sent { id, error: None, .. } if id == expected),
                "{sent:?}"
            );
        }
        // A worker that stands still reads nothing of what is more than its socket holds.
        assert!(
            cluster
                .primary
                .kill(worker, "SIGSTOP".parse().expect("a signal"))
                .expect("it is there")
        );
        let large = order("fds").with("payload", "x".repeat(4 << 20));
        let never = cluster.primary.send_reported(worker, large, None).expect("connected");
        assert!(cluster.primary.kill(worker, Signal::KILL).expect("it is there"));
        let sent = cluster.until("sent", |e| matches!(e, Event::Sent { .. }));
        assert!(
            matches!(sent, Event::Sent { id, error: Some(SendError::Closed { .. }), .. } if id == never),
            "{sent:?}"
        );
        cluster.disconnect_of(worker);
        let late = cluster.primary.send_reported(worker, "late", None);
        assert!(matches!(late, Err(SendError::Closed { .. })));
    }
}

#[test]
fn a_sender_that_was_told_to_wait_is_told_to_go_on() {
    for node in nodes() {
        let (mut cluster, worker) = start(&node);
        assert!(
            cluster
                .primary
                .kill(worker, "SIGSTOP".parse().expect("a signal"))
                .expect("it is there")
        );
        let large = order("fds").with("payload", "x".repeat(2 << 20));
        let sent = cluster.primary.send(worker, large).expect("there is room");
        assert_eq!(sent, Pressure::High);
        assert!(
            cluster
                .primary
                .kill(worker, "SIGCONT".parse().expect("a signal"))
                .expect("it is there")
        );
        cluster.until("room", |e| matches!(e, Event::Drained { .. }));
        assert_eq!(cluster.primary.send(worker, order("fds")).expect("connected"), Pressure::Low);
    }
}

#[test]
fn descriptors_that_were_sent_stay_nowhere() {
    for node in nodes() {
        let (mut cluster, worker) = start(&node);
        let fds = |cluster: &mut Cluster| {
            cluster.primary.send(worker, order("fds")).expect("connected");
            next(cluster, worker).0["fds"].as_u64().expect("a count")
        };
        let before = fds(&mut cluster);
        for _ in 0..50 {
            let (near, far) = UnixStream::pair().expect("a pair");
            cluster.primary.send_handle(worker, order("answer"), far).expect("connected");
            assert_eq!(read_all(&mut cluster, near), "answered Socket\n");
        }
        assert_eq!(fds(&mut cluster), before);
    }
}
