//! Requests with answers, in both directions, with workers of ours and of Node's: each has exactly one
//! outcome, whatever becomes of the worker.

#[path = "support/node.rs"]
mod node;
#[path = "support/process.rs"]
mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use cluster_primary::{
    Event, NoAnswer, Object, Request, RequestId, SendError, Signal, Value, WorkerId,
};
use node::{nodes, own, under};
use serde::{Deserialize, Serialize};
use support::{Cluster, Folder, LIMIT};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Asks {
    User { id: u32 },
    Everything,
}

/// What became of a request.
fn outcome(cluster: &mut Cluster, of: RequestId) -> Result<Value, NoAnswer> {
    let wanted = |e: &Event| matches!(e, Event::Answered { request, .. } if *request == of);
    match cluster.until("answer", wanted) {
        Event::Answered { answer, .. } => {
            answer.map(|answer| answer.value().expect("it can be decoded"))
        }
        _ => unreachable!("it was asked for"),
    }
}

/// The next request of a worker.
fn asked(cluster: &mut Cluster) -> (Request, Value) {
    match cluster.until("request", |e| matches!(e, Event::Request { .. })) {
        Event::Request { worker, request, body, .. } => {
            assert_eq!(request.worker(), worker);
            (request, body.value().expect("it can be decoded"))
        }
        _ => unreachable!("it was asked for"),
    }
}

fn refused(answer: Result<Value, NoAnswer>) -> String {
    match answer {
        Err(NoAnswer::Refused { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn workers_answer_each_its_own_in_any_order() {
    let mut cluster = Cluster::new();
    let workers: Vec<WorkerId> = (0..3).map(|_| cluster.fork()).collect();
    let mut requests = Vec::new();
    for n in 0..30 {
        let worker = workers[n as usize % 3];
        let body = Asks::User { id: n };
        requests.push((cluster.primary.request(worker, &body, LIMIT).unwrap(), worker, body));
    }
    // Messages may go between them.
    assert!(cluster.ask(workers[0], "tcp 127.0.0.1:0").starts_with("listening "));
    for (request, worker, body) in requests.into_iter().rev() {
        let answer: (u32, Asks) = outcome(&mut cluster, request).unwrap().decode().unwrap();
        assert_eq!(answer, (worker.0, body));
    }
    for (word, why) in [("refuse", "as told"), ("forget", "the worker's program gave no answer")] {
        let request = cluster.primary.request(workers[1], word, LIMIT).unwrap();
        assert_eq!(refused(outcome(&mut cluster, request)), why);
    }
}

#[test]
fn a_request_that_is_not_answered_in_time_ends_once() {
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    let patience = Duration::from_millis(30);
    let kept = cluster.primary.request(worker, "keep", patience).unwrap();
    let longer = cluster.primary.request(worker, "keep", LIMIT).unwrap();
    assert_eq!(outcome(&mut cluster, kept), Err(NoAnswer::TimedOut { after: patience }));
    // The puppet refuses what it keeps as its `main` returns: too late for the one.
    cluster.primary.disconnect_worker(worker);
    cluster.disconnect_of(worker);
    assert_eq!(outcome(&mut cluster, longer), Err(NoAnswer::Disconnected));
    cluster.exit_of(worker);
    let rest = cluster.rest();
    let again = rest.iter().any(|e| matches!(e, Event::Answered { .. } | Event::Message { .. }));
    assert!(!again, "{rest:?}");
}

#[test]
fn a_worker_that_dies_leaves_no_request_open() {
    let mut cluster = Cluster::new();
    let (dies, lives) = (cluster.fork(), cluster.fork());
    let ids: BTreeSet<_> =
        (0..20).map(|_| cluster.primary.request(dies, "keep", LIMIT).unwrap()).collect();
    let other = cluster.primary.request(lives, "hello", LIMIT).unwrap();
    cluster.primary.kill(dies, Signal::KILL).unwrap();
    cluster.exit_of(dies);
    assert!(outcome(&mut cluster, other).is_ok(), "another's is none of its business");
    let events = cluster.rest();
    let at = |wanted: &dyn Fn(&Event) -> bool| events.iter().rposition(wanted);
    let lost = |e: &Event| matches!(e, Event::Answered { worker, answer: Err(NoAnswer::Disconnected), .. } if *worker == dies);
    let ended: BTreeSet<_> = events
        .iter()
        .filter(|e| lost(e))
        .filter_map(|e| if let Event::Answered { request, .. } = e { Some(*request) } else { None })
        .collect();
    assert_eq!(ended, ids);
    let gone = at(&|e| matches!(e, Event::Disconnect { worker, .. } if *worker == dies));
    assert!(at(&lost) < gone, "before the worker's end is told: {events:?}");
    let late = cluster.primary.request(dies, "hello", LIMIT);
    assert!(matches!(late, Err(SendError::Closed { .. })), "{late:?}");
}

#[test]
fn workers_ask_and_are_answered_refused_or_left_waiting() {
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    let ask = |cluster: &mut Cluster, patience: u64| {
        cluster.primary.send(worker, format!("ask {patience} who is 7")).unwrap();
        let (request, body) = asked(cluster);
        assert_eq!(body.as_str(), Some("who is 7"));
        request
    };
    let request = ask(&mut cluster, 60_000);
    cluster.primary.answer(request, "Ada").unwrap();
    assert_eq!(cluster.message(worker), "answer Ada");
    let request = ask(&mut cluster, 60_000);
    cluster.primary.refuse(request, "no answer").unwrap();
    assert_eq!(cluster.message(worker), "the primary gave no answer: it was refused: no answer");
    let request = ask(&mut cluster, 60_000);
    cluster.primary.answer(request, &(1, 2)).unwrap();
    let wrong = "the primary's answer is not what was expected: it is sequence, expected a string";
    assert_eq!(cluster.message(worker), wrong);
    let request = ask(&mut cluster, 20);
    let late = "the primary gave no answer: no answer came within 20ms";
    assert_eq!(cluster.message(worker), late);
    cluster.primary.answer(request, "too late").unwrap();
    // It is passed over: the next answer is the next order's.
    assert_eq!(cluster.ask(worker, "args"), "");
    let request = ask(&mut cluster, 60_000);
    let unwritable = cluster.primary.answer(request, &u128::MAX);
    assert!(matches!(unwritable, Err(SendError::Encode { .. })), "{unwritable:?}");
    assert!(cluster.message(worker).contains("64 bits"), "and the worker hears of it");
    let request = ask(&mut cluster, 60_000);
    let too_long = cluster.primary.answer(request, "x".repeat(65 << 20));
    assert!(matches!(too_long, Err(SendError::TooLong { .. })), "{too_long:?}");
    assert!(cluster.message(worker).contains("could not be sent"));
}

/// The refusal that goes in place of an answer is not taken for what is sent next.
#[test]
fn an_answer_that_cannot_be_written_leaves_the_next_message_alone() {
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    for _ in 0..2 {
        cluster.primary.send(worker, "ask 60000 who is 7").unwrap();
        let (request, _) = asked(&mut cluster);
        let unwritable = cluster.primary.answer(request, &u128::MAX);
        assert!(matches!(unwritable, Err(SendError::Encode { .. })), "{unwritable:?}");
        let own = cluster.primary.request(worker, "how are you", LIMIT).expect("it is sent");
        assert!(cluster.message(worker).contains("64 bits"), "the worker gets the refusal");
        assert!(outcome(&mut cluster, own).is_ok());
    }
    let gone = WorkerId(9);
    cluster.primary.send(worker, "ask 60000 who is 7").unwrap();
    let (request, _) = asked(&mut cluster);
    let _ = cluster.primary.answer(request, &u128::MAX);
    let sent = cluster.primary.send(gone, "lost");
    assert!(matches!(sent, Err(SendError::Closed { .. })), "{sent:?}");
}

#[test]
fn a_broadcast_reaches_every_connected_worker() {
    let mut cluster = Cluster::new();
    let workers: Vec<WorkerId> = (0..3).map(|_| cluster.fork()).collect();
    let port = cluster.listen(workers[2], 0).port();
    // One that is about to leave, and waits for a client.
    let client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let client = cluster.run(move || {
        support::serve_from_any_worker(&client);
        client
    });
    cluster.primary.disconnect_worker(workers[2]);
    let told = cluster.primary.broadcast(&Asks::Everything).unwrap();
    let whom: Vec<_> = told.sent.iter().map(|(worker, _)| *worker).collect();
    assert_eq!((whom, told.failed.len()), (workers.clone(), 0));
    for worker in &workers {
        let from = |e: &Event| matches!(e, Event::Message { worker: w, .. } if w == worker);
        let Event::Message { message, .. } = cluster.until("echo", from) else { unreachable!() };
        let message = message.value().unwrap();
        assert_eq!(message["echo"].as_str(), Some("Everything"));
    }
    drop(client);
    cluster.exit_of(workers[2]);
    let told = cluster.primary.broadcast(7).unwrap();
    assert_eq!(told.sent.len(), 2);
    let refused = cluster.primary.broadcast(Object::new().with("cmd", "NODE_CLUSTER"));
    assert!(matches!(refused, Err(SendError::Encode { .. })));
}

/// Another image of the process knows what was asked, and until when.
#[test]
fn requests_outlive_an_upgrade() {
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    let patience = Duration::from_millis(50);
    let kept = cluster.primary.request(worker, "keep", patience).unwrap();
    let answered = cluster.primary.request(worker, "hello", LIMIT).unwrap();
    cluster.upgrade();
    assert!(outcome(&mut cluster, answered).is_ok());
    assert_eq!(outcome(&mut cluster, kept), Err(NoAnswer::TimedOut { after: patience }));
    cluster.upgrade();
    let next = cluster.primary.request(worker, "hello", LIMIT).unwrap();
    assert!(next > answered, "an answer that comes late is not taken for another's");
    assert!(outcome(&mut cluster, next).is_ok());
}

/// What a program of Node's needs to do for it stands here in full.
#[test]
fn programs_of_nodes_ask_and_answer_by_plain_messages() {
    let text = "process.on('message', ({ cmd, id, body, error }) => {
        if (cmd === 'CLUSTER_REQUEST') {
            if (body === 'exit') process.exit(0);
            const answer = body.User ? { user: body.User.id * 2 } : undefined;
            process.send(answer ? { cmd: 'CLUSTER_RESPONSE', id, body: answer }
                                : { cmd: 'CLUSTER_RESPONSE', id, error: 'no such user' });
        } else if (cmd === 'CLUSTER_RESPONSE') {
            process.send({ heard: body ?? error, id });
        } else {
            process.send({ cmd: 'CLUSTER_REQUEST', id: 70, body: { name: 'of 7' } });
        }
    });
    process.send('up');";
    for node in nodes() {
        let folder = Folder::new("requests-of-node");
        let mut cluster = Cluster::with(under(&node, own(&folder, text)));
        let worker = cluster.fork();
        assert_eq!(cluster.message(worker), "up");
        let request = cluster.primary.request(worker, &Asks::User { id: 21 }, LIMIT).unwrap();
        assert_eq!(outcome(&mut cluster, request).unwrap()["user"].as_u64(), Some(42));
        let request = cluster.primary.request(worker, &Asks::Everything, LIMIT).unwrap();
        assert_eq!(refused(outcome(&mut cluster, request)), "no such user");

        cluster.primary.send(worker, Object::new().with("go", true)).unwrap();
        let (request, body) = asked(&mut cluster);
        assert_eq!(body["name"].as_str(), Some("of 7"));
        cluster.primary.answer(request, "Ada").unwrap();
        let Event::Message { message, .. } =
            cluster.until("what it heard", |e| matches!(e, Event::Message { .. }))
        else {
            unreachable!()
        };
        let message = message.value().unwrap();
        assert_eq!((message["heard"].as_str(), message["id"].as_u64()), (Some("Ada"), Some(70)));

        let request = cluster.primary.request(worker, "exit", LIMIT).unwrap();
        assert_eq!(outcome(&mut cluster, request), Err(NoAnswer::Disconnected));
    }
}

/// A program that writes such messages by hand gets the answers by hand.
#[test]
fn an_answer_to_what_was_never_asked_here_is_a_message() {
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    let by_hand = Object::new().with("cmd", "CLUSTER_REQUEST").with("id", 99).with("body", "x");
    cluster.primary.send(worker, by_hand).unwrap();
    let Event::Message { message, .. } =
        cluster.until("the answer", |e| matches!(e, Event::Message { .. }))
    else {
        unreachable!()
    };
    let message = message.value().unwrap();
    assert_eq!(message["cmd"].as_str(), Some("CLUSTER_RESPONSE"));
    assert_eq!(message["id"].as_u64(), Some(99));
}
