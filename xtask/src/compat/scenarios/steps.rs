//! What scenarios consist of.

use serde_json::{Value, json};

use crate::compat::cast::Policy;
use crate::compat::stage::{Played, Stage};

/// A scenario.
pub(in crate::compat) struct Scenario {
    pub(in crate::compat) name: &'static str,
    /// Who accepts connections in it; both ways where that makes a difference.
    pub(in crate::compat) policies: &'static [Policy],
    pub(in crate::compat) play: fn(&mut Stage<'_>) -> Played,
}

pub(super) const RR: &[Policy] = &[Policy::Rr];
pub(super) const NONE: &[Policy] = &[Policy::None];
pub(super) const BOTH: &[Policy] = &[Policy::Rr, Policy::None];

/// Sets the worker's program, and this besides.
pub(super) fn setup(stage: &mut Stage<'_>, settings: Value) -> Played {
    stage.primary(json!({ "do": "setup", "program": true, "settings": settings }))?;
    Ok(())
}

/// Forks a worker, and waits until it is online.
pub(super) fn fork(stage: &mut Stage<'_>) -> Played<u32> {
    let forked = stage.primary(json!({ "do": "fork" }))?;
    let worker = forked["worker"].as_u64().unwrap_or_default() as u32;
    stage.sees(worker, "online")?;
    // Only a worker that has started can be given a command.
    stage.worker(worker, json!({ "do": "state" }))?;
    Ok(worker)
}

/// Sets up, and forks so many workers.
pub(super) fn cluster(stage: &mut Stage<'_>, workers: u32) -> Played {
    setup(stage, json!({}))?;
    for _ in 0..workers {
        fork(stage)?;
    }
    Ok(())
}

/// Has a worker listen, and waits until the primary knows if it does; what it says.
pub(super) fn listen(
    stage: &mut Stage<'_>,
    worker: u32,
    id: &str,
    options: Value,
) -> Played<Value> {
    open(stage, worker, "listen", id, options)
}

pub(super) fn open(
    stage: &mut Stage<'_>,
    worker: u32,
    verb: &str,
    id: &str,
    options: Value,
) -> Played<Value> {
    let mut order = json!({ "do": verb, "id": id });
    for (name, value) in options.as_object().into_iter().flatten() {
        order[name] = value.clone();
    }
    let is = stage.worker(worker, order)?;
    if is["error"].is_null() {
        stage.sees(worker, "listening")?;
    }
    Ok(is)
}

/// To listen on that port of the play's own address.
pub(super) fn local(stage: &Stage<'_>, port: &Value) -> Value {
    json!({ "host": stage.host(), "port": port })
}

/// A client of that port of the play's own address.
pub(super) fn client(stage: &mut Stage<'_>, port: &Value) -> Played {
    let host = stage.host();
    stage.client(&host, port)
}

/// Waits until the primary knows all that the worker has said so far: that it took a connection, say.
pub(super) fn settled(stage: &mut Stage<'_>, worker: u32) -> Played {
    stage.worker(worker, json!({ "do": "send", "message": "settled" }))?;
    stage.sees(worker, "message")
}

/// Has workers listen on a port of the loopback that the system chooses, all on the same: they share
/// what they ask for in the same words. Which port it is.
pub(super) fn share(stage: &mut Stage<'_>, workers: &[u32]) -> Played<Value> {
    let mut port = Value::Null;
    for worker in workers {
        port = listen(stage, *worker, "s", local(stage, &json!(0)))?["port"].clone();
    }
    Ok(port)
}

/// Waits until a worker is gone for the primary too.
pub(super) fn gone(stage: &mut Stage<'_>, worker: u32) -> Played {
    stage.sees(worker, "exit")?;
    stage.sees(worker, "disconnect")?;
    stage.gone(worker)
}

/// Disconnects everything, and waits until it has gone.
pub(super) fn end(stage: &mut Stage<'_>, workers: &[u32]) -> Played {
    stage.primary(json!({ "do": "disconnectAll" }))?;
    stage.sees_itself("disconnected")?;
    for worker in workers {
        gone(stage, *worker)?;
    }
    Ok(())
}
