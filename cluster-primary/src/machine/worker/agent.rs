//! What the machine knows of a worker's agent.

use serde::{Deserialize, Serialize};

use crate::agent::{AgentReport, Work};
use crate::signal::Signal;

/// The state of a worker's agent.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::machine) struct Agent {
    /// It has said hello, and its pipe is open.
    connected: bool,
    report: Option<AgentReport>,
    /// The number of open connections in its last message.
    connections: u32,
    /// Its pipe closed before it said hello.
    failed: bool,
    /// The worker was told to finish its HTTP work.
    leaving: bool,
    /// The work that was left at its last message.
    work: Option<Work>,
    /// The number of the last question, and the question, until it is answered.
    question: u64,
    asked: Option<Question>,
}

/// A question to an agent, to find out how its worker can be asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::machine) enum Question {
    /// Does the program listen for messages? If not, the signal is the next question.
    Message { signal: Option<Signal> },
    /// Does it handle the signal?
    Signal,
}

impl Agent {
    pub(in crate::machine) fn is_connected(&self) -> bool {
        self.connected
    }

    /// Its last report, while it is connected.
    pub(in crate::machine) fn report(&self) -> Option<AgentReport> {
        self.report
    }

    pub(in crate::machine) fn has_connections(&self) -> bool {
        self.connections > 0
    }

    /// It said hello.
    pub(in crate::machine) fn connect(&mut self) {
        self.connected = true;
    }

    /// Its pipe has closed. Returns whether its worker is leaving, and whether a question was open.
    pub(in crate::machine) fn disconnect(&mut self) -> (bool, bool) {
        self.failed = !self.connected;
        self.connected = false;
        self.connections = 0;
        // Its last report no longer holds.
        self.report = None;
        (self.leaving, self.asked.take().is_some())
    }

    /// Whether its pipe closed before it said hello; true once.
    pub(in crate::machine) fn take_failed(&mut self) -> bool {
        std::mem::take(&mut self.failed)
    }

    pub(in crate::machine) fn set_report(&mut self, report: AgentReport) {
        self.report = Some(report);
    }

    pub(in crate::machine) fn set_connections(&mut self, connections: u32) {
        self.connections = connections;
    }

    /// Its worker is told to finish its HTTP work.
    pub(in crate::machine) fn leave(&mut self) {
        self.leaving = true;
    }

    /// It reported the work that is left. Whether its worker is leaving, and that has changed.
    pub(in crate::machine) fn set_work(&mut self, work: Work) -> bool {
        self.leaving && self.work.replace(work) != Some(work)
    }

    /// It is asked a question, whose number this returns.
    pub(in crate::machine) fn ask(&mut self, question: Question) -> u64 {
        self.question += 1;
        self.asked = Some(question);
        self.question
    }

    /// It answered the question of that number. Returns the question if it is the open one.
    pub(in crate::machine) fn take_asked(&mut self, number: u64) -> Option<Question> {
        if number == self.question { self.asked.take() } else { None }
    }
}
