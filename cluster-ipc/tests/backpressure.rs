//! A peer that does not read makes the sender wait, not grow; nothing is lost or cut.

mod support;

use cluster_ipc::proto::HandleKind;
use cluster_ipc::{ChannelConfig, Flush, Outgoing, Pressure, SendError, Wire};
use support::{channels, drain, flush_all, handle_frame, next, same_file, tracer, user};

#[test]
fn the_high_water_mark_is_nodes() {
    let (mut a, mut b) = channels(ChannelConfig::default());
    let message = user("x".repeat(1021));
    // 1024 bytes with quotes and newline; below 128 KiB `send()` returns true.
    for _ in 0..127 {
        assert_eq!(a.send(&message, None).unwrap(), Pressure::Low);
    }
    assert_eq!(a.queued_bytes(), 127 << 10);
    assert_eq!(a.send(&message, None).unwrap(), Pressure::High);
    flush_all(&mut a);
    assert_eq!(a.queued_bytes(), 0);
    assert_eq!(a.send(&message, None).unwrap(), Pressure::Low);
    assert_eq!(drain(&mut b).len(), 128);
}

#[test]
fn what_the_gate_holds_back_counts() {
    let (mut a, mut b) = channels(ChannelConfig::default().high_water(100));
    a.send(&user(1), support::native(tracer().1)).unwrap();
    a.flush().unwrap();
    assert_eq!(a.queued_bytes(), 0);
    assert_eq!(a.send(&user("x".repeat(96)), None).unwrap(), Pressure::Low);
    assert_eq!(a.send(&user(2), None).unwrap(), Pressure::High);
    assert_eq!(a.flush().unwrap(), Flush::Done);
    assert!(!a.wants_write() && !a.is_idle());
    assert_eq!(a.queued_bytes(), 101);
    drain(&mut b);
    b.flush().unwrap();
    drain(&mut a);
    assert!(a.wants_write());
    flush_all(&mut a);
    assert_eq!(a.queued_bytes(), 0);
}

#[test]
fn a_full_queue_refuses_and_keeps_what_it_has() {
    let (mut a, mut b) = channels(ChannelConfig::default().queue_limit(12));
    a.send(&user("abc"), None).unwrap();
    a.send(&user("abc"), None).unwrap();
    assert!(matches!(a.send(&user("abc"), None), Err(SendError::QueueFull { limit: 12 })));
    assert_eq!(a.queued_bytes(), 12);
    // An answer is not refused.
    b.send(&user(1), Some(Outgoing::new(HandleKind::NetNative, tracer().1))).unwrap_err();
    flush_all(&mut a);
    a.send(&user("abc"), None).unwrap();
    flush_all(&mut a);
    assert_eq!(drain(&mut b).len(), 3);
}

#[test]
fn an_answer_has_room_in_a_full_queue() {
    let (mut channel, raw) = support::channel_and_raw(ChannelConfig::default().queue_limit(6));
    channel.send(&user("abc"), None).unwrap();
    support::raw_send(&raw, handle_frame("net.Native", "1").as_bytes(), &[&tracer().1]);
    next(&mut channel);
    channel.flush().unwrap();
    assert_eq!(support::raw_text(&raw).0, format!("{}\"abc\"\n", support::ACK));
}

/// Far more than a socket's buffer, in messages of every size, some with a handle.
#[test]
fn partial_writes_go_on_where_they_stopped() {
    for (wire, window) in [(Wire::Json, 1), (Wire::Postcard, 4)] {
        let (mut a, mut b) = channels(ChannelConfig::default().wire(wire).gate_window(window));
        let text = |n: usize| "y".repeat((n * 7919) % 150_000);
        let mut readers = Vec::new();
        for n in 0..200 {
            let handle = (n % 10 == 3).then(|| {
                let (reader, writer) = tracer();
                readers.push(reader);
                Outgoing::new(HandleKind::NetNative, writer)
            });
            a.send(&user(text(n)), handle).unwrap();
        }
        let mut readers = readers.iter();
        let (mut blocked, mut n) = (0, 0);
        while n < 200 {
            blocked += usize::from(a.flush().unwrap() == Flush::Blocked);
            for received in drain(&mut b) {
                assert_eq!(received.message, user(text(n)), "message {n}");
                assert_eq!(received.handle.is_some(), n % 10 == 3, "message {n}");
                if let Some(handle) = received.handle {
                    assert!(same_file(&handle.handle, readers.next().unwrap()));
                }
                n += 1;
            }
            b.flush().unwrap();
            assert!(drain(&mut a).is_empty());
        }
        assert!(blocked > 0, "the buffer never was full: nothing was tested");
        assert!(a.is_idle());
    }
}

#[test]
fn a_message_far_larger_than_the_buffer_brings_its_handle_once() {
    let (mut a, mut b) = channels(ChannelConfig::default());
    let (reader, writer) = tracer();
    let large = user("z".repeat(3 << 20));
    a.send(&large, support::native(writer)).unwrap();
    a.send(&user("after"), None).unwrap();
    let mut received = Vec::new();
    let mut blocked = 0;
    while received.len() < 2 {
        blocked += usize::from(a.flush().unwrap() == Flush::Blocked);
        received.extend(drain(&mut b));
        b.flush().unwrap();
        drain(&mut a);
    }
    assert!(blocked > 1);
    assert!(received[0].message == large && received[1].message == user("after"));
    assert!(same_file(&received[0].handle.as_ref().unwrap().handle, &reader));
    assert!(received[1].handle.is_none());
    assert_eq!(b.stats(), Default::default());
}

/// Between the pieces of a frame nothing may be written, answers neither.
#[test]
fn an_answer_waits_for_the_end_of_a_frame_that_is_begun() {
    let (mut a, mut b) = channels(ChannelConfig::default());
    let large = user("z".repeat(1 << 20));
    a.send(&large, None).unwrap();
    assert_eq!(a.flush().unwrap(), Flush::Blocked);
    b.send(&user(1), support::native(tracer().1)).unwrap();
    b.flush().unwrap();
    next(&mut a);
    assert!(a.wants_write());
    a.send(&user(2), None).unwrap();
    let mut received = Vec::new();
    while received.len() < 2 {
        a.flush().unwrap();
        received.extend(drain(&mut b));
    }
    assert!(received[0].message == large && received[1].message == user(2));
    assert!(b.is_idle(), "the answer arrived");
}
