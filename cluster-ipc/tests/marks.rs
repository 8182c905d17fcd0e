//! A sender that asks when a message was written is told, in order, and once.

mod support;

use cluster_ipc::proto::HandleKind;
use cluster_ipc::{Channel, ChannelConfig, Outgoing};
use support::{channels, drain, tracer, user};

fn marks(channel: &mut Channel) -> Vec<u64> {
    std::iter::from_fn(|| channel.poll_mark()).collect()
}

#[test]
fn a_mark_is_reached_when_what_stands_before_it_is_written() {
    let (mut a, mut b) = channels(ChannelConfig::default());
    a.mark(1);
    a.send(&user("x"), None).unwrap();
    a.mark(2);
    assert!(marks(&mut a).is_empty(), "nothing is written before the flush");
    a.flush().unwrap();
    assert_eq!(marks(&mut a), [1, 2]);
    assert!(marks(&mut a).is_empty());
    assert_eq!(drain(&mut b).len(), 1, "a mark is nothing that is sent");
}

#[test]
fn a_mark_waits_while_the_transport_is_full() {
    let (mut a, mut b) = channels(ChannelConfig::default());
    let large = "x".repeat(4 << 20);
    a.send(&user(large), None).unwrap();
    a.mark(1);
    a.send(&user("behind"), None).unwrap();
    a.flush().unwrap();
    assert!(marks(&mut a).is_empty());
    let mut received = 0;
    while received < 2 {
        received += drain(&mut b).len();
        a.flush().unwrap();
    }
    assert_eq!(marks(&mut a), [1]);
    assert!(a.is_idle());
}

#[test]
fn a_mark_behind_a_handle_waits_for_its_answer() {
    let (mut a, mut b) = channels(ChannelConfig::default());
    let outgoing = Outgoing::new(HandleKind::NetNative, tracer().1);
    a.send(&user("with"), Some(outgoing)).unwrap();
    a.mark(1);
    a.flush().unwrap();
    assert!(marks(&mut a).is_empty());
    assert_eq!(drain(&mut b).len(), 1);
    b.flush().unwrap();
    assert!(drain(&mut a).is_empty());
    a.flush().unwrap();
    assert_eq!(marks(&mut a), [1]);
}

#[test]
fn a_channel_that_closes_reaches_no_more_marks() {
    let (mut a, b) = channels(ChannelConfig::default());
    a.send(&user("x".repeat(4 << 20)), None).unwrap();
    a.mark(1);
    drop(b);
    a.flush().unwrap();
    a.mark(2);
    a.flush().unwrap();
    assert!(marks(&mut a).is_empty());
}
