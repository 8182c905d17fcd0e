//! Out of descriptors: the handle is refused, and the channel goes on. (Alone in its binary: it
//! lowers the process's limit.)

mod support;

use cluster_ipc::ChannelConfig;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{
    ACK, NACK, channel_and_raw, drain, handle_frame, next, raw_send, raw_text, same_file, tracer,
    user,
};

#[test]
fn a_handle_for_which_there_is_no_descriptor_is_refused() {
    let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
    let (reader, writer) = tracer();
    let frame = handle_frame("net.Native", "\"m\"");
    let generous = getrlimit(Resource::Nofile);

    // No number is left: the lowest free one is beyond the limit.
    let free = writer.try_clone().unwrap();
    let lowest = std::os::fd::AsRawFd::as_raw_fd(&free) as u64;
    drop(free);
    let tight = Rlimit { current: Some(lowest), maximum: generous.maximum };
    setrlimit(Resource::Nofile, tight).unwrap();
    raw_send(&raw, b"\"before\"\n", &[]);
    raw_send(&raw, frame.as_bytes(), &[&writer]);
    raw_send(&raw, b"\"plain\"\n", &[&writer]);
    raw_send(&raw, b"\"after\"\n", &[]);
    let seen: Vec<_> =
        drain(&mut channel).into_iter().map(|r| (r.message, r.handle.is_some())).collect();
    channel.flush().unwrap();
    let answers = raw_text(&raw);
    setrlimit(Resource::Nofile, generous).unwrap();

    assert_eq!(seen, [(user("before"), false), (user("plain"), false), (user("after"), false)]);
    assert_eq!(answers, (NACK.into(), 0));
    let stats = channel.stats();
    assert_eq!((stats.missing_handles, stats.truncated_reads, stats.unexpected_handles), (1, 2, 0));

    raw_send(&raw, frame.as_bytes(), &[&writer]);
    assert!(same_file(next(&mut channel).handle.unwrap().handle, &reader));
    channel.flush().unwrap();
    assert_eq!(raw_text(&raw), (ACK.into(), 0));
    assert_eq!(channel.stats(), stats);
}
