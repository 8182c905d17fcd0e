//! Once it has been busy for a while a primary takes no memory for a connection: neither what
//! decides nor what does it. (Where loads count it takes some for what workers say of theirs.) (Of this thread: the clients are another's.)

#[path = "support/process.rs"]
mod support;

use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use cluster_primary::{PolicyName, Settings};
use support::{Cluster, example, serve_from_any_worker};

/// Connections at a time.
const CROWD: usize = 50;
/// How long the primary waits before it is looked at again.
const TURN: Duration = Duration::from_millis(20);

/// Connects that often whenever it is told to.
fn clients(address: SocketAddr) -> (Sender<usize>, Receiver<()>) {
    let (order, orders) = channel::<usize>();
    let (done, is_done) = channel();
    thread::spawn(move || {
        for crowds in orders {
            for _ in 0..crowds {
                let clients: Vec<_> =
                    (0..CROWD).map(|_| TcpStream::connect(address).expect("it listens")).collect();
                for client in clients {
                    serve_from_any_worker(client);
                }
            }
            done.send(()).expect("the test waits");
        }
    });
    (order, is_done)
}

#[test]
fn a_connection_takes_no_memory() {
    for &policy in PolicyName::ALL {
        let mut cluster = Cluster::with(Settings::new(example("puppet")).policy(policy));
        let workers = [cluster.fork(), cluster.fork()];
        let address = cluster.listen(workers[0], 0);
        cluster.listen(workers[1], 0);
        let (order, done) = clients(address);
        let mut served = |crowds: usize| {
            order.send(crowds).expect("it is there");
            while done.try_recv().is_err() {
                cluster.primary.next_event_within(TURN).expect("a poll");
            }
        };
        let connections = 10 * CROWD as u64;
        // Where loads count each worker says how many connections it holds whenever that has
        // changed: twice for each, and an object takes memory.
        let most = if policy == PolicyName::LeastConnections { 6 * connections } else { 0 };
        // Windows grow, and with them the queues of what is under way: until they have.
        let taken: Vec<_> = (0..20)
            .map(|_| allocation_counter::measure(|| served(10)).count_total)
            .take_while(|taken| *taken > most)
            .collect();
        assert!(taken.len() < 20, "{policy}: for {connections} connections each: {taken:?}");
    }
}
