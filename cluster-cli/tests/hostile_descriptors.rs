//! Descriptors that block the process that closes them (`SO_LINGER` and unsent data) cost a worker at most its
//! channel, whichever way they get to the primary; the worker beside it is served all the while.

#[path = "support/hostile.rs"]
mod hostile;
mod support;

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use hostile::{Prober, UnderAttack};
use rustix::net::sockopt;
use serde_json::Value;
use support::{Cluster, Folder, cluster, eventually};

/// The most that one call may block, in microseconds.
const LIMIT_US: u64 = 5_000_000;

/// Where the data goes: a peer that takes connections and reads nothing.
struct Sink(SocketAddr);

impl Sink {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        // What it accepts inherits that: little is unread, but unread.
        sockopt::set_socket_recv_buffer_size(&listener, 2048).expect("a socket");
        let address = listener.local_addr().expect("it is bound");
        std::thread::spawn(move || {
            let mut connections = Vec::new();
            while let Ok((connection, _)) = listener.accept() {
                connections.push(connection);
            }
        });
        Self(address)
    }

    fn address(&self) -> String {
        self.0.to_string()
    }
}

/// A name that no other cluster of these tests has.
fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A cluster under one of these attacks.
struct Attack {
    trial: UnderAttack,
    name: String,
}

impl Attack {
    #[track_caller]
    fn start(attack: &str, options: &[&str], arguments: &[&str]) -> Self {
        let name = unique(attack);
        let options = [&["--name", &name], options].concat();
        let trial = UnderAttack::start(&options, attack, arguments);
        Self { trial, name }
    }

    fn errors(&self) -> support::Lines {
        self.trial.cluster.err.clone()
    }

    fn total(&self, what: &str) -> u64 {
        total(&self.name, what)
    }

    /// No probe has failed, and no call has blocked for long.
    #[track_caller]
    fn survived(self) -> Cluster {
        self.trial.answered(20);
        assert!(self.total("longestBlockedCallUs") < LIMIT_US);
        self.trial.survived()
    }
}

/// What a cluster has counted.
#[track_caller]
fn total(name: &str, what: &str) -> u64 {
    let output = cluster().args(["status", "--json", "--name", name]).output().expect("it runs");
    let status: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    status["totals"][what].as_u64().unwrap_or_else(|| panic!("{what} in {status}"))
}

/// The worker loses its channel for that, comes again, and loses it again.
#[track_caller]
fn costs_the_channel(attack: &str, options: &[&str], arguments: &[&str], why: &str) {
    let sink = Sink::new();
    let address = sink.address();
    let arguments = [&[address.as_str()], arguments].concat();
    let attack = Attack::start(attack, options, &arguments);
    attack.errors().wait_for(2, |line| line.contains(why));
    assert!(attack.total("unexpectedHandles") > 0);
    attack.survived().end();
}

#[test]
fn as_descriptors_that_belong_to_no_message() {
    let why = "more than 64 descriptors that belong to no message";
    costs_the_channel("linger-unexpected", &[], &[], why);
}

#[test]
fn in_the_queue_of_a_unix_socket_that_is_sent() {
    let why = "more than 64 descriptors that belong to no message";
    costs_the_channel("linger-nested", &[], &[], why);
}

#[test]
fn with_messages_that_nothing_listens_to() {
    costs_the_channel("linger-handle", &[], &[], "more than 64 descriptors that nothing here uses");
}

/// What it had sent is closed, and a descriptor that is still in the channel goes with it.
#[test]
fn from_a_worker_that_dies() {
    let sink = Sink::new();
    let attack = Attack::start("linger-and-die", &[], &[&sink.address()]);
    attack.errors().wait_for(3, |line| line.contains("it dies, as it should"));
    assert!(attack.total("unexpectedHandles") > 0);
    attack.survived().end();
}

/// The kernel drops, where the primary reads, what it has no descriptors for.
#[test]
fn more_of_them_than_the_primary_can_receive() {
    let sink = Sink::new();
    let mut limited = Command::new("sh");
    let name = unique("linger-many");
    let inner = hostile::run(&["--name", &name], "linger-many", &[&sink.address(), "3"]);
    limited.args(["-c", "ulimit -n 96; exec \"$0\" \"$@\""]).arg(inner.get_program());
    limited.args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    let trial = UnderAttack::of(Cluster::start(&mut limited));
    trial.answered(50);
    assert!(total(&name, "longestBlockedCallUs") < LIMIT_US);
    trial.survived().end();
}

/// The primary is the last that has these connections. After the first ones they are closed in the
/// background, and the worker keeps its channel.
#[test]
fn as_connections_that_the_worker_has_taken() {
    let name = unique("linger-accepted");
    let mut run = hostile::run(&["--name", &name], "linger-accepted", &["", "100"]);
    let cluster = Cluster::start(&mut run);
    // The hostile worker listens, too.
    let is_good = |line: &str| line.contains("worker 1 ") && line.contains(" listens on ");
    let line = cluster.err.wait_for(1, is_good).remove(0);
    let address = line.rsplit(' ').next().and_then(|address| address.parse().ok());
    let prober = Prober::start(address.expect("an address"));
    cluster.out.wait_for(1, |line| line.contains("all connections linger"));
    cluster.err.wait_for(1, |line| line.contains("made a call of the primary (close) block"));
    prober.answered(20);
    prober.assert_none_failed();
    let interrupted = total(&name, "interruptedCalls");
    assert!((1..10).contains(&interrupted), "{interrupted} calls of 100 were interrupted");
    assert!(total(&name, "longestBlockedCallUs") < LIMIT_US);
    cluster.end();
}

/// An upgrade and the end wait for none of them.
#[test]
fn at_an_upgrade_and_at_the_end() {
    let sink = Sink::new();
    let attack = Attack::start("linger-unexpected", &[], &[&sink.address(), "60"]);
    attack.trial.cluster.out.wait_for(1, |line| line.contains("all are sent"));
    let before = attack.trial.cluster.descriptors();
    let upgrade = cluster().args(["upgrade", "--name", &attack.name]).output().expect("it runs");
    let said = String::from_utf8_lossy(&upgrade.stderr).into_owned();
    assert!(upgrade.status.success(), "{said}");
    assert_eq!(attack.total("upgrades"), 1);
    assert_eq!(attack.total("unexpectedHandles"), 60);
    let cluster = attack.survived();
    eventually("the primary has no more descriptors than before", || {
        (cluster.descriptors() <= before).then_some(())
    });
    cluster.end();
}

/// Where workers say that they are ready.
#[test]
fn with_notifications() {
    let sink = Sink::new();
    let name = unique("linger-notify");
    let mut run = cluster();
    run.args(["run", "-n", "2", "--ready", "notify", "--name", &name]).arg(hostile::program());
    run.args(["linger-notify", "127.0.0.1:0", &sink.address(), "200"]);
    let attack = Attack { trial: UnderAttack::of(Cluster::start(&mut run)), name };
    let cluster = &attack.trial.cluster;
    cluster.out.wait_for(1, |line| line.contains("the flood of notifications is over"));
    attack.survived().end();
}

/// (As root, who may become another user.) Other users cannot write where workers say that they are
/// ready; the workers' own user can.
#[test]
fn no_stranger_can_send_notifications() {
    if !rustix::process::geteuid().is_root() {
        println!("left out: not root");
        return;
    }
    let folder = Folder::new("strangers");
    let script = "printf %s \"$NOTIFY_SOCKET\" > \"$1/address.new\"; mv \"$1/address.new\" \"$1/address\"; \
                  python3 -c 'import os, socket, sys; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); \
                  s.connect(os.environ[\"NOTIFY_SOCKET\"]); s.send(b\"READY=1\"); sys.stdin.read(); \
                  import signal; signal.pause()'";
    std::os::unix::fs::chown(&folder.0, Some(65534), None).expect("root may");
    let mut run = cluster();
    run.args(["run", "-n", "1", "--ready", "notify", "--uid", "65534", "--gid", "65534", "sh"]);
    run.args(["-c", script, "sh"]).arg(&folder.0);
    let cluster = Cluster::start(&mut run);
    let address = folder.0.join("address");
    let address = eventually("the worker runs", || std::fs::read_to_string(&address).ok());
    assert!(address.starts_with('/'), "{address:?} is a path");
    cluster.err.wait_for(1, |line| line.contains("ready"));
    // (That of this thread alone: the system call, not the library's, which is for the process.)
    let stranger = std::thread::spawn(move || {
        let user = rustix::process::Uid::from_raw(65533);
        rustix::thread::set_thread_uid(user).expect("root may");
        let socket = UnixDatagram::unbound().expect("a socket");
        socket.send_to(b"READY=1", address).expect_err("it belongs to another user").kind()
    });
    let refused = stranger.join().expect("no panic");
    assert_eq!(refused, std::io::ErrorKind::PermissionDenied);
    cluster.end();
}
