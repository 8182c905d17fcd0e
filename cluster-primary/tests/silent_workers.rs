//! Workers that say something are well, and workers that fall silent are reported: through a primary with real
//! processes. (`health.rs` asks the machine alone.)

#[path = "support/process.rs"]
mod support;

use std::time::{Duration, Instant};

use cluster_primary::{Event, Settings, Stdio, WorkerError, WorkerId};
use support::{Cluster, LIMIT, example};

/// A worker may be silent for so long.
const SILENCE: Duration = Duration::from_millis(400);

/// A worker that reads nothing, and so answers no probe: it says so many lines, one every 50 ms, and then nothing more.
fn talker(count: u32, line: &str) -> Settings {
    let arguments = [format!("every:50:{count}:{line}"), "sleep".to_owned()];
    let mut settings = Settings::new(example("rogue")).with_args(arguments);
    settings.stdio = Some(vec![Stdio::Ipc, Stdio::Inherit, Stdio::Inherit]);
    settings.limits.unresponsive_after = Some(SILENCE);
    settings
}

#[allow(
    clippy::disallowed_methods,
    reason = "what the worker says is compared with what is said of it"
)]
fn now() -> Instant {
    Instant::now()
}

/// Has a worker say these lines, and then nothing. While it speaks it must not be declared silent; then it must.
///
/// On a loaded machine a worker may really say nothing for that long: that it is told so is no mistake.
fn stays_well_as_long_as_it_speaks(line: &str, is_heard: impl Fn(&Event, WorkerId) -> bool) {
    const LINES: u32 = 40;
    let mut cluster = Cluster::with(talker(LINES, line));
    let worker = cluster.primary.fork().expect("the program is there");
    let (mut heard, mut heard_at, start) = (0, None::<Instant>, now());
    loop {
        let event = cluster.primary.next_event_within(SILENCE).expect("a poll");
        match event {
            Some(event) if is_heard(&event, worker) => {
                heard += 1;
                heard_at = Some(now());
            }
            Some(Event::Unresponsive { worker: silent, silent_for }) => {
                assert_eq!(silent, worker);
                assert!(silent_for >= SILENCE);
                let since = heard_at.map(|at| now() - at);
                assert!(
                    since.is_none_or(|since| since >= SILENCE),
                    "declared silent for {silent_for:?}; line {heard} was read {since:?} ago"
                );
                if heard == LINES {
                    break;
                }
            }
            Some(Event::Disconnect { .. } | Event::Exit { .. }) => panic!("its channel is open"),
            _ => {}
        }
        assert!(start.elapsed() < LIMIT, "{heard} lines were read, and it was not declared silent");
    }
    assert!(!cluster.primary.worker_state(worker).expect("it is there").responsive);
}

#[test]
fn messages_are_signs_of_life() {
    let is_heard = |e: &Event, from| matches!(e, Event::Message { worker, .. } if *worker == from);
    stays_well_as_long_as_it_speaks("\"tick %\"", is_heard);
}

#[test]
fn requests_are_signs_of_life() {
    let line = r#"{"cmd":"CLUSTER_REQUEST","id":%,"body":"and you?"}"#;
    let is_heard = |e: &Event, from| matches!(e, Event::Request { worker, .. } if *worker == from);
    stays_well_as_long_as_it_speaks(line, is_heard);
}

#[test]
fn a_message_that_is_not_read_for_its_depth_is_a_sign_of_life_too() {
    let line = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
    let is_heard = |e: &Event, from| matches!(e, Event::Error { worker, error: WorkerError::TooDeep } if *worker == from);
    stays_well_as_long_as_it_speaks(&line, is_heard);
}
