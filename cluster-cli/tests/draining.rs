//! What is seen by HTTP, and that the end is announced there before it comes.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use rustix::process::Signal;
use support::{Cluster, PATIENCE, cluster, eventually, get};

/// The status and the body.
fn fetch(address: SocketAddr, path: &str) -> (u16, String) {
    let mut connection = TcpStream::connect(address).expect("it listens");
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let host = address.to_string();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("it is an answer");
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn started(options: &[&str]) -> (Cluster, SocketAddr, SocketAddr) {
    let mut run = cluster();
    run.args(["run", "-n", "2", "--http", "0", "--demo-listen", "127.0.0.1:0"]).args(options);
    let cluster = Cluster::start(&mut run);
    let line = cluster.err.wait_for(1, |line| line.contains("status page: ")).remove(0);
    let http = line.split("http://").nth(1).and_then(|rest| rest.split('/').next()).unwrap();
    let http = http.parse().unwrap();
    let address = cluster.listening(2);
    (cluster, address, http)
}

#[test]
fn what_is_seen_is_what_is() {
    let (cluster, address, http) = started(&[]);
    eventually("it is ready", || (fetch(http, "/readyz").0 == 200).then_some(()));
    for _ in 0..6 {
        get(address).unwrap();
    }
    let json = eventually("the last connection is told", || {
        let (status, json) = fetch(http, "/status");
        assert_eq!(status, 200);
        json.contains("\"handedOver\":6").then_some(json)
    });
    for part in ["\"state\":\"running\"", "\"connections\":3"] {
        assert!(json.contains(part), "{part} in {json}");
    }
    let (status, metrics) = fetch(http, "/metrics");
    assert_eq!(status, 200);
    let lines = metrics.lines().map(|line| Ok(line.to_owned()));
    let parsed = prometheus_parse::Scrape::parse(lines).expect("Prometheus can read it");
    assert!(parsed.samples.len() > 20, "{metrics}");
    assert_eq!(fetch(http, "/healthz").0, 200);
    let (status, page) = fetch(http, "/");
    assert!(status == 200 && page.contains("<!doctype html>"), "{page}");
    assert_eq!(fetch(http, "/nothing").0, 404);
    cluster.end();
}

#[test]
fn the_end_is_announced_before_it_comes() {
    let (mut cluster, address, http) = started(&["--drain-delay", "3s"]);
    eventually("it is ready", || (fetch(http, "/readyz").0 == 200).then_some(()));
    cluster.signal(Signal::TERM);
    cluster.err.wait_for(1, |line| line.contains("draining: no longer ready"));
    let (status, why) = fetch(http, "/readyz");
    assert!(status == 503 && why.contains("drain"), "{status} {why}");
    // Who has not heard of it is still served.
    get(address).unwrap();
    assert_eq!(fetch(http, "/healthz").0, 200);
    cluster.err.wait_for(1, |line| line.contains("stopping: waiting"));
    assert_eq!(cluster.wait().code(), Some(0));
}

#[test]
fn who_asks_again_does_not_wait_for_the_announcement() {
    let name = format!("asks-again-{}", std::process::id());
    let (mut cluster, ..) = started(&["--drain-delay", "1h", "--name", &name]);
    cluster.signal(Signal::TERM);
    cluster.err.wait_for(1, |line| line.contains("draining"));
    // What would come to nothing is refused.
    for what in [&["scale", "3"][..], &["reload"]] {
        let told = support::cluster().args(what).args(["--name", &name]).output().expect("it runs");
        let said = String::from_utf8_lossy(&told.stderr);
        assert!(!told.status.success() && said.contains("draining"), "{what:?}: {said}");
    }
    // One that comes within a second is the same request.
    eventually("the second request counts", || {
        cluster.signal(Signal::TERM);
        let ending = cluster.err.all().iter().any(|line| line.contains("stopping: waiting"));
        ending.then_some(())
    });
    assert_eq!(cluster.wait().code(), Some(0));
}

#[test]
fn an_address_in_use_is_said_to_be() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut run = cluster();
    let output = run.args(["run", "--http", &address, "--demo-listen", "127.0.0.1:0"]).output();
    let output = output.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains(&format!("cannot listen on {address} (--http): Address already in use")));
}
