//! What a user can do with a primary and its workers, with real processes.

#[path = "support/process.rs"]
mod support;

use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use cluster_primary::{
    Event, ExitStatus, Gone, KillError, Next, Object, Placement, Primary, SendError, Settings,
    Signal, WorkerId,
};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use support::{Cluster, Folder, LIMIT, placements, puppet, serve_from_any_worker};

#[test]
fn messages_go_both_ways() {
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    cluster.primary.send(worker, Object::new().with("hello", 1)).expect("it is connected");
    let heard = cluster.until("echo", |e| matches!(e, Event::Message { .. }));
    let Event::Message { message, handle: None, .. } = heard else { panic!("{heard:?}") };
    let message = message.value().expect("it can be decoded");
    assert_eq!(message["echo"]["hello"].as_u64(), Some(1));
    // The protocol's own are not a user's to send.
    let own = Object::new().with("cmd", "NODE_CLUSTER");
    let error = cluster.primary.send(worker, own).expect_err("it would be misread");
    assert!(matches!(error, SendError::Encode { .. }), "{error}");
    let error = cluster.primary.send(WorkerId(99), "x").expect_err("there is none");
    assert!(matches!(error, SendError::Closed { worker: WorkerId(99) }), "{error}");
    // In their order, however many.
    for n in 0..2000 {
        cluster.primary.send(worker, Object::new().with("n", n)).expect("it is connected");
    }
    for n in 0..2000 {
        let heard = cluster.until("echo", |e| matches!(e, Event::Message { .. }));
        let Event::Message { message, .. } = heard else { unreachable!() };
        let message = message.value().expect("it can be decoded");
        assert_eq!(message["echo"]["n"].as_u64(), Some(n));
    }
}

#[test]
fn a_view_of_a_worker_says_what_it_is() {
    let mut cluster = Cluster::new();
    let id = cluster.fork();
    let worker = cluster.primary.worker(id).expect("it is there");
    assert_eq!((worker.id(), worker.state()), (id, "online"));
    assert!(worker.is_connected() && !worker.is_dead());
    assert_eq!(worker.exited_after_disconnect(), None);
    let mut worker = worker;
    worker.send("env NOTHING").expect("it is connected");
    assert!(worker.kill(Signal::NONE).expect("it exists"));
    worker.disconnect();
    assert!(cluster.primary.workers().is_empty() && cluster.primary.all_workers() == [id]);
    assert_eq!(cluster.exit_of(id), (ExitStatus::Code(0), true));
    assert!(cluster.primary.worker(id).is_none());
}

#[test]
fn signals_are_sent_or_refused() {
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    assert!(cluster.primary.kill(worker, Signal::NONE).expect("it is there"));
    let error = cluster.primary.kill(worker, Signal::from_number(9999)).expect_err("none such");
    assert!(matches!(error, KillError::UnknownSignal { number: 9999 }), "{error}");
    assert!(cluster.primary.kill(worker, Signal::TERM).expect("it is there"));
    assert_eq!(cluster.exit_of(worker), (ExitStatus::Signal(Signal::TERM), false));
    assert!(!cluster.primary.kill(worker, Signal::TERM).expect("nothing to refuse"), "it is dead");
    assert!(!cluster.primary.kill(WorkerId(77), Signal::NONE).expect("nothing to refuse"));
}

#[test]
#[cfg(target_os = "linux")]
fn signals_that_only_linux_has_are_sent_and_told_by_name() {
    for name in ["SIGPWR", "SIGSTKFLT"] {
        let mut cluster = Cluster::new();
        let worker = cluster.fork();
        let signal: Signal = name.parse().expect("a name");
        assert!(cluster.primary.kill(worker, signal).expect("it is there"));
        assert_eq!(cluster.exit_of(worker).0.signal().expect("by it").to_string(), name);
    }
}

#[test]
fn a_killed_worker_disconnects_and_exits_by_its_signal() {
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    assert!(cluster.primary.kill(worker, Signal::KILL).expect("it is there"));
    let about = |e: &Event| matches!(e, Event::Disconnect { .. } | Event::Exit { .. });
    let first = cluster.until("end", about);
    let disconnected = matches!(first, Event::Disconnect { exited_after_disconnect: false, .. });
    assert!(disconnected, "{first:?}");
    let second = cluster.until("end", about);
    assert!(
        matches!(second, Event::Exit { status: ExitStatus::Signal(Signal::KILL), .. }),
        "{second:?}"
    );
    let errors: Vec<_> =
        cluster.rest().into_iter().filter(|e| matches!(e, Event::Error { .. })).collect();
    assert!(errors.is_empty(), "a death is none: {errors:?}");
    assert_eq!(cluster.primary.next_event().expect("a poll").map(|_| ()), None, "that was all");
}

#[test]
fn a_worker_killed_with_messages_unread_is_no_error_either() {
    let mut cluster = Cluster::with(Settings::new("sleep").args(["600"]));
    let worker = cluster.primary.fork().expect("there is sleep");
    cluster.primary.send(worker, "unread").expect("it is connected");
    assert!(cluster.primary.kill(worker, Signal::KILL).expect("it is there"));
    assert_eq!(cluster.exit_of(worker), (ExitStatus::Signal(Signal::KILL), false));
    assert!(!cluster.rest().iter().any(|e| matches!(e, Event::Error { .. })));
}

#[test]
fn a_stranger_that_holds_the_channel_open_does_not_keep_a_worker_alive() {
    let script = "sleep 600 & echo $! >&2; exit 4";
    let mut cluster = Cluster::with(Settings::new("sh").args(["-c", script]).silent(true));
    let worker = cluster.primary.fork().expect("there is a shell");
    let wrote = cluster.until("pid", |e| matches!(e, Event::Stdio { fd: 2, .. }));
    let Event::Stdio { data, .. } = wrote else { unreachable!() };
    let stranger = String::from_utf8(data).expect("a number").trim().parse().expect("a number");
    let stranger = rustix::process::Pid::from_raw(stranger).expect("a process");
    assert_eq!(cluster.exit_of(worker), (ExitStatus::Code(4), false));
    assert!(!cluster.disconnect_of(worker));
    assert!(rustix::process::test_kill_process(stranger).is_ok(), "it lives, and is left alone");
    rustix::process::kill_process(stranger, rustix::process::Signal::KILL).expect("it lives");
}

#[test]
fn a_closed_channel_makes_the_worker_exit() {
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    cluster.primary.send(worker, "print the last").expect("it is connected");
    cluster.primary.close_channel(worker);
    assert!(matches!(cluster.primary.send(worker, "x"), Err(SendError::Closed { .. })));
    assert_eq!(cluster.exit_of(worker), (ExitStatus::Code(0), false));
    assert!(!cluster.disconnect_of(worker));
}

#[test]
fn all_disconnect_and_that_is_told_once() {
    let mut cluster = Cluster::new();
    let workers = [cluster.fork(), cluster.fork(), cluster.fork()];
    let address = cluster.listen(workers[0], 0);
    cluster.primary.disconnect();
    cluster.until("disconnected", |e| matches!(e, Event::Disconnected));
    for worker in workers {
        assert!(cluster.disconnect_of(worker));
        assert_eq!(cluster.exit_of(worker), (ExitStatus::Code(0), true));
    }
    assert!(TcpStream::connect(address).is_err(), "the port is free");
    assert!(cluster.primary.next_event().expect("a poll").is_none());
    assert!(!cluster.rest().iter().any(|e| matches!(e, Event::Disconnected)));
}

#[test]
fn to_disconnect_all_once_more_does_nothing_until_a_worker_is_forked() {
    let mut cluster = Cluster::new();
    let told = |cluster: &mut Cluster| {
        cluster.until("disconnected", |e| matches!(e, Event::Disconnected));
    };
    // Without workers it is reported as well.
    cluster.primary.disconnect();
    told(&mut cluster);
    let worker = cluster.fork();
    cluster.primary.disconnect();
    cluster.primary.disconnect();
    told(&mut cluster);
    assert_eq!(cluster.exit_of(worker), (ExitStatus::Code(0), true));
    cluster.primary.disconnect();
    let next = cluster.primary.next_event_within(LIMIT).expect("a poll");
    assert!(matches!(next, Next::Over), "{next:?}");
    assert!(!cluster.rest().iter().any(|e| matches!(e, Event::Disconnected)));
}

/// A program's own loop polls the primary's descriptor.
#[test]
fn the_descriptor_is_readable_when_there_is_something_to_do() {
    let mut primary = Primary::new(puppet()).expect("a poll");
    primary.fork().expect("it is there");
    let mut is_online = false;
    while !primary.is_over() {
        while let Some(event) = primary.try_event().expect("a poll") {
            if let Event::Online { worker } = event {
                is_online = true;
                primary.disconnect_worker(worker);
            }
        }
        if primary.is_over() {
            break;
        }
        let patience = primary.poll_timeout().map_or(LIMIT, |patience| patience.min(LIMIT));
        let patience = Timespec::try_from(patience).expect("it is short");
        let ready = poll(&mut [PollFd::new(&primary, PollFlags::IN)], Some(&patience));
        let due = primary.poll_timeout().is_some();
        assert!(ready.expect("a poll") > 0 || due, "nothing comes within {LIMIT:?}");
    }
    assert!(is_online);
}

#[test]
fn a_disconnect_waits_for_the_connections_that_are_open() {
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    let address = cluster.listen(worker, 0);
    let client = cluster.run(move || {
        let client = TcpStream::connect(address).expect("it listens");
        serve_from_any_worker(&client);
        client
    });
    cluster.primary.disconnect_worker(worker);
    // It has closed its servers; what it still does is to serve that one client.
    let closed = cluster.run(move || (0..).any(|_| TcpStream::connect(address).is_err()));
    assert!(closed);
    assert!(cluster.primary.worker_state(worker).is_some_and(|w| w.connected));
    drop(client);
    assert_eq!(cluster.exit_of(worker), (ExitStatus::Code(0), true));
}

#[test]
fn a_worker_that_goes_itself_was_meant_to() {
    for (word, code) in [("disconnect", 0), ("kill", 0)] {
        let mut cluster = Cluster::new();
        let worker = cluster.fork();
        cluster.primary.send(worker, word).expect("it is connected");
        assert_eq!(cluster.exit_of(worker), (ExitStatus::Code(code), true), "{word}");
    }
    let mut cluster = Cluster::with(puppet().silent(true));
    let worker = cluster.fork();
    cluster.primary.send(worker, "panic").expect("it is connected");
    assert_eq!(cluster.exit_of(worker), (ExitStatus::Code(101), false));
}

#[test]
fn other_threads_act_through_a_remote() {
    let mut primary = Primary::new(puppet()).expect("a poll");
    let remote = primary.remote();
    let user = thread::spawn(move || {
        let worker = remote.fork().expect("the primary is there").expect("it can be forked");
        assert_eq!(remote.workers(), Ok(vec![worker]));
        assert!(remote.send(worker, "x").expect("the primary is there").is_ok());
        let clone = remote.clone();
        drop(remote);
        let killed = clone.kill(worker, Signal::KILL).expect("the primary is there");
        assert!(killed.expect("a signal"));
        worker
    });
    // It ends with the last remote, and not before the first fork.
    let mut exited = None;
    while let Some(event) = primary.next_event().expect("a poll") {
        if let Event::Exit { worker, .. } = event {
            exited = Some(worker);
        }
    }
    assert_eq!(exited, Some(user.join().expect("no panic")));

    let remote = primary.remote();
    drop(primary);
    assert_eq!(remote.workers(), Err(Gone));
    assert!(matches!(remote.fork(), Err(Gone)));
}

#[test]
fn who_waits_for_a_primary_that_goes_is_told() {
    let primary = Primary::new(puppet()).expect("a poll");
    let remote = primary.remote();
    let waiting = thread::spawn(move || remote.workers());
    // It does not run: the call waits until it is gone, whichever comes first.
    drop(primary);
    assert_eq!(waiting.join().expect("no panic"), Err(Gone));
}

#[test]
fn the_last_remote_ends_a_primary_without_workers() {
    let mut primary = Primary::new(puppet()).expect("a poll");
    let remote = primary.remote();
    let other = remote.clone();
    let dropper = thread::spawn(move || drop((remote, other)));
    assert!(primary.next_event().expect("a poll").is_none());
    dropper.join().expect("no panic");
}

#[test]
fn a_loop_of_ones_own_waits_for_the_descriptor() {
    let mut primary = Primary::new(puppet()).expect("a poll");
    let worker = primary.fork().expect("it is there");
    let mut poll = Poll::new().expect("a poll");
    let descriptor = primary.as_raw_fd();
    poll.registry()
        .register(&mut SourceFd(&descriptor), Token(0), Interest::READABLE)
        .expect("a poll can be polled");
    let mut events = Events::with_capacity(4);
    let mut exit = None;
    loop {
        while let Some(event) = primary.try_event().expect("a poll") {
            match event {
                Event::Online { .. } => {
                    primary.send(worker, "env X").expect("it is connected");
                }
                Event::Message { .. } => primary.disconnect_worker(worker),
                Event::Exit { status, .. } => exit = Some(status),
                _ => {}
            }
        }
        if exit.is_some() {
            break;
        }
        let patience = primary.poll_timeout().unwrap_or(LIMIT);
        poll.poll(&mut events, Some(patience)).expect("a poll");
        assert!(patience != LIMIT || !events.is_empty(), "it hangs");
    }
    assert_eq!(exit, Some(ExitStatus::Code(0)));
    assert!(primary.is_over());
}

#[test]
fn patience_ends() {
    let mut cluster = Cluster::new();
    cluster.fork();
    cluster.rest();
    let none = cluster.primary.next_event_within(Duration::from_millis(30)).expect("a poll");
    assert!(matches!(none, Next::TimedOut), "{none:?}");
    assert!(cluster.primary.try_event().expect("a poll").is_none());
}

#[test]
fn connections_go_round_among_real_workers() {
    let mut cluster = Cluster::new();
    let workers = [cluster.fork(), cluster.fork(), cluster.fork()];
    let address = cluster.listen(workers[0], 0);
    for worker in &workers[1..] {
        assert_eq!(cluster.listen(*worker, 0), address, "listen(0) is agreed on");
    }
    let mut served = Vec::new();
    for count in 1..=9 {
        served.push(cluster.served_by(address));
        cluster.until_handed_over(count);
    }
    for worker in workers {
        assert_eq!(served.iter().filter(|by| **by == worker).count(), 3, "{served:?}");
        assert_eq!(cluster.primary.worker_state(worker).map(|w| w.connections), Some(3));
    }
    let other = cluster.listen(workers[0], 0);
    assert_ne!(other.port(), address.port(), "a second listen(0) of one worker is another port");
    assert_eq!(cluster.listen(workers[1], 0), other);
    let stats = cluster.primary.stats();
    assert_eq!((stats.accepted, stats.handed_over, stats.waiting), (9, 9, 0));
}

#[test]
fn a_full_worker_passes_connections_on() {
    let mut cluster = Cluster::new();
    let (full, other) = (cluster.fork(), cluster.fork());
    let max_one = |cluster: &mut Cluster, worker, port: u16| {
        let answer = cluster.ask(worker, &format!("tcp 127.0.0.1:{port} 1"));
        answer
            .strip_prefix("listening ")
            .map(|port| port.parse().expect("a port"))
            .expect("it does")
    };
    let port: u16 = max_one(&mut cluster, full, 0);
    let address = ([127, 0, 0, 1], port).into();
    let keep = move || {
        let client = TcpStream::connect::<std::net::SocketAddr>(address).expect("it listens");
        (serve_from_any_worker(&client), client)
    };
    let (by, _first) = cluster.run(keep);
    assert_eq!(by, full);
    max_one(&mut cluster, other, 0);
    // It is the full one's turn, or not: whichever is asked, the other serves.
    let (by, second) = cluster.run(keep);
    assert_eq!(by, other);
    drop(second);
}

#[test]
fn shared_workers_accept_themselves() {
    let mut cluster = Cluster::with(puppet().placement(Placement::Shared));
    let workers = [cluster.fork(), cluster.fork()];
    let address = cluster.listen(workers[0], 0);
    assert_eq!(cluster.listen(workers[1], 0), address);
    for _ in 0..5 {
        assert!(workers.contains(&cluster.served_by(address)));
    }
    assert_eq!(cluster.primary.stats().accepted, 0, "the primary has no part in it");
}

#[test]
fn an_address_in_use_is_said_and_another_worker_may_try_again() {
    for placement in placements() {
        let mut cluster = Cluster::with(puppet().placement(placement));
        let (one, two) = (cluster.fork(), cluster.fork());
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = taken.local_addr().expect("an address").port();
        let order = format!("tcp 127.0.0.1:{port}");
        assert_eq!(cluster.ask(one, &order), "failed 98", "{placement}");
        let failed = |e: &Event| matches!(e, Event::ListenFailed { error, .. } if error.raw_os_error() == Some(98));
        cluster.until("failure", failed);
        drop(taken);
        assert_eq!(cluster.ask(two, &order), format!("listening {port}"), "{placement}");
        assert_eq!(cluster.ask(one, &order), format!("listening {port}"), "and so does the first");
        // A second listen of one worker on one address.
        assert_eq!(cluster.ask(one, &order), "failed 98", "{placement}");
        assert!([one, two].contains(&cluster.served_by(([127, 0, 0, 1], port).into())));
    }
}

#[test]
fn datagrams_go_to_some_worker() {
    let mut cluster = Cluster::new();
    let workers = [cluster.fork(), cluster.fork()];
    let answer = cluster.ask(workers[0], "udp 127.0.0.1:0");
    assert_eq!(cluster.ask(workers[1], "udp 127.0.0.1:0"), answer, "one socket");
    let port: u16 = answer.strip_prefix("listening ").expect("it does").parse().expect("a port");
    let by = cluster.run(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.send_to(b"?", ("127.0.0.1", port)).expect("it is sent");
        let mut buf = [0; 16];
        let length = socket.recv(&mut buf).expect("an answer");
        String::from_utf8_lossy(&buf[..length]).parse().map(WorkerId).expect("an id")
    });
    assert!(workers.contains(&by));
}

#[test]
fn a_descriptor_of_the_primarys_can_be_listened_on() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    let number = cluster.primary.lend(listener);
    let order = format!("fd {number}");
    assert_eq!(cluster.ask(worker, &order), format!("listening {}", address.port()));
    assert_eq!(cluster.served_by(address), worker);
    assert_eq!(cluster.ask(worker, "fd 9999"), "failed 22", "nothing is open there");
    let file = cluster.primary.lend(std::fs::File::open("/dev/null").expect("a file"));
    let answer = cluster.ask(worker, &format!("fd {file}"));
    assert!(answer.starts_with("failed"), "no socket: {answer}");
    // Another worker has it no more, once it was taken back; the first serves on.
    assert!(cluster.primary.take_back(number).is_some());
    let other = cluster.fork();
    cluster.primary.disconnect_worker(worker);
    cluster.exit_of(worker);
    assert_eq!(cluster.ask(other, &order), "failed 22");
}

#[test]
fn what_was_inherited_is_lent() {
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    // As it comes from the parent of this process.
    rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::empty()).expect("a flag");
    let order = format!("fd {}", listener.as_raw_fd());
    assert_eq!(cluster.ask(worker, &order), format!("listening {}", address.port()));
    assert_eq!(cluster.served_by(address), worker);
}

#[test]
fn a_connected_socket_of_the_primarys_is_not_lent() {
    for placement in placements() {
        let mut cluster = Cluster::with(puppet().placement(placement));
        let worker = cluster.fork();
        let (ours, _theirs) = UnixStream::pair().expect("a pair");
        let number = cluster.primary.lend(ours);
        let answer = cluster.ask(worker, &format!("fd {number}"));
        assert_eq!(answer, "failed 22", "{placement}");
    }
}

#[test]
fn a_path_is_served_and_goes_with_its_server() {
    for placement in placements() {
        let folder = Folder::new(&format!("path-{placement}"));
        let path = folder.0.join("s.sock");
        let mut cluster = Cluster::with(puppet().placement(placement));
        let worker = cluster.fork();
        let order = format!("unix {} rw", path.display());
        assert_eq!(cluster.ask(worker, &order), "listening 0");
        let mode = path.metadata().expect("it is there").permissions().mode();
        assert_eq!(mode & 0o666, 0o666, "{mode:o}");
        let there = path.clone();
        let by = cluster
            .run(move || serve_from_any_worker(UnixStream::connect(there).expect("it listens")));
        assert_eq!(by, worker);
        cluster.primary.disconnect_worker(worker);
        cluster.exit_of(worker);
        assert!(!path.exists(), "{placement}");
        // And with its primary.
        let worker = cluster.fork();
        assert_eq!(cluster.ask(worker, &order), "listening 0");
        drop(cluster);
        assert!(!path.exists(), "{placement}");
    }
}

#[test]
fn a_file_in_the_way_is_left_alone() {
    let folder = Folder::new("in-the-way");
    let path = folder.0.join("s.sock");
    std::fs::write(&path, "precious").expect("a file");
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    assert_eq!(cluster.ask(worker, &format!("unix {}", path.display())), "failed 98");
    drop(cluster);
    assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "precious");
}

#[test]
fn a_path_too_long_for_a_socket_is_reached_from_where_the_primary_is() {
    // Cargo runs tests in the package's folder.
    let here = std::env::current_dir().expect("a folder").canonicalize().expect("it is there");
    let depth = 108usize.saturating_sub(here.as_os_str().len());
    let name = format!("long-{}-{}", std::process::id(), "x".repeat(depth.max(20)));
    let path = here.join(&name);
    let relative = path.as_os_str().len() > 107 && name.len() < 107;
    if !relative {
        println!("skipped: no such path from {}", here.display());
        return;
    }
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    let answer = cluster.ask(worker, &format!("unix {}", path.display()));
    let was_there = path.exists();
    drop(cluster);
    let left = path.exists();
    let _ = std::fs::remove_file(&path);
    assert_eq!(answer, "listening 0");
    assert!(was_there && !left);
}

#[test]
fn clients_of_a_killed_worker_go_to_another_and_none_is_lost() {
    let mut cluster = Cluster::new();
    let workers = [cluster.fork(), cluster.fork()];
    let address = cluster.listen(workers[0], 0);
    cluster.listen(workers[1], 0);
    // It is stopped, so what it is handed stays unanswered until it dies.
    assert!(cluster.primary.kill(workers[0], "SIGSTOP".parse().expect("a name")).expect("sent"));
    let clients = cluster.run(move || {
        let connect = |_| TcpStream::connect(address).expect("it listens");
        (0..6).map(connect).collect::<Vec<_>>()
    });
    let readers: Vec<_> = clients
        .into_iter()
        .map(|client| thread::spawn(move || serve_from_any_worker(client)))
        .collect();
    cluster.until_handed_over(5);
    assert!(cluster.primary.kill(workers[0], Signal::KILL).expect("sent"));
    let by: BTreeSet<_> = cluster.run(move || {
        readers.into_iter().map(|reader| reader.join().expect("it is served")).collect()
    });
    assert_eq!(by, BTreeSet::from([workers[1]]));
    cluster.until_handed_over(6);
    assert_eq!(cluster.primary.stats().accepted, 6);
}
