//! Users' messages to workers: whether they are sent, and what is reported of them.

use cluster_proto::{Exchange, Message};
use cluster_sched::Mono;

use super::base::Machine;
use super::io::{Origin, Output, Sending};
use super::worker::Worker;
use crate::error::SendError;
use crate::event::Event;
use crate::id::{SendId, WorkerId};
use crate::request::RequestId;

impl Machine {
    /// The user sends something. To a worker without an open channel nothing is sent.
    pub(super) fn send(&mut self, now: Mono, worker: WorkerId, sending: Sending, handle: bool) {
        let open = |w: &&mut Worker| w.connected && !w.channel_closes && !w.failed;
        let Some(to) = self.workers.get_mut(&worker).filter(open) else { return };
        let (message, origin) = match sending {
            Sending::Message(message) => (message, Origin::Message),
            Sending::Reported(message) => {
                self.last_send += 1;
                let id = SendId(self.last_send);
                to.sends.begin(id);
                (message, Origin::Reported(id))
            }
            Sending::Request { body, timeout } => {
                let id = self.requests.begin(now, worker, timeout);
                let message = Exchange::Request { id, body }.into_message();
                (Message::User(message), Origin::Request(RequestId::new(id)))
            }
            Sending::Answer { id, answer } => {
                let origin = if answer.is_ok() { Origin::Answer(id) } else { Origin::Message };
                (Message::User(Exchange::Response { id, answer }.into_message()), origin)
            }
        };
        self.put(Output::Submit { worker, message, handle, origin });
    }

    /// The channel did not take a message: the user has the error, and nothing is reported of it any more.
    pub(super) fn not_sent(
        &mut self,
        now: Mono,
        worker: WorkerId,
        origin: Origin,
        error: &SendError,
    ) {
        match origin {
            Origin::Message => {}
            Origin::Reported(id) => {
                if let Some(to) = self.known_mut(worker) {
                    to.sends.end(id);
                }
            }
            Origin::Request(id) => {
                self.requests.end(id.number(), worker);
            }
            // The worker waits for an answer: it is told that there is none. (A refusal is short, and a text.)
            Origin::Answer(id) => {
                if matches!(error, SendError::Encode { .. } | SendError::TooLong { .. }) {
                    let answer = Err(format!("the answer could not be sent: {error}"));
                    self.send(now, worker, Sending::Answer { id, answer }, false);
                }
            }
        }
    }

    /// More waits for a worker than the high-water mark: the user is told when all of it is written.
    pub(super) fn high_water(&mut self, worker: WorkerId) {
        let Some(to) = self.known_mut(worker) else { return };
        if to.sends.await_drained() {
            self.put(Output::MarkDrained { worker });
        }
    }

    /// All is written that waited for a worker when that was last marked.
    pub(super) fn drained(&mut self, worker: WorkerId) {
        let Some(to) = self.known_mut(worker) else { return };
        if to.sends.take_drained() {
            self.event(Event::Drained { worker });
        }
    }

    /// A message is written, or the worker has answered for its descriptor.
    pub(super) fn sent(&mut self, worker: WorkerId, id: SendId, delivered: bool) {
        let Some(to) = self.known_mut(worker) else { return };
        if to.sends.end(id) {
            let error = (!delivered).then_some(SendError::Undelivered { worker });
            self.event(Event::Sent { worker, id, error });
        }
    }

    /// The channel of a worker is closed: nothing more is written to it.
    pub(super) fn end_sends_to(&mut self, worker: WorkerId) {
        let Some(to) = self.known_mut(worker) else { return };
        for id in to.sends.end_all() {
            let error = Some(SendError::Closed { worker });
            self.event(Event::Sent { worker, id, error });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Config, Event as Told, Input};
    use super::*;

    fn machine() -> (Machine, WorkerId) {
        let mut machine = Machine::new(Config::default(), 1);
        let worker = machine.next_worker();
        machine.handle_input(Mono::ZERO, Input::Forked { worker, pid: 1, slot: None });
        outputs(&mut machine);
        (machine, worker)
    }

    fn outputs(machine: &mut Machine) -> Vec<Output> {
        std::iter::from_fn(|| machine.poll_output()).collect()
    }

    fn input(machine: &mut Machine, input: Input) -> Vec<Output> {
        machine.handle_input(Mono::ZERO, input);
        outputs(machine)
    }

    fn reported(machine: &mut Machine, worker: WorkerId) -> SendId {
        let sending = Sending::Reported(Message::User("hello".into()));
        match input(machine, Input::Send { worker, sending, handle: false }).pop() {
            Some(Output::Submit { origin: Origin::Reported(id), .. }) => id,
            other => panic!("{other:?}"),
        }
    }

    /// What is told of messages, in its order.
    fn told(outputs: Vec<Output>) -> Vec<String> {
        let text = |output| match output {
            Output::Event(Told::Plain(event @ (Event::Sent { .. } | Event::Drained { .. }))) => {
                Some(format!("{event:?}"))
            }
            _ => None,
        };
        outputs.into_iter().filter_map(text).collect()
    }

    #[test]
    fn each_message_that_is_to_be_reported_is_so_once() {
        let (mut machine, worker) = machine();
        let (first, second) = (reported(&mut machine, worker), reported(&mut machine, worker));
        let sent = Input::Sent { worker, id: first, delivered: true };
        assert_eq!(told(input(&mut machine, sent.clone())).len(), 1);
        assert_eq!(told(input(&mut machine, sent)).len(), 0);
        let lost = told(input(&mut machine, Input::ChannelClosed { worker }));
        assert_eq!(lost.len(), 1);
        assert!(lost[0].contains(&format!("{second:?}")) && lost[0].contains("Closed"), "{lost:?}");
    }

    #[test]
    fn the_users_wait_for_a_full_queue_is_marked_and_told_once() {
        let (mut machine, worker) = machine();
        let marks = |outputs: Vec<Output>| {
            outputs.iter().filter(|o| matches!(o, Output::MarkDrained { .. })).count()
        };
        assert_eq!(marks(input(&mut machine, Input::HighWater { worker })), 1);
        assert_eq!(marks(input(&mut machine, Input::HighWater { worker })), 0);
        assert_eq!(told(input(&mut machine, Input::Drained { worker })).len(), 1);
        assert_eq!(told(input(&mut machine, Input::Drained { worker })).len(), 0);
        assert_eq!(marks(input(&mut machine, Input::HighWater { worker })), 1);
    }

    #[test]
    fn nothing_is_sent_to_a_channel_that_closes_or_has_closed() {
        for closing in [
            |worker| Input::CloseChannel { worker },
            |worker| Input::ChannelClosed { worker },
            |worker| Input::ChannelFailed { worker, error: crate::WorkerError::TooDeep },
        ] {
            let (mut machine, worker) = machine();
            input(&mut machine, closing(worker));
            let request = Sending::Request { body: "x".into(), timeout: Duration::from_secs(1) };
            for sending in [request, Sending::Reported(Message::User("x".into()))] {
                let outputs = input(&mut machine, Input::Send { worker, sending, handle: true });
                assert!(outputs.is_empty(), "{outputs:?}");
            }
            assert_eq!(machine.poll_timeout(), None, "nothing is awaited");
        }
    }

    #[test]
    fn an_answer_that_cannot_be_written_is_refused_and_a_full_queue_is_left_alone() {
        let (mut machine, worker) = machine();
        let sending = || Sending::Answer { id: 7, answer: Ok("Ada".into()) };
        for (error, refused) in [
            (SendError::TooLong { length: 9, limit: 8 }, true),
            (SendError::Encode { error: cluster_proto::EncodeError::Reserved }, true),
            (SendError::QueueFull { worker, limit: 8 }, false),
        ] {
            let sent =
                input(&mut machine, Input::Send { worker, sending: sending(), handle: false });
            let [Output::Submit { origin, .. }] = sent[..] else { panic!("{sent:?}") };
            let said = input(&mut machine, Input::NotSent { worker, origin, error });
            assert_eq!(said.len(), usize::from(refused), "{said:?}");
            // A refusal that is not sent either is not tried again.
            for output in said {
                let Output::Submit { origin: Origin::Message, .. } = output else {
                    panic!("{output:?}")
                };
            }
        }
    }
}
