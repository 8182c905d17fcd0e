//! Signals that other masters know and `cluster run` has no use for: none of them harms workers, and only
//! process 1 forwards them.

#[path = "support/programs.rs"]
mod programs;
mod support;

use programs::{Request, each_node, printed, run_node, start};
use rustix::process::Signal;
use support::{Cluster, Folder, assert_gone, cluster, eventually, get, kill};

/// What a worker does that gets one of these and does not handle it is to end, or to open its inspector.
#[test]
fn other_masters_signals_do_not_reach_workers() {
    each_node(|node| {
        let names = ["signals.cjs", "SIGUSR1", "SIGQUIT", "SIGWINCH", "SIGCONT"];
        let cluster = start(node, &["-n", "2"], &names);
        let address = cluster.listening(2);
        cluster.signal(Signal::USR1);
        cluster.err.wait_for(1, |line| {
            line.contains("SIGUSR1 is ignored, and is not forwarded to workers")
                && line.contains("cluster ctl kill WORKER SIGUSR1")
        });
        cluster.signal(Signal::WINCH);
        cluster.err.wait_for(1, |line| line.contains("SIGWINCH is ignored"));
        cluster.signal(Signal::CONT);
        // It was taken before the reload, whose workers are not the same.
        cluster.signal(Signal::HUP);
        cluster.err.wait_for(1, |line| line.contains("reload 1 done"));
        get(address).expect("it serves");
        assert_eq!(printed(&cluster, "got SIG"), 0, "{:#?}", cluster.out.all());
        let harmed = |line: &String| line.contains("Debugger listening") || line.contains(" died ");
        assert!(!cluster.err.all().iter().any(harmed), "{:#?}", cluster.err.all());
        cluster.end();
    });
}

#[test]
fn sigquit_ends_gracefully_as_sigterm_does() {
    each_node(|node| {
        let mut cluster = start(node, &["-n", "2", "--grace", "60"], &["signals.cjs"]);
        let address = cluster.listening(2);
        let workers = cluster.worker_pids();
        let request = Request::begin(&cluster, address, "/slow");
        cluster.signal(Signal::QUIT);
        cluster.err.wait_for(1, |line| line.contains("stopping: waiting"));
        // The request is answered at this signal: until then it is in progress.
        workers.iter().for_each(|worker| kill(*worker, Signal::USR2));
        request.assert_answered();
        assert_eq!(cluster.wait().code(), Some(0), "{:#?}", cluster.err.all());
        assert_gone(&workers);
        let killed = |line: &String| line.contains("SIGQUIT)") || line.contains("SIGKILL");
        assert!(!cluster.err.all().iter().any(killed), "{:#?}", cluster.err.all());
    });
}

#[test]
fn a_driven_primary_survives_them_too() {
    let folder = Folder::new("signals-served");
    let control = folder.0.join("s");
    let mut served = Cluster::start(cluster().args(["serve", "--control"]).arg(&control));
    served.err.wait_for(1, |line| line.contains("ready"));
    served.signal(Signal::USR1);
    served.err.wait_for(1, |line| line.contains("SIGUSR1 is ignored"));
    served.signal(Signal::QUIT);
    assert_eq!(served.wait().code(), Some(0), "{:#?}", served.err.all());
}

#[test]
#[cfg(target_os = "linux")]
fn process_1_forwards_them() {
    let unshare = || {
        let mut command = std::process::Command::new("unshare");
        command.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child"]);
        command
    };
    if !unshare().arg("true").status().is_ok_and(|status| status.success()) {
        eprintln!("no namespaces are to be had: not tested");
        return;
    }
    let folder = Folder::new("signals-first");
    let control = folder.0.join("s");
    let control = control.to_str().unwrap();
    let Some(node) = support::nodes().into_iter().next() else { return };
    let names = ["signals.cjs", "SIGUSR1", "SIGQUIT", "SIGWINCH", "SIGCONT"];
    let run = run_node(&node, &["-n", "1", "--control", control], &names);
    let mut command = unshare();
    command.arg(run.get_program()).args(run.get_args());
    let mut contained = Cluster::start(&mut command);
    contained.listening(1);
    let children = format!("/proc/{0}/task/{0}/children", contained.pid());
    let first = std::fs::read_to_string(children).expect("it has one");
    let first: i32 = first.trim().parse().expect("it has one child");
    for (signal, name) in [
        (Signal::USR1, "SIGUSR1"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::WINCH, "SIGWINCH"),
        (Signal::CONT, "SIGCONT"),
    ] {
        kill(first, signal);
        contained.out.wait_for(1, |line| line.ends_with(&format!("got {name}")));
    }
    let stopped = cluster().args(["ctl", "--control", control, "stop"]).status();
    assert!(stopped.expect("it starts").success());
    let status = eventually("it ends", || contained.child.try_wait().expect("it is ours"));
    assert_eq!(status.code(), Some(0), "{:#?}", contained.err.all());
}
