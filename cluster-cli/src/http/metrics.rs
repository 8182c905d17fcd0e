//! `/metrics`: the status in the text format of Prometheus, version 0.0.4.
//!
//! What is counted per worker has the label `slot`, and no other (but `le` and `quantile`, which the format
//! has for histograms and summaries): slots are few and stay, workers come and go. So a counter starts over with a new worker, as a process's own would, and `rate()` knows
//! how to take that. While a reload has two workers in a slot, counters are those of the one that takes
//! connections, and gauges are their sums; delays are those of the slower one.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use crate::status::{Delay, Latency, State, Status, Worker, WorkerState};

pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A status as Prometheus reads it. What is not known is left out.
pub(super) fn render(status: &Status) -> String {
    let mut text = Text::default();
    cluster(&mut text, status);
    totals(&mut text, status);
    slots(&mut text, status);
    process(&mut text, status);
    text.0
}

fn cluster(text: &mut Text, status: &Status) {
    let labels = [
        ("version", status.version.as_deref()),
        ("placement", status.placement.as_deref()),
        ("policy", status.policy.as_deref()),
    ];
    let labels: Vec<_> =
        labels.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    text.family("cluster_build_info", GAUGE, "The program that runs.").sample(&labels, 1);
    let uptime = status.uptime_ms.map(seconds);
    text.gauge("cluster_uptime_seconds", "Time since the primary's start.", uptime);
    text.gauge(
        "cluster_ready",
        "Whether new connections should come here: what /readyz says.",
        Some(u8::from(status.unready().is_none())),
    );
    let mut states =
        text.family("cluster_state", GAUGE, "1 for the state that the cluster is in, else 0.");
    for state in &State::ALL {
        states.sample(&[("state", state.as_str())], u8::from(*state == status.state));
    }
    text.gauge("cluster_workers_wanted", "How many workers are kept.", status.wanted);
    let mut workers = text.family("cluster_workers", GAUGE, "Workers there are, by state.");
    for state in &WorkerState::ALL {
        let count = status.workers.iter().filter(|worker| worker.state == *state).count();
        workers.sample(&[("state", state.as_str())], count);
    }
    let help = "Slots without a worker, which wait for one.";
    text.gauge("cluster_slots_vacant", help, Some(status.vacant.len()));
    let help = "The generation of the workers: the number of the last reload that completed.";
    text.gauge("cluster_generation", help, status.generation);
    let help = "Whether the last reload succeeded, or there was none.";
    let successful = u8::from(status.reload_failure.is_none());
    text.gauge("cluster_last_reload_successful", help, Some(successful));
}

fn totals(text: &mut Text, status: &Status) {
    let totals = &status.totals;
    text.gauge(
        "cluster_connections_waiting",
        "Connections that wait for a worker.",
        totals.waiting,
    );
    for (name, help, value) in [
        (
            "cluster_connections_accepted_total",
            "Connections that the primary accepted.",
            totals.accepted,
        ),
        (
            "cluster_connections_handed_over_total",
            "Connections that a worker took.",
            totals.handed_over,
        ),
        (
            "cluster_connections_refused_total",
            "Refusals by workers; the connection then goes to another worker.",
            totals.refused,
        ),
        (
            "cluster_connections_rescued_total",
            "Connections that were taken from a worker's queue and given to others.",
            totals.rescued,
        ),
    ] {
        text.counter(name, help, value);
    }
    let shed = [
        ("full", totals.shed_full),
        ("closed", totals.shed_closed),
        ("refused", totals.shed_refused),
    ];
    let mut family = text.family(
        "cluster_connections_shed_total",
        COUNTER,
        "Connections given up: too many waited, their server closed, or all workers refused.",
    );
    for (reason, count) in shed {
        if let Some(count) = count {
            family.sample(&[("reason", reason)], count);
        }
    }
    for (name, help, value) in [
        (
            "cluster_accept_pauses_total",
            "Times that accepting rested for want of descriptors or memory.",
            totals.accept_pauses,
        ),
        (
            "cluster_hand_off_pauses_total",
            "Times that the system began to refuse to pass connections on to workers.",
            totals.hand_off_pauses,
        ),
        (
            "cluster_unexpected_handles_total",
            "Unexpected descriptors that workers sent.",
            totals.unexpected_handles,
        ),
        (
            "cluster_interrupted_calls_total",
            "System calls of the primary that a worker or client made block.",
            totals.interrupted_calls,
        ),
        (
            "cluster_stuck_closes_total",
            "Closes of workers' descriptors that took longer than a second.",
            totals.stuck_closes,
        ),
        ("cluster_workers_stuck_total", "Times that a worker was found stuck.", totals.stuck),
        (
            "cluster_worker_restarts_total",
            "Workers that came to a slot which another had before.",
            totals.restarts,
        ),
        (
            "cluster_worker_deaths_total",
            "Workers that died by accident after they had been ready.",
            totals.deaths,
        ),
        (
            "cluster_worker_boot_failures_total",
            "Workers that died before they were ready, or could not be started.",
            totals.boot_failures,
        ),
        (
            "cluster_workers_recycled_total",
            "Workers replaced for their size, age or work done.",
            totals.recycled,
        ),
        ("cluster_reloads_total", "Reloads that went through.", totals.reloads),
        ("cluster_reloads_failed_total", "Reloads that were aborted.", totals.reloads_failed),
        ("cluster_upgrades_total", "Upgrades of the primary in place.", totals.upgrades),
    ] {
        text.counter(name, help, value);
    }
    let micros = |us: u64| us as f64 / 1e6;
    text.gauge(
        "cluster_longest_blocked_call_seconds",
        "How long a system call of the primary blocked, at the most.",
        totals.longest_blocked_call_us.map(micros),
    );
    text.gauge(
        "cluster_longest_wake_seconds",
        "How long the primary worked between two waits, at the most.",
        totals.longest_wake_us.map(micros),
    );
}

/// Those in one slot, whose counters count first.
type Slot<'a> = Vec<&'a Worker>;

fn slots(text: &mut Text, status: &Status) {
    let mut slots: BTreeMap<u32, Slot<'_>> = BTreeMap::new();
    for worker in &status.workers {
        slots.entry(worker.slot).or_default().push(worker);
    }
    for workers in slots.values_mut() {
        workers.sort_by(|a, b| (&a.state, b.worker).cmp(&(&b.state, a.worker)));
    }
    let vacant: BTreeMap<_, _> = status.vacant.iter().map(|slot| (slot.slot, slot)).collect();

    let mut up = text.family(
        "cluster_slot_up",
        GAUGE,
        "1 if the slot has a worker that is ready, 0 if it has not.",
    );
    let mut all: Vec<u32> = slots.keys().chain(vacant.keys()).copied().collect();
    all.sort_unstable();
    all.dedup();
    for slot in &all {
        let ready = |worker: &&Worker| worker.state.is_ready();
        let is_up = slots.get(slot).is_some_and(|workers| workers.iter().any(ready));
        up.slot(*slot, &[], u8::from(is_up));
    }
    let mut restarts = text.family(
        "cluster_slot_restarts_total",
        COUNTER,
        "Times that the slot got another worker.",
    );
    for slot in &all {
        let of_workers = slots.get(slot).and_then(|w| w.iter().filter_map(|w| w.restarts).max());
        if let Some(count) = of_workers.max(vacant.get(slot).and_then(|slot| slot.restarts)) {
            restarts.slot(*slot, &[], count);
        }
    }

    let mut first = |name, kind, help, of: fn(&Worker) -> Option<f64>| {
        let mut family = text.family(name, kind, help);
        for (slot, workers) in &slots {
            if let Some(value) = of(workers[0]) {
                family.slot(*slot, &[], value);
            }
        }
    };
    first(
        "cluster_slot_connections_total",
        COUNTER,
        "Connections that the slot's worker took.",
        |w| w.connections.map(|n| n as f64),
    );
    first(
        "cluster_slot_http_requests_total",
        COUNTER,
        "HTTP requests of the slot's Node worker that have ended.",
        |w| w.requests().map(|n| n as f64),
    );
    first("cluster_slot_cpu_seconds_total", COUNTER, "Processor time of the slot's worker.", |w| {
        w.cpu_ms.map(seconds)
    });
    first("cluster_slot_age_seconds", GAUGE, "Time since the start of the slot's worker.", |w| {
        w.age_ms.map(seconds)
    });
    first("cluster_slot_generation", GAUGE, "The generation of the slot's worker.", |w| {
        w.generation.map(|n| n as f64)
    });
    let mut sum = |name, help, of: fn(&Worker) -> Option<u64>| {
        let mut family = text.family(name, GAUGE, help);
        for (slot, workers) in &slots {
            let known = workers.iter().filter_map(|worker| of(worker));
            if let Some(sum) = known.reduce(|a, b| a + b) {
                family.slot(*slot, &[], sum);
            }
        }
    };
    sum("cluster_slot_connections_in_flight", "Connections on their way to the slot.", |w| {
        w.in_flight
    });
    sum(
        "cluster_slot_connections_held",
        "Open connections of the slot's workers. Node workers report them, Rust workers only under the policy least-connections.",
        |w| w.held,
    );
    sum(
        "cluster_slot_http_requests_in_progress",
        "HTTP requests in progress in the slot's Node workers.",
        Worker::active,
    );
    sum("cluster_slot_resident_memory_bytes", "Resident memory of the slot's workers.", |w| {
        w.rss_bytes
    });
    sum(
        "cluster_slot_heap_used_bytes",
        "Memory that the JavaScript heaps of the slot's Node workers use.",
        Worker::heap_used_bytes,
    );

    let mut delays = text.family(
        "cluster_slot_event_loop_delay_seconds",
        SUMMARY,
        "How late timers fire in the slot's Node worker: quantiles over the last ten seconds, without sum and count. Of two workers the slower one.",
    );
    for (slot, workers) in &slots {
        let reported =
            || workers.iter().filter_map(|w| w.agent.as_ref()?.event_loop_delay_us.as_ref());
        let longest = |of: fn(&Delay) -> Option<u64>| reported().filter_map(of).max();
        for (quantile, us) in
            [("0.5", longest(|delay| delay.p50)), ("0.99", longest(|delay| delay.p99))]
        {
            if let Some(us) = us {
                delays.slot(*slot, &[("quantile", quantile)], us as f64 / 1e6);
            }
        }
    }

    let mut latencies = text.family(
        "cluster_slot_ack_latency_seconds",
        HISTOGRAM,
        "How long the slot's worker took to answer for a connection.",
    );
    for (slot, workers) in &slots {
        if let Some(latency) = &workers[0].ack_latency {
            histogram(&mut latencies, *slot, latency);
        }
    }
}

fn histogram(family: &mut Family<'_>, slot: u32, latency: &Latency) {
    let mut buckets = latency.buckets_us.clone();
    buckets.sort_unstable();
    buckets.dedup_by_key(|(bound, _)| *bound);
    let mut least = 0;
    for (bound, count) in buckets {
        // A histogram is cumulative.
        least = count.clamp(least, latency.count.max(least));
        family.suffixed("_bucket", slot, &[("le", &(bound as f64 / 1e6).to_string())], least);
    }
    let count = latency.count.max(least);
    family.suffixed("_bucket", slot, &[("le", "+Inf")], count);
    let of_mean = || latency.mean_us.unwrap_or_default() * latency.count as f64;
    let sum = latency.total_us.map_or_else(of_mean, |total| total as f64) / 1e6;
    family.suffixed("_sum", slot, &[], sum);
    family.suffixed("_count", slot, &[], count);
}

/// The primary, by the names that every program's own metrics have.
fn process(text: &mut Text, status: &Status) {
    let primary = &status.primary;
    let cpu = primary.cpu_ms.map(seconds);
    text.counter("process_cpu_seconds_total", "Processor time of the primary.", cpu);
    let memory = "Resident memory of the primary.";
    text.gauge("process_resident_memory_bytes", memory, primary.rss_bytes);
    text.gauge("process_open_fds", "Open descriptors of the primary.", primary.open_descriptors);
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

const COUNTER: &str = "counter";
const GAUGE: &str = "gauge";
const HISTOGRAM: &str = "histogram";
/// Only a summary may have the label `quantile`. Its `_sum` and `_count` may be left out.
const SUMMARY: &str = "summary";

/// The text so far.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family<'a>(
        &'a mut self,
        name: &'static str,
        kind: &'static str,
        help: &'static str,
    ) -> Family<'a> {
        Family { text: &mut self.0, name, kind, help, has_head: false }
    }

    fn gauge(&mut self, name: &'static str, help: &'static str, value: Option<impl Display>) {
        self.single(name, GAUGE, help, value);
    }

    fn counter(&mut self, name: &'static str, help: &'static str, value: Option<impl Display>) {
        self.single(name, COUNTER, help, value);
    }

    fn single(
        &mut self,
        name: &'static str,
        kind: &'static str,
        help: &'static str,
        value: Option<impl Display>,
    ) {
        if let Some(value) = value {
            self.family(name, kind, help).sample(&[], value);
        }
    }
}

/// The samples of one name. Its head is written before the first of them.
struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    has_head: bool,
}

impl Family<'_> {
    fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.write("", labels, value);
    }

    fn slot(&mut self, slot: u32, labels: &[(&str, &str)], value: impl Display) {
        self.suffixed("", slot, labels, value);
    }

    fn suffixed(&mut self, suffix: &str, slot: u32, labels: &[(&str, &str)], value: impl Display) {
        let slot = slot.to_string();
        let labels: Vec<_> =
            std::iter::once(("slot", slot.as_str())).chain(labels.iter().copied()).collect();
        self.write(suffix, &labels, value);
    }

    fn write(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let Self { name, kind, help, .. } = *self;
        if !std::mem::replace(&mut self.has_head, true) {
            let help = help.replace('\\', r"\\").replace('\n', r"\n");
            let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        }
        let _ = write!(self.text, "{name}{suffix}");
        for (at, (label, value)) in labels.iter().enumerate() {
            let between = if at == 0 { '{' } else { ',' };
            let value = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            let _ = write!(self.text, "{between}{label}=\"{value}\"");
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use prometheus_parse::{Scrape, Value};

    use super::*;
    use crate::status::tests::{full, without_agents};

    fn parse(text: &str) -> Scrape {
        Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).expect("Prometheus's format")
    }

    fn value(scrape: &Scrape, name: &str, labels: &[(&str, &str)]) -> Value {
        let fits = |sample: &&prometheus_parse::Sample| {
            sample.metric == name && labels.iter().all(|(l, v)| sample.labels.get(l) == Some(v))
        };
        let found: Vec<_> = scrape.samples.iter().filter(fits).collect();
        assert_eq!(found.len(), 1, "{name} {labels:?}: {found:?}");
        found[0].value.clone()
    }

    #[test]
    fn a_real_parser_reads_what_is_meant() {
        let scrape = parse(&render(&full()));
        let is = |name: &str, labels: &[(&str, &str)], expected| {
            assert_eq!(value(&scrape, name, labels), expected, "{name} {labels:?}");
        };
        is("cluster_build_info", &[("version", "0.1.0"), ("policy", "rr")], Value::Gauge(1.0));
        is("cluster_uptime_seconds", &[], Value::Gauge(11_520.0));
        is("cluster_ready", &[], Value::Gauge(1.0));
        is("cluster_state", &[("state", "reloading")], Value::Gauge(1.0));
        is("cluster_state", &[("state", "running")], Value::Gauge(0.0));
        is("cluster_workers", &[("state", "retiring")], Value::Gauge(1.0));
        is("cluster_workers_wanted", &[], Value::Gauge(4.0));
        is("cluster_connections_handed_over_total", &[], Value::Counter(31_204.0));
        is("cluster_connections_shed_total", &[("reason", "full")], Value::Counter(0.0));
        is("cluster_slot_up", &[("slot", "0")], Value::Gauge(1.0));
        is("cluster_slot_up", &[("slot", "2")], Value::Gauge(0.0));
        is("cluster_slot_restarts_total", &[("slot", "2")], Value::Counter(5.0));
        is("cluster_slot_connections_total", &[("slot", "0")], Value::Counter(1000.0));
        // Two workers in one slot: the old one counts, and both take memory.
        is("cluster_slot_connections_total", &[("slot", "1")], Value::Counter(15_100.0));
        is("cluster_slot_resident_memory_bytes", &[("slot", "1")], Value::Gauge(82_234_567.0));
        is("cluster_slot_cpu_seconds_total", &[("slot", "0")], Value::Counter(5.23));
        is("cluster_slot_http_requests_total", &[("slot", "0")], Value::Counter(4200.0));
        is("cluster_slot_http_requests_in_progress", &[("slot", "0")], Value::Gauge(2.0));
        is("cluster_slot_connections_held", &[("slot", "0")], Value::Gauge(7.0));
        is("cluster_slot_heap_used_bytes", &[("slot", "0")], Value::Gauge(18_500_000.0));
        assert_eq!(delays(&scrape, "0"), [(0.5, 0.00009), (0.99, 0.0023)]);
        is("process_open_fds", &[], Value::Gauge(40.0));
        let Value::Histogram(buckets) =
            value(&scrape, "cluster_slot_ack_latency_seconds", &[("slot", "0")])
        else {
            panic!("it is a histogram");
        };
        let buckets: Vec<_> = buckets.iter().map(|b| (b.less_than, b.count)).collect();
        let expected = [
            (0.0001, 400.0),
            (0.00025, 900.0),
            (0.001, 990.0),
            (0.01, 1000.0),
            (f64::INFINITY, 1000.0),
        ];
        assert_eq!(buckets, expected);
        is("cluster_slot_ack_latency_seconds_count", &[("slot", "0")], Value::Untyped(1000.0));
        is("cluster_slot_ack_latency_seconds_sum", &[("slot", "0")], Value::Untyped(0.130499));
    }

    fn delays(scrape: &Scrape, slot: &str) -> Vec<(f64, f64)> {
        let delays = value(scrape, "cluster_slot_event_loop_delay_seconds", &[("slot", slot)]);
        let Value::Summary(quantiles) = delays else { panic!("{delays:?} is no summary") };
        quantiles.iter().map(|q| (q.quantile, q.count)).collect()
    }

    #[test]
    fn of_two_agents_in_a_slot_one_counts_and_the_slower_one_delays() {
        let mut status = full();
        let mut agent = status.workers[0].agent.take().unwrap();
        status.workers[1].agent = Some(agent.clone());
        agent.requests = Some(5);
        agent.event_loop_delay_us = Some(Delay { p50: Some(80), p99: Some(90_000) });
        status.workers[2].agent = Some(agent);
        let text = render(&status);
        lint(&text);
        let scrape = parse(&text);
        let slot = [("slot", "1")];
        let requests = value(&scrape, "cluster_slot_http_requests_total", &slot);
        assert_eq!(
            requests,
            Value::Counter(4200.0),
            "those of the old one, until the new is ready"
        );
        let active = value(&scrape, "cluster_slot_http_requests_in_progress", &slot);
        assert_eq!(active, Value::Gauge(4.0));
        let heap = value(&scrape, "cluster_slot_heap_used_bytes", &slot);
        assert_eq!(heap, Value::Gauge(37_000_000.0));
        assert_eq!(delays(&scrape, "1"), [(0.5, 0.00009), (0.99, 0.09)]);
    }

    #[test]
    fn without_agents_there_is_nothing_about_requests() {
        let text = render(&without_agents());
        for name in ["http_requests", "event_loop", "heap"] {
            assert!(!text.contains(name), "{name} in {text}");
        }
    }

    #[test]
    fn it_keeps_to_the_rules() {
        let hostile = Status {
            version: Some("a\"b\\c\nd{}=,".into()),
            placement: Some("né".into()),
            ..full()
        };
        for status in [full(), Status::default(), hostile] {
            lint(&render(&status));
        }
    }

    #[test]
    fn labels_are_escaped() {
        let status = Status { version: Some("a\"b\\c\nd".into()), ..Status::default() };
        assert!(render(&status).contains(r#"{version="a\"b\\c\nd"} 1"#), "{}", render(&status));
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let text = render(&Status::default());
        for name in ["accepted", "shed", "process_", "cluster_slot_", "wanted", "uptime"] {
            assert!(!text.contains(name), "{name} in {text}");
        }
        assert!(text.contains("cluster_ready 0\n"));
    }

    #[test]
    fn a_histogram_is_cumulative_whatever_was_counted() {
        let mut status = full();
        status.workers[0].ack_latency = Some(Latency {
            count: 5,
            total_us: None,
            mean_us: None,
            last_us: None,
            buckets_us: vec![(250, 3), (100, 4), (250, 3), (1000, 9)],
        });
        let text = render(&status);
        lint(&text);
        assert!(
            text.contains("cluster_slot_ack_latency_seconds_bucket{slot=\"0\",le=\"+Inf\"} 5\n"),
            "{text}"
        );
    }

    /// The rules of the format and of its names, as Prometheus documents them.
    fn lint(text: &str) {
        assert!(text.ends_with('\n'));
        let is_name = |name: &str| {
            name.chars()
                .enumerate()
                .all(|(at, c)| c.is_ascii_lowercase() || c == '_' || (at > 0 && c.is_ascii_digit()))
        };
        let mut families: BTreeMap<String, String> = BTreeMap::new();
        let mut open: Option<(String, Option<String>)> = None;
        let mut series = BTreeSet::new();
        let mut buckets: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        let mut counts: BTreeMap<String, f64> = BTreeMap::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').expect("a text");
                assert!(!help.trim().is_empty(), "{line}");
                assert!(is_name(name), "{name}");
                assert!(!families.contains_key(name), "{name} comes twice, or in parts");
                open = Some((name.into(), None));
                continue;
            }
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a type");
                let (expected, none) = open.as_mut().expect("HELP comes first");
                assert_eq!((name, &*none), (expected.as_str(), &None));
                *none = Some(kind.into());
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                for word in name.split('_') {
                    assert!(
                        !["ms", "us", "milliseconds", "kilobytes", "percent", "gauge", "counter"]
                            .contains(&word),
                        "{name}: base units, and no types, in names"
                    );
                }
                families.insert(name.into(), kind.into());
                continue;
            }
            let (name, kind) = open.as_ref().expect("a head");
            let kind = kind.as_deref().expect("a type");
            let (metric, labels, sample) = split(line);
            let number: f64 = sample.parse().expect(line);
            assert!(number.is_finite() && number >= 0.0, "{line}");
            assert!(series.insert((metric.clone(), labels.clone())), "{line} comes twice");
            for (label, _) in &labels {
                assert!(is_name(label) && !label.starts_with("__"), "{label}");
                assert!(label != "le" || kind == "histogram", "{line}");
                assert!(label != "quantile" || kind == "summary", "{line}");
            }
            if kind == "summary" {
                let quantile = labels.iter().find(|(label, _)| label == "quantile");
                let quantile: f64 = quantile.expect(line).1.parse().expect(line);
                assert!((0.0..=1.0).contains(&quantile), "{line}");
            }
            if kind != "histogram" {
                assert_eq!(&metric, name, "samples stand under their head");
                continue;
            }
            let suffix =
                metric.strip_prefix(name.as_str()).expect("samples stand under their head");
            let rest: Vec<_> = labels.iter().filter(|(l, _)| l != "le").collect();
            let key = format!("{name}{rest:?}");
            match suffix {
                "_bucket" => {
                    let le = &labels.iter().find(|(l, _)| l == "le").expect("a bound").1;
                    let le = if le == "+Inf" { f64::INFINITY } else { le.parse().expect(le) };
                    buckets.entry(key).or_default().push((le, number));
                }
                "_count" => drop(counts.insert(key, number)),
                "_sum" => {}
                other => panic!("{other} in {line}"),
            }
        }
        assert_eq!(buckets.len(), counts.len());
        for (key, buckets) in buckets {
            assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{key}: {buckets:?}");
            let (bound, all) = *buckets.last().expect("one at least");
            assert!(bound.is_infinite() && counts[&key] == all, "{key}: {buckets:?}");
        }
    }

    type Labels = Vec<(String, String)>;

    /// A sample's name, labels and value. Read again here: what wrote it must not be believed.
    fn split(line: &str) -> (String, Labels, String) {
        let Some((name, rest)) = line.split_once('{') else {
            let (name, value) = line.split_once(' ').expect(line);
            return (name.into(), Vec::new(), value.into());
        };
        let mut labels = Vec::new();
        let mut chars = rest.chars();
        loop {
            let label: String = chars.by_ref().take_while(|c| *c != '=').collect();
            assert_eq!(chars.next(), Some('"'), "{line}");
            let mut value = String::new();
            loop {
                match chars.next().expect(line) {
                    '"' => break,
                    '\\' => value.push(match chars.next().expect(line) {
                        'n' => '\n',
                        escaped @ ('"' | '\\') => escaped,
                        other => panic!("\\{other} in {line}"),
                    }),
                    plain => value.push(plain),
                }
            }
            labels.push((label, value));
            match chars.next().expect(line) {
                ',' => {}
                '}' => break,
                other => panic!("{other} in {line}"),
            }
        }
        let value: String = chars.collect();
        (name.into(), labels, value.strip_prefix(' ').expect(line).into())
    }
}
