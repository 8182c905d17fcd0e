//! Workers that the system stops, and those that read from the terminal that the cluster was started from.

#[path = "support/pty.rs"]
mod pty;
mod support;

use std::process::Command;

use pty::Terminal;
use rustix::process::Signal;
use serde_json::Value;
use support::{Cluster, Folder, Lines, cluster, eventually, kill, nodes, state};

fn status(control: &str, json: bool) -> String {
    let mut command = cluster();
    command.args(["status", "--control", control]).args(json.then_some("--json"));
    let output = command.output().expect("it runs");
    String::from_utf8(output.stdout).expect("it is text")
}

#[test]
fn a_stopped_worker_is_reported() {
    let folder = Folder::new("stopped");
    let control = folder.0.join("s");
    let control = control.to_str().unwrap();
    let mut command = cluster();
    command.args(["run", "-n", "2", "--control", control, "--demo-listen", "127.0.0.1:0"]);
    let cluster = Cluster::start(&mut command);
    cluster.listening(2);
    let worker = cluster.worker_pids()[0];
    kill(worker, Signal::STOP);
    cluster.err.wait_for(1, |line| {
        line.contains("was stopped by SIGSTOP") && line.contains(&format!("kill -CONT {worker}"))
    });
    let seen: Value = serde_json::from_str(&status(control, true)).expect("JSON");
    let states: Vec<_> = seen["workers"].as_array().expect("a list").iter().collect();
    let state_of = |pid: i32| {
        states.iter().find(|worker| worker["pid"] == pid).map(|worker| worker["state"].clone())
    };
    assert_eq!(state_of(worker), Some("stopped".into()), "{seen}");
    let text = status(control, false);
    assert!(text.contains("1 stopped") && text.contains("1 of 2 workers ready"), "{text}");
    kill(worker, Signal::CONT);
    eventually("it is ready again", || {
        status(control, false).contains("2 of 2 workers ready").then_some(())
    });
    cluster.end();
}

/// A worker is in the background of the terminal: to read from there would stop it.
#[test]
fn a_worker_that_reads_the_terminal_finds_it_empty_and_serves() {
    let Some(node) = nodes().into_iter().next() else { return };
    let folder = Folder::new("reads");
    let script = "process.stdin.on('data', () => console.log('data')).on('end', () => console.log('end of \
                  input'));\nrequire('node:http').createServer((req, res) => res.end('ok')).listen(0, '127.0.0.1')";
    let app = folder.file("app.cjs", script, 0o644);
    let terminal = Terminal::new();
    let program = cluster();
    let mut command = Command::new(program.get_program());
    command.args(["run", "-n", "1", "--output", "inherit", "--exec-path"]).arg(&node).arg(&app);
    command.env("XDG_RUNTIME_DIR", &folder.0);
    terminal.give_to(&mut command);
    let mut child = command.spawn().expect("it starts");
    let lines = Lines::default();
    lines.collect(terminal.ours.try_clone().unwrap());
    let listening = lines.wait_for(1, |line| line.contains(" listens on "));
    let started = lines.wait_for(1, |line| line.contains(") started"));
    let worker: i32 =
        started[0].split("(pid ").nth(1).unwrap().split(')').next().unwrap().parse().unwrap();
    lines.wait_for(1, |line| line.contains("end of input"));
    let address = listening[0].trim_end().rsplit(' ').next().unwrap();
    support::get(address.parse().expect("an address")).expect("it serves");
    assert_ne!(state(worker), Some('T'));
    kill(i32::try_from(child.id()).unwrap(), Signal::TERM);
    let status = eventually("it ends", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0), "{:#?}", lines.all());
}

/// What is no terminal is the worker's as before.
#[test]
fn other_input_is_inherited() {
    let folder = Folder::new("input");
    let input = folder.file("input", "what it reads\n", 0o644);
    let mut command = cluster();
    command.args(["run", "-n", "1", "--output", "inherit", "--listen", "127.0.0.1:0"]);
    command.args(["sh", "-c", "cat; exec sleep 600"]);
    command.stdin(std::fs::File::open(input).unwrap());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let (out, err) = (Lines::default(), Lines::default());
    out.collect(child.stdout.take().unwrap());
    err.collect(child.stderr.take().unwrap());
    let cluster = Cluster { child, out, err };
    cluster.out.wait_for(1, |line| line == "what it reads");
    cluster.end();
}
