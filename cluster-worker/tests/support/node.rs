//! Real Node primaries, which run a Rust worker through a scenario of a script's.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

/// Nothing here takes long; past this it hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A primary and all that it started, killed at the end whatever happens.
pub(crate) struct Primary {
    pub(crate) child: Child,
    folder: PathBuf,
}

impl Primary {
    pub(crate) fn start(
        node: &Path,
        script: &str,
        example: &str,
        scenario: &str,
        policy: &str,
    ) -> Self {
        let folder = std::env::temp_dir().join(format!(
            "cluster-worker-{}-{example}-{scenario}-{policy}-{:x}",
            std::process::id(),
            node.as_os_str().len()
        ));
        std::fs::create_dir_all(&folder).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/js").join(script);
        let child = Command::new(node)
            .arg(script)
            .arg(self::example(example))
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
        // Fails if no process is left, and that is right.
        let _ = kill_process_group(self.group(), Signal::KILL);
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The worker: an example, which `cargo test` builds beside the tests.
fn example(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.push("examples");
    path.push(name);
    assert!(path.exists(), "{} is built by `cargo test` without --test", path.display());
    path
}

/// Those that `CLUSTER_TEST_NODES` names (separated as `PATH` is), else the one on `PATH`.
pub(crate) fn nodes() -> Vec<PathBuf> {
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

/// Runs the worker through a scenario of a script's, under every Node and both policies.
pub(crate) fn run(script: &str, example: &str, scenario: &str) {
    for node in nodes() {
        for policy in ["rr", "none"] {
            println!("{} {scenario} {policy}", node.display());
            pass(Primary::start(&node, script, example, scenario, policy), &node, scenario, policy);
        }
    }
}

fn pass(mut primary: Primary, node: &Path, scenario: &str, policy: &str) {
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
