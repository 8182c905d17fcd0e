//! The agents of Node workers: how they get into the process, and their pipes.

mod folder;
mod pipes;
mod prepare;

pub(super) use folder::{AgentFolder, AgentFolderState};
pub(super) use pipes::{AgentPipes, AgentPipesState};
pub(super) use prepare::Prepared;

use std::time::Duration;

use super::Primary;
use super::tokens::Source;
use crate::agent::AgentCommand;
use crate::agent::inject::is_node;
use crate::error::WorkerError;
use crate::id::WorkerId;
use crate::machine::Input;

/// Why a worker that turns out to be Node has no agent.
const STARTED_THROUGH: &str = "it is Node, but was started through another program: name node, or the script, \
    as the program";

/// How often the agent's file is looked after.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// Events that may wait to be taken while agents are read.
const MAX_WAITING_EVENTS: usize = 256;

impl Primary {
    /// Reads what a worker's agent has to say, up to a limit; whether there may be more.
    pub(super) fn read_agent(&mut self, now: Duration, worker: WorkerId) -> bool {
        // One that talks without end must not hold up the others' events.
        if self.told.len() >= MAX_WAITING_EVENTS {
            return true;
        }
        let Some(child) = self.children.get_mut(&worker) else { return false };
        let Some(agent) = &mut child.agent else { return false };
        let read = agent.read();
        for message in read.messages {
            self.machine.handle_input(now, Input::AgentMessage { worker, message });
        }
        match read.then {
            pipes::Then::More => true,
            pipes::Then::Wait => false,
            pipes::Then::Closed => {
                self.close_agent(now, worker);
                false
            }
            pipes::Then::Failed(what) => {
                // The worker goes on without its agent.
                let error = WorkerError::Agent { what };
                self.machine.handle_input(now, Input::Failed { worker, error });
                self.close_agent(now, worker);
                false
            }
        }
    }

    /// A worker listens: if it is Node after all, it was started through another program, and has no
    /// agent.
    pub(super) fn look_for_node(&mut self, worker: WorkerId) {
        if !self.without_agent.remove(&worker) {
            return;
        }
        let process = self.children.get(&worker).and_then(|child| child.process.as_ref());
        let exe = process.map(|process| format!("/proc/{}/exe", process.pid()));
        let exe = exe.and_then(|exe| std::fs::read_link(exe).ok());
        if exe.is_some_and(|exe| is_node(&exe)) {
            let reason = STARTED_THROUGH.into();
            self.machine.handle_input(self.clock.now(), Input::NoAgent { worker, reason });
        }
    }

    /// Worker threads load the agent's file again: what a cleaner of temporary files has removed is made
    /// again. (Agents report every second, so this is called as often, at the least.)
    pub(super) fn look_after_agent_folder(&mut self, now: Duration) {
        if now < self.agent_folder_seen + LOOK_AFTER {
            return;
        }
        self.agent_folder_seen = now;
        if let Some(folder) = &mut self.agent_folder {
            // If it cannot be made again the next worker gets another one.
            for file in folder::AgentFile::ALL {
                let _ = folder.file(file);
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
    pub(super) fn notify_agent(&mut self, worker: WorkerId, command: &AgentCommand) {
        let agent = self.children.get_mut(&worker).and_then(|child| child.agent.as_mut());
        if agent.is_some_and(|agent| !agent.write(&command.to_line())) {
            // Closed outside of this call: it has the machine say more.
            self.pending.insert(Source::Agent(worker));
        }
    }
}
