//! What a primary's surroundings know: the model that the machine is compared with.

use std::collections::{BTreeMap, BTreeSet};

use super::Step;
use cluster_primary::machine::{Config, Event as Told, Handle, Input, Machine, Output};
use cluster_primary::proto::{ClusterBody, HandleKind, ListenQuery, Message};
use cluster_primary::{ConnId, HandleId, Mono, RequestId, SendId, ServerId, Settings, WorkerId};

#[derive(Default)]
pub(super) struct Worker {
    pub(super) connected: bool,
    pub(super) exited: bool,
    pub(super) told_exit: bool,
    pub(super) told_disconnect: bool,
    /// The user wants it to disconnect.
    pub(super) to_go: bool,
    /// The user wants it out of rotation.
    pub(super) retiring: bool,
    /// Either side said so.
    pub(super) leaving: bool,
    /// It was sent `disconnect`.
    pub(super) sent_away: bool,
    pub(super) seq: u64,
    /// Keys that it was told.
    pub(super) keys: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Place {
    /// With the primary alone.
    Here,
    /// On its way to that worker, or there and not answered for.
    With(WorkerId, u64),
    /// That worker has said that it takes it.
    Taken(WorkerId),
    Gone,
}

pub(super) struct World {
    pub(super) machine: Machine,
    pub(super) settings: Settings,
    pub(super) now: Mono,
    pub(super) history: Vec<Step>,
    pub(super) outputs: Vec<String>,
    pub(super) workers: BTreeMap<WorkerId, Worker>,
    pub(super) conns: BTreeMap<ConnId, Place>,
    /// Queries that await an answer.
    pub(super) asked: BTreeSet<(WorkerId, u64)>,
    pub(super) binding: Vec<ServerId>,
    pub(super) open: BTreeSet<ServerId>,
    pub(super) closed: BTreeSet<ServerId>,
    /// Sockets that the machine wants closed, and whether what waits there is wanted first.
    pub(super) closing: BTreeMap<ServerId, bool>,
    /// Servers that are, or were, served to the last connection.
    pub(super) drained: BTreeSet<ServerId>,
    /// Workers whose event loops are to answer, and how often.
    pub(super) probing: BTreeMap<WorkerId, u32>,
    /// Workers whose unanswered probes the machine wants looked at.
    pub(super) looking: BTreeSet<WorkerId>,
    /// Workers that answer no probe, as the machine has learned.
    pub(super) ignoring: BTreeSet<WorkerId>,
    /// Sockets of slots: those that are to be made, and those that are there, with what waits.
    pub(super) opening: BTreeSet<(ServerId, u32)>,
    pub(super) queues: BTreeMap<(ServerId, Option<u32>), u32>,
    pub(super) on: BTreeSet<(ServerId, u32)>,
    /// Servers whose queues are to be looked at.
    pub(super) looks: BTreeSet<ServerId>,
    /// What workers asked, and what they have to say once they listen.
    pub(super) queries: BTreeMap<(WorkerId, u64), ListenQuery>,
    pub(super) to_listen: Vec<(WorkerId, ListenQuery)>,
    /// Descriptors that the machine has to let go of.
    pub(super) handles: BTreeSet<HandleId>,
    pub(super) last_handle: u64,
    /// Connections that each worker counts.
    pub(super) sockets: BTreeMap<WorkerId, u64>,
    /// Questions about connections (`true`: when the last closes) that may be answered.
    pub(super) socket_answers: BTreeSet<(WorkerId, bool)>,
    /// Users' messages and requests of whose end nothing is told yet.
    pub(super) reported: BTreeSet<(WorkerId, SendId)>,
    /// By which the worker answers.
    pub(super) requested: BTreeMap<(WorkerId, RequestId), u64>,
    /// Workers whose queues are full.
    pub(super) pressed: BTreeSet<WorkerId>,
    pub(super) disconnect_alls: u32,
    pub(super) disconnecteds: u32,
    pub(super) handed_over: u64,
    pub(super) shed: u64,
    pub(super) frozen: bool,
}

pub(super) const SEED: u64 = 5;

pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl Bytes<'_> {
    pub(super) fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let nth = usize::from(self.next());
        (!from.is_empty()).then(|| from[nth % from.len()])
    }
}

pub(super) fn text(output: &Output) -> String {
    match output {
        Output::Event(Told::Setup { .. }) => "setup".into(),
        other => format!("{other:?}"),
    }
}

impl World {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            machine: Machine::new(Config::from(&settings), SEED),
            settings,
            now: Mono::ZERO,
            history: Vec::new(),
            outputs: Vec::new(),
            workers: BTreeMap::new(),
            conns: BTreeMap::new(),
            asked: BTreeSet::new(),
            binding: Vec::new(),
            open: BTreeSet::new(),
            closed: BTreeSet::new(),
            closing: BTreeMap::new(),
            drained: BTreeSet::new(),
            probing: BTreeMap::new(),
            looking: BTreeSet::new(),
            ignoring: BTreeSet::new(),
            opening: BTreeSet::new(),
            queues: BTreeMap::new(),
            on: BTreeSet::new(),
            looks: BTreeSet::new(),
            queries: BTreeMap::new(),
            to_listen: Vec::new(),
            handles: BTreeSet::new(),
            last_handle: 0,
            sockets: BTreeMap::new(),
            socket_answers: BTreeSet::new(),
            reported: BTreeSet::new(),
            requested: BTreeMap::new(),
            pressed: BTreeSet::new(),
            disconnect_alls: 0,
            disconnecteds: 0,
            handed_over: 0,
            shed: 0,
            frozen: false,
        }
    }

    pub(super) fn worker(&self, bytes: &mut Bytes<'_>) -> Option<WorkerId> {
        bytes.pick(&self.workers.keys().copied().collect::<Vec<_>>())
    }

    pub(super) fn handle(&mut self, kind: HandleKind) -> Handle {
        self.last_handle += 1;
        self.handles.insert(HandleId(self.last_handle));
        Handle { id: HandleId(self.last_handle), kind, key: None }
    }

    pub(super) fn in_flight(&self) -> Vec<(ConnId, WorkerId, u64)> {
        let with = |(conn, place): (&ConnId, &Place)| match place {
            Place::With(worker, seq) => Some((*conn, *worker, *seq)),
            _ => None,
        };
        self.conns.iter().filter_map(with).collect()
    }

    /// Whether a slot of that worker's is on.
    pub(super) fn is_on(&self, worker: WorkerId) -> bool {
        let slot = self.machine.worker(worker).map(|state| state.slot);
        self.on.iter().any(|(_, on)| Some(*on) == slot)
    }

    pub(super) fn says(&mut self, worker: WorkerId, ack: Option<u64>, body: ClusterBody) -> u64 {
        let known = self.workers.get_mut(&worker).expect("only known ones say anything");
        let seq = known.seq;
        known.seq += 1;
        let message = Message::cluster(seq, ack, body);
        self.input(Input::Received { worker, message, handle: None, arrived: true });
        seq
    }
}
