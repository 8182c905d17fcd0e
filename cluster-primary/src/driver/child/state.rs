//! A worker's process, channel and pipes, written down, and taken up.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};

use cluster_ipc::{Channel, ChannelState, Parts, Socket};
use cluster_proto::env::Serialization;
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use serde::{Deserialize, Serialize};

use super::super::agent::{AgentPipes, AgentPipesState};
use super::super::process::Process;
use super::super::rights::Rights;
use super::super::starting::{Start, StartState};
use super::super::tokens::{Source, Tokens};
use super::Child;
use crate::id::WorkerId;
use crate::machine::Sends;
use crate::upgrade::{Arriving, Leaving, StateError, text};

/// What there is of a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) struct ChildState {
    #[serde(with = "text::serialization")]
    serialization: Serialization,
    /// Until it has been waited for.
    pid: Option<u32>,
    channel: Option<Line>,
    /// By their numbers in the worker.
    pipes: BTreeMap<u32, usize>,
    #[serde(default)]
    agent: Option<AgentPipesState>,
    closing: bool,
    blocked: bool,
    /// The machine's.
    sends: Sends,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start: Option<StartState>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rights: Option<Rights>,
}

/// A channel: what it knows, its socket, and its handles.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    socket: usize,
    state: ChannelState,
    handles: Vec<usize>,
}

/// A [`ChildState`] with its descriptors.
pub(in super::super) struct Unpacked {
    state: ChildState,
    channel: Option<Parts<Socket>>,
    pipes: BTreeMap<u32, OwnedFd>,
    agent: Option<AgentPipes>,
    start: Option<Start>,
}

impl Child {
    pub(in super::super) fn state(
        &mut self,
        sends: Sends,
        leaving: &mut Leaving,
    ) -> Result<ChildState, StateError> {
        let channel = self.channel.as_mut().map(|channel| {
            let socket = leaving.place(&*channel)?;
            let (state, handles) = channel.state();
            let handles = handles.into_iter().map(|handle| leaving.place(handle));
            Ok(Line { socket, state, handles: handles.collect::<Result<_, StateError>>()? })
        });
        let channel = channel.transpose()?;
        let pipes = self.pipes.iter().map(|(fd, pipe)| Ok((*fd, leaving.place(pipe)?)));
        Ok(ChildState {
            serialization: self.serialization,
            pid: self.process.as_ref().map(Process::pid),
            channel,
            pipes: pipes.collect::<Result<_, StateError>>()?,
            agent: self.agent.as_ref().map(|agent| agent.state(leaving)).transpose()?,
            closing: self.closing,
            blocked: self.blocked,
            sends,
            start: self.start.as_ref().map(|start| start.state(leaving)).transpose()?,
            // Those of the primary need not be written down.
            rights: self.rights.clone().filter(Rights::differ),
        })
    }
}

impl ChildState {
    /// What the machine has to know of it.
    pub(in super::super) fn for_machine(&mut self) -> (Sends, Serialization) {
        (std::mem::take(&mut self.sends), self.serialization)
    }

    /// Takes its descriptors.
    pub(in super::super) fn unpack(
        mut self,
        arriving: &mut Arriving,
    ) -> Result<Unpacked, StateError> {
        let channel = self.channel.take().map(|Line { socket, state, handles }| {
            let transport = Socket::from_fd(arriving.take(socket)?)
                .map_err(StateError::system("socket of a channel"))?;
            let handles = handles.into_iter().map(|place| arriving.share(place));
            Ok(Parts { transport, state, handles: handles.collect::<Result<_, StateError>>()? })
        });
        let channel = channel.transpose()?;
        let pipes = std::mem::take(&mut self.pipes).into_iter();
        let pipes = pipes.map(|(fd, place)| Ok((fd, arriving.take(place)?)));
        let pipes = pipes.collect::<Result<_, StateError>>()?;
        let agent = self.agent.take().map(|agent| AgentPipes::from_state(agent, arriving));
        let agent = agent.transpose()?;
        let start =
            self.start.take().map(|start| Start::from_state(start, arriving)).transpose()?;
        Ok(Unpacked { state: self, channel, pipes, agent, start })
    }
}

impl Unpacked {
    /// Puts it together, and watches it.
    pub(in super::super) fn into_child(
        self,
        id: WorkerId,
        registry: &Registry,
        tokens: &mut Tokens,
    ) -> Result<Child, StateError> {
        let Self { state, channel, pipes, mut agent, start } = self;
        let channel = channel.map(|parts| {
            let put_together = Channel::from_parts(parts);
            let mut channel = put_together
                .map_err(|no| StateError::Channel { worker: id, error: no.error.clone() })?;
            channel.receive_encoded();
            // What an earlier read found may be long ago.
            channel.note_readable(false);
            let interest = Interest::READABLE | Interest::WRITABLE;
            registry
                .register(&mut channel, tokens.token(Source::Channel(id)), interest)
                .map_err(StateError::system("watch on a channel"))?;
            Ok(channel)
        });
        let process = state.pid.map(|pid| {
            Process::watch_again(pid, registry, tokens.token(Source::Process(id)))
                .map_err(StateError::system("watch on a process"))
        });
        for (fd, pipe) in pipes.iter().filter(|(fd, _)| **fd != 0) {
            let token = tokens.token(Source::Pipe(id, *fd));
            registry
                .register(&mut SourceFd(&pipe.as_raw_fd()), token, Interest::READABLE)
                .map_err(StateError::system("watch on a pipe"))?;
        }
        if let Some(agent) = &mut agent {
            agent
                .register(registry, tokens.token(Source::Agent(id)))
                .map_err(StateError::system("watch on the socket of an agent"))?;
        }
        if let Some(start) = &start {
            start
                .register(registry, tokens.token(Source::Start(id)))
                .map_err(StateError::system("watch on the start of a worker"))?;
        }
        Ok(Child {
            start,
            rights: state.rights,
            serialization: state.serialization,
            channel: channel.transpose()?,
            process: process.transpose()?,
            pipes: pipes.into_iter().map(|(fd, pipe)| (fd, pipe.into())).collect(),
            agent,
            closing: state.closing,
            held: false,
            blocked: state.blocked,
            unread: None,
            look_again: None,
            untaken: crate::driver::untaken::Untaken::default(),
            is_recognised: false,
            blocks: false,
        })
    }
}
