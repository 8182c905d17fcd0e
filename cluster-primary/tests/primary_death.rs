//! A worker that is blocked does not see its primary go: the kernel ends it, if it is told to.
#![cfg(target_os = "linux")]

#[path = "support/node.rs"]
mod node;
#[path = "support/process.rs"]
mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use node::{nodes, own};
use rustix::process::{Pid, Signal, kill_process};
use support::{Folder, LIMIT, example};

/// A primary of its own whose worker is blocked.
struct Stuck {
    primary: Child,
    worker: i32,
}

impl Stuck {
    fn start(args: &[&str]) -> Self {
        let mut primary = Command::new(example("stuck"))
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it is built");
        let mut line = String::new();
        let mut out = BufReader::new(primary.stdout.take().expect("it is a pipe"));
        out.read_line(&mut line).expect("it can be read");
        let worker = line.trim().parse().expect("a process id");
        Self { primary, worker }
    }

    fn kill_primary(&mut self) {
        self.primary.kill().expect("it is ours");
        self.primary.wait().expect("it is ours");
    }

    /// As `proc(5)` has it, unless the process is gone.
    fn worker_state(&self) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.worker)).ok()?;
        stat.rsplit(") ").next()?.chars().next()
    }

    /// Whether the worker has ended, whichever process is to wait for it.
    fn worker_has_ended(&self) -> bool {
        matches!(self.worker_state(), None | Some('Z' | 'X'))
    }

    #[track_caller]
    fn until_the_worker_has_ended(&self) {
        let step = std::time::Duration::from_millis(5);
        let mut waited = step;
        while !self.worker_has_ended() {
            assert!(waited < LIMIT, "it is {:?}", self.worker_state());
            std::thread::sleep(step);
            waited += step;
        }
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        let _ = self.primary.kill();
        let _ = self.primary.wait();
        if let Some(worker) = Pid::from_raw(self.worker).filter(|_| !self.worker_has_ended()) {
            let _ = kill_process(worker, Signal::KILL);
        }
    }
}

#[test]
fn a_blocked_worker_dies_with_its_primary_if_so_set() {
    let mut stuck = Stuck::start(&["true"]);
    assert!(!stuck.worker_has_ended());
    stuck.kill_primary();
    stuck.until_the_worker_has_ended();
}

#[test]
fn without_the_setting_it_stays() {
    // Of two primaries that are killed together one's worker is there when the other's has gone.
    let (mut stays, mut goes) = (Stuck::start(&["false"]), Stuck::start(&["true"]));
    stays.kill_primary();
    goes.kill_primary();
    goes.until_the_worker_has_ended();
    assert!(!stays.worker_has_ended());
}

#[test]
fn a_node_worker_in_an_endless_loop_dies_with_its_primary() {
    for node in nodes() {
        let folder = Folder::new("endless");
        let script = own(&folder, "process.send('about to block', () => { while (true); });");
        let (node, script) = (node.display().to_string(), script.display().to_string());
        let mut stuck = Stuck::start(&["true", &node, &script]);
        assert!(!stuck.worker_has_ended());
        stuck.kill_primary();
        stuck.until_the_worker_has_ended();
    }
}
