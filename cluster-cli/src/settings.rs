//! What the primary and its supervisor are told of the options.

use std::path::Path;
use std::time::Duration;

use cluster_primary::tree::EndDescendants;
use cluster_primary::{Affinity, Settings, scheduling};
use cluster_supervisor::driver::{Config, Ready, Recycle, StopMessage};

use crate::config::{self, Output, Resolved};
use crate::listen::{self, Sockets};
use crate::systemd;

/// A worker that has no way to say that it is ready is, when it has lived for so long.
const ALIVE: Duration = Duration::from_secs(1);

/// How this thread, which runs the primary, is scheduled.
pub(crate) fn schedule(options: &Resolved) {
    if options.give_way {
        // Where the system does not support it, the primary interrupts running processes.
        scheduling::give_way();
    } else {
        scheduling::give_way_no_more();
    }
}

/// What the primary is told of the options.
pub(crate) fn settings(options: &Resolved, sockets: &Sockets) -> Settings {
    let mut program = options.program.iter().cloned();
    let mut settings = match program.next() {
        Some(exec) => Settings::new(exec).args(program),
        None => {
            let address = options.listening.demo_listen.map(|address| address.to_string());
            Settings::default().args(["demo-worker".to_owned()].into_iter().chain(address))
        }
    };
    settings.policy = options.policy.unwrap_or_default();
    settings.placement = options.placement;
    settings.exec_path = options.exec_path.clone();
    settings.exec_argv = options.exec_arg.clone();
    settings.cwd = options.cwd.clone();
    let variable = |variable: &config::Variable| (variable.name.clone(), variable.value.clone());
    settings.env = options.env.iter().map(variable).collect();
    settings.silent = options.seeing.json || options.seeing.output == Output::Prefix;
    settings.serialization = options.serialization;
    settings.uid = options.privileges.uid.as_ref().map(|user| user.id);
    settings.gid = options.privileges.gid.as_ref().map(|group| group.id);
    let groups: Vec<_> = options.privileges.groups.iter().map(|group| group.id).collect();
    settings.groups = (!groups.is_empty()).then_some(groups);
    settings.listen_as_worker = true;
    settings.privileged_ports = options.privileged_ports();
    settings.keep_capabilities = options.privileges.keep_capabilities;
    settings.no_new_privs = options.privileges.no_new_privs;
    settings.affinity = match options.privileges.affinity {
        config::Affinity::Free => None,
        config::Affinity::Slot => Some(Affinity::Each),
    };
    // Who is killed takes its workers along, also those that never look at their channels.
    settings.die_with_primary = cfg!(target_os = "linux");
    settings.node_agent = options.leaving.node_agent;
    let mut descendants = EndDescendants::default();
    descendants.kill_after = options.leaving.kill_after;
    descendants.keep_detached = options.leaving.keep_detached;
    settings.end_descendants = Some(descendants);
    systemd::keep_from_workers(&mut settings);
    sockets.give(&mut settings, Path::new(&listen::this_program()));
    settings.socket_access = options.listening.socket_access();
    settings.keep_listeners = options.listening.keep_listeners;
    settings.report_connections = options.seeing.log_connections;
    settings.limits.unresponsive_after = options.health.hang_after;
    settings
}

/// What the supervisor is told of the options.
pub(crate) fn config(options: &Resolved) -> Config {
    let mut config = Config::new(options.workers);
    config.ready = match options.reload.ready {
        config::Ready::Online => Ready::Online,
        config::Ready::Listening => Ready::Listening,
        config::Ready::Message => Ready::Message,
        config::Ready::Notify => Ready::Notify,
        config::Ready::Alive => Ready::Alive(ALIVE),
    };
    config.ready_timeout = options.reload.ready_timeout;
    config.min_ready_time = options.reload.min_ready_time;
    config.batch = options.reload.batch;
    config.stop_signal = options.leaving.stop_signal.0;
    config.stop_message = options.leaving.stop_message.clone().map(|text| StopMessage(text.0));
    config.drain_timeout = options.leaving.drain_timeout;
    config.grace = options.leaving.grace;
    config.kill_after = options.leaving.kill_after;
    config.backoff_first = options.restarts.backoff_first;
    config.backoff_max = options.restarts.backoff_max;
    config.max_failures = options.restarts.max_failures;
    config.failure_period = options.restarts.failure_period;
    config.stable_after = options.restarts.stable_after;
    config.replace_disconnected = options.restarts.replace_disconnected;
    config.replace_unresponsive = options.health.hang_replace;
    let mut recycle = Recycle::default();
    recycle.memory = options.health.max_memory;
    recycle.age = options.health.max_age;
    recycle.connections = options.health.max_connections;
    recycle.jitter = options.health.recycle_jitter;
    config.recycle = recycle;
    config.seed = u64::from(std::process::id());
    config
}

/// Options that a running cluster cannot change stay as they are in it; those that were to be otherwise,
/// by their names.
pub(crate) fn keep_frozen(old: &Resolved, new: &mut Resolved) -> Vec<&'static str> {
    fn keep<T: Clone + PartialEq>(old: &T, new: &mut T) -> bool {
        let differs = old != new;
        if differs {
            new.clone_from(old);
        }
        differs
    }
    let mut kept = Vec::new();
    let mut differs = |name, differs: bool| kept.extend(differs.then_some(name));
    differs("placement", keep(&old.placement, &mut new.placement));
    differs("policy", keep(&old.policy, &mut new.policy));
    differs("listen", keep(&old.listening.listen, &mut new.listening.listen));
    differs("control", keep(&old.control, &mut new.control));
    differs("name", keep(&old.name, &mut new.name));
    differs("http", keep(&old.seeing.http, &mut new.seeing.http));
    differs("http-host", keep(&old.seeing.http_host, &mut new.seeing.http_host));
    differs("output", keep(&old.seeing.output, &mut new.seeing.output));
    differs("json", keep(&old.seeing.json, &mut new.seeing.json));
    differs("log-format", keep(&old.seeing.log_format, &mut new.seeing.log_format));
    differs("log-level", keep(&old.seeing.log_level, &mut new.seeing.log_level));
    // There is a socket to say it at from the start, or never.
    let notified = |options: &Resolved| matches!(options.reload.ready, config::Ready::Notify);
    if notified(old) != notified(new) {
        differs("ready", keep(&old.reload.ready, &mut new.reload.ready));
    }
    kept
}
