//! At a window of one the order is Node's, compared with a plain model of its `RoundRobinHandle`.
//!
//! In Node a worker that refuses may be asked again at once. Here it is not, so the first test keeps
//! to runs in which that cannot show: only workers that have closed the server refuse, as Node's own
//! workers do. `refusal_order.rs` has the rest.

use cluster_sched::{Config, Input, Mono, Output, RoundRobin, Scheduler};
use proptest::prelude::*;
use std::collections::VecDeque;

/// Node's algorithm, and nothing else.
#[derive(Default)]
struct Node {
    all: Vec<u32>,
    free: VecDeque<u32>,
    handles: VecDeque<u32>,
    /// Messages whose reply has not come, in the order they were sent.
    sent: Vec<(u32, u32)>,
    log: Vec<Output<u32, u32>>,
}

impl Node {
    fn add(&mut self, worker: u32) {
        self.all.push(worker);
        self.handoff(worker);
    }

    fn remove(&mut self, worker: u32) {
        self.all.retain(|&other| other != worker);
        self.free.retain(|&other| other != worker);
    }

    fn distribute(&mut self, handle: u32) {
        self.handles.push_back(handle);
        if let Some(worker) = self.free.pop_front() {
            self.handoff(worker);
        }
    }

    fn handoff(&mut self, worker: u32) {
        if !self.all.contains(&worker) {
            return;
        }
        let Some(conn) = self.handles.pop_front() else {
            self.free.push_back(worker);
            return;
        };
        self.sent.push((worker, conn));
        self.log.push(Output::Assign { conn, worker });
    }

    fn reply(&mut self, nth: usize, accepted: bool) {
        let (worker, conn) = self.sent.remove(nth);
        if accepted {
            self.log.push(Output::Done { conn, worker });
        } else {
            self.distribute(conn);
        }
        self.handoff(worker);
    }
}

/// Runs the same steps through both, and returns how many assignments there were.
fn compare(steps: &[(u8, u8)]) -> usize {
    let mut node = Node::default();
    let mut scheduler = Scheduler::new(RoundRobin::new(), Config::default());
    let (mut next_worker, mut next_conn) = (0, 0);
    for &(op, arg) in steps {
        let nth = usize::from(arg);
        let input = match op % 16 {
            // Ids are not used again, as in Node.
            0 => {
                next_worker += 1;
                node.add(next_worker);
                Input::Join { worker: next_worker, slot: 0 }
            }
            // At the last one Node closes the server.
            1 if node.all.len() > 1 => {
                let worker = node.all[nth % node.all.len()];
                node.remove(worker);
                Input::Retire { worker }
            }
            2..=8 => {
                next_conn += 1;
                node.distribute(next_conn);
                Input::Arrive { conn: next_conn, client: Some(next_conn) }
            }
            _ if !node.sent.is_empty() => {
                let nth = nth % node.sent.len();
                let (worker, conn) = node.sent[nth];
                let accepted = node.all.contains(&worker) || arg % 3 == 0;
                node.reply(nth, accepted);
                match accepted {
                    true => Input::Accepted { worker, conn },
                    false => Input::Refused { worker, conn },
                }
            }
            _ => continue,
        };
        scheduler.handle_input(Mono::ZERO, input).unwrap();
    }
    let outputs: Vec<_> = std::iter::from_fn(|| scheduler.poll_output()).collect();
    assert_eq!(outputs, node.log);
    assert_eq!(scheduler.waiting(), node.handles.len());
    assert_eq!(scheduler.poll_timeout(), None);
    node.log.iter().filter(|output| matches!(output, Output::Assign { .. })).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_order_is_nodes(steps in prop::collection::vec(any::<(u8, u8)>(), 0..400)) {
        compare(&steps);
    }
}

/// The comparison above would be empty if random steps assigned nothing.
#[test]
fn the_steps_assign_something() {
    let steps: Vec<(u8, u8)> = (0..400u32).map(|i| ((i * 7 % 16) as u8, i as u8)).collect();
    assert!(compare(&steps) > 50);
}
