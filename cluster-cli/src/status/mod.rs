//! How a cluster is, as the control API's method `status` tells it, and `cluster status`.

mod table;
pub(crate) mod units;

use std::collections::BTreeSet;
use std::fmt;
use std::process::ExitCode;

use cluster_primary::printable::one_line;
use cluster_primary::proto::abstract_name;
use cluster_primary::{Object, Value};
use serde::{Deserialize, Deserializer};

use crate::args;
use crate::client::{Client, ClientError};
use crate::ctl::{complain, print};
use crate::line::line;

/// `cluster status`.
pub(crate) fn status(args: &args::Status) -> ExitCode {
    let outcome = Client::of(&args.whose).and_then(|mut client| {
        let value = client.call("status", Object::new())?;
        print(&if args.json { line(&value) } else { table::render(&Status::read(&value)?) })
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => complain("status", trouble),
    }
}

/// How a cluster is. What it does not know, or an older one does not tell, is `None`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Status {
    pub(crate) version: Option<String>,
    pub(crate) pid: Option<u32>,
    pub(crate) uptime_ms: Option<u64>,
    #[serde(deserialize_with = "known")]
    pub(crate) state: State,
    /// Whether any worker takes connections.
    #[serde(deserialize_with = "known")]
    pub(crate) ready: bool,
    /// Why no connection can be accepted now.
    pub(crate) accepting_paused: Option<String>,
    /// Why no connection can be handed to a worker now.
    pub(crate) hand_offs_paused: Option<String>,
    /// How many workers it keeps.
    pub(crate) wanted: Option<u32>,
    /// Of the running workers: the number of the last reload that completed.
    pub(crate) generation: Option<u64>,
    /// The last reload failed.
    pub(crate) reload_failure: Option<ReloadFailure>,
    pub(crate) placement: Option<String>,
    pub(crate) policy: Option<String>,
    #[serde(deserialize_with = "known")]
    pub(crate) workers: Vec<Worker>,
    #[serde(deserialize_with = "known")]
    pub(crate) vacant: Vec<Vacant>,
    /// The addresses of sockets that workers are passed.
    #[serde(deserialize_with = "known")]
    pub(crate) sockets: Vec<String>,
    #[serde(deserialize_with = "known")]
    pub(crate) totals: Totals,
    #[serde(deserialize_with = "known")]
    pub(crate) primary: Process,
}

/// Why the last reload failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ReloadFailure {
    #[serde(deserialize_with = "known")]
    pub(crate) reason: String,
    pub(crate) ago_ms: Option<u64>,
}

/// What a cluster is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub(crate) enum State {
    Starting,
    Running,
    Reloading,
    Draining,
    Stopping,
    GaveUp,
    /// One that this program does not know, or none.
    Other(String),
    #[default]
    Unsaid,
}

impl State {
    /// All that have a name here.
    pub(crate) const ALL: [Self; 6] = [
        Self::Starting,
        Self::Running,
        Self::Reloading,
        Self::Draining,
        Self::Stopping,
        Self::GaveUp,
    ];

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Reloading => "reloading",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
            Self::GaveUp => "gave-up",
            Self::Other(word) => word,
            Self::Unsaid => "unknown",
        }
    }
}

impl From<String> for State {
    fn from(word: String) -> Self {
        let known = Self::ALL.into_iter().find(|state| state.as_str() == word);
        known.unwrap_or(Self::Other(word))
    }
}

/// A worker.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Worker {
    #[serde(deserialize_with = "known")]
    pub(crate) slot: u32,
    /// Its number as the primary counts workers.
    #[serde(deserialize_with = "known")]
    pub(crate) worker: u32,
    pub(crate) pid: Option<u32>,
    #[serde(deserialize_with = "known")]
    pub(crate) state: WorkerState,
    pub(crate) generation: Option<u64>,
    pub(crate) age_ms: Option<u64>,
    /// How many workers its slot had before it.
    pub(crate) restarts: Option<u64>,
    /// Those that it took from the primary.
    pub(crate) connections: Option<u64>,
    /// Those on their way to it.
    pub(crate) in_flight: Option<u64>,
    /// Those that it has open, where it tells.
    pub(crate) held: Option<u64>,
    pub(crate) ack_latency: Option<Latency>,
    /// The last report of its agent, if it has one: only Node workers do.
    pub(crate) agent: Option<Agent>,
    pub(crate) rss_bytes: Option<u64>,
    pub(crate) cpu_ms: Option<u64>,
    #[serde(deserialize_with = "known")]
    pub(crate) listening: Vec<Address>,
}

impl Worker {
    /// HTTP requests that have ended since its start.
    pub(crate) fn requests(&self) -> Option<u64> {
        self.agent.as_ref()?.requests
    }

    /// HTTP requests in progress.
    pub(crate) fn active(&self) -> Option<u64> {
        self.agent.as_ref()?.active
    }

    /// The 99th percentile of its event-loop delay, in microseconds.
    pub(crate) fn delay_p99_us(&self) -> Option<u64> {
        self.agent.as_ref()?.event_loop_delay_us.as_ref()?.p99
    }

    /// What its JavaScript heap uses.
    pub(crate) fn heap_used_bytes(&self) -> Option<u64> {
        self.agent.as_ref()?.heap_used_bytes
    }
}

/// What a worker is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(from = "String")]
pub(crate) enum WorkerState {
    Ready,
    Stuck,
    /// By a signal: it runs when it gets SIGCONT.
    Stopped,
    Retiring,
    Starting,
    /// One that this program does not know.
    Other(String),
    #[default]
    Unsaid,
}

impl WorkerState {
    /// Whether it takes connections. (Without a supervisor the workers' states are Node's.)
    pub(crate) fn is_ready(&self) -> bool {
        match self {
            Self::Ready => true,
            Self::Other(word) => word == "listening",
            _ => false,
        }
    }

    /// All that have a name here, those that take connections first.
    pub(crate) const ALL: [Self; 5] =
        [Self::Ready, Self::Stuck, Self::Stopped, Self::Retiring, Self::Starting];

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Ready => "ready",
            Self::Stuck => "stuck",
            Self::Stopped => "stopped",
            Self::Retiring => "retiring",
            Self::Starting => "starting",
            Self::Other(word) => word,
            Self::Unsaid => "unknown",
        }
    }
}

impl From<String> for WorkerState {
    fn from(word: String) -> Self {
        let known = Self::ALL.into_iter().find(|state| state.as_str() == word);
        known.unwrap_or(Self::Other(word))
    }
}

/// How long a worker took to answer for a connection.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Latency {
    #[serde(deserialize_with = "known")]
    pub(crate) count: u64,
    /// All times together.
    pub(crate) total_us: Option<u64>,
    pub(crate) mean_us: Option<f64>,
    pub(crate) last_us: Option<f64>,
    /// Upper bounds, and how many took no longer.
    #[serde(deserialize_with = "known")]
    pub(crate) buckets_us: Vec<(u64, u64)>,
}

/// The last report of a worker's agent. Its open connections are left out: [`Worker::held`] has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Agent {
    /// HTTP requests that have ended since the worker's start.
    pub(crate) requests: Option<u64>,
    /// HTTP requests in progress.
    pub(crate) active: Option<u64>,
    pub(crate) event_loop_delay_us: Option<Delay>,
    pub(crate) heap_used_bytes: Option<u64>,
}

/// How late timers of the event loop fired in the last ten seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Delay {
    pub(crate) p50: Option<u64>,
    pub(crate) p99: Option<u64>,
}

/// Where a worker listens.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Address {
    pub(crate) address: Option<String>,
    pub(crate) port: Option<i64>,
    pub(crate) fd: Option<i64>,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address.as_deref(), self.port, self.fd) {
            (Some(path), Some(..0), _) => match abstract_name(path) {
                Some(name) => write!(f, "@{}", one_line(name)),
                None => f.write_str(&one_line(path)),
            },
            (Some(ip), Some(port), _) if ip.contains(':') => {
                write!(f, "[{}]:{port}", one_line(ip))
            }
            (Some(ip), Some(port), _) => write!(f, "{}:{port}", one_line(ip)),
            (None, Some(port @ 0..), _) => write!(f, "*:{port}"),
            (_, _, Some(fd)) => write!(f, "fd {fd}"),
            (Some(path), None, None) => f.write_str(&one_line(path)),
            _ => write!(f, "?"),
        }
    }
}

/// A slot whose worker is dead, and not replaced yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Vacant {
    #[serde(deserialize_with = "known")]
    pub(crate) slot: u32,
    pub(crate) restarts: Option<u64>,
    /// How many workers in a row failed to start.
    pub(crate) failures: Option<u64>,
    pub(crate) retry_in_ms: Option<u64>,
    pub(crate) last_death: Option<String>,
}

/// What a primary counted since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Totals {
    pub(crate) accepted: Option<u64>,
    pub(crate) handed_over: Option<u64>,
    pub(crate) refused: Option<u64>,
    pub(crate) rescued: Option<u64>,
    pub(crate) stuck: Option<u64>,
    /// Connections that wait now.
    pub(crate) waiting: Option<u64>,
    pub(crate) shed_full: Option<u64>,
    pub(crate) shed_closed: Option<u64>,
    pub(crate) shed_refused: Option<u64>,
    pub(crate) accept_pauses: Option<u64>,
    pub(crate) hand_off_pauses: Option<u64>,
    pub(crate) unexpected_handles: Option<u64>,
    /// Calls of the primary that a peer made block.
    pub(crate) interrupted_calls: Option<u64>,
    pub(crate) longest_blocked_call_us: Option<u64>,
    /// Closes that took longer than a second.
    pub(crate) stuck_closes: Option<u64>,
    /// Descriptors that wait to be closed now.
    pub(crate) closing: Option<u64>,
    pub(crate) longest_wake_us: Option<u64>,
    pub(crate) restarts: Option<u64>,
    pub(crate) deaths: Option<u64>,
    pub(crate) boot_failures: Option<u64>,
    pub(crate) recycled: Option<u64>,
    pub(crate) reloads: Option<u64>,
    pub(crate) reloads_failed: Option<u64>,
    pub(crate) upgrades: Option<u64>,
}

/// What the primary itself uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Process {
    pub(crate) rss_bytes: Option<u64>,
    pub(crate) cpu_ms: Option<u64>,
    pub(crate) open_descriptors: Option<u64>,
}

/// A null is as good as nothing.
fn known<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl Status {
    /// Reads what the method `status` returned.
    pub(crate) fn read(value: &Value) -> Result<Self, ClientError> {
        serde_json::from_str(&line(value)).map_err(|error| {
            ClientError::Unreadable(format!("the cluster's status cannot be read: {error}"))
        })
    }

    /// Whether the agent of at least one worker has reported.
    pub(crate) fn has_agents(&self) -> bool {
        self.workers.iter().any(|worker| worker.agent.is_some())
    }

    /// The generation of the workers, or the generations where they differ.
    pub(crate) fn generations(&self) -> Option<String> {
        let each: BTreeSet<_> =
            self.workers.iter().filter_map(|worker| worker.generation).collect();
        if each.len() < 2 {
            return self.generation.map(|generation| format!("generation {generation}"));
        }
        let each: Vec<_> = each.iter().map(u64::to_string).collect();
        Some(format!("generations {}", each.join(", ")))
    }

    pub(crate) fn ready_workers(&self) -> usize {
        self.workers.iter().filter(|worker| worker.state.is_ready()).count()
    }

    /// How many workers are ready, of how many.
    pub(crate) fn readiness(&self) -> String {
        let ready = self.ready_workers();
        match self.wanted {
            Some(wanted) => format!("{ready} of {wanted} workers ready"),
            None => format!("{} ready", units::many(ready as u64, "worker")),
        }
    }

    /// Why no new connections should come here, if so.
    pub(crate) fn unready(&self) -> Option<String> {
        let why = match self.state {
            State::Draining => "draining: serving until the delay is over".into(),
            State::Stopping => "stopping".into(),
            State::GaveUp => "gave up: workers died too often".into(),
            _ if self.ready => return self.paused(),
            _ => format!("{}, {}", self.state.as_str(), self.readiness()),
        };
        Some(why)
    }

    /// Why connections wait though workers are ready, if so.
    pub(crate) fn paused(&self) -> Option<String> {
        let accepting = self.accepting_paused.as_ref().map(|why| ("accepting connections", why));
        let hand_offs = self.hand_offs_paused.as_ref().map(|why| ("handing over connections", why));
        let (what, why) = accepting.or(hand_offs)?;
        Some(format!("{what} is paused: {}", one_line(why)))
    }

    /// Where its workers listen, and where sockets that they are passed do.
    pub(crate) fn listening(&self) -> Vec<String> {
        let all: BTreeSet<_> = self.workers.iter().flat_map(|worker| &worker.listening).collect();
        let passed = self.sockets.iter().map(|at| one_line(at).into_owned());
        all.into_iter().map(Address::to_string).chain(passed).collect()
    }

    /// What kind of placement it is, in a few words.
    pub(crate) fn placing(&self) -> Option<String> {
        match (&self.placement, &self.policy) {
            (Some(placement), Some(policy)) => Some(format!("{placement}, {policy}")),
            (placement, policy) => placement.clone().or_else(|| policy.clone()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A status with everything in it.
    pub(crate) const FULL: &str = include_str!("full.json");

    pub(crate) fn full() -> Status {
        serde_json::from_str(FULL).expect("it is one")
    }

    /// The same of a cluster whose workers have no agents.
    pub(crate) fn without_agents() -> Status {
        let mut status = full();
        for worker in &mut status.workers {
            worker.agent = None;
        }
        status
    }

    #[test]
    fn everything_is_read() {
        let status = full();
        assert_eq!((status.pid, status.wanted, status.ready), (Some(3590), Some(4), true));
        assert_eq!(status.state, State::Reloading);
        let worker = &status.workers[0];
        assert_eq!((worker.slot, worker.worker, worker.pid), (0, 5, Some(3596)));
        assert_eq!(worker.ack_latency.as_ref().unwrap().buckets_us[1], (250, 900));
        assert_eq!((worker.requests(), worker.active()), (Some(4200), Some(2)));
        assert_eq!(
            worker.agent.as_ref().unwrap().event_loop_delay_us.as_ref().unwrap().p50,
            Some(90)
        );
        assert_eq!(
            (worker.delay_p99_us(), worker.heap_used_bytes()),
            (Some(2300), Some(18_500_000))
        );
        assert!(status.has_agents() && status.workers[3].agent.is_none());
        assert_eq!(worker.listening[0].to_string(), "127.0.0.1:8000");
        assert_eq!(status.vacant[0].last_death.as_deref(), Some("signal SIGKILL"));
        assert_eq!(status.totals.handed_over, Some(31_204));
        assert_eq!(status.primary.open_descriptors, Some(40));
    }

    #[test]
    fn nulls_gaps_and_news_are_borne() {
        let nothing: Status = serde_json::from_str("{}").unwrap();
        assert_eq!(nothing, Status::default());
        let mut nulls: serde_json::Value = serde_json::from_str(FULL).unwrap();
        for value in nulls.as_object_mut().unwrap().values_mut() {
            *value = serde_json::Value::Null;
        }
        assert_eq!(serde_json::from_value::<Status>(nulls).unwrap(), Status::default());
        let news = r#"{"state":"dreaming","moon":"full","workers":[{"state":"asleep","slot":null,
            "ackLatency":null,"connections":null,"agent":{"eventLoopDelayUs":null,"active":null},"x":[]}]}"#;
        let news: Status = serde_json::from_str(news).unwrap();
        assert_eq!(news.state.as_str(), "dreaming");
        assert_eq!(news.workers[0].state.as_str(), "asleep");
        assert_eq!(news.workers[0].connections, None);
        assert_eq!(news.workers[0].agent, Some(Agent::default()));
        assert_eq!((news.workers[0].active(), news.workers[0].delay_p99_us()), (None, None));
    }

    #[test]
    fn it_is_read_from_what_the_control_api_returned() {
        let value: Value = serde_json::from_str(FULL).unwrap();
        assert!(Status::read(&value).is_ok_and(|status| status == full()));
        assert!(matches!(Status::read(&Value::from(7)), Err(ClientError::Unreadable(_))));
    }

    #[test]
    fn who_should_get_no_connections_says_why() {
        let why = |json: &str| serde_json::from_str::<Status>(json).unwrap().unready();
        assert_eq!(why(r#"{"state":"running","ready":true}"#), None);
        assert_eq!(why(r#"{"state":"reloading","ready":true}"#), None);
        assert_eq!(why(r#"{"state":"starting","ready":true}"#), None);
        assert_eq!(
            why(r#"{"state":"starting","wanted":2}"#).as_deref(),
            Some("starting, 0 of 2 workers ready")
        );
        let reloading =
            why(r#"{"state":"reloading","ready":false,"workers":[{"state":"starting"}]}"#);
        assert_eq!(reloading.as_deref(), Some("reloading, 0 workers ready"));
        for state in ["draining", "stopping", "gave-up"] {
            assert!(why(&format!(r#"{{"state":"{state}","ready":true}}"#)).is_some(), "{state}");
        }
        assert!(why("{}").is_some());
    }

    #[test]
    fn without_a_supervisor_workers_that_listen_are_ready() {
        let served = r#"{"state":"running","ready":true,"wanted":null,
            "workers":[{"state":"listening"},{"state":"online"},{"state":"stuck"}]}"#;
        let served: Status = serde_json::from_str(served).unwrap();
        assert_eq!(served.readiness(), "1 worker ready");
    }

    #[test]
    fn addresses_are_written_as_people_write_them() {
        let at = |json: &str| serde_json::from_str::<Address>(json).unwrap().to_string();
        assert_eq!(at(r#"{"address":"127.0.0.1","port":80,"addressType":4}"#), "127.0.0.1:80");
        assert_eq!(at(r#"{"address":"::1","port":80,"addressType":6}"#), "[::1]:80");
        assert_eq!(at(r#"{"address":null,"port":80,"addressType":4}"#), "*:80");
        assert_eq!(at(r#"{"address":"/run/a.sock","port":-1,"addressType":-1}"#), "/run/a.sock");
        assert_eq!(at(r#"{"address":"\u0000a","port":-1,"addressType":-1}"#), "@a");
        assert_eq!(at(r#"{"address":null,"port":-1,"fd":3}"#), "fd 3");
        assert_eq!(at("{}"), "?");
    }
}
