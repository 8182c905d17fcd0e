//! A cluster that is measured: its processes, from their start until surely none is left.

use std::io::{self, BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

use crate::step;

/// How long workers may take until they listen, and how long all may take to leave.
const PATIENCE: Duration = Duration::from_secs(20);
const GRACE: Duration = Duration::from_secs(3);

/// A running cluster. Dropping it ends all of its processes.
#[derive(Debug)]
pub(crate) struct Server {
    primary: Child,
    workers: Vec<u32>,
    port: u16,
}

impl Server {
    /// Starts a primary that tells in JSON what it does, and waits until so many workers listen.
    ///
    /// # Errors
    /// If the program cannot be started, or a worker fails, or they take too long.
    pub(crate) fn start(command: &mut Command, workers: usize) -> io::Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut primary = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| io::Error::other(format!("{program}: {error}")))?;
        let said = events(primary.stdout.take().expect("stdout is piped above"));
        // From here on an early return ends what has been started.
        let mut server = Self { primary, workers: Vec::new(), port: 0 };
        let deadline = step::now() + PATIENCE;
        let mut listening = 0;
        while listening < workers {
            let left = deadline.saturating_duration_since(step::now());
            let event = said.recv_timeout(left).map_err(|error| match error {
                RecvTimeoutError::Timeout => io::Error::other("the workers do not listen"),
                RecvTimeoutError::Disconnected => io::Error::other("the primary ended too early"),
            })?;
            match event["type"].as_str() {
                Some("fork") => server.workers.extend(number(&event["pid"])),
                Some("listening") => {
                    listening += 1;
                    server.port = number(&event["address"]["port"])
                        .and_then(|port| port.try_into().ok())
                        .ok_or_else(|| io::Error::other(format!("no port: {event}")))?;
                }
                Some("exit" | "listenFailed" | "error" | "failure") => {
                    return Err(io::Error::other(format!("it does not start: {event}")));
                }
                _ => {}
            }
        }
        Ok(server)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The primary's process.
    pub(crate) fn primary(&self) -> u32 {
        self.primary.id()
    }

    /// The workers' processes.
    pub(crate) fn workers(&self) -> &[u32] {
        &self.workers
    }

    fn is_over(&mut self) -> bool {
        let primary_left = matches!(self.primary.try_wait(), Ok(Some(_)));
        primary_left && !self.workers.iter().any(|worker| is_there(*worker))
    }
}

impl Drop for Server {
    /// Asks the primary to end, with which workers end as well; then kills what is left.
    fn drop(&mut self) {
        signal(self.primary.id(), Signal::TERM);
        let deadline = step::now() + GRACE;
        while !self.is_over() && step::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        // The primary first, lest it replace the workers.
        let _gone = self.primary.kill();
        let _status = self.primary.wait();
        for worker in self.workers.iter().filter(|worker| is_there(**worker)) {
            signal(*worker, Signal::KILL);
        }
    }
}

/// What a primary says, an event a line; read to the end, lest the primary block.
fn events(stdout: ChildStdout) -> Receiver<Value> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Ok(event) = serde_json::from_str(&line) {
                let _nobody_waits = sender.send(event);
            }
        }
    });
    receiver
}

fn number(value: &Value) -> Option<u32> {
    value.as_u64()?.try_into().ok()
}

fn pid(id: u32) -> Option<Pid> {
    Pid::from_raw(id.try_into().ok()?)
}

fn is_there(id: u32) -> bool {
    // One that has ended and waits to be reaped by a stranger is not there.
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    pid(id).is_some_and(|pid| test_kill_process(pid).is_ok()) && state != Some('Z')
}

fn signal(id: u32, signal: Signal) {
    if let Some(pid) = pid(id) {
        let _gone = kill_process(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{Server, is_there};

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn processes_are_ended_even_if_they_ignore_the_request() {
        let server = Server::start(
            &mut shell(
                "trap '' TERM; sleep 600 & \
                 echo '{\"type\":\"fork\",\"pid\":'$!'}'; \
                 echo '{\"type\":\"listening\",\"address\":{\"port\":80}}'; wait; sleep 600",
            ),
            1,
        )
        .unwrap();
        assert_eq!(server.port(), 80);
        let all = [server.primary(), server.workers()[0]];
        assert!(all.iter().all(|process| is_there(*process)));
        drop(server);
        for process in all {
            // The signal is sent; that it takes effect may be a moment later.
            while is_there(process) {
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn why_it_does_not_start_is_said() {
        let error = Server::start(&mut shell("echo '{\"type\":\"failure\",\"message\":\"x\"}'"), 1);
        assert!(error.unwrap_err().to_string().contains("failure"));
        let error = Server::start(&mut shell("exit 1"), 1);
        assert_eq!(error.unwrap_err().to_string(), "the primary ended too early");
        let error = Server::start(&mut Command::new("no such program"), 1);
        assert!(error.unwrap_err().to_string().starts_with("no such program: "));
    }
}
