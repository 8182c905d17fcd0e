//! Workers' beginnings and ends, and time.

use cluster_primary::agent::{AgentMessage, AgentReport, Work};
use cluster_primary::machine::Input;
use cluster_primary::{ExitStatus, Signal, WorkerId};

use super::Step;
use super::world::{Bytes, Place, Worker, World};

impl World {
    pub(super) fn fork(&mut self) {
        if self.workers.values().filter(|w| w.connected).count() >= 6 {
            return;
        }
        let pid = 100;
        self.history.push(Step::Fork(self.now, pid));
        let worker = self.machine.next_worker();
        let new = Worker { connected: true, ..Worker::default() };
        assert!(self.workers.insert(worker, new).is_none(), "{worker} was there before");
        self.machine.handle_input(self.now, Input::Forked { worker, pid, slot: None });
        self.frozen = true;
        self.drain();
    }

    pub(super) fn close_channel(&mut self, worker: WorkerId) {
        self.goes(worker, |w| w.connected = false);
        self.input(Input::ChannelClosed { worker });
        self.release(worker);
    }

    pub(super) fn exit(&mut self, worker: WorkerId) {
        self.goes(worker, |w| w.exited = true);
        let status = ExitStatus::Signal(Signal::KILL);
        self.input(Input::Exited { worker, status });
        self.release(worker);
    }

    fn goes(&mut self, worker: WorkerId, how: impl Fn(&mut Worker)) {
        let known = self.workers.get_mut(&worker).expect("it was picked");
        how(known);
        if !known.connected {
            for place in self.conns.values_mut() {
                if matches!(place, Place::With(holder, _) if *holder == worker) {
                    *place = Place::Here;
                }
            }
        }
    }

    fn release(&mut self, worker: WorkerId) {
        if !self.workers[&worker].connected {
            self.probing.remove(&worker);
            self.looking.remove(&worker);
            self.to_listen.retain(|(listening, _)| *listening != worker);
            assert!(!self.is_on(worker), "{worker} has a slot that is on");
            self.asked.retain(|(asking, _)| *asking != worker);
        }
    }

    /// The user, or the agent, of a worker that leaves step by step.
    pub(super) fn leaves_by_steps(&mut self, worker: WorkerId, what: u8, bytes: &mut Bytes<'_>) {
        let number = u32::from(bytes.next());
        let said = |message| Input::AgentMessage { worker, message };
        let input = match what {
            8..=31 => {
                let known = self.workers.get_mut(&worker).expect("it was picked");
                known.retiring |= known.connected;
                known.leaving = true;
                Input::TakeOutOfRotation { worker }
            }
            32..=35 => {
                self.disconnect_alls += 1;
                for known in self.workers.values_mut() {
                    known.retiring |= known.connected;
                    known.leaving |= known.connected || !known.exited;
                }
                Input::TakeAllOutOfRotation
            }
            36..=47 => Input::FinishWork { worker },
            48..=59 => Input::AskStop {
                worker,
                signal: (number & 1 == 0).then_some(Signal::TERM),
                message: number & 2 == 0,
                catches: (number & 4 == 0).then_some(number & 8 == 0),
                serves_aside: number & 16 != 0,
            },
            60..=65 => said(AgentMessage::Hello { protocol: 1 }),
            66..=71 => {
                let mut report = AgentReport::default();
                report.connections = number;
                said(AgentMessage::Report(report))
            }
            72..=77 => said(AgentMessage::Connections(number)),
            78..=83 => {
                let mut work = Work::default();
                work.requests = number;
                work.started = number / 2;
                work.connections = number / 3;
                said(AgentMessage::Work(work))
            }
            84..=89 => {
                said(AgentMessage::Listeners { id: u64::from(number % 4), count: number % 2 })
            }
            _ => Input::AgentLost { worker },
        };
        self.input(input);
    }

    pub(super) fn timeout(&mut self) {
        self.history.push(Step::Timeout(self.now));
        self.machine.handle_timeout(self.now);
        self.drain();
        let due = self.machine.poll_timeout();
        assert!(due.is_none_or(|due| due > self.now), "a timer that does not go away");
    }
}
