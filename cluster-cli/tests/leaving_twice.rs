//! A shell, npm and a terminal may all pass on the same Ctrl-C: requests to end within a second are one.

#[path = "support/programs.rs"]
mod programs;
#[path = "support/pty.rs"]
mod pty;
mod support;

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use programs::{Request, assert_graceful, each_node, log, printed, run_node, start};
use pty::{Terminal, in_a_shell};
use rustix::process::Signal;
use support::{Cluster, Lines, assert_gone, eventually, get_path, kill, now};

fn local(address: SocketAddr) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], address.port()))
}

/// Signals of one number that come at once may be one to the kernel already; these are not.
fn end_twice(cluster: &Cluster) {
    for signal in [Signal::INT, Signal::INT, Signal::TERM] {
        cluster.signal(signal);
    }
}

#[test]
fn a_doubled_request_to_end_cuts_off_no_request() {
    each_node(|node| {
        let options = ["-n", "1", "--grace", "50"];
        let mut cluster = start(node, &options, &["server.cjs", "close"]);
        let request = Request::begin(&cluster, local(cluster.listening(1)), "/700");
        end_twice(&cluster);
        request.assert_answered();
        assert_eq!(cluster.wait().code(), Some(0), "{}", log(&cluster));
        assert_graceful(&cluster);
    });
}

#[test]
fn a_doubled_request_to_end_does_not_shorten_the_drain_delay() {
    const DELAY: Duration = Duration::from_millis(1200);
    each_node(|node| {
        let options = ["-n", "1", "--grace", "50", "--drain-delay", "1200ms"];
        let mut cluster = start(node, &options, &["server.cjs", "close"]);
        let address = local(cluster.listening(1));
        let request = Request::begin(&cluster, address, "/1500");
        let begun = now();
        end_twice(&cluster);
        cluster.err.wait_for(1, |line| line.contains("draining"));
        // New clients are served until the delay is over.
        let later = Request::begin(&cluster, address, "/300");
        request.assert_answered();
        later.assert_answered();
        assert_eq!(cluster.wait().code(), Some(0), "{}", log(&cluster));
        assert!(begun.elapsed() >= DELAY, "{}", log(&cluster));
        assert_graceful(&cluster);
    });
}

#[test]
fn a_request_to_end_after_a_second_ends_it_at_once() {
    each_node(|node| {
        let options = ["-n", "1", "--grace", "1h"];
        let mut cluster = start(node, &options, &["server.cjs", "close"]);
        let request = Request::begin(&cluster, local(cluster.listening(1)), "/never");
        let workers = cluster.worker_pids();
        let begun = now();
        let at_once = |cluster: &Cluster| {
            cluster.err.all().iter().any(|line| line.contains("is not waited for: SIGKILL"))
        };
        eventually("one of them counts", || {
            cluster.signal(Signal::INT);
            at_once(&cluster).then_some(())
        });
        assert!(begun.elapsed() >= Duration::from_secs(1), "{}", log(&cluster));
        assert_eq!(cluster.wait().code(), Some(3), "{}", log(&cluster));
        request.assert_cut_off();
        assert_gone(&workers);
    });
}

fn parent(pid: i32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is there");
    let fields = stat.rsplit(") ").next().expect("it has fields");
    fields.split(' ').nth(1).and_then(|parent| parent.parse().ok()).expect("it has a parent")
}

/// The terminal sends the signal to all of its processes, and npm passes it on to its child.
#[test]
fn ctrl_c_that_is_passed_on_as_well_is_one() {
    each_node(|node| {
        let terminal = Terminal::new();
        let options = ["-n", "1", "--grace", "50"];
        let mut command = in_a_shell(&run_node(node, &options, &["server.cjs", "close"]));
        terminal.give_to(&mut command);
        let mut shell = command.spawn().expect("sh is there");
        drop(command);
        let Terminal { mut ours, theirs } = terminal;
        drop(theirs);
        let lines = Lines::default();
        lines.collect(ours.try_clone().expect("a descriptor"));

        let listening = lines.wait_for(1, |line| line.contains(" listens on "));
        let port = listening[0].trim_end().rsplit(':').next().expect("it has a port");
        let address = format!("127.0.0.1:{port}").parse().expect("it is an address");
        let started = lines.wait_for(1, |line| line.contains(") started"));
        let pid = started[0].split("(pid ").nth(1).and_then(|rest| rest.split(')').next());
        let worker: i32 = pid.and_then(|pid| pid.parse().ok()).expect("it has a number");
        let primary = parent(worker);
        let request = std::thread::spawn(move || get_path(address, "/700"));
        lines.wait_for(1, |line| line.contains("request /700"));

        ours.write_all(b"\x03").expect("the terminal reads");
        lines.wait_for(1, |line| line.contains("stopping: waiting"));
        kill(primary, Signal::INT);
        request.join().expect("the client does not panic").expect("it is not cut off");
        let status = lines.wait_for(1, |line| line.starts_with("status "));
        assert_eq!(status[0].trim_end(), "status 0", "{:#?}", lines.all());
        let at_once = |line: &String| line.contains("is not waited for");
        assert!(!lines.all().iter().any(at_once), "{:#?}", lines.all());
        ours.write_all(b"\n").expect("the terminal reads");
        eventually("the shell ends", || shell.try_wait().expect("it is our child"));
        assert_gone(&[worker]);
    });
}

#[test]
fn during_the_drain_delay_a_later_request_ends_the_wait() {
    each_node(|node| {
        let options = ["-n", "1", "--grace", "50", "--drain-delay", "1h"];
        let mut cluster = start(node, &options, &["server.cjs", "close"]);
        let address = local(cluster.listening(1));
        let begun = now();
        cluster.signal(Signal::INT);
        cluster.err.wait_for(1, |line| line.contains("draining"));
        let request = Request::begin(&cluster, address, "/2500");
        eventually("one of them counts", || {
            cluster.signal(Signal::INT);
            let ending = |line: &String| line.contains("stopping: waiting");
            cluster.err.all().iter().any(ending).then_some(())
        });
        assert!(begun.elapsed() >= Duration::from_secs(1), "{}", log(&cluster));
        request.assert_answered();
        assert_eq!(cluster.wait().code(), Some(0), "{}", log(&cluster));
        assert_graceful(&cluster);
        assert_eq!(printed(&cluster, "SIGTERM: "), 1, "{}", log(&cluster));
    });
}
