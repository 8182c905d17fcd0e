//! Messages and descriptors arrive as they were sent, in whatever pieces.

mod support;

use cluster_ipc::proto::{ClusterBody, HandleKind, Message};
use cluster_ipc::{Channel, ChannelConfig, Outgoing, Recv, Wire};
use support::{
    ACK, channel_and_raw, channels, drain, flush_all, handle_frame, native, next, raw_send,
    raw_text, same_file, tracer, user,
};

#[test]
fn messages_and_descriptors_arrive_in_either_encoding() {
    for wire in [Wire::Json, Wire::Postcard] {
        let (mut a, mut b) = channels(ChannelConfig::default().wire(wire));
        for n in 0..10 {
            let (reader, writer) = tracer();
            let newconn = Message::cluster(n, None, ClusterBody::NewConn { key: "k:1".into() });
            a.send(&newconn, native(writer)).unwrap();
            a.send(&user(n), None).unwrap();
            flush_all(&mut a);

            let first = next(&mut b);
            assert_eq!(first.message, newconn);
            let handle = first.handle.unwrap();
            assert_eq!((handle.kind, handle.key), (HandleKind::NetNative, None));
            assert!(same_file(&handle.handle, &reader));
            flush_all(&mut b);
            assert!(matches!(a.recv().unwrap(), Recv::WouldBlock));
            flush_all(&mut a);

            let second = next(&mut b);
            assert_eq!(second.message, user(n));
            assert!(second.handle.is_none());
        }
        assert!(a.is_idle() && b.is_idle());
        assert_eq!(b.stats(), Default::default());
    }
}

#[test]
fn kind_and_key_arrive_and_the_descriptor_is_close_on_exec() {
    let (mut a, mut b) = channels(ChannelConfig::default());
    for kind in [HandleKind::NetServer, HandleKind::Other("my.Thing".into())] {
        let (_reader, writer) = tracer();
        a.send(&user("m"), Some(Outgoing::new(kind.clone(), writer).key("6::80"))).unwrap();
        flush_all(&mut a);
        let handle = next(&mut b).handle.unwrap();
        assert_eq!((handle.kind, handle.key.as_deref()), (kind, Some("6::80")));
        let flags = rustix::io::fcntl_getfd(&handle.handle).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        flush_all(&mut b);
        drain(&mut a);
    }
}

/// The first piece carries the descriptor; the receiver reads between the pieces, or not.
#[test]
fn a_frame_cut_anywhere_finds_its_descriptor() {
    let before = "\"before\"\n";
    let frame = handle_frame("net.Native", "\"with\"");
    for reads_between in [true, false] {
        for cut in 1..=frame.len() {
            let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
            let (reader, writer) = tracer();
            let mut seen = Vec::new();
            let mut read = |channel: &mut Channel| {
                if reads_between {
                    seen.extend(drain(channel));
                }
            };
            raw_send(&raw, before.as_bytes(), &[]);
            raw_send(&raw, &frame.as_bytes()[..cut], &[&writer]);
            read(&mut channel);
            if cut < frame.len() {
                raw_send(&raw, &frame.as_bytes()[cut..], &[]);
                read(&mut channel);
            }
            raw_send(&raw, b"\"after\"\n", &[]);
            seen.extend(drain(&mut channel));

            let messages: Vec<_> = seen.iter().map(|received| received.message.clone()).collect();
            assert_eq!(messages, [user("before"), user("with"), user("after")], "cut at {cut}");
            let handles: Vec<_> = seen
                .iter()
                .map(|r| r.handle.as_ref().map(|h| same_file(&h.handle, &reader)))
                .collect();
            assert_eq!(handles, [None, Some(true), None], "cut at {cut}");
            assert_eq!(channel.stats(), Default::default());
            channel.flush().unwrap();
            assert_eq!(raw_text(&raw), (ACK.into(), 0));
        }
    }
}

#[test]
fn a_descriptor_that_is_no_stream_socket_is_refused() {
    let (_reader, writer) = tracer();
    assert!(Channel::from_fd(writer, ChannelConfig::default()).is_err());
    let datagram = std::os::unix::net::UnixDatagram::unbound().unwrap();
    let error = Channel::from_fd(datagram.into(), ChannelConfig::default()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}

#[test]
fn what_is_the_channels_own_to_say_cannot_be_sent() {
    let (mut a, _b) = channels(ChannelConfig::default());
    for message in
        [Message::HandleAck, Message::HandleNack, user(1).with_handle(HandleKind::NetNative)]
    {
        assert!(a.send(&message, None).is_err(), "{message:?}");
    }
    assert!(a.is_idle());
}
