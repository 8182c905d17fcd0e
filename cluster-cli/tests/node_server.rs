//! `cluster run` of the reference page's programs, unmodified, on real Node.js.

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use rustix::process::Signal;
use support::{Cluster, eventually, file, get, kill, nodes, run_script};

fn each_node(test: impl Fn(&Path)) {
    for node in nodes() {
        eprintln!("with {}", node.display());
        test(&node);
    }
}

fn start(node: &Path, script: &str, options: &[&str]) -> Cluster {
    Cluster::start(&mut run_script(node, &file(&format!("testdata/js/{script}")), options))
}

#[test]
fn the_first_example_serves_from_four_workers() {
    each_node(|node| {
        for script in ["server.cjs", "server.mjs"] {
            let cluster = start(node, script, &["-n", "4"]);
            let address = cluster.listening(4);
            cluster.out.wait_for(4, |l| l.contains("] Worker ") && l.ends_with(" started"));
            assert_eq!(get(address).unwrap(), "hello world\n");
            let ports: Vec<_> = cluster.err.wait_for(4, |l| l.contains(" listens on "));
            assert!(
                ports.iter().all(|l| l.ends_with(&format!("*:{}", address.port()))),
                "{ports:?}"
            );
            cluster.end();
        }
    });
}

#[test]
fn connections_go_round_within_one_over_four_hundred() {
    each_node(|node| {
        let cluster = start(node, "which-worker.cjs", &["-n", "4"]);
        let address = cluster.listening(4);
        let mut counts = BTreeMap::<_, u32>::new();
        for _ in 0..400 {
            *counts.entry(get(address).unwrap()).or_default() += 1;
        }
        assert_eq!(counts.len(), 4, "{counts:?}");
        assert!(counts.values().all(|count| (99..=101).contains(count)), "{counts:?}");
        cluster.end();
    });
}

#[test]
fn a_shared_socket_serves_too() {
    each_node(|node| {
        let cluster = start(node, "server.cjs", &["-n", "2", "--placement", "shared"]);
        let address = cluster.listening(2);
        for _ in 0..50 {
            assert_eq!(get(address).unwrap(), "hello world\n");
        }
        cluster.end();
    });
}

#[test]
fn a_killed_worker_is_noticed_reported_and_replaced() {
    each_node(|node| {
        let cluster = start(node, "server.cjs", &["-n", "4"]);
        let address = cluster.listening(4);
        kill(cluster.worker_pids()[1], Signal::KILL);
        for _ in 0..40 {
            assert_eq!(get(address).unwrap(), "hello world\n");
        }
        cluster.err.wait_for(1, |l| l.contains("worker 2 died (signal SIGKILL); starting another"));
        cluster.err.wait_for(1, |l| l.starts_with("cluster: worker 5 ") && l.contains("listens"));
        cluster.end();
    });
}

#[test]
fn workers_that_kill_themselves_on_each_request_lose_no_other_request() {
    each_node(|node| {
        let cluster = start(node, "is-dead.cjs", &["-n", "3"]);
        let address = cluster.listening(3);
        let body = get(address).unwrap();
        assert!(body.starts_with("Current process\n "), "{body}");
        cluster.err.wait_for(1, |l| l.contains("died (signal SIGTERM)"));
        cluster.err.wait_for(4, |l| l.contains(" listens on "));
        cluster.end();
    });
}

#[test]
fn messages_reach_the_primary() {
    each_node(|node| {
        let cluster = start(node, "count-messages.cjs", &["-n", "2", "--json"]);
        let lines = cluster.out.wait_for(2, |l| l.contains(r#""type":"listening""#));
        let port = lines[0].split(r#""port":"#).nth(1).unwrap().split(',').next().unwrap();
        let address = format!("127.0.0.1:{port}").parse().unwrap();
        for _ in 0..10 {
            get(address).unwrap();
        }
        let message = r#""message":{"cmd":"notifyRequest"}"#;
        let seen = cluster.out.wait_for(10, |l| l.contains(message));
        for worker in ["1", "2"] {
            let from = format!(r#""worker":{worker},"#);
            assert_eq!(seen.iter().filter(|l| l.contains(&from)).count(), 5, "{seen:?}");
        }
    });
}

#[test]
fn a_worker_with_endless_connections_is_ended_after_the_grace_period() {
    each_node(|node| {
        let mut cluster = start(node, "disconnect-timeout.cjs", &["-n", "1", "--grace", "1"]);
        let address = cluster.listening(1);
        let _client = std::net::TcpStream::connect(address).unwrap();
        // The worker has it once another connection, which comes later, is in its hands: wait for
        // the hand-off by what the kernel shows of the worker's descriptors.
        let worker = cluster.worker_pids()[0];
        eventually("the worker holds the connection", || holds_socket(worker, address.port()));
        cluster.signal(Signal::TERM);
        // It has no handler, so SIGTERM ends it; it need not be killed.
        cluster.err.wait_for(1, |line| line.contains("did not leave in time: SIGTERM"));
        assert_eq!(cluster.wait().code(), Some(0), "{:#?}", cluster.err.all());
        support::assert_gone(&[worker]);
    });
}

/// Whether that process holds an established connection on that local port.
fn holds_socket(pid: i32, port: u16) -> Option<()> {
    let mut sockets = Vec::new();
    for table in ["tcp", "tcp6"] {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).ok()?;
        for line in text.lines().skip(1) {
            let columns: Vec<_> = line.split_whitespace().collect();
            if columns[1].ends_with(&format!(":{port:04X}")) && columns[3] == "01" {
                sockets.push(format!("socket:[{}]", columns[9]));
            }
        }
    }
    let held = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let held = held.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    held.into_iter()
        .any(|link| sockets.iter().any(|s| link.as_os_str() == s.as_str()))
        .then_some(())
}
