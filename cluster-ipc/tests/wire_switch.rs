//! Each direction changes its encoding behind a message that says so, answers included.

mod support;

use cluster_ipc::proto::{HandleKind, Message};
use cluster_ipc::{Channel, ChannelConfig, Outgoing, Recv, Wire, memory};
use support::{drain, user};

const MARKER: &str = "postcard from here";

fn native() -> Option<Outgoing<u8>> {
    Some(Outgoing::new(HandleKind::NetNative, 0))
}

#[test]
fn messages_and_answers_switch_at_the_marker() {
    let (a, b) = memory::pair::<u8>();
    let mut a = Channel::with_transport(a, ChannelConfig::default());
    let mut b = Channel::with_transport(b, ChannelConfig::default());

    // `a` has answers to write, and a message, a marker and another message behind them.
    b.send(&user("take this"), native()).unwrap();
    b.flush().unwrap();
    drain(&mut a);
    a.send(&user("old"), None).unwrap();
    a.send(&user(MARKER), None).unwrap();
    a.set_send_wire(Wire::Postcard);
    a.send(&user("new"), native()).unwrap();
    a.send(&user("newer"), None).unwrap();
    a.flush().unwrap();

    let mut seen = Vec::new();
    let mut read = |b: &mut Channel<_>| {
        while let Recv::Message(received) = b.recv().unwrap() {
            if received.message == user(MARKER) {
                b.set_recv_wire(Wire::Postcard);
            }
            seen.push((received.message, received.handle.is_some()));
        }
    };
    read(&mut b);
    assert!(b.handles_in_flight() == 0, "the answer was understood");
    b.flush().unwrap();
    drain(&mut a);
    // From here on `a` answers in postcard, though its marker is long gone.
    b.send(&user("and this"), native()).unwrap();
    b.flush().unwrap();
    assert_eq!(drain(&mut a).len(), 1);
    a.flush().unwrap();
    read(&mut b);
    assert!(a.is_idle() && b.is_idle());
    let expected: Vec<(Message, bool)> =
        [("old", false), (MARKER, false), ("new", true), ("newer", false)]
            .map(|(text, handle)| (user(text), handle))
            .into();
    assert_eq!(seen, expected);
}

/// The answer to a handle that arrives while the marker is half written.
#[test]
fn an_answer_behind_a_half_written_marker_is_in_the_new_encoding() {
    let (a, b) = memory::pair::<u8>();
    let mut a = Channel::with_transport(a, ChannelConfig::default());
    let mut b = Channel::with_transport(b, ChannelConfig::default());
    a.transport_mut().set_capacity(5);
    a.send(&user(MARKER), None).unwrap();
    a.set_send_wire(Wire::Postcard);
    a.flush().unwrap();
    b.send(&user(1), native()).unwrap();
    b.flush().unwrap();
    drain(&mut a);
    let mut switched = false;
    while !(a.is_idle() && b.is_idle()) {
        a.flush().unwrap();
        if let Recv::Message(received) = b.recv().unwrap() {
            assert_eq!(received.message, user(MARKER));
            b.set_recv_wire(Wire::Postcard);
            switched = true;
        }
    }
    assert!(switched);
}

/// What a Bun worker writes, and what it is answered: the bytes as they were recorded from Bun 1.4.
#[test]
fn a_peer_that_speaks_buns_dialect_is_answered_in_it() {
    use cluster_ipc::proto::{ClusterBody, HandleKind, Message};
    use cluster_ipc::{Outgoing, Transport};

    let (a, mut bun) = cluster_ipc::memory::pair::<u64>();
    let mut channel =
        cluster_ipc::Channel::with_transport(a, cluster_ipc::ChannelConfig::default());
    let online = b"\x02{\"cmd\":\"NODE_CLUSTER\",\"act\":\"online\",\"seq\":0}\n{\"hello\":1}\n";
    assert_eq!(bun.send(online, &[]).expect("there is room"), online.len());
    let received = support::drain(&mut channel);
    assert!(matches!(&received[0].message, Message::Cluster(m) if m.body == ClusterBody::Online));
    assert!(matches!(&received[1].message, Message::User(_)));

    let newconn = Message::cluster(7, None, ClusterBody::NewConn { key: "k".into() });
    channel.send(&newconn, Some(Outgoing::new(HandleKind::NetNative, 5))).expect("it is open");
    channel.flush().expect("memory does not fail");
    let mut read = |handles: &mut Vec<u64>| {
        let mut buffer = [0; 512];
        let meta = bun.recv(&mut buffer, handles).expect("it is there");
        String::from_utf8(buffer[..meta.bytes].to_vec()).expect("it is text")
    };
    let mut handles = Vec::new();
    let frame = "\u{2}{\"cmd\":\"NODE_CLUSTER\",\"act\":\"newconn\",\"key\":\"k\",\"seq\":7,\"$hasHandle\":true}\n";
    assert_eq!((read(&mut handles).as_str(), handles.as_slice()), (frame, &[5][..]));
    bun.send(b"{\"cmd\":\"NODE_HANDLE_ACK\"}\n", &[]).expect("there is room");
    channel.send(&Message::User(true.into()), None).expect("it is open");
    channel.send(&Message::cluster(8, None, ClusterBody::Disconnect), None).expect("it is open");
    assert!(support::drain(&mut channel).is_empty());
    channel.flush().expect("memory does not fail");
    let mut buffer = [0; 512];
    let meta = bun.recv(&mut buffer, &mut handles).expect("it is there");
    let rest = "true\n\u{2}{\"cmd\":\"NODE_CLUSTER\",\"act\":\"disconnect\",\"seq\":8}\n";
    assert_eq!(&buffer[..meta.bytes], rest.as_bytes());
}

/// Deno reads a probe and never answers it.
#[test]
fn a_probe_that_is_never_answered_can_be_abandoned() {
    use cluster_ipc::proto::Message;

    let (a, b) = cluster_ipc::memory::pair::<u64>();
    let mut channel =
        cluster_ipc::Channel::with_transport(a, cluster_ipc::ChannelConfig::default());
    let mut peer = b;
    channel.probe(3).expect("it is open");
    channel.send(&Message::User(1.into()), None).expect("it is open");
    assert!(!channel.awaits_probe() && !channel.abandon_probe(), "it is not written yet");
    channel.flush().expect("memory does not fail");
    assert!(channel.awaits_probe() && !channel.is_idle());
    let mut buffer = [0; 512];
    let mut read = || {
        let meta = cluster_ipc::Transport::recv(&mut peer, &mut buffer, &mut Vec::new());
        meta.map(|meta| String::from_utf8_lossy(&buffer[..meta.bytes]).into_owned())
    };
    assert!(read().expect("it is there").contains("NODE_HANDLE"));
    assert!(read().is_err(), "the message waits for the probe's answer");
    assert!(channel.abandon_probe());
    channel.flush().expect("memory does not fail");
    assert_eq!(read().expect("it is there"), "1\n");
    assert!(channel.poll_answer().is_none() && channel.is_idle());
}
