//! A cluster whose workers cannot start keeps trying, says what it waits for, and gives up when it should.

mod support;

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use support::{Cluster, Folder, assert_gone, cluster, get, kill, now};

/// A program that starts while the file `up` is there: its database, say.
struct Program {
    folder: Folder,
    path: PathBuf,
}

impl Program {
    fn new(name: &str) -> Self {
        let folder = Folder::new(name);
        let demo = env!("CARGO_BIN_EXE_cluster");
        let up = folder.0.join("up");
        let text = format!(
            "#!/bin/sh\n[ -e {} ] || exit 3\nexec {demo} demo-worker 127.0.0.1:0\n",
            up.display()
        );
        let path = folder.file("worker", &text, 0o755);
        Self { folder, path }
    }

    fn up(&self) {
        self.folder.file("up", "", 0o644);
    }

    fn down(&self) {
        std::fs::remove_file(self.folder.0.join("up")).expect("it was up");
    }

    fn start(&self, options: &[&str]) -> Cluster {
        Cluster::start(cluster().arg("run").args(options).arg(&self.path))
    }
}

const DEATH: &str = "died (code 3)";

#[test]
fn one_that_has_served_waits_for_its_database() {
    let program = Program::new("database");
    program.up();
    let options =
        ["-n", "2", "--max-failures", "2", "--backoff-max", "200ms", "--failure-period", "1h"];
    let cluster = program.start(&options);
    let address = cluster.listening(2);
    program.down();
    cluster.worker_pids().iter().for_each(|pid| kill(*pid, Signal::KILL));
    let waits = |line: &str| line.contains("no worker is ready, and new ones fail");
    let line = cluster.err.wait_for(1, waits).remove(0);
    for part in [
        "code 3 after ",
        "before it was ready. Waiting for a worker that listens",
        "with pauses of up to 200ms between attempts",
        "the cluster gives up (--failure-period)",
    ] {
        assert!(line.contains(part), "{part:?} in {line:?}");
    }
    // That is far more than --max-failures for both slots.
    cluster.err.wait_for(20, |line| line.contains(DEATH));
    program.up();
    cluster.listening(4);
    get(address).expect("it serves again");
    assert_eq!(cluster.err.wait_for(1, waits).len(), 1, "it is said once");
    cluster.end();
}

#[test]
fn it_gives_up_after_the_failure_period_and_not_before() {
    let program = Program::new("period");
    program.up();
    let options =
        ["-n", "1", "--max-failures", "1", "--backoff-max", "100ms", "--failure-period", "2s"];
    let mut cluster = program.start(&options);
    cluster.listening(1);
    program.down();
    let begun = now();
    kill(cluster.worker_pids()[0], Signal::KILL);
    assert_eq!(cluster.wait().code(), Some(4), "{:#?}", cluster.err.all());
    // The first failure comes after that.
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    cluster.err.wait_for(1, |line| line.contains("giving up: "));
    assert_gone(&cluster.worker_pids());
}

#[test]
fn one_that_has_never_served_gives_up_at_once() {
    let program = Program::new("never");
    let options = ["-n", "1", "--max-failures", "1", "--backoff-max", "100ms"];
    let mut cluster = program.start(&options);
    assert_eq!(cluster.wait().code(), Some(4), "{:#?}", cluster.err.all());
    let lines = cluster.err.all();
    assert_eq!(lines.iter().filter(|line| line.contains(DEATH)).count(), 1, "{lines:#?}");
}

#[test]
fn zero_failures_means_never_to_give_up() {
    let program = Program::new("zero");
    let options = ["-n", "1", "--max-failures", "0", "--backoff-max", "100ms"];
    let cluster = program.start(&options);
    cluster.err.wait_for(1, |line| line.contains("it never gives up (--max-failures 0)"));
    cluster.err.wait_for(12, |line| line.contains(DEATH));
    program.up();
    cluster.listening(1);
    cluster.end();
}

/// Each new worker would be over the limit again: to replace it at each look would be of no use.
#[test]
fn a_memory_limit_below_what_a_worker_needs_is_warned_of_and_replacements_get_rarer() {
    let mut run = cluster();
    run.args(["run", "-n", "1", "--max-memory", "64K", "--recycle-jitter", "0"]);
    run.args(["--failure-period", "2s", "--demo-listen", "127.0.0.1:0"]);
    let cluster = Cluster::start(&mut run);
    let warns = |line: &str| line.contains("may use 0 MiB (--max-memory): if the program needs");
    let lines = cluster.err.wait_for(2, warns);
    for (line, pause) in lines.iter().zip(["2s", "4s"]) {
        let pause = format!("is not replaced within {pause}");
        assert!(
            line.starts_with("cluster: warning: worker ") && line.ends_with(&pause),
            "{lines:?}"
        );
    }
    // Once for each worker, and no worker was replaced without one.
    let replaced =
        cluster.err.all().iter().filter(|line| line.contains("is replaced: it uses")).count();
    assert_eq!(replaced, 1, "{:#?}", cluster.err.all());
    cluster.end();
}
