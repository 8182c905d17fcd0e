//! What the sender does when the peer says that a handle did not arrive, or says it too often.

mod support;

use std::os::unix::net::UnixStream;

use cluster_ipc::proto::{HandleKind, Message, Value};
use cluster_ipc::{Channel, ChannelConfig, HandleAnswer, Outgoing, RecvError};
use support::{
    ACK, NACK, channel_and_raw, drain, handle_frame, is_closed, raw_send, raw_text, tracer, user,
};

/// The peer says that; what the channel writes then.
fn exchange(channel: &mut Channel, raw: &UnixStream, text: &str) -> (String, usize) {
    raw_send(raw, text.as_bytes(), &[]);
    assert!(drain(channel).is_empty());
    channel.flush().unwrap();
    raw_text(raw)
}

#[test]
fn a_socket_is_sent_again_wrapped_and_given_up_after_three_times() {
    for kind in [HandleKind::NetSocket, HandleKind::NetBoundSocket] {
        let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
        let (mut reader, writer) = tracer();
        let first = handle_frame(kind.name(), "\"m\"");
        let again = handle_frame("net.Native", first.trim_end());
        channel.send(&user("m"), Some(Outgoing::new(kind, writer).token(5))).unwrap();
        channel.send(&user("next"), None).unwrap();
        channel.flush().unwrap();
        assert_eq!(raw_text(&raw), (first, 1));
        for _ in 0..3 {
            assert_eq!(exchange(&mut channel, &raw, NACK), (again.clone(), 1));
            assert!(!is_closed(&mut reader), "it may have to be sent again");
            assert_eq!(channel.poll_answer(), None);
        }
        assert_eq!(exchange(&mut channel, &raw, NACK), ("\"next\"\n".into(), 0));
        assert_eq!(channel.poll_answer(), Some(HandleAnswer { token: 5, delivered: false }));
        assert_eq!(channel.stats().undelivered_handles, 1);
        assert!(is_closed(&mut reader) && channel.is_idle());
        assert_eq!(channel.queued_bytes(), 0);
    }
}

#[test]
fn other_handles_and_those_kept_open_are_not_sent_again() {
    let kinds = [
        (HandleKind::NetNative, false),
        (HandleKind::NetServer, false),
        (HandleKind::DgramNative, false),
        (HandleKind::NetSocket, true),
    ];
    for (kind, keep_open) in kinds {
        let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
        let (mut reader, writer) = tracer();
        let mut outgoing = Outgoing::new(kind, writer);
        outgoing.keep_open = keep_open;
        channel.send(&user("m"), Some(outgoing)).unwrap();
        channel.flush().unwrap();
        assert_eq!(raw_text(&raw).1, 1);
        assert!(is_closed(&mut reader), "the channel's share ends with the write");
        assert_eq!(exchange(&mut channel, &raw, NACK), (String::new(), 0));
        assert_eq!(channel.stats().undelivered_handles, 1);
        // Without a token nothing is reported.
        assert_eq!(channel.poll_answer(), None);
        assert!(channel.is_idle());
    }
}

#[test]
fn a_share_that_is_written_is_dropped_before_the_answer() {
    let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
    let (_reader, writer) = tracer();
    let mine = std::sync::Arc::new(writer);
    let outgoing = Outgoing::new(HandleKind::NetNative, mine.clone()).token(1);
    channel.send(&user("m"), Some(outgoing)).unwrap();
    assert_eq!(std::sync::Arc::strong_count(&mine), 2);
    channel.flush().unwrap();
    assert_eq!(std::sync::Arc::strong_count(&mine), 1);
    exchange(&mut channel, &raw, ACK);
    assert_eq!(channel.poll_answer(), Some(HandleAnswer { token: 1, delivered: true }));
    assert_eq!(channel.poll_answer(), None);
}

/// A Node peer answers each of the two wrappings.
#[test]
fn a_double_ack_to_a_frame_sent_again_is_not_taken_for_the_next_ones() {
    let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
    let socket = |token| Some(Outgoing::new(HandleKind::NetSocket, tracer().1).token(token));
    channel.send(&user("a"), socket(1)).unwrap();
    channel.send(&user("b"), socket(2)).unwrap();
    channel.flush().unwrap();
    exchange(&mut channel, &raw, NACK);
    let (text, count) = exchange(&mut channel, &raw, &ACK.repeat(2));
    assert_eq!((text, count), (handle_frame("net.Socket", "\"b\""), 1));
    assert_eq!(channel.poll_answer(), Some(HandleAnswer { token: 1, delivered: true }));
    assert_eq!(channel.poll_answer(), None, "the second is not delivered yet");
    exchange(&mut channel, &raw, ACK);
    assert_eq!(channel.poll_answer(), Some(HandleAnswer { token: 2, delivered: true }));
    // Only one too many is allowed.
    raw_send(&raw, ACK.as_bytes(), &[]);
    assert!(matches!(channel.recv(), Err(RecvError::UnexpectedAnswer)));
}

#[test]
fn an_answer_to_nothing_ends_the_channel() {
    for answer in [ACK, NACK] {
        let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
        channel.send(&user("plain"), None).unwrap();
        channel.flush().unwrap();
        raw_send(&raw, answer.as_bytes(), &[]);
        assert!(matches!(channel.recv(), Err(RecvError::UnexpectedAnswer)));
    }
}

#[test]
fn an_answer_to_what_is_not_written_yet_ends_the_channel() {
    let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
    let outgoing = Outgoing::new(HandleKind::NetNative, tracer().1).token(1);
    channel.send(&user("m"), Some(outgoing)).unwrap();
    raw_send(&raw, ACK.as_bytes(), &[]);
    assert!(matches!(channel.recv(), Err(RecvError::UnexpectedAnswer)));
    assert_eq!(channel.poll_answer(), None);
}

#[test]
fn an_acknowledgement_in_a_handle_is_refused() {
    let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
    channel.send(&user("m"), Some(Outgoing::new(HandleKind::NetNative, tracer().1))).unwrap();
    channel.flush().unwrap();
    let frame = handle_frame("net.Native", ACK.trim_end());
    raw_send(&raw, frame.as_bytes(), &[&tracer().1]);
    assert!(matches!(channel.recv(), Err(RecvError::UnexpectedAnswer)));
}

/// Sent again it is wrapped twice: there must be room for that from the beginning.
#[test]
fn what_could_not_be_sent_again_is_refused_with_its_handle() {
    let nested = |levels| (1..levels).fold(Value::Array(Vec::new()), |v, _| vec![v].into());
    for (levels, fits) in [(125, true), (126, false)] {
        let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
        let (mut reader, writer) = tracer();
        let outgoing = Outgoing::new(HandleKind::NetSocket, writer);
        let sent = channel.send(&Message::User(nested(levels)), Some(outgoing));
        assert_eq!(sent.is_ok(), fits, "{sent:?}");
        channel.flush().unwrap();
        if fits {
            assert_eq!(raw_text(&raw).1, 1);
            assert_eq!(exchange(&mut channel, &raw, NACK).1, 1);
        } else {
            assert!(is_closed(&mut reader) && channel.is_idle());
        }
    }
}
