//! A Rust worker under real Node.js primaries: those that `CLUSTER_TEST_NODES` names, else the one on
//! `PATH`.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process};

/// Nothing here takes long; past this it hangs.
const LIMIT: Duration = Duration::from_secs(30);

/// A primary and all that it started, killed at the end whatever happens.
struct Primary {
    child: Child,
    folder: PathBuf,
}

impl Primary {
    fn start(node: &Path, scenario: &str, policy: &str) -> Self {
        let folder = std::env::temp_dir().join(format!(
            "cluster-worker-{}-{scenario}-{policy}-{:x}",
            std::process::id(),
            node.as_os_str().len()
        ));
        std::fs::create_dir_all(&folder).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/js/primary.cjs");
        let child = Command::new(node)
            .arg(script)
            .arg(probe())
            .args([scenario, policy])
            .arg(&folder)
            .env_remove("NODE_OPTIONS")
            .env_remove("NODE_CLUSTER_SCHED_POLICY")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        Self { child, folder }
    }

    fn group(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Primary {
    fn drop(&mut self) {
        // Fails if nobody is left, and that is well.
        let _ = kill_process_group(self.group(), Signal::KILL);
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The worker: an example, which `cargo test` builds beside the tests.
fn probe() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.push("examples/probe");
    assert!(path.exists(), "{} is built by `cargo test` without --test", path.display());
    path
}

/// Those that `CLUSTER_TEST_NODES` names (separated as `PATH` is), else the one on `PATH`.
fn nodes() -> Vec<PathBuf> {
    if let Some(nodes) = std::env::var_os("CLUSTER_TEST_NODES") {
        return std::env::split_paths(&nodes).collect();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join("node")).find(|p| p.is_file());
    if found.is_none() {
        println!("skipped: there is no node on PATH, and CLUSTER_TEST_NODES is not set");
    }
    found.into_iter().collect()
}

fn run(scenario: &str) {
    for node in nodes() {
        for policy in ["rr", "none"] {
            println!("{} {scenario} {policy}", node.display());
            pass(&node, scenario, policy);
        }
    }
}

fn pass(node: &Path, scenario: &str, policy: &str) {
    let mut primary = Primary::start(node, scenario, policy);
    let (done, finished) = mpsc::channel();
    let mut stderr = primary.child.stderr.take().unwrap();
    let mut stdout = primary.child.stdout.take().unwrap();
    let group = primary.group();
    let watch = thread::spawn(move || {
        if finished.recv_timeout(LIMIT).is_err() {
            let _ = kill_process_group(group, Signal::KILL);
            return false;
        }
        true
    });
    let reader = thread::spawn(move || {
        let mut text = String::new();
        let _ = stdout.read_to_string(&mut text);
        text
    });
    let mut said = String::new();
    let _ = stderr.read_to_string(&mut said);
    let status = primary.child.wait().unwrap();
    let _ = done.send(());
    let in_time = watch.join().unwrap();
    said += &reader.join().unwrap();
    assert!(in_time, "{} {scenario} {policy} hangs; it said:\n{said}", node.display());
    assert!(status.success(), "{} {scenario} {policy} ends with {status}:\n{said}", node.display());
}

#[test]
fn serves_talks_and_disconnects() {
    run("serve");
}

#[test]
fn serves_evented() {
    run("evented");
}

#[test]
fn kill_and_exit_have_their_codes() {
    run("kill");
}

#[test]
fn an_address_in_use_is_an_error() {
    run("in_use");
}

#[test]
fn serves_a_unix_path() {
    run("unix");
}

#[test]
fn shares_a_udp_socket() {
    run("udp");
}

#[test]
fn a_disconnect_waits_for_open_connections() {
    run("drain");
}

#[test]
fn a_disconnect_waits_for_open_connections_evented() {
    run("drain_evented");
}

#[test]
fn refused_connections_go_to_another_worker() {
    run("full");
}

#[test]
fn workers_go_with_a_primary_that_is_killed() {
    for node in nodes() {
        let mut primary = Primary::start(&node, "orphans", "rr");
        let stdout = primary.child.stdout.take().unwrap();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
            let _ = tell.send(lines.find(|line| line.starts_with("pids ")));
        });
        let line = told.recv_timeout(LIMIT).expect("the workers start in time").expect("they do");
        let pids: Vec<Pid> = line["pids ".len()..]
            .split(' ')
            .map(|pid| Pid::from_raw(pid.parse().unwrap()).unwrap())
            .collect();
        assert_eq!(pids.len(), 3);
        primary.child.kill().unwrap();
        primary.child.wait().unwrap();
        for pid in pids {
            let mut waited = Duration::ZERO;
            while lives(pid) {
                let pause = Duration::from_millis(20);
                thread::sleep(pause);
                waited += pause;
                assert!(waited < LIMIT, "{pid:?} is an orphan");
            }
        }
    }
}

/// Whether the process is there, and not merely unreaped.
fn lives(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    match stat {
        Ok(stat) => !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')),
        Err(_) if Path::new("/proc/self").exists() => false,
        Err(_) => test_kill_process(pid).is_ok(),
    }
}
