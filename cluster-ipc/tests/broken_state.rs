//! A state that is damaged, or made by somebody hostile, is an error or some channel's state, and
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
use ops::{End, Op, Pair};
use proptest::prelude::*;

/// As many handles as that, nobody else's.
#[expect(clippy::redundant_allocation, reason = "a handle of the memory's is one already")]
fn handles(count: usize) -> Vec<Arc<Arc<u64>>> {
    (0..count as u64).map(|n| Arc::new(Arc::new(n))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30000))]

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
