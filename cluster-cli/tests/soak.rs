//! 200,000 short connections to Rust workers, and as many to Node's: none is lost, and the primary neither keeps descriptors nor grows.
//!
//! `CLUSTER_SOAK_CONNECTIONS` sets another number.

mod support;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};

use support::{Cluster, cluster, eventually, file, nodes, run_script};

const CLIENTS: u32 = 16;
const WARM_UP: u32 = 20_000;

fn connections() -> u32 {
    let set = std::env::var("CLUSTER_SOAK_CONNECTIONS").ok();
    set.map_or(200_000, |n| n.parse().expect("CLUSTER_SOAK_CONNECTIONS is a number"))
}

/// Makes that many connections, each with one request; every one must be answered in full.
fn load(port: u16, count: u32) {
    let next = AtomicU32::new(0);
    let failures = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (next, failures) = (&next, &failures);
            scope.spawn(move || {
                // An address of its own to connect to: so many short connections would use up the
                // ports of one pair of addresses.
                let ip = Ipv4Addr::new(127, 0, 0, u8::try_from(client + 2).unwrap());
                let address = SocketAddr::new(IpAddr::V4(ip), port);
                while next.fetch_add(1, Ordering::Relaxed) < count {
                    if let Err(error) = exchange(address) {
                        eprintln!("a connection was lost: {error}");
                        failures.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(failures.into_inner(), 0, "connections were lost");
}

fn exchange(address: SocketAddr) -> std::io::Result<()> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(support::PATIENCE))?;
    connection.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::with_capacity(256);
    connection.read_to_end(&mut answer)?;
    if answer.starts_with(b"HTTP/1.1 200 ") {
        return Ok(());
    }
    Err(std::io::Error::other(format!("{:?}", String::from_utf8_lossy(&answer))))
}

fn soak(cluster: Cluster, connections: u32) {
    let port = cluster.listening(2).port();
    load(port, 1000);
    let before = settled_descriptors(&cluster);
    load(port, WARM_UP - 1000);
    let warm = cluster.rss_kib();
    load(port, connections.saturating_sub(WARM_UP));
    let rss = cluster.rss_kib();
    assert!(rss <= warm + 1024, "the primary grew from {warm} KiB to {rss} KiB");
    eventually("no descriptor is left over", || {
        (settled_descriptors(&cluster) == before).then_some(())
    });
    assert!(!cluster.err.all().iter().any(|l| l.contains("died") || l.contains("error")));
    cluster.end();
}

/// The count of open descriptors once it is the same twice.
fn settled_descriptors(cluster: &Cluster) -> usize {
    let mut last = 0;
    eventually("the count of descriptors settles", || {
        let now = cluster.descriptors();
        (std::mem::replace(&mut last, now) == now).then_some(now)
    })
}

#[test]
fn through_two_rust_workers() {
    // On every address, so that the clients can use many.
    soak(
        Cluster::start(cluster().args(["run", "-n", "2", "--demo-listen", "0.0.0.0:0"])),
        connections(),
    );
}

#[test]
fn through_two_node_workers() {
    // All Nodes together: the primary, which is what could leak, does the same for each.
    let nodes = nodes();
    for node in &nodes {
        let script = file("testdata/js/which-worker.cjs");
        let connections = connections() / nodes.len() as u32;
        soak(Cluster::start(&mut run_script(node, &script, &["-n", "2"])), connections);
    }
}
