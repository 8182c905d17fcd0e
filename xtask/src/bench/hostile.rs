//! What an attack on the primary costs a well-behaved worker beside the attacker: how long the worst answer
//! takes, and the same without the attack.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::cluster::Cluster;
use super::interrupt;
use super::load::REQUEST;
use super::plan::{Bench, Part};
use super::rounds::Row;
use super::samples::Measured;
use super::table::Column;
use crate::step;

pub(crate) const WORST: &str = "worst probe ms";
const MEDIAN: &str = "p50 probe ms";
const PROBES: &str = "probes";

/// How often the well-behaved worker is probed.
const PAUSE: Duration = Duration::from_millis(20);
/// A probe that takes longer ends the bench.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn columns() -> Vec<Column> {
    [(PROBES, 0), (MEDIAN, 2), (WORST, 1)].map(|(name, digits)| Column::plain(name, digits)).into()
}

/// A cluster of two workers, one of which attacks (`cluster-cli/tests/fixtures/hostile`).
pub(crate) struct Hostile {
    attack: &'static str,
    arguments: &'static [&'static str],
    placement: &'static str,
}

/// The control run first: its second worker does nothing.
pub(crate) const CONTROL: &str = "hostile-silent";

pub(crate) fn all() -> Vec<Hostile> {
    let attack = |attack, arguments| Hostile { attack, arguments, placement: "handoff" };
    vec![
        attack("silent", &[]),
        attack("linger-unexpected", &["SINK"]),
        attack("linger-accepted", &["SINK"]),
        attack("messages", &["zeros", "1000000"]),
        attack("messages", &["nesting", "1000000"]),
        attack("acks", &["1000000000"]),
        attack("hoard", &[]),
        Hostile { placement: "kernel", ..attack("blocking-listener", &[]) },
    ]
}

impl Hostile {
    /// Whether the bar is for it, too. Under `kernel` connections wait at the attacker's own socket until it is
    /// found to be stuck (`Limits::stuck_after`): that is the time that this row shows.
    pub(crate) fn has_bar(&self) -> bool {
        self.id() != CONTROL && self.placement == "handoff"
    }

    pub(crate) fn id(&self) -> String {
        match self.arguments {
            [shape, _] => format!("hostile-{}-{shape}", self.attack),
            _ => format!("hostile-{}", self.attack),
        }
    }

    pub(crate) fn title(&self) -> String {
        match (self.attack, self.arguments) {
            ("silent", _) => "without an attack".to_owned(),
            (attack, [shape, _]) => format!("{attack} {shape}"),
            (attack, _) if self.placement != "handoff" => format!("{attack}, {}", self.placement),
            (attack, _) => attack.to_owned(),
        }
    }
}

impl Row for Hostile {
    fn row(&self) -> Measured {
        let (id, title) = (self.id(), self.title());
        Measured { part: Part::Hostile, id, title, peer: false, node: None }
    }

    fn measure(&self, bench: &Bench) -> io::Result<Vec<(String, f64)>> {
        let sink = sink()?;
        let mut command = Command::new(&bench.programs.cluster);
        command.args(["run", "--json", "-n", "2", "--ready", "online", "--max-failures", "0"]);
        command.args(["--backoff-first", "50ms", "--backoff-max", "50ms"]);
        command.args(["--placement", self.placement]).arg(&bench.programs.hostile);
        command.args([self.attack, "127.0.0.1:0"]);
        for argument in self.arguments {
            command.arg(if *argument == "SINK" { &sink } else { *argument });
        }
        cluster_worker::scrub(&mut command);
        let cluster = Cluster::start_attacked(&mut command)?;
        let begun = step::now();
        let mut took = Vec::new();
        while begun.elapsed() < bench.effort.hostile {
            interrupt::check()?;
            took.push(probe(cluster.port())?);
            thread::sleep(PAUSE);
        }
        took.sort_unstable();
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let worst = took.last().copied().unwrap_or_default();
        let count = f64::from(u32::try_from(took.len()).unwrap_or(u32::MAX));
        let median = took.get(took.len() / 2).copied().unwrap_or_default();
        Ok(vec![
            (PROBES.to_owned(), count),
            (MEDIAN.to_owned(), ms(median)),
            (WORST.to_owned(), ms(worst)),
        ])
    }
}

/// Asks for a page on a new connection; how long it took.
fn probe(port: u16) -> io::Result<Duration> {
    let begun = step::now();
    let mut connection = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.write_all(REQUEST)?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer)?;
    match answer.starts_with(b"HTTP/1.1 200 ") {
        true => Ok(begun.elapsed()),
        false => Err(io::Error::other("the well-behaved worker did not answer a probe")),
    }
}

/// The address of a peer that keeps connections and never reads.
fn sink() -> io::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?.to_string();
    thread::spawn(move || {
        let mut kept = Vec::new();
        for connection in listener.incoming().flatten() {
            // The attacker makes a few thousand of them; the older ones are closed.
            kept.push(connection);
            if kept.len() > 256 {
                kept.drain(..128);
            }
        }
    });
    Ok(address)
}
