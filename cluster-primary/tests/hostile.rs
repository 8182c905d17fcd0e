//! Workers that misbehave on their channel: each costs itself that channel at most, with an
//! error that says why, and the others are served as before. (One test, alone in its binary: it
//! counts the process's descriptors.)

#[path = "support/process.rs"]
mod support;

use cluster_primary::{Event, SendError, Settings, Signal, Stdio, WorkerError, WorkerId};
use support::{Cluster, example, puppet};

/// What is to come of it.
enum Outcome {
    /// The channel is closed, with an error that has these words in it.
    Closed(&'static str),
    /// It is told of so many times, and goes on: it says `still here`, and does not before.
    Error(usize),
    /// As if nothing had been.
    Nothing,
}

fn rogue(arguments: &[&str]) -> Settings {
    let mut settings = Settings::new(example("rogue")).args(arguments.iter().copied());
    settings.stdio = Some(vec![Stdio::Ipc, Stdio::Inherit, Stdio::Inherit]);
    settings.limits.max_frame = 4096;
    settings.limits.max_servers = 4;
    settings
}

const HERE: &str = r#"say:"still here""#;

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

#[test]
fn a_rogue_costs_itself_its_channel_and_no_other_worker_anything() {
    let query = r#"{"cmd":"NODE_CLUSTER","act":"queryServer","address":"127.0.0.2","port":0,"addressType":4,"flags":0,"index":%,"data":null,"seq":%}"#;
    let foreign = r#"{"cmd":"NODE_CLUSTER","act":"queryServer","address":null,"port":null,"addressType":null,"fd":%,"index":0,"data":null,"seq":%}"#;
    let handle = r#"{"cmd":"NODE_HANDLE","type":"net.Socket","msg":"with a socket"}"#;
    let (with_one, with_three) = (format!("fds:1:{handle}"), format!("fds:3:{handle}"));
    let scenarios: &[(&str, Vec<String>, Outcome)] = &[
        ("no JSON", vec!["say:}{".into()], Outcome::Closed("")),
        ("no UTF-8 to be had of it", vec!["say:\"\\ud8".into()], Outcome::Closed("")),
        ("an oversized frame", vec!["big:5000".into()], Outcome::Closed("4096")),
        ("an endless line", vec![format!("raw:{}", "x".repeat(9000))], Outcome::Closed("4096")),
        (
            "a frame cut off",
            vec!["raw:{\"cmd\":".into(), "leave".into()],
            Outcome::Closed("7 byte"),
        ),
        (
            "an ACK of no handle",
            vec!["say:{\"cmd\":\"NODE_HANDLE_ACK\"}".into()],
            Outcome::Closed(""),
        ),
        (
            "an unexpected answer",
            vec![
                r#"say:{"cmd":"NODE_CLUSTER","ack":77,"accepted":true,"seq":1}"#.into(),
                r#"say:{"cmd":"NODE_CLUSTER","ack":0,"accepted":false,"seq":2}"#.into(),
            ],
            Outcome::Error(2),
        ),
        ("a handle that is none", vec![format!("say:{handle}")], Outcome::Nothing),
        ("a descriptor with nothing to it", vec!["fds:1:\"hi\"".into()], Outcome::Nothing),
        ("more descriptors than said", vec![with_three], Outcome::Nothing),
        ("a handle as it should be", vec![with_one], Outcome::Nothing),
        (
            "the primary's own words",
            vec![
                r#"say:{"cmd":"NODE_CLUSTER","act":"newconn","key":"k","seq":1}"#.into(),
                r#"say:{"cmd":"NODE_CLUSTER","act":"disconnect","seq":2}"#.into(),
                r#"say:{"cmd":"NODE_CLUSTER","act":"dance","seq":3}"#.into(),
                r#"say:{"cmd":"NODE_DEBUG_ENABLED"}"#.into(),
                r#"say:{"cmd":"NODE_CLUSTER","act":"close","key":"none","seq":4}"#.into(),
            ],
            Outcome::Nothing,
        ),
        ("a flood", vec!["many:30000:\"drop in the ocean %\"".into()], Outcome::Nothing),
        ("too many servers", vec![format!("many:50:{query}")], Outcome::Nothing),
        ("the primary's descriptors", vec![format!("many:64:{foreign}")], Outcome::Nothing),
    ];

    let mut counts = Vec::new();
    for (name, arguments, outcome) in scenarios {
        println!("{name}");
        let mut arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        arguments.extend([HERE, "wait"]);
        counts.push(open_descriptors());
        one(&arguments, outcome);
        counts.push(open_descriptors());
    }
    answers_too_soon();
    never_reads();
    never_answers();
    counts.push(open_descriptors());
    assert!(counts.iter().all(|count| *count == counts[0]), "descriptors leak: {counts:?}");
}

fn one(arguments: &[&str], outcome: &Outcome) {
    let mut cluster = Cluster::with(puppet());
    let good = cluster.fork();
    let address = cluster.listen(good, 0);
    let rogue_settings = rogue(arguments);
    cluster.primary.setup(move |settings| *settings = rogue_settings);
    let rogue = cluster.fork();
    match outcome {
        Outcome::Closed(words) => {
            let failed = |e: &Event| matches!(e, Event::Error { worker, .. } if *worker == rogue);
            let Event::Error { error, .. } = cluster.until("error", failed) else { unreachable!() };
            let WorkerError::Channel { what } = &error else { panic!("{error}") };
            assert!(what.contains(words), "{what}");
            assert!(!cluster.disconnect_of(rogue));
            cluster.exit_of(rogue);
            assert!(!cluster.rest().iter().any(|e| said_something(e, rogue)), "it is not heard");
        }
        Outcome::Error(times) => {
            until_here(&mut cluster, rogue);
            let errors =
                |e: &&Event| matches!(e, Event::Error { error: WorkerError::StrayAck { .. }, .. });
            assert_eq!(cluster.rest().iter().filter(errors).count(), *times);
            assert!(cluster.primary.worker_state(rogue).is_some_and(|w| w.connected));
        }
        Outcome::Nothing => {
            until_here(&mut cluster, rogue);
            let rest = cluster.rest();
            let error = rest.iter().find(|e| matches!(e, Event::Error { .. }));
            assert!(error.is_none(), "{error:?}");
            let with = rest.iter().filter(|e| matches!(e, Event::Message { handle: Some(_), .. }));
            let sent = arguments[0].starts_with("fds:") && arguments[0].contains("net.Socket");
            assert_eq!(with.count(), usize::from(sent));
            let failed = rest.iter().filter(|e| matches!(e, Event::ListenFailed { .. })).count();
            if arguments[0].starts_with("many:50") {
                assert_eq!(failed, 46, "of fifty listens four are allowed");
            }
            if arguments[0].starts_with("many:30000") {
                assert_eq!(rest.iter().filter(|e| said_something(e, rogue)).count(), 30_000);
            }
            assert!(cluster.primary.worker_state(rogue).is_some_and(|w| w.connected));
        }
    }
    let unexpected = match arguments[0].split(':').collect::<Vec<_>>()[..] {
        ["fds", "1", "\"hi\""] => 1,
        ["fds", "3", ..] => 2,
        _ => 0,
    };
    assert_eq!(cluster.primary.stats().unexpected_handles, unexpected);
    for _ in 0..3 {
        assert_eq!(cluster.served_by(address), good);
    }
    assert_eq!(cluster.ask(good, "env NOTHING"), "(unset)");
}

fn until_here(cluster: &mut Cluster, rogue: WorkerId) {
    let here = |e: &Event| {
        matches!(e, Event::Message { worker, message, .. }
            if *worker == rogue && *message == "still here")
    };
    cluster.until("sign of life", here);
}

fn said_something(event: &Event, from: WorkerId) -> bool {
    matches!(event, Event::Message { worker, .. } if *worker == from)
}

/// One that takes connections which it has not received: it would make the primary keep them all.
fn answers_too_soon() {
    println!("it answers too soon");
    let mut cluster = Cluster::with(puppet());
    let good = cluster.fork();
    let address = cluster.listen(good, 0);
    let answers = r#"many:50:{"cmd":"NODE_CLUSTER","ack":%,"accepted":true,"seq":2}"#;
    let settings = rogue(&[SAME_LISTEN, HERE, "until:newconn", answers, "wait"]);
    cluster.primary.setup(move |s| *s = settings);
    let rogue = cluster.fork();
    until_here(&mut cluster, rogue);
    let clients: Vec<_> = (0..2)
        .map(|_| std::net::TcpStream::connect(address).expect("the primary listens"))
        .collect();
    let failed = |e: &Event| {
        matches!(e, Event::Error { error: WorkerError::Channel { what }, worker }
            if *worker == rogue && what.contains("before it had received it"))
    };
    cluster.until("error", failed);
    assert!(!cluster.disconnect_of(rogue));
    // What it had claimed goes to the other one.
    let served = std::thread::spawn(move || {
        clients.into_iter().map(support::serve_from_any_worker).collect::<Vec<_>>()
    });
    let served = cluster.run(move || served.join().expect("all are served"));
    assert_eq!(served, [good; 2]);
}

/// The same `listen(0)` as the puppet's: its key comes from these words.
const SAME_LISTEN: &str = r#"say:{"cmd":"NODE_CLUSTER","act":"queryServer","address":"127.0.0.1","port":0,"addressType":4,"flags":0,"backlog":0,"index":0,"data":null,"seq":1}"#;

/// One that reads nothing: what waits for it is limited.
fn never_reads() {
    println!("it never reads");
    let mut settings = rogue(&["sleep"]);
    settings.limits.queue_limit = 100_000;
    let mut cluster = Cluster::with(settings);
    let rogue = cluster.fork();
    let message = "x".repeat(1000);
    let mut high = false;
    let error = loop {
        match cluster.primary.send(rogue, message.as_str()) {
            Ok(pressure) => high |= pressure == cluster_primary::Pressure::High,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, SendError::QueueFull { limit: 100_000, .. }), "{error}");
    assert!(!high, "the high-water mark lies above this limit");
    let long = "x".repeat(5000);
    let error = cluster.primary.send(rogue, long).expect_err("it is over max_frame");
    assert!(matches!(error, SendError::TooLong { limit: 4096, .. }), "{error}");
    assert!(cluster.primary.kill(rogue, Signal::KILL).expect("a signal"));
    assert!(!cluster.disconnect_of(rogue));
}

/// One that takes connections from the primary and says nothing: another gets them at its death.
fn never_answers() {
    println!("it never answers");
    let mut cluster = Cluster::with(puppet());
    let good = cluster.fork();
    let address = cluster.listen(good, 0);
    let settings = rogue(&[SAME_LISTEN, HERE, "sleep"]);
    cluster.primary.setup(move |s| *s = settings);
    let rogue = cluster.fork();
    until_here(&mut cluster, rogue);
    let clients = cluster.run(move || {
        let connect = |_| std::net::TcpStream::connect(address).expect("it listens");
        (0..4).map(connect).collect::<Vec<_>>()
    });
    let served = std::thread::spawn(move || {
        clients.into_iter().map(support::serve_from_any_worker).collect::<Vec<_>>()
    });
    // Until the rogue alone holds one back.
    cluster.until_handed_over(3);
    assert!(cluster.primary.kill(rogue, Signal::KILL).expect("a signal"));
    let served = cluster.run(move || served.join().expect("all are served"));
    assert_eq!(served, [good; 4]);
}
