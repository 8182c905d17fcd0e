//! The options of `cluster run` in force: what was given, what was not by its default, and all of it
//! held together.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use cluster_primary::{
    Placement, PlacementError, PolicyName, Serialization, Settings, Signal, SocketAccess,
};
use serde::Serialize;

use super::account::{Group, User};
use super::address::ListenAddress;
use super::choice::{Affinity, LogFormat, LogLevel, Output, Ready};
use super::count::Count;
use super::http_address::HttpAddress;
use super::http_hosts::AllowedHost;
use super::options::Options;
use super::period::Period;
use super::read;
use super::shown;
use super::socket::{SocketMode, SocketOwner};
use super::stop_message::StopMessage;
use super::stop_signal::StopSignal;
use super::variable::{self, Variable};
use crate::listen::address::At;

/// What `cluster run` does, in whole. As TOML it can be read again, to the same effect.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Resolved {
    /// The program and its arguments; none is the demo.
    #[serde(serialize_with = "shown::texts", skip_serializing_if = "Vec::is_empty")]
    pub(crate) program: Vec<OsString>,
    pub(crate) workers: u32,
    #[serde(serialize_with = "shown::path", skip_serializing_if = "Option::is_none")]
    pub(crate) exec_path: Option<PathBuf>,
    #[serde(serialize_with = "shown::texts", skip_serializing_if = "Vec::is_empty")]
    pub(crate) exec_arg: Vec<OsString>,
    #[serde(serialize_with = "shown::path", skip_serializing_if = "Option::is_none")]
    pub(crate) cwd: Option<PathBuf>,
    #[serde(serialize_with = "shown::choice")]
    pub(crate) serialization: Serialization,
    #[serde(serialize_with = "shown::choice")]
    pub(crate) placement: Placement,
    /// None where no worker is chosen: under the placement `shared`.
    #[serde(serialize_with = "shown::choices", skip_serializing_if = "Option::is_none")]
    pub(crate) policy: Option<PolicyName>,
    pub(crate) give_way: bool,
    #[serde(flatten)]
    pub(crate) restarts: Restarts,
    #[serde(flatten)]
    pub(crate) reload: Reload,
    #[serde(flatten)]
    pub(crate) health: Health,
    #[serde(flatten)]
    pub(crate) listening: Listening,
    #[serde(flatten)]
    pub(crate) leaving: Leaving,
    #[serde(flatten)]
    pub(crate) privileges: Privileges,
    #[serde(flatten)]
    pub(crate) seeing: Seeing,
    /// The control socket, if it is named; else there is one by `name`.
    #[serde(serialize_with = "shown::path", skip_serializing_if = "Option::is_none")]
    pub(crate) control: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    // A table: in TOML it comes last.
    #[serde(serialize_with = "variable::write", skip_serializing_if = "Vec::is_empty")]
    pub(crate) env: Vec<Variable>,
}

/// When workers that died are replaced, and when no more.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Restarts {
    #[serde(serialize_with = "shown::period")]
    pub(crate) backoff_first: Duration,
    #[serde(serialize_with = "shown::period")]
    pub(crate) backoff_max: Duration,
    pub(crate) max_failures: u32,
    #[serde(serialize_with = "shown::period")]
    pub(crate) failure_period: Duration,
    #[serde(serialize_with = "shown::period")]
    pub(crate) stable_after: Duration,
    pub(crate) replace_disconnected: bool,
}

/// How workers are replaced by new ones.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Reload {
    #[serde(serialize_with = "shown::choice")]
    pub(crate) ready: Ready,
    #[serde(serialize_with = "shown::period")]
    pub(crate) ready_timeout: Duration,
    #[serde(serialize_with = "shown::period")]
    pub(crate) min_ready_time: Duration,
    pub(crate) batch: u32,
}

/// Which workers are well.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Health {
    /// None: no worker is found to hang.
    #[serde(serialize_with = "shown::never")]
    pub(crate) hang_after: Option<Duration>,
    pub(crate) hang_replace: bool,
    #[serde(serialize_with = "shown::size", skip_serializing_if = "Option::is_none")]
    pub(crate) max_memory: Option<u64>,
    #[serde(serialize_with = "shown::periods", skip_serializing_if = "Option::is_none")]
    pub(crate) max_age: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_connections: Option<u64>,
    /// In percent.
    pub(crate) recycle_jitter: u8,
}

/// What is listened on, and by whom.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Listening {
    #[serde(serialize_with = "shown::list", skip_serializing_if = "Vec::is_empty")]
    pub(crate) listen: Vec<ListenAddress>,
    pub(crate) keep_listeners: bool,
    #[serde(serialize_with = "shown::some", skip_serializing_if = "Option::is_none")]
    pub(crate) socket_mode: Option<SocketMode>,
    #[serde(serialize_with = "shown::some", skip_serializing_if = "Option::is_none")]
    pub(crate) socket_owner: Option<SocketOwner>,
    /// Where the demo listens; none where it does not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) demo_listen: Option<SocketAddr>,
}

/// How workers leave.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Leaving {
    pub(crate) node_agent: bool,
    #[serde(serialize_with = "shown::as_text")]
    pub(crate) stop_signal: StopSignal,
    #[serde(serialize_with = "shown::some", skip_serializing_if = "Option::is_none")]
    pub(crate) stop_message: Option<StopMessage>,
    /// None without agents, which alone know of requests in progress.
    #[serde(serialize_with = "shown::periods", skip_serializing_if = "Option::is_none")]
    pub(crate) drain_timeout: Option<Duration>,
    #[serde(serialize_with = "shown::period")]
    pub(crate) grace: Duration,
    #[serde(serialize_with = "shown::period")]
    pub(crate) kill_after: Duration,
    pub(crate) keep_detached: bool,
    #[serde(serialize_with = "shown::period")]
    pub(crate) drain_delay: Duration,
}

/// What workers may do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Privileges {
    #[serde(serialize_with = "shown::some", skip_serializing_if = "Option::is_none")]
    pub(crate) uid: Option<User>,
    /// Always there where `uid` is.
    #[serde(serialize_with = "shown::some", skip_serializing_if = "Option::is_none")]
    pub(crate) gid: Option<Group>,
    #[serde(serialize_with = "shown::list", skip_serializing_if = "Vec::is_empty")]
    pub(crate) groups: Vec<Group>,
    #[serde(serialize_with = "shown::numbers", skip_serializing_if = "Vec::is_empty")]
    pub(crate) privileged_ports: Vec<Count<1, 65_535>>,
    pub(crate) keep_capabilities: bool,
    pub(crate) no_new_privs: bool,
    #[serde(serialize_with = "shown::choice")]
    pub(crate) affinity: Affinity,
}

/// How the cluster is looked at.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Seeing {
    #[serde(serialize_with = "shown::some", skip_serializing_if = "Option::is_none")]
    pub(crate) http: Option<HttpAddress>,
    #[serde(serialize_with = "shown::list", skip_serializing_if = "Vec::is_empty")]
    pub(crate) http_host: Vec<AllowedHost>,
    #[serde(serialize_with = "shown::choice")]
    pub(crate) output: Output,
    #[serde(serialize_with = "shown::choice")]
    pub(crate) log_format: LogFormat,
    #[serde(serialize_with = "shown::choice")]
    pub(crate) log_level: LogLevel,
    pub(crate) log_connections: bool,
    pub(crate) json: bool,
}

impl Listening {
    /// What the files of Unix-domain sockets are to be.
    pub(crate) fn socket_access(&self) -> SocketAccess {
        let owner = self.socket_owner.as_ref();
        let mut access = SocketAccess::default();
        access.mode = self.socket_mode.map(|mode| mode.0);
        access.uid = owner.and_then(|owner| owner.user.as_ref()).map(|user| user.id);
        access.gid = owner.and_then(|owner| owner.group.as_ref()).map(|group| group.id);
        access
    }
}

impl Seeing {
    /// The names that clients of `http` may use.
    pub(crate) fn allowed_hosts(&self) -> Vec<AllowedHost> {
        let own = self.http.as_ref().and_then(HttpAddress::name);
        self.http_host.iter().cloned().chain(own).collect()
    }
}

/// Options that do not go together.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum Conflict {
    /// A policy where no worker is chosen.
    PolicyOfShared,
    /// A placement that cannot be had, or not with that policy.
    Placement(PlacementError),
    /// The first pause is longer than the longest.
    Backoff { first: Duration, max: Duration },
    /// What hangs is to be replaced, and nothing is ever found to hang.
    HangReplace,
    /// Where the demo listens, and a program that is not the demo.
    DemoListen,
    /// Sockets for programs that know no channel, and the demo, which does.
    ListenOfDemo,
    /// A bound for requests in progress, and nothing that knows of them.
    DrainTimeoutWithoutAgent,
    /// A stop signal for a Node.js program, and nothing that knows whether it handles it.
    StopSignalWithoutAgent,
    /// Requests in progress may take longer than all of leaving.
    DrainTimeout { drain_timeout: Duration, grace: Duration },
    /// A name for a server that is not there.
    HttpHostWithoutHttp,
    /// Two ways to say where the control socket is.
    ControlAndName,
    /// A user whose group is not known.
    NoGroup { uid: u32 },
    /// Ports that are granted to workers that have them anyway.
    PrivilegedPorts,
    /// A program whose name is empty.
    EmptyProgram,
    /// An interpreter, or arguments for one, and no program.
    InterpreterOfDemo,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PolicyOfShared => f.write_str(
                "--policy has no effect with --placement shared, where the workers accept from one socket \
                 and the kernel wakes any of them",
            ),
            Self::Placement(error) => error.fmt(f),
            Self::Backoff { first, max } => write!(
                f,
                "--backoff-first ({}) is longer than --backoff-max ({}), the longest pause",
                Period::<0>(*first),
                Period::<0>(*max)
            ),
            Self::HangReplace => f.write_str(
                "--hang-replace has no effect with --hang-after 0, by which no worker is found unresponsive",
            ),
            Self::DemoListen => f.write_str(
                "--demo-listen is the address of the demo, but a program is given, which chooses its own",
            ),
            Self::ListenOfDemo => f.write_str(
                "--listen is for programs that do not use the channel, but no program is given, and the \
                 demo listens at --demo-listen",
            ),
            Self::DrainTimeoutWithoutAgent => f.write_str(
                "--drain-timeout has no effect with --node-agent=false: only the agent knows of requests \
                 in progress",
            ),
            Self::StopSignalWithoutAgent => f.write_str(
                "--stop-signal has no effect on Node.js programs with --node-agent=false: only the agent \
                 knows whether they handle it",
            ),
            Self::DrainTimeout { drain_timeout, grace } => write!(
                f,
                "--drain-timeout ({}) is longer than --grace ({}), the total time that a worker has to leave",
                Period::<0>(*drain_timeout),
                Period::<0>(*grace)
            ),
            Self::HttpHostWithoutHttp => f.write_str(
                "--http-host has no effect without --http: it allows clients of that server a host name",
            ),
            Self::ControlAndName => f.write_str(
                "--control and --name both set the path of the control socket: give one of them",
            ),
            Self::NoGroup { uid } => write!(
                f,
                "--uid {uid}: the system has no such user, so its group is unknown: give one with --gid"
            ),
            Self::PrivilegedPorts => f.write_str(
                "--privileged-ports has no effect without --uid, --gid or --groups: it lets workers of \
                 another user listen on these ports",
            ),
            Self::EmptyProgram => {
                f.write_str("the program's name is empty: is a shell variable unset?")
            }
            Self::InterpreterOfDemo => f.write_str(
                "--exec-path and --exec-arg say how to run a program, but no program is given (each \
                 option takes the next word as its value)",
            ),
        }
    }
}

impl std::error::Error for Conflict {}

/// Options of ours that hardly any program has.
const OURS: [&str; 5] = ["--check", "--placement", "--policy", "--grace", "--ready"];
/// Those that programs of other kinds than Node's scripts often have too.
const OFTEN_THEIRS: [&str; 2] = ["-n", "--workers"];

const DEMO_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8000);

impl Options {
    /// Puts the defaults where nothing is given, and sees whether it all goes together.
    ///
    /// # Errors
    /// [`Conflict`], if it does not.
    pub(crate) fn resolve(self) -> Result<Resolved, Conflict> {
        let millis = Duration::from_millis;
        let seconds = Duration::from_secs;
        let given = self;
        let is_demo = given.program.is_empty();
        if given.demo_listen.is_some() && !is_demo {
            return Err(Conflict::DemoListen);
        }
        if !given.listen.is_empty() && is_demo {
            return Err(Conflict::ListenOfDemo);
        }
        if given.program.first().is_some_and(|program| program.is_empty()) {
            return Err(Conflict::EmptyProgram);
        }
        if is_demo && (given.exec_path.is_some() || !given.exec_arg.is_empty()) {
            return Err(Conflict::InterpreterOfDemo);
        }
        if given.control.is_some() && given.name.is_some() {
            return Err(Conflict::ControlAndName);
        }
        let placement = given.placement.map(|one| one.0);
        let policy = given.policy.map(|one| one.0);
        let (placement, policy) = placed(placement, policy)?;

        let restarts = Restarts {
            backoff_first: given.backoff_first.map_or(millis(100), |p| p.0),
            backoff_max: given.backoff_max.map_or(seconds(10), |p| p.0),
            max_failures: given.max_failures.map_or(5, Count::number),
            failure_period: given.failure_period.map_or(seconds(60), |p| p.0),
            stable_after: given.stable_after.map_or(seconds(5), |p| p.0),
            replace_disconnected: given.replace_disconnected.unwrap_or(true),
        };
        if restarts.backoff_first > restarts.backoff_max {
            let Restarts { backoff_first: first, backoff_max: max, .. } = restarts;
            return Err(Conflict::Backoff { first, max });
        }
        let reload = Reload {
            ready: match given.ready {
                Some(ready) => ready.0,
                // Who knows no channel cannot say anything on it.
                None if !given.listen.is_empty() => Ready::Alive,
                None => Ready::default(),
            },
            ready_timeout: given.ready_timeout.map_or(seconds(30), |p| p.0),
            min_ready_time: given.min_ready_time.map_or(seconds(1), |p| p.0),
            batch: given.batch.map_or(1, Count::number),
        };
        let hang_after = given.hang_after.map_or(seconds(10), |p| p.0);
        let health = Health {
            hang_after: Some(hang_after).filter(|after| !after.is_zero()),
            hang_replace: given.hang_replace.unwrap_or(false),
            max_memory: given.max_memory.map(|size| size.0),
            max_age: given.max_age.map(|p| p.0),
            max_connections: given.max_connections.map(|n| n.0),
            recycle_jitter: given.recycle_jitter.map_or(10, Count::number),
        };
        if health.hang_replace && health.hang_after.is_none() {
            return Err(Conflict::HangReplace);
        }
        let listening = Listening {
            listen: given.listen,
            keep_listeners: given.keep_listeners.unwrap_or(true),
            // The usual umask would not let the group connect that is named.
            socket_mode: given.socket_mode.or_else(|| {
                let group = given.socket_owner.as_ref().and_then(|owner| owner.group.as_ref());
                group.map(|_| SocketMode::OWNER_AND_GROUP)
            }),
            socket_owner: given.socket_owner,
            demo_listen: is_demo.then(|| given.demo_listen.unwrap_or(DEMO_LISTEN)),
        };
        let grace = given.grace.map_or(seconds(10), |p| p.0);
        let node_agent = given.node_agent.unwrap_or(true);
        let is_script = given.program.first().is_some_and(|p| Settings::new(p).runs_under_node());
        if given.stop_signal.is_some() && !node_agent && is_script && given.exec_path.is_none() {
            return Err(Conflict::StopSignalWithoutAgent);
        }
        let leaving = Leaving {
            node_agent,
            stop_signal: given.stop_signal.unwrap_or(StopSignal(Some(Signal::TERM))),
            stop_message: given.stop_message,
            drain_timeout: match given.drain_timeout {
                Some(_) if !node_agent => return Err(Conflict::DrainTimeoutWithoutAgent),
                Some(Period(drain_timeout)) if drain_timeout > grace => {
                    return Err(Conflict::DrainTimeout { drain_timeout, grace });
                }
                Some(Period(drain_timeout)) => Some(drain_timeout),
                None => node_agent.then_some(grace / 2),
            },
            grace,
            kill_after: given.kill_after.map_or(seconds(5), |p| p.0),
            keep_detached: given.keep_detached.unwrap_or(false),
            drain_delay: given.drain_delay.map_or(Duration::ZERO, |p| p.0),
        };
        let privileges = Privileges {
            gid: match (given.gid, &given.uid) {
                (None, Some(User { group: Some(group), .. })) => Some(Group::of(*group)),
                // To keep the primary's would be to keep root's, usually.
                (None, Some(User { id, .. })) => return Err(Conflict::NoGroup { uid: *id }),
                (gid, _) => gid,
            },
            uid: given.uid,
            groups: given.groups,
            privileged_ports: given.privileged_ports,
            keep_capabilities: given.keep_capabilities.unwrap_or(false),
            no_new_privs: given.no_new_privs.unwrap_or(false),
            affinity: given.affinity.map(|one| one.0).unwrap_or_default(),
        };
        let other_user =
            privileges.uid.is_some() || privileges.gid.is_some() || !privileges.groups.is_empty();
        if !privileges.privileged_ports.is_empty() && !other_user {
            return Err(Conflict::PrivilegedPorts);
        }
        if !given.http_host.is_empty() && given.http.is_none() {
            return Err(Conflict::HttpHostWithoutHttp);
        }
        let seeing = Seeing {
            http: given.http,
            http_host: given.http_host,
            output: given.output.map(|one| one.0).unwrap_or_default(),
            log_format: given.log_format.map(|one| one.0).unwrap_or_default(),
            log_level: given.log_level.map(|one| one.0).unwrap_or_default(),
            log_connections: given.log_connections.unwrap_or(false),
            json: given.json.unwrap_or(false),
        };
        Ok(Resolved {
            program: given.program,
            workers: given.workers.map_or_else(parallelism, Count::number),
            exec_path: given.exec_path,
            exec_arg: given.exec_arg,
            cwd: given.cwd,
            serialization: given.serialization.map(|one| one.0).unwrap_or_default(),
            placement,
            policy,
            give_way: given.give_way.unwrap_or(true),
            restarts,
            reload,
            health,
            listening,
            leaving,
            privileges,
            seeing,
            control: given.control,
            name: given.name.map(|name| name.0),
            env: last_of_each(given.env),
        })
    }
}

/// Placement and policy.
fn placed(
    placement: Option<Placement>,
    policy: Option<PolicyName>,
) -> Result<(Placement, Option<PolicyName>), Conflict> {
    if policy.is_some() && placement == Some(Placement::Shared) {
        return Err(Conflict::PolicyOfShared);
    }
    let mut settings = Settings::default();
    settings.policy = policy.unwrap_or_default();
    settings.placement = placement.unwrap_or(settings.placement);
    settings.check_placement().map_err(Conflict::Placement)?;
    let chosen = settings.placement != Placement::Shared;
    Ok((settings.placement, chosen.then_some(settings.policy)))
}

/// Of several settings of a variable the last counts. (In a table there can be one only.)
fn last_of_each(variables: Vec<Variable>) -> Vec<Variable> {
    let each: BTreeMap<_, _> = variables.into_iter().map(|v| (v.name, v.value)).collect();
    each.into_iter().map(|(name, value)| Variable { name, value }).collect()
}

fn parallelism() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(cores).unwrap_or(u32::MAX)
}

impl Resolved {
    /// What is as it was asked for, but perhaps not as it was meant. (`wanted` is what
    /// `NODE_CLUSTER_SCHED_POLICY` says.)
    pub(crate) fn hints(&self, wanted: Option<&OsStr>) -> Vec<String> {
        let mut hints = Vec::new();
        if let Some(wanted) =
            wanted.filter(|wanted| !["", "rr", "none"].iter().any(|n| wanted == n))
        {
            hints.push(format!(
                "NODE_CLUSTER_SCHED_POLICY says {wanted:?}, which is neither rr nor none: it is ignored, \
                 as by Node.js"
            ));
        }
        let least_connections = self.policy == Some(PolicyName::LeastConnections);
        if least_connections && !self.program.is_empty() && !self.leaving.node_agent {
            hints.push(
                "least-connections uses the connection counts that workers report; Node.js workers report \
                 theirs through the agent, and without it get connections in turn"
                    .into(),
            );
        }
        if !self.listening.listen.is_empty() {
            if self.leaving.stop_message.is_some() {
                hints.push(
                    "--stop-message goes over the worker's channel: programs that take their sockets by \
                     --listen, and do not listen to it, get the signal of --stop-signal instead"
                        .into(),
                );
            }
            if self.leaving.stop_signal.0.is_none() {
                hints.push(
                    "--stop-signal none: programs that take their sockets by --listen, and do not listen \
                     to their channel, are told nothing before --grace is over"
                        .into(),
                );
            }
        }
        if let Some(word) = self.program.get(1).filter(|word| self.is_misplaced(word)) {
            let word = word.to_string_lossy();
            hints.push(format!(
                "{word} comes after the program, so the program gets it; options of cluster come before \
                 the program: cluster run {word} … {}",
                self.program[0].to_string_lossy()
            ));
        }
        let options = read::names();
        let names = self.env.iter().filter_map(|variable| variable.name.to_str());
        for name in names.filter(|name| options.iter().any(|option| option == name)) {
            hints.push(format!(
                "{name} is set as a variable of the workers, by --env or in [env]; the option of that \
                 name belongs above [env]"
            ));
        }
        hints
    }

    /// Whether the first word behind the program was meant for cluster, most likely.
    fn is_misplaced(&self, word: &OsStr) -> bool {
        // A program that takes its sockets by --listen is a server with options of its own.
        let is_script = || {
            let program = self.program.first();
            program.is_some_and(|program| Settings::new(program).runs_under_node())
        };
        OURS.iter().any(|our| word == *our)
            || OFTEN_THEIRS.iter().any(|our| word == *our)
                && self.listening.listen.is_empty()
                && is_script()
    }

    /// Ports that workers may listen on, as which user they run.
    pub(crate) fn privileged_ports(&self) -> Vec<u16> {
        let granted = self.privileges.privileged_ports.iter().map(|port| port.number());
        let listened = self.listening.listen.iter().filter_map(|at| match at.0.at {
            At::Tcp(_, port) | At::Everywhere(port) => Some(port),
            At::Unix(_) | At::Number(_) | At::Named(_) => None,
        });
        granted.chain(listened).filter(|port| *port != 0).collect()
    }

    /// As a file that says the same.
    pub(crate) fn to_toml(&self) -> String {
        toml::to_string(self).expect("all of it can be said in TOML")
    }
}
