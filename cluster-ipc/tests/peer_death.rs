//! What a peer wrote before it died is read, though nothing can be written to it any more.

mod support;

use std::sync::Arc;

use cluster_ipc::proto::HandleKind;
use cluster_ipc::{ChannelConfig, Flush, Outgoing, Pressure, Recv, SendError};
use support::{
    ACK, assert_closed, channel_and_raw, channels, next, raw_send, raw_text, tracer, user,
};

#[test]
fn its_last_words_are_read_after_a_write_failed() {
    let (mut a, mut b) = channels(ChannelConfig::default());
    for n in 0..10 {
        b.send(&user(n), None).unwrap();
    }
    b.send(&user(10), support::native(tracer().1)).unwrap();
    b.flush().unwrap();
    drop(b);

    let kept = Arc::new(tracer().1);
    a.send(&user("lost"), None).unwrap();
    a.send(&user("lost"), Some(Outgoing::new(HandleKind::NetSocket, kept.clone()))).unwrap();
    assert!(a.can_send());
    assert_eq!(a.flush().unwrap(), Flush::Done);
    assert!(!a.can_send() && a.is_idle() && !a.wants_write());
    assert_eq!(Arc::strong_count(&kept), 1, "what is not written any more is dropped");
    assert_eq!(a.queued_bytes(), 0);
    assert!(matches!(a.send(&user(1), None), Err(SendError::Closed)));

    for n in 0..=10 {
        let received = next(&mut a);
        assert_eq!((received.message, received.handle.is_some()), (user(n), n == 10));
    }
    assert_closed(&mut a);
    assert_closed(&mut a);
}

/// It died with a handle's ACK written and something of ours unread, so that the kernel tells us
/// of a reset connection.
#[test]
fn its_acks_are_taken_after_a_write_failed() {
    let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
    let outgoing = Outgoing::new(HandleKind::NetNative, tracer().1).token(3);
    channel.send(&user("m"), Some(outgoing)).unwrap();
    channel.send(&user("held"), None).unwrap();
    channel.flush().unwrap();
    raw_text(&raw);
    raw_send(&raw, format!("\"before\"\n{ACK}\"after\"\n").as_bytes(), &[]);
    drop(raw);

    assert_eq!(channel.probe(9).unwrap(), Pressure::Low);
    assert_eq!(next(&mut channel).message, user("before"));
    assert_eq!(channel.poll_answer(), None);
    // The ACK is still to come, and what it lets go is not sent.
    assert_eq!(next(&mut channel).message, user("after"));
    assert_eq!(
        channel.poll_answer().map(|answer| (answer.token, answer.delivered)),
        Some((3, true))
    );
    assert_eq!(channel.flush().unwrap(), Flush::Done);
    assert!(!channel.can_send());
    assert_closed(&mut channel);
}

#[test]
fn a_reset_connection_is_a_close() {
    let (mut a, b) = channels(ChannelConfig::default());
    a.send(&user("never read"), None).unwrap();
    a.flush().unwrap();
    drop(b);
    // Linux says ECONNRESET here, once.
    assert!(matches!(a.recv(), Ok(Recv::Closed)));
    assert!(matches!(a.recv(), Ok(Recv::Closed)));
}

#[test]
fn answers_that_come_after_the_queue_was_dropped_are_still_counted_right() {
    let (mut channel, raw) = channel_and_raw(ChannelConfig::default().gate_window(2));
    let handle = |token| Some(Outgoing::new(HandleKind::NetNative, tracer().1).token(token));
    channel.send(&user(1), handle(1)).unwrap();
    channel.flush().unwrap();
    raw_text(&raw);
    raw_send(&raw, ACK.as_bytes(), &[]);
    drop(raw);
    // Let go by the gate, never written.
    channel.send(&user(2), handle(2)).unwrap();
    channel.flush().unwrap();
    assert!(!channel.can_send());
    assert_closed(&mut channel);
    assert_eq!(channel.poll_answer().map(|answer| answer.token), Some(1));
    assert_eq!(channel.poll_answer(), None);
}
