//! Rust workers on tokio that start other programs.

mod support;

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use support::{Cluster, Lines, cluster, eventually, example, get_path, nodes};

/// Says whether it takes itself for a primary, and which variables it sees of those by which a worker knows what it is.
/// With them Node aborts, as it has no channel.
const WHO: &str = "console.log(require('node:cluster').isPrimary, Object.keys(process.env).filter(\
    (name) => name.startsWith('NODE_CHANNEL') || name === 'NODE_UNIQUE_ID').join())";

/// Both ways of a worker's to start a program.
#[track_caller]
fn no_worker(address: SocketAddr) {
    for way in ["/std", "/tokio"] {
        let said = get_path(address, way).expect("it serves");
        assert_eq!(said, "true \nexit status: 0\n", "{way}");
    }
}

#[test]
fn a_node_that_a_worker_starts_is_no_worker() {
    let server = example("cluster-examples", "children");
    for node in nodes() {
        let mut command = cluster();
        command.args(["run", "-n", "2"]).arg(&server).arg("127.0.0.1:0").arg(&node);
        let cluster = Cluster::start(command.args(["-e", WHO]));
        no_worker(cluster.listening(2));
        cluster.end();
    }
}

/// The same worker under a primary of Node's.
#[test]
fn nor_is_it_one_under_a_node_primary() {
    const PRIMARY: &str = "
        const cluster = require('node:cluster');
        const [binary, ...words] = process.argv.slice(1);
        // cluster.fork() takes no execPath.
        const args = [process.execPath, ...words];
        process.execPath = binary;
        cluster.setupPrimary({ exec: '127.0.0.1:0', args, execArgv: [] });
        cluster.fork().on('listening', ({ port }) => console.log(`port ${port}`));";
    let server = example("cluster-examples", "children");
    for node in nodes() {
        let mut primary = Command::new(&node);
        primary.args(["-e", PRIMARY]).arg(&server).args(["-e", WHO]);
        primary.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut primary = primary.spawn().expect("it starts");
        let out = Lines::default();
        out.collect(primary.stdout.take().expect("it is a pipe"));
        let line = &out.wait_for(1, |line| line.starts_with("port "))[0];
        let port: u16 = line["port ".len()..].parse().expect("a number");
        no_worker(([127, 0, 0, 1], port).into());
        // Workers end with it.
        primary.kill().expect("it runs");
        primary.wait().expect("it is our child");
        eventually("the worker is gone", || get_path(([127, 0, 0, 1], port).into(), "/").err());
    }
}

/// A program that executes the worker passes the variables on: `cluster` itself does, for programs that take a socket.
#[test]
fn a_launcher_passes_the_variables_on() {
    let mut command = cluster();
    command.args(["run", "-n", "1", "--ready", "alive", "--listen", "127.0.0.1:0", "sh", "-c"]);
    let script = "echo id $NODE_UNIQUE_ID fd $NODE_CHANNEL_FD; exec sleep 600";
    let cluster = Cluster::start(command.arg(script));
    let line = cluster.out.wait_for(1, |line| line.contains("id "));
    // 3 is the socket.
    assert!(line[0].ends_with("id 1 fd 4"), "{line:?}");
    cluster.end();
}
