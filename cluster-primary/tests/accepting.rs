//! How connections are accepted.

#[path = "support/process.rs"]
mod support;

use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use support::{Cluster, serve_from_any_worker};

/// However many wait at one listener, the others have their turn.
#[test]
fn a_crowded_listener_does_not_keep_others_waiting() {
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    let (crowded, quiet) = (cluster.listen(worker, 0), cluster.listen(worker, 0));
    let connect = |to| TcpStream::connect(to).expect("it listens");
    let _crowd: Vec<_> = (0..300).map(|_| connect(crowded)).collect();
    let _other = connect(quiet);
    let mut accepted = 0;
    while accepted == 0 {
        cluster.primary.try_event().expect("a poll");
        accepted = cluster.primary.stats().accepted;
    }
    assert!(accepted < 300, "all of one listener at once");
    assert_eq!(accepted % 64, 1, "as many turns of 64 as there were, and the one");
}

#[test]
fn who_does_not_wait_at_all_is_served_all_the_same() {
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    let address = cluster.listen(worker, 0);
    let client = thread::spawn(move || serve_from_any_worker(TcpStream::connect(address).unwrap()));
    while !client.is_finished() {
        cluster.primary.next_event_within(Duration::ZERO).expect("a poll");
    }
    assert_eq!(client.join().unwrap(), worker);
}
