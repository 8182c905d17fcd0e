//! Workers that leave finish their HTTP work first, whatever the program does when it is asked to stop.

#[path = "support/load.rs"]
mod load;
#[path = "support/programs.rs"]
mod programs;
mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use load::Load;
use programs::{Request, assert_graceful, each_node, end, left, log, printed, reload, start};
use rustix::process::Signal;
use support::now;

/// A client that a thread drives pauses for as long as the machine has no time for it; the agent closes
/// connections that have been idle for twice as long.
const IDLE: Duration = Duration::from_millis(50);

fn local(address: SocketAddr) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], address.port()))
}

/// Reloads twice under clients that never pause.
fn reload_under_load(node: &Path, placement: &str, handler: &str) {
    let options = ["-n", "2", "--placement", placement, "--grace", "50"];
    let mut cluster = start(node, &options, &["server.cjs", handler]);
    let load = Load::start(&load::tcp(&cluster), 2, 6);
    load.more(20);
    for number in 1..=2 {
        let begun = now();
        reload(&cluster, number);
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(20), "near no bound: {took:?}\n{}", log(&cluster));
        load.more(20);
    }
    let tally = load.stop();
    eprintln!(
        "{placement}, {handler}: {} fresh and {} kept requests, {} retried",
        tally.fresh, tally.kept, tally.retried
    );
    assert!(tally.failures.is_empty(), "{:?}\n{}", tally.failures, log(&cluster));
    if let Some(idle) = tally.shortest_idle {
        assert!(idle >= IDLE, "a connection in use was closed: {idle:?}\n{}", log(&cluster));
    }
    assert!(tally.answers.len() >= 6, "every generation served: {:?}", tally.answers);
    end(&mut cluster);
    assert_graceful(&cluster);
    assert_eq!(left(&cluster, "code 0"), 6, "{}", log(&cluster));
}

#[test]
fn kept_connections_are_not_cut_off_by_hand_off() {
    each_node(|node| reload_under_load(node, "handoff", "none"));
}

#[test]
fn kept_connections_are_not_cut_off_by_hand_off_with_a_handler() {
    each_node(|node| reload_under_load(node, "handoff", "close"));
}

#[test]
fn kept_connections_are_not_cut_off_by_the_kernel() {
    each_node(|node| reload_under_load(node, "kernel", "none"));
}

#[test]
fn kept_connections_are_not_cut_off_by_the_kernel_with_a_handler() {
    each_node(|node| reload_under_load(node, "kernel", "close"));
}

#[test]
fn kept_connections_are_not_cut_off_on_a_shared_socket() {
    each_node(|node| reload_under_load(node, "shared", "none"));
}

#[test]
fn kept_connections_are_not_cut_off_on_a_shared_socket_with_a_handler() {
    each_node(|node| reload_under_load(node, "shared", "close"));
}

#[test]
fn a_handler_that_exits_at_once_cuts_off_no_request() {
    each_node(|node| {
        let mut cluster = start(node, &["-n", "1", "--grace", "50"], &["server.cjs", "exit"]);
        let address = local(cluster.listening(1));
        let request = Request::begin(&cluster, address, "/500");
        reload(&cluster, 1);
        request.assert_answered();
        let request = Request::begin(&cluster, address, "/500");
        end(&mut cluster);
        request.assert_answered();
        assert_graceful(&cluster);
        assert_eq!(printed(&cluster, "SIGTERM: "), 2, "{}", log(&cluster));
    });
}

/// A program that refuses to stop is not asked before its requests are done, but not after their
/// bound either.
#[test]
fn a_request_without_end_is_waited_for_until_the_drain_timeout() {
    const BOUND: Duration = Duration::from_millis(1500);
    each_node(|node| {
        let options = ["-n", "1", "--grace", "50", "--drain-timeout", "1500ms"];
        let mut cluster = start(node, &options, &["server.cjs", "exit"]);
        let request = Request::begin(&cluster, local(cluster.listening(1)), "/never");
        let begun = now();
        end(&mut cluster);
        let took = begun.elapsed();
        assert!(took >= BOUND && took < Duration::from_secs(20), "{took:?}\n{}", log(&cluster));
        request.assert_cut_off();
        assert_graceful(&cluster);
        assert_eq!(printed(&cluster, "SIGTERM: "), 1, "{}", log(&cluster));
    });
}

#[test]
fn a_worker_that_outstays_the_grace_period_is_terminated() {
    each_node(|node| {
        let mut cluster = start(node, &["-n", "1", "--grace", "1"], &["server.cjs", "none"]);
        let request = Request::begin(&cluster, local(cluster.listening(1)), "/never");
        cluster.signal(Signal::TERM);
        cluster.err.wait_for(1, |line| line.contains("did not leave in time: SIGTERM"));
        assert_eq!(cluster.wait().code(), Some(0), "{}", log(&cluster));
        request.assert_cut_off();
    });
}
