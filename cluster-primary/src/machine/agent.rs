//! Workers with an agent: what it reports, and what it is told and asked when the worker is to leave.

use std::time::Duration;

use cluster_sched::{DispatchInput as Place, Mono};
use serde::{Deserialize, Serialize};

use super::Machine;
use super::io::Output;
use super::worker::Disconnect;
use crate::agent::{AgentCommand, AgentMessage, AgentReport, Work};
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

/// What is known of a worker's agent.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Agent {
    /// It has said hello, and its pipe is open.
    connected: bool,
    pub(super) report: Option<AgentReport>,
    /// The number of open connections that it told last.
    connections: u32,
    /// Its pipe closed before it said hello.
    failed: bool,
    /// The worker was told to finish its HTTP work.
    leaving: bool,
    /// What was left of it last.
    work: Option<Work>,
    /// The last question's number, and what it was, as long as it awaits its answer.
    question: u64,
    asked: Option<Question>,
}

/// What an agent is asked, to find out how its worker is to be asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Question {
    /// Does the program listen for messages? If not, the signal is the next question.
    Message { signal: Option<Signal> },
    /// Does it handle the signal?
    Signal,
}

impl Machine {
    pub(super) fn agent_message(&mut self, now: Mono, id: WorkerId, message: AgentMessage) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let agent = &mut worker.agent;
        match message {
            AgentMessage::Hello { .. } => {
                agent.connected = true;
                let by_connections = self.config.counts_connections();
                let connections = if by_connections { CONNECTIONS } else { Duration::ZERO };
                self.notify_agent(id, AgentCommand::Configure { report: REPORT, connections });
                // Only Node has one.
                self.answers_probes(id);
            }
            AgentMessage::Report(report) => {
                agent.report = Some(report);
                self.agent_holds(now, id, report.connections);
            }
            AgentMessage::Connections(connections) => self.agent_holds(now, id, connections),
            AgentMessage::Work(work) => {
                let news = agent.leaving && agent.work.replace(work) != Some(work);
                self.agent_holds(now, id, work.connections);
                if news {
                    self.progress(id, LeaveProgress::Work(work));
                }
                self.check_servers_closed(id);
            }
            AgentMessage::Listeners { id: question, count } => {
                if question == agent.question
                    && let Some(asked) = agent.asked.take()
                {
                    self.answered_stop(id, asked, count > 0);
                }
            }
            AgentMessage::Unknown => {}
        }
    }

    /// The agent's pipe has closed.
    pub(super) fn agent_lost(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let agent = &mut worker.agent;
        agent.failed = !agent.connected;
        agent.connected = false;
        agent.connections = 0;
        // Its last report no longer holds.
        agent.report = None;
        if !worker.native {
            self.dispatcher.forget_reported(id);
        }
        let agent = &mut worker.agent;
        let (leaving, asked) = (agent.leaving, agent.asked.take().is_some());
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
            self.dispatch(now, Place::Held { worker: id, held: connections });
        }
    }

    /// A worker is to finish its HTTP work. One without an agent has none that is known.
    pub(super) fn finish_work(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if worker.agent.connected {
            worker.agent.leaving = true;
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
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let by = match signal {
            // It does not use its channel: the signal is all that it could get.
            Some(_) if !worker.has_spoken() && !worker.agent.connected => StopBy::Signal,
            _ if message && worker.connected && worker.agent.connected => {
                return self.ask_agent(id, Question::Message { signal }, "message".to_owned());
            }
            _ if message && worker.connected => StopBy::Message,
            Some(signal) if worker.agent.connected => {
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
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.agent.question += 1;
            worker.agent.asked = Some(question);
            let id_of_question = worker.agent.question;
            self.notify_agent(id, AgentCommand::Listeners { id: id_of_question, event });
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

    fn notify_agent(&mut self, worker: WorkerId, command: AgentCommand) {
        self.output.push_back(Output::NotifyAgent { worker, command });
    }
}
