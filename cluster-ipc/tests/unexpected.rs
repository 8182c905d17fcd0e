//! Descriptors that no message speaks of are closed, and messages without theirs are refused.

mod support;

use cluster_ipc::{ChannelConfig, Recv, RecvError};
use support::{
    ACK, NACK, channel_and_raw, drain, handle_frame, is_closed, next, raw_send, raw_text, tracer,
    user,
};

#[test]
fn a_descriptor_with_a_plain_message_is_closed_and_counted() {
    let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
    let (mut reader, writer) = tracer();
    raw_send(&raw, b"\"plain\"\n", &[&writer]);
    drop(writer);
    let received = next(&mut channel);
    assert_eq!(received.message, user("plain"));
    assert!(received.handle.is_none());
    assert!(is_closed(&mut reader));
    assert_eq!(channel.stats().unexpected_handles, 1);
    channel.flush().unwrap();
    assert_eq!(raw_text(&raw), (String::new(), 0), "only handle messages are answered");
}

#[test]
fn a_second_descriptor_with_one_message_is_closed_and_counted() {
    let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
    let (mut first_reader, first) = tracer();
    let (mut second_reader, second) = tracer();
    raw_send(&raw, handle_frame("net.Native", "1").as_bytes(), &[&first, &second]);
    drop((first, second));
    let received = next(&mut channel);
    assert!(is_closed(&mut second_reader));
    assert!(!is_closed(&mut first_reader));
    drop(received);
    assert!(is_closed(&mut first_reader));
    assert_eq!(channel.stats().unexpected_handles, 1);
}

#[test]
fn descriptors_within_a_frame_are_closed_before_it_ends() {
    let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
    raw_send(&raw, b"\"a long", &[]);
    // Its first byte is read without a descriptor: what comes later is not its own.
    assert!(matches!(channel.recv().unwrap(), Recv::WouldBlock));
    for n in 1..=100 {
        let (mut reader, writer) = tracer();
        raw_send(&raw, b" frame", &[&writer]);
        drop(writer);
        assert!(matches!(channel.recv().unwrap(), Recv::WouldBlock));
        assert!(is_closed(&mut reader));
        assert_eq!(channel.stats().unexpected_handles, n);
    }
    raw_send(&raw, b"\"\n", &[]);
    assert!(next(&mut channel).handle.is_none());
}

#[test]
fn a_handle_message_without_a_descriptor_is_refused_and_not_delivered() {
    let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
    raw_send(&raw, handle_frame("net.Native", "\"lost\"").as_bytes(), &[]);
    raw_send(&raw, b"\"after\"\n", &[]);
    assert_eq!(next(&mut channel).message, user("after"));
    assert_eq!(channel.stats().missing_handles, 1);
    channel.flush().unwrap();
    assert_eq!(raw_text(&raw), (NACK.into(), 0));
}

/// It came with the bytes of the previous message: it cannot be told to which it belongs.
#[test]
fn a_descriptor_is_not_given_to_a_later_message() {
    let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
    let (mut reader, writer) = tracer();
    let frame = handle_frame("net.Native", "\"m\"");
    // The first half without it, the second half with it.
    raw_send(&raw, &frame.as_bytes()[..10], &[]);
    assert!(drain(&mut channel).is_empty());
    raw_send(&raw, &frame.as_bytes()[10..], &[&writer]);
    raw_send(&raw, frame.as_bytes(), &[]);
    drop(writer);
    assert!(drain(&mut channel).is_empty());
    assert!(is_closed(&mut reader));
    channel.flush().unwrap();
    assert_eq!(raw_text(&raw), (NACK.repeat(2), 0));
    assert_eq!((channel.stats().unexpected_handles, channel.stats().missing_handles), (1, 2));
}

#[test]
fn of_several_descriptors_at_once_the_first_is_taken_and_the_others_closed() {
    let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
    let traced: Vec<_> = (0..50).map(|_| tracer()).collect();
    let writers: Vec<_> = traced.iter().map(|(_, writer)| writer).collect();
    raw_send(&raw, handle_frame("net.Native", "1").as_bytes(), &writers);
    let received = next(&mut channel);
    let mut readers: Vec<_> = traced.into_iter().map(|(reader, _)| reader).collect();
    assert!(support::same_file(&received.handle.as_ref().unwrap().handle, &readers[0]));
    assert!(readers[1..].iter_mut().all(is_closed));
    assert!(!is_closed(&mut readers[0]));
    assert_eq!(channel.stats().unexpected_handles, 49);
    channel.flush().unwrap();
    assert_eq!(raw_text(&raw), (ACK.into(), 0));
}

#[test]
fn a_descriptor_that_is_kept_stays_open_until_its_owner_closes_it() {
    let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
    channel.keep_unexpected(2);
    let (mut reader, writer) = tracer();
    raw_send(&raw, b"\"plain\"\n", &[&writer]);
    drop(writer);
    assert_eq!(next(&mut channel).message, user("plain"));
    assert!(!is_closed(&mut reader));
    let kept = channel.take_unexpected();
    assert_eq!((kept.len(), channel.stats().unexpected_handles), (1, 1));
    drop(kept);
    assert!(is_closed(&mut reader));
}

#[test]
fn a_channel_with_too_many_unexpected_descriptors_ends_and_keeps_them_all() {
    let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
    channel.keep_unexpected(2);
    let (mut reader, writer) = tracer();
    raw_send(&raw, b"\"plain\"\n", &[&writer, &writer, &writer]);
    assert_eq!(next(&mut channel).message, user("plain"));
    // A whole frame's, and a second message that is never received.
    let frame = handle_frame("net.Native", "1");
    raw_send(&raw, format!("{frame}{frame}").as_bytes(), &[&writer]);
    drop(writer);
    match channel.recv() {
        Err(RecvError::TooManyUnexpected { limit: 2 }) => {}
        other => panic!("{other:?}"),
    }
    assert!(matches!(channel.recv(), Ok(Recv::Closed)));
    assert!(!is_closed(&mut reader));
    assert_eq!(channel.take_unexpected().len(), 3);
    assert!(!is_closed(&mut reader), "what was not read is still in the transport");
    drop(channel);
    assert!(is_closed(&mut reader));
}

/// The end of a channel keeps what it had received, a batch of the native wire as well.
#[test]
fn a_channel_that_ends_keeps_what_it_had_received() {
    let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
    channel.keep_unexpected(8);
    let (mut reader, writer) = tracer();
    // An acknowledgement that nothing waits for, with a descriptor: it ends the channel.
    let inner =
        "{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":{\"cmd\":\"NODE_HANDLE_ACK\"}}\n";
    raw_send(&raw, inner.as_bytes(), &[&writer]);
    drop(writer);
    assert!(channel.recv().is_err());
    assert!(!is_closed(&mut reader));
    assert_eq!(channel.take_unexpected().len(), 1);
    assert!(is_closed(&mut reader));
}
