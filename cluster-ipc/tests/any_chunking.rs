//! Any messages, with or without handles, arrive in order with the right handles, however the
//! stream is cut.

use std::sync::Arc;

use cluster_ipc::memory::{self, Chunks, MemoryTransport};
use cluster_ipc::proto::{HandleKind, Message};
use cluster_ipc::{Channel, ChannelConfig, Outgoing, Recv, Wire};
use proptest::prelude::*;

type End = Channel<MemoryTransport<Tag>>;
/// A handle that can be counted.
type Tag = Arc<u32>;

#[derive(Clone, Debug)]
struct Sent {
    handle: Option<HandleKind>,
    keep_open: bool,
    padding: usize,
}

fn sent() -> impl Strategy<Value = Sent> {
    let kind = prop_oneof![
        Just(HandleKind::NetNative),
        Just(HandleKind::NetSocket),
        Just(HandleKind::Other("mine".into())),
    ];
    (proptest::option::of(kind), any::<bool>(), 0..300_usize)
        .prop_map(|(handle, keep_open, padding)| Sent { handle, keep_open, padding })
}

fn chunks() -> impl Strategy<Value = Chunks> {
    prop_oneof![
        Just(Chunks::Whole),
        (1..50_usize).prop_map(Chunks::AtMost),
        (any::<u64>(), 1..500_usize).prop_map(|(seed, max)| Chunks::Seeded { seed, max }),
    ]
}

fn message(n: usize, sent: &Sent) -> Message {
    Message::User(format!("{n} {}", "x".repeat(sent.padding)).into())
}

fn send_all(channel: &mut End, all: &[Sent]) {
    for (n, sent) in all.iter().enumerate() {
        let handle = sent.handle.clone().map(|kind| {
            let mut outgoing = Outgoing::new(kind, Arc::new(Arc::new(n as u32)));
            outgoing.keep_open = sent.keep_open;
            outgoing
        });
        channel.send(&message(n, sent), handle).unwrap();
    }
}

/// Checks what is there, and counts on; whether anything was.
fn receive(channel: &mut End, all: &[Sent], n: &mut usize) -> bool {
    let before = *n;
    loop {
        match channel.recv().unwrap() {
            Recv::Message(received) => {
                let sent = &all[*n];
                assert_eq!(received.message, message(*n, sent));
                let got = received.handle.map(|h| (h.kind, *h.handle));
                assert_eq!(got, sent.handle.clone().map(|kind| (kind, *n as u32)));
                *n += 1;
            }
            Recv::WouldBlock => return *n > before,
            Recv::Closed => panic!("it closed"),
        }
    }
}

proptest! {
    #[test]
    fn everything_arrives_in_order_with_its_handle(
        ours in proptest::collection::vec(sent(), 0..40),
        theirs in proptest::collection::vec(sent(), 0..40),
        cuts in proptest::array::uniform4(chunks()),
        capacity in 1..2000_usize,
        windows in (1..10_usize, 1..10_usize),
        postcard: bool,
    ) {
        let (mut a, mut b) = memory::pair();
        a.set_send_chunks(cuts[0]);
        a.set_recv_chunks(cuts[1]);
        b.set_send_chunks(cuts[2]);
        b.set_recv_chunks(cuts[3]);
        a.set_capacity(capacity);
        b.set_capacity(capacity);
        let config = ChannelConfig::default()
            .wire(if postcard { Wire::Postcard } else { Wire::Json });
        let mut a = Channel::with_transport(a, config.clone().gate_window(windows.0));
        let mut b = Channel::with_transport(b, config.gate_window(windows.1));
        send_all(&mut a, &ours);
        send_all(&mut b, &theirs);
        let (mut at_b, mut at_a) = (0, 0);
        loop {
            let before = (a.queued_bytes(), b.queued_bytes());
            a.flush().unwrap();
            let mut moved = receive(&mut b, &ours, &mut at_b);
            b.flush().unwrap();
            moved |= receive(&mut a, &theirs, &mut at_a);
            if !moved && before == (a.queued_bytes(), b.queued_bytes())
                && a.transport().readable() == 0 && b.transport().readable() == 0 {
                break;
            }
        }
        prop_assert_eq!((at_b, at_a), (ours.len(), theirs.len()));
        prop_assert!(a.is_idle() && b.is_idle());
        prop_assert_eq!((a.stats(), b.stats()), Default::default());
    }

    /// The receiver cannot take some handles: those messages are refused or sent again, and none
    /// gets another's.
    #[test]
    fn lost_handles_are_reported_and_nothing_is_mixed_up(
        all in proptest::collection::vec((sent(), any::<bool>()), 0..40),
        cut in chunks(),
        window in 1..10_usize,
    ) {
        let (a, mut b) = memory::pair::<Tag>();
        b.set_recv_chunks(cut);
        let config = ChannelConfig::default().gate_window(window);
        let mut a = Channel::with_transport(a, config.clone());
        let mut b = Channel::with_transport(b, config);
        let (mut delivered, mut refused, mut handles) = (0_u64, 0_u64, 0_u64);
        for (n, (sent, lossy)) in all.iter().enumerate() {
            b.transport_mut().set_handle_limit(if *lossy { 0 } else { 1 });
            let tag = Arc::new(n as u32);
            let handle = sent.handle.clone().map(|kind| {
                handles += 1;
                Outgoing::new(kind, Arc::new(tag.clone())).token(n as u64)
            });
            let has_handle = handle.is_some();
            a.send(&message(n, sent), handle).unwrap();
            let mut seen = 0;
            while !(a.is_idle() && b.is_idle()) {
                a.flush().unwrap();
                while let Recv::Message(received) = b.recv().unwrap() {
                    prop_assert_eq!(&received.message, &message(n, sent));
                    prop_assert_eq!(received.handle.map(|h| *h.handle), has_handle.then_some(n as u32));
                    seen += 1;
                }
                b.flush().unwrap();
                prop_assert!(matches!(a.recv().unwrap(), Recv::WouldBlock));
            }
            if b.transport().readable() > 0 {
                while let Recv::Message(_) = b.recv().unwrap() {
                    seen += 1;
                }
            }
            prop_assert_eq!(seen, usize::from(!(has_handle && *lossy)));
            while let Some(answer) = a.poll_answer() {
                prop_assert_eq!((answer.token, answer.delivered), (n as u64, !*lossy));
                if answer.delivered { delivered += 1 } else { refused += 1 }
            }
            prop_assert_eq!(Arc::strong_count(&tag), 1, "a handle is leaked");
        }
        prop_assert_eq!(delivered + refused, handles);
        prop_assert_eq!(a.stats().undelivered_handles, refused);
    }
}
