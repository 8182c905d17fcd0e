//! What a worker may do wrong on its channel, and how often, before it is closed.

use super::base::Machine;
use super::io::Output;
use crate::error::WorkerError;
use crate::event::Event;
use crate::id::WorkerId;

/// So often a worker may make a call of the primary block.
const MAX_BLOCKED: u32 = 16;
/// Why a worker loses its channel that answers for what it cannot have.
const TOO_SOON: &str = "it answered for a connection before it had received it";

impl Machine {
    /// Something is so wrong with a worker's channel that it is closed.
    pub(super) fn fail_channel(&mut self, id: WorkerId, error: WorkerError) {
        let Some(worker) = self.known_mut(id).filter(|w| w.connected) else { return };
        if !std::mem::replace(&mut worker.failed, true) {
            self.event(Event::Error { worker: id, error });
            self.put(Output::AbortChannel { worker: id });
        }
    }

    /// Whether an answer to that hand-off cannot be one, as the hand-off has not `arrived` at the worker.
    pub(super) fn is_too_soon(&self, id: WorkerId, ack: Option<u64>, arrived: bool) -> bool {
        !arrived && ack.is_some_and(|seq| self.handed(id, seq).is_some())
    }

    /// A worker answered for a connection that it does not have yet.
    pub(super) fn answered_too_soon(&mut self, id: WorkerId) {
        self.fail_channel(id, WorkerError::Channel { what: TOO_SOON.into() });
    }

    /// A worker sent a descriptor that nothing uses.
    pub(super) fn unwanted(&mut self, id: WorkerId) {
        let limit = self.config.limits.max_unexpected_handles;
        let Some(worker) = self.known_mut(id) else { return };
        if worker.faults.add_unwanted() > limit {
            let what = format!("it sent more than {limit} descriptors that nothing here uses");
            self.fail_channel(id, WorkerError::Channel { what });
        }
    }

    /// A worker made a call of the primary block. The first time it is only told.
    pub(super) fn blocked(&mut self, id: WorkerId, call: &'static str) {
        let Some(worker) = self.known_mut(id) else { return };
        let blocked = worker.faults.add_blocked();
        if blocked == 1 {
            self.event(Event::Error { worker: id, error: WorkerError::BlocksPrimary { call } });
        }
        if blocked >= MAX_BLOCKED {
            let what = format!("it made calls of the primary block {MAX_BLOCKED} times");
            self.fail_channel(id, WorkerError::Channel { what });
        }
    }
}

#[cfg(test)]
mod tests {
    use cluster_proto::{ClusterBody, Message};
    use cluster_sched::Mono;

    use super::super::{Config, Event as Told, Input, SendHandle};
    use super::*;
    use crate::{ConnId, ServerId};

    fn machine() -> (Machine, WorkerId) {
        let mut machine = Machine::new(Config::default(), 1);
        let worker = machine.next_worker();
        input(&mut machine, Input::Forked { worker, pid: 1, slot: None });
        (machine, worker)
    }

    fn input(machine: &mut Machine, input: Input) -> Vec<Output> {
        machine.handle_input(Mono::ZERO, input);
        std::iter::from_fn(|| machine.poll_output()).collect()
    }

    fn says(
        machine: &mut Machine,
        worker: WorkerId,
        message: Message,
        arrived: bool,
    ) -> Vec<Output> {
        input(machine, Input::Received { worker, message, handle: None, arrived })
    }

    /// How many errors are told, and whether the channel is closed.
    fn outcome(outputs: &[Output]) -> (usize, bool) {
        let is_error = |o: &&Output| matches!(o, Output::Event(Told::Plain(Event::Error { .. })));
        let closes = outputs.iter().any(|o| matches!(o, Output::AbortChannel { .. }));
        (outputs.iter().filter(is_error).count(), closes)
    }

    #[test]
    fn so_many_descriptors_that_nothing_uses_are_closed_and_one_more_costs_the_channel() {
        let (mut machine, worker) = machine();
        let limit = machine.config().limits.max_unexpected_handles;
        for _ in 0..limit {
            assert_eq!(outcome(&input(&mut machine, Input::Unwanted { worker })), (0, false));
        }
        assert_eq!(outcome(&input(&mut machine, Input::Unwanted { worker })), (1, true));
        assert_eq!(outcome(&input(&mut machine, Input::Unwanted { worker })), (0, false), "once");
        assert!(!machine.hears(worker));
    }

    #[test]
    fn a_worker_that_makes_calls_block_is_told_of_once_and_then_loses_its_channel() {
        let (mut machine, worker) = machine();
        let outcomes: Vec<_> = (0..MAX_BLOCKED + 1)
            .map(|_| outcome(&input(&mut machine, Input::Blocked { worker, call: "close" })))
            .collect();
        let mut expected = vec![(0, false); MAX_BLOCKED as usize + 1];
        expected[0] = (1, false);
        expected[MAX_BLOCKED as usize - 1] = (1, true);
        assert_eq!(outcomes, expected);
    }

    /// A hand-off under way to the worker, by its number.
    fn under_way(machine: &mut Machine, worker: WorkerId) -> (ServerId, u64) {
        let query = Message::cluster(0, None, ClusterBody::QueryServer(Box::default()));
        let asked = says(machine, worker, query, true);
        let [Output::Bind { server, .. }] = asked[..] else { panic!("{asked:?}") };
        let kind = cluster_proto::HandleKind::NetNative;
        let result = Ok(super::super::Bound { sockname: None, kind });
        input(machine, Input::Bound { server, result });
        let sent = input(machine, Input::Accepted { server, conn: ConnId(1), client: None });
        match &sent[..] {
            [
                Output::Send {
                    message: Message::Cluster(m),
                    handle: Some(SendHandle::Conn { .. }),
                    ..
                },
            ] => (server, m.seq),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_to_a_hand_off_that_has_not_arrived_costs_the_channel() {
        let answers = [ClusterBody::Accepted(true), ClusterBody::Accepted(false), ClusterBody::Ack];
        for body in answers {
            for (arrived, expected) in [(false, (1, true)), (true, (0, false))] {
                let (mut machine, worker) = machine();
                let (_, seq) = under_way(&mut machine, worker);
                let answer = Message::cluster(1, Some(seq), body.clone());
                let outputs = says(&mut machine, worker, answer, arrived);
                assert_eq!(outcome(&outputs), expected, "{outputs:?}");
            }
        }
    }

    /// That is an error of its own, whether anything has arrived or not.
    #[test]
    fn an_answer_to_no_hand_off_is_a_stray() {
        let (mut machine, worker) = machine();
        let (_, seq) = under_way(&mut machine, worker);
        let answer = Message::cluster(1, Some(seq + 7), ClusterBody::Accepted(true));
        assert_eq!(outcome(&says(&mut machine, worker, answer, false)), (1, false));
        assert!(machine.hears(worker));
    }
}
