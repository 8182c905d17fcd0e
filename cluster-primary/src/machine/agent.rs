//! Workers with an agent: what it reports, and what it is told and asked when the worker is to leave.

use std::time::Duration;

use cluster_sched::{DispatchInput as Place, Mono};

use super::base::Machine;
use super::io::Output;
use super::worker::{Disconnect, Question};
use crate::agent::{AgentCommand, AgentMessage, Work};
use crate::event::{Event, LeaveProgress, StopBy};
use crate::id::WorkerId;
use crate::settings::Placement;
use crate::signal::Signal;

/// How often agents report.
const REPORT: Duration = Duration::from_secs(1);
/// How soon they tell of a changed number of connections where connections are placed by it.
const CONNECTIONS: Duration = Duration::from_millis(50);
/// Why there is none, if the agent's pipe closed before it said anything.
const NO_HELLO: &str = "it ended before it said anything (under Node's permission model it needs \
    --allow-net, from Node 25 on)";

impl Machine {
    pub(super) fn agent_message(&mut self, now: Mono, id: WorkerId, message: AgentMessage) {
        let Some(worker) = self.known_mut(id) else { return };
        let agent = &mut worker.agent;
        match message {
            AgentMessage::Hello { .. } => {
                agent.connect();
                let by_connections = self.config.counts_connections();
                let connections = if by_connections { CONNECTIONS } else { Duration::ZERO };
                self.notify_agent(id, AgentCommand::Configure { report: REPORT, connections });
                // Only Node has one.
                self.answers_probes(id);
            }
            AgentMessage::Report(report) => {
                agent.set_report(report);
                self.agent_holds(now, id, report.connections);
            }
            AgentMessage::Connections(connections) => self.agent_holds(now, id, connections),
            AgentMessage::Work(work) => {
                let is_news = agent.set_work(work);
                self.agent_holds(now, id, work.connections);
                if is_news {
                    self.progress(id, LeaveProgress::Work(work));
                }
                self.check_servers_closed(id);
            }
            AgentMessage::Listeners { id: question, count } => {
                if let Some(asked) = agent.take_asked(question) {
                    self.answered_stop(id, asked, count > 0);
                }
            }
            AgentMessage::Unknown => {}
        }
    }

    /// The agent's pipe has closed.
    pub(super) fn agent_lost(&mut self, id: WorkerId) {
        let Some(worker) = self.known_mut(id) else { return };
        let (leaving, asked) = worker.agent.disconnect();
        if !worker.native {
            self.dispatcher.forget_reported(id);
        }
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
        let known = self.known_mut(worker);
        if known.is_some_and(|known| known.agent.take_failed()) {
            let reason = NO_HELLO.into();
            self.event(Event::NoAgent { worker, reason });
        }
    }

    fn agent_holds(&mut self, now: Mono, id: WorkerId, connections: u32) {
        let Some(worker) = self.known_mut(id) else { return };
        worker.agent.set_connections(connections);
        // A native worker counts for itself.
        if !worker.native {
            self.dispatch(now, Place::Held { worker: id, held: connections });
        }
    }

    /// A worker is to finish its HTTP work. One without an agent has none that is known.
    pub(super) fn finish_work(&mut self, id: WorkerId) {
        let Some(worker) = self.known_mut(id) else { return };
        if worker.agent.is_connected() {
            worker.agent.leave();
            let stop_accepting = self.config.placement == Placement::Shared;
            self.notify_agent(id, AgentCommand::Leave { stop_accepting });
        } else {
            self.progress(id, LeaveProgress::Work(Work::default()));
        }
    }

    /// How is a worker to be asked to stop: by the signal, if its program handles it, or by the user's
    /// message, or by `disconnect`? `catches` is whether the process catches the signal, where that
    /// says whether the program handles it; `serves_aside`, whether its runtime has servers that its
    /// channel knows nothing of.
    pub(super) fn ask_stop(
        &mut self,
        id: WorkerId,
        signal: Option<Signal>,
        message: bool,
        catches: Option<bool>,
        serves_aside: bool,
    ) {
        let Some(worker) = self.known_mut(id) else { return };
        let by = match signal {
            // It does not use its channel: the signal is all that it could get.
            Some(_) if !worker.has_spoken() && !worker.agent.is_connected() => StopBy::Signal,
            _ if message && worker.connected && worker.agent.is_connected() => {
                return self.ask_agent(id, Question::Message { signal }, "message".to_owned());
            }
            _ if message && worker.connected => StopBy::Message,
            Some(signal) if worker.agent.is_connected() => {
                return self.ask_agent(id, Question::Signal, signal.to_string());
            }
            Some(_) if catches == Some(true) => StopBy::Signal,
            // Nothing that it serves would be closed by `disconnect`.
            Some(_) if serves_aside && matches!(worker.phase, "none" | "online") => StopBy::Signal,
            _ => StopBy::Disconnect,
        };
        self.progress(id, LeaveProgress::Stop(by));
    }

    fn ask_agent(&mut self, id: WorkerId, question: Question, event: String) {
        if let Some(worker) = self.known_mut(id) {
            let number = worker.agent.ask(question);
            self.notify_agent(id, AgentCommand::Listeners { id: number, event });
        }
    }

    fn answered_stop(&mut self, id: WorkerId, asked: Question, listens: bool) {
        let by = match (asked, listens) {
            (Question::Message { .. }, true) => StopBy::Message,
            (Question::Message { signal: Some(signal) }, false) => {
                return self.ask_agent(id, Question::Signal, signal.to_string());
            }
            (Question::Signal, true) => StopBy::Signal,
            _ => StopBy::Disconnect,
        };
        self.progress(id, LeaveProgress::Stop(by));
    }

    /// A worker that is out of rotation may have closed the last of its servers. With an agent that
    /// counts only once their connections have ended too: then the callbacks of `server.close()` have
    /// run, and what they sent is under way.
    pub(super) fn check_servers_closed(&mut self, id: WorkerId) {
        let Some(worker) = self.known_mut(id) else { return };
        let retired = worker.disconnect == Disconnect::Retired;
        if retired && worker.closes && worker.listens.is_empty() && !worker.agent.has_connections()
        {
            worker.closes = false;
            self.progress(id, LeaveProgress::ServersClosed);
        }
    }

    fn notify_agent(&mut self, worker: WorkerId, command: AgentCommand) {
        self.put(Output::NotifyAgent { worker, command });
    }
}
