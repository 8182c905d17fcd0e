//! A state that is damaged, or made by an attacker, is an error or some channel's state, and
//! never a panic, neither at once nor later.

#[path = "support/damage.rs"]
mod damage;
#[path = "support/ops.rs"]
mod ops;

use std::sync::Arc;

use cluster_ipc::proto::{HandleKind, Message};
use cluster_ipc::{
    ChannelConfig, ChannelState, Outgoing, Parts, Recv, StateError, Transport, memory,
};
use damage::damage;
use ops::{End, Op, Pair, Tag};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::json;

/// As many handles as that, owned alone.
fn handles(count: usize) -> Vec<Arc<Tag>> {
    (0..count as u64).map(|n| Arc::new(Arc::new(n))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn no_state_makes_a_channel_panic(
        config in ops::configs(),
        before in ops::ops(),
        after in ops::ops(),
        which: bool,
        wounds in prop::collection::vec((any::<usize>(), any::<usize>()), 1..3),
    ) {
        let mut pair = Pair::new(&config);
        for (which, op) in before.iter().filter(|(_, op)| !matches!(op, Op::Apart | Op::Close)) {
            pair.step(*which, op);
        }
        let mut json = serde_json::to_value(pair.end(which).state().0).unwrap();
        for (place, how) in wounds {
            damage(&mut json, place, how);
        }
        let Ok(state) = serde_json::from_value::<ChannelState>(json) else { return Ok(()) };
        let checked = state.check();
        // What cannot be kept in memory is no state of a channel.
        let count = state.handles();
        if count > 10_000 {
            return Ok(());
        }
        let mut result = Ok(());
        pair.replace(which, |end| {
            let Parts { transport, .. } = end.into_parts();
            match End::from_parts(Parts { transport, state, handles: handles(count) }) {
                Ok(end) => end,
                Err(refused) => {
                    result = Err(refused.error);
                    let transport = refused.parts.transport;
                    End::with_transport(transport, config.clone())
                }
            }
        });
        prop_assert_eq!(&result, &checked);
        if result.is_ok() {
            for (which, op) in after.iter().filter(|(_, op)| !matches!(op, Op::Apart)) {
                pair.step(*which, op);
            }
            pair.step(false, &Op::Flush);
            pair.step(true, &Op::Recv(100));
        }
    }
}

/// Of a channel that has written a handle, holds another and a message back, and has read half a frame
/// with a handle.
fn some_state() -> serde_json::Value {
    let (a, mut b) = memory::pair();
    let mut end = End::with_transport(a, ChannelConfig::default());
    for kind in [HandleKind::NetNative, HandleKind::NetSocket] {
        let outgoing = Outgoing::new(kind, Arc::new(Arc::new(7)));
        end.send(&Message::User("m".into()), Some(outgoing)).unwrap();
    }
    end.send(&Message::User("last".into()), None).unwrap();
    end.flush().unwrap();
    b.send(b"{\"cmd\":\"NODE_HAN", &[&Arc::new(7)]).unwrap();
    assert!(matches!(end.recv(), Ok(Recv::WouldBlock)));
    serde_json::to_value(end.state().0).unwrap()
}

#[test]
fn what_cannot_be_is_said() {
    let out_of_range = |what| StateError::OutOfRange { what };
    let contradiction = |what| StateError::Contradiction { what };
    let socket = "/sender/frames/2/Handle";
    for (path, value, expected) in [
        ("/deframer/position", json!(u64::MAX), out_of_range("a deframer's position")),
        ("/deframer/framing", json!("Length"), contradiction("the framing and the wire")),
        ("/ended", json!(true), contradiction("handles behind the end of the stream")),
        ("/max_handles", json!(0), out_of_range("handles that wait for their frame")),
        ("/missing", json!(u64::MAX), out_of_range("what a channel has counted")),
        ("/pairing/reads/0/range/end", json!(99), contradiction("a read beyond what was received")),
        ("/pairing/reads/0/range/end", json!(0), contradiction("reads that overlap")),
        ("/pairing/unexpected", json!(u64::MAX), out_of_range("unexpected handles")),
        (
            "/sender/closed",
            json!(true),
            contradiction("a channel that is closed has more to write"),
        ),
        ("/sender/gate/window", json!(0), out_of_range("a gate's window")),
        ("/sender/last_key", json!(2), contradiction("the gate and the frames")),
        ("/sender/gate/held/0/1", json!(1), contradiction("the gate and the frames")),
        ("/sender/queue/items", json!([{"Handle": 2}]), contradiction("the gate and the queue")),
        ("/sender/queue/items", json!([{"Plain": ""}]), contradiction("nothing is to be written")),
        ("/sender/queue/connections", json!([1]), contradiction("how many connections are queued")),
        ("/sender/queue/written", json!(1), out_of_range("what is written")),
        ("/sender/straddle/unanswered", json!(2), contradiction("the gate and the queue")),
        ("/unpacked/connections", json!([1]), contradiction("connections for no server")),
        (
            &format!("{socket}/carried"),
            json!("Nothing"),
            contradiction("a frame that is to be written"),
        ),
        (
            &format!("{socket}/carried/Shared"),
            json!(2),
            contradiction("the numbers of the handles"),
        ),
        (&format!("{socket}/bytes"), json!("7b0a"), contradiction("a frame that is to be written")),
    ] {
        let mut state = some_state();
        let read = |state: &serde_json::Value| ChannelState::deserialize(state).unwrap().check();
        assert_eq!(read(&state), Ok(()));
        *state.pointer_mut(path).unwrap_or_else(|| panic!("no {path}")) = value;
        assert_eq!(read(&state), Err(expected), "{path}");
    }
}

/// Another version reads what this one writes: a change of the form needs a default, or a name that
/// stays, and the old file beside a new one.
#[test]
fn the_form_is_kept() {
    let golden = include_str!("golden/channel_state.json");
    let golden: serde_json::Value = serde_json::from_str(golden).unwrap();
    assert_eq!(some_state(), golden, "{:#}", some_state());
    assert_eq!(ChannelState::deserialize(&golden).unwrap().check(), Ok(()));
}

/// A version that knows more writes more, and one that knew less wrote less.
#[test]
fn what_is_not_known_is_passed_over_and_what_is_usually_empty_may_be_missing() {
    let mut state = some_state();
    let known = ChannelState::deserialize(&state).unwrap();
    state["newer"] = json!({"than": ["this"]});
    state["sender"]["newer"] = json!(1);
    for path in ["/sender/reports", "/sender/reached", "/unpacked", "/truncated", "/drained"] {
        let (parent, name) = path.rsplit_once('/').unwrap();
        let parent = state.pointer_mut(parent).and_then(|parent| parent.as_object_mut());
        assert!(parent.unwrap().remove(name).is_some(), "{path}");
    }
    assert_eq!(ChannelState::deserialize(&state).unwrap(), known);
}

#[test]
fn other_handles_than_those_of_the_state_are_refused_and_all_comes_back() {
    let (a, _b) = memory::pair();
    let mut end = End::with_transport(a, ChannelConfig::default());
    for kind in [HandleKind::NetNative, HandleKind::NetSocket] {
        let outgoing = Outgoing::new(kind, Arc::new(Arc::new(7)));
        end.send(&Message::User("m".into()), Some(outgoing)).unwrap();
    }
    let mut parts = end.into_parts();
    for given in [0, 1, 3] {
        let handles = handles(given);
        let refused = End::from_parts(Parts { handles, ..parts }).expect_err("it needs two");
        assert_eq!(refused.error, StateError::HandleCount { expected: 2, given });
        let text = format!("the state speaks of 2 handles, and there are {given}");
        assert_eq!(refused.error.to_string(), text);
        parts = refused.parts;
        assert_eq!(parts.handles.len(), given);
    }
    parts.handles = handles(2);
    assert!(End::from_parts(parts).is_ok_and(|end| end.can_send()));
}

#[test]
fn a_received_handle_with_another_owner_is_refused() {
    let (mut a, b) = memory::pair();
    let mut end = End::with_transport(b, ChannelConfig::default());
    a.send(b"{\"cmd\":\"NODE_HAN", &[&Arc::new(7)]).unwrap();
    assert!(matches!(end.recv(), Ok(Recv::WouldBlock)));
    let parts = end.into_parts();
    let share = Arc::clone(&parts.handles[0]);
    let refused = End::from_parts(parts).expect_err("it cannot be given away");
    assert_eq!(refused.error, StateError::HandleShared { number: 0 });
    drop(share);
    assert!(End::from_parts(refused.parts).is_ok());
}
