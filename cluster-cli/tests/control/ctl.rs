//! The command `cluster ctl`.

use std::process::{Output, Stdio};

use serde_json::Value;

use crate::support::{Cluster, Lines, cluster, eventually};

fn ctl(arguments: &[&str]) -> Output {
    cluster().arg("ctl").args(arguments).stdin(Stdio::null()).output().expect("it runs")
}

pub(crate) fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn ctl_looks_at_a_cluster_that_runs_and_drives_it() {
    let name = format!("ctl-test-{}", std::process::id());
    let run = ["run", "-n", "2", "--demo-listen", "127.0.0.1:0", "--name", &name];
    let mut running = Cluster::start(cluster().args(run));
    let address = running.listening(2);
    let order = |arguments: &[&str]| ctl(&[&["--name", &name], arguments].concat());
    let table = said(&order(&["ls"]));
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(table.contains(&address.to_string()), "{table}");
    let json: Value = serde_json::from_str(&said(&order(&["--json", "ls"]))).expect("JSON");
    assert_eq!(json[1]["id"], 2);
    assert!(said(&order(&["version"])).starts_with("cluster "));

    let mut events = cluster();
    events.args(["ctl", "--name", &name, "events", "exit", "fork"]).stdout(Stdio::piped());
    let mut events = events.spawn().expect("it runs");
    let lines = Lines::default();
    lines.collect(events.stdout.take().expect("a pipe"));
    // It has subscribed when it tells of something.
    let mut last = 2;
    eventually("an event", || {
        said(&order(&["fork", "A=1"]));
        last += 1;
        lines.all().iter().any(|l| l.contains("fork")).then_some(())
    });
    assert_eq!(said(&order(&["kill", "1", "SIGKILL"])), "signalled\n");
    lines.wait_for(1, |l| l == "worker 1 exit: signal SIGKILL");
    running.err.wait_for(1, |l| l.contains("worker 1 died (signal SIGKILL); starting another"));
    assert_eq!(said(&order(&["send", "2", "{\"x\": 1}"])), "sent\n");
    assert_eq!(said(&order(&["disconnect", "2"])), "asked to disconnect\n");
    running.err.wait_for(1, |l| l == "cluster: worker 2 left (code 0)");

    for (arguments, code, expected) in [
        (&["kill", "3", "SIGFOO"][..], 1, "unknown signal \"SIGFOO\"; write it like SIGTERM"),
        (&["send", "99", "1"], 1, "there is no worker 99 (ERR_IPC_CHANNEL_CLOSED)"),
        (&["disconnect", "99"], 1, "there is no worker 99 (ERR_WORKER_NOT_FOUND)"),
        (&["send", "3", "hello"], 2, "--text"),
        (&["setup", "[]"], 2, "the settings should be a JSON object"),
        (&["call", "fork", "{"], 2, "the parameters should be a JSON object"),
        (&["call", "dance"], 1, "no method \"dance\"; there are subscribe, "),
        (&["events", "dance"], 1, "no event \"dance\"; there are setup, "),
        (&["call", "send"], 1, "\"worker\" should be a worker's number"),
        (&["setup", "{\"exce\": 1}"], 1, "exce"),
    ] {
        let refused = order(arguments);
        assert_eq!(refused.status.code(), Some(code), "{arguments:?}");
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(why.contains(expected), "{arguments:?}: {why}");
    }
    // Options may come before the command and after it, but select one cluster.
    let both = ctl(&["--control", "/no/such/socket", "ls", "--name", "another"]);
    let why = String::from_utf8_lossy(&both.stderr).into_owned();
    assert!(both.status.code() == Some(2) && why.contains("give one of them"), "{why}");
    let behind = ctl(&["ls", "--json", "--control", "/no/such/socket"]);
    let why = String::from_utf8_lossy(&behind.stderr).into_owned();
    assert!(why.contains("/no/such/socket") && why.contains("is the cluster running?"), "{why}");
    let nowhere = ctl(&["--control", "/no/such/socket", "ls"]);
    let why = String::from_utf8_lossy(&nowhere.stderr).into_owned();
    assert!(why.contains("/no/such/socket") && why.contains("is the cluster running?"), "{why}");

    assert_eq!(said(&order(&["stop"])), "stopping\n");
    assert_eq!(running.wait().code(), Some(0));
    let _ = events.wait();
}
