//! No descriptor is leaked, whatever happens. (The tests run one after the other: they count those of the
//! process.)

mod support;

use std::sync::{Mutex, PoisonError};

use cluster_ipc::proto::HandleKind;
use cluster_ipc::{Channel, ChannelConfig, Outgoing, Parts};
use support::{
    ACK, NACK, channel_and_raw, channels, drain, handle_frame, native, next, raw_send, tracer, user,
};

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Runs a scenario after which as many descriptors must be open as before.
fn balanced(scenario: impl FnOnce()) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = open_descriptors();
    scenario();
    assert_eq!(open_descriptors(), before);
}

#[test]
fn handles_that_were_delivered() {
    balanced(|| {
        let (mut a, mut b) = channels(ChannelConfig::default().gate_window(8));
        for n in 0..8 {
            a.send(&user(n), native(tracer().1)).unwrap();
        }
        a.flush().unwrap();
        let seen = drain(&mut b);
        assert_eq!(seen.iter().filter(|r| r.handle.is_some()).count(), 8);
        b.flush().unwrap();
        drain(&mut a);
        assert!(a.is_idle());
    });
}

#[test]
fn handles_in_the_queue_of_a_sender_that_is_dropped() {
    balanced(|| {
        let (mut a, _b) = channels(ChannelConfig::default());
        a.send(&user(1), native(tracer().1)).unwrap();
        a.send(&user(2), native(tracer().1)).unwrap();
    });
}

#[test]
fn handles_in_the_socket_when_both_ends_are_dropped() {
    balanced(|| {
        let (mut a, _b) = channels(ChannelConfig::default().gate_window(8));
        for n in 0..8 {
            a.send(&user(n), native(tracer().1)).unwrap();
        }
        a.flush().unwrap();
    });
}

#[test]
fn a_handle_with_half_a_frame_when_the_receiver_is_dropped() {
    balanced(|| {
        let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
        raw_send(&raw, b"{\"cmd\":\"NODE_HAN", &[&tracer().1]);
        assert!(drain(&mut channel).is_empty());
    });
}

#[test]
fn a_handle_with_half_a_frame_at_the_end_of_the_stream() {
    balanced(|| {
        let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
        let before = open_descriptors();
        raw_send(&raw, b"{\"cmd\":\"NODE_HAN", &[&tracer().1]);
        assert!(drain(&mut channel).is_empty());
        drop(raw);
        assert!(channel.recv().is_err());
        assert_eq!(open_descriptors(), before - 1, "the raw end, and nothing gained");
    });
}

#[test]
fn a_handle_with_garbage() {
    balanced(|| {
        let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
        let before = open_descriptors();
        raw_send(&raw, b"garbage\n", &[&tracer().1]);
        assert!(channel.recv().is_err());
        assert_eq!(open_descriptors(), before);
    });
}

#[test]
fn unexpected_handles() {
    balanced(|| {
        let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
        raw_send(&raw, b"1\n", &[&tracer().1, &tracer().1]);
        let _kept = next(&mut channel);
        assert_eq!(channel.stats().unexpected_handles, 2);
    });
}

#[test]
fn a_handle_that_is_answered() {
    balanced(|| {
        for answer in [ACK, NACK] {
            let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
            let before = open_descriptors();
            channel.send(&user(1), native(tracer().1)).unwrap();
            channel.flush().unwrap();
            raw_send(&raw, answer.as_bytes(), &[]);
            assert!(drain(&mut channel).is_empty());
            assert_eq!(open_descriptors(), before);
        }
    });
}

#[test]
fn handles_for_a_peer_that_has_gone() {
    balanced(|| {
        let (mut a, b) = Channel::pair(ChannelConfig::default()).unwrap();
        drop(b);
        let before = open_descriptors();
        let socket = Outgoing::new(HandleKind::NetSocket, tracer().1);
        a.send(&user(1), Some(socket)).unwrap();
        a.send(&user(2), native(tracer().1)).unwrap();
        a.flush().unwrap();
        assert_eq!(open_descriptors(), before);
    });
}

#[test]
fn a_handle_that_the_queue_refuses() {
    balanced(|| {
        let config = ChannelConfig::default().queue_limit(10);
        let (mut a, _b) = channels(config);
        assert!(a.send(&user("m"), native(tracer().1)).is_err());
    });
}

#[test]
fn handles_of_a_channel_that_is_taken_apart_and_put_together() {
    balanced(|| {
        let (mut a, b) = channels(ChannelConfig::default());
        a.send(&user(1), native(tracer().1)).unwrap();
        a.send(&user(2), native(tracer().1)).unwrap();
        a.flush().unwrap();
        let before = open_descriptors();
        let [mut a, mut b] = [a, b].map(|end| Channel::from_parts(end.into_parts()).unwrap());
        assert_eq!(open_descriptors(), before);
        let _first = next(&mut b);
        b.flush().unwrap();
        drain(&mut a);
        a.flush().unwrap();
        assert!(next(&mut b).handle.is_some());
    });
}

#[test]
fn handles_of_a_channel_that_is_taken_apart_and_dropped() {
    balanced(|| {
        let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
        raw_send(&raw, b"{\"cmd\":\"NODE_HAN", &[&tracer().1]);
        assert!(drain(&mut channel).is_empty());
        channel.send(&user(1), native(tracer().1)).unwrap();
        assert_eq!(channel.into_parts().handles.len(), 2);
    });
}

#[test]
fn handles_of_a_channel_that_cannot_be_put_together() {
    balanced(|| {
        let (mut channel, _raw) = channel_and_raw(ChannelConfig::default());
        channel.send(&user(1), native(tracer().1)).unwrap();
        let parts = Parts { handles: Vec::new(), ..channel.into_parts() };
        assert!(Channel::from_parts(parts).is_err());
    });
}

#[test]
fn a_handle_that_is_missing() {
    balanced(|| {
        let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
        raw_send(&raw, handle_frame("net.Native", "1").as_bytes(), &[]);
        assert!(drain(&mut channel).is_empty());
    });
}

#[test]
#[should_panic(expected = "left")]
fn the_count_sees_what_is_open() {
    let mut kept = None;
    balanced(|| kept = Some(tracer()));
}
