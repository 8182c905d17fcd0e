//! A program in another language, without a channel: the signal is all that it hears, and it hears it at once.
#![cfg(target_os = "linux")]

#[path = "support/programs.rs"]
mod programs;
mod support;

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use programs::{assert_graceful, end, left, log, printed, program, reload};
use support::{Cluster, cluster, eventually};

/// The time of a line that ends with one, in seconds.
fn time_of(line: &str) -> f64 {
    line.rsplit(' ').next().and_then(|time| time.parse().ok()).expect("it ends with a time")
}

/// As Python's `time.time()`.
#[expect(clippy::disallowed_methods, reason = "the program's clock is this one")]
fn epoch() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_secs_f64()
}

fn consumer(options: &[&str]) -> Option<Command> {
    if !Command::new("python3").arg("--version").output().is_ok_and(|run| run.status.success()) {
        eprintln!("no python3: what needs it is not tested");
        return None;
    }
    let mut run = cluster();
    run.args(["run", "-n", "2", "--grace", "50"]).args(options).arg("python3");
    run.arg(program("queue.py"));
    Some(run)
}

/// Waits until the worker of each slot is in the midst of a job. (Not for so many jobs: one worker may have begun its second
/// before the other has started.)
#[track_caller]
fn both_work(cluster: &Cluster) {
    let lines = |slot, what| printed(cluster, &format!("[{slot}] job {what}"));
    let works = |slot| lines(slot, "begins") > lines(slot, "done");
    eventually("both workers do a job", || (works(0) && works(1)).then_some(()));
}

/// Asks all to stop in the midst of a job each, by a reload and by the end.
fn jobs_are_done(options: &[&str]) {
    let Some(mut run) = consumer(options) else { return };
    let mut cluster = Cluster::start(&mut run);
    both_work(&cluster);
    reload(&cluster, 1);
    assert_eq!(printed(&cluster, "stops"), 2, "{}", log(&cluster));
    // The new ones: what the old ones had begun is done.
    both_work(&cluster);
    let before = epoch();
    end(&mut cluster);
    assert_graceful(&cluster);
    assert_eq!(left(&cluster, "code 0"), 4, "{}", log(&cluster));
    // Every job that was begun was done.
    assert_eq!(printed(&cluster, "stops"), 4, "{}", log(&cluster));
    let (begun, done) = (printed(&cluster, "job begins"), printed(&cluster, "job done"));
    assert_eq!(begun, done, "{}", log(&cluster));
    let asked = cluster.out.wait_for(4, |line| line.contains("asked at"));
    let after = asked.iter().map(|line| time_of(line) - before).fold(f64::MIN, f64::max);
    eprintln!("{options:?}: asked after {after:.3} s");
    // By the signal that asks, and not by that which comes when the grace period is over.
    assert!(after < 20.0, "{}", log(&cluster));
}

#[test]
fn jobs_are_done_by_consumers_without_a_channel() {
    jobs_are_done(&["--ready", "alive"]);
}

#[test]
fn jobs_are_done_by_consumers_that_are_passed_sockets() {
    jobs_are_done(&["--listen", "127.0.0.1:0"]);
}
