//! What is written in one call: plain messages together, a handle's frame alone.

use std::io;
use std::sync::Arc;

use cluster_ipc::proto::{HandleKind, Message};
use cluster_ipc::{Channel, ChannelConfig, Flush, Outgoing, RecvMeta, Transport};

/// Keeps every write, and reads what it is given.
#[derive(Default)]
struct Recorder {
    writes: Vec<(String, Vec<u32>)>,
    input: Vec<u8>,
    with_input: Vec<u32>,
    /// Bytes that the next write takes; all if none.
    takes: Option<usize>,
    errors: Vec<io::ErrorKind>,
}

impl Transport for Recorder {
    type Handle = u32;

    fn send(&mut self, bytes: &[u8], handles: &[&u32]) -> io::Result<usize> {
        if let Some(error) = self.errors.pop() {
            return Err(error.into());
        }
        let taken = self.takes.take().unwrap_or(bytes.len());
        let text = String::from_utf8(bytes[..taken].to_vec()).unwrap();
        self.writes.push((text, handles.iter().map(|h| **h).collect()));
        Ok(taken)
    }

    fn recv(&mut self, buf: &mut [u8], handles: &mut Vec<u32>) -> io::Result<RecvMeta> {
        if self.input.is_empty() {
            return Err(self.errors.pop().unwrap_or(io::ErrorKind::WouldBlock).into());
        }
        let bytes = self.input.len();
        buf[..bytes].copy_from_slice(&self.input);
        self.input.clear();
        handles.append(&mut self.with_input);
        Ok(RecvMeta { bytes, truncated: false })
    }
}

fn channel(window: usize) -> Channel<Recorder> {
    Channel::with_transport(Recorder::default(), ChannelConfig::default().gate_window(window))
}

fn plain(channel: &mut Channel<Recorder>, n: u32) {
    channel.send(&Message::User(n.into()), None).unwrap();
}

fn handle(channel: &mut Channel<Recorder>, n: u32) {
    let outgoing = Outgoing::new(HandleKind::NetNative, Arc::new(n));
    channel.send(&Message::User(n.into()), Some(outgoing)).unwrap();
}

fn frame(n: u32) -> String {
    format!("{{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":{n}}}\n")
}

const ACK: &str = "{\"cmd\":\"NODE_HANDLE_ACK\"}\n";

#[test]
fn a_handles_frame_is_alone_in_its_write() {
    let mut channel = channel(2);
    plain(&mut channel, 1);
    plain(&mut channel, 2);
    handle(&mut channel, 3);
    handle(&mut channel, 4);
    plain(&mut channel, 5);
    plain(&mut channel, 6);
    assert!(channel.transport().writes.is_empty(), "sending writes nothing");
    assert_eq!(channel.flush().unwrap(), Flush::Done);
    let expected = [
        ("1\n2\n".into(), vec![]),
        (frame(3), vec![3]),
        (frame(4), vec![4]),
        ("5\n6\n".into(), vec![]),
    ];
    assert_eq!(channel.transport().writes, expected);
}

#[test]
fn the_rest_of_a_handles_frame_goes_without_the_handle() {
    let mut channel = channel(1);
    handle(&mut channel, 3);
    channel.transport_mut().takes = Some(10);
    channel.flush().unwrap();
    let (first, rest) = (frame(3)[..10].to_string(), frame(3)[10..].to_string());
    assert_eq!(channel.transport().writes, [(first, vec![3]), (rest, vec![])]);
}

#[test]
fn an_answer_and_the_messages_behind_it_are_one_write() {
    let mut channel = channel(1);
    let transport = channel.transport_mut();
    transport.input = format!("{}7\n", frame(1)).into();
    transport.with_input = vec![1];
    channel.recv().unwrap();
    plain(&mut channel, 2);
    channel.flush().unwrap();
    assert_eq!(channel.transport().writes, [(format!("{ACK}2\n"), vec![])]);
}

#[test]
fn a_failed_write_loses_nothing() {
    let mut channel = channel(1);
    handle(&mut channel, 3);
    channel.transport_mut().errors = vec![io::ErrorKind::OutOfMemory];
    assert_eq!(channel.flush().unwrap_err().kind(), io::ErrorKind::OutOfMemory);
    assert!(channel.wants_write() && channel.can_send());
    channel.transport_mut().errors = vec![io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted];
    assert_eq!(channel.flush().unwrap(), Flush::Blocked, "interrupted, then blocked");
    assert_eq!(channel.flush().unwrap(), Flush::Done);
    assert_eq!(channel.transport().writes, [(frame(3), vec![3])]);
}

#[test]
fn an_interrupted_read_is_tried_again() {
    let mut channel = channel(1);
    channel.transport_mut().errors = vec![io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted];
    assert!(matches!(channel.recv(), Ok(cluster_ipc::Recv::WouldBlock)));
    channel.transport_mut().errors = vec![io::ErrorKind::Other];
    assert!(matches!(channel.recv(), Err(cluster_ipc::RecvError::Io(_))));
}
