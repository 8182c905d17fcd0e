//! The agents of Node workers: how they get into the process, and their sockets.

mod folder;
mod prepare;
mod socket;

pub(super) use folder::{AgentFolder, AgentFolderState};
pub(super) use prepare::Prepared;
pub(super) use socket::{AgentSocket, AgentSocketState};

use std::time::Duration;

use super::Primary;
use super::tokens::Source;
use crate::agent::AgentCommand;
use crate::machine::Input;
use crate::{Event, WorkerError, WorkerId};

impl Primary {
    /// Reads what a worker's agent has to say, up to a limit; whether there may be more.
    pub(super) fn read_agent(&mut self, now: Duration, worker: WorkerId) -> bool {
        let Some(child) = self.children.get_mut(&worker) else { return false };
        let Some(agent) = &mut child.agent else { return false };
        let read = agent.read();
        for message in read.messages {
            self.machine.handle_input(now, Input::AgentSaid { worker, message });
        }
        match read.then {
            socket::Then::More => true,
            socket::Then::Wait => false,
            socket::Then::Closed => {
                self.close_agent(now, worker);
                false
            }
            socket::Then::Failed(what) => {
                // The worker goes on without its agent.
                self.drain_machine();
                let error = WorkerError::Agent { what };
                self.events.push_back(Event::Error { worker, error });
                self.close_agent(now, worker);
                false
            }
        }
    }

    pub(super) fn close_agent(&mut self, now: Duration, worker: WorkerId) {
        let agent = self.children.get_mut(&worker).and_then(|child| child.agent.take());
        let Some(mut agent) = agent else { return };
        agent.deregister(self.poll.registry());
        self.tokens.forget(Source::Agent(worker));
        self.machine.handle_input(now, Input::AgentLost { worker });
    }

    /// Tells a worker's agent something. One that does not read is given up.
    pub(super) fn tell_agent(&mut self, worker: WorkerId, command: &AgentCommand) {
        let agent = self.children.get_mut(&worker).and_then(|child| child.agent.as_mut());
        if agent.is_some_and(|agent| !agent.write(&command.to_line())) {
            // Closed outside of this call: it has the machine say more.
            self.pending.insert(Source::Agent(worker));
        }
    }
}
