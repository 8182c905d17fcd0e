//! A primary is written down and taken up, without an `execve(2)` in between, while its workers and
//! their clients go on.
#![cfg(target_os = "linux")]

#[path = "support/node.rs"]
mod node;
#[path = "support/process.rs"]
mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use cluster_primary::{
    Event, ExitStatus, Frozen, Object, Outgoing, Placement, Primary, Settings, Signal, StateError,
    Stdio, Value, WorkerId,
};
use node::{nodes, own, under};
use support::{Cluster, Folder, LIMIT, placements, puppet, serve_from_any_worker};

const STEP: Duration = Duration::from_millis(2);

/// Clients that connect one after the other, each until it has been served so often; how often by
/// whom.
fn clients(
    cluster: &mut Cluster,
    client: impl Fn() -> WorkerId + Send + Sync + 'static,
) -> BTreeMap<WorkerId, usize> {
    const CLIENTS: usize = 4;
    const EACH: usize = 250;
    let (client, served) = (Arc::new(client), Arc::new(AtomicUsize::new(0)));
    let threads: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (client, served) = (Arc::clone(&client), Arc::clone(&served));
            thread::spawn(move || {
                let mut by = Vec::new();
                for _ in 0..EACH {
                    by.push(client());
                    served.fetch_add(1, Ordering::Relaxed);
                }
                by
            })
        })
        .collect();
    let (mut seen, mut idle) = (0, 0);
    while threads.iter().any(|thread| !thread.is_finished()) {
        cluster.primary.wait(Some(STEP)).expect("a poll");
        cluster.upgrade();
        let now = served.load(Ordering::Relaxed);
        idle = if now == seen { idle + 1 } else { 0 };
        seen = now;
        assert!(STEP * idle < LIMIT, "a client hangs after {seen}: {:?}", cluster.primary.stats());
    }
    let mut by = BTreeMap::new();
    for worker in threads.into_iter().flat_map(|thread| thread.join().expect("it is served")) {
        *by.entry(worker).or_insert(0) += 1;
    }
    assert_eq!(by.values().sum::<usize>(), CLIENTS * EACH);
    by
}

fn tcp(address: SocketAddr) -> impl Fn() -> WorkerId + Send + Sync {
    move || serve_from_any_worker(TcpStream::connect(address).expect("it listens"))
}

#[test]
fn no_connection_is_lost_with_any_placement() {
    for placement in placements() {
        let mut cluster = Cluster::with(puppet().placement(placement));
        let workers = [cluster.fork(), cluster.fork(), cluster.fork()];
        let mut address = cluster.listen(workers[0], 0);
        for worker in &workers[1..] {
            address = cluster.listen(*worker, 0);
        }
        let by = clients(&mut cluster, tcp(address));
        if placement == Placement::Shared {
            continue;
        }
        assert_eq!(by.len(), 3, "{placement}: {by:?}");
        // It is counted on.
        let stats = cluster.primary.stats();
        assert_eq!((stats.shed_closed, stats.shed_full, stats.shed_refused), (0, 0, 0));
        if placement == Placement::Handoff {
            assert!(stats.accepted >= 1000, "{stats:?}");
            cluster.until_handed_over(1000);
            // In strict turns still.
            let turns: Vec<_> = (0..6).map(|_| cluster.served_by(address)).collect();
            assert_eq!(turns[..3], turns[3..], "{turns:?}");
        }
    }
}

#[test]
fn a_path_stays_where_it_is_until_the_last_has_gone() {
    let folder = Folder::new("upgraded-path");
    let path = folder.0.join("s");
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    assert_eq!(cluster.ask(worker, &format!("unix {}", path.display())), "listening 0");
    let there = path.clone();
    let by = clients(&mut cluster, move || {
        serve_from_any_worker(UnixStream::connect(&there).expect("it listens"))
    });
    assert_eq!(by, BTreeMap::from([(worker, 1000)]));
    // A copy that was a trial leaves it alone.
    while cluster.primary.ready_event().is_some() {}
    let Frozen { text, fds } = cluster.primary.state().expect("nothing is in the way");
    Primary::from_state(&text, fds).expect("it can be made").abandon();
    assert!(path.exists());
    drop(cluster);
    assert!(!path.exists());
}

/// A Node server that says which worker it is, and answers messages by themselves.
const WHO: &str = "const id = require('node:cluster').worker.id + '\\n'; \
    process.on('message', (message) => process.send(message)); \
    require('node:http').createServer((_, to) => to.end(id)).listen(0, '127.0.0.1');";

fn get(address: SocketAddr) -> WorkerId {
    let mut client = TcpStream::connect(address).expect("it listens");
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap_or_else(|e| panic!("no answer: {e}; {answer:?}"));
    let body = answer.rsplit("\r\n\r\n").next().unwrap_or_default().trim();
    WorkerId(body.parse().unwrap_or_else(|_| panic!("no id: {answer:?}")))
}

#[test]
fn node_workers_notice_nothing() {
    let folder = Folder::new("upgraded-node");
    let script = own(&folder, WHO);
    for node in nodes() {
        for placement in placements() {
            let mut cluster = Cluster::with(under(&node, script.clone()).placement(placement));
            let mut address = SocketAddr::from(([127, 0, 0, 1], 0));
            for _ in 0..2 {
                cluster.primary.fork().expect("node is there");
                let listening =
                    cluster.until_upgrading("listening", |e| matches!(e, Event::Listening { .. }));
                let Event::Listening { address: at, .. } = listening else { unreachable!() };
                address.set_port(at.port.expect("a port").try_into().expect("a port"));
            }
            clients(&mut cluster, move || get(address));
            // What comes after is answered in order.
            for n in 0..20 {
                cluster.primary.send(WorkerId(1), n).expect("it is there");
                cluster.upgrade();
            }
            for n in 0..20 {
                let message =
                    cluster.until_upgrading("answer", |e| matches!(e, Event::Message { .. }));
                let Event::Message { message, .. } = message else { unreachable!() };
                assert_eq!(message.decode(), Ok(n), "{placement}");
            }
        }
    }
}

/// Waits until the process is in that state, as `proc(5)` has it.
fn until_state(pid: u32, state: char) {
    let found = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().and_then(|state| state.chars().next())
    };
    let mut waited = Duration::ZERO;
    while found() != Some(state) {
        assert!(waited < LIMIT, "it is {:?}", found());
        thread::sleep(STEP);
        waited += STEP;
    }
}

/// So long that it is never written at once.
fn long() -> Value {
    let text: String = ('a'..='z').cycle().take(1_500_000).collect();
    Object::new().with("text", text).into()
}

#[test]
fn messages_half_written_and_half_read_arrive_whole_and_in_order() {
    for serialization in ["json", "advanced"] {
        let mut settings = puppet();
        settings.serialization = match serialization {
            "json" => cluster_primary::Serialization::Json,
            _ => cluster_primary::Serialization::Advanced,
        };
        let mut cluster = Cluster::with(settings);
        let worker = cluster.fork();
        let pid = cluster.primary.worker_state(worker).expect("it lives").pid;
        let signal = |cluster: &mut Cluster, name: &str| {
            cluster.primary.kill(worker, name.parse().expect("a signal")).expect("it lives");
        };
        signal(&mut cluster, "SIGSTOP");
        cluster.primary.send(worker, long()).expect("there is room");
        let id = cluster.primary.send_reported(worker, "flood 100", None).expect("there is room");
        // Most of it waits to be written; later some of the answer has been read.
        cluster.upgrade();
        assert!(cluster.longest > 500_000, "{}", cluster.longest);
        signal(&mut cluster, "SIGCONT");
        let mut turns = 0;
        // It writes and is read by turns, so that no read finds more than the socket holds.
        while cluster.half_read < 100_000 {
            signal(&mut cluster, "SIGSTOP");
            until_state(pid, 'T');
            cluster.primary.wait(Some(STEP)).expect("a poll");
            cluster.upgrade();
            signal(&mut cluster, "SIGCONT");
            turns += 1;
            assert!(turns < 10_000, "{}", cluster.half_read);
        }
        let message = |e: &Event| matches!(e, Event::Message { .. });
        let echo = cluster.until_upgrading("echo", message);
        let Event::Message { message: echo, .. } = echo else { unreachable!() };
        let echo = echo.value().expect("it can be decoded");
        assert!(echo["echo"] == long(), "{serialization}");
        for n in 0..100 {
            let next = cluster.until_upgrading("message", message);
            let Event::Message { message: next, .. } = next else { unreachable!() };
            assert_eq!(next.decode(), Ok(n));
        }
        let sent =
            |e: &Event| matches!(e, Event::Sent { id: sent, error: None, .. } if *sent == id);
        cluster.until_upgrading("report", sent);
    }
}

#[test]
fn last_words_and_ends_are_heard_whenever_they_came() {
    let mut cluster = Cluster::with(puppet().silent(true));
    let (talker, other) = (cluster.fork(), cluster.fork());
    cluster.primary.send(talker, "die 7").expect("it is there");
    let mut said = BTreeMap::new();
    let exit = loop {
        let event = cluster.until_upgrading("words", |e| {
            matches!(e, Event::Stdio { .. } | Event::Message { .. } | Event::Exit { .. })
        });
        match event {
            Event::Stdio { fd, data, .. } => *said.entry(fd).or_insert(0) += data.len(),
            Event::Exit { status, .. } => break status,
            _ => {}
        }
    };
    assert_eq!(exit, ExitStatus::Code(7));
    assert_eq!(said, BTreeMap::from([(1, 50_000), (2, 50_000)]));
    // One that has died by the time that another image goes on.
    let pid = cluster.primary.worker_state(other).expect("it lives").pid;
    cluster.primary.kill(other, Signal::KILL).expect("it lives");
    until_state(pid, 'Z');
    cluster.upgrade();
    let (status, meant) = cluster.exit_of(other);
    assert_eq!((status, meant), (ExitStatus::Signal(Signal::KILL), false));
    assert!(cluster.primary.is_over());
}

#[test]
fn descriptors_on_their_way_arrive_and_are_reported() {
    let folder = Folder::new("upgraded-handles");
    let script = own(
        &folder,
        "process.on('message', (message, server) => { \
           server.on('connection', (c) => c.end(require('node:cluster').worker.id + '\\n')); \
           process.send(message); });",
    );
    for node in nodes() {
        let mut cluster = Cluster::with(under(&node, script.clone()));
        let worker = cluster.fork();
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("it is bound");
        let handle = Some(Outgoing::from(listener));
        let id = cluster.primary.send_reported(worker, "serve", handle).expect("it is there");
        let sent =
            |e: &Event| matches!(e, Event::Sent { id: sent, error: None, .. } if *sent == id);
        cluster.until_upgrading("report", sent);
        cluster.until_upgrading("message", |e| matches!(e, Event::Message { .. }));
        assert_eq!(cluster.served_by(address), worker);
    }
}

#[test]
fn workers_come_go_and_are_disconnected_as_before() {
    for placement in placements() {
        let mut cluster = Cluster::with(puppet().placement(placement));
        let (one, two) = (cluster.fork(), cluster.fork());
        let address = cluster.listen(one, 0);
        assert_eq!(cluster.listen(two, 0), address);
        cluster.upgrade();
        // The settings go on, and the numbers.
        let three = cluster.fork();
        assert_eq!(three, WorkerId(3));
        assert_eq!(cluster.listen(three, 0), address);
        cluster.upgrade();
        cluster.primary.kill(one, Signal::KILL).expect("it lives");
        cluster.until_upgrading("exit", |e| matches!(e, Event::Exit { .. }));
        cluster.primary.disconnect_worker(two);
        let exit = cluster.until_upgrading("exit", |e| matches!(e, Event::Exit { .. }));
        assert!(
            matches!(exit, Event::Exit { worker, exited_after_disconnect: true, .. } if worker == two)
        );
        let served: Vec<_> = (0..20).map(|_| cluster.served_by(address)).collect();
        assert!(served.iter().all(|worker| *worker == three), "{placement}: {served:?}");
        cluster.primary.disconnect();
        cluster.until_upgrading("disconnected", |e| matches!(e, Event::Disconnected));
        let exit = cluster.until_upgrading("exit", |e| matches!(e, Event::Exit { .. }));
        assert!(matches!(exit, Event::Exit { worker, .. } if worker == three));
        assert!(TcpStream::connect(address).is_err(), "{placement}");
    }
}

#[test]
fn workers_get_what_they_would_have_got_without() {
    let folder = Folder::new("upgraded-settings");
    let mut settings = puppet().args(["a", "b c"]).env("FROM", "before");
    settings.cwd = Some(folder.0.clone());
    let log = std::fs::File::create(folder.0.join("log")).expect("a file");
    settings.stdio =
        Some(vec![Stdio::Ignore, Stdio::Fd(Arc::new(log.into())), Stdio::Inherit, Stdio::Ipc]);
    let mut cluster = Cluster::with(settings);
    let before = cluster.fork();
    let limit = cluster.ask(before, "nofile");
    for _ in 0..3 {
        cluster.upgrade();
    }
    let after = cluster.fork();
    assert_eq!(cluster.ask(after, "nofile"), limit);
    assert_eq!(cluster.ask(after, "args"), "a|b c");
    assert_eq!(cluster.ask(after, "env FROM"), "before");
    assert_eq!(Path::new(&cluster.ask(after, "cwd")), folder.0);
    assert_eq!(cluster.ask(after, "slot"), "1");
    for worker in [before, after] {
        assert_eq!(cluster.ask(worker, &format!("print from {worker}")), "printed");
    }
    let log = std::fs::read_to_string(folder.0.join("log")).expect("it is there");
    assert_eq!(log, "from 1\nfrom 2\n");
}

#[test]
fn workers_leave_when_the_last_image_goes() {
    let mut primary = Primary::new(puppet()).expect("a poll");
    let worker = primary.fork().expect("it is built");
    while !matches!(primary.next_event(), Ok(Some(Event::Online { .. }))) {}
    while primary.ready_event().is_some() {}
    let pid = primary.worker_state(worker).expect("it lives").pid;
    let Frozen { text, fds } = primary.state().expect("nothing is in the way");
    let next = Primary::from_state(&text, fds).expect("it can be made");
    primary.abandon();
    let pid = rustix::process::Pid::from_raw(pid.try_into().expect("a pid")).expect("a pid");
    let nothing = rustix::process::WaitOptions::NOHANG;
    assert!(rustix::process::waitpid(Some(pid), nothing).expect("it is ours").is_none());
    drop(next);
    let options = rustix::process::WaitOptions::empty();
    let (_, status) =
        rustix::process::waitpid(Some(pid), options).expect("it is ours").expect("it ends");
    assert_eq!(status.exit_status(), Some(0));
}

#[test]
fn what_cannot_be_handed_over_is_said() {
    let mut settings = puppet();
    settings.inspect_port = cluster_primary::InspectPort::With(Arc::new(|| 9229));
    let mut primary = Primary::new(settings).expect("a poll");
    assert!(matches!(primary.state(), Err(StateError::InspectPort)));
    let mut primary = Primary::new(puppet()).expect("a poll");
    primary.setup(|settings: &mut Settings| settings.silent = true);
    assert!(matches!(primary.state(), Err(StateError::EventsWait)));
    assert!(matches!(primary.ready_event(), Some(Event::Setup { .. })));
    let Frozen { text, .. } = primary.state().expect("nothing is in the way");
    let settings = Primary::from_state(&text, Vec::new()).expect("it has no descriptors");
    assert!(settings.settings().silent);
}
