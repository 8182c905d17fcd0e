//! What `cluster status` prints.

use super::units::{bytes, count, grouped, latency, many, or_dash, time};
use super::{Status, Vacant, Worker, WorkerState};

/// No line of the head is longer.
const WIDTH: usize = 96;

/// The columns of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Slot,
    Worker,
    Pid,
    State,
    Generation,
    Age,
    Restarts,
    /// The same with a shorter head.
    RestartsShort,
    Connections,
    InFlight,
    Held,
    Ack,
    Requests,
    Active,
    Delay,
    Rss,
    Cpu,
}

use Column::{
    Ack, Active, Age, Connections, Cpu, Delay, Generation, Held, InFlight, Pid, Requests, Restarts,
    RestartsShort, Rss, Slot, State,
};

/// The columns where no worker has an agent.
const PLAIN: [Column; 13] = [
    Slot,
    Column::Worker,
    Pid,
    State,
    Generation,
    Age,
    Restarts,
    Connections,
    InFlight,
    Held,
    Ack,
    Rss,
    Cpu,
];

/// The columns where at least one worker has an agent. There is no room for all of both: the delay
/// and the requests in progress show an overloaded worker better than `FLIGHT` and `ACK`, and the
/// state shows which workers a reload is going to replace.
const WITH_AGENTS: [Column; 13] = [
    Slot,
    Column::Worker,
    Pid,
    State,
    Age,
    RestartsShort,
    Connections,
    Held,
    Requests,
    Active,
    Delay,
    Rss,
    Cpu,
];

/// A cluster's status for people.
pub(super) fn render(status: &Status) -> String {
    let mut lines = head(status);
    if !status.workers.is_empty() {
        lines.push(String::new());
        lines.extend(table(
            &status.workers,
            if status.has_agents() { &WITH_AGENTS } else { &PLAIN },
        ));
    }
    if !status.vacant.is_empty() {
        lines.push(String::new());
        lines.extend(status.vacant.iter().map(vacant));
    }
    lines.join("\n")
}

fn head(status: &Status) -> Vec<String> {
    let mut first = "cluster".to_owned();
    if let Some(version) = &status.version {
        first += &format!(" {version}");
    }
    if let Some(pid) = status.pid {
        first += &format!(" (pid {pid})");
    }
    first += &format!(
        ": {}, {}",
        status.state.as_str(),
        if status.unready().is_none() { "ready" } else { "not ready" }
    );
    let mut items = vec![first];
    items.extend(status.uptime_ms.map(|ms| format!("up {}", time(ms))));
    items.extend(status.generations());
    items.extend(status.placing());
    let mut lines = wrapped(items, "; ");

    let mut items = vec![status.readiness()];
    for (state, what) in [
        (WorkerState::Stuck, "stuck"),
        (WorkerState::Stopped, "stopped"),
        (WorkerState::Starting, "starting"),
        (WorkerState::Retiring, "retiring"),
    ] {
        match status.workers.iter().filter(|worker| worker.state == state).count() {
            0 => {}
            workers => items.push(format!("{workers} {what}")),
        }
    }
    let listening = status.listening();
    if let Some((first, others)) = listening.split_first() {
        items.push(format!("listening on {first}"));
        items.extend(others.iter().cloned());
    }
    lines.extend(wrapped(items, ", "));
    if let Some(failure) = &status.reload_failure {
        let ago = failure.ago_ms.map(|ms| format!(" {} ago", time(ms))).unwrap_or_default();
        let text = format!("the last reload failed{ago}: {}", failure.reason);
        lines.extend(wrapped(text.split_whitespace().map(str::to_owned).collect(), " "));
    }
    if let Some(why) = status.paused() {
        lines.extend(wrapped(why.split_whitespace().map(str::to_owned).collect(), " "));
    }
    lines.extend(wrapped(totals(status), ", "));

    let primary = &status.primary;
    let items: Vec<_> = [
        primary.rss_bytes.map(|rss| format!("RSS {}", bytes(rss))),
        primary.cpu_ms.map(|cpu| format!("CPU {}", time(cpu))),
        primary.open_descriptors.map(|open| many(open, "descriptor")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !items.is_empty() {
        lines.push(format!("primary: {}", items.join(", ")));
    }
    lines
}

/// What was counted: connections always, and of the rest what ever happened.
fn totals(status: &Status) -> Vec<String> {
    let totals = &status.totals;
    let mut items = Vec::new();
    items.extend(totals.accepted.map(|n| format!("{} accepted", many(n, "connection"))));
    items.extend(totals.handed_over.map(|n| format!("{} handed over", grouped(n))));
    let rare = [
        (totals.waiting, "waiting"),
        (totals.refused, "refused by a worker"),
        (totals.rescued, "rescued"),
        (totals.shed_full, "shed (too many waited)"),
        (totals.shed_closed, "shed (server closed)"),
        (totals.shed_refused, "shed (refused by all)"),
    ];
    items.extend(rare.into_iter().filter_map(|(n, what)| match n {
        None | Some(0) => None,
        Some(n) => Some(format!("{} {what}", grouped(n))),
    }));
    let rare = [
        (totals.restarts, "restart"),
        (totals.deaths, "death"),
        (totals.boot_failures, "failure to start"),
        (totals.recycled, "worker recycled"),
        (totals.stuck, "worker found stuck"),
        (totals.reloads, "reload"),
        (totals.reloads_failed, "failed reload"),
        (totals.upgrades, "upgrade"),
        (totals.accept_pauses, "pause for want of descriptors"),
        (totals.hand_off_pauses, "pause of hand-offs"),
        (totals.unexpected_handles, "unexpected descriptor"),
        (totals.interrupted_calls, "interrupted call"),
        (totals.stuck_closes, "close that took longer than a second"),
    ];
    items.extend(rare.into_iter().filter_map(|(n, what)| match n {
        None | Some(0) => None,
        Some(n) => Some(plural(n, what)),
    }));
    items
}

/// As [`many`], of words whose first noun takes the plural.
fn plural(n: u64, what: &str) -> String {
    match what.split_once(' ') {
        Some((
            noun,
            rest @ ("to start"
            | "recycled"
            | "found stuck"
            | "for want of descriptors"
            | "of hand-offs"),
        )) => {
            format!("{} {rest}", many(n, noun))
        }
        _ => many(n, what),
    }
}

/// The items in lines of the width.
fn wrapped(items: Vec<String>, between: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for item in items {
        match lines.last_mut() {
            Some(line) if line.chars().count() + between.len() + item.chars().count() < WIDTH => {
                line.push_str(between);
                line.push_str(&item);
            }
            Some(line) => {
                line.push_str(between.trim_end());
                lines.push(format!("  {item}"));
            }
            None => lines.push(item),
        }
    }
    lines
}

impl Column {
    fn head(self) -> &'static str {
        match self {
            Slot => "SLOT",
            Self::Worker => "WORKER",
            Pid => "PID",
            State => "STATE",
            Generation => "GEN",
            Age => "AGE",
            Restarts => "RESTARTS",
            RestartsShort => "RST",
            Connections => "CONNS",
            InFlight => "FLIGHT",
            Held => "HELD",
            Ack => "ACK",
            Requests => "REQS",
            Active => "ACTIVE",
            Delay => "DELAY",
            Rss => "RSS",
            Cpu => "CPU",
        }
    }

    fn cell(self, worker: &Worker) -> String {
        match self {
            Slot => worker.slot.to_string(),
            Self::Worker => worker.worker.to_string(),
            Pid => or_dash(worker.pid, |pid| pid.to_string()),
            State => worker.state.as_str().to_owned(),
            Generation => or_dash(worker.generation, |generation| generation.to_string()),
            Age => or_dash(worker.age_ms, time),
            Restarts | RestartsShort => or_dash(worker.restarts, count),
            Connections => or_dash(worker.connections, count),
            InFlight => or_dash(worker.in_flight, count),
            Held => or_dash(worker.held, count),
            Ack => {
                let mean = worker.ack_latency.as_ref().and_then(|latency| latency.mean_us);
                or_dash(mean, latency)
            }
            Requests => or_dash(worker.requests(), count),
            Active => or_dash(worker.active(), count),
            Delay => or_dash(worker.delay_p99_us(), |us| latency(us as f64)),
            Rss => or_dash(worker.rss_bytes, bytes),
            Cpu => or_dash(worker.cpu_ms, time),
        }
    }
}

fn table(workers: &[Worker], columns: &[Column]) -> Vec<String> {
    let row = |worker| columns.iter().map(|column| column.cell(worker)).collect::<Vec<_>>();
    let mut rows = vec![columns.iter().map(|column| column.head().to_owned()).collect()];
    rows.extend(workers.iter().map(row));
    let length = |text: &String| text.chars().count();
    let width =
        |column: usize| rows.iter().map(|row| length(&row[column])).max().unwrap_or_default();
    let widths: Vec<_> = (0..columns.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells =
            row.iter().zip(&widths).zip(columns).map(|((cell, width), column)| match column {
                State => format!("{cell:width$}"),
                _ => format!("{cell:>width$}"),
            });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn vacant(slot: &Vacant) -> String {
    let mut items = vec![format!("slot {} is vacant", slot.slot)];
    items.extend(slot.restarts.filter(|n| *n > 0).map(|n| many(n, "restart")));
    items.extend(slot.failures.filter(|n| *n > 0).map(|n| many(n, "failure")));
    items.extend(slot.last_death.as_ref().map(|death| format!("last: {death}")));
    items.extend(slot.retry_in_ms.map(|ms| format!("tried again in {}", time(ms))));
    items.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::{full, without_agents};
    use crate::status::{self, Address, Latency};

    #[test]
    fn a_cluster_with_everything() {
        let expected = include_str!("full.txt");
        assert_eq!(render(&full()), expected.trim_end(), "\n{}\n", render(&full()));
    }

    #[test]
    fn without_agents_there_are_no_columns_for_them() {
        let shown = render(&without_agents());
        let expected = include_str!("plain.txt");
        assert_eq!(shown, expected.trim_end(), "\n{shown}\n");
    }

    #[test]
    fn a_cluster_of_which_nothing_is_known() {
        assert_eq!(render(&Status::default()), "cluster: unknown, not ready\n0 workers ready");
        let one = Status { workers: vec![Worker::default()], ..Status::default() };
        let expected = "\
cluster: unknown, not ready
0 workers ready

SLOT  WORKER  PID  STATE    GEN  AGE  RESTARTS  CONNS  FLIGHT  HELD  ACK  RSS  CPU
   0       0    –  unknown    –    –         –      –       –     –    –    –    –";
        assert_eq!(render(&one), expected);
    }

    #[test]
    fn however_large_the_numbers_are_it_fits() {
        let latency = Latency { mean_us: Some(99e7), ..Latency::default() };
        let agent = status::Agent {
            requests: Some(u64::MAX),
            active: Some(u64::from(u32::MAX)),
            event_loop_delay_us: Some(status::Delay { p50: None, p99: Some(u64::MAX >> 12) }),
            heap_used_bytes: Some(u64::MAX),
        };
        let worker = |slot| Worker {
            slot,
            worker: 99_999,
            pid: Some(4_194_304),
            state: WorkerState::Starting,
            generation: Some(999),
            age_ms: Some(86_400_000 * 99),
            restarts: Some(u64::MAX),
            connections: Some(u64::MAX),
            in_flight: Some(999),
            held: Some(u64::MAX),
            ack_latency: Some(latency.clone()),
            agent: Some(agent.clone()),
            rss_bytes: Some(u64::MAX),
            cpu_ms: Some(86_400_000 * 99),
            listening: (0..20)
                .map(|n| Address { address: Some("::".into()), port: Some(8000 + n), fd: None })
                .collect(),
        };
        let mut status = full();
        status.workers = (0..1000).map(worker).collect();
        status.totals.shed_closed = Some(u64::MAX);
        let with_agents = render(&status);
        for worker in &mut status.workers {
            worker.agent = None;
        }
        for line in with_agents.lines().chain(render(&status).lines()) {
            assert!(line.chars().count() <= 100, "{} columns: {line}", line.chars().count());
        }
    }
}
