//! Every format that was ever written is read. The golden files were written by the first version
//! that had their format (descriptors' kinds, process ids and paths made up), and stay as they are:
//! a change of what is written needs a new number and another file.
#![cfg(target_os = "linux")]

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use cluster_control::{ControlCommand, ControlServer};
use cluster_primary::upgrade::{FORMAT, OLDEST_FORMAT};
use cluster_primary::{Affinity, Frozen, Placement, PolicyName, StateError, WorkerId};
use cluster_supervisor::driver::{State, Supervised};
use serde_json::Value;

fn golden(kind: &str, format: u32) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/upgrade");
    let path = folder.join(format!("{kind}-{format}.json"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Any: what they are is not looked at.
fn descriptors(count: usize) -> Vec<OwnedFd> {
    let streams = (0..count).map(|_| UnixStream::pair().expect("there is room").0.into());
    streams.collect()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("it is JSON")
}

fn supervised(format: u32) -> Supervised {
    let read = Supervised::from_state(&golden("supervised", format), descriptors(23));
    read.unwrap_or_else(|e| panic!("format {format}: {e}"))
}

#[test]
fn a_cluster_of_any_format_is_read() {
    for format in OLDEST_FORMAT..=FORMAT {
        let mut cluster = supervised(format);
        let settings = cluster.primary().settings();
        assert_eq!(settings.exec, Path::new("/srv/app"));
        assert_eq!((settings.placement, settings.policy), (Placement::Kernel, PolicyName::Sticky));
        assert_eq!(settings.affinity, Some(Affinity::Sets(vec![vec![0]])));
        // What the first format did not have is as it is by default.
        let later = (settings.keep_listeners, settings.limits.unresponsive_after);
        let expected =
            if format == 1 { (false, None) } else { (true, Some(Duration::from_secs(60))) };
        assert_eq!(later, expected, "format {format}");

        assert_eq!(cluster.primary().workers(), [1, 2, 3].map(WorkerId));
        let one = cluster.primary().worker_state(WorkerId(1)).expect("it is there");
        assert_eq!((one.state, one.in_flight, one.connections), ("listening", 1, 2));
        assert_eq!(one.ack_latency.count, if format == 1 { 0 } else { 2 });
        assert_eq!(cluster.primary().listening(WorkerId(1)).len(), 2);
        let stats = cluster.primary().stats();
        assert_eq!((stats.accepted, stats.handed_over, stats.waiting), (7, 3, 2));
        assert_eq!(cluster.supervisor().state(), State::Reloading);
        assert_eq!(cluster.supervisor().counts().restarts, 3);
        let config = cluster.supervisor().config();
        let expected = if format < 3 { Duration::from_secs(5) } else { Duration::from_secs(3) };
        assert_eq!(config.drain_timeout(), expected, "half of the grace period by default");
        let reported = one.agent.map(|report| (report.connections, report.requests));
        assert_eq!(reported, (format >= 3).then_some((3, 40)), "format {format}");

        // What is written of it is of the newest format, and again the same.
        let Frozen { text, fds } = cluster.state().expect("nothing has happened");
        assert_eq!(fds.len(), 23);
        if format == FORMAT {
            assert_eq!(json(&text), json(&golden("supervised", format)));
        } else {
            assert_eq!(json(&text)["format"], FORMAT);
        }
        Supervised::from_state(&text, fds).expect("it can be read again").abandon();
        cluster.abandon();
    }
}

#[test]
fn a_control_server_of_any_format_is_read() {
    for format in OLDEST_FORMAT..=FORMAT {
        let text = golden("control", format);
        let mut control = ControlServer::from_state(&text, descriptors(3)).expect("it can be");
        let Frozen { text: again, fds } = control.state().expect("there is room");
        assert_eq!(json(&again)["state"], json(&text)["state"], "format {format}");
        assert_eq!(fds.len(), 3);
        let (_, command) = control.next_command().expect("one waits");
        assert_eq!(command, ControlCommand::Reload);
        control.abandon();
    }
}

#[test]
fn a_format_of_the_future_is_refused() {
    for kind in ["supervised", "control"] {
        let mut future = json(&golden(kind, FORMAT));
        future["format"] = (FORMAT + 1).into();
        future["state"] = "unknown".into();
        let text = future.to_string();
        let refused = match kind {
            "supervised" => Supervised::from_state(&text, Vec::new()).map(Supervised::abandon),
            _ => ControlServer::from_state(&text, Vec::new()).map(ControlServer::abandon),
        };
        let newer = |e: &StateError| matches!(e, StateError::Newer { format, newest: FORMAT } if *format == FORMAT + 1);
        assert!(refused.as_ref().is_err_and(newer), "{refused:?}");
        // Nor is one taken for another.
        let other = golden(kind, FORMAT);
        let refused = match kind {
            "supervised" => ControlServer::from_state(&other, Vec::new()).map(drop),
            _ => Supervised::from_state(&other, Vec::new()).map(drop),
        };
        assert!(matches!(refused, Err(StateError::OtherKind { .. })), "{refused:?}");
    }
}

#[test]
fn a_worker_that_is_not_known_any_more_has_ended() {
    use cluster_primary::{Event, ExitStatus};
    use cluster_supervisor::driver::ClusterEvent;

    // The process ids of the golden file belong to no process.
    let mut cluster = supervised(FORMAT);
    let mut ended = Vec::new();
    for _ in 0..1000 {
        while let Some(happening) = cluster.ready() {
            if let ClusterEvent::Event(Event::Exit { worker, status, .. }) = happening {
                assert_eq!(status, ExitStatus::Unknown);
                ended.push(worker);
            }
        }
        if ended.len() == 3 {
            break;
        }
        cluster.wait(Some(Duration::from_millis(10))).expect("a poll");
    }
    ended.sort();
    assert_eq!(ended, [1, 2, 3].map(WorkerId));
    cluster.abandon();
}
