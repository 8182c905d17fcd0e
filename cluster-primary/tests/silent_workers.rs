//! Workers that say something are well, and workers that fall silent are reported: through a primary with real
//! processes. (`health.rs` asks the machine alone.)

#[path = "support/process.rs"]
mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cluster_primary::{Event, Placement, Settings, Signal, Stdio, WorkerError, WorkerId};
use support::{Cluster, LIMIT, example, placements, puppet, serve_from_any_worker};

/// A worker may be silent for so long.
const SILENCE: Duration = Duration::from_millis(400);

/// A worker that reads nothing, and so answers no probe: it says so many lines, one every 50 ms, and then nothing more.
fn talker(count: u32, line: &str) -> Settings {
    let arguments = [format!("every:50:{count}:{line}"), "sleep".to_owned()];
    let mut settings = Settings::new(example("rogue")).args(arguments);
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
        match cluster.primary.next_event_within(SILENCE).expect("a poll").event() {
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

/// Longer than a worker of a loaded machine is kept waiting.
const LONG_SILENCE: Duration = Duration::from_millis(1500);

/// Two workers that serve one address.
fn two_servers(placement: Placement) -> (Cluster, [WorkerId; 2], SocketAddr) {
    let mut settings = puppet().placement(placement);
    settings.limits.unresponsive_after = Some(LONG_SILENCE);
    let mut cluster = Cluster::with(settings);
    let workers = [cluster.fork(), cluster.fork()];
    let address = cluster.listen(workers[0], 0);
    assert_eq!(cluster.listen(workers[1], 0), address);
    (cluster, workers, address)
}

fn stop(cluster: &mut Cluster, worker: WorkerId) {
    assert!(
        cluster
            .primary
            .kill(worker, "SIGSTOP".parse().expect("there is one"))
            .expect("it may be stopped")
    );
}

fn go_on(cluster: &mut Cluster, worker: WorkerId) {
    assert!(cluster.primary.kill(worker, Signal::CONT).expect("it may go on"));
    let responsive = |e: &Event| matches!(e, Event::Responsive { worker: w } if *w == worker);
    cluster.until("responsive", responsive);
    assert!(cluster.primary.worker_state(worker).expect("it is there").responsive);
}

fn until_silent(cluster: &mut Cluster, worker: WorkerId) {
    let silent = |e: &Event| matches!(e, Event::Unresponsive { worker: w, .. } if *w == worker);
    cluster.until("unresponsive", silent);
    assert!(!cluster.primary.worker_state(worker).expect("it is there").responsive);
}

#[test]
fn a_worker_that_does_not_answer_gets_nothing_more_until_it_does() {
    for placement in placements().filter(|placement| *placement != Placement::Shared) {
        let (mut cluster, [one, two], address) = two_servers(placement);
        stop(&mut cluster, one);
        until_silent(&mut cluster, one);
        for _ in 0..6 {
            assert_eq!(cluster.served_by(address), two, "under {placement}");
        }
        go_on(&mut cluster, one);
        // It is in rotation again.
        let mut serves = || cluster.served_by(address);
        assert!((0..1000).any(|_| serves() == one), "under {placement}");
    }
}

/// A hand-off that is left unanswered shows it as well, and its connection waits for the worker that has it.
#[test]
fn a_connection_that_is_left_unanswered_is_served_when_its_worker_goes_on() {
    let (mut cluster, [one, two], address) = two_servers(Placement::Handoff);
    for worker in [one, two] {
        stop(&mut cluster, worker);
    }
    let clients = [0, 1].map(|_| {
        let client = std::net::TcpStream::connect(address).expect("it listens");
        std::thread::spawn(move || serve_from_any_worker(client))
    });
    for worker in [one, two] {
        until_silent(&mut cluster, worker);
    }
    for worker in [one, two] {
        go_on(&mut cluster, worker);
    }
    let served = cluster.run(move || clients.map(|client| client.join().expect("it is served")));
    assert!(served.iter().all(|worker| [one, two].contains(worker)));
}

/// Of two workers that are both silent one stays in rotation: it serves what comes when it goes on.
#[test]
fn the_last_worker_of_a_server_is_never_left_out() {
    let (mut cluster, workers, address) = two_servers(Placement::Handoff);
    for worker in workers {
        stop(&mut cluster, worker);
    }
    for worker in workers {
        until_silent(&mut cluster, worker);
    }
    let client = std::thread::spawn(move || {
        serve_from_any_worker(std::net::TcpStream::connect(address).expect("it listens"))
    });
    for worker in workers {
        go_on(&mut cluster, worker);
    }
    let served = cluster.run(move || client.join().expect("it is served"));
    assert!(workers.contains(&served));
}

#[test]
fn a_worker_that_is_to_leave_is_not_judged() {
    let (mut cluster, [leaves, stays], _) = two_servers(Placement::Handoff);
    for worker in [leaves, stays] {
        stop(&mut cluster, worker);
    }
    cluster.primary.disconnect_worker(leaves);
    until_silent(&mut cluster, stays);
    let rest = cluster.rest();
    let judged = |e: &Event| matches!(e, Event::Unresponsive { worker, .. } if *worker == leaves);
    assert!(!rest.iter().any(judged), "{rest:?}");
    assert!(cluster.primary.worker_state(leaves).expect("it is there").responsive);
}

#[test]
fn without_a_limit_no_worker_is_asked() {
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    cluster.listen(worker, 0);
    while cluster.primary.poll_timeout() == Some(Duration::ZERO) {
        cluster.primary.wait(Some(Duration::ZERO)).expect("a poll");
        while cluster.primary.ready_event().is_some() {}
    }
    assert_eq!(cluster.primary.poll_timeout(), None, "nothing is due, ever");
}
