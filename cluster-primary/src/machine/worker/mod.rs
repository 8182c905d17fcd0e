//! What the machine knows of one worker.

mod agent;
mod faults;
mod health;
mod phase;
mod probing;
mod sends;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cluster_proto::env::Serialization;
use cluster_proto::{ServerKey, SocketCounts};
use cluster_sched::{LaneState, Mono};

use super::latency::AckLatency;
use crate::agent::AgentReport;
use crate::event::ExitStatus;
use crate::id::{ConnId, ServerId};
use crate::upgrade::text;
use serde::{Deserialize, Serialize};

pub(super) use agent::{Agent, Question};
pub(super) use faults::Faults;
pub(super) use health::Health;
pub(super) use probing::Probing;
pub(crate) use sends::Sends;

/// One of Node's names of a worker's states.
pub(super) type PhaseName = &'static str;

/// A worker whose process or channel is there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Worker {
    pub(super) pid: u32,
    /// See [`WorkerState::slot`].
    pub(super) slot: u32,
    /// The lowest number that no other worker had when it was forked: that of its socket, where it has
    /// one of its own. While a slot changes hands two workers have the slot, and each its seat.
    pub(super) seat: u32,
    /// Node's `worker.state`.
    #[serde(with = "phase")]
    pub(super) phase: PhaseName,
    pub(super) connected: bool,
    /// It speaks the native wire.
    pub(super) native: bool,
    /// How its channel is encoded until then.
    #[serde(default, with = "text::serialization", skip_serializing_if = "is_json")]
    pub(super) serialization: Serialization,
    /// Its channel is about to be closed for what went wrong with it: nothing more is read from it.
    #[serde(skip)]
    pub(super) failed: bool,
    /// What it has done wrong so far.
    #[serde(default, skip_serializing_if = "Faults::is_none")]
    pub(super) faults: Faults,
    /// Users' messages to it whose end is to be reported.
    #[serde(default, skip_serializing_if = "Sends::is_idle")]
    pub(super) sends: Sends,
    pub(super) status: Option<ExitStatus>,
    pub(super) exited_after_disconnect: Option<bool>,
    /// Whether it stands in `cluster.workers`.
    pub(super) listed: bool,
    pub(super) disconnect: Disconnect,
    /// It is only taken out of rotation so far; `disconnect` is not sent before it is asked for.
    #[serde(default)]
    pub(super) retire_only: bool,
    /// The servers that its program has open, by the names that it was told.
    #[serde(default)]
    pub(super) listens: BTreeSet<ServerKey>,
    /// It has closed some of them since that was last looked at.
    #[serde(default)]
    pub(super) closes: bool,
    /// Its channel is to close as soon as it serves nothing any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) channel_closes: bool,
    #[serde(default)]
    pub(super) agent: Agent,
    /// Those that it serves, and those that it asked for and that are being bound.
    pub(super) servers: BTreeMap<ServerId, ServerKey>,
    /// Connections that it took.
    pub(super) connections: u64,
    /// What the dispatcher knows of it, as it is written down. While the machine runs it is empty.
    #[serde(flatten)]
    pub(super) lane: LaneState<ServerId, ConnId>,
    /// Connections in its users' messages.
    pub(super) sockets: Sockets,
    /// What its event loop was asked for, and has not answered.
    pub(super) probes: VecDeque<Probe>,
    /// Whether it answers such.
    #[serde(default, skip_serializing_if = "Probing::is_unknown")]
    pub(super) probing: Probing,
    /// It cannot listen on a socket that it is sent; its runtime's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cannot_listen: Option<String>,
    /// It had a slot that was on, and so may have accepted connections by itself.
    pub(super) had_slot: bool,
    /// Since when it has not answered whether it is there.
    pub(super) asked_at: Option<Mono>,
    /// When it last did.
    pub(super) answered_at: Option<Mono>,
    #[serde(default)]
    pub(super) health: Health,
    #[serde(default)]
    pub(super) latency: AckLatency,
}

/// What is known of connections that went beside users' messages.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Sockets {
    /// Those that the worker sent, and counts.
    pub(super) held: SocketCounts,
    /// Keys whose counts the user waits for.
    pub(super) counting: BTreeSet<String>,
    /// Keys of which the user waits for the last to close.
    pub(super) closing: BTreeSet<String>,
}

/// Older versions did not write the usual encoding down.
fn is_json(serialization: &Serialization) -> bool {
    *serialization == Serialization::Json
}

/// How far the primary's `disconnect` of a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Disconnect {
    No,
    /// It is told once it has answered for every hand-off, and serves nothing.
    WhenAnswered,
    /// It has; its event loop is given one more turn to hear what its connections have to say.
    Probing,
    /// It is out of rotation and has answered for everything; it has not been told.
    Retired,
    Told,
}

/// Why a worker's event loop is asked to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Probe {
    /// It is about to disconnect, and is to hear what its connections have to say first.
    Leaving,
    /// Connections wait in its queue.
    Queue,
    /// It has not been heard of for a while.
    Health,
}

impl Worker {
    pub(super) fn new(pid: u32, slot: u32, seat: u32, serialization: Serialization) -> Self {
        Self {
            pid,
            slot,
            seat,
            phase: "none",
            connected: true,
            native: false,
            serialization,
            failed: false,
            faults: Faults::default(),
            sends: Sends::default(),
            status: None,
            exited_after_disconnect: None,
            listed: true,
            disconnect: Disconnect::No,
            retire_only: false,
            listens: BTreeSet::new(),
            closes: false,
            channel_closes: false,
            agent: Agent::default(),
            servers: BTreeMap::new(),
            connections: 0,
            lane: LaneState::default(),
            sockets: Sockets::default(),
            probes: VecDeque::new(),
            probing: Probing::Unknown,
            cannot_listen: None,
            had_slot: false,
            asked_at: None,
            answered_at: None,
            health: Health::default(),
            latency: AckLatency::default(),
        }
    }

    /// Whether it has ever said anything on its channel.
    pub(super) fn has_spoken(&self) -> bool {
        self.phase != "none" || self.health.has_been_heard()
    }

    pub(super) fn may_listen(&self) -> bool {
        self.connected && !self.channel_closes && self.exited_after_disconnect != Some(true)
    }

    /// It has so many hand-offs `in_flight`, and holds as many connections as it reports.
    pub(super) fn state(&self, in_flight: usize, held: Option<u32>) -> WorkerState {
        WorkerState {
            pid: self.pid,
            slot: self.slot,
            state: self.phase,
            connected: self.connected,
            native: self.native,
            dead: self.status.is_some(),
            exited_after_disconnect: self.exited_after_disconnect,
            connections: self.connections,
            in_flight: u32::try_from(in_flight).unwrap_or(u32::MAX),
            held,
            responsive: !self.health.is_silent(),
            agent: self.agent.report(),
            ack_latency: self.latency,
        }
    }
}

/// What is known of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerState {
    /// Its process id.
    pub pid: u32,
    /// Its place among the workers, from 0: the one that it was forked for
    /// ([`Primary::fork_in`](crate::Primary::fork_in)), else the lowest that was free. Who replaces
    /// it takes the same one, and with it what goes by places (clients that stick, say). Two workers
    /// have one slot while the successor is there and its predecessor has not gone.
    pub slot: u32,
    /// Node's `worker.state`: `none`, `online`, `listening`, `disconnected` or `dead`.
    pub state: &'static str,
    /// Whether its channel is open (`isConnected()`).
    pub connected: bool,
    /// Whether it speaks the native wire, as the crate `cluster-worker` does.
    pub native: bool,
    /// Whether its process has ended (`isDead()`).
    pub dead: bool,
    /// Whether it was meant to go; `None` as long as it has not gone, nor was told to.
    pub exited_after_disconnect: Option<bool>,
    /// Connections that it took from the primary.
    pub connections: u64,
    /// Connections that were sent to it and for which it has not answered.
    pub in_flight: u32,
    /// Connections that it holds open, if that is known: Rust workers tell it where loads count
    /// ([`PolicyName::LeastConnections`](crate::PolicyName::LeastConnections)), Node workers by
    /// their [agent](crate::agent).
    pub held: Option<u32>,
    /// Whether it answers, as far as is known ([`Event::Unresponsive`](crate::Event::Unresponsive)).
    pub responsive: bool,
    /// What its [agent](crate::agent) reported last, if it has one.
    pub agent: Option<AgentReport>,
    /// How long it took to answer for connections.
    pub ack_latency: AckLatency,
}
