//! Ctrl-C on a real pseudo-terminal reaches the primary alone, which ends everything gracefully.

#[path = "support/pty.rs"]
mod pty;
mod support;

use std::io::Write;
use std::process::Command;

use pty::{Terminal, in_a_shell};
use support::{Lines, assert_gone, cluster, eventually, file, get, nodes, run_script};

/// Starts it on a terminal, presses Ctrl-C once it serves, and waits for a graceful end.
fn press_ctrl_c(command: Command, workers: usize) {
    let terminal = Terminal::new();
    let mut command = in_a_shell(&command);
    terminal.give_to(&mut command);
    let mut child = command.spawn().unwrap();
    drop(command);
    let Terminal { mut ours, theirs } = terminal;
    drop(theirs);
    let lines = Lines::default();
    lines.collect(ours.try_clone().unwrap());

    let listening = lines.wait_for(workers, |l| l.contains(" listens on "));
    let port = listening[0].trim_end().rsplit(':').next().unwrap();
    get(format!("127.0.0.1:{port}").parse().unwrap()).expect("it serves");
    let pid = |l: &String| l.split("(pid ").nth(1)?.split(')').next()?.parse().ok();
    let pids: Vec<i32> =
        lines.wait_for(workers, |l| l.contains(") started")).iter().filter_map(pid).collect();

    ours.write_all(b"\x03").unwrap();
    let status = lines.wait_for(1, |l| l.starts_with("status "));
    assert_eq!(status[0].trim_end(), "status 0", "{:#?}", lines.all());
    lines.wait_for(workers, |l| l.contains(" left (code 0)"));
    ours.write_all(b"\n").unwrap();
    eventually("the shell ends", || child.try_wait().unwrap());
    assert_gone(&pids);
}

#[test]
fn ctrl_c_ends_the_demo_gracefully() {
    let mut command = cluster();
    command.args(["run", "-n", "3", "--demo-listen", "127.0.0.1:0"]);
    press_ctrl_c(command, 3);
}

#[test]
fn ctrl_c_ends_node_workers_gracefully() {
    for node in nodes() {
        press_ctrl_c(run_script(&node, &file("testdata/js/server.cjs"), &["-n", "4"]), 4);
    }
}
