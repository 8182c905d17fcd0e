//! Sockets that are made with the rights of workers of another user: the primary goes on as another program
//! while the process that makes one is on its way.
#![cfg(target_os = "linux")]

#[path = "support/process.rs"]
mod support;

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cluster_primary::{Event, Settings, Signal};
use rustix::process::{Pid, geteuid, kill_process};
use support::{Cluster, Folder, example};

const WORKER: u32 = 65534;
/// So often a process is stopped on its way, or at its end.
const TRIES: usize = 20;

/// Processes that this one has forked and that execute no other program.
fn forked() -> Vec<i32> {
    let name = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/comm")).ok();
    let own = name("self");
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux has it").flatten();
    let children =
        tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let children: Vec<String> = children
        .flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let forked = children.iter().filter(|pid| {
        // That of the thread that forked.
        name(pid).is_some_and(|name| Some(&name) == own.as_ref() || !name.starts_with("puppet"))
    });
    forked.filter_map(|pid| pid.parse().ok()).collect()
}

fn signal(pid: i32, signal: rustix::process::Signal) {
    // It may have ended.
    let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, signal));
}

#[test]
fn another_image_takes_up_what_is_on_its_way() {
    if !geteuid().is_root() {
        eprintln!("left out: only root has workers of another user");
        return;
    }
    let folder = Folder::new("as-worker");
    let open = |path: &std::path::Path| {
        std::fs::set_permissions(path, Permissions::from_mode(0o755)).expect("it is ours");
    };
    open(&folder.0);
    let puppet = folder.0.join("puppet");
    let copied = std::process::Command::new("cp").arg(example("puppet")).arg(&puppet).status();
    assert!(copied.expect("it runs").success());
    open(&puppet);
    let own = folder.0.join("own");
    std::fs::create_dir(&own).expect("a folder");
    chown(&own, Some(WORKER), Some(WORKER)).expect("root may");

    let mut settings = Settings::new(&puppet);
    (settings.uid, settings.gid) = (Some(WORKER), Some(WORKER));
    settings.listen_as_worker = true;
    let mut cluster = Cluster::with(settings);
    let worker = cluster.fork();
    let mut caught = 0;
    for number in 0..TRIES {
        let path = own.join(number.to_string());
        // Stops the first that appears.
        let over = Arc::<AtomicBool>::default();
        let stopping = {
            let over = Arc::clone(&over);
            std::thread::spawn(move || {
                loop {
                    if let Some(pid) = forked().first() {
                        signal(*pid, rustix::process::Signal::STOP);
                        return Some(*pid);
                    }
                    if over.load(Ordering::Acquire) {
                        return None;
                    }
                }
            })
        };
        cluster.primary.send(worker, format!("unix {}", path.display())).expect("it is connected");
        let mut is_late = false;
        while !stopping.is_finished() && !is_late {
            let event = cluster.primary.next_event_within(Duration::from_millis(5));
            is_late = matches!(event.expect("a poll").event(), Some(Event::Listening { .. }));
        }
        over.store(true, Ordering::Release);
        let stopped = stopping.join().expect("it does not panic");
        if !is_late {
            caught += 1;
            cluster.upgrade();
        }
        if let Some(pid) = stopped {
            signal(pid, rustix::process::Signal::CONT);
        }
        let said = cluster.message(worker);
        assert_eq!(said, "listening 0");
        let found = std::fs::symlink_metadata(&path).expect("it is there");
        assert_eq!((found.uid(), found.gid()), (WORKER, WORKER));
        let at = path.clone();
        cluster.run(move || drop(UnixStream::connect(at).expect("it listens")));
    }
    eprintln!("{caught} of {TRIES} were on their way");
    cluster.primary.worker(worker).expect("it lives").kill(Signal::TERM).expect("it may be");
    drop(cluster);
    assert_eq!(std::fs::read_dir(&own).expect("it is there").count(), 0, "their files are removed");
}
