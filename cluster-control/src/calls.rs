//! The methods, carried out.

use cluster_ipc::Pressure;
use cluster_proto::env::Serialization;
use cluster_proto::{Object, Value};

use crate::command::ControlCommand;
use crate::params::Call;
use crate::render;
use crate::rpc::Failure;
use cluster_primary::{ForkError, KillError, Primary, SendError, WorkerId};

/// What came of a call.
pub(super) enum Outcome {
    Result(Value),
    /// The answer follows when every worker has disconnected: with that event of its kind.
    WhenDisconnected {
        round: u64,
    },
    /// From here on the client is told of events.
    Subscribed(Option<std::collections::BTreeSet<String>>),
    /// The settings name a program now.
    HasProgram(Value),
    /// Everything is to end.
    Stop,
    /// It is for the supervisor.
    Command(ControlCommand),
}

/// Carries a call out.
pub(super) fn perform(primary: &mut Primary, call: Call) -> Result<Outcome, Failure> {
    let done = |value: Value| Ok(Outcome::Result(value));
    match call {
        Call::Subscribe { events } => Ok(Outcome::Subscribed(events)),
        Call::Version => done(
            Object::new()
                .with("program", "cluster")
                .with("version", env!("CARGO_PKG_VERSION"))
                .with("protocol", 1)
                .into(),
        ),
        Call::SchedulingPolicy { policy } => {
            if let Some((placement, policy)) = policy {
                primary.schedule(placement, policy);
            }
            done(render::policy(primary.settings()).into())
        }
        Call::SetupPrimary { change } => {
            let has_program = change.exec;
            let mut changed = primary.settings().clone();
            change.apply(&mut changed)?;
            primary.setup(|settings| *settings = changed);
            let settings = render::settings(primary.settings()).into();
            if has_program { Ok(Outcome::HasProgram(settings)) } else { done(settings) }
        }
        Call::Settings => done(render::settings(primary.settings()).into()),
        Call::Fork { env } => {
            let worker = primary.fork_with(env).map_err(|error| fork_failure(&error))?;
            let pid = primary.worker_state(worker).map(|state| state.pid);
            done(Object::new().with("worker", worker.0).with("pid", pid).into())
        }
        Call::Workers => done(render::workers(primary)),
        Call::Send { worker, message } => send(primary, worker, message).map(Outcome::Result),
        Call::DisconnectWorker { worker } => {
            known(primary, worker)?;
            primary.disconnect_worker(worker);
            done(true.into())
        }
        Call::CloseChannel { worker } => {
            known(primary, worker)?;
            primary.close_channel(worker);
            done(true.into())
        }
        Call::Kill { worker, signal } => {
            let killed = primary.kill(worker, signal).map_err(|error| match error {
                KillError::UnknownSignal { .. } => Failure::verb("ERR_UNKNOWN_SIGNAL", error),
                KillError::Refused { error: ref why, .. } => {
                    Failure::verb(render::errno_name(why), error)
                }
                error => Failure::verb("ERR_OPERATION_FAILED", error),
            })?;
            done(killed.into())
        }
        Call::Disconnect => {
            let round = primary.disconnects().over + 1;
            primary.disconnect_anew();
            Ok(Outcome::WhenDisconnected { round })
        }
        Call::Stop => Ok(Outcome::Stop),
        Call::Command(command) => Ok(Outcome::Command(command)),
    }
}

fn known(primary: &Primary, worker: WorkerId) -> Result<(), Failure> {
    match primary.worker_state(worker) {
        Some(_) => Ok(()),
        None => {
            Err(Failure::verb("ERR_WORKER_NOT_FOUND", format_args!("there is no worker {worker}")))
        }
    }
}

fn send(primary: &mut Primary, worker: WorkerId, message: Value) -> Result<Value, Failure> {
    let message = match primary.serialization(worker) {
        Some(Serialization::Advanced) => {
            Value::from_tagged(message).map_err(|e| Failure::params(format!("\"message\": {e}")))?
        }
        _ => message,
    };
    let sent = match message["cmd"].as_str() {
        // As of Node's `worker.send()`, the worker's half of node:cluster takes it.
        Some("NODE_CLUSTER") => primary.send_cluster_message(worker, message),
        _ => primary.send(worker, message),
    };
    match sent {
        Ok(pressure) => Ok((pressure == Pressure::Low).into()),
        Err(error @ SendError::Closed { .. }) if primary.worker_state(worker).is_none() => {
            Err(Failure::verb(error.code(), format_args!("there is no worker {worker}")))
        }
        Err(error) => Err(Failure::verb(error.code(), error)),
    }
}

fn fork_failure(error: &ForkError) -> Failure {
    let name = match error {
        ForkError::Spawn { error, .. }
        | ForkError::Script { error, .. }
        | ForkError::Cwd { error, .. }
        | ForkError::Setting { error, .. }
        | ForkError::Resources { error, .. } => render::errno_name(error),
        ForkError::DeadInterpreter { .. } => "ENOENT".into(),
        ForkError::Unsupported { .. } => "ERR_FEATURE_UNAVAILABLE_ON_PLATFORM".into(),
        ForkError::Placement(_) => "ERR_INVALID_ARG_VALUE".into(),
        ForkError::Stdio { .. } => "ERR_CHILD_PROCESS_IPC_REQUIRED".into(),
        _ => "ERR_OPERATION_FAILED".into(),
    };
    Failure::verb(name, error)
}
