//! Whatever a peer writes costs it at most this channel.

mod support;

use cluster_ipc::memory::{self, Chunks};
use cluster_ipc::{Channel, ChannelConfig, Recv, RecvError, SendError, Transport, Wire};
use proptest::prelude::*;
use support::{channel_and_raw, next, raw_send, tracer, user};

/// The channel is dead: it says so once, and stays closed.
fn assert_dead(channel: &mut Channel) {
    assert!(matches!(channel.recv(), Ok(Recv::Closed)));
    assert!(matches!(channel.recv(), Ok(Recv::Closed)));
    assert!(matches!(channel.send(&user(1), None), Err(SendError::Closed)));
    assert!(!channel.can_send() && !channel.wants_write() && channel.is_idle());
    assert_eq!(channel.queued_bytes(), 0);
}

#[test]
fn garbage_is_an_error() {
    for garbage in ["garbage\n", "\n", "{\"cmd\":\"NODE_HANDLE\"}\n", "\u{fffd}\n"] {
        let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
        channel.send(&user(1), None).unwrap();
        raw_send(&raw, b"\"sound\"\n", &[]);
        raw_send(&raw, garbage.as_bytes(), &[]);
        raw_send(&raw, b"\"sound\"\n", &[]);
        assert_eq!(next(&mut channel).message, user("sound"));
        let error = channel.recv().unwrap_err();
        assert!(matches!(error, RecvError::Decode(_)), "{garbage}: {error}");
        assert_dead(&mut channel);
    }
}

#[test]
fn a_frame_over_the_limit_is_an_error_before_it_is_all_there() {
    for wire in [Wire::Json, Wire::Postcard] {
        let (mut channel, raw) =
            channel_and_raw(ChannelConfig::default().wire(wire).max_frame(100));
        raw_send(&raw, &[b'x'; 101], &[]);
        let error = channel.recv().unwrap_err();
        assert!(matches!(&error, RecvError::Frame(e) if e.limit == 100), "{error}");
        assert_dead(&mut channel);
    }
}

#[test]
fn a_message_over_the_limit_is_not_sent_and_one_at_it_is() {
    for wire in [Wire::Json, Wire::Postcard] {
        let config = ChannelConfig::default().wire(wire).max_frame(100);
        let (mut a, mut b) = support::channels(config);
        let mut length = 80;
        let sent = loop {
            match a.send(&user("x".repeat(length)), None) {
                Ok(_) => length += 1,
                Err(SendError::TooLong { limit: 100, length: 101 }) => break length - 80,
                Err(error) => panic!("{error}"),
            }
        };
        a.flush().unwrap();
        assert_eq!(support::drain(&mut b).len(), sent);
        assert!(sent > 0);
    }
}

#[test]
fn an_end_within_a_frame_is_an_error_once() {
    let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
    raw_send(&raw, b"\"whole\"\n\"half", &[&tracer().1]);
    drop(raw);
    assert_eq!(next(&mut channel).message, user("whole"));
    assert!(matches!(channel.recv(), Err(RecvError::ClosedInFrame { bytes: 5 })));
    assert_dead(&mut channel);
}

#[test]
fn an_end_between_frames_is_none() {
    let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
    raw_send(&raw, b"\"whole\"\n", &[]);
    drop(raw);
    assert_eq!(next(&mut channel).message, user("whole"));
    support::assert_closed(&mut channel);
}

#[test]
fn more_handles_than_may_wait_are_an_error() {
    let (mut peer, transport) = memory::pair();
    let mut channel = Channel::with_transport(transport, ChannelConfig::default().max_handles(3));
    let handles = std::array::from_fn::<u32, 4, _>(|n| n as u32);
    let handles: Vec<&u32> = handles.iter().collect();
    peer.send(b"\"", &handles[..3]).unwrap();
    assert!(matches!(channel.recv(), Ok(Recv::WouldBlock)));
    peer.send(b"\"\n", &handles[..1]).unwrap();
    assert!(matches!(channel.recv(), Err(RecvError::TooManyHandles { limit: 3 })));
    assert!(matches!(channel.recv(), Ok(Recv::Closed)));
}

#[test]
fn a_peer_that_leaves_its_answers_unread_is_cut_off() {
    let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
    raw.set_nonblocking(true).unwrap();
    let frames = support::handle_frame("net.Native", "1").repeat(1000);
    let mut rounds = 0;
    let error = loop {
        raw_send(&raw, frames.as_bytes(), &[]);
        match channel.recv() {
            Ok(Recv::WouldBlock) => {}
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
        // It does what it can: the peer does not read.
        channel.flush().unwrap();
        rounds += 1;
        assert!(rounds < 1000, "the answers grow without bound");
    };
    assert!(matches!(error, RecvError::TooManyAnswers { limit: 65_536 }), "{error}");
    assert_dead(&mut channel);
}

/// Something like what a peer would write, to get beyond the first line.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..20),
        Just(b"{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":1}\n".to_vec()),
        Just(b"{\"cmd\":\"NODE_HANDLE_ACK\"}\n".to_vec()),
        Just(b"{\"cmd\":\"NODE_HANDLE_NACK\"}\n".to_vec()),
        Just(b"[1,2]\n".to_vec()),
        Just(b"\n".to_vec()),
        // A postcard null, and a handle without one.
        Just(vec![0, 0, 0, 3, 0, 5, 0]),
    ]
}

proptest! {
    #[test]
    fn no_bytes_and_no_handles_make_it_panic_or_stay_alive_after_an_error(
        pieces in proptest::collection::vec((piece(), 0..3_usize), 0..30),
        postcard: bool,
        seed: u64,
        sends in 0..5_u32,
    ) {
        let wire = if postcard { Wire::Postcard } else { Wire::Json };
        let (mut peer, mut transport) = memory::pair::<std::sync::Arc<()>>();
        transport.set_recv_chunks(Chunks::Seeded { seed, max: 40 });
        transport.set_handle_limit((seed % 4) as usize);
        let config = ChannelConfig::default().wire(wire).max_frame(1000);
        let mut channel = Channel::with_transport(transport, config);
        let handle = std::sync::Arc::new(());
        for n in 0..sends {
            let outgoing = cluster_ipc::Outgoing::new(
                cluster_ipc::proto::HandleKind::NetSocket, handle.clone());
            channel.send(&user(n), Some(outgoing)).unwrap();
        }
        let mut failed = false;
        for (bytes, handles) in pieces {
            if !bytes.is_empty() {
                let _ = peer.send(&bytes, &vec![&handle; handles]);
            }
            loop {
                match channel.recv() {
                    Ok(Recv::Message(_)) => prop_assert!(!failed),
                    Ok(Recv::WouldBlock) => { prop_assert!(!failed); break }
                    Ok(Recv::Closed) => { prop_assert!(failed); break }
                    Err(_) => { prop_assert!(!failed); failed = true; }
                }
            }
            let _ = channel.flush();
        }
        drop((channel, peer));
        prop_assert_eq!(std::sync::Arc::strong_count(&handle), 1, "a handle is leaked");
    }
}
