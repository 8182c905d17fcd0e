//! Workers that take long to execute their programs, or cannot in the end.
#![cfg(target_os = "linux")]

#[path = "support/lease.rs"]
mod lease;
#[path = "support/process.rs"]
mod support;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use cluster_primary::{Event, ExitStatus, Settings, Signal, WorkerError, WorkerId};
use lease::Lease;
use support::{Cluster, Folder, example};

/// An executable file.
fn script(folder: &Folder, text: &str) -> PathBuf {
    let path = folder.0.join("script");
    std::fs::write(&path, text).expect("it is written");
    std::fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("it is ours");
    path
}

/// Why it was not started.
fn not_started(cluster: &mut Cluster, id: WorkerId) -> String {
    let failed = |e: &Event| matches!(e, Event::Error { worker, error: WorkerError::Start { .. } } if *worker == id);
    let Event::Error { error, .. } = cluster.until("an error", failed) else { unreachable!() };
    error.to_string()
}

fn exit(cluster: &mut Cluster, id: WorkerId) -> ExitStatus {
    let exit = |e: &Event| matches!(e, Event::Exit { worker, .. } if *worker == id);
    let Event::Exit { status, .. } = cluster.until("its end", exit) else { unreachable!() };
    status
}

#[test]
fn a_program_that_cannot_be_opened_for_long_is_waited_for_without_blocking() {
    let folder = Folder::new("slow");
    let text = format!("#!/bin/sh\nexec '{}' \"$@\"\n", example("puppet").display());
    let script = script(&folder, &text);
    let mut cluster = Cluster::with(Settings::new(&script));
    let ready = cluster.fork();
    let lease = Lease::take(&script);
    let slow = cluster.primary.fork().expect("it is on its way");
    assert_eq!(cluster.ask(ready, "env CLUSTER_NONE"), "(unset)", "others are served");
    // Also where another image goes on.
    cluster.upgrade();
    assert_eq!(cluster.ask(ready, "env CLUSTER_NONE"), "(unset)");
    drop(lease);
    cluster.until("online", |e| matches!(e, Event::Online { worker } if *worker == slow));
    assert_eq!(cluster.ask(slow, "env CLUSTER_NONE"), "(unset)");
    assert!(!cluster.rest().iter().any(|e| matches!(e, Event::Error { .. })));
}

#[test]
fn what_takes_too_long_is_killed() {
    let folder = Folder::new("dead");
    let text = format!("#!/bin/sh\nexec '{}' \"$@\"\n", example("puppet").display());
    let script = script(&folder, &text);
    let mut settings = Settings::new(&script);
    settings.limits.start_timeout = Duration::from_millis(200);
    let mut cluster = Cluster::with(settings);
    let _lease = Lease::take(&script);
    let dead = cluster.primary.fork().expect("it is on its way");
    let why = not_started(&mut cluster, dead);
    assert!(why.contains("was not executed within 200ms, and its process was killed"), "{why}");
    assert_eq!(exit(&mut cluster, dead), ExitStatus::Signal(Signal::KILL));
}

#[test]
fn what_cannot_be_executed_after_all_is_an_error_and_an_end() {
    let folder = Folder::new("late");
    let script = script(&folder, "#!/no/such/interpreter\n");
    for upgrades in [0, 1] {
        let mut cluster = Cluster::with(Settings::new(&script));
        let lease = Lease::take(&script);
        let late = cluster.primary.fork().expect("it is on its way");
        for _ in 0..upgrades {
            cluster.upgrade();
        }
        drop(lease);
        let why = not_started(&mut cluster, late);
        assert!(why.contains("cannot execute") && why.contains("No such file"), "{why}");
        assert_eq!(exit(&mut cluster, late), ExitStatus::Code(127));
        assert!(cluster.primary.is_over());
    }
}
