//! What `cluster status` prints.

use super::units::{bytes, count, grouped, latency, many, or_dash, time};
use super::{Status, Vacant, Worker, WorkerState};

/// No line of the head is longer.
const WIDTH: usize = 96;

const HEADS: [&str; 13] = [
    "SLOT", "WORKER", "PID", "STATE", "GEN", "AGE", "RESTARTS", "CONNS", "FLIGHT", "HELD", "ACK",
    "RSS", "CPU",
];

/// The columns whose cells are words.
const WORDS: [&str; 1] = ["STATE"];

/// A cluster's status for people.
pub(super) fn render(status: &Status) -> String {
    let mut lines = head(status);
    if !status.workers.is_empty() {
        lines.push(String::new());
        lines.extend(table(&status.workers));
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
    items.extend(status.generation.map(|generation| format!("generation {generation}")));
    items.extend(status.placing());
    let mut lines = wrapped(items, "; ");

    let mut items = vec![status.readiness()];
    for (state, what) in [
        (WorkerState::Stuck, "stuck"),
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
        (totals.unexpected_handles, "unexpected descriptor"),
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
            rest @ ("to start" | "recycled" | "found stuck" | "for want of descriptors"),
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

fn row(worker: &Worker) -> [String; HEADS.len()] {
    let mean = worker.ack_latency.as_ref().and_then(|latency| latency.mean_us);
    [
        worker.slot.to_string(),
        worker.worker.to_string(),
        or_dash(worker.pid, |pid| pid.to_string()),
        worker.state.as_str().to_owned(),
        or_dash(worker.generation, |generation| generation.to_string()),
        or_dash(worker.age_ms, time),
        or_dash(worker.restarts, count),
        or_dash(worker.connections, count),
        or_dash(worker.in_flight, count),
        or_dash(worker.held, count),
        or_dash(mean, latency),
        or_dash(worker.rss_bytes, bytes),
        or_dash(worker.cpu_ms, time),
    ]
}

fn table(workers: &[Worker]) -> Vec<String> {
    let mut rows = vec![HEADS.map(String::from)];
    rows.extend(workers.iter().map(row));
    let length = |text: &String| text.chars().count();
    let width =
        |column: usize| rows.iter().map(|row| length(&row[column])).max().unwrap_or_default();
    let widths: Vec<_> = (0..HEADS.len()).map(width).collect();
    let line = |row: &[String; HEADS.len()]| {
        let cells = row.iter().zip(&widths).zip(HEADS).map(|((cell, width), head)| {
            if WORDS.contains(&head) { format!("{cell:width$}") } else { format!("{cell:>width$}") }
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
    use crate::status::tests::full;
    use crate::status::{Address, Latency};

    #[test]
    fn a_cluster_with_everything() {
        let expected = include_str!("full.txt");
        assert_eq!(render(&full()), expected.trim_end(), "\n{}\n", render(&full()));
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
            rss_bytes: Some(u64::MAX),
            cpu_ms: Some(86_400_000 * 99),
            listening: (0..20)
                .map(|n| Address { address: Some("::".into()), port: Some(8000 + n), fd: None })
                .collect(),
        };
        let mut status = full();
        status.workers = (0..1000).map(worker).collect();
        status.totals.shed_closed = Some(u64::MAX);
        for line in render(&status).lines() {
            assert!(line.chars().count() <= 100, "{} columns: {line}", line.chars().count());
        }
    }
}
