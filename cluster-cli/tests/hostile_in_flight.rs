//! Descriptors in flight between Unix sockets, of which a user who is not root may have only so many
//! (`ETOOMANYREFS`): a worker that leaves unread what it is sent uses up its own share only; and where a worker
//! fills sockets of its own, the primary waits, says why, and goes on.
//!
//! Root is exempt from that limit. Run as root, these tests start clusters as other users (setpriv), each as one of
//! its own; else all are this user's.
#![cfg(target_os = "linux")]

#[path = "support/hostile.rs"]
mod hostile;
mod support;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use hostile::{UnderAttack, cpu_ticks};
use support::{Cluster, Folder, eventually, get, get_path, now};

/// Descriptors that each process may have, and that a user may have in flight.
const LIMIT: usize = 256;

/// `command` as another user, if that is possible, in a process that may have few descriptors.
fn as_user(uid: u32, folder: &Folder, command: &Command) -> Command {
    let mut limited = Command::new("sh");
    let user = match rustix::process::geteuid().is_root() {
        true => format!("setpriv --reuid {uid} --regid {uid} --clear-groups"),
        false => String::new(),
    };
    limited.args(["-c", &format!("ulimit -n {LIMIT}; exec {user} \"$0\" \"$@\"")]);
    limited.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    std::fs::set_permissions(&folder.0, std::fs::Permissions::from_mode(0o777)).unwrap();
    limited.env("XDG_RUNTIME_DIR", &folder.0);
    limited
}

fn start(uid: u32, folder: &Folder, attack: &str, arguments: &[&str]) -> (Cluster, SocketAddr) {
    let fast = ["--max-failures", "0", "--backoff-first", "50ms", "--backoff-max", "50ms"];
    let options = [&fast[..], &["--http", "127.0.0.1:0"]].concat();
    let cluster =
        Cluster::start(&mut as_user(uid, folder, &hostile::run(&options, attack, arguments)));
    let line = cluster.err.wait_for(1, |line| line.contains("http://")).remove(0);
    let http = line.split("http://").nth(1).and_then(|rest| rest.split('/').next());
    let http = http.and_then(|address| address.parse().ok()).expect("the log names it");
    (cluster, http)
}

fn status(http: SocketAddr) -> serde_json::Value {
    let body = get_path(http, "/status").expect("it is told");
    serde_json::from_str(&body).expect("it is JSON")
}

#[test]
fn who_answers_for_what_it_does_not_read_gets_no_more_than_its_share() {
    let folder = Folder::new("peek");
    let (cluster, http) = start(61_701, &folder, "peek", &[]);
    let trial = UnderAttack::of(cluster);
    // Life after life.
    let lines = trial.cluster.err.wait_for(3, |line| line.contains("descriptors unread"));
    for line in &lines {
        assert!(line.starts_with("cluster: error: worker "), "{line}");
        assert!(line.ends_with("answered for connections that it had not read"), "{line}");
    }
    trial.answered(10);
    // No other worker had to wait for that.
    assert_eq!(status(http)["totals"]["handOffPauses"], 0);
    let cluster = trial.survived();
    eventually("all is given back", || (cluster.descriptors() < 70).then_some(()));
    cluster.end();
}

#[test]
fn what_a_worker_keeps_in_flight_itself_is_reported_and_waited_for() {
    let folder = Folder::new("own-sockets");
    let full = folder.file("full", "", 0o644);
    let (cluster, http) = start(61_702, &folder, "own-sockets", &[full.to_str().unwrap()]);
    let address = cluster.listening(1);
    cluster.out.wait_for(1, |line| line.contains("sockets are full"));
    let client = std::thread::spawn(move || get(address));
    // The log says what is wrong, with whom, and what the limit is.
    let line =
        cluster.err.wait_for(1, |line| line.contains("handing connections to workers paused"));
    let line = &line[0];
    assert!(line.starts_with("cluster: warning: "), "{line}");
    assert!(line.contains("ETOOMANYREFS") && line.contains(&format!("limit is {LIMIT}")), "{line}");
    let hostile = eventually("its worker is known", || {
        let status = status(http);
        let workers = status["workers"].as_array()?;
        workers.iter().find(|worker| worker["slot"] == 1)?["worker"].as_u64()
    });
    assert!(line.contains(&format!("worker {hostile} has most")), "{line}");
    // So does readiness.
    let answer = get_path(http, "/readyz").expect_err("it is not ready").to_string();
    assert!(answer.contains(" 503 ") && answer.contains("ETOOMANYREFS"), "{answer}");
    // It waits, and does not spin: by processor time, which a busy machine does not change.
    let (begun, before) = (now(), cpu_ticks(cluster.pid()));
    while begun.elapsed() < Duration::from_secs(2) {
        std::thread::sleep(Duration::from_millis(100));
    }
    let (elapsed, used) = (begun.elapsed(), cpu_ticks(cluster.pid()) - before);
    let ticks = rustix::param::clock_ticks_per_second();
    assert!(used * 1000 < ticks * 200 * elapsed.as_secs(), "{used} ticks in {elapsed:?}");
    assert!(!client.is_finished(), "its connection waits");
    std::fs::remove_file(full).unwrap();
    let answer = client.join().unwrap().expect("it is served in the end");
    assert!(answer.starts_with("worker "), "{answer}");
    eventually("it is ready again", || get_path(http, "/readyz").ok());
    assert!(status(http)["totals"]["handOffPauses"].as_u64() >= Some(1));
    // The worker that behaves has been there all the time.
    assert!(!cluster.err.all().iter().any(|line| line.contains("has not answered for")));
    cluster.end();
}
