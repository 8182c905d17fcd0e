//! The native wire: one marker each way, and many connections, or many answers, in one frame.

mod support;

use std::collections::BTreeMap;

use cluster_ipc::proto::native::{self, MAX_CONNECTIONS};
use cluster_ipc::proto::{ClusterBody, HandleKind, Message, Object, ServerKey, Value};
use cluster_ipc::{
    Channel, ChannelConfig, Flush, Outgoing, Received, Recv, RecvError, SendError, Wire, memory,
};
use support::{channels, drain, tracer, user};

type End = Channel<memory::MemoryTransport<u64>>;

fn pair(config: ChannelConfig) -> (End, End) {
    let (a, b) = memory::pair();
    (Channel::with_transport(a, config.clone()), Channel::with_transport(b, config))
}

/// A primary and a worker that speak the native wire already.
fn negotiated() -> (End, End) {
    let (mut primary, mut worker) = pair(ChannelConfig::default().native(true));
    primary.negotiate(native::VERSION).unwrap();
    primary.flush().unwrap();
    assert!(drain(&mut worker).is_empty());
    worker.flush().unwrap();
    assert!(drain(&mut primary).is_empty());
    (primary, worker)
}

fn newconn(seq: u64, key: &str) -> Message {
    Message::cluster(seq, None, ClusterBody::NewConn { key: key.into() })
}

fn answer(seq: u64, ack: u64, accepted: bool) -> Message {
    Message::cluster(seq, Some(ack), ClusterBody::Accepted(accepted))
}

/// Lends handles that are ten times their number.
fn lent(seqs: impl IntoIterator<Item = u64>) -> BTreeMap<u64, u64> {
    seqs.into_iter().map(|seq| (seq, seq * 10)).collect()
}

fn flush(channel: &mut End, handles: &BTreeMap<u64, u64>) -> Flush {
    channel.flush_with(|number| handles.get(&number)).unwrap()
}

fn connections(received: Vec<Received<u64>>) -> Vec<(Message, u64)> {
    let with_handle = |received: Received<u64>| {
        let handle = received.handle.expect("a connection has a handle");
        assert_eq!((handle.kind, handle.key), (HandleKind::NetNative, None));
        (received.message, handle.handle)
    };
    received.into_iter().map(with_handle).collect()
}

/// What a memory channel carries that speaks Node's wire only: the other end sees it as it is.
fn marker_of(offered: u32) -> Option<u32> {
    let (a, b) = memory::pair::<u64>();
    let mut primary = Channel::with_transport(a, ChannelConfig::default().native(true));
    let mut other = Channel::with_transport(b, ChannelConfig::default());
    primary.negotiate(offered).unwrap();
    primary.flush().unwrap();
    native::marked(&drain(&mut other).pop().expect("it is told").message)
}

#[test]
fn a_newer_peer_is_told_the_newest_version_that_both_speak() {
    assert_eq!(marker_of(native::VERSION + 6), Some(native::VERSION));
    assert_eq!(marker_of(native::VERSION), Some(native::VERSION));
}

#[test]
fn an_unknown_version_ends_the_channel() {
    for unknown in [0, native::VERSION + 1, u32::MAX] {
        let (a, b) = memory::pair::<u64>();
        let mut peer = Channel::with_transport(a, ChannelConfig::default());
        let mut worker = Channel::with_transport(b, ChannelConfig::default().native(true));
        peer.send(&native::marker(unknown), None).unwrap();
        peer.flush().unwrap();
        let failed = worker.recv();
        assert!(
            matches!(failed, Err(RecvError::UnknownVersion { version }) if version == unknown),
            "{failed:?}"
        );
        assert!(matches!(worker.recv(), Ok(Recv::Closed)));
    }
}

#[test]
fn each_direction_changes_at_its_own_marker() {
    let (mut primary, mut worker) = pair(ChannelConfig::default().native(true));
    worker.send(&user("in JSON"), None).unwrap();
    worker.flush().unwrap();
    primary.send(&user("in JSON too"), None).unwrap();
    primary.negotiate(native::VERSION).unwrap();
    primary.negotiate(native::VERSION).unwrap();
    primary.send(&user("native"), None).unwrap();
    primary.flush().unwrap();
    let texts = |received: Vec<Received<u64>>| -> Vec<Message> {
        received.into_iter().map(|received| received.message).collect()
    };
    assert_eq!(texts(drain(&mut primary)), [user("in JSON")]);
    assert_eq!(texts(drain(&mut worker)), [user("in JSON too"), user("native")]);
    worker.send(&user("native as well"), None).unwrap();
    worker.flush().unwrap();
    assert_eq!(texts(drain(&mut primary)), [user("native as well")]);
}

#[test]
fn a_marker_that_is_not_wanted_is_a_message_like_others() {
    let (mut a, mut b) = pair(ChannelConfig::default());
    a.send(&native::marker(1), None).unwrap();
    a.flush().unwrap();
    assert_eq!(drain(&mut b)[0].message, native::marker(1));
}

#[test]
fn connections_for_one_server_share_a_write_and_a_frame() {
    let (mut primary, mut worker) = negotiated();
    let all: Vec<u64> = (0..600).map(|n| n * 3).collect();
    for seq in &all {
        primary.send_lent(newconn(*seq, "k"), *seq).unwrap();
    }
    assert!(!primary.has_arrived(0));
    assert_eq!(flush(&mut primary, &lent(all.clone())), Flush::Done);
    assert!(primary.has_arrived(599 * 3) && !primary.has_arrived(599 * 3 + 1));
    assert_eq!(primary.queued_bytes(), 0);
    // 253, 253 and 94 of them: three reads, each with the handles of one frame.
    let mut reads = 0;
    let mut received = Vec::new();
    let mut before = worker.received_bytes();
    while let Recv::Message(message) = worker.recv().unwrap() {
        received.push(message);
        reads += usize::from(worker.received_bytes() != before);
        before = worker.received_bytes();
    }
    assert_eq!(reads, 600_usize.div_ceil(MAX_CONNECTIONS));
    let expected: Vec<_> = all.iter().map(|seq| (newconn(*seq, "k"), seq * 10)).collect();
    assert_eq!(connections(received), expected);
    assert!(primary.is_idle() && worker.is_idle(), "they are not acknowledged");
}

#[test]
fn everything_arrives_in_the_order_of_its_sending() {
    let (mut primary, mut worker) = negotiated();
    primary.send_lent(newconn(1, "a"), 1).unwrap();
    primary.send_lent(newconn(2, "b"), 2).unwrap();
    primary.send_lent(newconn(3, "b"), 3).unwrap();
    primary.send(&user("between"), None).unwrap();
    primary.send_lent(newconn(4, "b"), 4).unwrap();
    flush(&mut primary, &lent(1..5));
    let seen: Vec<_> = drain(&mut worker).into_iter().map(|r| r.message).collect();
    let expected =
        [newconn(1, "a"), newconn(2, "b"), newconn(3, "b"), user("between"), newconn(4, "b")];
    assert_eq!(seen, expected);

    for message in [answer(0, 1, true), answer(1, 2, false), user("between"), answer(3, 3, true)] {
        worker.send(&message, None).unwrap();
    }
    worker.flush().unwrap();
    worker.send(&answer(4, 4, true), None).unwrap();
    worker.flush().unwrap();
    let seen: Vec<_> = drain(&mut primary).into_iter().map(|r| r.message).collect();
    let expected = [
        answer(0, 1, true),
        answer(1, 2, false),
        user("between"),
        answer(3, 3, true),
        answer(4, 4, true),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn a_connection_behind_a_handle_that_is_not_acknowledged_waits() {
    let (mut primary, mut worker) = negotiated();
    primary.send(&user("take"), Some(Outgoing::new(HandleKind::NetServer, 7))).unwrap();
    primary.send_lent(newconn(1, "k"), 1).unwrap();
    flush(&mut primary, &lent(1..2));
    assert_eq!(drain(&mut worker).len(), 1);
    assert!(!primary.has_arrived(1));
    worker.flush().unwrap();
    drain(&mut primary);
    flush(&mut primary, &lent(1..2));
    assert_eq!(connections(drain(&mut worker)), [(newconn(1, "k"), 10)]);
}

/// A worker out of descriptors: the kernel gives it the first ones.
#[test]
fn connections_whose_descriptors_do_not_arrive_are_answered_as_refused() {
    let (mut primary, mut worker) = negotiated();
    worker.transport_mut().set_handle_limit(2);
    for seq in 1..=4 {
        primary.send_lent(newconn(seq, "k"), seq).unwrap();
    }
    flush(&mut primary, &lent(1..5));
    assert_eq!(connections(drain(&mut worker)), [(newconn(1, "k"), 10), (newconn(2, "k"), 20)]);
    assert_eq!(worker.stats().missing_handles, 2);
    worker.flush().unwrap();
    let seen: Vec<_> = drain(&mut primary).into_iter().map(|r| r.message).collect();
    assert_eq!(seen, [answer(0, 3, false), answer(0, 4, false)]);
}

#[test]
fn a_frame_that_is_written_in_pieces_is_whole_in_the_end() {
    let (mut primary, mut worker) = negotiated();
    primary.transport_mut().set_capacity(5);
    let handles = lent(0..40);
    for seq in 0..40 {
        primary.send_lent(newconn(seq, "a key of some length"), seq).unwrap();
    }
    let mut seen = Vec::new();
    // Its answers to the worker's handles must not come into the middle of a frame.
    worker.send(&user("take"), Some(Outgoing::new(HandleKind::NetNative, 7))).unwrap();
    worker.flush().unwrap();
    while flush(&mut primary, &handles) == Flush::Blocked {
        drain(&mut primary);
        seen.extend(drain(&mut worker));
    }
    seen.extend(drain(&mut worker));
    let expected: Vec<_> =
        (0..40).map(|seq| (newconn(seq, "a key of some length"), seq * 10)).collect();
    assert_eq!(connections(seen), expected);
    assert_eq!(worker.handles_in_flight(), 0);
}

#[test]
fn a_lent_handle_on_nodes_wire_has_a_frame_of_its_own() {
    let (mut primary, mut worker) = pair(ChannelConfig::default());
    let handles = lent(1..3);
    primary.send_lent(newconn(1, "k"), 1).unwrap();
    primary.send_lent(newconn(2, "k"), 2).unwrap();
    flush(&mut primary, &handles);
    assert_eq!(connections(drain(&mut worker)), [(newconn(1, "k"), 10), (newconn(2, "k"), 20)]);
    assert!(!primary.has_arrived(1));
    worker.flush().unwrap();
    drain(&mut primary);
    assert!(primary.has_arrived(2));
    assert_eq!(primary.poll_answer(), None, "of those that arrive nothing is reported");
}

#[test]
fn a_lent_handle_that_is_gone_is_an_error_and_nothing_is_lost() {
    for wire in [Wire::Json, Wire::Postcard] {
        let (mut primary, mut worker) = pair(ChannelConfig::default().wire(wire));
        primary.send_lent(newconn(1, "k"), 1).unwrap();
        let error = primary.flush_with(|_| None).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        flush(&mut primary, &lent(1..2));
        assert_eq!(connections(drain(&mut worker)).len(), 1);
    }
}

#[test]
fn answers_that_the_peer_does_not_read_have_a_limit() {
    let config = ChannelConfig::default().wire(Wire::Postcard).queue_limit(100);
    let (_primary, mut worker) = pair(config);
    let refused = (0..).find_map(|n| worker.send(&answer(n, n, true), None).err());
    assert!(matches!(refused, Some(SendError::QueueFull { limit }) if limit > 100));
    assert_eq!(worker.send(&user("x"), None).ok(), None);
}

#[test]
fn a_broken_batch_ends_the_channel() {
    for payload in [&[3][..], &[3, 1, b'k'], &[3, 0, 0x80], &[4, 0, 0x80, 0x80], &[4]] {
        let (mut a, b) = memory::pair::<u64>();
        let mut b = Channel::with_transport(b, ChannelConfig::default().wire(Wire::Postcard));
        let frame = [&(payload.len() as u32).to_be_bytes(), payload].concat();
        cluster_ipc::Transport::send(&mut a, &frame, &[]).unwrap();
        assert!(matches!(b.recv(), Err(RecvError::Decode(_))), "{payload:?}");
        assert!(matches!(b.recv(), Ok(Recv::Closed)));
    }
}

/// Once it has been busy for a while a channel takes no memory for connections, answers and small
/// messages.
#[test]
fn the_steady_state_takes_no_memory() {
    let (mut primary, mut worker) = channels(ChannelConfig::default().wire(Wire::Postcard));
    let (_reader, connection) = tracer();
    let key = ServerKey::from("127.0.0.1:80:4:undefined");
    let message = user(7);
    let (mut seq, mut answered) = (0, 0);
    let mut round = || {
        for _ in 0..300 {
            let body = ClusterBody::NewConn { key: key.clone() };
            primary.send_lent(Message::cluster(seq, None, body), seq).unwrap();
            seq += 1;
        }
        primary.send(&message, None).unwrap();
        assert_eq!(primary.flush_with(|_| Some(&connection)).unwrap(), Flush::Done);
        let mut connections = 0;
        while let Recv::Message(received) = worker.recv().unwrap() {
            if let Message::Cluster(connection) = received.message {
                worker.send(&answer(answered, connection.seq, true), None).unwrap();
                (answered, connections) = (answered + 1, connections + 1);
            }
            worker.send(&message, None).unwrap();
        }
        assert_eq!(worker.flush().unwrap(), Flush::Done);
        let mut answers = 0;
        while let Recv::Message(received) = primary.recv().unwrap() {
            answers += usize::from(matches!(received.message, Message::Cluster(_)));
        }
        assert_eq!((connections, answers), (300, 300));
    };
    (0..3).for_each(|_| round());
    let taken = allocation_counter::measure(|| (0..20).for_each(|_| round()));
    assert_eq!(taken.count_total, 0, "{taken:?}");
}

/// What a small message costs in allocations: nothing where it is sent, and where it arrives what it
/// consists of: a text one, an object two for itself and one for each name and each text.
#[test]
fn a_small_message_takes_the_memory_that_it_consists_of() {
    let object = Object::new().with("id", 7).with("ok", true).with("name", "x");
    for (value, parts) in
        [(Value::from(7), 0), (Value::from("hello"), 1), (Value::from(object), 2 + 3 + 1)]
    {
        let (mut primary, mut worker) = channels(ChannelConfig::default().wire(Wire::Postcard));
        let message = Message::User(value);
        let mut arrived = Vec::with_capacity(1000);
        let mut round = |messages: usize| {
            arrived.clear();
            let sent = allocation_counter::measure(|| {
                for _ in 0..messages {
                    primary.send(&message, None).unwrap();
                }
                assert_eq!(primary.flush().unwrap(), Flush::Done);
            });
            let received = allocation_counter::measure(|| {
                while let Recv::Message(received) = worker.recv().unwrap() {
                    arrived.push(received);
                }
            });
            assert_eq!(arrived.len(), messages);
            (sent.count_total, received.count_total)
        };
        for _ in 0..3 {
            round(1000);
        }
        assert_eq!(round(1000), (0, 1000 * parts), "{message:?}");
    }
}
