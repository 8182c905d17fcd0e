//! As the first process of a container, or a subreaper, it waits for strangers, and leaves workers to
//! the primary. (One test, alone in its binary: parent and child are a matter of the process.)
#![cfg(target_os = "linux")]

#[allow(dead_code, reason = "it is `cluster run`'s")]
#[path = "../src/init/mod.rs"]
mod init;
mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use init::Init;
use rustix::process::{Signal, getpid, set_child_subreaper};
use support::{eventually, is_there, kill, state};

/// Set where this very program is to be the first process of a namespace.
const FIRST: &str = "CLUSTER_TEST_FIRST";

/// A child, and the number of a grandchild that it leaves behind.
fn orphan() -> i32 {
    let mut parent = Command::new("sh")
        .args(["-c", "sleep 1000 & echo $!"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("there is a shell");
    let mut line = String::new();
    // (The orphan has the pipe too: it does not end.)
    let mut out = BufReader::new(parent.stdout.take().expect("it is a pipe"));
    out.read_line(&mut line).expect("it can be read");
    parent.wait().expect("it is ours");
    line.trim().parse().expect("a process id")
}

/// Has all of them waited for, a few at a time; how many they were.
fn reap(init: &mut Init, is_worker: impl Fn(u32) -> bool) -> usize {
    let (mut all, mut calls) = (0, 0);
    loop {
        let reaped = init.reap(&is_worker);
        assert!(reaped.count <= 64, "one call did all at once: {reaped:?}");
        (all, calls) = (all + reaped.count, calls + 1);
        assert!(calls < 100, "it never says that there are no more");
        if !reaped.more {
            return all;
        }
    }
}

fn worker() -> Child {
    Command::new("sleep").arg("1000").spawn().expect("there is sleep")
}

fn end(pid: i32) {
    kill(pid, Signal::KILL);
    eventually("it has ended", || (state(pid) == Some('Z')).then_some(()));
}

fn pid(child: &Child) -> i32 {
    i32::try_from(child.id()).expect("it fits")
}

#[test]
fn strangers_are_waited_for_and_workers_are_not() {
    if std::env::var_os(FIRST).is_some() {
        assert_eq!(std::process::id(), 1);
    } else {
        assert!(Init::new().is_none(), "orphans do not become children of this process");
        in_a_namespace();
        set_child_subreaper(Some(getpid())).expect("every process may");
    }
    let mut init = Init::new().expect("orphans come to this process");
    assert_eq!(reap(&mut init, |_| false), 0, "there is no child yet");

    let (first, second) = (orphan(), orphan());
    let mut workers = [worker(), worker()];
    let ids = [workers[0].id(), workers[1].id()];
    let is_worker = |pid: u32| ids.contains(&pid);
    assert_eq!(reap(&mut init, is_worker), 0, "no child has ended");

    // An orphan ends, with no child before it; then after a worker whose end has not been noticed.
    end(first);
    assert_eq!(reap(&mut init, is_worker), 1);
    assert!(!is_there(first));
    end(pid(&workers[0]));
    assert_eq!(reap(&mut init, is_worker), 0);
    end(second);
    assert_eq!(reap(&mut init, is_worker), 1);
    assert!(!is_there(second));

    // Many strangers, before workers and behind them.
    let living: Vec<_> = (0..60).map(|_| orphan()).collect();
    let many: Vec<_> = (0..200).map(|_| orphan()).collect();
    many[..100].iter().copied().for_each(end);
    end(pid(&workers[1]));
    many[100..].iter().copied().for_each(end);
    assert_eq!(reap(&mut init, is_worker), 200);
    assert!(!many.into_iter().any(is_there));
    assert!(living.iter().copied().all(is_there));
    living.into_iter().for_each(end);
    assert_eq!(reap(&mut init, is_worker), 60);

    // The exit statuses of workers are still there for the code that waits for them.
    for worker in &mut workers {
        assert_eq!(state(pid(worker)), Some('Z'));
        let status = worker.wait().expect("it was left to us");
        assert_eq!(support::signal_of(status), Some(Signal::KILL.as_raw()));
    }
    assert_eq!(reap(&mut init, is_worker), 0);
}

/// The same as the first process of a namespace, if one may be made.
fn in_a_namespace() {
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
    let may = unshare.arg("true").output().is_ok_and(|output| output.status.success());
    if !may {
        println!("skipped: no namespace of processes may be made here");
        return;
    }
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
    unshare.arg(std::env::current_exe().expect("it has a path"));
    unshare.args(["--exact", "strangers_are_waited_for_and_workers_are_not", "--nocapture"]);
    let output = unshare.env(FIRST, "1").output().expect("it was there before");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("1 passed"), "{said}{errors}");
}
