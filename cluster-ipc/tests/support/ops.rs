//! Two channels in memory, and anything that may happen to them: each step leaves what can be seen
//! of it, so that two runs can be compared.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::sync::Arc;

use cluster_ipc::memory::{self, Chunks, MemoryTransport};
use cluster_ipc::proto::{ClusterBody, HandleKind, Message};
use cluster_ipc::{Channel, ChannelConfig, Outgoing, Recv, Transport, Wire};
use proptest::prelude::*;

pub(crate) type End = Channel<MemoryTransport<Tag>>;
/// A handle that can be told from others, and counted.
pub(crate) type Tag = Arc<u64>;

/// What may happen to one of the two.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// A message of that size, and perhaps a handle of that kind, kept open or not.
    Send(usize, Option<(HandleKind, bool)>),
    /// A message with the handle that was sent last.
    SendSame,
    /// A connection, whose handle is lent.
    Lend,
    /// An answer to one.
    Accept(bool),
    Probe,
    Mark,
    /// Answers and marks are polled.
    Poll,
    Negotiate,
    Flush,
    /// At most so many messages.
    Recv(usize),
    /// How much of what this end writes is under way at most.
    Capacity(usize),
    /// How its writes and its reads are cut.
    Cut(Chunks, Chunks),
    /// How many handles a read brings.
    HandleLimit(usize),
    /// The transport closes.
    Close,
    /// Past the channel: a message with two handles to an end that reads JSON, at the right moment; else it
    /// is garbage.
    Stray,
    /// It is taken apart and put together again, or only looked at.
    Apart,
}

pub(crate) fn ops() -> impl Strategy<Value = Vec<(bool, Op)>> {
    let kind = prop_oneof![
        1 => Just(HandleKind::NetNative),
        3 => Just(HandleKind::NetSocket),
        1 => Just(HandleKind::Other("mine".into())),
    ];
    let handle = proptest::option::weighted(0.6, (kind, proptest::bool::weighted(0.2)));
    let size = prop_oneof![20 => 0..300_usize, 1 => Just(70_000)];
    let chunks = || {
        prop_oneof![
            Just(Chunks::Whole),
            (1..50_usize).prop_map(Chunks::AtMost),
            (any::<u64>(), 1..500_usize).prop_map(|(seed, max)| Chunks::Seeded { seed, max }),
        ]
    };
    let op = prop_oneof![
        10 => (size, handle).prop_map(|(size, handle)| Op::Send(size, handle)),
        2 => Just(Op::SendSame),
        8 => Just(Op::Lend),
        8 => any::<bool>().prop_map(Op::Accept),
        1 => Just(Op::Probe),
        2 => Just(Op::Mark),
        4 => Just(Op::Poll),
        1 => Just(Op::Negotiate),
        12 => Just(Op::Flush),
        12 => prop_oneof![3 => 1..3_usize, 1 => Just(20)].prop_map(Op::Recv),
        2 => prop_oneof![1..100_usize, Just(200_000)].prop_map(Op::Capacity),
        1 => (chunks(), chunks()).prop_map(|(send, recv)| Op::Cut(send, recv)),
        3 => (0..3_usize).prop_map(Op::HandleLimit),
        12 => Just(Op::Apart),
    ];
    // Hardly ever, or little else is seen.
    let end = (any::<prop::sample::Index>(), prop_oneof![Just(Op::Close), Just(Op::Stray)]);
    let end = proptest::option::weighted(0.2, end);
    (prop::collection::vec((any::<bool>(), op), 0..100), end).prop_map(|(mut ops, end)| {
        if let Some((at, end)) = end {
            let at = at.index(ops.len() + 1);
            ops.insert(at, (at.is_multiple_of(2), end));
        }
        ops
    })
}

pub(crate) fn configs() -> impl Strategy<Value = ChannelConfig> {
    let wire = prop_oneof![
        2 => Just(Wire::Json),
        1 => Just(Wire::Advanced),
        3 => Just(Wire::Postcard)
    ];
    (wire, 1..6_usize, any::<bool>(), any::<bool>()).prop_map(|(wire, window, short, small)| {
        let config = ChannelConfig::default().wire(wire).gate_window(window).native(true);
        let limit = if small { 2000 } else { 64 << 20 };
        config.short_reads(short).queue_limit(limit).high_water(1000)
    })
}

/// The two, and what they were lent.
pub(crate) struct Pair {
    /// None while one is being taken apart.
    ends: [Option<End>; 2],
    lent: [BTreeMap<u64, Tag>; 2],
    same: [Option<Arc<Tag>>; 2],
    answers: [u64; 2],
    next: u64,
    /// Every handle there ever was.
    pub(crate) tags: Vec<Tag>,
    pub(crate) seen: Vec<String>,
}

impl Pair {
    pub(crate) fn new(config: &ChannelConfig) -> Self {
        let (a, b) = memory::pair();
        let ends = [a, b].map(|end| Some(Channel::with_transport(end, config.clone())));
        Self {
            ends,
            lent: Default::default(),
            same: Default::default(),
            answers: [0; 2],
            next: 0,
            tags: Vec::new(),
            seen: Vec::new(),
        }
    }

    pub(crate) fn end(&mut self, which: bool) -> &mut End {
        self.ends[usize::from(which)].as_mut().expect("it is put together")
    }

    /// Replaces an end by what `other` makes of it.
    pub(crate) fn replace(&mut self, which: bool, other: impl FnOnce(End) -> End) {
        let end = &mut self.ends[usize::from(which)];
        *end = end.take().map(other);
    }

    fn tag(&mut self) -> Tag {
        self.next += 1;
        let tag = Arc::new(self.next);
        self.tags.push(tag.clone());
        tag
    }

    /// Does one thing, but for [`Op::Apart`]; notes what came of it.
    pub(crate) fn step(&mut self, which: bool, op: &Op) {
        let i = usize::from(which);
        let seen = match op {
            Op::Send(size, handle) => {
                let message = Message::User(format!("{} {}", self.next, "x".repeat(*size)).into());
                let handle = handle.clone().map(|(kind, keep_open)| {
                    let handle = Arc::new(self.tag());
                    self.same[i] = Some(handle.clone());
                    let mut outgoing = Outgoing::new(kind, handle).token(self.next);
                    outgoing.keep_open = keep_open;
                    outgoing
                });
                format!("{:?}", self.end(which).send(&message, handle))
            }
            Op::SendSame => {
                let handle = self.same[i].clone();
                let handle = handle.map(|handle| Outgoing::new(HandleKind::NetSocket, handle));
                format!("{:?}", self.end(which).send(&Message::User("same".into()), handle))
            }
            Op::Lend => {
                let tag = self.tag();
                let number = self.next;
                self.lent[i].insert(number, tag);
                let key = if number.is_multiple_of(5) { "other" } else { "key" };
                let body = ClusterBody::NewConn { key: key.into() };
                let message = Message::cluster(number, None, body);
                format!("{:?}", self.end(which).send_lent(message, number))
            }
            Op::Accept(accepted) => {
                self.answers[i] += 1;
                let (seq, ack) = (self.answers[i], self.next);
                let message = Message::cluster(seq, Some(ack), ClusterBody::Accepted(*accepted));
                format!("{:?}", self.end(which).send(&message, None))
            }
            Op::Probe => {
                self.next += 1;
                let token = self.next;
                format!("{:?}", self.end(which).probe(token))
            }
            Op::Mark => {
                self.next += 1;
                let token = self.next;
                self.end(which).mark(token);
                String::new()
            }
            Op::Poll => {
                let end = self.end(which);
                let answers: Vec<_> = std::iter::from_fn(|| end.poll_answer()).collect();
                let marks: Vec<_> = std::iter::from_fn(|| end.poll_mark()).collect();
                format!("{answers:?} {marks:?}")
            }
            Op::Negotiate => {
                format!("{:?}", self.end(which).negotiate(cluster_proto::native::VERSION))
            }
            Op::Flush => {
                let Self { ends, lent, .. } = self;
                let end = ends[i].as_mut().expect("it is put together");
                format!("{:?}", end.flush_with(|number| lent[i].get(&number)))
            }
            Op::Recv(most) => {
                let end = self.end(which);
                if most.is_multiple_of(2) {
                    end.note_readable(false);
                }
                let mut seen = String::new();
                for _ in 0..*most {
                    let received = end.recv();
                    seen.push_str(&format!("{received:?}; "));
                    if !matches!(received, Ok(Recv::Message(_))) {
                        break;
                    }
                }
                seen
            }
            Op::Capacity(bytes) => {
                self.end(which).transport_mut().set_capacity(*bytes);
                String::new()
            }
            Op::Cut(send, recv) => {
                let transport = self.end(which).transport_mut();
                transport.set_send_chunks(*send);
                transport.set_recv_chunks(*recv);
                String::new()
            }
            Op::HandleLimit(handles) => {
                self.end(which).transport_mut().set_handle_limit(*handles);
                String::new()
            }
            Op::Close => {
                self.end(which).transport_mut().close();
                String::new()
            }
            Op::Stray => {
                let handles = [self.tag(), self.tag()];
                let transport = self.end(which).transport_mut();
                format!("{:?}", transport.send(b"1\n", &[&handles[0], &handles[1]]))
            }
            Op::Apart => unreachable!("the comparison does that"),
        };
        self.note(seen);
    }

    fn note(&mut self, seen: String) {
        self.seen.push(seen);
        let next = self.next;
        for which in [false, true] {
            let end = self.end(which);
            let arrived: Vec<_> = (0..=next).filter(|number| end.has_arrived(*number)).collect();
            let seen = format!(
                "{:?} {:?} {:?} {:?} {:?}",
                arrived.last(),
                (end.queued_bytes(), end.received_bytes(), end.handles_in_flight()),
                (end.is_idle(), end.wants_write(), end.can_send()),
                end.stats(),
                (end.transport().readable(), end.transport().is_writable()),
            );
            self.seen.push(seen);
        }
    }

    /// Lets everything arrive that can.
    pub(crate) fn come_to_rest(&mut self) {
        for which in [false, true] {
            self.step(which, &Op::Capacity(200_000));
            self.step(which, &Op::HandleLimit(usize::MAX));
        }
        loop {
            let before = self.seen.len();
            for which in [false, true] {
                self.step(which, &Op::Flush);
                self.step(!which, &Op::Recv(100));
                self.step(which, &Op::Poll);
            }
            let turn = self.seen.split_off(before);
            let rests = self.seen.ends_with(&turn);
            self.seen.extend(turn);
            if rests {
                return;
            }
        }
    }
}
