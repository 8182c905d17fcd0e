//! A `cluster run`, and the events it reports.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::bench::interrupt;
use crate::bench::processes::{is_there, printed, signal};
use crate::step;

/// How long workers may take until they are ready.
const START: Duration = Duration::from_secs(30);

/// How long a reload may take, and the end: more than the grace periods of all workers together.
const PATIENCE: Duration = Duration::from_secs(120);

const SLICE: Duration = Duration::from_millis(5);

/// A running cluster. Dropping it kills what is left of it.
pub(crate) struct Cluster {
    program: PathBuf,
    control: PathBuf,
    child: Child,
    seen: Arc<Mutex<Seen>>,
    /// Reads events until the end.
    reader: JoinHandle<()>,
}

/// What the primary has reported so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The process ids of all workers.
    pub(crate) workers: Vec<u32>,
    pub(crate) port: Option<u16>,
    pub(crate) ready: usize,
    /// Workers that did not leave within the grace period.
    pub(crate) late: BTreeSet<u64>,
    /// Workers that ended by SIGKILL.
    pub(crate) killed: usize,
    /// Workers that ended unasked.
    pub(crate) died: usize,
    /// Workers that still run after the primary has ended.
    pub(crate) left_behind: usize,
    /// What is done instead of the placement that was asked for.
    pub(crate) fallback: Option<String>,
}

impl Seen {
    fn event(&mut self, event: &Value) {
        match event["type"].as_str() {
            Some("fork") => {
                let pid = event["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
                self.workers.extend(pid);
            }
            Some("listening") => {
                let port = event["address"]["port"].as_u64();
                self.port = self.port.or(port.and_then(|port| port.try_into().ok()));
            }
            Some("ready") => self.ready += 1,
            Some("late") => self.late.extend(event["worker"].as_u64()),
            Some("exit") => {
                self.killed += usize::from(event["signal"] == "SIGKILL");
                self.died += usize::from(event["exitedAfterDisconnect"] != true);
            }
            Some("fallback") => {
                self.fallback = Some(event["instead"].as_str().unwrap_or_default().to_owned());
            }
            _ => {}
        }
    }
}

impl Cluster {
    /// Starts it with that control socket, and waits until this many workers are ready. Its events and
    /// error messages go to `log`.
    ///
    /// # Errors
    /// If it ends, or takes too long.
    pub(crate) fn start(
        command: &mut Command,
        control: &Path,
        workers: usize,
        log: &Path,
    ) -> io::Result<(Self, u16)> {
        let file = File::create(log)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file.try_clone()?);
        let mut child = command.spawn().map_err(|error| step::not_started(command, &error))?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let stdout = child.stdout.take().expect("stdout is piped above");
        let reader = collect(stdout, file, Arc::clone(&seen));
        let (program, control) = (command.get_program().into(), control.to_owned());
        let mut cluster = Self { program, control, child, seen, reader };
        let deadline = step::now() + START;
        loop {
            interrupt::check()?;
            let seen = cluster.seen();
            match seen.port {
                Some(port) if seen.ready >= workers => return Ok((cluster, port)),
                _ if seen.died > 0 => {
                    return Err(io::Error::other(format!("a worker died: {}", log.display())));
                }
                _ => {}
            }
            if let Some(status) = cluster.child.try_wait()? {
                return Err(io::Error::other(format!("it ended: {status}: {}", log.display())));
            }
            if step::now() > deadline {
                return Err(io::Error::other(format!("not ready in {START:?}: {}", log.display())));
            }
            thread::sleep(SLICE);
        }
    }

    fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces all workers.
    ///
    /// # Errors
    /// If the reload is aborted, or takes too long.
    pub(crate) fn reload(&self) -> io::Result<()> {
        let mut command = Command::new(&self.program);
        command.args(["reload", "--control"]).arg(&self.control);
        let outcome = printed(&mut command, PATIENCE);
        outcome.map(drop).map_err(|error| io::Error::other(format!("the reload failed: {error}")))
    }

    /// Sends SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// If it takes too long.
    pub(crate) fn stop(mut self) -> io::Result<(ExitStatus, Seen)> {
        signal(self.child.id(), Signal::TERM);
        let deadline = step::now() + PATIENCE;
        loop {
            interrupt::check()?;
            // The reader is done once the primary has closed its output.
            if let Some(status) = self.child.try_wait()?
                && self.reader.is_finished()
            {
                let mut seen = self.seen();
                seen.left_behind = seen.workers.iter().filter(|worker| is_there(**worker)).count();
                return Ok((status, seen));
            }
            if step::now() > deadline {
                return Err(io::Error::other(format!("it does not end in {PATIENCE:?}")));
            }
            thread::sleep(SLICE);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The primary first, so that it does not replace the workers.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for worker in self.seen().workers.into_iter().filter(|worker| is_there(*worker)) {
            signal(worker, Signal::KILL);
        }
        let _ = std::fs::remove_file(&self.control);
    }
}

/// Reads events until the end.
fn collect(
    stdout: impl Read + Send + 'static,
    mut log: File,
    seen: Arc<Mutex<Seen>>,
) -> JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = writeln!(log, "{line}");
            if let Ok(event) = serde_json::from_str(&line) {
                seen.lock().unwrap_or_else(PoisonError::into_inner).event(&event);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_summed_up() {
        let mut seen = Seen::default();
        for event in [
            json!({"type": "fork", "worker": 1, "pid": 70}),
            json!({"type": "fork", "worker": 2, "pid": 71}),
            json!({"type": "fallback", "instead": "the primary accepts", "reason": "no CAP_BPF"}),
            json!({"type": "listening", "worker": 1, "address": {"port": 8000}}),
            json!({"type": "ready", "worker": 1, "slot": 0}),
            json!({"type": "late", "worker": 1, "slot": 0, "signal": "SIGTERM"}),
            json!({"type": "late", "worker": 1, "slot": 0, "signal": "SIGKILL"}),
            json!({"type": "exit", "worker": 1, "signal": "SIGKILL", "exitedAfterDisconnect": true}),
            json!({"type": "exit", "worker": 2, "code": 1, "exitedAfterDisconnect": false}),
        ] {
            seen.event(&event);
        }
        let expected = Seen {
            workers: vec![70, 71],
            port: Some(8000),
            ready: 1,
            late: [1].into(),
            killed: 1,
            died: 1,
            left_behind: 0,
            fallback: Some("the primary accepts".to_owned()),
        };
        assert_eq!(seen, expected);
    }

    #[test]
    fn why_it_does_not_start_is_in_the_log() {
        let log = std::env::temp_dir().join(format!("xtask-apps-{}.log", std::process::id()));
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo no such option >&2; exit 2"]);
        let error = Cluster::start(&mut shell, "/nonexistent".as_ref(), 1, &log).err().unwrap();
        assert!(error.to_string().contains("exit status: 2"), "{error}");
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "no such option\n");
        std::fs::remove_file(log).unwrap();
    }
}
