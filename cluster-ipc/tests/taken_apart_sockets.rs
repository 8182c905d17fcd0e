//! Channels on real sockets, taken apart in the middle of frames with real descriptors.

mod support;

use std::os::fd::OwnedFd;

use cluster_ipc::proto::{ClusterBody, HandleKind, Message};
use cluster_ipc::{
    Channel, ChannelConfig, ChannelState, Flush, HandleAnswer, Outgoing, Parts, Recv, Socket, Wire,
};
use mio::{Events, Interest, Poll, Token};
use support::{
    channel_and_raw, channels, drain, handle_frame, next, raw_send, same_file, tracer, user,
};

/// As it comes out of another process: only descriptors and a text are left of it.
fn put_together(channel: Channel) -> Channel {
    let Parts { transport, state, handles } = channel.into_parts();
    let socket = OwnedFd::from(transport);
    let text = serde_json::to_string(&state).unwrap();
    let state: ChannelState = serde_json::from_str(&text).unwrap();
    let transport = Socket::from_fd(socket).unwrap();
    Channel::from_parts(Parts { transport, state, handles }).unwrap()
}

#[test]
fn a_half_written_frame_is_whole_in_the_end_and_has_its_descriptor() {
    for (kind, wire) in [
        (HandleKind::NetNative, Wire::Json),
        (HandleKind::NetNative, Wire::Advanced),
        (HandleKind::NetSocket, Wire::Postcard),
    ] {
        let (mut a, mut b) = channels(ChannelConfig::default().wire(wire));
        let (_readers, writers): (Vec<_>, Vec<_>) = [tracer(), tracer()].into_iter().unzip();
        let large = user("x".repeat(1 << 20));
        for (token, writer) in (0..).zip(&writers) {
            let writer = writer.try_clone().unwrap();
            let outgoing = Outgoing::new(kind.clone(), writer).token(token);
            a.send(&large, Some(outgoing)).unwrap();
        }
        assert_eq!(a.flush().unwrap(), Flush::Blocked);
        let (mut seen, mut reported) = (Vec::new(), Vec::new());
        while seen.len() < 2 || reported.len() < 2 {
            a = put_together(a);
            a.flush().unwrap();
            b = put_together(b);
            seen.extend(drain(&mut b));
            b.flush().unwrap();
            drain(&mut a);
            reported.extend(std::iter::from_fn(|| a.poll_answer()));
        }
        for (received, writer) in seen.iter().zip(&writers) {
            assert_eq!(received.message, large);
            let handle = received.handle.as_ref().expect("each came with one");
            assert!(same_file(&handle.handle, writer));
        }
        let delivered = |token| HandleAnswer { token, delivered: true };
        assert_eq!(reported, [delivered(0), delivered(1)]);
    }
}

#[test]
fn a_half_read_frame_keeps_its_descriptor() {
    let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
    let (_reader, writer) = tracer();
    let frame = handle_frame("net.Native", "\"m\"");
    let (first, rest) = frame.as_bytes().split_at(20);
    raw_send(&raw, first, &[&writer]);
    assert!(drain(&mut channel).is_empty());
    let mut channel = put_together(channel);
    raw_send(&raw, rest, &[]);
    let received = next(&mut channel);
    assert_eq!(received.message, user("m"));
    assert!(same_file(received.handle.unwrap().handle, writer));
}

#[test]
fn of_a_batch_the_rest_is_received_afterwards() {
    let (mut primary, mut worker) = channels(ChannelConfig::default().wire(Wire::Postcard));
    let (_readers, writers): (Vec<_>, Vec<_>) = (0..5).map(|_| tracer()).unzip();
    for seq in 0..5 {
        let body = ClusterBody::NewConn { key: "k".into() };
        primary.send_lent(Message::cluster(seq, None, body), seq).unwrap();
    }
    let mut primary = put_together(primary);
    primary.flush_with(|number| writers.get(number as usize)).unwrap();
    assert!(put_together(primary).has_arrived(4));
    for (seq, writer) in (0..).zip(&writers) {
        worker = put_together(worker);
        let received = next(&mut worker);
        assert!(matches!(received.message, Message::Cluster(message) if message.seq == seq));
        assert!(same_file(received.handle.unwrap().handle, writer));
    }
}

#[test]
fn after_a_registration_it_reports_what_came_meanwhile() {
    let (mut channel, raw) = channel_and_raw(ChannelConfig::default().short_reads(true));
    let poll = Poll::new().unwrap();
    poll.registry().register(&mut channel, Token(0), Interest::READABLE).unwrap();
    raw_send(&raw, b"1\n", &[]);
    assert_eq!(next(&mut channel).message, user(1));
    raw_send(&raw, b"2\n", &[]);
    // Its last read was short: it waits for an event that will never be taken.
    drop(poll);
    let mut channel = put_together(channel);
    let mut poll = Poll::new().unwrap();
    poll.registry().register(&mut channel, Token(0), Interest::READABLE).unwrap();
    let mut events = Events::with_capacity(8);
    poll.poll(&mut events, None).unwrap();
    assert!(events.iter().any(|event| event.token() == Token(0) && event.is_readable()));
    channel.note_readable(false);
    let Recv::Message(received) = channel.recv().unwrap() else { panic!("it is there") };
    assert_eq!(received.message, user(2));
}
