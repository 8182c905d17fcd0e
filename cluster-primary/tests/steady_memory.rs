//! Once it has been busy for a while the machine takes no memory for a connection.

#[path = "support/machine.rs"]
mod support;

use cluster_primary::machine::{Input, Machine, Output, SendHandle};
use cluster_primary::proto::{ClusterBody, ClusterMessage, Message};
use cluster_primary::{ConnId, Mono, PolicyName, ServerId, Settings, WorkerId};
use support::Cluster;

/// So many connections come at once, and go to the workers that have room.
const BURST: u64 = 40;

struct Traffic {
    last: u64,
    sent: Vec<(WorkerId, u64)>,
    seqs: u64,
}

impl Traffic {
    fn burst(&mut self, machine: &mut Machine, server: ServerId) {
        let mut open = BURST;
        for _ in 0..BURST {
            self.last += 1;
            let conn = ConnId(self.last);
            let client = Some(self.last as u32 % 7);
            machine.handle_input(Mono::ZERO, Input::Accepted { server, conn, client });
        }
        machine.handle_timeout(Mono::ZERO);
        while open > 0 {
            while let Some(output) = machine.poll_output() {
                match output {
                    Output::Send {
                        worker,
                        message: Message::Cluster(ClusterMessage { seq, .. }),
                        handle: Some(SendHandle::Conn { .. }),
                    } => self.sent.push((worker, seq)),
                    Output::DropConn { .. } => open -= 1,
                    other => panic!("{other:?}"),
                }
            }
            for (worker, ack) in self.sent.drain(..) {
                self.seqs += 1;
                let message = Message::cluster(self.seqs, Some(ack), ClusterBody::Accepted(true));
                let input = Input::Received { worker, message, handle: None, arrived: true };
                machine.handle_input(Mono::ZERO, input);
            }
        }
    }
}

#[test]
fn a_connection_takes_no_memory() {
    for &policy in PolicyName::ALL {
        let mut cluster = Cluster::with(Settings::new("app").policy(policy));
        let workers = [(); 3].map(|()| cluster.fork());
        let server = cluster.serves(workers[0], 80);
        for worker in &workers[1..] {
            cluster.serves(*worker, 80);
        }
        let mut traffic = Traffic { last: 0, sent: Vec::new(), seqs: 100 };
        (0..20).for_each(|_| traffic.burst(&mut cluster.machine, server));
        let taken = allocation_counter::measure(|| {
            (0..20).for_each(|_| traffic.burst(&mut cluster.machine, server));
        });
        assert_eq!(taken.count_total, 0, "{policy}: {taken:?}");
    }
}
