//! A cluster that is measured: its processes, from their start until surely none is left.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::interrupt;
use super::pm2::Daemon;
use super::processes::{is_there, signal};
use crate::step;

/// How long workers may take until they listen, and how long all may take to leave; more where there
/// are many.
const PATIENCE: Duration = Duration::from_secs(20);
const GRACE: Duration = Duration::from_secs(3);
const FOR_EACH: Duration = Duration::from_millis(20);

/// How often an interruption is checked for.
const SLICE: Duration = Duration::from_millis(100);

/// The status of a program that does not know what it was asked for.
const WRONG_USAGE: i32 = 2;

/// A running cluster. Dropping it ends all of its processes.
#[derive(Debug)]
pub(crate) struct Cluster {
    primary: Primary,
    workers: Vec<u32>,
    port: u16,
    /// From the first fork until all workers listened.
    listened_after: Duration,
}

#[derive(Debug)]
enum Primary {
    Child(Child),
    Daemon(Daemon),
}

impl Cluster {
    /// Starts a primary that tells in JSON what it does, and waits until so many workers listen.
    ///
    /// # Errors
    /// If the program cannot be started, or a worker fails, or they take too long;
    /// [`io::ErrorKind::Unsupported`] if the program ends with the status of wrong usage: it does
    /// not know yet, or not any more, what it was asked for.
    pub(crate) fn start(command: &mut Command, workers: usize) -> io::Result<Self> {
        Self::start_beside(command, workers, false)
    }

    /// As [`start`](Self::start), until the first worker listens, whatever happens to others: they attack the
    /// primary, and may lose their channels at once.
    pub(crate) fn start_attacked(command: &mut Command) -> io::Result<Self> {
        Self::start_beside(command, 1, true)
    }

    fn start_beside(command: &mut Command, workers: usize, attackers: bool) -> io::Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut primary = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| io::Error::other(format!("{program}: {error}")))?;
        let said = events(primary.stdout.take().expect("stdout is piped above"));
        let complaints = lines(primary.stderr.take().expect("stderr is piped above"));
        // From here on an early return ends what has been started.
        let primary = Primary::Child(primary);
        let listened_after = Duration::ZERO;
        let mut cluster = Self { primary, workers: Vec::new(), port: 0, listened_after };
        let mut forked = None;
        let deadline = step::now() + scaled(PATIENCE, workers);
        let mut listening = 0;
        while listening < workers {
            let Some(event) = next(&said, deadline)? else {
                return Err(cluster.ended_early(&complaints));
            };
            match event["type"].as_str() {
                Some("fork") => {
                    forked.get_or_insert_with(step::now);
                    cluster.workers.extend(number(&event["pid"]));
                }
                _ if attackers && event["worker"].as_u64().is_some_and(|worker| worker != 1) => {}
                Some("listening") => {
                    listening += 1;
                    cluster.port = number(&event["address"]["port"])
                        .and_then(|port| port.try_into().ok())
                        .ok_or_else(|| io::Error::other(format!("no port: {event}")))?;
                }
                Some("exit" | "listenFailed" | "error" | "failure") => {
                    return Err(io::Error::other(format!("it does not start: {event}")));
                }
                _ => {}
            }
        }
        cluster.listened_after = forked.map_or(Duration::ZERO, |forked| forked.elapsed());
        Ok(cluster)
    }

    /// One whose workers listen already.
    pub(crate) fn of_daemon(daemon: Daemon, workers: Vec<u32>, port: u16) -> Self {
        let listened_after = Duration::ZERO;
        Self { primary: Primary::Daemon(daemon), workers, port, listened_after }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The primary's process.
    pub(crate) fn primary(&self) -> u32 {
        match &self.primary {
            Primary::Child(child) => child.id(),
            Primary::Daemon(daemon) => daemon.id(),
        }
    }

    /// The workers' processes.
    pub(crate) fn workers(&self) -> &[u32] {
        &self.workers
    }

    /// How long it took from the first fork until all workers listened; of a daemon it is not known, and
    /// zero.
    pub(crate) fn listened_after(&self) -> Duration {
        self.listened_after
    }

    /// Why the primary has closed its output.
    fn ended_early(&mut self, complaints: &Receiver<String>) -> io::Error {
        let status = match &mut self.primary {
            Primary::Child(child) => child.wait().ok().and_then(|status| status.code()),
            Primary::Daemon(_) => None,
        };
        // A worker that holds the pipe open does not keep us.
        let complaint = complaints.recv_timeout(SLICE).unwrap_or_default();
        match status {
            Some(WRONG_USAGE) => io::Error::new(io::ErrorKind::Unsupported, complaint),
            _ => io::Error::other(format!("the primary ended too early. {complaint}")),
        }
    }

    fn is_over(&mut self) -> bool {
        let primary_left = match &mut self.primary {
            Primary::Child(child) => matches!(child.try_wait(), Ok(Some(_))),
            Primary::Daemon(daemon) => !is_there(daemon.id()),
        };
        primary_left && !self.workers.iter().any(|worker| is_there(*worker))
    }
}

impl Drop for Cluster {
    /// Asks the primary to end, with which workers end as well; then kills what is left.
    fn drop(&mut self) {
        signal(self.primary(), Signal::TERM);
        let deadline = step::now() + scaled(GRACE, self.workers.len());
        while !self.is_over() && step::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        // The primary first, lest it replace the workers.
        match &mut self.primary {
            Primary::Child(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Primary::Daemon(daemon) => daemon.kill(),
        }
        for worker in self.workers.iter().filter(|worker| is_there(**worker)) {
            signal(*worker, Signal::KILL);
        }
    }
}

fn scaled(patience: Duration, workers: usize) -> Duration {
    patience + FOR_EACH * u32::try_from(workers).unwrap_or(u32::MAX)
}

/// The next event; none if there will be no more.
fn next(said: &Receiver<Value>, deadline: Instant) -> io::Result<Option<Value>> {
    loop {
        interrupt::check()?;
        let left = deadline.saturating_duration_since(step::now());
        match said.recv_timeout(left.min(SLICE)) {
            Ok(event) => return Ok(Some(event)),
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Err(RecvTimeoutError::Timeout) if left.is_zero() => {
                return Err(io::Error::other("the workers do not listen"));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Of the events that the benches wait for, none is longer.
const LONGEST_EVENT: usize = 64 << 10;

/// What a primary says, an event a line; read to the end, lest the primary block.
fn events(stdout: impl Read + Send + 'static) -> Receiver<Value> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::with_capacity(LONGEST_EVENT, stdout).lines().map_while(Result::ok) {
            // The primary waits for its reader (`--json`): what takes this thread long would be measured as the
            // primary's time. An attacker's message of 62 MiB is not parsed.
            if line.len() <= LONGEST_EVENT
                && let Ok(event) = serde_json::from_str(&line)
            {
                // The receiver is gone once the cluster has started.
                let _ = sender.send(event);
            }
        }
    });
    receiver
}

/// The first line that says anything; the rest is read too.
fn lines(stderr: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::spawn(move || {
        for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            let line = line.trim().trim_start_matches("error: ").to_owned();
            if !line.is_empty() {
                // Only the first line is wanted.
                let _ = sender.try_send(line);
            }
        }
    });
    receiver
}

fn number(value: &Value) -> Option<u32> {
    value.as_u64()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::process::Command;

    use super::{Cluster, is_there};

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn processes_are_ended_even_if_they_ignore_the_request() {
        let cluster = Cluster::start(
            &mut shell(
                "trap '' TERM; sleep 600 & \
                 echo '{\"type\":\"fork\",\"pid\":'$!'}'; \
                 echo '{\"type\":\"listening\",\"address\":{\"port\":80}}'; wait; sleep 600",
            ),
            1,
        )
        .unwrap();
        assert_eq!(cluster.port(), 80);
        let all = [cluster.primary(), cluster.workers()[0]];
        assert!(all.iter().all(|process| is_there(*process)));
        drop(cluster);
        for process in all {
            // The signal is sent; that it takes effect may be a moment later.
            while is_there(process) {
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn why_it_does_not_start_is_said() {
        let failed = |command: &mut Command| Cluster::start(command, 1).unwrap_err();
        let error = failed(&mut shell("echo '{\"type\":\"failure\",\"message\":\"x\"}'"));
        assert!(error.to_string().contains("failure"));
        let error = failed(&mut shell("echo of a cold >&2; exit 1"));
        assert_eq!(error.to_string(), "the primary ended too early. of a cold");
        let error = failed(&mut Command::new("no such program"));
        assert!(error.to_string().starts_with("no such program: "));
    }

    #[test]
    fn a_program_that_does_not_know_the_placement_is_told_from_one_that_fails() {
        let error =
            Cluster::start(&mut shell("echo error: no kernel >&2; echo help >&2; exit 2"), 1);
        let error = error.unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::Unsupported, "no kernel".into()));
    }
}
