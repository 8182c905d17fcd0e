//! What a primary does whose only worker takes no more connections.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::Duration;

use super::case::{Case, Start, Who};
use super::cpu;
use super::load::REQUEST;
use super::plan::{Bench, Part};
use super::rounds::Row;
use super::samples::Measured;
use super::table::Column;
use crate::node::Node;
use crate::step;

/// Of one processor, while the worker refuses.
pub(crate) const PRIMARY: &str = "primary CPU %";
pub(crate) const WORKER: &str = "worker CPU %";

/// Clients that are refused.
const REFUSED: usize = 8;

/// Until the first has its place, and the others have been refused once or more.
const SETTLES: Duration = Duration::from_millis(200);

pub(crate) fn columns() -> Vec<Column> {
    vec![Column::plain(PRIMARY, 2), Column::plain(WORKER, 2)]
}

/// A cluster of one worker, which takes one connection.
pub(crate) struct Refusing(Case);

pub(crate) fn all(nodes: &[Node]) -> Vec<Refusing> {
    let node = |node: &Node| [Who::Node(node.clone()), Who::OursWithNode(node.clone())];
    let who = nodes.iter().flat_map(node).chain([Who::Ours]);
    who.map(|who| Refusing(Case::new(who, "handoff"))).collect()
}

impl Row for Refusing {
    fn row(&self) -> Measured {
        self.0.row(Part::Refusing)
    }

    fn measure(&self, bench: &Bench) -> io::Result<Vec<(String, f64)>> {
        let start = Start { max_connections: Some(1), ..Start::of(1) };
        let cluster = self.0.start(bench, start)?;
        let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, cluster.port()));
        // It asks for nothing, and so keeps its place.
        let _client = connect()?;
        thread::sleep(SETTLES);
        let mut refused = (0..REFUSED).map(|_| connect()).collect::<io::Result<Vec<_>>>()?;
        is_not_served(&mut refused[0])?;
        let used = || {
            let workers = cpu::used_by_all(cluster.workers())?;
            io::Result::Ok([cpu::used(cluster.primary())?, workers])
        };
        let (begun, before) = (step::now(), used()?);
        thread::sleep(bench.effort.refusing);
        let (after, took) = (used()?, begun.elapsed().as_secs_f64());
        let percent = |of: usize| (after[of] - before[of]).as_secs_f64() / took * 100.0;
        Ok(vec![(PRIMARY.to_owned(), percent(0)), (WORKER.to_owned(), percent(1))])
    }
}

/// Asks, and waits a little for an answer.
///
/// # Errors
/// If there is one: then nothing is refused.
fn is_not_served(client: &mut TcpStream) -> io::Result<()> {
    client.write_all(REQUEST)?;
    client.set_read_timeout(Some(SETTLES))?;
    match client.read(&mut [0; 64]) {
        Ok(answered) if answered > 0 => Err(io::Error::other("it refuses nothing")),
        // Some close what they refuse.
        _ => Ok(()),
    }
}
