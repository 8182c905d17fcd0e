//! The gate against a model of what Node does with frames while a handle is un-ACKed.
//!
//! The model is made from Node's behaviour, in its terms: a queue that is there only while an
//! answer is awaited (or is about to be, behind frames that are being released), and the one
//! message that would be sent again. It knows nothing of the gate.

use std::collections::VecDeque;

use cluster_proto::{FrameClass, Gate, GateOutput, UnexpectedAnswer};
use proptest::collection::vec;
use proptest::prelude::*;

/// What Node keeps of a channel's sending side.
#[derive(Default)]
struct Node {
    /// There while a handle is un-ACKed: what waits for the answer.
    queue: Option<VecDeque<(FrameClass, u32)>>,
    /// The handle that is un-ACKed.
    un_acked: Option<u32>,
    /// How often it was sent again, where it is of a kind that is.
    pending: Option<u32>,
    /// What Node does, in order.
    done: Vec<GateOutput<u32>>,
    /// Answers a Node at the other end gives too many: to a handle that is wrapped, and arrives at
    /// last, it answers for each wrapping. A Node dies of them; the gate lets them pass.
    surplus: u32,
}

impl Node {
    fn send(&mut self, class: FrameClass, key: u32) {
        let waits = class != FrameClass::Answer && self.queue.is_some();
        if waits {
            self.queue.as_mut().unwrap().push_back((class, key));
            return;
        }
        self.done.push(GateOutput::Send(key));
        if let FrameClass::Handle { resend } = class {
            self.queue = Some(VecDeque::new());
            self.un_acked = Some(key);
            self.pending = resend.then_some(0);
        }
    }

    fn answer(&mut self, arrived: bool) -> Result<(), UnexpectedAnswer> {
        let Some(queue) = self.queue.take() else {
            // Node's assertion.
            return match self.surplus {
                0 => Err(UnexpectedAnswer),
                _ => {
                    self.surplus -= 1;
                    Ok(())
                }
            };
        };
        let key = self.un_acked.expect("a queue is there, so an answer is awaited");
        match (arrived, self.pending) {
            (false, Some(times @ 0..=2)) => {
                self.pending = Some(times + 1);
                self.done.push(GateOutput::Resend(key));
                self.queue = Some(VecDeque::new());
            }
            (true, times) => {
                self.surplus += times.unwrap_or(0);
                self.release(GateOutput::Delivered(key));
            }
            (false, _) => self.release(GateOutput::Undelivered(key)),
        }
        // Each that waited is sent as if for the first time, and may have to wait again.
        for (class, key) in queue {
            self.send(class, key);
        }
        Ok(())
    }

    fn release(&mut self, output: GateOutput<u32>) {
        (self.un_acked, self.pending) = (None, None);
        self.done.push(output);
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Submit(FrameClass),
    Ack,
    Nack,
    /// Take what the gate has put out so far.
    Drain,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Submit(FrameClass::Plain)),
        1 => Just(Step::Submit(FrameClass::Answer)),
        2 => Just(Step::Submit(FrameClass::Handle { resend: false })),
        2 => Just(Step::Submit(FrameClass::Handle { resend: true })),
        3 => Just(Step::Ack),
        3 => Just(Step::Nack),
        2 => Just(Step::Drain),
    ]
}

#[derive(Clone, Copy, Debug)]
enum LateStep {
    Submit(FrameClass),
    Abandon,
    Answer { arrived: bool },
}

fn late_step() -> impl Strategy<Value = LateStep> {
    prop_oneof![
        Just(LateStep::Submit(FrameClass::Handle { resend: false })),
        Just(LateStep::Submit(FrameClass::Connection)),
        Just(LateStep::Abandon),
        any::<bool>().prop_map(|arrived| LateStep::Answer { arrived }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn at_window_one_the_gate_does_what_node_does(steps in vec(step(), 0..60)) {
        let (mut gate, mut node) = (Gate::new(), Node::default());
        let mut done = Vec::new();
        for (key, step) in (0_u32..).zip(steps) {
            match step {
                Step::Submit(class) => {
                    gate.submit(class, key);
                    node.send(class, key);
                }
                Step::Ack => prop_assert_eq!(gate.ack(), node.answer(true)),
                Step::Nack => prop_assert_eq!(gate.nack(), node.answer(false)),
                Step::Drain => done.extend(std::iter::from_fn(|| gate.poll_output())),
            }
            prop_assert_eq!(gate.held(), node.queue.as_ref().map_or(0, VecDeque::len));
            prop_assert_eq!(gate.in_flight(), usize::from(node.un_acked.is_some()));
        }
        done.extend(std::iter::from_fn(|| gate.poll_output()));
        prop_assert_eq!(done, node.done);
        prop_assert_eq!(gate.is_idle(), node.queue.is_none());
    }

    /// A peer that answers what was abandoned late, or never: every other frame gets the answer that
    /// was meant for it.
    #[test]
    fn a_late_answer_is_charged_to_no_other_frame(
        window in 1_usize..6,
        answers_late: bool,
        steps in vec(late_step(), 0..60),
    ) {
        let mut gate = Gate::with_window(window);
        // What the peer has to answer, in order, and whether it was abandoned meanwhile.
        let mut due = VecDeque::<(u32, bool)>::new();
        let (mut expected, mut ended) = (Vec::new(), Vec::new());
        for (key, step) in (0_u32..).zip(steps) {
            match step {
                LateStep::Submit(class) => gate.submit(class, key),
                LateStep::Abandon => {
                    let oldest = due.iter().position(|(_, abandoned)| !abandoned);
                    prop_assert_eq!(gate.oldest(), oldest.map(|place| &due[place].0));
                    gate.abandon();
                    if let Some(place) = oldest {
                        expected.push(GateOutput::Undelivered(due[place].0));
                        due[place].1 = true;
                        if !answers_late {
                            due.remove(place);
                        }
                    }
                }
                LateStep::Answer { arrived } => match due.pop_front() {
                    Some((_, true)) => prop_assert_eq!(gate.nack(), Ok(())),
                    // One that ignores what was abandoned refuses nothing else either.
                    Some((key, false)) if arrived || !answers_late => {
                        prop_assert_eq!(gate.ack(), Ok(()));
                        expected.push(GateOutput::Delivered(key));
                        prop_assert_eq!(gate.abandoned(), 0);
                    }
                    Some((key, false)) => {
                        prop_assert_eq!(gate.nack(), Ok(()));
                        expected.push(GateOutput::Undelivered(key));
                    }
                    None => prop_assert_eq!(gate.ack(), Err(UnexpectedAnswer)),
                },
            }
            while let Some(output) = gate.poll_output() {
                match output {
                    GateOutput::Send(key) => due.push_back((key, false)),
                    output => ended.push(output),
                }
            }
            let late = due.iter().filter(|(_, abandoned)| *abandoned).count();
            prop_assert_eq!(gate.in_flight(), due.len() - late);
        }
        prop_assert_eq!(ended, expected);
        while gate.in_flight() > 0 {
            gate.ack().unwrap();
        }
        prop_assert_eq!(gate.held(), 0);
    }

    /// What holds at any window: order is kept but for answers, no more than the window is under
    /// way, and what is acknowledged to the end leaves nothing behind.
    #[test]
    fn a_wider_window_loses_and_reorders_nothing(
        window in 1_usize..6,
        steps in vec(step(), 0..60),
    ) {
        let mut gate = Gate::with_window(window);
        let (mut submitted, mut handles) = (Vec::new(), Vec::new());
        for (key, step) in (0_u32..).zip(steps) {
            match step {
                Step::Submit(class) => {
                    gate.submit(class, key);
                    if class != FrameClass::Answer {
                        submitted.push(key);
                    }
                    if matches!(class, FrameClass::Handle { .. }) {
                        handles.push(key);
                    }
                }
                Step::Ack => { let _ = gate.ack(); }
                Step::Nack => { let _ = gate.nack(); }
                Step::Drain => {}
            }
            prop_assert!(gate.in_flight() <= window);
        }
        while gate.in_flight() > 0 {
            prop_assert_eq!(gate.ack(), Ok(()));
        }
        let (mut sent, mut let_go) = (Vec::new(), Vec::new());
        while let Some(output) = gate.poll_output() {
            match output {
                GateOutput::Send(key) if submitted.contains(&key) => sent.push(key),
                GateOutput::Send(_) => {}
                GateOutput::Resend(key) => {
                    // All that was sent behind it would have overtaken it.
                    prop_assert_eq!(sent.last(), Some(&key));
                }
                GateOutput::Delivered(key) | GateOutput::Undelivered(key) => let_go.push(key),
            }
        }
        prop_assert_eq!(sent, submitted);
        prop_assert_eq!(let_go, handles);
        prop_assert!(gate.is_idle());
    }
}
