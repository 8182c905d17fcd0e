use cluster_proto::{AddressType, ClusterBody, Family, Field, HandleKind, ListenReply, SockName};

use super::*;
use crate::ListenOptions;

const NOW: Mono = Mono::ZERO;
const A: ServerId = ServerId(1);
const B: ServerId = ServerId(2);

struct Worker {
    machine: Machine,
    primary_seq: u64,
    handles: u64,
}

impl Worker {
    fn new(config: Config) -> Self {
        let mut worker = Self { machine: Machine::new(config), primary_seq: 100, handles: 0 };
        assert_eq!(worker.sent(), [ClusterBody::Online]);
        worker
    }

    fn input(&mut self, input: Input) -> Vec<Output> {
        self.machine.handle_input(NOW, input);
        self.outputs()
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.machine.poll_output()).collect()
    }

    fn sent(&mut self) -> Vec<ClusterBody> {
        bodies(&self.outputs())
    }

    fn listen(&mut self, server: ServerId, max_connections: Option<usize>) -> u64 {
        let query = Box::new(ListenOptions::from(0).query().unwrap());
        let outputs = self.input(Input::Listen { server, query, max_connections });
        let [Output::Send(Message::Cluster(message))] = &outputs[..] else {
            panic!("{outputs:?}");
        };
        message.seq
    }

    fn primary_says(
        &mut self,
        ack: Option<u64>,
        body: ClusterBody,
        handle: Option<Handle>,
    ) -> Vec<Output> {
        self.primary_seq += 1;
        let message = Message::cluster(self.primary_seq, ack, body);
        self.input(Input::Received { message, handle })
    }

    fn handle(&mut self) -> Handle {
        self.handles += 1;
        Handle { id: HandleId(self.handles), kind: HandleKind::NetNative, key: None }
    }

    fn open(&mut self, server: ServerId, max_connections: Option<usize>) {
        let ack = self.listen(server, max_connections);
        self.primary_says(Some(ack), reply(key(server)), None);
    }

    fn connect(&mut self, server: ServerId) -> Vec<Output> {
        let handle = self.handle();
        self.primary_says(None, ClusterBody::NewConn { key: key(server) }, Some(handle))
    }

    fn take(&mut self, server: ServerId) -> Vec<Output> {
        self.input(Input::Take { server, tracked: true })
    }
}

fn key(server: ServerId) -> ServerKey {
    format!("key of {server}").into()
}

fn reply(key: ServerKey) -> ClusterBody {
    let sockname = SockName { address: "::".into(), family: Family::Ipv6, port: 4321 };
    let sockname = Some(sockname);
    ClusterBody::ListenReply(Box::new(ListenReply {
        errno: None,
        key,
        data: Value::Null,
        sockname,
    }))
}

fn bodies(outputs: &[Output]) -> Vec<ClusterBody> {
    let body = |output: &Output| match output {
        Output::Send(Message::Cluster(message)) => Some(message.body.clone()),
        _ => None,
    };
    outputs.iter().filter_map(body).collect()
}

fn close(server: ServerId) -> ClusterBody {
    ClusterBody::Close { key: key(server) }
}

#[test]
fn a_round_robin_listen_is_told_with_the_bound_port() {
    let mut worker = Worker::new(Config::default());
    let ack = worker.listen(A, None);
    assert_eq!(worker.machine.state(), State::Online);
    let outputs = worker.primary_says(Some(ack), reply(key(A)), None);
    assert!(
        matches!(&outputs[0], Output::Listening { server: A, sockname: Some(name) } if name.port == 4321)
    );
    let [ClusterBody::Listening(query)] = &bodies(&outputs)[..] else { panic!("{outputs:?}") };
    assert_eq!((query.port, query.address_type), (Field::Is(4321), Field::Is(AddressType::Tcp4)));
    assert_eq!(worker.machine.state(), State::Listening);
}

#[test]
fn a_shared_listen_is_opened_by_the_driver_first() {
    let mut worker = Worker::new(Config::default());
    let ack = worker.listen(A, None);
    let handle = worker.handle();
    let outputs = worker.primary_says(Some(ack), reply(key(A)), Some(handle.clone()));
    assert_eq!(
        outputs,
        [Output::Open { server: A, handle: handle.id, port: Some(0), backlog: 511, udp: false }]
    );
    let outputs = worker.input(Input::Opened { server: A, port: Some(99) });
    assert!(
        matches!(&bodies(&outputs)[..], [ClusterBody::Listening(q)] if q.port == Field::Is(99))
    );

    let ack = worker.listen(B, None);
    let handle = worker.handle();
    worker.primary_says(Some(ack), reply(key(B)), Some(handle));
    let outputs = worker.input(Input::OpenFailed { server: B, errno: 98 });
    assert_eq!(bodies(&outputs), [close(B)]);
    assert!(matches!(
        outputs[..],
        [_, Output::ListenFailed { server: B, failure: ListenFailure::Unusable { errno: 98 } }]
    ));

    // A connection that the primary rescued from elsewhere is taken by a shared server too.
    assert_eq!(worker.connect(A), [Output::ConnectionReady(A)]);
}

#[test]
fn a_failed_listen_gives_its_index_back() {
    let mut worker = Worker::new(Config::default());
    let ack = worker.listen(A, None);
    let refusal = ClusterBody::ListenReply(Box::new(ListenReply {
        errno: Some(-13),
        key: key(A),
        data: Value::Null,
        sockname: None,
    }));
    let outputs = worker.primary_says(Some(ack), refusal, None);
    let failure = ListenFailure::Refused { errno: 13 };
    assert_eq!(outputs, [Output::ListenFailed { server: A, failure }]);

    let query = Box::new(ListenOptions::from(0).query().unwrap());
    let outputs = worker.input(Input::Listen { server: B, query, max_connections: None });
    assert!(matches!(&bodies(&outputs)[..], [ClusterBody::QueryServer(q)] if q.index == 0));
}

#[test]
fn a_connection_is_accepted_when_it_is_taken_and_not_before() {
    let mut worker = Worker::new(Config::default());
    worker.open(A, None);
    assert_eq!(worker.connect(A), [Output::ConnectionReady(A)]);
    let outputs = worker.take(A);
    let [Output::Send(Message::Cluster(message)), Output::Connection { handle, .. }] = &outputs[..]
    else {
        panic!("{outputs:?}");
    };
    assert_eq!((message.ack, *handle), (Some(worker.primary_seq), HandleId(worker.handles)));
    assert_eq!(message.body, ClusterBody::Accepted(true));
    assert_eq!(worker.take(A), []);
}

#[test]
fn a_connection_for_an_unknown_server_is_refused_at_once() {
    let mut worker = Worker::new(Config::default());
    let outputs = worker.connect(A);
    assert_eq!(bodies(&outputs), [ClusterBody::Accepted(false)]);
    assert_eq!(outputs[1], Output::CloseHandle(HandleId(worker.handles)));
}

#[test]
fn a_full_server_refuses() {
    let mut worker = Worker::new(Config { queue_limit: 3, ..Config::default() });
    worker.open(A, Some(2));
    worker.connect(A);
    worker.take(A);
    assert_eq!(bodies(&worker.connect(A)), []);
    assert_eq!(bodies(&worker.connect(A)), [ClusterBody::Accepted(false)]);
    worker.input(Input::Ended(A));
    assert_eq!(bodies(&worker.connect(A)), []);

    worker.open(B, None);
    for _ in 0..3 {
        assert_eq!(bodies(&worker.connect(B)), []);
    }
    assert_eq!(bodies(&worker.connect(B)), [ClusterBody::Accepted(false)]);
}

#[test]
fn a_closed_server_tells_first_and_then_refuses_what_waits() {
    let mut worker = Worker::new(Config::default());
    worker.open(A, None);
    worker.connect(A);
    let outputs = worker.input(Input::CloseServer(A));
    assert_eq!(bodies(&outputs), [close(A), ClusterBody::Accepted(false)]);
    assert_eq!(outputs.last(), Some(&Output::Closed(A)));
    assert_eq!(bodies(&worker.connect(A)), [ClusterBody::Accepted(false)]);
}

#[test]
fn a_server_that_is_closed_before_its_answer_is_closed_at_it() {
    let mut worker = Worker::new(Config::default());
    let ack = worker.listen(A, None);
    assert_eq!(worker.input(Input::CloseServer(A)), [Output::Closed(A)]);
    let handle = worker.handle();
    let outputs = worker.primary_says(Some(ack), reply(key(A)), Some(handle.clone()));
    assert_eq!(outputs[0], Output::CloseHandle(handle.id));
    assert_eq!(bodies(&outputs), [close(A)]);
}

#[test]
fn disconnecting_waits_for_connections_then_for_the_ack() {
    let mut worker = Worker::new(Config::default());
    worker.open(A, None);
    worker.open(B, None);
    worker.connect(A);
    worker.take(A);
    let asked = worker.listen(ServerId(3), None);
    let outputs = worker.input(Input::Disconnect);
    assert_eq!(bodies(&outputs), [close(A), close(B)]);
    assert!(outputs.contains(&Output::ListenFailed {
        server: ServerId(3),
        failure: ListenFailure::Disconnected
    }));
    assert_eq!(worker.machine.exited_after_disconnect(), Some(true));
    assert_eq!(worker.machine.state(), State::Disconnecting);
    assert_eq!(worker.input(Input::Disconnect), [], "once is enough");
    // A late answer is given back.
    let outputs = worker.primary_says(Some(asked), reply("late".into()), None);
    assert_eq!(bodies(&outputs), [ClusterBody::Close { key: "late".into() }]);

    let outputs = worker.input(Input::Ended(A));
    let [Output::Send(Message::Cluster(message))] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(message.body, ClusterBody::ExitedAfterDisconnect);
    assert!(worker.machine.is_connected());
    let outputs = worker.primary_says(Some(message.seq), ClusterBody::Ack, None);
    assert_eq!(outputs, [Output::CloseChannel]);
    assert!(!worker.machine.is_connected());
    assert_eq!(worker.input(Input::ChannelClosed), [Output::Disconnected]);
    assert_eq!(worker.machine.state(), State::Disconnected);
}

#[test]
fn a_disconnect_by_the_primary_needs_no_ack() {
    let mut worker = Worker::new(Config::default());
    worker.open(A, None);
    let outputs = worker.primary_says(None, ClusterBody::Disconnect, None);
    assert_eq!(bodies(&outputs), [close(A)]);
    assert_eq!(outputs[1..], [Output::Closed(A), Output::CloseChannel]);

    // Nor does it when it crosses one of our own.
    let mut worker = Worker::new(Config::default());
    assert_eq!(bodies(&worker.input(Input::Disconnect)), [ClusterBody::ExitedAfterDisconnect]);
    let outputs = worker.primary_says(None, ClusterBody::Disconnect, None);
    assert_eq!(outputs, [Output::CloseChannel]);
}

#[test]
fn kill_is_acked_and_exits_with_zero() {
    let mut worker = Worker::new(Config::default());
    worker.open(A, None);
    worker.connect(A);
    worker.take(A);
    let outputs = worker.input(Input::Kill);
    assert_eq!(bodies(&outputs), [close(A), ClusterBody::ExitedAfterDisconnect]);
    assert_eq!(worker.machine.state(), State::Destroying);
    assert_eq!(worker.input(Input::Kill), []);
    let seq = worker.machine.seq - 1;
    assert_eq!(worker.primary_says(Some(seq), ClusterBody::Ack, None), [Output::CloseChannel]);
    let outputs = worker.input(Input::ChannelClosed);
    assert_eq!(outputs, [Output::Disconnected, Output::Exit { code: 0 }]);
    assert_eq!(worker.input(Input::Kill), [Output::Exit { code: 0 }]);
}

#[test]
fn an_orphan_exits_unless_told_otherwise() {
    for exit_when_orphaned in [true, false] {
        let mut worker = Worker::new(Config { exit_when_orphaned, ..Config::default() });
        worker.open(A, None);
        worker.connect(A);
        let outputs = worker.input(Input::ChannelClosed);
        assert_eq!(
            outputs[..3],
            [
                Output::CloseHandle(HandleId(worker.handles)),
                Output::Closed(A),
                Output::Disconnected
            ]
        );
        assert_eq!(outputs.get(3) == Some(&Output::Exit { code: 0 }), exit_when_orphaned);
        assert_eq!(worker.machine.exited_after_disconnect(), Some(false));
        let query = Box::new(ListenOptions::from(0).query().unwrap());
        let outputs = worker.input(Input::Listen { server: B, query, max_connections: None });
        let failure = ListenFailure::Disconnected;
        assert_eq!(outputs, [Output::ListenFailed { server: B, failure }]);
    }
}

#[test]
fn an_answer_that_does_not_come_is_not_awaited_for_ever_if_so_set() {
    let timeout = Mono::from_secs(5);
    let mut worker = Worker::new(Config { answer_timeout: Some(timeout), ..Config::default() });
    worker.input(Input::Disconnect);
    assert_eq!(worker.machine.poll_timeout(), Some(timeout));
    worker.machine.handle_timeout(timeout - Mono::from_nanos(1));
    assert_eq!(worker.outputs(), []);
    worker.machine.handle_timeout(timeout);
    assert_eq!(worker.outputs(), [Output::CloseChannel]);
    assert_eq!(worker.machine.poll_timeout(), None);
}

#[test]
fn a_second_server_of_the_same_key_does_not_close_the_first() {
    let mut worker = Worker::new(Config::default());
    worker.open(A, None);
    let ack = worker.listen(B, None);
    let outputs = worker.primary_says(Some(ack), reply(key(A)), None);
    assert!(matches!(outputs[..], [Output::ListenFailed { server: B, .. }]), "{outputs:?}");
    assert_eq!(worker.connect(A), [Output::ConnectionReady(A)]);
}

#[test]
fn descriptors_beside_what_has_none_are_counted() {
    let mut worker = Worker::new(Config::default());
    worker.open(A, None);
    worker.connect(A);
    worker.connect(B);
    assert_eq!(worker.machine.unexpected_handles(), 0, "a refused connection is none");
    let bodies = [ClusterBody::Ack, ClusterBody::Other { act: "later".into() }];
    for (count, body) in (1..).zip(bodies) {
        let handle = worker.handle();
        let outputs = worker.primary_says(None, body, Some(handle.clone()));
        assert_eq!(outputs, [Output::CloseHandle(handle.id)]);
        assert_eq!(worker.machine.unexpected_handles(), count);
    }
}

#[test]
fn what_it_holds_is_told_to_who_wants_to_know_and_believes_otherwise() {
    let mut worker = Worker::new(Config::default());
    worker.open(ServerId(1), None);
    assert!(!worker.machine.has_to_tell());
    worker.input(Input::Received { message: native::ask_held(), handle: None });
    let tells = |worker: &mut Worker| -> Vec<u32> {
        let outputs = worker.input(Input::TellHeld);
        let held = |output: &Output| match output {
            Output::Send(message) => native::said_held(message),
            _ => None,
        };
        outputs.iter().filter_map(held).collect()
    };
    assert!(worker.machine.has_to_tell());
    assert_eq!(tells(&mut worker), [0]);
    assert_eq!(tells(&mut worker), [0; 0]);
    for _ in 0..2 {
        worker.connect(ServerId(1));
        worker.take(ServerId(1));
    }
    assert_eq!(tells(&mut worker), [0; 0], "the primary has counted what it accepted");
    worker.input(Input::Ended(ServerId(1)));
    assert_eq!(tells(&mut worker), [1]);
    worker.connect(ServerId(1));
    worker.take(ServerId(1));
    worker.input(Input::Ended(ServerId(1)));
    assert_eq!(tells(&mut worker), [1], "it has counted one that is gone again");
}
