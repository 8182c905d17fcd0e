//! Where reads that come up short are trusted, the socket is not asked whether there is more.

#![cfg(target_os = "linux")]

mod support;

use std::io::Write;
use std::os::unix::net::UnixStream;

use cluster_ipc::{Channel, ChannelConfig, Recv, Transport};
use support::{channel_and_raw, handle_frame, raw_send, tracer, user};

fn recv(channel: &mut Channel) -> Option<cluster_ipc::proto::Message> {
    match channel.recv().unwrap() {
        Recv::Message(received) => Some(received.message),
        _ => None,
    }
}

fn trusting() -> (Channel, UnixStream) {
    channel_and_raw(ChannelConfig::default().short_reads(true))
}

#[test]
fn a_short_read_is_the_last_and_what_comes_later_is_read_when_it_is_announced() {
    let (mut channel, mut raw) = trusting();
    raw.write_all(b"1\n2\n").unwrap();
    assert_eq!(recv(&mut channel), Some(user(1)));
    assert_eq!(recv(&mut channel), Some(user(2)));
    // It comes after the read that brought the others, so there is another event for it.
    raw.write_all(b"3\n").unwrap();
    assert_eq!(recv(&mut channel), None);
    assert_eq!(recv(&mut channel), Some(user(3)));
}

/// The event for what comes later may have been taken before all is received that came earlier.
#[test]
fn an_event_in_between_makes_a_short_read_one_of_many() {
    let (mut channel, mut raw) = trusting();
    raw.write_all(b"1\n2\n").unwrap();
    assert_eq!(recv(&mut channel), Some(user(1)));
    raw.write_all(b"3\n").unwrap();
    channel.note_readable(false);
    assert_eq!(recv(&mut channel), Some(user(2)));
    assert_eq!(recv(&mut channel), Some(user(3)));
    assert_eq!(recv(&mut channel), None);
}

#[test]
fn a_read_that_ends_behind_a_descriptor_is_not_the_last() {
    let (mut channel, raw) = trusting();
    let (_reader, writer) = tracer();
    raw_send(&raw, b"1\n", &[]);
    raw_send(&raw, handle_frame("net.Native", "2").as_bytes(), &[&writer]);
    raw_send(&raw, b"3\n", &[]);
    for expected in 1..=3 {
        assert_eq!(recv(&mut channel), Some(user(expected)));
    }
    assert_eq!(recv(&mut channel), None);
}

#[test]
fn a_peer_that_closes_is_read_to_the_end() {
    let (mut channel, mut raw) = trusting();
    raw.write_all(b"1\n").unwrap();
    assert_eq!(recv(&mut channel), Some(user(1)));
    raw.write_all(b"2\n").unwrap();
    drop(raw);
    // The event that told of the first may have told of the end too.
    channel.note_readable(true);
    assert_eq!(recv(&mut channel), Some(user(2)));
    assert!(matches!(channel.recv(), Ok(Recv::Closed)));
}

#[test]
fn a_peer_to_whom_nothing_can_be_written_is_read_to_the_end() {
    let (mut channel, mut raw) = trusting();
    raw.write_all(b"1\n").unwrap();
    assert_eq!(recv(&mut channel), Some(user(1)));
    raw.write_all(b"2\n").unwrap();
    drop(raw);
    channel.send(&user("too late"), None).unwrap();
    channel.flush().unwrap();
    assert!(!channel.can_send());
    assert_eq!(recv(&mut channel), Some(user(2)));
    assert!(matches!(channel.recv(), Ok(Recv::Closed)));
}

/// What the rule rests on.
#[test]
fn the_kernel_fills_a_read_as_far_as_there_is_something() {
    let (mut channel, raw) = trusting();
    for _ in 0..200 {
        raw_send(&raw, b"0123456789", &[]);
    }
    let mut buffer = vec![0; 64 << 10];
    let read = channel.transport_mut().recv(&mut buffer, &mut Vec::new()).unwrap();
    assert_eq!(read.bytes, 2000);
}
