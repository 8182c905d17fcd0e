//! A handle that Node sends again comes wrapped twice.

mod support;

use cluster_ipc::ChannelConfig;
use cluster_ipc::proto::HandleKind;
use support::{
    ACK, NACK, channel_and_raw, drain, handle_frame, next, raw_send, raw_text, tracer, user,
};

#[test]
fn it_is_unwrapped_and_answered_once() {
    let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
    let inner = r#"{"cmd":"NODE_HANDLE","type":"net.Socket","msg":"m","key":"4:80"}"#;
    raw_send(&raw, handle_frame("net.Native", inner).as_bytes(), &[&tracer().1]);
    let received = next(&mut channel);
    assert_eq!(received.message, user("m"));
    let handle = received.handle.unwrap();
    assert_eq!((handle.kind, handle.key.as_deref()), (HandleKind::NetSocket, Some("4:80")));
    channel.flush().unwrap();
    assert_eq!(raw_text(&raw), (ACK.into(), 0));
}

#[test]
fn without_its_descriptor_it_is_refused_once() {
    let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
    let inner = handle_frame("net.Socket", "\"m\"");
    raw_send(&raw, handle_frame("net.Native", inner.trim_end()).as_bytes(), &[]);
    assert!(drain(&mut channel).is_empty());
    channel.flush().unwrap();
    assert_eq!(raw_text(&raw), (NACK.into(), 0));
    assert_eq!(channel.stats().missing_handles, 1);
}

#[test]
fn wrapped_three_times_it_is_an_error() {
    let (mut channel, raw) = channel_and_raw(ChannelConfig::default());
    let one = handle_frame("net.Socket", "\"m\"");
    let two = handle_frame("net.Native", one.trim_end());
    raw_send(&raw, handle_frame("net.Native", two.trim_end()).as_bytes(), &[&tracer().1]);
    let error = channel.recv().unwrap_err();
    assert!(matches!(error, cluster_ipc::RecvError::Decode(_)), "{error}");
}
