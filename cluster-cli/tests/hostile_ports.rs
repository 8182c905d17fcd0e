//! A worker of another user than root's gets no port below 1024 that it was not granted.

#[path = "support/dropped.rs"]
mod dropped;
#[path = "support/hostile.rs"]
mod hostile;
mod support;

use std::net::{TcpListener, TcpStream, UdpSocket};

use dropped::{Stage, is_root};
use support::Cluster;

/// A privileged port that is free; none where every user may bind all (`ip_unprivileged_port_start`).
fn privileged_port() -> Option<u16> {
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let first: u16 = first.map_or(1024, |first| first.trim().parse().expect("a number"));
    let low = first.min(1024);
    let free = |port: &u16| {
        TcpListener::bind(("127.0.0.1", *port)).is_ok()
            && UdpSocket::bind(("127.0.0.1", *port)).is_ok()
    };
    // Tests that run at the same time look for other ones.
    let wanted = 300 + u16::try_from(std::process::id() % 600).expect("it is small");
    let port = (wanted..low).chain(1..wanted.min(low)).find(free);
    if port.is_none() {
        eprintln!("left out: there is no privileged port");
    }
    port
}

#[test]
fn privileged_ports_are_refused_unless_they_are_granted() {
    let Some(port) = privileged_port().filter(|_| is_root()) else { return };
    let stage = Stage::new("ports");
    let (tcp, udp) = (format!("tcp:{port}"), format!("udp:{port}"));
    for placement in ["handoff", "shared", "kernel"] {
        let options = ["--placement", placement];
        let mut attack = stage.run(&options, "asks", &[&tcp, &udp, "tcp:0", "udp:0"]);
        let cluster = Cluster::start(&mut attack);
        cluster.out.wait_for(1, |line| line.contains("asked for all"));
        let said = cluster.out.all();
        let has = |what: &str| said.iter().any(|line| line.ends_with(what));
        for at in [&tcp, &udp] {
            assert!(has(&format!("refused {at}: -13")), "{placement}: {said:?}");
        }
        assert!(has("has tcp:0") && has("has udp:0"), "{placement}: {said:?}");
        cluster.err.wait_for(2, |line| line.contains("--privileged-ports lets workers listen"));
        cluster.end();

        let number = port.to_string();
        let options = [&options[..], &["--privileged-ports", &number]].concat();
        let mut granted = stage.run(&options, "asks", &[&tcp, &udp]);
        let cluster = Cluster::start(&mut granted);
        cluster.out.wait_for(1, |line| line.ends_with(&format!("has {tcp}")));
        cluster.out.wait_for(1, |line| line.ends_with(&format!("has {udp}")));
        if placement == "handoff" {
            drop(TcpStream::connect(("127.0.0.1", port)).expect("it listens"));
        }
        cluster.end();
    }
}

#[test]
fn an_address_of_listen_is_a_grant() {
    let Some(port) = privileged_port().filter(|_| is_root()) else { return };
    let stage = Stage::new("granted");
    let (tcp, udp) = (format!("127.0.0.2:{port}"), format!("udp:{port}"));
    let mut run = stage.run(&["--listen", &tcp], "asks", &[&udp]);
    let cluster = Cluster::start(&mut run);
    cluster.out.wait_for(1, |line| line.ends_with(&format!("has {udp}")));
    drop(TcpStream::connect(("127.0.0.2", port)).expect("it listens"));
    cluster.end();
}
