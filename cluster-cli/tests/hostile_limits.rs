//! Workers that have the primary hold as many descriptors as they can: the others are served all the time, and the
//! log names the limit and the worker.

#[path = "support/hostile.rs"]
mod hostile;
mod support;

use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;

use hostile::UnderAttack;
use rustix::process::Signal;
use support::{Cluster, Folder, cluster, eventually, get_path, kill, state};

/// Descriptors that the primary may have.
const LIMIT: usize = 256;

/// Server sockets that one slot's workers may have open then.
const OF_SLOT: usize = LIMIT / 8;

/// `command`, in a process that may have few descriptors, now and later.
fn with_few_descriptors(limit: usize, command: &Command) -> Command {
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("ulimit -n {limit}; exec \"$0\" \"$@\"")]);
    limited.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited
}

fn under_attack(options: &[&str], attack: &str) -> (UnderAttack, SocketAddr) {
    let fast = ["--max-failures", "0", "--backoff-first", "50ms", "--backoff-max", "50ms"];
    let options = [&fast[..], &["--http", "127.0.0.1:0"], options].concat();
    let mut command = with_few_descriptors(LIMIT, &hostile::run(&options, attack, &[]));
    let trial = UnderAttack::of(Cluster::start(&mut command));
    let http = http_address(&trial.cluster);
    (trial, http)
}

fn http_address(cluster: &Cluster) -> SocketAddr {
    let line = cluster.err.wait_for(1, |line| line.contains("http://")).remove(0);
    let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next());
    address.and_then(|address| address.parse().ok()).expect("the log names it")
}

fn is_ready(http: SocketAddr) -> bool {
    get_path(http, "/readyz").is_ok_and(|body| body == "ready\n")
}

/// How many workers have told how many listeners they got, and the most that one got.
fn lives(cluster: &Cluster) -> (usize, usize) {
    let told = |line: &String| {
        let (_, rest) = line.split_once("hostile listens: ")?;
        rest.split_once(" of ")?.0.parse::<usize>().ok()
    };
    let counts: Vec<_> = cluster.err.all().iter().filter_map(told).collect();
    (counts.len(), counts.iter().max().copied().unwrap_or_default())
}

fn listens_again_and_again(options: &[&str], kept: usize) {
    let (trial, http) = under_attack(options, "listens");
    for round in 1..=4 {
        eventually("another one has listened, and died", || {
            assert!(is_ready(http), "connections are accepted all the time");
            (lives(&trial.cluster).0 >= 2 * round).then_some(())
        });
        let descriptors = trial.cluster.descriptors();
        assert!(descriptors < LIMIT * 3 / 4, "{descriptors} of {LIMIT} are in use");
    }
    trial.answered(5);
    let (_, most) = lives(&trial.cluster);
    assert_eq!(most, OF_SLOT, "each life gets what the slot may have");
    let wanted = format!("the workers of slot 1 may have {OF_SLOT} server sockets open at most");
    let lines = trial.cluster.err.wait_for(2, |line| line.contains(&wanted));
    for line in &lines {
        assert!(line.starts_with("cluster: error: worker ") && line.contains("LimitNOFILE"));
    }
    let cluster = trial.survived();
    let said = cluster.err.all();
    let lines = said.iter().filter(|line| line.contains(&wanted)).count();
    let started = said.iter().filter(|line| line.ends_with(" started")).count();
    assert!(
        lines <= started,
        "{lines} lines for {started} workers, each of which tried 1,100 times"
    );
    // What is kept for a successor stays, and nothing else.
    let workers = cluster.worker_pids();
    let first = *workers.first().expect("there is one");
    assert!(state(first).is_some(), "the one that behaves is the first");
    eventually("the rest is given back", || {
        // A worker and its pipes come and go meanwhile.
        (cluster.descriptors() < 60 + kept).then_some(())
    });
    cluster.end();
}

#[test]
fn listeners_that_outlive_their_workers_are_limited() {
    listens_again_and_again(&["--keep-listeners=true"], OF_SLOT);
}

#[test]
fn listeners_that_end_with_their_workers_are_limited() {
    listens_again_and_again(&["--keep-listeners=false"], OF_SLOT);
}

#[test]
fn descriptors_that_no_message_claims_cost_the_channel() {
    let (trial, http) = under_attack(&[], "hoard");
    let lines = trial.cluster.err.wait_for(3, |line| line.contains("handles without their frame"));
    assert!(lines[0].contains("more than 16"), "{lines:?}");
    trial.answered(10);
    assert!(is_ready(http));
    let cluster = trial.survived();
    eventually("they are closed", || (cluster.descriptors() < 60).then_some(()));
    cluster.end();
}

#[test]
fn descriptors_of_messages_that_are_not_taken_are_closed() {
    let (trial, http) = under_attack(&[], "handles");
    trial.answered(50);
    assert!(is_ready(http));
    let cluster = trial.survived();
    eventually("they are closed", || (cluster.descriptors() < 60).then_some(()));
    cluster.end();
}

/// Who looks after the cluster hears that no connection can be accepted, and why; although that takes a descriptor.
#[test]
fn readiness_is_truthful_when_there_are_no_descriptors() {
    let folder = Folder::new("truthful");
    let control = folder.0.join("control");
    let mut run = cluster();
    run.args(["run", "-n", "1", "--demo-listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    run.arg("--control").arg(&control);
    let cluster = Cluster::start(&mut with_few_descriptors(64, &run));
    let (address, http) = (cluster.listening(1), http_address(&cluster));
    eventually("it is ready", || is_ready(http).then_some(()));
    // The user's own clients take what is left. (Their share of it would not be all.)
    cluster.leave_descriptors(4);
    let clients: Vec<_> = (0..64).map_while(|_| UnixStream::connect(&control).ok()).collect();
    cluster.err.wait_for(1, |line| line.contains("accepting connections paused"));
    let worker = cluster.worker_pids()[0];
    kill(worker, Signal::STOP);
    let waiting: Vec<_> = (0..4).map_while(|_| TcpStream::connect(address).ok()).collect();
    let answer = eventually("it says so", || {
        // What is no good answer is told as an error.
        let answer = get_path(http, "/readyz").err()?.to_string();
        answer.contains(" 503 ").then_some(answer)
    });
    let why = "accepting connections is paused: Too many open files";
    assert!(answer.contains(why), "{answer}");
    drop((clients, waiting));
    kill(worker, Signal::CONT);
    eventually("connections are accepted again", || is_ready(http).then_some(()));
    get_path(address, "/").expect("it is served");
    cluster.end();
}
