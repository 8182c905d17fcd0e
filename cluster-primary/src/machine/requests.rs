//! Users' messages from workers: which of them are requests, and which end a request of the user's.
//!
//! Each request of the user's has exactly one outcome, [`Event::Answered`](crate::Event::Answered): the first answer of
//! the worker that was asked, the end of its time, or the end of the worker's channel.

use cluster_proto::{Exchange, NoAnswer, UserMessage};
use cluster_sched::Mono;

use super::base::Machine;
use super::event::Event;
use super::io::Handle;
use crate::id::WorkerId;
use crate::request::{Request, RequestId};

impl Machine {
    /// A worker sent a message that is not the protocol's.
    pub(super) fn users_message(
        &mut self,
        worker: WorkerId,
        message: UserMessage,
        handle: Option<Handle>,
    ) {
        // An answer to a request that was never made here is a message: the program asked by hand.
        let is_message = |(id, asks): (u64, bool)| !asks && !self.requests.has_begun(id);
        if message.exchange_id().is_none_or(is_message) {
            let handle = handle.map(|handle| self.count_socket(worker, handle));
            return self.event(Event::Message { worker, message, handle });
        }
        match message.into_exchange() {
            Exchange::Message(message) => {
                let handle = handle.map(|handle| self.count_socket(worker, handle));
                self.event(Event::Message { worker, message, handle });
            }
            Exchange::Request { id, body } => {
                let handle = handle.map(|handle| self.count_socket(worker, handle));
                let request = Request::new(worker, id);
                self.event(Event::Request { worker, request, body, handle });
            }
            Exchange::Response { id, answer } => {
                // No event passes on a descriptor that came with an answer.
                self.close_handle(handle);
                // An answer that comes late, or from a worker that was not asked, is ignored.
                if self.requests.end(id, worker) {
                    let answer = answer.map_err(|reason| NoAnswer::Refused { reason });
                    self.tell_answer(worker, id, answer);
                }
            }
        }
    }

    /// Ends the requests whose time is over.
    pub(super) fn end_overdue_requests(&mut self, now: Mono) {
        while let Some((id, worker, reason)) = self.requests.next_overdue(now) {
            self.tell_answer(worker, id, Err(reason));
        }
    }

    /// The channel of a worker is closed: it answers nothing more.
    pub(super) fn end_requests_of(&mut self, worker: WorkerId) {
        for id in self.requests.end_all(worker) {
            self.tell_answer(worker, id, Err(NoAnswer::Disconnected));
        }
    }

    fn tell_answer(&mut self, worker: WorkerId, id: u64, answer: Result<UserMessage, NoAnswer>) {
        let request = RequestId::new(id);
        self.event(crate::event::Event::Answered { worker, request, answer });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cluster_proto::{HandleKind, Message, Value};

    use super::super::{Config, Input, Origin, Output, Sending};
    use super::*;
    use crate::HandleId;

    const LIMIT: Duration = Duration::from_secs(1);

    /// A machine with two workers, and nothing left to be done.
    fn machine() -> (Machine, [WorkerId; 2]) {
        let mut machine = Machine::new(Config::default(), 1);
        let workers = [machine.next_worker(), machine.next_worker()];
        for worker in workers {
            machine.handle_input(Mono::ZERO, Input::Forked { worker, pid: 1, slot: None });
        }
        drain(&mut machine);
        (machine, workers)
    }

    fn drain(machine: &mut Machine) -> Vec<Output> {
        std::iter::from_fn(|| machine.poll_output()).collect()
    }

    /// Asks the worker; the number by which it answers.
    fn ask(machine: &mut Machine, worker: WorkerId) -> u64 {
        let sending = Sending::Request { body: "who is 7".into(), timeout: LIMIT };
        machine.handle_input(Mono::ZERO, Input::Send { worker, sending, handle: false });
        match drain(machine).pop() {
            Some(Output::Submit { origin: Origin::Request(id), .. }) => id.number(),
            other => panic!("{other:?}"),
        }
    }

    fn says(machine: &mut Machine, worker: WorkerId, said: Value, handle: Option<Handle>) {
        let message = Message::User(said);
        let input = Input::Received { worker, message, handle, arrived: true };
        machine.handle_input(Mono::ZERO, input);
    }

    fn answer(id: u64) -> Value {
        Exchange::Response { id, answer: Ok("Ada".into()) }.into_message()
    }

    fn answers(machine: &mut Machine) -> Vec<(WorkerId, u64, Result<UserMessage, NoAnswer>)> {
        let answered = |output| match output {
            Output::Event(Event::Plain(crate::event::Event::Answered {
                worker,
                request,
                answer,
            })) => Some((worker, request.number(), answer)),
            _ => None,
        };
        drain(machine).into_iter().filter_map(answered).collect()
    }

    #[test]
    fn only_the_worker_that_was_asked_answers_and_once() {
        let (mut machine, [one, two]) = machine();
        let id = ask(&mut machine, one);
        says(&mut machine, two, answer(id), None);
        assert_eq!(answers(&mut machine), []);
        says(&mut machine, one, answer(id), None);
        says(&mut machine, one, answer(id), None);
        assert_eq!(answers(&mut machine), [(one, id, Ok("Ada".into()))]);
        machine.handle_timeout(LIMIT * 2);
        assert_eq!(answers(&mut machine), []);
    }

    #[test]
    fn a_request_ends_with_its_time_or_with_the_channel() {
        let (mut machine, [one, two]) = machine();
        let (first, second) = (ask(&mut machine, one), ask(&mut machine, two));
        machine.handle_input(Mono::ZERO, Input::ChannelClosed { worker: one });
        assert_eq!(answers(&mut machine), [(one, first, Err(NoAnswer::Disconnected))]);
        assert_eq!(machine.poll_timeout(), Some(LIMIT));
        machine.handle_timeout(LIMIT);
        let late = NoAnswer::TimedOut { after: LIMIT };
        assert_eq!(answers(&mut machine), [(two, second, Err(late))]);
        assert_eq!(machine.poll_timeout(), None);
    }

    #[test]
    fn a_request_that_was_not_sent_has_no_outcome() {
        let (mut machine, [one, _]) = machine();
        let origin = Origin::Request(RequestId::new(ask(&mut machine, one)));
        let error = crate::SendError::Closed { worker: one };
        machine.handle_input(Mono::ZERO, Input::NotSent { worker: one, origin, error });
        machine.handle_timeout(LIMIT * 2);
        machine.handle_input(LIMIT * 2, Input::ChannelClosed { worker: one });
        assert_eq!(answers(&mut machine), []);
    }

    #[test]
    fn an_answer_to_a_request_that_was_never_made_is_a_message() {
        let (mut machine, [one, _]) = machine();
        says(&mut machine, one, answer(1), None);
        let outputs = drain(&mut machine);
        assert!(matches!(outputs[..], [Output::Event(Event::Message { .. })]), "{outputs:?}");
    }

    #[test]
    fn a_descriptor_of_an_answer_is_closed_and_that_of_a_request_passed_on() {
        let (mut machine, [one, _]) = machine();
        let handle = |id| Some(Handle { id: HandleId(id), kind: HandleKind::NetSocket, key: None });
        let id = ask(&mut machine, one);
        says(&mut machine, one, answer(id), handle(1));
        let outputs = drain(&mut machine);
        let [Output::CloseHandle { handle: HandleId(1) }, Output::Event(_)] = outputs[..] else {
            panic!("{outputs:?}")
        };
        let asks = Exchange::Request { id: 9, body: Value::Null }.into_message();
        says(&mut machine, one, asks, handle(2));
        let outputs = drain(&mut machine);
        let [Output::Event(Event::Request { handle: Some(_), .. })] = outputs[..] else {
            panic!("{outputs:?}")
        };
    }

    /// Any message shows that its worker is well, whatever it is for.
    #[test]
    fn every_kind_of_message_is_a_sign_of_life() {
        let mut config = Config::default();
        config.limits.unresponsive_after = Some(LIMIT);
        let (mut machine, [one, _]) = machine();
        machine.handle_input(Mono::ZERO, Input::Setup { config });
        let id = ask(&mut machine, one);
        let request = Exchange::Request { id: 1, body: Value::Null }.into_message();
        let kinds = [Value::from("tick"), request, answer(id), answer(id)];
        for n in 0..100_u32 {
            let now = LIMIT / 2 * n;
            if n < 50 {
                let message = Message::User(kinds[n as usize % 4].clone());
                let input = Input::Received { worker: one, message, handle: None, arrived: true };
                machine.handle_input(now, input);
            }
            machine.handle_timeout(now);
            let is_silent = |output: &Output| {
                let Output::Event(Event::Plain(event)) = output else { return false };
                matches!(event, crate::Event::Unresponsive { worker, .. } if *worker == one)
            };
            // It never reads a probe.
            let outputs = drain(&mut machine);
            for _ in outputs.iter().filter(|o| matches!(o, Output::LookAtProbe { .. })) {
                let look = Input::ProbeLooked { worker: one, read: Some(false) };
                machine.handle_input(now, look);
            }
            let silent = outputs.iter().any(is_silent);
            assert!(!silent || n > 50, "it said something {n} half seconds after the start");
            if silent {
                return;
            }
        }
        panic!("a worker that says nothing more is silent");
    }
}
