//! A channel that was taken apart, written down, read, and put together again does what it would have
//! done otherwise, whatever it was in the middle of.

#[path = "support/ops.rs"]
mod ops;

use std::sync::Arc;

use cluster_ipc::proto::{ClusterBody, HandleKind, Message};
use cluster_ipc::{ChannelConfig, ChannelState, Outgoing, Parts, Recv, Wire, memory};
use ops::{End, Op, Pair};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// As it comes out of another process.
fn put_together(end: End) -> End {
    let parts = end.into_parts();
    assert_eq!(parts.handles.len(), parts.state.handles());
    let text = serde_json::to_string(&parts.state).unwrap();
    let state: ChannelState = serde_json::from_str(&text).unwrap();
    assert_eq!(state, parts.state);
    End::from_parts(Parts { state, ..parts }).unwrap()
}

/// What is seen, where channels are taken apart, and where their state is only looked at.
fn run(config: &ChannelConfig, ops: &[(bool, Op)], apart: bool) -> Vec<String> {
    let mut pair = Pair::new(config);
    for (which, op) in ops {
        match op {
            Op::Apart if apart => pair.replace(*which, put_together),
            Op::Apart => {
                let (state, handles) = pair.end(*which).state();
                assert_eq!(state.check(), Ok(()));
                assert_eq!(handles.len(), state.handles());
            }
            op => pair.step(*which, op),
        }
    }
    pair.come_to_rest();
    let (tags, seen) = (std::mem::take(&mut pair.tags), std::mem::take(&mut pair.seen));
    drop(pair);
    assert!(tags.iter().all(|tag| Arc::strong_count(tag) == 1), "a handle is leaked");
    seen
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_is_seen_of_it(config in ops::configs(), ops in ops::ops()) {
        let (one, other) = (run(&config, &ops, false), run(&config, &ops, true));
        for (one, other) in one.iter().zip(&other) {
            prop_assert_eq!(one, other);
        }
        prop_assert_eq!(one.len(), other.len());
    }
}

/// Random steps must not pass the interesting states by.
#[test]
fn channels_are_taken_apart_in_the_middle_of_everything() {
    let interesting = [
        "/deframer/bytes",
        "/pairing/reads/0",
        "/unpacked/connections/0",
        "/unpacked/answers/0",
        "/sender/queue/items/1",
        "/sender/queue/connections/0",
        "/sender/gate/held/0",
        "/sender/gate/under_way/0",
        "/sender/answers/0",
        "/sender/frames",
        "/sender/reports/0",
        "/sender/reached/0",
    ];
    let mut counts = [0; 18];
    let mut runner = TestRunner::deterministic();
    for _ in 0..800 {
        let config = ops::configs().new_tree(&mut runner).unwrap().current();
        let ops = ops::ops().new_tree(&mut runner).unwrap().current();
        let mut pair = Pair::new(&config);
        for (which, op) in &ops {
            let Op::Apart = op else {
                pair.step(*which, op);
                continue;
            };
            let (state, _) = pair.end(*which).state();
            let state = serde_json::to_value(&state).unwrap();
            let filled = |path: &&str| match state.pointer(path) {
                Some(serde_json::Value::String(text)) => !text.is_empty(),
                Some(serde_json::Value::Object(members)) => !members.is_empty(),
                there => there.is_some(),
            };
            let number = |path: &str| state.pointer(path).unwrap().as_u64().unwrap();
            let whether = interesting.iter().map(filled).chain([
                number("/sender/queue/written") > 0,
                number("/sender/straddle/unanswered") > 1,
                state.pointer("/sender/gate/under_way/0/resends").is_some_and(|n| *n != 0),
                state.pointer("/sender/queue/answered").unwrap() == true,
                state.pointer("/sender/closed").unwrap() == true,
                state.pointer("/ended").unwrap() == true,
            ]);
            counts.iter_mut().zip(whether).for_each(|(count, is)| *count += u32::from(is));
        }
    }
    assert!(counts.iter().all(|count| *count > 5), "{counts:?}");
}

/// What is left of a frame of connections looks like a frame that nothing of is written yet.
#[test]
fn an_answer_does_not_come_into_the_middle_of_a_frame() {
    let (a, b) = memory::pair();
    let config = ChannelConfig::default().wire(Wire::Postcard);
    let mut primary = End::with_transport(a, config.clone());
    let mut worker = End::with_transport(b, config);
    let lent: Vec<_> = (0..40).map(Arc::new).collect();
    for number in 0..40 {
        let body = ClusterBody::NewConn { key: "a key of some length".into() };
        primary.send_lent(Message::cluster(number, None, body), number).unwrap();
    }
    let outgoing = Outgoing::new(HandleKind::NetNative, Arc::new(Arc::new(77)));
    worker.send(&Message::User("take".into()), Some(outgoing)).unwrap();
    worker.flush().unwrap();
    primary.transport_mut().set_capacity(5);
    let mut seen = Vec::new();
    while seen.len() < 40 {
        primary.flush_with(|number| lent.get(number as usize)).unwrap();
        primary = put_together(primary);
        while let Recv::Message(_) = primary.recv().unwrap() {}
        while let Recv::Message(received) = worker.recv().unwrap() {
            let Message::Cluster(message) = received.message else { panic!("{received:?}") };
            seen.push((message.seq, *received.handle.expect("a connection has one").handle));
        }
    }
    assert!(seen.into_iter().eq((0..40).map(|number| (number, number))));
}
