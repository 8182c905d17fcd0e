//! `cluster run` without a program: the demo serves, in strict rotation.

mod support;

use std::collections::BTreeSet;

use rustix::process::Signal;
use support::{Cluster, cluster, eventually, get, is_there, kill};

fn demo(workers: &str) -> Cluster {
    Cluster::start(cluster().args(["run", "-n", workers, "--demo-listen", "127.0.0.1:0"]))
}

fn worker_of(body: &str) -> String {
    body.split_whitespace().nth(3).expect("it names the worker").to_owned()
}

#[test]
fn workers_answer_in_strict_rotation() {
    let cluster = demo("3");
    let address = cluster.listening(3);
    let answers: Vec<_> = (0..30).map(|_| worker_of(&get(address).unwrap())).collect();
    let distinct: BTreeSet<_> = answers.iter().collect();
    assert_eq!(distinct.len(), 3, "{answers:?}");
    for window in answers.windows(4) {
        assert_eq!(window[0], window[3], "{answers:?}");
    }
    cluster.end();
}

#[test]
fn a_killed_worker_is_replaced_while_the_others_serve_on() {
    let cluster = demo("2");
    let address = cluster.listening(2);
    let victim = cluster.worker_pids()[0];
    kill(victim, Signal::KILL);
    cluster.err.wait_for(1, |l| l.contains("worker 1 died (signal SIGKILL); starting another"));
    for _ in 0..20 {
        get(address).expect("a worker serves");
    }
    cluster.err.wait_for(3, |l| l.contains(" listens on "));
    eventually("three answers", || {
        let three = (0..4).map(|_| worker_of(&get(address).unwrap())).collect::<BTreeSet<_>>();
        (three == BTreeSet::from(["2".to_owned(), "3".to_owned()])).then_some(())
    });
    assert!(!is_there(victim));
    cluster.end();
}

#[test]
fn workers_that_hang_are_killed_after_the_grace_period_and_the_status_says_so() {
    let mut cluster = Cluster::start(cluster().args([
        "run",
        "-n",
        "2",
        "--grace",
        "0",
        "--demo-listen",
        "127.0.0.1:0",
    ]));
    cluster.listening(2);
    let workers = cluster.worker_pids();
    for &worker in &workers {
        kill(worker, Signal::STOP);
        eventually("it has stopped", || (support::state(worker) == Some('T')).then_some(()));
    }
    cluster.signal(Signal::TERM);
    let status = cluster.wait();
    assert_eq!(status.code(), Some(3), "{:#?}", cluster.err.all());
    cluster.err.wait_for(2, |l| l.contains("did not leave in time: SIGKILL"));
    support::assert_gone(&workers);
}

#[test]
fn workers_go_when_the_primary_is_killed() {
    let cluster = demo("2");
    cluster.listening(2);
    let workers = cluster.worker_pids();
    cluster.signal(Signal::KILL);
    support::assert_gone(&workers);
}

#[test]
fn json_tells_the_whole_life_a_line_an_event() {
    let mut cluster = Cluster::start(cluster().args([
        "run",
        "--json",
        "-n",
        "1",
        "--demo-listen",
        "127.0.0.1:0",
    ]));
    cluster.out.wait_for(1, |l| l.contains("\"listening\""));
    cluster.signal(Signal::INT);
    assert_eq!(cluster.wait().code(), Some(0));
    let lines = cluster.out.wait_for(1, |l| l.contains("\"exit\""));
    assert!(
        lines[0].contains(r#""code":0,"signal":null,"exitedAfterDisconnect":true"#),
        "{lines:?}"
    );
    let types: Vec<_> =
        cluster.out.all().iter().map(|l| l.split('"').nth(3).expect("a type").to_owned()).collect();
    // Where it is to be driven from is told before all.
    assert_eq!(
        types,
        [
            "control",
            "setup",
            "fork",
            "online",
            "listening",
            "ready",
            "ending",
            "disconnect",
            "exit"
        ]
    );
}
