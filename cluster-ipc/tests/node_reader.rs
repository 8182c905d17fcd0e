//! A Node peer keeps one handle while its frame is incomplete: with many under way the channel
//! sees to it that no other takes its place.

use std::io;
use std::sync::Arc;

use cluster_ipc::memory::{self, Chunks, MemoryTransport};
use cluster_ipc::proto::{HandleKind, Message, Object, Value};
use cluster_ipc::{Channel, ChannelConfig, Flush, HandleAnswer, Outgoing, Transport};
use proptest::prelude::*;

const ACK: &[u8] = b"{\"cmd\":\"NODE_HANDLE_ACK\"}\n";
const NACK: &[u8] = b"{\"cmd\":\"NODE_HANDLE_NACK\"}\n";

/// Reads as `child_process` does: 64 KiB at a time, one pending handle.
struct Node {
    end: MemoryTransport<u64>,
    text: Vec<u8>,
    pending: Option<u64>,
    answers: Vec<u8>,
    /// Each message's number, and the handle that it got.
    seen: Vec<(u64, Option<u64>)>,
}

impl Node {
    fn new(end: MemoryTransport<u64>) -> Self {
        Self { end, text: vec![], pending: None, answers: vec![], seen: vec![] }
    }

    /// One read; false if there was nothing.
    fn read(&mut self) -> bool {
        let mut buf = vec![0; 64 << 10];
        let mut handles = Vec::new();
        let bytes = match self.end.recv(&mut buf, &mut handles) {
            Ok(meta) => meta.bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) => panic!("{error}"),
        };
        self.pending = handles.pop().or(self.pending);
        self.text.extend_from_slice(&buf[..bytes]);
        while let Some(end) = self.text.iter().position(|b| *b == b'\n') {
            let line = String::from_utf8(self.text.drain(..=end).collect()).unwrap();
            let at = line.find("\"n\":").expect("every message has a number") + 4;
            let n = line[at..].split(|c: char| !c.is_ascii_digit()).next().unwrap();
            let handle = if line.starts_with("{\"cmd\":\"NODE_HANDLE\"") {
                let handle = self.pending.take();
                self.answers.extend_from_slice(if handle.is_some() { ACK } else { NACK });
                handle
            } else {
                None
            };
            self.seen.push((n.parse().unwrap(), handle));
        }
        true
    }

    fn answer(&mut self) {
        while !self.answers.is_empty() {
            let Ok(sent) = self.end.send(&self.answers, &[]) else { return };
            self.answers.drain(..sent);
        }
    }
}

fn message(n: u64, padding: usize) -> Message {
    Message::User(Object::new().with("n", n).with("p", Value::from("p".repeat(padding))).into())
}

fn native(n: u64) -> Option<Outgoing<u64>> {
    Some(Outgoing::new(HandleKind::NetNative, Arc::new(n)).token(n))
}

fn pair(window: usize) -> (Channel<MemoryTransport<u64>>, Node) {
    let (a, b) = memory::pair();
    let config = ChannelConfig::default().gate_window(window);
    (Channel::with_transport(a, config), Node::new(b))
}

fn take_answers(channel: &mut Channel<MemoryTransport<u64>>) {
    assert!(matches!(channel.recv().unwrap(), cluster_ipc::Recv::WouldBlock));
}

#[test]
fn a_frame_that_may_end_in_the_next_read_lets_no_handle_follow() {
    let (mut channel, mut node) = pair(8);
    channel.send(&message(0, 65_500), None).unwrap();
    for n in 1..=3 {
        channel.send(&message(n, 0), native(n)).unwrap();
    }
    channel.send(&message(4, 0), None).unwrap();
    assert_eq!(channel.flush().unwrap(), Flush::Done);
    assert!(!channel.wants_write() && !channel.is_idle());
    while node.read() {}
    assert_eq!(node.seen, [(0, None), (1, Some(1))]);
    node.answer();
    take_answers(&mut channel);
    assert!(channel.wants_write());
    channel.flush().unwrap();
    while node.read() {}
    assert_eq!(node.seen[2..], [(2, Some(2)), (3, Some(3)), (4, None)]);
}

#[test]
fn a_probe_travels_alone_and_is_reported() {
    let (mut channel, mut node) = pair(8);
    channel.send(&message(1, 0), native(1)).unwrap();
    channel.probe(100).unwrap();
    channel.send(&message(2, 0), native(2)).unwrap();
    let mut answers = Vec::new();
    for expected in [1, 2, 3] {
        channel.flush().unwrap();
        node.text.clear();
        let before = node.end.readable();
        assert!(before > 0);
        // The probe has no number.
        if expected == 2 {
            let mut buf = vec![0; before];
            let mut handles = Vec::new();
            node.end.recv(&mut buf, &mut handles).unwrap();
            let text = String::from_utf8(buf).unwrap();
            assert!(
                text.starts_with("{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\","),
                "{text}"
            );
            assert_eq!((text.lines().count(), handles.len()), (1, 0));
            node.answers.extend_from_slice(NACK);
        } else {
            node.read();
        }
        assert_eq!(node.end.readable(), 0);
        node.answer();
        take_answers(&mut channel);
        answers.extend(std::iter::from_fn(|| channel.poll_answer()));
    }
    assert_eq!(node.seen, [(1, Some(1)), (2, Some(2))]);
    let expected = [(1, true), (100, false), (2, true)];
    assert_eq!(answers, expected.map(|(token, delivered)| HandleAnswer { token, delivered }));
    assert_eq!(channel.stats().undelivered_handles, 0, "a probe is no handle");
}

/// As a Node worker is that is busy with an earlier message: it has read the probe and not answered it.
#[test]
fn a_late_answer_to_an_abandoned_probe_is_reported_and_charged_to_nothing_else() {
    for answers in [true, false] {
        let (mut channel, mut node) = pair(8);
        channel.probe(100).unwrap();
        channel.send(&message(1, 0), native(1)).unwrap();
        channel.flush().unwrap();
        let mut handles = Vec::new();
        node.end.recv(&mut vec![0; 1 << 10], &mut handles).unwrap();
        assert!(handles.is_empty() && channel.awaits_probe());
        assert!(channel.abandon_probe() && !channel.abandon_probe());
        channel.send(&message(2, 0), native(2)).unwrap();
        assert!(channel.handles_in_flight() == 2 && channel.poll_answer().is_none());
        channel.flush().unwrap();
        // What is known of the probe outlives an upgrade.
        let (state, _) = channel.state();
        let state = serde_json::to_string(&state).unwrap();
        assert!(state.contains("\"abandoned\":[100]"), "{state}");
        if answers {
            node.answers.extend_from_slice(NACK);
            node.answer();
            take_answers(&mut channel);
            let late = HandleAnswer { token: 100, delivered: false };
            assert_eq!((channel.poll_answer(), channel.handles_in_flight()), (Some(late), 2));
        }
        while node.read() {}
        assert_eq!(node.seen, [(1, Some(1)), (2, Some(2))]);
        node.answer();
        take_answers(&mut channel);
        let reported: Vec<_> = std::iter::from_fn(|| channel.poll_answer()).collect();
        let taken = [1, 2].map(|token| HandleAnswer { token, delivered: true });
        assert_eq!(reported, taken);
        assert!(channel.is_idle());
        assert_eq!(channel.stats().undelivered_handles, 0);
        // It goes on: the next probe is answered, and so is what is behind it.
        channel.probe(101).unwrap();
        channel.send(&message(3, 0), native(3)).unwrap();
        channel.flush().unwrap();
        node.end.recv(&mut vec![0; 1 << 10], &mut handles).unwrap();
        assert!(channel.awaits_probe());
        node.answers.extend_from_slice(NACK);
        node.answer();
        take_answers(&mut channel);
        channel.flush().unwrap();
        assert_eq!(channel.poll_answer(), Some(HandleAnswer { token: 101, delivered: false }));
        assert!(node.read());
        assert_eq!(node.seen.last(), Some(&(3, Some(3))));
    }
}

proptest! {
    // Each moves megabytes.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn node_pairs_every_handle_with_its_message(
        // Sizes about the length of one read, and small ones.
        frames in proptest::collection::vec(
            (any::<bool>(), prop_oneof![0..200_usize, 10_000..30_000_usize, 60_000..70_000_usize]),
            1..40,
        ),
        window in 1..20_usize,
        reads in proptest::collection::vec(0..4_usize, 1..10),
        // Writes may be cut, reads end only where there is no more or a handle came.
        send_max in prop_oneof![Just(usize::MAX), 1000..100_000_usize],
        seed: u64,
    ) {
        let (mut channel, mut node) = pair(window);
        if send_max < usize::MAX {
            channel.transport_mut().set_send_chunks(Chunks::Seeded { seed, max: send_max });
        }
        let expected: Vec<_> = (0_u64..).zip(&frames)
            .map(|(n, (handle, _))| (n, handle.then_some(n))).collect();
        for (n, (handle, padding)) in (0_u64..).zip(&frames) {
            channel.send(&message(n, *padding), handle.then(|| native(n)).flatten()).unwrap();
        }
        // The sender runs ahead of the reader by as much as its buffer holds.
        let mut reads = reads.into_iter().chain([1]).cycle();
        let mut idle = 0;
        while node.seen.len() < expected.len() {
            channel.flush().unwrap();
            let mut moved = false;
            for _ in 0..reads.next().unwrap() {
                moved |= node.read();
            }
            node.answer();
            take_answers(&mut channel);
            idle = if moved { 0 } else { idle + 1 };
            prop_assert!(idle < 20, "it hangs");
        }
        prop_assert_eq!(node.seen, expected);
        prop_assert!(channel.is_idle());
    }
}
