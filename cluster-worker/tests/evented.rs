//! The evented front-end against a primary in the same process.

#[path = "support/primary.rs"]
#[expect(dead_code, reason = "the blocking tests use the rest")]
mod primary;

use cluster_proto::ClusterBody;
use cluster_worker::event::{Event, EventedWorker};
use cluster_worker::{Options, Pressure};
use mio::{Events, Interest, Poll, Token};
use primary::{LIMIT, Primary};

struct Loop {
    worker: EventedWorker,
    poll: Poll,
    events: Events,
}

impl Loop {
    fn new() -> (Primary, Self) {
        let (primary, fd) = Primary::new();
        let mut worker = Options::new().exit_when_orphaned(false).evented(1, fd).unwrap();
        let poll = Poll::new().unwrap();
        poll.registry().register(&mut worker, Token(7), Interest::READABLE).unwrap();
        (primary, Self { worker, poll, events: Events::with_capacity(8) })
    }

    /// The next event, found as the documentation says.
    fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.worker.next_event() {
                return event;
            }
            let timeout = self.worker.timeout();
            self.poll.poll(&mut self.events, timeout.or(Some(LIMIT))).unwrap();
            assert!(timeout.is_some() || !self.events.is_empty(), "nothing comes");
            self.worker.process().unwrap();
        }
    }
}

#[test]
fn more_than_one_burst_arrives() {
    let (mut primary, mut lp) = Loop::new();
    for n in 0..1000 {
        primary.send_user(n);
    }
    for n in 0..1000 {
        assert!(
            matches!(lp.next(), Event::Message(received) if received.message.as_u64() == Some(n))
        );
        // What did not fit before may now.
        primary.channel.flush().unwrap();
    }
}

/// What the primary has got so far; what was written is there at once.
fn arrived(primary: &mut Primary) -> usize {
    let mut count = 0;
    while let Ok(cluster_ipc::Recv::Message(_)) = primary.channel.recv() {
        count += 1;
    }
    count
}

#[test]
fn the_first_message_goes_at_once_and_the_others_with_the_next_look() {
    let (mut primary, mut lp) = Loop::new();
    while lp.worker.next_event().is_some() {}
    assert_eq!(arrived(&mut primary), 1, "online");
    for n in 0..10 {
        lp.worker.send(n).unwrap();
    }
    assert_eq!(arrived(&mut primary), 1);
    assert!(lp.worker.next_event().is_none());
    assert_eq!(arrived(&mut primary), 9);
    lp.worker.send(1).unwrap();
    lp.worker.send(2).unwrap();
    assert!(lp.worker.flush());
    assert_eq!(arrived(&mut primary), 2);
    // As much as a write takes does not wait for more.
    lp.worker.send(1).unwrap();
    lp.worker.send("x".repeat(20_000)).unwrap();
    assert_eq!(arrived(&mut primary), 2);
}

#[test]
fn answers_to_what_came_together_go_together() {
    let (mut primary, mut lp) = Loop::new();
    while lp.worker.next_event().is_some() {}
    assert_eq!(arrived(&mut primary), 1, "online");
    for n in 0..5 {
        primary.send_user(n);
    }
    for n in 0..5 {
        let Event::Message(received) = lp.next() else { panic!("only messages come") };
        lp.worker.send(received.message).unwrap();
        if n == 0 {
            assert_eq!(arrived(&mut primary), 1, "the first at once");
        }
    }
    // At the latest when there is no more to take.
    assert!(lp.worker.next_event().is_none());
    assert_eq!(arrived(&mut primary), 4);
}

/// It may be the look itself that writes what waited.
#[test]
fn who_looks_when_there_is_room_again_hears_that_all_is_written() {
    let (mut primary, mut lp) = Loop::new();
    while lp.worker.next_event().is_some() {}
    let text = "x".repeat(1000);
    while lp.worker.send(text.as_str()).unwrap() != Pressure::High {}
    assert!(!lp.worker.is_flushed());
    // As fast as the primary reads it is written: here, or by `is_flushed`.
    loop {
        arrived(&mut primary);
        match lp.worker.next_event() {
            Some(Event::Drained) => break,
            Some(other) => panic!("{other:?}"),
            None => assert!(!lp.worker.is_flushed(), "all is written, and the loop was not told"),
        }
    }
}

#[test]
fn the_end_of_the_last_connection_wakes_the_loop() {
    let (mut primary, mut lp) = Loop::new();
    let server = lp.worker.listen_unix("/key").unwrap();
    primary.answer_listen("key");
    assert!(matches!(lp.next(), Event::Listening { .. }));
    assert!(matches!(primary.recv_cluster().body, ClusterBody::Listening(_)));
    let (_client, seq) = primary.connect("key");
    let Event::Connection { stream, server: its } = lp.next() else { panic!() };
    assert_eq!(its, server);
    assert_eq!(primary.recv_cluster().ack, Some(seq));
    primary.send_internal(None, ClusterBody::Disconnect);
    assert!(matches!(lp.next(), Event::Closed { .. }));
    assert!(lp.worker.next_event().is_none());
    assert!(lp.worker.is_connected());
    let other = std::thread::spawn(move || drop(stream));
    assert!(matches!(lp.next(), Event::Disconnected));
    assert!(lp.worker.next_event().is_none());
    assert_eq!(lp.worker.exited_after_disconnect(), Some(true));
    other.join().unwrap();
}

/// Who dies loses no connection but those that it was about to see.
#[test]
fn few_connections_are_accepted_before_they_are_seen() {
    let (mut primary, mut lp) = Loop::new();
    let keys = ["one", "two"];
    for key in keys {
        lp.worker.listen_unix(&*format!("/{key}")).unwrap();
        primary.answer_listen(key);
        assert!(matches!(lp.next(), Event::Listening { .. }));
        assert!(matches!(primary.recv_cluster().body, ClusterBody::Listening(_)));
    }
    let mut clients = Vec::new();
    let mut ready = 0;
    let mut accepted = 0;
    // A worker takes one descriptor at a time from such a primary: it must have acknowledged it.
    while ready < 40 {
        clients.push(primary.connect(keys[ready % 2]));
        lp.worker.process().unwrap();
        primary.channel.flush().unwrap();
        assert_eq!(arrived(&mut primary), 0, "none is accepted that was not asked for");
        ready += 1;
    }
    for seen in 1..=40 {
        assert!(matches!(lp.next(), Event::Connection { .. }));
        accepted += arrived(&mut primary);
        assert!((seen..seen + 8).contains(&accepted), "{accepted} when {seen} were seen");
    }
    assert_eq!(accepted, 40);
}

#[test]
fn a_server_that_is_closed_says_so() {
    let (mut primary, mut lp) = Loop::new();
    let server = lp.worker.listen("127.0.0.1:0").unwrap();
    primary.answer_listen("key");
    assert!(matches!(lp.next(), Event::Listening { .. }));
    assert!(matches!(primary.recv_cluster().body, ClusterBody::Listening(_)));
    let (_client, seq) = primary.connect("key");
    lp.worker.close(server);
    assert!(matches!(lp.next(), Event::Closed { server: its } if its == server));
    assert!(matches!(primary.recv_cluster().body, ClusterBody::Close { .. }));
    // It had come, or comes after: either way it is not kept.
    lp.worker.process().unwrap();
    let answer = primary.recv_cluster();
    assert_eq!((answer.ack, answer.body), (Some(seq), ClusterBody::Accepted(false)));
}

#[test]
fn a_primary_that_goes_is_the_last_event() {
    let (primary, mut lp) = Loop::new();
    drop(primary);
    assert!(matches!(lp.next(), Event::Disconnected));
    assert_eq!(lp.worker.exited_after_disconnect(), Some(false));
}

#[test]
fn a_shared_socket_that_cannot_accept_is_tried_again() {
    let (mut primary, mut lp) = Loop::new();
    let server = lp.worker.listen("127.0.0.1:0").unwrap();
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    primary.lend("key", socket.try_clone().unwrap().into());
    assert!(matches!(lp.next(), Event::Listening { .. }));
    assert_eq!(lp.worker.timeout(), None);
    rustix::net::shutdown(&socket, rustix::net::Shutdown::Both).unwrap();
    for _ in 0..3 {
        let Event::AcceptFailed { server: its, error } = lp.next() else { panic!() };
        assert_eq!((its, error.kind()), (server, std::io::ErrorKind::InvalidInput));
        assert!(lp.worker.next_event().is_none(), "it spins");
        assert!(lp.worker.timeout().is_some(), "it stalls");
    }
    rustix::net::listen(&socket, 16).unwrap();
    let _client = std::net::TcpStream::connect(socket.local_addr().unwrap()).unwrap();
    assert!(matches!(lp.next(), Event::Connection { .. }));
    assert_eq!(lp.worker.timeout(), None);
}

/// What a primary rescued from another worker's queue comes so.
#[test]
fn who_accepts_from_a_lent_socket_takes_what_is_handed_over_too() {
    let (mut primary, mut lp) = Loop::new();
    let server = lp.worker.listen("127.0.0.1:0").unwrap();
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    primary.lend("key", socket.try_clone().unwrap().into());
    assert!(matches!(lp.next(), Event::Listening { .. }));
    assert!(matches!(primary.recv_cluster().body, ClusterBody::Listening(_)));
    for _ in 0..3 {
        let (_rescued, seq) = primary.connect("key");
        assert!(matches!(lp.next(), Event::Connection { server: its, .. } if its == server));
        let answer = primary.recv_cluster();
        assert_eq!((answer.ack, answer.body), (Some(seq), ClusterBody::Accepted(true)));
        let _client = std::net::TcpStream::connect(socket.local_addr().unwrap()).unwrap();
        assert!(matches!(lp.next(), Event::Connection { server: its, .. } if its == server));
    }
}
