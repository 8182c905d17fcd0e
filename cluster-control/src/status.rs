//! How a cluster is, in one object: what `status`, `top`, metrics and pages show.

use cluster_proto::{Object, Value};
use cluster_sched::Mono;
use serde::{Deserialize, Serialize};

use crate::render::{address, millis};
use cluster_primary::agent::AgentReport;
use cluster_primary::usage::{self, Usage};
use cluster_primary::{AckLatency, Primary, WorkerId};
use cluster_supervisor::driver::{MemberState, Supervisor, Vacancy};

/// What [`status_object`] cannot find out by itself.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Status {
    /// The time by the supervisor's clock.
    pub now: Mono,
    /// How long the primary has been there, through every upgrade.
    pub uptime: Mono,
    /// How often it was upgraded in place.
    pub upgrades: u64,
    /// Workers are kept: without that there is nothing to be wanted or vacant.
    pub supervised: bool,
    /// The addresses of listening sockets that workers are passed (`cluster run --listen`).
    pub sockets: Vec<String>,
    /// The last reload failed.
    pub reload_failure: Option<ReloadFailure>,
}

/// Why the last reload failed, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadFailure {
    /// When, by the supervisor's clock.
    pub at: Mono,
    /// Why.
    pub reason: String,
}

/// The answer to [`ControlCommand::Status`](super::ControlCommand::Status), as `docs/control.md` describes it.
pub fn status_object(primary: &Primary, supervisor: &Supervisor, status: &Status) -> Object {
    let settings = primary.settings();
    let mut workers: Vec<_> = primary.all_workers();
    workers.retain(|id| primary.worker_state(*id).is_some_and(|state| !state.dead));
    workers.sort_by_key(|id| (primary.worker_state(*id).map(|state| state.slot), *id));
    let ready = if status.supervised { supervisor.is_ready() } else { !workers.is_empty() };
    let object = Object::new()
        .with("program", "cluster")
        .with("version", env!("CARGO_PKG_VERSION"))
        .with("pid", std::process::id())
        .with("uptimeMs", millis(status.uptime))
        .with("state", if status.supervised { supervisor.state().as_str() } else { "running" })
        .with("ready", ready)
        .with("acceptingPaused", primary.accepting_paused().map(|error| error.to_string()))
        .with("handOffsPaused", primary.hand_offs_paused().map(|paused| paused.to_string()))
        .with("generation", supervisor.generation())
        .with("reloadFailure", status.reload_failure.as_ref().map(|it| failure(it, status.now)))
        .with("placement", settings.placement.as_str())
        .with("policy", settings.policy_name());
    let object = match status.supervised {
        true => object.with("wanted", supervisor.wanted()),
        false => object.with("wanted", Value::Null),
    };
    let workers = workers.iter().filter_map(|id| worker(primary, supervisor, status.now, *id));
    let vacant = supervisor.vacancies().map(|vacancy| vacant(&vacancy, status.now));
    object
        .with("workers", Value::Array(workers.map(Value::from).collect()))
        .with("vacant", Value::Array(vacant.map(Value::from).collect()))
        .with("totals", totals(primary, supervisor, status))
        .with("sockets", status.sockets.iter().map(|at| at.as_str().into()).collect::<Vec<_>>())
        .with("primary", own())
}

fn failure(failure: &ReloadFailure, now: Mono) -> Object {
    Object::new()
        .with("reason", failure.reason.as_str())
        .with("agoMs", millis(now.saturating_sub(failure.at)))
}

fn worker(primary: &Primary, supervisor: &Supervisor, now: Mono, id: WorkerId) -> Option<Object> {
    let state = primary.worker_state(id)?;
    let member = supervisor.member(id);
    let Usage { rss_bytes, cpu, stopped, .. } = usage::of(state.pid);
    let listening = primary.listening(id).iter().map(|at| address(at).into()).collect();
    let stage = match member {
        _ if stopped == Some(true) => "stopped",
        _ if !state.responsive => "stuck",
        Some(MemberState { leaving: true, .. }) => "retiring",
        Some(MemberState { ready: true, .. }) => "ready",
        Some(_) => "starting",
        None => state.state,
    };
    Some(
        Object::new()
            .with("slot", state.slot)
            .with("worker", id.0)
            .with("pid", state.pid)
            .with("state", stage)
            .with("generation", member.map(|member| member.generation))
            .with("ageMs", member.map(|member| millis(now.saturating_sub(member.born))))
            .with("restarts", member.map(|member| member.restarts))
            .with("connections", state.connections)
            .with("inFlight", state.in_flight)
            .with("held", state.held)
            .with("ackLatency", latency(&state.ack_latency))
            .with("agent", state.agent.as_ref().map(agent))
            .with("rssBytes", rss_bytes)
            .with("cpuMs", cpu.map(millis))
            .with(
                "descendants",
                primary.descendants(id).map(|n| u64::try_from(n).unwrap_or(u64::MAX)),
            )
            .with("listening", Value::Array(listening)),
    )
}

/// What a Node worker's agent reported last.
fn agent(report: &AgentReport) -> Object {
    let micros = |time: Mono| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let delay = Object::new()
        .with("p50", micros(report.delay_p50))
        .with("p99", micros(report.delay_p99))
        .with("max", micros(report.delay_max));
    Object::new()
        .with("connections", report.connections)
        .with("requests", report.requests)
        .with("active", report.active)
        .with("eventLoopDelayUs", delay)
        .with("heapUsedBytes", report.heap_used)
        .with("rssBytes", report.rss)
}

/// The buckets as Prometheus has them: each counts all below its bound.
fn latency(latency: &AckLatency) -> Object {
    let mut below = 0;
    let buckets = AckLatency::BOUNDS.iter().zip(latency.buckets).map(|(bound, count)| {
        below += count;
        Value::Array(vec![micros(*bound).into(), below.into()])
    });
    let buckets = Value::Array(buckets.collect());
    Object::new()
        .with("count", latency.count)
        .with("totalUs", micros(latency.total))
        .with("meanUs", latency.mean().map(micros))
        .with("lastUs", (latency.count > 0).then(|| micros(latency.last)))
        .with("bucketsUs", buckets)
}

fn micros(time: Mono) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn vacant(vacancy: &Vacancy, now: Mono) -> Object {
    Object::new()
        .with("slot", vacancy.slot)
        .with("restarts", vacancy.restarts)
        .with("failures", vacancy.failures)
        .with("retryInMs", vacancy.due.map(|due| millis(due.saturating_sub(now))))
        .with("lastDeath", vacancy.last_failure.as_ref().map(ToString::to_string))
}

fn totals(primary: &Primary, supervisor: &Supervisor, status: &Status) -> Object {
    let stats = primary.stats();
    let counts = supervisor.counts();
    Object::new()
        .with("accepted", stats.accepted)
        .with("handedOver", stats.handed_over)
        .with("refused", stats.refused)
        .with("rescued", stats.rescued)
        .with("stuck", stats.stuck)
        .with("waiting", u64::try_from(stats.waiting).unwrap_or(u64::MAX))
        .with("shedFull", stats.shed_full)
        .with("shedClosed", stats.shed_closed)
        .with("shedRefused", stats.shed_refused)
        .with("acceptPauses", stats.accept_pauses)
        .with("handOffPauses", stats.hand_off_pauses)
        .with("unexpectedHandles", stats.unexpected_handles)
        .with("interruptedCalls", stats.interrupted_calls)
        .with("longestBlockedCallUs", micros(stats.longest_blocked_call))
        .with("stuckCloses", stats.stuck_closes)
        .with("closing", u64::try_from(stats.closing).unwrap_or(u64::MAX))
        .with("longestWakeUs", micros(stats.longest_wake))
        .with("restarts", counts.restarts)
        .with("deaths", counts.deaths)
        .with("bootFailures", counts.boot_failures)
        .with("recycled", counts.recycled)
        .with("reloads", counts.reloads)
        .with("reloadsFailed", counts.reloads_aborted)
        .with("upgrades", status.upgrades)
}

fn own() -> Object {
    let Usage { rss_bytes, cpu, open_descriptors, .. } = usage::own();
    Object::new()
        .with("rssBytes", rss_bytes)
        .with("cpuMs", cpu.map(millis))
        .with("openDescriptors", open_descriptors)
}
