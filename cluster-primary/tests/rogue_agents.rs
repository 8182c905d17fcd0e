//! Agents that break their protocol: each costs the worker its agent, with an error that says why; the
//! worker keeps its channel, and goes on.

#[path = "support/process.rs"]
mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use cluster_primary::agent::Work;
use cluster_primary::{
    Event, LeaveProgress, Settings, Signal, StopBy, WorkerError, WorkerId, WorkerState,
};
use support::Cluster;

/// A program that the primary takes for Node by its name: a shell script that has the agent's pipes,
/// and the channel at descriptor 3.
struct FakeNode(PathBuf);

impl FakeNode {
    fn new(name: &str, script: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("cluster-rogue-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let text = format!(
            "#!/bin/sh\ncommands=${{CLUSTER_AGENT_FD%%,*}}\nrest=${{CLUSTER_AGENT_FD#*,*,}}\nagent=${{rest%%,*}}\n\
             echo '{{\"cmd\":\"NODE_CLUSTER\",\"act\":\"online\",\"seq\":0}}' >&3\n\
             {script}\necho '\"done\"' >&3\nread -r line <&3\n"
        );
        std::fs::write(folder.join("node"), text).expect("it is written");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.join("node"), mode).expect("it is ours");
        Self(folder)
    }

    /// A primary with one such worker, which has said that it is done.
    fn start(&self) -> (Cluster, WorkerId) {
        let mut settings = Settings::new(self.0.join("node"));
        settings.node_agent = true;
        let mut cluster = Cluster::with(settings);
        let worker = cluster.fork();
        let done = |e: &Event| matches!(e, Event::Message { message, .. } if *message == "done");
        cluster.until("it is done", done);
        (cluster, worker)
    }
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn progress(cluster: &mut Cluster, wanted: &LeaveProgress) {
    let fits = |e: &Event| matches!(e, Event::Leaving { progress, .. } if progress == wanted);
    cluster.until("a step of leaving", fits);
}

#[test]
fn a_broken_agent_costs_the_worker_its_agent_alone() {
    let long = "head -c 20000 /dev/zero | tr '\\0' x >&$agent";
    for (name, script, why) in [
        ("garbage", "echo garbage >&$agent", "not a line of the agent's protocol"),
        ("object", "echo '{\"hello\":1}' >&$agent", "not a line of the agent's protocol"),
        ("endless", long, "16384 bytes"),
    ] {
        let node = FakeNode::new(name, script);
        let (mut cluster, worker) = node.start();
        let broken = |e: &Event| matches!(e, Event::Error { error: WorkerError::Agent { what }, .. } if what.contains(why));
        cluster.until("the agent is given up", broken);
        // Nothing is known of its work, nor of its handlers: it is told to disconnect.
        cluster.primary.take_out_of_rotation(worker);
        progress(&mut cluster, &LeaveProgress::OutOfRotation);
        cluster.primary.finish_work(worker);
        progress(&mut cluster, &LeaveProgress::Work(Work::default()));
        cluster.primary.ask_stop(worker, Some(Signal::TERM), false);
        progress(&mut cluster, &LeaveProgress::Stop(StopBy::Disconnect));
        cluster.primary.disconnect_worker(worker);
        let exit = |e: &Event| matches!(e, Event::Exit { exited_after_disconnect: true, .. });
        cluster.until("it leaves", exit);
    }
}

const HELLO: &str = r#"{"hello":{"protocol":1}}"#;
const REPORT: &str = r#"{"report":{"connections":5,"requests":9,"active":1,"delay":{"p50":1,"p99":2,"max":3},"heapUsed":4,"rss":5}}"#;

/// What the worker's agent has reported, once it has.
fn reported(cluster: &mut Cluster, worker: WorkerId) -> WorkerState {
    for _ in 0..1000 {
        let state = cluster.primary.worker_state(worker).expect("it is there");
        if state.agent.is_some() {
            return state;
        }
        let _ = cluster.primary.next_event_within(Duration::from_millis(20));
    }
    panic!("its report never comes");
}

#[test]
fn an_agent_that_goes_while_it_is_asked_does_not_hold_up_its_worker() {
    // It reads what it is told, and closes its pipe instead of answering.
    let script = format!(
        "echo '{HELLO}' >&$agent; echo '{REPORT}' >&$agent\n\
         (read -r configure; read -r leave; read -r question) <&$commands\n\
         eval \"exec $agent>&-\""
    );
    let node = FakeNode::new("goes", &script);
    let mut settings = Settings::new(node.0.join("node"));
    settings.node_agent = true;
    let mut cluster = Cluster::with(settings);
    let worker = cluster.fork();
    reported(&mut cluster, worker);
    cluster.primary.take_out_of_rotation(worker);
    progress(&mut cluster, &LeaveProgress::OutOfRotation);
    cluster.primary.finish_work(worker);
    cluster.primary.ask_stop(worker, Some(Signal::TERM), false);
    progress(&mut cluster, &LeaveProgress::Work(Work::default()));
    progress(&mut cluster, &LeaveProgress::Stop(StopBy::Disconnect));
    let state = cluster.primary.worker_state(worker).expect("it is there");
    assert_eq!((state.agent, state.held), (None, None), "its last report no longer holds");
    cluster.primary.disconnect_worker(worker);
    cluster.until("it leaves", |e| matches!(e, Event::Exit { .. }));
}

#[test]
fn an_agents_counts_are_the_workers_load() {
    let script = format!("echo '{HELLO}' >&$agent; echo '{REPORT}' >&$agent");
    let node = FakeNode::new("counts", &script);
    let (mut cluster, worker) = node.start();
    let state = reported(&mut cluster, worker);
    assert_eq!(state.held, Some(5));
    let report = state.agent.expect("just looked");
    assert_eq!((report.connections, report.requests, report.active), (5, 9, 1));
}
