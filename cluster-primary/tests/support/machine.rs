//! A primary's machine, with the driver's part and the workers' played by the test.
//!
//! What comes out is written as short lines, so that a test reads like a recording:
//! `to 1: newconn KEY conn 5`, `bind server 1`, `event: online 1`.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::collections::{BTreeMap, VecDeque};

use cluster_primary::machine::{
    self, Bound, Config, ConnOutcome, Input, Machine, Output, SendHandle,
};
use cluster_primary::proto::{
    AddressType, ClusterBody, ClusterMessage, Family, Field, HandleKind, ListenQuery, Message,
    SockName,
};
use cluster_primary::{ConnId, Event, ExitStatus, Mono, ServerId, Settings, WorkerId};

/// The port that the played driver binds where 0 is asked for.
pub(crate) const BOUND_PORT: u16 = 4321;

/// A machine, and what the test has to remember to play along.
pub(crate) struct Cluster {
    pub(crate) machine: Machine,
    pub(crate) now: Mono,
    /// The `seq` of each worker's next message.
    seqs: BTreeMap<WorkerId, u64>,
    last_conn: u64,
    pub(crate) last_server: u32,
    /// Where each connection was last sent, and the `seq` that the answer has to name.
    pub(crate) sent: BTreeMap<ConnId, (WorkerId, u64)>,
    /// What a driver says to what the machine wanted.
    answers: VecDeque<Input>,
    /// The played driver cannot make sockets for slots.
    pub(crate) refuse_slots: bool,
    /// Workers do not answer when they are probed.
    pub(crate) mute_probes: bool,
    /// They read them all the same.
    pub(crate) reads_probes: bool,
}

impl Cluster {
    /// With one connection at a time under way to each worker.
    pub(crate) fn new() -> Self {
        let mut settings = Settings::new("app");
        settings.limits.max_window = 1;
        Self::with(settings)
    }

    pub(crate) fn with(settings: Settings) -> Self {
        Self {
            machine: Machine::new(Config::from(&settings), 7),
            now: Mono::ZERO,
            seqs: BTreeMap::new(),
            last_conn: 0,
            last_server: 0,
            sent: BTreeMap::new(),
            answers: VecDeque::new(),
            refuse_slots: false,
            mute_probes: false,
            reads_probes: false,
        }
    }

    /// Gives the machine an input; what comes out of it.
    pub(crate) fn input(&mut self, input: Input) -> Vec<String> {
        self.machine.handle_input(self.now, input);
        self.drain()
    }

    pub(crate) fn wait(&mut self, time: Mono) -> Vec<String> {
        self.now += time;
        self.machine.handle_timeout(self.now);
        self.drain()
    }

    pub(crate) fn drain(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(output) = self.machine.poll_output() {
            match &output {
                Output::Send {
                    worker,
                    message: Message::Cluster(ClusterMessage { seq, .. }),
                    handle: Some(SendHandle::Conn { conn }),
                } => {
                    self.sent.insert(*conn, (*worker, *seq));
                }
                Output::Bind { server, .. } | Output::BindSlots { server, .. } => {
                    self.last_server = server.0;
                }
                Output::OpenSlot { server, slot } => self.answers.push_back(Input::SlotOpened {
                    server: *server,
                    slot: *slot,
                    result: if self.refuse_slots { Err(-24) } else { Ok(()) },
                }),
                // As the driver does it: at once.
                Output::CloseServer { server, .. } => {
                    self.answers.push_back(Input::Closed { server: *server });
                }
                Output::Probe { worker } if !self.mute_probes => {
                    self.answers.push_back(Input::Probed { worker: *worker });
                }
                Output::LookAtProbe { worker } => {
                    let (worker, read) = (*worker, Some(self.reads_probes));
                    self.answers.push_back(Input::ProbeLooked { worker, read });
                }
                _ => {}
            }
            lines.push(line(&output));
        }
        if let Some(answer) = self.answers.pop_front() {
            lines.extend(self.input(answer));
        }
        lines
    }

    /// Forks a worker that is online.
    pub(crate) fn fork(&mut self) -> WorkerId {
        let worker = self.machine.next_worker();
        self.input(Input::Forked { worker, pid: 1000 + worker.0, slot: None });
        self.says(worker, ClusterBody::Online);
        worker
    }

    /// A worker's message.
    pub(crate) fn says(&mut self, worker: WorkerId, body: ClusterBody) -> Vec<String> {
        let seq = self.seq(worker);
        let message = Message::cluster(seq, None, body);
        self.input(Input::Received { worker, message, handle: None, arrived: true })
    }

    /// A worker's answer.
    pub(crate) fn answers(&mut self, worker: WorkerId, ack: u64, body: ClusterBody) -> Vec<String> {
        let seq = self.seq(worker);
        let message = Message::cluster(seq, Some(ack), body);
        self.input(Input::Received { worker, message, handle: None, arrived: true })
    }

    fn seq(&mut self, worker: WorkerId) -> u64 {
        let seq = self.seqs.entry(worker).or_default();
        *seq += 1;
        *seq - 1
    }

    /// A worker asks to listen.
    pub(crate) fn asks(&mut self, worker: WorkerId, query: ListenQuery) -> Vec<String> {
        self.says(worker, ClusterBody::QueryServer(Box::new(query)))
    }

    /// The driver could bind the server.
    pub(crate) fn bound(&mut self, server: ServerId) -> Vec<String> {
        let sockname =
            SockName { address: "127.0.0.1".into(), family: Family::Ipv4, port: BOUND_PORT };
        let bound = Bound { sockname: Some(sockname), kind: HandleKind::NetNative };
        self.input(Input::Bound { server, result: Ok(bound) })
    }

    /// The driver could not.
    pub(crate) fn not_bound(&mut self, server: ServerId, errno: i32) -> Vec<String> {
        self.input(Input::Bound { server, result: Err(errno) })
    }

    /// The worker serves that port, the socket being made if there is none. The server of the last
    /// socket that was made.
    pub(crate) fn serves(&mut self, worker: WorkerId, port: i32) -> ServerId {
        let lines = self.asks(worker, tcp(port));
        let server = ServerId(self.last_server);
        if lines.iter().any(|line| line.starts_with("bind")) {
            self.bound(server);
        }
        server
    }

    /// A client connects.
    pub(crate) fn connects(&mut self, server: ServerId) -> (ConnId, Vec<String>) {
        self.last_conn += 1;
        let conn = ConnId(self.last_conn);
        (conn, self.input(Input::Accepted { server, conn, client: None }))
    }

    /// The worker that was sent the connection takes it.
    pub(crate) fn takes(&mut self, conn: ConnId) -> Vec<String> {
        let (worker, seq) = self.sent[&conn];
        self.answers(worker, seq, ClusterBody::Accepted(true))
    }

    /// The worker that was sent the connection refuses it.
    pub(crate) fn refuses(&mut self, conn: ConnId) -> Vec<String> {
        let (worker, seq) = self.sent[&conn];
        self.answers(worker, seq, ClusterBody::Accepted(false))
    }

    pub(crate) fn closes_channel(&mut self, worker: WorkerId) -> Vec<String> {
        self.input(Input::ChannelClosed { worker })
    }

    pub(crate) fn exits(&mut self, worker: WorkerId) -> Vec<String> {
        self.input(Input::Exited { worker, status: ExitStatus::Code(0) })
    }

    pub(crate) fn workers(&self) -> Vec<u32> {
        self.machine.workers().map(|w| w.0).collect()
    }
}

/// `listen(port, '127.0.0.1')`.
pub(crate) fn tcp(port: i32) -> ListenQuery {
    ListenQuery {
        address: Field::Is("127.0.0.1".into()),
        port: Field::Is(port),
        address_type: Field::Is(AddressType::Tcp4),
        flags: Field::Is(0),
        ..ListenQuery::default()
    }
}

/// The same, as the worker's `index`th on that address.
pub(crate) fn tcp_again(port: i32, index: u32) -> ListenQuery {
    ListenQuery { index, ..tcp(port) }
}

/// The key of [`tcp`] for a port that is not 0.
pub(crate) fn key(port: i32) -> String {
    format!("127.0.0.1:{port}:4:undefined")
}

fn line(output: &Output) -> String {
    match output {
        Output::Send { worker, message, handle } => {
            let handle = match handle {
                None => String::new(),
                Some(SendHandle::Conn { conn }) => format!(" conn {}", conn.0),
                Some(SendHandle::Server { server, kind }) => {
                    format!(" with server {} as {kind}", server.0)
                }
                Some(SendHandle::Slot { server, slot, kind }) => {
                    format!(" with slot {slot} of server {} as {kind}", server.0)
                }
            };
            format!("to {worker}: {}{handle}", said(message))
        }
        Output::Bind { server, shared: false, .. } => format!("bind server {}", server.0),
        Output::Bind { server, shared: true, .. } => format!("bind shared server {}", server.0),
        Output::BindSlots { server, choice, .. } => format!("bind server {} by {choice}", server.0),
        Output::OpenSlot { server, slot } => format!("open slot {slot} of server {}", server.0),
        Output::Slot { server, slot, on: true, .. } => {
            format!("slot {slot} of server {} on", server.0)
        }
        Output::Slot { server, slot, .. } => format!("slot {slot} of server {} off", server.0),
        Output::Look { server } => format!("look at server {}", server.0),
        Output::Rescue { server, slot: Some(slot), most } => {
            format!("rescue {most} from slot {slot} of server {}", server.0)
        }
        Output::Rescue { server, slot: None, most } => {
            format!("rescue {most} from the room of server {}", server.0)
        }
        Output::CloseServer { server, accept_rest: false } => format!("close server {}", server.0),
        Output::CloseServer { server, accept_rest: true } => {
            format!("accept the rest, close server {}", server.0)
        }
        Output::Probe { worker } => format!("probe {worker}"),
        Output::LookAtProbe { worker } => format!("look at the probe of {worker}"),
        Output::AbandonProbe { worker } => format!("abandon the probe of {worker}"),
        Output::DropConn { conn, why: ConnOutcome::HandedOver { .. } } => {
            format!("conn {} handed over", conn.0)
        }
        Output::DropConn { conn, why: ConnOutcome::Shed(why) } => {
            format!("conn {} shed: {why}", conn.0)
        }
        Output::AbortChannel { worker } => format!("abort channel {worker}"),
        Output::CloseHandle { handle } => format!("close handle {}", handle.0),
        Output::Event(event) => format!("event: {}", told(event)),
        other => format!("{other:?}"),
    }
}

fn said(message: &Message) -> String {
    let Message::Cluster(ClusterMessage { ack, body, .. }) = message else {
        return format!("{message:?}");
    };
    let ack = ack.map_or(String::new(), |ack| format!("ack {ack} "));
    let body = match body {
        ClusterBody::NewConn { key } => format!("newconn {key}"),
        ClusterBody::Disconnect => "disconnect".into(),
        ClusterBody::Ack => String::new(),
        ClusterBody::ListenReply(reply) => {
            let mut text = match reply.errno {
                None => format!("key {}", reply.key),
                Some(errno) => format!("errno {errno} key {}", reply.key),
            };
            if let Some(name) = &reply.sockname {
                text += &format!(" port {}", name.port);
            }
            if let Some(data) = reply.data.as_str() {
                text += &format!(" data {data}");
            }
            text
        }
        other => format!("{other:?}"),
    };
    format!("{ack}{body}").trim_end().to_owned()
}

fn told(event: &machine::Event) -> String {
    let event = match event {
        machine::Event::Plain(event) => event,
        machine::Event::Setup { .. } => return "setup".into(),
        machine::Event::Message { worker, message, handle } => {
            let handle = handle.as_ref().map_or(String::new(), |h| format!(" with {}", h.kind));
            return format!(
                "message {worker} {}{handle}",
                message.as_str().as_deref().unwrap_or("?")
            );
        }
        _ => return "?".into(),
    };
    match event {
        Event::Fork { worker, .. } => format!("fork {worker}"),
        Event::Online { worker } => format!("online {worker}"),
        Event::Listening { worker, address, .. } => format!("listening {worker} {address}"),
        Event::ListenFailed { worker, address, error, .. } => {
            let errno = error.raw_os_error().unwrap_or_default();
            format!("listen failed {worker} {address} errno {errno}")
        }
        Event::Error { worker, error } => format!("error {worker} {}", error.code()),
        Event::Disconnect { worker, exited_after_disconnect } => {
            format!("disconnect {worker} meant: {exited_after_disconnect}")
        }
        Event::Exit { worker, status, exited_after_disconnect, .. } => {
            format!("exit {worker} {status} meant: {exited_after_disconnect}")
        }
        Event::Unresponsive { worker, .. } => format!("unresponsive {worker}"),
        Event::HandsOver { address, runtime } => format!("hands over {address}: {runtime}"),
        Event::Responsive { worker } => format!("responsive {worker}"),
        Event::Disconnected => "disconnected".into(),
        Event::Fallback { address, instead, .. } => {
            format!("fallback {address} {}", instead.as_str())
        }
        _ => "?".into(),
    }
}
