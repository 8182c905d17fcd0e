//! Messages arrive in the order of their sending, whatever the handle gate holds back.

mod support;

use cluster_ipc::proto::HandleKind;
use cluster_ipc::{Channel, ChannelConfig, Flush, Outgoing, Wire};
use support::{channels, drain, native, same_file, tracer, user};

/// Lets both ends read and write until nothing changes any more.
fn settle(a: &mut Channel, b: &mut Channel) -> [Vec<(u64, bool)>; 2] {
    let mut seen = [Vec::new(), Vec::new()];
    loop {
        let mut changed = false;
        for (channel, seen) in [&mut *a, &mut *b].into_iter().zip(&mut seen) {
            changed |= channel.wants_write();
            channel.flush().unwrap();
            for received in drain(channel) {
                changed = true;
                let cluster_ipc::proto::Message::User(value) = received.message else { panic!() };
                seen.push((value.as_u64().unwrap(), received.handle.is_some()));
            }
        }
        if !changed && a.is_idle() && b.is_idle() {
            return seen;
        }
    }
}

/// Which messages get a handle.
fn has_handle(n: u64) -> bool {
    n.is_multiple_of(3) || n % 7 == 1
}

fn send_mixed(channel: &mut Channel, count: u64) {
    for n in 0..count {
        let handle = has_handle(n).then(|| {
            // Of these the gate lets one at a time travel, whatever its window.
            let kind =
                if n.is_multiple_of(2) { HandleKind::NetSocket } else { HandleKind::NetNative };
            Outgoing::new(kind, tracer().1)
        });
        channel.send(&user(n), handle).unwrap();
    }
}

#[test]
fn order_holds_across_the_gate_at_any_window() {
    for window in [1, 2, 16] {
        for wire in [Wire::Json, Wire::Postcard] {
            let (mut a, mut b) = channels(ChannelConfig::default().gate_window(window).wire(wire));
            send_mixed(&mut a, 100);
            let [from_b, from_a] = settle(&mut a, &mut b);
            assert!(from_b.is_empty());
            let expected: Vec<_> = (0..100).map(|n| (n, has_handle(n))).collect();
            assert_eq!(from_a, expected, "window {window}");
        }
    }
}

#[test]
fn both_ends_send_handles_at_once_without_deadlock() {
    for window in [1, 8] {
        let (mut a, mut b) = channels(ChannelConfig::default().gate_window(window));
        send_mixed(&mut a, 300);
        send_mixed(&mut b, 200);
        let [from_b, from_a] = settle(&mut a, &mut b);
        assert_eq!(from_a, (0..300).map(|n| (n, has_handle(n))).collect::<Vec<_>>());
        assert_eq!(from_b, (0..200).map(|n| (n, has_handle(n))).collect::<Vec<_>>());
    }
}

#[test]
fn at_window_one_everything_waits_for_the_ack_and_at_two_plain_messages_do_not() {
    for (window, arrived) in [(1, 1), (2, 2)] {
        let (mut a, mut b) = channels(ChannelConfig::default().gate_window(window));
        a.send(&user(1), native(tracer().1)).unwrap();
        a.send(&user(2), None).unwrap();
        assert_eq!(a.flush().unwrap(), Flush::Done);
        assert_eq!(drain(&mut b).len(), arrived);
        assert!(!a.is_idle());
        assert_eq!(a.queued_bytes() == 0, window == 2);
        assert_eq!(a.handles_in_flight(), 1);
        b.flush().unwrap();
        drain(&mut a);
        a.flush().unwrap();
        assert_eq!(drain(&mut b).len(), 2 - arrived);
        assert!(a.is_idle());
    }
}

#[test]
fn many_handles_under_way_find_their_messages() {
    let (mut a, mut b) = channels(ChannelConfig::default().gate_window(64));
    let mut readers = Vec::new();
    for n in 0..64 {
        let (reader, writer) = tracer();
        readers.push(reader);
        a.send(&user(n), native(writer)).unwrap();
    }
    a.flush().unwrap();
    assert_eq!(a.handles_in_flight(), 64);
    let received = drain(&mut b);
    assert_eq!(received.len(), 64);
    for (received, reader) in received.iter().zip(&readers) {
        assert!(same_file(&received.handle.as_ref().unwrap().handle, reader));
    }
}
