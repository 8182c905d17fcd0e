//! Under a service manager: what it is told, and what it is not passed on.

mod support;

use std::os::unix::net::UnixDatagram;

use rustix::process::Signal;
use support::{Cluster, Folder, PATIENCE, cluster};

/// The next message that has that field.
fn told(manager: &UnixDatagram, field: &str) -> String {
    let mut buffer = [0; 4096];
    loop {
        let length = manager.recv(&mut buffer).unwrap_or_else(|e| panic!("no {field}: {e}"));
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if text.lines().any(|line| line.starts_with(field)) {
            return text;
        }
    }
}

#[test]
fn the_manager_hears_of_all_that_matters() {
    let folder = Folder::new("manager");
    let path = folder.0.join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut run = cluster();
    run.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    run.args(["run", "-n", "2", "--demo-listen", "127.0.0.1:0"]);
    let mut cluster = Cluster::start(&mut run);
    assert!(told(&manager, "READY=1").contains(&format!("MAINPID={}", cluster.pid())));
    assert!(told(&manager, "STATUS=").contains("running; 2 workers wanted"));
    for _ in 0..3 {
        told(&manager, "WATCHDOG=1");
    }
    cluster.signal(Signal::HUP);
    assert!(told(&manager, "RELOADING=1").contains("MONOTONIC_USEC="));
    told(&manager, "READY=1");
    cluster.signal(Signal::TERM);
    told(&manager, "STOPPING=1");
    assert_eq!(cluster.wait().code(), Some(0));
}

#[test]
fn a_manager_that_does_not_listen_stops_nothing() {
    let folder = Folder::new("deaf");
    let mut run = cluster();
    run.env("NOTIFY_SOCKET", folder.0.join("nobody")).env("WATCHDOG_USEC", "1000");
    run.args(["run", "-n", "1", "--demo-listen", "127.0.0.1:0"]);
    let cluster = Cluster::start(&mut run);
    cluster.listening(1);
    let said = cluster.err.wait_for(1, |line| line.contains("the service manager cannot be told"));
    assert!(said[0].contains("/nobody: No such file or directory"), "{said:?}");
    cluster.end();
}
