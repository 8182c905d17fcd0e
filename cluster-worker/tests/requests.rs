//! Messages of types, and requests, of the blocking and the evented front-end, against a primary in the
//! same process.

#[path = "support/primary.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod primary;

use std::thread;
use std::time::Duration;

use cluster_proto::{ClusterBody, Exchange, Message, NoAnswer, Object, StructuredClone, Value};
use cluster_worker::event::{self, EventedWorker};
use cluster_worker::{Options, RecvError, RequestError, SendError, Worker};
use mio::{Events, Interest, Poll, Token};
use primary::{LIMIT, Primary};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    item: String,
    count: u32,
}

fn order(count: u32) -> Order {
    Order { item: "tea".into(), count }
}

fn start() -> (Primary, Worker) {
    let (primary, fd) = Primary::new();
    (primary, Options::new().exit_when_orphaned(false).worker(1, fd).unwrap())
}

/// The next message of the worker's that is not the protocol's.
fn heard(primary: &mut Primary) -> Exchange {
    loop {
        match primary.recv() {
            Some(Message::User(value)) => return Exchange::of(value),
            Some(Message::Cluster(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// The worker's next request.
fn asked(primary: &mut Primary) -> (u64, Value) {
    match heard(primary) {
        Exchange::Request { id, body } => (id, body),
        other => panic!("{other:?}"),
    }
}

fn answer(primary: &mut Primary, id: u64, answer: Result<Value, String>) {
    primary.send_user(Exchange::Response { id, answer }.into_message());
}

fn ask(primary: &mut Primary, id: u64, body: impl Into<Value>) {
    primary.send_user(Exchange::Request { id, body: body.into() }.into_message());
}

#[test]
fn types_go_both_ways_and_what_is_none_is_told_with_the_message() {
    let (mut primary, worker) = start();
    worker.send(&order(3)).unwrap();
    let Exchange::Message(value) = heard(&mut primary) else { panic!("it is a message") };
    assert_eq!(value.decode::<Order>().unwrap(), order(3));
    primary.send_user(Value::encode(&order(4)).unwrap());
    primary.send_user("no order");
    primary.send_user(Value::encode(&order(5)).unwrap());
    assert_eq!(worker.recv_as::<Order>().unwrap(), Some(order(4)));
    match worker.recv_as::<Order>() {
        Err(RecvError::Type { message, .. }) => assert_eq!(message.as_str(), Some("no order")),
        other => panic!("{other:?}"),
    }
    assert_eq!(worker.recv_as::<Order>().unwrap(), Some(order(5)));
    let too_wide = worker.send(&u128::MAX).unwrap_err();
    assert!(matches!(too_wide, SendError::Encode(_)), "{too_wide:?}");
}

#[test]
fn threads_that_ask_at_once_each_have_their_own_answer() {
    const THREADS: u32 = 8;
    let (mut primary, worker) = start();
    let threads: Vec<_> = (0..THREADS)
        .map(|n| {
            let worker = worker.clone();
            thread::spawn(move || worker.request::<Order>(&n, LIMIT))
        })
        .collect();
    let mut asked: Vec<_> = threads.iter().map(|_| asked(&mut primary)).collect();
    asked.reverse();
    for (id, body) in asked {
        let count = body.as_u64().unwrap() as u32;
        answer(&mut primary, id, Ok(Value::encode(&order(count)).unwrap()));
    }
    for (n, thread) in threads.into_iter().enumerate() {
        assert_eq!(thread.join().unwrap().unwrap(), order(n as u32));
    }
}

#[test]
fn a_request_has_one_outcome() {
    let (mut primary, worker) = start();
    let patience = Duration::from_millis(20);
    match worker.request::<u8>("is there an answer?", patience) {
        Err(RequestError::NoAnswer(NoAnswer::TimedOut { after })) => assert_eq!(after, patience),
        other => panic!("{other:?}"),
    }
    let (late, _) = asked(&mut primary);
    answer(&mut primary, late, Ok(1.into()));
    primary.send_user("next");
    assert_eq!(worker.recv().unwrap(), Some("next".into()), "what comes too late is passed over");

    let asking = |worker: &Worker| {
        let worker = worker.clone();
        thread::spawn(move || worker.request::<u8>("well?", LIMIT))
    };
    let thread = asking(&worker);
    let (id, _) = asked(&mut primary);
    answer(&mut primary, id, Err("no".into()));
    match thread.join().unwrap() {
        Err(RequestError::NoAnswer(NoAnswer::Refused { reason })) => assert_eq!(reason, "no"),
        other => panic!("{other:?}"),
    }
    let thread = asking(&worker);
    let (id, _) = asked(&mut primary);
    answer(&mut primary, id, Ok(300.into()));
    match thread.join().unwrap() {
        Err(RequestError::Type { answer, .. }) => assert_eq!(answer.as_u64(), Some(300)),
        other => panic!("{other:?}"),
    }
    let thread = asking(&worker);
    asked(&mut primary);
    drop(primary);
    let lost = thread.join().unwrap();
    let gone = RequestError::NoAnswer(NoAnswer::Disconnected).to_string();
    assert_eq!(lost.unwrap_err().to_string(), gone);
    let unsent = worker.request::<u8>("well?", LIMIT);
    assert!(matches!(unsent, Err(RequestError::Send(SendError::Disconnected))), "{unsent:?}");
}

#[test]
fn what_the_primary_asks_is_answered_or_refused_and_never_left() {
    let (mut primary, worker) = start();
    let outcome = |primary: &mut Primary| match heard(primary) {
        Exchange::Response { id, answer } => (id, answer),
        other => panic!("{other:?}"),
    };
    ask(&mut primary, 1, "one");
    let received = worker.recv_message().unwrap().unwrap();
    assert_eq!(received.decode::<String>().unwrap(), "one");
    received.request.expect("it asks").answer(&order(1)).unwrap();
    let (id, said) = outcome(&mut primary);
    assert_eq!((id, said.unwrap().decode::<Order>().unwrap()), (1, order(1)));

    ask(&mut primary, 2, "two");
    let received = worker.recv_message().unwrap().unwrap();
    received.request.expect("it asks").refuse("busy").unwrap();
    assert_eq!(outcome(&mut primary), (2, Err("busy".into())));

    ask(&mut primary, 3, "three");
    let request = worker.recv_message().unwrap().unwrap().request.expect("it asks");
    assert!(matches!(request.answer(&u128::MAX), Err(SendError::Encode(_))));
    let (id, said) = outcome(&mut primary);
    assert!(id == 3 && said.unwrap_err().contains("64 bits"));

    // What the channel cannot carry is found only there.
    for unsaid in [Value::from(StructuredClone::Date(1.0)), "x".repeat(65 << 20).into()] {
        ask(&mut primary, 33, "three and a bit");
        let request = worker.recv_message().unwrap().unwrap().request.expect("it asks");
        request.answer(unsaid).unwrap_err();
        let (id, said) = outcome(&mut primary);
        assert!(id == 33 && said.unwrap_err().contains("could not be sent"));
    }

    ask(&mut primary, 4, "four");
    // A receiver that takes it like this cannot answer.
    assert_eq!(worker.recv().unwrap(), Some("four".into()));
    let (id, said) = outcome(&mut primary);
    assert!(id == 4 && said.is_err(), "{said:?}");

    primary.send_user(Object::new().with("cmd", "CLUSTER_REQUEST").with("id", "five"));
    let received = worker.recv_message().unwrap().unwrap();
    assert!(received.request.is_none(), "what only looks like a request is a message");
}

#[test]
fn a_request_that_finds_the_inbox_full_is_refused() {
    let (mut primary, fd) = Primary::new();
    let options = Options::new().exit_when_orphaned(false).message_limit(2);
    let worker = options.worker(1, fd).unwrap();
    for id in 1..=3 {
        ask(&mut primary, id, "x");
    }
    match worker.recv() {
        Err(RecvError::Lost { messages: 1 }) => {}
        other => panic!("{other:?}"),
    }
    match heard(&mut primary) {
        Exchange::Response { id: 3, answer: Err(reason) } => assert!(reason.contains("wait")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_event_loop_is_told_what_became_of_its_requests() {
    let (mut primary, fd) = Primary::new();
    let mut worker = Options::new().exit_when_orphaned(false).evented(1, fd).unwrap();
    let mut poll = Poll::new().unwrap();
    poll.registry().register(&mut worker, Token(0), Interest::READABLE).unwrap();
    let mut events = Events::with_capacity(8);
    let mut next = |worker: &mut EventedWorker| loop {
        if let Some(event) = worker.next_event() {
            return event;
        }
        let timeout = worker.timeout();
        poll.poll(&mut events, timeout.or(Some(LIMIT))).unwrap();
        assert!(timeout.is_some() || !events.is_empty(), "nothing comes");
        worker.process().unwrap();
    };
    let outcome = |worker: &mut EventedWorker,
                   next: &mut dyn FnMut(&mut EventedWorker) -> event::Event| {
        match next(worker) {
            event::Event::Answered { request, answer } => (request, answer),
            other => panic!("{other:?}"),
        }
    };
    let patience = Duration::from_millis(20);
    let first = worker.request(&order(1), LIMIT).unwrap();
    let second = worker.request("never", patience).unwrap();
    let third = worker.request("gone", LIMIT).unwrap();
    worker.flush();
    assert_eq!(
        outcome(&mut worker, &mut next),
        (second, Err(NoAnswer::TimedOut { after: patience }))
    );
    let (id, body) = asked(&mut primary);
    answer(&mut primary, id, Ok(body));
    let (request, said) = outcome(&mut worker, &mut next);
    assert_eq!((request, said.unwrap().decode::<Order>().unwrap()), (first, order(1)));
    // In the order in which they were said.
    let fourth = worker.request("in between", LIMIT).unwrap();
    worker.flush();
    for said in ["gone", "in between"] {
        // (And the one that is not waited for any more.)
        let (id, body) = loop {
            let (id, body) = asked(&mut primary);
            if body.as_str() != Some("never") {
                break (id, body);
            }
        };
        assert_eq!(body.as_str(), Some(said));
        if said == "in between" {
            primary.send_user("first");
            answer(&mut primary, id, Ok(Value::Null));
            primary.send_user("third");
        }
    }
    let message = |event: event::Event| match event {
        event::Event::Message(received) => received.message,
        other => panic!("{other:?}"),
    };
    assert_eq!(message(next(&mut worker)).as_str(), Some("first"));
    assert_eq!(outcome(&mut worker, &mut next), (fourth, Ok(Value::Null)));
    assert_eq!(message(next(&mut worker)).as_str(), Some("third"));
    ask(&mut primary, 8, "and you?");
    match next(&mut worker) {
        event::Event::Message(received) => {
            received.request.expect("it asks").answer("fine").unwrap();
        }
        other => panic!("{other:?}"),
    }
    while worker.next_event().is_some() {}
    assert_eq!(heard(&mut primary), Exchange::Response { id: 8, answer: Ok("fine".into()) });
    primary.send_internal(None, ClusterBody::Disconnect);
    drop(primary);
    let end = next(&mut worker);
    let lost = matches!(&end, event::Event::Answered { request, answer: Err(NoAnswer::Disconnected) }
        if *request == third);
    assert!(lost, "{end:?}");
}
