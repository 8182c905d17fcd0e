//! Events come in the order in which things happened, whichever part of the primary saw them: through a primary with
//! real processes.

#[path = "support/process.rs"]
mod support;

use cluster_primary::{Event, NoAnswer, Settings, Stdio, WorkerError, WorkerId};
use support::{Cluster, LIMIT, example, puppet};

/// A worker that says these lines at once, and ends.
fn says(lines: &[String]) -> Settings {
    let lines = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let arguments = ["until:begin".to_owned(), format!("raw:{lines}"), "leave".to_owned()];
    let mut settings = Settings::new(example("rogue")).args(arguments);
    settings.stdio = Some(vec![Stdio::Ipc, Stdio::Inherit, Stdio::Inherit]);
    settings
}

/// All events of a worker up to its end, in their order.
fn life(cluster: &mut Cluster, of: WorkerId) -> Vec<Event> {
    cluster.until("exit", |e| matches!(e, Event::Exit { worker, .. } if *worker == of));
    cluster.rest()
}

fn name(event: &Event) -> String {
    match event {
        Event::Message { message, .. } => {
            format!("message {}", message.as_str().unwrap_or_default())
        }
        Event::Request { request, .. } => request.to_string(),
        Event::Answered { answer: Ok(_), .. } => "answered".into(),
        Event::Answered { answer: Err(NoAnswer::Disconnected), .. } => "never answered".into(),
        Event::Sent { error, .. } => format!("sent {}", error.is_none()),
        Event::Error { error: WorkerError::TooDeep, .. } => "too deep".into(),
        Event::Error { error: WorkerError::StrayAck { ack }, .. } => format!("stray {ack}"),
        Event::Error { error, .. } => format!("error {}", error.code()),
        Event::Listening { .. } => "listening".into(),
        Event::Disconnect { .. } => "disconnect".into(),
        Event::Online { .. } => "online".into(),
        Event::Drained { .. } => "drained".into(),
        _ => String::new(),
    }
}

/// What is told by the machine, by the requests' table and by the channel stands in one order.
#[test]
fn what_a_worker_says_is_told_in_its_order_whatever_it_is() {
    let deep = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
    let lines = [
        "\"one\"".to_owned(),
        r#"{"cmd":"CLUSTER_REQUEST","id":5,"body":"x"}"#.into(),
        r#"{"cmd":"NODE_CLUSTER","ack":77,"accepted":true,"seq":1}"#.into(),
        "\"two\"".into(),
        deep,
        r#"{"cmd":"NODE_CLUSTER","act":"listening","address":"127.0.0.1","port":80,"addressType":4,"seq":2}"#.into(),
        r#"{"cmd":"CLUSTER_RESPONSE","id":1,"body":"fine"}"#.into(),
        "\"three\"".into(),
        r#"{"cmd":"NODE_CLUSTER","ack":78,"accepted":true,"seq":3}"#.into(),
        r#"{"cmd":"CLUSTER_RESPONSE","id":1,"body":"too late"}"#.into(),
        r#"{"cmd":"CLUSTER_RESPONSE","id":99,"body":"never asked"}"#.into(),
    ];
    let mut cluster = Cluster::with(says(&lines));
    let worker = cluster.fork();
    cluster.rest();
    cluster.primary.request(worker, "how are you?", LIMIT).expect("its channel is open");
    cluster.primary.request(worker, "begin", LIMIT).expect("its channel is open");
    let names: Vec<_> = life(&mut cluster, worker).iter().map(name).collect();
    assert_eq!(
        names,
        [
            "message one",
            &format!("request 5 of worker {worker}"),
            "stray 77",
            "message two",
            "too deep",
            "listening",
            "answered",
            "message three",
            "stray 78",
            "message ",
            "never answered",
            "disconnect",
        ]
    );
}

/// What becomes of the user's messages is told before the end of the channel that they were for.
#[test]
fn the_ends_of_messages_and_requests_come_before_the_end_of_the_worker() {
    let mut cluster = Cluster::with(puppet().silent(true));
    let worker = cluster.fork();
    cluster.rest();
    let sent = cluster.primary.send_reported(worker, "args", None).expect("its channel is open");
    cluster.primary.request(worker, "keep", LIMIT).expect("its channel is open");
    cluster.primary.send(worker, "die 3").expect("its channel is open");
    let events = life(&mut cluster, worker);
    let at = |what: &str| {
        let found = events.iter().position(|event| name(event) == what);
        found.unwrap_or_else(|| panic!("no {what:?} in {events:?}"))
    };
    let reports = events.iter().filter(|e| matches!(e, Event::Sent { id, .. } if *id == sent));
    assert_eq!(reports.count(), 1);
    // It is written before the worker can answer, and the worker's last words come before its end.
    let order = [at("sent true"), at("message "), at("message last words"), at("never answered")];
    assert!(order.is_sorted(), "{events:?}");
    assert!(at("never answered") < at("disconnect"));
}

/// A worker that does not read has its messages reported as lost, in the order in which they were sent.
#[test]
fn messages_that_are_never_written_are_reported_in_their_order() {
    let mut settings = Settings::new(example("rogue")).args(["sleep"]);
    settings.stdio = Some(vec![Stdio::Ipc, Stdio::Inherit, Stdio::Inherit]);
    let mut cluster = Cluster::with(settings);
    let worker = cluster.fork();
    let text = "x".repeat(1 << 20);
    let mut sent = Vec::new();
    for _ in 0..8 {
        let id = cluster.primary.send_reported(worker, text.as_str(), None);
        sent.push(id.expect("there is room"));
    }
    cluster.primary.kill(worker, cluster_primary::Signal::KILL).expect("it is there");
    let events = life(&mut cluster, worker);
    let reported = |event: &Event| match event {
        Event::Sent { id, error, .. } => Some((*id, error.is_none())),
        _ => None,
    };
    let reported: Vec<_> = events.iter().filter_map(reported).collect();
    let ids: Vec<_> = reported.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, sent, "{reported:?}");
    assert!(!reported.last().expect("there were some").1, "megabytes fit into no socket");
    assert!(!events.iter().any(|e| matches!(e, Event::Drained { .. })), "it was never drained");
}
