//! A cluster under PM2: its daemon is the primary.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::cluster::Cluster;
use super::interrupt;
use super::load::Load;
use super::processes::{free_port, is_there, signal};
use crate::node::Node;
use crate::step;

const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);

/// PM2's daemon, in a home of its own: whatever else PM2 runs for this user is not touched.
#[derive(Debug)]
pub(crate) struct Daemon {
    node: PathBuf,
    script: PathBuf,
    home: PathBuf,
    id: u32,
}

/// Starts `app` as so many workers; ready when all have answered.
///
/// # Errors
/// If PM2 does not do that.
pub(crate) fn start(script: &Path, node: &Node, app: &Path, workers: usize) -> io::Result<Cluster> {
    let home = env::temp_dir().join(format!("cluster-bench-pm2-{}", std::process::id()));
    let (node, script) = (node.path.clone(), script.to_owned());
    // From here on an early return ends what has been started.
    let mut daemon = Daemon { node, script, home, id: 0 };
    let port = free_port()?;
    let mut start = daemon.command(&["start"]);
    start.arg(app).args(["-i", &workers.to_string()]).env("BENCH_PORT", port.to_string());
    let started = start.output()?;
    daemon.id = daemon.read_id().unwrap_or(0);
    if !started.status.success() || daemon.id == 0 {
        let said = String::from_utf8_lossy(&started.stderr);
        let said = said.trim();
        return Err(io::Error::other(format!("pm2 start ended with {}: {said}", started.status)));
    }
    let deadline = step::now() + PATIENCE;
    let mut answered = BTreeSet::new();
    while answered.len() < workers {
        interrupt::check()?;
        if step::now() > deadline {
            return Err(io::Error::other("PM2's workers do not listen"));
        }
        let one = Load { port, connections: 1, clients: 1, sources: 1, forgiving: false };
        match one.run() {
            Ok(outcome) => answered.extend(outcome.by_worker.into_keys()),
            Err(_not_yet) => thread::sleep(PAUSE),
        }
    }
    let workers = daemon.workers()?;
    Ok(Cluster::of_daemon(daemon, workers, port))
}

impl Daemon {
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.node);
        command.arg(&self.script).args(words).env("PM2_HOME", &self.home).stdin(Stdio::null());
        command
    }

    fn read_id(&self) -> Option<u32> {
        fs::read_to_string(self.home.join("pm2.pid")).ok()?.trim().parse().ok()
    }

    fn workers(&self) -> io::Result<Vec<u32>> {
        let said = self.command(&["jlist"]).output()?.stdout;
        pids(&String::from_utf8_lossy(&said))
            .ok_or_else(|| io::Error::other("pm2 jlist says nothing that is understood"))
    }

    pub(crate) fn kill(&mut self) {
        if self.id != 0 && is_there(self.id) {
            signal(self.id, Signal::KILL);
        }
        self.id = 0;
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have been started even if `pm2 start` failed.
        self.id = self.read_id().filter(|_| self.id == 0).unwrap_or(self.id);
        self.kill();
        let _ = fs::remove_dir_all(&self.home);
    }
}

/// Those of the processes that `pm2 jlist` lists, behind whatever else it says.
fn pids(said: &str) -> Option<Vec<u32>> {
    let list = said.lines().find(|line| line.starts_with("[{"))?;
    let list: Vec<Value> = serde_json::from_str(list).ok()?;
    list.iter().map(|one| one["pid"].as_u64()?.try_into().ok()).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_list_is_found_behind_greetings() {
        let said = "[PM2] Spawning\nwelcome\n[{\"pid\":7,\"name\":\"a\"},{\"pid\":8}]\n";
        assert_eq!(super::pids(said), Some(vec![7, 8]));
        assert_eq!(super::pids("[PM2][ERROR] no"), None);
    }
}
