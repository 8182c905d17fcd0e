//! What is played. Each scenario waits for what it brings about, and for no time to pass.

mod handles;
mod life;
mod listen;
mod messages;

use serde_json::{Value, json};

use super::cast::Policy;
use super::stage::{Played, Stage};

/// A scenario.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// Who accepts connections in it; both ways where that makes a difference.
    pub(super) policies: &'static [Policy],
    pub(super) play: fn(&mut Stage<'_>) -> Played,
}

const RR: &[Policy] = &[Policy::Rr];
const NONE: &[Policy] = &[Policy::None];
const BOTH: &[Policy] = &[Policy::Rr, Policy::None];

/// Every scenario.
pub(super) fn all() -> impl Iterator<Item = &'static Scenario> {
    [life::ALL, listen::ALL, messages::ALL, handles::ALL].into_iter().flatten()
}

/// Sets the worker's program, and this besides.
fn setup(stage: &mut Stage<'_>, settings: Value) -> Played {
    stage.primary(json!({ "do": "setup", "program": true, "settings": settings }))?;
    Ok(())
}

/// Forks a worker, and waits until it is online.
fn fork(stage: &mut Stage<'_>) -> Played<u32> {
    let forked = stage.primary(json!({ "do": "fork" }))?;
    let worker = forked["worker"].as_u64().unwrap_or_default() as u32;
    stage.sees(worker, "online")?;
    // Only who has come to his feet can be told what to do.
    stage.worker(worker, json!({ "do": "state" }))?;
    Ok(worker)
}

/// Sets up, and forks so many workers.
fn cluster(stage: &mut Stage<'_>, workers: u32) -> Played {
    setup(stage, json!({}))?;
    for _ in 0..workers {
        fork(stage)?;
    }
    Ok(())
}

/// Has a worker listen, and waits until the primary knows if it does; what it says.
fn listen(stage: &mut Stage<'_>, worker: u32, id: &str, options: Value) -> Played<Value> {
    open(stage, worker, "listen", id, options)
}

fn open(stage: &mut Stage<'_>, worker: u32, verb: &str, id: &str, options: Value) -> Played<Value> {
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
fn local(stage: &Stage<'_>, port: &Value) -> Value {
    json!({ "host": stage.host(), "port": port })
}

/// A client of that port of the play's own address.
fn client(stage: &mut Stage<'_>, port: &Value) -> Played {
    let host = stage.host();
    stage.client(&host, port)
}

/// Waits until the primary knows all that the worker has said so far: that it took a connection, say.
fn settled(stage: &mut Stage<'_>, worker: u32) -> Played {
    stage.worker(worker, json!({ "do": "send", "message": "settled" }))?;
    stage.sees(worker, "message")
}

/// Has workers listen on a port of the loopback that the system chooses, all on the same: they share
/// what they ask for in the same words. Which port it is.
fn share(stage: &mut Stage<'_>, workers: &[u32]) -> Played<Value> {
    let mut port = Value::Null;
    for worker in workers {
        port = listen(stage, *worker, "s", local(stage, &json!(0)))?["port"].clone();
    }
    Ok(port)
}

/// Waits until a worker is gone for the primary too.
fn gone(stage: &mut Stage<'_>, worker: u32) -> Played {
    stage.sees(worker, "exit")?;
    stage.sees(worker, "disconnect")?;
    stage.gone(worker)
}

/// Disconnects everything, and waits until it has gone.
fn end(stage: &mut Stage<'_>, workers: &[u32]) -> Played {
    stage.primary(json!({ "do": "disconnectAll" }))?;
    stage.sees_itself("disconnected")?;
    for worker in workers {
        gone(stage, *worker)?;
    }
    Ok(())
}
