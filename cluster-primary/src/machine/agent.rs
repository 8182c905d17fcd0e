//! Workers with an agent: what it reports, and what it is told and asked when the worker is to leave.

use std::time::Duration;

use cluster_sched::Mono;
use serde::{Deserialize, Serialize};

use super::Machine;
use super::io::Output;
use super::worker::Disconnect;
use crate::agent::{AgentCommand, AgentMessage, AgentReport, Work};
use crate::event::{LeaveProgress, StopBy};
use crate::{Event, Placement, PolicyName, Signal, WorkerId};

/// How often agents report.
const REPORT: Duration = Duration::from_secs(1);
/// How soon they tell of a changed number of connections where connections are placed by it.
const CONNECTIONS: Duration = Duration::from_millis(50);

/// Why there is none, if the agent's socket closed before it said anything.
const NO_HELLO: &str =
    "it could not start (Node's permission model needs --allow-net for it, from Node 25 on)";

/// What is known of a worker's agent.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Agent {
    /// It has said hello, and its socket is open.
    connected: bool,
    pub(super) report: Option<AgentReport>,
    /// The number of open connections that it told last.
    connections: u32,
    /// Its socket closed before it said hello.
    failed: bool,
    /// The worker was told to finish its HTTP work.
    leaving: bool,
    /// The last question's number, and whether it awaits its answer.
    question: u64,
    asked: bool,
}

impl Machine {
    pub(super) fn agent_said(&mut self, now: Mono, id: WorkerId, message: AgentMessage) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let agent = &mut worker.agent;
        match message {
            AgentMessage::Hello { .. } => {
                agent.connected = true;
                let by_connections = self.settings.policy == PolicyName::LeastConnections;
                let connections = if by_connections { CONNECTIONS } else { Duration::ZERO };
                self.tell_agent(id, AgentCommand::Configure { report: REPORT, connections });
            }
            AgentMessage::Report(report) => {
                agent.report = Some(report);
                self.agent_holds(now, id, report.connections);
            }
            AgentMessage::Connections(connections) => self.agent_holds(now, id, connections),
            AgentMessage::Work(work) => {
                let leaving = agent.leaving;
                self.agent_holds(now, id, work.connections);
                if leaving {
                    self.progress(id, LeaveProgress::Work(work));
                }
                self.check_servers_closed(id);
            }
            AgentMessage::Listeners { id: question, count } => {
                if question == agent.question && std::mem::take(&mut agent.asked) {
                    let by = if count > 0 { StopBy::Signal } else { StopBy::Disconnect };
                    self.progress(id, LeaveProgress::Stop(by));
                }
            }
            AgentMessage::Unknown => {}
        }
    }

    /// The agent's socket has closed.
    pub(super) fn agent_lost(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let agent = &mut worker.agent;
        agent.failed = !agent.connected;
        agent.connected = false;
        agent.connections = 0;
        // What it reported last is true no longer.
        agent.report = None;
        if !worker.native {
            worker.held = None;
        }
        let agent = &mut worker.agent;
        let (leaving, asked) = (agent.leaving, std::mem::take(&mut agent.asked));
        // What awaits an answer of it goes on without.
        if leaving {
            self.progress(id, LeaveProgress::Work(Work::default()));
        }
        if asked {
            self.progress(id, LeaveProgress::Stop(StopBy::Disconnect));
        }
        self.check_servers_closed(id);
    }

    /// A worker that listens has come up; one whose agent has not says so now, and not when it may just
    /// have died at its start.
    pub(super) fn check_agent(&mut self, worker: WorkerId) {
        let known = self.workers.get_mut(&worker);
        if known.is_some_and(|known| std::mem::take(&mut known.agent.failed)) {
            let reason = NO_HELLO.into();
            self.event(Event::NoAgent { worker, reason });
        }
    }

    fn agent_holds(&mut self, now: Mono, id: WorkerId, connections: u32) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.agent.connections = connections;
        // A native worker counts for itself.
        if !worker.native {
            self.holds(now, id, connections);
        }
    }

    /// A worker is to finish its HTTP work. One without an agent has none that is known.
    pub(super) fn finish_work(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if worker.agent.connected {
            worker.agent.leaving = true;
            let stop_accepting = self.settings.placement == Placement::Shared;
            self.tell_agent(id, AgentCommand::Leave { stop_accepting });
        } else {
            self.progress(id, LeaveProgress::Work(Work::default()));
        }
    }

    /// How is a worker to be asked to stop: by the signal, if its program handles it, or by the user's
    /// message, or by `disconnect`? `catches` is whether the process catches the signal, where that
    /// says whether the program handles it.
    pub(super) fn ask_stop(
        &mut self,
        id: WorkerId,
        signal: Option<Signal>,
        message: bool,
        catches: Option<bool>,
    ) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let by = match signal {
            // It does not listen to its channel: the signal is all that it could hear.
            Some(_) if !worker.connected || !worker.has_spoken() => StopBy::Signal,
            _ if message => StopBy::Message,
            Some(signal) if worker.agent.connected => {
                worker.agent.question += 1;
                worker.agent.asked = true;
                let (question, event) = (worker.agent.question, signal.to_string());
                self.tell_agent(id, AgentCommand::Listeners { id: question, event });
                return;
            }
            Some(_) if catches == Some(true) => StopBy::Signal,
            _ => StopBy::Disconnect,
        };
        self.progress(id, LeaveProgress::Stop(by));
    }

    /// A worker that is out of rotation may have closed the last of its servers. With an agent that
    /// counts only once their connections have ended too: then the callbacks of `server.close()` have
    /// run, and what they sent is under way.
    pub(super) fn check_servers_closed(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let retired = worker.disconnect == Disconnect::Retired;
        if retired && worker.closes && worker.listens.is_empty() && worker.agent.connections == 0 {
            worker.closes = false;
            self.progress(id, LeaveProgress::ServersClosed);
        }
    }

    pub(super) fn progress(&mut self, worker: WorkerId, progress: LeaveProgress) {
        self.event(Event::Leaving { worker, progress });
    }

    fn tell_agent(&mut self, worker: WorkerId, command: AgentCommand) {
        self.output.push_back(Output::TellAgent { worker, command });
    }
}
