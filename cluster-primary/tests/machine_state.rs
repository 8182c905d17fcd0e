//! A machine that goes through its written state does from there on what it would have done.

#[path = "../../cluster-ipc/tests/support/damage.rs"]
mod damage;
#[path = "support/ops/mod.rs"]
mod ops;

use cluster_primary::Mono;
use cluster_primary::machine::{Machine, MachineState};
use proptest::prelude::*;

/// One that was written down, and taken up.
fn taken_up(now: Mono, machine: &Machine) -> Machine {
    let text = serde_json::to_string(&machine.state(now).unwrap()).unwrap();
    let state: MachineState = serde_json::from_str(&text).unwrap();
    let config = machine.config();
    let next = Machine::from_state(now, config, state).unwrap_or_else(|e| panic!("{e}: {text}"));
    // It has forgotten nothing.
    assert_eq!(serde_json::to_string(&next.state(now).unwrap()).unwrap(), text);
    assert_eq!(next.poll_timeout(), machine.poll_timeout());
    assert_eq!(next.stats(), machine.stats());
    next
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_machine_that_was_taken_up_does_what_it_would_have_done(
        bytes in proptest::collection::vec(any::<u8>(), 1..600),
        changes in proptest::collection::vec(any::<bool>(), 1..50),
        watched: bool,
    ) {
        let mut report = ops::run(&bytes);
        if watched {
            // Workers that send nothing are probed and ejected; the calls are the same.
            report.settings.limits.unresponsive_after = Some(Mono::from_millis(400));
            report.outputs = ops::replay(&report, || true);
        }
        let mut changes = changes.into_iter().cycle();
        let outputs = ops::replay_changing(&report, |now, machine| {
            if changes.next().unwrap_or(true) { taken_up(now, &machine) } else { machine }
        });
        prop_assert_eq!(&outputs, &report.outputs);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6000))]

    #[test]
    fn no_state_makes_a_machine_panic(
        bytes in proptest::collection::vec(any::<u8>(), 1..300),
        at in any::<prop::sample::Index>(),
        wounds in proptest::collection::vec((any::<usize>(), any::<usize>()), 1..3),
    ) {
        let report = ops::run(&bytes);
        let mut left = at.index(report.history.len().max(1));
        let _ = ops::replay_changing(&report, |now, machine| {
            if left > 0 {
                left -= 1;
                return machine;
            }
            left = usize::MAX;
            let mut json = serde_json::to_value(machine.state(now).unwrap()).unwrap();
            for (place, how) in &wounds {
                damage::damage(&mut json, *place, *how);
            }
            let config = machine.config();
            let state = serde_json::from_value::<MachineState>(json);
            state.ok().and_then(|state| Machine::from_state(now, config, state).ok()).unwrap_or(machine)
        });
    }
}

#[test]
fn what_is_not_taken_yet_is_in_the_way() {
    let mut machine = Machine::new(cluster_primary::machine::Config::default(), 1);
    assert!(machine.state(Mono::ZERO).is_ok());
    machine.handle_input(Mono::ZERO, cluster_primary::machine::Input::DisconnectAll);
    let refused = machine.state(Mono::ZERO);
    assert!(matches!(refused, Err(cluster_primary::StateError::EventsWait)), "{refused:?}");
}
