//! The examples, run as a user runs them.

#[path = "support/process.rs"]
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use support::{LIMIT, example};

/// A program that runs, and is killed at the end; its workers go with it.
struct Program {
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    fn start(name: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(example(name))
            .args(arguments)
            .env_remove("NODE_UNIQUE_ID")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("it is there");
        let output = child.stdout.take().expect("a pipe");
        let (tell, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        Self { child, lines }
    }

    /// The next line that starts so; what follows that.
    fn until(&self, start: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(LIMIT);
            let line = line.unwrap_or_else(|_| panic!("it never says {start:?}"));
            if let Some(rest) = line.strip_prefix(start) {
                return rest.to_owned();
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get(address: &str) -> String {
    let mut client = TcpStream::connect(address).expect("it listens");
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("it answers");
    answer
}

#[test]
fn http_server_serves_from_every_worker() {
    let program = Program::start("http_server", &["0"]);
    assert_eq!(program.until("Primary "), format!("{} is running", program.child.id()));
    let workers = thread::available_parallelism().expect("a number").get();
    let mut pids = Vec::new();
    let mut address = String::new();
    // What a worker says and what the primary says of it come in any order.
    while pids.len() < workers || address.is_empty() {
        let line = program.until("");
        if let Some(pid) = line.strip_prefix("Worker ").and_then(|l| l.strip_suffix(" started")) {
            pids.push(pid.parse::<i32>().expect("a number"));
        } else if let Some(at) = line.strip_prefix("listening on ") {
            assert!(address.is_empty() || address == at, "all listen on one port");
            address = at.to_owned();
        }
    }
    for _ in 0..2 * workers {
        assert!(get(&address).ends_with("\r\n\r\nhello world\n"));
    }
    for pid in pids {
        kill_process(Pid::from_raw(pid).expect("a process"), Signal::KILL).expect("it lives");
    }
    for _ in 0..workers {
        assert!(program.until("worker ").ends_with("died (signal SIGKILL)"));
    }
}

#[test]
fn count_messages_counts_requests() {
    let program = Program::start("count_messages", &["0"]);
    let address = program.until("listening on ");
    for _ in 0..5 {
        get(&address);
    }
    while program.until("numReqs = ") != "5" {}
}

#[test]
fn disconnect_timeout_kills_the_worker_that_does_not_go() {
    let mut program = Program::start("disconnect_timeout", &[]);
    assert_eq!(program.until("asked to shut down"), "");
    assert_eq!(program.until("worker 1 has not disconnected"), ": killing it");
    assert_eq!(program.until("worker 1 ended: "), "signal SIGTERM");
    assert!(program.child.wait().expect("it ends").success());
}

#[test]
fn run_any_runs_any_program_as_a_cluster() {
    let mut program = Program::start("run_any", &["2", "sh", "-c", "exit 7"]);
    assert!(program.until("Exit").contains("status: Code(7)"));
    assert!(program.child.wait().expect("it ends").success());
}
