//! No descriptor is leaked, whatever happens. (Alone in its binary: it counts the process's.)

mod support;

use cluster_ipc::proto::HandleKind;
use cluster_ipc::{Channel, ChannelConfig, Outgoing, Parts};
use support::{
    ACK, NACK, channel_and_raw, channels, drain, handle_frame, native, next, raw_send, tracer, user,
};

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn every_descriptor_is_closed() {
    let scenarios: &[(&str, fn())] = &[
        ("delivered", || {
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
        }),
        ("queued and held when the sender is dropped", || {
            let (mut a, _b) = channels(ChannelConfig::default());
            a.send(&user(1), native(tracer().1)).unwrap();
            a.send(&user(2), native(tracer().1)).unwrap();
        }),
        ("in the socket when both are dropped", || {
            let (mut a, _b) = channels(ChannelConfig::default().gate_window(8));
            for n in 0..8 {
                a.send(&user(n), native(tracer().1)).unwrap();
            }
            a.flush().unwrap();
        }),
        ("with half a frame when the receiver is dropped", || {
            let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
            raw_send(&raw, b"{\"cmd\":\"NODE_HAN", &[&tracer().1]);
            assert!(drain(&mut channel).is_empty());
        }),
        ("with half a frame at the end of the stream, the channel kept", || {
            let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
            let before = open_descriptors();
            raw_send(&raw, b"{\"cmd\":\"NODE_HAN", &[&tracer().1]);
            assert!(drain(&mut channel).is_empty());
            drop(raw);
            assert!(channel.recv().is_err());
            assert_eq!(open_descriptors(), before - 1, "the raw end, and nothing gained");
        }),
        ("with garbage", || {
            let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
            let before = open_descriptors();
            raw_send(&raw, b"garbage\n", &[&tracer().1]);
            assert!(channel.recv().is_err());
            assert_eq!(open_descriptors(), before);
        }),
        ("unexpected", || {
            let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
            raw_send(&raw, b"1\n", &[&tracer().1, &tracer().1]);
            let _kept = next(&mut channel);
            assert_eq!(channel.stats().unexpected_handles, 2);
        }),
        ("answered ACK and NACK, the channel kept", || {
            for answer in [ACK, NACK] {
                let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
                let before = open_descriptors();
                channel.send(&user(1), native(tracer().1)).unwrap();
                channel.flush().unwrap();
                raw_send(&raw, answer.as_bytes(), &[]);
                assert!(drain(&mut channel).is_empty());
                assert_eq!(open_descriptors(), before);
            }
        }),
        ("the peer is gone, the channel kept", || {
            let (mut a, b) = Channel::pair(ChannelConfig::default()).unwrap();
            drop(b);
            let before = open_descriptors();
            let socket = Outgoing::new(HandleKind::NetSocket, tracer().1);
            a.send(&user(1), Some(socket)).unwrap();
            a.send(&user(2), native(tracer().1)).unwrap();
            a.flush().unwrap();
            assert_eq!(open_descriptors(), before);
        }),
        ("refused", || {
            let config = ChannelConfig::default().queue_limit(10);
            let (mut a, _b) = channels(config);
            assert!(a.send(&user("m"), native(tracer().1)).is_err());
        }),
        ("taken apart, and put together again", || {
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
        }),
        ("taken apart, and dropped", || {
            let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
            raw_send(&raw, b"{\"cmd\":\"NODE_HAN", &[&tracer().1]);
            assert!(drain(&mut channel).is_empty());
            channel.send(&user(1), native(tracer().1)).unwrap();
            assert_eq!(channel.into_parts().handles.len(), 2);
        }),
        ("taken apart, and not put together", || {
            let (mut channel, _raw) = channel_and_raw(ChannelConfig::default());
            channel.send(&user(1), native(tracer().1)).unwrap();
            let parts = Parts { handles: Vec::new(), ..channel.into_parts() };
            assert!(Channel::from_parts(parts).is_err());
        }),
        ("missing", || {
            let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
            raw_send(&raw, handle_frame("net.Native", "1").as_bytes(), &[]);
            assert!(drain(&mut channel).is_empty());
        }),
    ];
    for (name, scenario) in scenarios {
        let before = open_descriptors();
        scenario();
        assert_eq!(open_descriptors(), before, "{name}");
    }
    // The count sees what is open.
    let before = open_descriptors();
    let _pipe = tracer();
    assert_eq!(open_descriptors(), before + 2);
}
