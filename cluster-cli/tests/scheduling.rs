//! `--give-way`: whom the system lets run first.
#![cfg(target_os = "linux")]

mod support;

use rustix::process::Signal;
use support::{Cluster, cluster, get, kill};

/// `SCHED_OTHER` and `SCHED_BATCH`, as /proc tells them.
const OTHER: u32 = 0;
const BATCH: u32 = 3;

fn policy(pid: i32) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    // The name before it is in brackets, and may be anything.
    let (_, fields) = stat.rsplit_once(") ").expect("it has a name");
    let policy = fields.split(' ').nth(38).expect("a policy");
    policy.parse().expect("a number")
}

#[track_caller]
fn assert_policies(cluster: &Cluster, primary: u32) {
    let workers = cluster.worker_pids();
    let last = workers.last().expect("there is one");
    assert_eq!((policy(cluster.pid()), policy(*last)), (primary, OTHER));
}

#[test]
fn the_primary_waits_for_who_runs_and_workers_do_not() {
    let options = ["run", "-n", "1", "--backoff-first", "0", "--demo-listen", "127.0.0.1:0"];
    let cluster = Cluster::start(cluster().args(options));
    get(cluster.listening(1)).expect("it serves");
    assert_policies(&cluster, BATCH);

    // Nor do those of the next image, which waits itself.
    cluster.signal(Signal::USR2);
    cluster.err.wait_for(1, |line| line.contains("upgraded to"));
    kill(cluster.worker_pids()[0], Signal::KILL);
    get(cluster.listening(2)).expect("it serves");
    assert_policies(&cluster, BATCH);
    cluster.end();
}

#[test]
fn it_does_not_wait_if_told_so() {
    let options = ["run", "-n", "1", "--give-way=false", "--demo-listen", "127.0.0.1:0"];
    let cluster = Cluster::start(cluster().args(options));
    get(cluster.listening(1)).expect("it serves");
    assert_policies(&cluster, OTHER);
    cluster.end();
}
