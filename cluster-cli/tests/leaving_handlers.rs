//! Programs are asked to stop by their own handlers, and these run to their end.

#[path = "support/programs.rs"]
mod programs;
mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use programs::{Request, assert_graceful, each_node, end, left, log, printed, reload, start};
use rustix::process::Signal;
use support::{Cluster, assert_gone, eventually, kill, now};

const ONE: [&str; 4] = ["-n", "1", "--grace", "50"];

/// What handlers find when they run: nothing has been closed yet.
const OPEN: &str = "listening true, connected true";

fn local(address: SocketAddr) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], address.port()))
}

/// One worker of `server.cjs` that listens, under those options beside [`ONE`].
fn server(node: &Path, options: &[&str], handler: &str) -> Cluster {
    let cluster = start(node, &[&ONE, options].concat(), &["server.cjs", handler]);
    cluster.listening(1);
    cluster
}

#[test]
fn an_asynchronous_handler_completes() {
    each_node(|node| {
        let mut cluster = start(node, &["-n", "2", "--grace", "50"], &["interval.cjs"]);
        cluster.listening(2);
        let began = now();
        reload(&cluster, 1);
        assert!(began.elapsed() < Duration::from_secs(40), "{}", log(&cluster));
        assert_eq!(printed(&cluster, "flushed"), 2, "{}", log(&cluster));
        // One worker fewer.
        cluster.signal(Signal::TTOU);
        eventually("one has left", || (left(&cluster, "code 0") == 3).then_some(()));
        assert_eq!(printed(&cluster, "flushed"), 3, "{}", log(&cluster));
        end(&mut cluster);
        assert_graceful(&cluster);
        assert_eq!(printed(&cluster, "stopping, connected true"), 4, "{}", log(&cluster));
        assert_eq!(printed(&cluster, "flushed"), 4, "{}", log(&cluster));
        assert_eq!(left(&cluster, "code 0"), 4, "{}", log(&cluster));
    });
}

#[test]
fn a_handler_closes_its_server_and_is_heard_by_the_primary() {
    each_node(|node| {
        let mut cluster =
            start(node, &[&ONE[..], &["--json"]].concat(), &["server.cjs", "close-and-send"]);
        cluster.out.wait_for(1, |line| line.contains(r#""type":"listening""#));
        cluster.signal(Signal::HUP);
        let bye = |line: &str| line.contains(r#""message":"bye""#);
        let exit = |line: &str| line.contains(r#""type":"exit""#);
        cluster.out.wait_for(1, bye);
        cluster.out.wait_for(1, exit);
        end(&mut cluster);
        cluster.out.wait_for(2, bye);
        let exits = cluster.out.wait_for(2, exit);
        let well = |line: &&String| {
            line.contains(r#""code":0"#) && line.contains(r#""exitedAfterDisconnect":true"#)
        };
        assert_eq!(exits.iter().filter(well).count(), 2, "{exits:?}");
    });
}

#[test]
fn a_program_without_a_handler_is_told_to_disconnect() {
    each_node(|node| {
        let mut cluster = server(node, &[], "none");
        reload(&cluster, 1);
        end(&mut cluster);
        // A signal would have ended it with another status.
        assert_graceful(&cluster);
        assert_eq!(left(&cluster, "code 0"), 2, "{}", log(&cluster));
        assert_eq!(printed(&cluster, "disconnected"), 2, "{}", log(&cluster));
    });
}

#[test]
fn a_handler_that_does_nothing_is_followed_by_disconnect() {
    each_node(|node| {
        let mut cluster = server(node, &[], "ignore");
        reload(&cluster, 1);
        end(&mut cluster);
        assert_graceful(&cluster);
        assert_eq!(printed(&cluster, &format!("SIGTERM: {OPEN}")), 2, "{}", log(&cluster));
        assert_eq!(left(&cluster, "code 0"), 2, "{}", log(&cluster));
    });
}

#[test]
fn a_failing_handler_is_logged_and_is_no_failure() {
    each_node(|node| {
        let mut cluster = server(node, &[], "fail");
        reload(&cluster, 1);
        end(&mut cluster);
        assert_eq!(left(&cluster, "code 7"), 2, "{}", log(&cluster));
        let restarted = |line: &String| line.contains("died") || line.contains("starting another");
        assert!(!cluster.err.all().iter().any(restarted), "{}", log(&cluster));
    });
}

#[test]
fn another_signal_may_ask() {
    each_node(|node| {
        let mut cluster = server(node, &["--stop-signal", "SIGUSR2"], "usr2");
        let request = Request::begin(&cluster, local(cluster.listening(1)), "/500");
        reload(&cluster, 1);
        request.assert_answered();
        end(&mut cluster);
        assert_graceful(&cluster);
        assert_eq!(printed(&cluster, &format!("SIGUSR2: {OPEN}")), 2, "{}", log(&cluster));
    });
}

/// Node ends by a `SIGUSR2` that it does not handle.
#[test]
fn a_signal_that_is_not_handled_is_not_sent() {
    each_node(|node| {
        let mut cluster = server(node, &["--stop-signal", "SIGUSR2"], "close");
        reload(&cluster, 1);
        end(&mut cluster);
        assert_graceful(&cluster);
        assert_eq!(printed(&cluster, "SIGTERM"), 0, "{}", log(&cluster));
        assert_eq!(left(&cluster, "code 0"), 2, "{}", log(&cluster));
    });
}

#[test]
fn no_signal_asks_where_none_is_wanted() {
    each_node(|node| {
        let mut cluster = server(node, &["--stop-signal", "none"], "close");
        let request = Request::begin(&cluster, local(cluster.listening(1)), "/500");
        reload(&cluster, 1);
        request.assert_answered();
        end(&mut cluster);
        assert_graceful(&cluster);
        assert_eq!(printed(&cluster, "SIGTERM"), 0, "{}", log(&cluster));
        assert_eq!(left(&cluster, "code 0"), 2, "{}", log(&cluster));
    });
}

#[test]
fn a_message_may_ask() {
    each_node(|node| {
        let mut cluster = server(node, &["--stop-message", "shutdown"], "message");
        let request = Request::begin(&cluster, local(cluster.listening(1)), "/500");
        reload(&cluster, 1);
        request.assert_answered();
        end(&mut cluster);
        assert_graceful(&cluster);
        let seen = printed(&cluster, &format!("message \"shutdown\": {OPEN}"));
        assert_eq!(seen, 2, "{}", log(&cluster));
        assert_eq!(left(&cluster, "code 0"), 2, "{}", log(&cluster));
    });
}

#[test]
fn a_program_that_listens_for_no_messages_gets_the_signal_instead() {
    each_node(|node| {
        let mut cluster = server(node, &["--stop-message", "shutdown"], "close");
        end(&mut cluster);
        assert_graceful(&cluster);
        assert_eq!(printed(&cluster, &format!("SIGTERM: {OPEN}")), 1, "{}", log(&cluster));
    });
}

/// The agent cannot be preloaded through a shell: the log says so.
#[test]
fn node_behind_another_program_is_noticed() {
    each_node(|node| {
        let script = programs::program("server.cjs");
        let line = format!("exec {} {} close", node.display(), script.display());
        let mut run = support::cluster();
        let mut cluster = Cluster::start(run.args(["run", "-n", "2", "sh", "-c", &line]));
        cluster.listening(2);
        let warned =
            cluster.err.wait_for(1, |line| line.contains("starts without cluster's agent"));
        assert!(warned[0].contains("started through another program"), "{warned:?}");
        end(&mut cluster);
        assert_eq!(printed(&cluster, "SIGTERM"), 0, "{}", log(&cluster));
    });
}

/// Without any patience a worker is killed once, and its end is waited for.
#[test]
fn no_patience_at_all_ends_too() {
    each_node(|node| {
        let options = ["-n", "2", "--grace", "0", "--kill-after", "0"];
        let mut cluster = start(node, &options, &["server.cjs", "ignore"]);
        cluster.listening(2);
        cluster.signal(Signal::TERM);
        assert_eq!(cluster.wait().code(), Some(3), "{}", log(&cluster));
        let killed =
            cluster.err.all().iter().filter(|line| line.contains("in time: SIGKILL")).count();
        assert!(killed <= 2, "{}", log(&cluster));
    });
}

/// Without the agent a handler runs when the grace period is over, and not before.
#[test]
fn without_the_agent_workers_are_told_to_disconnect() {
    each_node(|node| {
        let mut cluster = server(node, &["--node-agent=false"], "close");
        reload(&cluster, 1);
        end(&mut cluster);
        assert_graceful(&cluster);
        assert_eq!(printed(&cluster, "SIGTERM"), 0, "{}", log(&cluster));
        assert_eq!(left(&cluster, "code 0"), 2, "{}", log(&cluster));

        let options = ["-n", "1", "--grace", "1", "--node-agent=false"];
        let mut cluster = start(node, &options, &["interval.cjs"]);
        cluster.listening(1);
        end(&mut cluster);
        let late = |line: &String| line.contains("did not leave in time: SIGTERM");
        assert!(cluster.err.all().iter().any(late), "{}", log(&cluster));
        // Its channel has been closed by then.
        assert_eq!(printed(&cluster, "stopping, connected false"), 1, "{}", log(&cluster));
        assert_eq!(printed(&cluster, "flushed"), 1, "{}", log(&cluster));
    });
}

#[test]
fn only_sigkill_makes_it_a_failure() {
    const KILL_AFTER: Duration = Duration::from_millis(700);
    each_node(|node| {
        let options = ["-n", "1", "--grace", "1", "--kill-after", "700ms"];
        let mut cluster = start(node, &options, &["server.cjs", "ignore"]);
        let request = Request::begin(&cluster, local(cluster.listening(1)), "/never");
        let workers = cluster.worker_pids();
        cluster.signal(Signal::TERM);
        cluster.err.wait_for(1, |line| line.contains("stopping: waiting"));
        let begun = now();
        assert_eq!(cluster.wait().code(), Some(3), "{}", log(&cluster));
        let took = begun.elapsed();
        // What is logged comes a moment after what it is about.
        let least = Duration::from_secs(1) + KILL_AFTER - Duration::from_millis(500);
        assert!(took >= least, "{took:?}\n{}", log(&cluster));
        assert_eq!(left(&cluster, "signal SIGKILL"), 1, "{}", log(&cluster));
        request.assert_cut_off();
        assert_gone(&workers);
    });
}

/// It does not get `disconnect` any more, but the agent tells that it handles the signal.
#[test]
fn a_worker_that_closed_its_channel_gets_the_signal() {
    each_node(|node| {
        let mut cluster = server(node, &["--log-level", "debug"], "detach");
        let detach = |count: usize| {
            let worker = *cluster.worker_pids().last().expect("there is one");
            kill(worker, Signal::USR2);
            cluster.out.wait_for(count, |line| line.contains("detached"));
            cluster.err.wait_for(count, |line| line.contains("has disconnected"));
        };
        detach(1);
        reload(&cluster, 1);
        detach(2);
        end(&mut cluster);
        assert_gone(&cluster.worker_pids());
        assert_graceful(&cluster);
        let seen = printed(&cluster, "SIGTERM: listening true, connected false");
        assert_eq!(seen, 2, "{}", log(&cluster));
    });
}
