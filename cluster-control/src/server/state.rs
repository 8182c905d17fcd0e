//! The control API, written down, and taken up.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;

use cluster_proto::Value;
use mio::net::UnixListener;
use mio::{Events, Interest, Poll, Token};
use serde::{Deserialize, Serialize};

use super::{ControlServer, EVENTS, LISTENER, MAX_HANDED_OVER, Waiter};
use crate::backlog::Backlog;
use crate::command::{CommandId, ControlCommand};
use crate::session::{Session, SessionState};
use cluster_primary::embed::{Clock, Closer, SocketFile};
use cluster_primary::upgrade::{self, Arriving, Frozen, Leaving, StateError};

/// What its text says that it is.
const KIND: &str = "control";

/// All that a [`ControlServer`] holds.
#[derive(Debug, Serialize, Deserialize)]
struct ControlState {
    listener: usize,
    file: SocketFile,
    clients: BTreeMap<usize, SessionState>,
    last_client: usize,
    first_client: Option<usize>,
    disconnecting: Vec<WaiterState>,
    #[serde(rename = "takes_orders")]
    accepts_commands: bool,
    #[serde(rename = "last_order")]
    last_command: u64,
    #[serde(rename = "orders")]
    commands: VecDeque<(CommandId, ControlCommand)>,
    #[serde(rename = "ordered")]
    unanswered: BTreeMap<CommandId, (usize, Option<Id>)>,
    has_program: bool,
    stop: bool,
    ending: bool,
    first_is_gone: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct WaiterState {
    client: usize,
    id: Option<Id>,
    round: u64,
}

/// What to answer to. (It may be `null`, which is not the same as nothing.)
#[derive(Debug, Serialize, Deserialize)]
struct Id {
    id: Value,
}

impl Id {
    fn of(id: &Option<Value>) -> Option<Self> {
        id.clone().map(|id| Self { id })
    }
}

impl ControlServer {
    /// Everything that it holds, written down for the next image of this process (see
    /// [`upgrade`](cluster_primary::upgrade)): its socket, its clients with what they have said and not heard
    /// yet, and the commands that are not answered. It goes on as before, except that clients that are far
    /// behind are cut off, so that they do not hold up the upgrade.
    ///
    /// # Errors
    /// [`StateError`] if a descriptor cannot be duplicated.
    pub fn state(&mut self) -> Result<Frozen, StateError> {
        while self.clients.values().map(Session::queued).sum::<usize>() > MAX_HANDED_OVER
            && self.cut_off_furthest(MAX_HANDED_OVER)
        {}
        let mut leaving = Leaving::default();
        let mut clients = BTreeMap::new();
        for (id, client) in &self.clients {
            clients.insert(*id, client.state(&mut leaving)?);
        }
        let unanswered = self.unanswered.iter();
        let unanswered =
            unanswered.map(|(command, (client, to))| (*command, (*client, Id::of(to))));
        let disconnecting = self.disconnecting.iter().map(|Waiter { client, id, round }| {
            WaiterState { client: *client, id: Id::of(id), round: *round }
        });
        let state = ControlState {
            listener: leaving.place(&self.listener)?,
            file: self.file.clone(),
            clients,
            last_client: self.last_client,
            first_client: self.first_client,
            disconnecting: disconnecting.collect(),
            accepts_commands: self.accepts_commands,
            last_command: self.last_command,
            commands: self.commands.clone(),
            unanswered: unanswered.collect(),
            has_program: self.has_program,
            stop: self.stop,
            ending: self.ending,
            first_is_gone: self.first_is_gone,
        };
        Ok(Frozen { text: upgrade::write(KIND, &state)?, fds: leaving.into_fds() })
    }

    /// Takes up what another image of this process has [written down](Self::state), with the
    /// descriptors in the same order. Nothing is read or written yet.
    ///
    /// # Errors
    /// [`StateError`]; the descriptors are closed then, and nothing else has changed.
    pub fn from_state(text: &str, fds: Vec<OwnedFd>) -> Result<Self, StateError> {
        let state: ControlState = upgrade::read(KIND, text)?;
        state.check()?;
        let mut arriving = Arriving::new(fds)?;
        let poll = Poll::new().map_err(StateError::system("poll"))?;
        let listener = arriving.take(state.listener)?;
        let mut listener = UnixListener::from_std(listener.into());
        let watch = |error| StateError::System { what: "watch on the control socket", error };
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE).map_err(watch)?;
        let backlog = Backlog::default();
        let mut clients = BTreeMap::new();
        for (id, client) in state.clients {
            let mut client = Session::from_state(client, &mut arriving, &backlog)?;
            let both = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(client.stream(), Token(id), both).map_err(watch)?;
            clients.insert(id, client);
        }
        let unanswered = state.unanswered.into_iter();
        let unanswered =
            unanswered.map(|(command, (client, to))| (command, (client, to.map(|to| to.id))));
        let disconnecting = state.disconnecting.into_iter();
        let disconnecting = disconnecting.map(|WaiterState { client, id, round }| Waiter {
            client,
            id: id.map(|id| id.id),
            round,
        });
        Ok(Self {
            poll,
            ready: Events::with_capacity(EVENTS),
            listener,
            file: state.file,
            // Whatever may be ready.
            pending: clients.keys().copied().collect(),
            more_clients: true,
            accept_again: false,
            accept_pauses: None,
            full: false,
            closer: Closer::default(),
            clients,
            last_client: state.last_client,
            first_client: state.first_client,
            disconnecting: disconnecting.collect(),
            accepts_commands: state.accepts_commands,
            last_command: state.last_command,
            commands: state.commands,
            unanswered: unanswered.collect(),
            has_program: state.has_program,
            stop: state.stop,
            no_forks: None,
            ending: state.ending,
            first_is_gone: state.first_is_gone,
            abandoned: false,
            clock: Clock::start(),
            backlog,
        })
    }

    /// Closes its descriptors and leaves everything else as it is: its file stays, and clients hear
    /// no last words. For a copy that was only a trial, and for what another has taken over.
    pub fn abandon(mut self) {
        self.abandoned = true;
    }
}

impl ControlState {
    fn check(&self) -> Result<(), StateError> {
        let no = |what: &str| Err(StateError::contradiction(what));
        if self.clients.keys().any(|id| *id > self.last_client) || self.last_client == LISTENER.0 {
            return no("a client comes after the last one");
        }
        if self.unanswered.keys().any(|CommandId(id)| *id > self.last_command) {
            return no("a command comes after the last one");
        }
        let waiting = self.disconnecting.iter().map(|waiter| waiter.client);
        let waiting_for_answers = self.unanswered.values().map(|(client, _)| *client);
        let mut answers = BTreeMap::new();
        for client in waiting.chain(waiting_for_answers) {
            *answers.entry(client).or_insert(0) += 1;
        }
        let awaits = self.clients.iter().filter(|(_, client)| client.awaits() > 0);
        if !answers.into_iter().eq(awaits.map(|(id, client)| (*id, client.awaits()))) {
            return no("clients do not wait for the answers that are owed to them");
        }
        Ok(())
    }
}
