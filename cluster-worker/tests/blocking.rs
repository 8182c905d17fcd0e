//! The blocking front-end against a primary in the same process.

#[path = "support/primary.rs"]
#[expect(dead_code, reason = "the tests for tokio use the rest")]
mod primary;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use cluster_proto::{ClusterBody, Message, SocketList};
use cluster_worker::{ListenError, Options, Pressure, RecvError, SendError, Worker};
use primary::{LIMIT, Primary, readable};

fn start(options: &Options) -> (Primary, Worker) {
    let (primary, fd) = Primary::new();
    let worker = options.clone().exit_when_orphaned(false).worker(1, fd).unwrap();
    (primary, worker)
}

#[test]
fn each_connection_is_accepted_once_and_before_it_is_seen() {
    const COUNT: usize = 300;
    let (mut primary, worker) = start(&Options::new());
    let server = thread::spawn(move || {
        let listener = Arc::new(worker.listen_unix("/key").unwrap());
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let listener = Arc::clone(&listener);
                thread::spawn(move || {
                    let mut served = 0;
                    while let Some(mut stream) = listener.accept().unwrap() {
                        stream.write_all(b"!").unwrap();
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        let served: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert!(!worker.is_connected());
        assert_eq!(worker.exited_after_disconnect(), Some(true));
        served
    });
    primary.open("key");
    for _ in 0..COUNT / 3 {
        let clients: Vec<_> = (0..3).map(|_| primary.connect("key")).collect();
        let mut accepted = Vec::new();
        for (mut client, seq) in clients {
            // Let those through that the gate holds back.
            while !readable(&client, Duration::from_millis(1)) {
                accepted.extend(primary.try_recv());
                primary.channel.flush().unwrap();
            }
            client.read_exact(&mut [0]).unwrap();
            while let Some(message) = primary.try_recv() {
                accepted.push(message);
            }
            let its = |message: &&Message| {
                matches!(message, Message::Cluster(m) if m.ack == Some(seq)
                    && m.body == ClusterBody::Accepted(true))
            };
            assert_eq!(accepted.iter().filter(its).count(), 1, "{seq} is served: {accepted:?}");
        }
        assert_eq!(accepted.len(), 3);
    }
    primary.send_internal(None, ClusterBody::Disconnect);
    assert!(matches!(primary.recv_cluster().body, ClusterBody::Close { .. }));
    assert_eq!(primary.recv(), None);
    assert_eq!(server.join().unwrap(), COUNT);
}

#[test]
fn no_connection_is_seen_while_its_acceptance_is_not_written() {
    let (mut primary, worker) = start(&Options::new());
    let opener = {
        let worker = worker.clone();
        thread::spawn(move || worker.listen_unix("/key").unwrap())
    };
    primary.open("key");
    let listener = opener.join().unwrap();
    // The primary does not read: more than a socket's buffer waits to be written.
    let mut sent = 0;
    while worker.send("x".repeat(100_000)).unwrap() == Pressure::Low || sent < 20 {
        sent += 1;
    }
    sent += 1;
    let (mut client, _) = primary.connect("key");
    let server = thread::spawn(move || {
        listener.accept().unwrap().expect("a connection").write_all(b"!").unwrap();
        listener
    });
    assert!(!readable(&client, Duration::from_millis(100)), "it is seen already");
    for _ in 0..sent {
        assert!(matches!(primary.recv(), Some(Message::User(_))));
    }
    assert_eq!(primary.recv_cluster().body, ClusterBody::Accepted(true));
    client.read_exact(&mut [0]).unwrap();
    drop(server.join().unwrap());
    assert!(matches!(primary.recv_cluster().body, ClusterBody::Close { .. }));
}

#[test]
fn without_a_primary_everything_ends() {
    let (mut primary, worker) = start(&Options::new());
    let opener = {
        let worker = worker.clone();
        thread::spawn(move || worker.listen_unix("/key").unwrap())
    };
    primary.open("key");
    let listener = opener.join().unwrap();
    let waiting = thread::spawn(move || listener.incoming().count());
    let receiving = {
        let worker = worker.clone();
        thread::spawn(move || worker.recv().unwrap())
    };
    drop(primary);
    assert_eq!(waiting.join().unwrap(), 0);
    assert_eq!(receiving.join().unwrap(), None);
    assert_eq!(worker.exited_after_disconnect(), Some(false));
    assert!(!worker.is_connected());
    assert!(matches!(worker.listen(0), Err(ListenError::Disconnected { .. })));
    assert_eq!(worker.send("?"), Err(SendError::Disconnected));
    worker.disconnect().unwrap();
}

#[test]
fn a_disconnect_of_the_workers_own_is_acknowledged_first() {
    let (mut primary, worker) = start(&Options::new());
    let leaving = {
        let worker = worker.clone();
        thread::spawn(move || worker.disconnect().unwrap())
    };
    assert_eq!(primary.recv_cluster().body, ClusterBody::Online);
    let message = primary.recv_cluster();
    assert_eq!(message.body, ClusterBody::ExitedAfterDisconnect);
    assert!(worker.is_connected());
    primary.send_internal(Some(message.seq), ClusterBody::Ack);
    assert_eq!(primary.recv(), None);
    leaving.join().unwrap();
    assert_eq!(worker.exited_after_disconnect(), Some(true));
}

#[test]
fn an_answer_may_be_given_up() {
    let options = Options::new().answer_timeout(Duration::from_millis(20));
    let (primary, worker) = start(&options);
    worker.disconnect().unwrap();
    drop(primary);
}

#[test]
fn a_connection_that_crosses_the_disconnect_is_refused() {
    let (mut primary, worker) = start(&Options::new());
    let opener = {
        let worker = worker.clone();
        thread::spawn(move || worker.listen_unix("/key").unwrap())
    };
    primary.open("key");
    let listener = opener.join().unwrap();
    primary.send_internal(None, ClusterBody::Disconnect);
    let (mut client, seq) = primary.connect("key");
    worker.wait_disconnected().unwrap();
    assert!(matches!(primary.recv_cluster().body, ClusterBody::Close { .. }));
    let answer = primary.recv_cluster();
    assert_eq!((answer.ack, answer.body), (Some(seq), ClusterBody::Accepted(false)));
    assert_eq!(primary.recv(), None);
    assert!(listener.accept().unwrap().is_none());
    drop(primary);
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "closed");
}

#[test]
fn messages_that_are_not_received_are_counted() {
    let (mut primary, worker) = start(&Options::new().message_limit(2));
    for n in 0..5 {
        primary.send_user(n);
    }
    primary.send_internal(None, ClusterBody::Disconnect);
    worker.wait_disconnected().unwrap();
    assert!(matches!(worker.recv(), Err(RecvError::Lost { messages: 3 })));
    assert_eq!(worker.recv().unwrap(), Some(0.into()));
    assert_eq!(worker.recv().unwrap(), Some(1.into()));
    assert_eq!(worker.recv().unwrap(), None);
}

#[test]
fn waiting_for_a_message_ends_in_time() {
    let (mut primary, worker) = start(&Options::new());
    assert_eq!(worker.recv_timeout(Duration::from_millis(1)).unwrap(), None);
    primary.send_user("now");
    assert_eq!(worker.recv_timeout(LIMIT).unwrap(), Some("now".into()));
}

#[test]
fn a_queue_that_is_full_of_messages_still_takes_an_acceptance() {
    let (mut primary, worker) = start(&Options::new().send_limit(1 << 20));
    let opener = {
        let worker = worker.clone();
        thread::spawn(move || worker.listen_unix("/key").unwrap())
    };
    primary.open("key");
    let listener = opener.join().unwrap();
    let mut sent = 0;
    while worker.send("x".repeat(1000)).is_ok() {
        sent += 1;
    }
    assert!(matches!(worker.send("x".repeat(1000)), Err(SendError::QueueFull { .. })));
    while worker.send("x").is_ok() {
        sent += 1;
    }
    let (mut client, seq) = primary.connect("key");
    let server = thread::spawn(move || {
        listener.accept().unwrap().expect("a connection").write_all(b"!").unwrap();
    });
    for _ in 0..sent {
        assert!(matches!(primary.recv(), Some(Message::User(_))));
    }
    assert_eq!(primary.recv_cluster().ack, Some(seq));
    client.read_exact(&mut [0]).unwrap();
    server.join().unwrap();
}

#[test]
fn a_listener_ends_when_the_disconnect_is_done() {
    let (mut primary, worker) = start(&Options::new());
    let opener = {
        let worker = worker.clone();
        thread::spawn(move || worker.listen_unix("/key").unwrap())
    };
    primary.open("key");
    let listener = Arc::new(opener.join().unwrap());
    let (mut client, seq) = primary.connect("key");
    let mut tracked = listener.accept_tracked().unwrap().expect("a connection");
    assert_eq!(primary.recv_cluster().ack, Some(seq));
    let acceptor = {
        let (listener, worker) = (Arc::clone(&listener), worker.clone());
        thread::spawn(move || {
            assert!(listener.accept().unwrap().is_none());
            worker.is_connected()
        })
    };
    primary.send_internal(None, ClusterBody::Disconnect);
    worker.wait_disconnecting().unwrap();
    assert!(worker.is_connected());
    tracked.write_all(b"!").unwrap();
    drop(tracked);
    client.read_exact(&mut [0]).unwrap();
    assert!(!acceptor.join().unwrap());
}

#[test]
fn a_listener_that_is_closed_here_ends_at_once() {
    let (mut primary, worker) = start(&Options::new());
    let opener = {
        let worker = worker.clone();
        thread::spawn(move || worker.listen_unix("/key").unwrap())
    };
    primary.open("key");
    let listener = Arc::new(opener.join().unwrap());
    let acceptor = {
        let listener = Arc::clone(&listener);
        thread::spawn(move || listener.incoming().count())
    };
    listener.close();
    assert_eq!(acceptor.join().unwrap(), 0);
    assert!(matches!(primary.recv_cluster().body, ClusterBody::Close { .. }));
    assert!(worker.is_connected());
}

#[test]
fn the_limit_of_what_is_sent_keeps_nothing_of_the_protocols_back() {
    let (mut primary, worker) = start(&Options::new().send_limit(1));
    assert_eq!(worker.send("x"), Err(SendError::QueueFull { limit: 1 }));
    let opener = {
        let worker = worker.clone();
        thread::spawn(move || worker.listen_unix("/key").unwrap())
    };
    primary.open("key");
    let listener = opener.join().unwrap();
    let (mut client, seq) = primary.connect("key");
    listener.accept().unwrap().expect("a connection").write_all(b"!").unwrap();
    assert_eq!(primary.recv_cluster().ack, Some(seq));
    client.read_exact(&mut [0]).unwrap();
}

#[test]
fn a_shared_socket_that_cannot_accept_is_an_error_each_time() {
    let (mut primary, worker) = start(&Options::new());
    let opener = {
        let worker = worker.clone();
        thread::spawn(move || worker.listen("127.0.0.1:0").unwrap())
    };
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    primary.lend("key", socket.try_clone().unwrap().into());
    let listener = opener.join().unwrap();
    rustix::net::shutdown(&socket, rustix::net::Shutdown::Both).unwrap();
    for _ in 0..3 {
        assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    }
}

#[test]
fn descriptors_without_a_use_are_closed_and_counted() {
    let (mut primary, worker) = start(&Options::new());
    assert_eq!(primary.recv_cluster().body, ClusterBody::Online);
    assert_eq!(worker.unexpected_handles(), 0);
    let null = || OwnedFd::from(File::open("/dev/null").unwrap());
    primary.send_with(&Message::User("with one".into()), null());
    assert_eq!(worker.recv().unwrap(), Some("with one".into()));
    assert_eq!(worker.unexpected_handles(), 1);
    // The worker acknowledges the first before the second comes.
    assert_eq!(primary.try_recv(), None);
    primary.send_internal_with(None, ClusterBody::Other { act: "later".into() }, null());
    primary.send_user("after it");
    let receiving = {
        let worker = worker.clone();
        thread::spawn(move || worker.recv_timeout(LIMIT).unwrap())
    };
    while !receiving.is_finished() {
        readable(&primary.channel, Duration::from_millis(10));
        assert_eq!(primary.try_recv(), None);
        primary.channel.flush().unwrap();
    }
    assert_eq!(receiving.join().unwrap(), Some("after it".into()));
    assert_eq!(worker.unexpected_handles(), 2);
    drop(primary);
    assert_eq!(worker.recv().unwrap(), None);
    assert_eq!(worker.unexpected_handles(), 2, "also when the channel is closed");
}

#[test]
fn who_asks_for_counts_at_once_is_answered_each() {
    const EACH: usize = 200;
    let (mut primary, worker) = start(&Options::new());
    assert_eq!(primary.recv_cluster().body, ClusterBody::Online);
    let asking: Vec<_> = (0..4)
        .map(|_| {
            let worker = worker.clone();
            thread::spawn(move || {
                (0..EACH).all(|_| worker.count_sockets("key").unwrap() == Some(3))
            })
        })
        .collect();
    for _ in 0..4 * EACH {
        let Some(Message::SocketList(SocketList::GetCount { key })) = primary.recv() else {
            panic!("it asks")
        };
        let count = Message::SocketList(SocketList::Count { key, count: 3 });
        primary.channel.send(&count, None).unwrap();
        primary.channel.flush().unwrap();
    }
    assert!(asking.into_iter().all(|asking| asking.join().unwrap()));
}

#[test]
fn a_flush_ends_when_all_is_written_and_pressure_tells_to_wait() {
    let (mut primary, worker) = start(&Options::new());
    assert_eq!(primary.recv_cluster().body, ClusterBody::Online);
    let mut sent = 0;
    while worker.send("x".repeat(100_000)).unwrap() == Pressure::Low || sent < 20 {
        sent += 1;
    }
    let flushing = {
        let worker = worker.clone();
        thread::spawn(move || worker.flush())
    };
    for _ in 0..=sent {
        assert!(matches!(primary.recv(), Some(Message::User(_))));
    }
    flushing.join().unwrap().unwrap();
    assert_eq!(worker.send("more"), Ok(Pressure::Low));
}

/// What a primary rescued from another worker's queue comes so.
#[test]
fn who_accepts_from_a_lent_socket_takes_what_is_handed_over_too() {
    let (mut primary, worker) = start(&Options::new());
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let server = thread::spawn(move || {
        let listener = worker.listen("127.0.0.1:0").unwrap();
        // The same thread waits for both.
        for _ in 0..4 {
            listener.accept().unwrap().unwrap().write_all(b"!").unwrap();
        }
    });
    primary.lend("key", socket.into());
    assert!(matches!(primary.recv_cluster().body, ClusterBody::Listening(_)));
    for _ in 0..2 {
        let (mut rescued, seq) = primary.connect("key");
        let answer = primary.recv_cluster();
        assert_eq!((answer.ack, answer.body), (Some(seq), ClusterBody::Accepted(true)));
        rescued.read_exact(&mut [0]).unwrap();
        let mut client = std::net::TcpStream::connect(address).unwrap();
        client.read_exact(&mut [0]).unwrap();
    }
    server.join().unwrap();
}

#[test]
fn a_corked_channel_is_written_when_there_is_enough_and_at_the_end() {
    let (mut primary, worker) = start(&Options::new());
    let mut texts = move || {
        let mut texts = Vec::new();
        while let Some(message) = primary.try_recv() {
            texts.extend(match message {
                Message::User(value) => value.as_str().map(str::to_owned),
                _ => None,
            });
        }
        texts
    };
    let (corked, second) = (worker.cork(), worker.cork());
    worker.send("a").unwrap();
    worker.send("b").unwrap();
    assert_eq!(texts(), [""; 0]);
    drop(second);
    assert_eq!(texts(), ["a", "b"]);
    worker.send("c").unwrap();
    assert_eq!(texts(), [""; 0], "the first one holds on");
    // Threads that do something else are not kept waiting by it.
    assert!(matches!(worker.recv_timeout(Duration::ZERO), Ok(None)));
    assert_eq!(texts(), ["c"]);
    // No more than so much waits.
    let long = "x".repeat(1000);
    for _ in 0..20 {
        worker.send(long.as_str()).unwrap();
    }
    let written = texts().len();
    assert!((10..20).contains(&written), "{written}");
    drop(corked);
    assert_eq!(texts().len(), 20 - written);
    worker.send("d").unwrap();
    assert_eq!(texts(), ["d"], "written at once, as ever");
}
