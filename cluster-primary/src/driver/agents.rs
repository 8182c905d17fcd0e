//! The primary's side of the worker agent.

use std::ffi::OsString;
use std::io;
use std::time::Duration;

use super::agent::{AgentFile, Prepared, Then};
use super::base::Primary;
use super::spawn;
use super::tokens::Source;
use crate::agent::AgentCommand;
use crate::agent::inject::is_node;
use crate::error::WorkerError;
use crate::id::WorkerId;
use crate::machine::Input;
use crate::settings::Settings;

/// Why a worker that turned out to be Node runs without an agent.
pub(super) const STARTED_THROUGH: &str = "it is Node, but was started through another program: name node, or the script, \
    as the program";

/// How often the agent's files are checked.
pub(super) const LOOK_AFTER: Duration = Duration::from_secs(1);

/// With more events than this waiting for the user, agents are not read.
pub(super) const MAX_WAITING_EVENTS: usize = 256;

impl Primary {
    /// The agent with which a worker starts, if the settings ask for one and it can be injected.
    pub(super) fn prepare_agent(
        &mut self,
        settings: &Settings,
        worker: WorkerId,
        env: &[(OsString, Option<OsString>)],
        first_line: Vec<OsString>,
    ) -> Option<Prepared> {
        if !settings.node_agent {
            return None;
        }
        let first = spawn::first_free(settings);
        match Prepared::new(settings, env, first, first_line, &mut self.agent_folder) {
            Ok(None) => {
                self.without_agent.insert(worker);
                None
            }
            Ok(prepared) => prepared,
            Err(reason) => {
                self.tell(Input::NoAgent { worker, reason });
                None
            }
        }
    }

    pub(super) fn add_agent(&mut self, worker: WorkerId, agent: Prepared) -> io::Result<()> {
        let Some(mut pipes) = agent.pipes else { return Ok(()) };
        let token = self.tokens.token(Source::Agent(worker));
        pipes.register(self.registry(), token)?;
        if let Some(child) = self.child_mut(worker) {
            child.agent = Some(pipes);
        }
        Ok(())
    }

    /// Reads reports of a worker's agent, up to a limit. Returns whether there may be more.
    pub(super) fn read_agent(&mut self, now: Duration, worker: WorkerId) -> bool {
        // An agent that reports without end must not delay the events of others.
        if self.told.len() >= MAX_WAITING_EVENTS {
            return true;
        }
        let Some(child) = self.child_mut(worker) else { return false };
        let Some(agent) = &mut child.agent else { return false };
        let read = agent.read();
        for message in read.messages {
            self.tell_at(now, Input::AgentMessage { worker, message });
        }
        match read.then {
            Then::More => true,
            Then::Wait => false,
            Then::Closed => {
                self.close_agent(now, worker);
                false
            }
            Then::Failed(what) => {
                // The worker continues without its agent.
                let error = WorkerError::Agent { what };
                self.tell_at(now, Input::Failed { worker, error });
                self.close_agent(now, worker);
                false
            }
        }
    }

    /// A worker listens. If it is Node after all, it was started through another program and has no
    /// agent.
    pub(super) fn look_for_node(&mut self, worker: WorkerId) {
        if !self.without_agent.remove(&worker) {
            return;
        }
        let process = self.child(worker).and_then(|child| child.process.as_ref());
        let exe = process.map(|process| format!("/proc/{}/exe", process.pid()));
        let exe = exe.and_then(|exe| std::fs::read_link(exe).ok());
        if exe.is_some_and(|exe| is_node(&exe)) {
            let reason = STARTED_THROUGH.into();
            self.tell(Input::NoAgent { worker, reason });
        }
    }

    /// Worker threads load the agent's files again, so files that a cleaner of temporary files removed are written
    /// again. (Agents report every second, so this is called at least that often.)
    pub(super) fn look_after_agent_folder(&mut self, now: Duration) {
        if now < self.agent_folder_seen + LOOK_AFTER {
            return;
        }
        self.agent_folder_seen = now;
        if let Some(folder) = &mut self.agent_folder {
            // If that fails, the next worker gets a new folder.
            for file in AgentFile::ALL {
                let _ = folder.file(file);
            }
        }
    }

    pub(super) fn close_agent(&mut self, now: Duration, worker: WorkerId) {
        let agent = self.child_mut(worker).and_then(|child| child.agent.take());
        let Some(mut agent) = agent else { return };
        agent.deregister(self.registry());
        self.tokens.forget(Source::Agent(worker));
        self.tell_at(now, Input::AgentLost { worker });
    }

    /// Sends a command to a worker's agent. An agent that does not read is given up.
    pub(super) fn notify_agent(&mut self, worker: WorkerId, command: &AgentCommand) {
        let agent = self.child_mut(worker).and_then(|child| child.agent.as_mut());
        if agent.is_some_and(|agent| !agent.write(&command.to_line())) {
            // Closed only after this call, because closing produces further outputs of the machine.
            self.pending.insert(Source::Agent(worker));
        }
    }
}
