//! The primary, on `cluster-primary`.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use cluster_primary::{
    AnySocket, Event, Placement, Primary, Remote, SendId, Serialization, Settings, Signal, WorkerId,
};
use serde_json::{Value, json};

use super::link::{Link, Order, error, tagged, untagged};
use super::sockets::Sockets;
use crate::compat::cast::Program;

pub(in crate::compat) fn run() -> io::Result<ExitCode> {
    super::abort_on_panic();
    let program = Program::from_env()?;
    let mut settings = Settings::new(program.exec);
    settings.exec_path = Some(program.exec_path.into());
    let mut primary = Primary::new(settings)?;
    let actor = Arc::new(Actor {
        link: Link::open(&json!({ "hello": "primary" }))?,
        sockets: Mutex::new(Sockets::new("the primary".into())),
        sent: Mutex::default(),
    });
    let (directed, remote) = (Arc::clone(&actor), primary.remote());
    let orders = actor.link.orders()?;
    thread::spawn(move || obey(&directed, &remote, orders));
    while let Some(event) = primary.next_event()? {
        actor.note(event);
    }
    Ok(ExitCode::SUCCESS)
}

fn obey(actor: &Arc<Actor>, remote: &Remote, orders: impl Iterator<Item = Order>) {
    for order in orders {
        let actor = Arc::clone(actor);
        // The answer is given before the primary goes on, as in a program of one thread.
        let called = remote.call(move |primary| {
            let n = order.n;
            if let Some(is) = actor.obey(primary, order) {
                actor.link.answer(n, &is);
            }
        });
        if called.is_err() {
            return;
        }
    }
    std::process::exit(0);
}

struct Actor {
    link: Link,
    sockets: Mutex<Sockets>,
    /// The numbers of the orders to send, by what they are answered by.
    sent: Mutex<HashMap<SendId, u64>>,
}

impl Actor {
    /// Its answer, unless an event will bring that.
    fn obey(
        &self,
        primary: &mut Primary,
        Order { n, verb, members: order }: Order,
    ) -> Option<Value> {
        let worker =
            WorkerId(order["worker"].as_u64().and_then(|n| n.try_into().ok()).unwrap_or(0));
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        Some(match verb.as_str() {
            "setup" => {
                primary.setup(|settings| change(settings, &order["settings"]));
                told(primary.settings())
            }
            "settings" => told(primary.settings()),
            "policy" => match primary.settings().placement {
                Placement::Handoff => "rr".into(),
                _ => "none".into(),
            },
            "setPolicy" => {
                let rr = order["policy"] == "rr";
                let placement = if rr { Placement::Handoff } else { Placement::Shared };
                let policy = primary.settings().policy;
                primary.schedule(placement, policy);
                Value::Null
            }
            "fork" => match primary.fork_with(env(&order["env"])) {
                Ok(worker) => {
                    let pid = primary.worker(worker).map(|w| w.pid());
                    json!({ "worker": worker.0, "pid": pid })
                }
                Err(failure) => error(failure.to_string()),
            },
            "send" | "sendHandle" => {
                let handle = (verb == "sendHandle").then(|| sockets.take(&order));
                let handle = match handle.transpose() {
                    Ok(handle) => handle,
                    Err(failure) => return Some(error(failure.to_string())),
                };
                match primary.send_reported(worker, untagged(&order["message"]), handle) {
                    Ok(id) => {
                        self.sent.lock().unwrap_or_else(PoisonError::into_inner).insert(id, n);
                        return None;
                    }
                    Err(failure) => error(failure.code()),
                }
            }
            "make" => sockets.make(&order).unwrap_or_else(|e| error(e.to_string())),
            "say" => {
                sockets.send(&order);
                Value::Null
            }
            "disconnect" => {
                primary.disconnect_worker(worker);
                Value::Null
            }
            "disconnectAll" => {
                primary.disconnect();
                Value::Null
            }
            "closeChannel" => {
                primary.close_channel(worker);
                Value::Null
            }
            "kill" => {
                let signal: Result<Signal, _> =
                    order["signal"].as_str().map_or(Ok(Signal::TERM), str::parse);
                match signal.map(|signal| primary.kill(worker, signal)) {
                    Ok(Ok(delivered)) => delivered.into(),
                    Ok(Err(failure)) => error(failure.to_string()),
                    Err(_) => error("ERR_UNKNOWN_SIGNAL"),
                }
            }
            "workers" => primary.workers().iter().map(|worker| worker.0).collect(),
            "state" => primary.worker(worker).map_or(Value::Null, |worker| {
                json!({
                    "pid": worker.pid(),
                    "state": worker.state(),
                    "connected": worker.is_connected(),
                    "dead": worker.is_dead(),
                    "exitedAfterDisconnect": worker.exited_after_disconnect(),
                })
            }),
            "quit" => {
                self.link.answer(n, &Value::Null);
                std::process::exit(0);
            }
            other => error(format!("an unknown order: {other}")),
        })
    }

    fn note(&self, event: Event) {
        let note = |event, members| self.link.note(event, members);
        match event {
            Event::Setup { settings } => note("setup", json!({ "settings": told(&settings) })),
            Event::Fork { worker, pid, .. } => {
                note("fork", json!({ "worker": worker.0, "pid": pid }));
            }
            Event::Online { worker } => note("online", json!({ "worker": worker.0 })),
            Event::Listening { worker, address, .. } => {
                let kind = address.address_type.map(|kind| kind.to_string());
                let kind = kind.map(|kind| kind.parse::<i64>().map_or(kind.into(), Value::from));
                let mut members = json!({ "worker": worker.0, "address": address.address,
                    "port": address.port, "addressType": kind });
                if let Some(fd) = address.fd.filter(|fd| *fd >= 0) {
                    members["fd"] = fd.into();
                }
                note("listening", members);
            }
            Event::Message { worker, message, handle, .. } => {
                let sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
                let handle = handle.map(|handle| sockets.receive(AnySocket::from(handle.handle)));
                let message = tagged(&message.value().unwrap_or_default());
                note(
                    "message",
                    json!({ "worker": worker.0, "message": message, "handle": handle }),
                );
            }
            Event::Sent { id, error: failure, .. } => {
                let n = self.sent.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                let is = failure.map_or_else(|| "written".into(), |failure| error(failure.code()));
                self.link.answer(n.unwrap_or_default(), &is);
            }
            Event::Stdio { worker, fd, data } => {
                let data = String::from_utf8_lossy(&data);
                note("stdio", json!({ "worker": worker.0, "fd": fd, "data": data }));
            }
            Event::Error { worker, error } => {
                note("error", json!({ "worker": worker.0, "code": error.code() }));
            }
            Event::Disconnect { worker, exited_after_disconnect: voluntarily } => {
                let members = json!({ "worker": worker.0, "exitedAfterDisconnect": voluntarily });
                note("disconnect", members);
            }
            Event::Exit { worker, status, exited_after_disconnect: voluntarily, .. } => {
                let signal = status.signal().map(|signal| signal.to_string());
                note(
                    "exit",
                    json!({ "worker": worker.0, "code": status.code(), "signal": signal,
                        "exitedAfterDisconnect": voluntarily }),
                );
            }
            Event::Disconnected => note("disconnected", json!({})),
            // What goes beyond Node's events.
            _ => {}
        }
    }
}

fn change(settings: &mut Settings, changes: &Value) {
    let words = |value: &Value| -> Vec<OsString> {
        let words = value.as_array().into_iter().flatten();
        words.filter_map(|word| Some(word.as_str()?.into())).collect()
    };
    for (name, value) in changes.as_object().into_iter().flatten() {
        match name.as_str() {
            "args" => settings.args = words(value),
            "execArgv" => settings.exec_argv = words(value),
            "cwd" => settings.cwd = value.as_str().map(Into::into),
            "silent" => settings.silent = value == true,
            "serialization" if value == "advanced" => {
                settings.serialization = Serialization::Advanced;
            }
            "serialization" => settings.serialization = Serialization::Json,
            other => panic!("an unknown setting: {other}"),
        }
    }
}

fn told(settings: &Settings) -> Value {
    let words = |words: &[OsString]| -> Value {
        words.iter().map(|word| word.to_string_lossy().into_owned()).collect()
    };
    json!({
        "args": words(&settings.args),
        "execArgv": words(&settings.exec_argv),
        "cwd": settings.cwd,
        "silent": settings.silent,
        "serialization": match settings.serialization {
            Serialization::Advanced => "advanced",
            _ => "json",
        },
    })
}

fn env(changes: &Value) -> Vec<(OsString, Option<OsString>)> {
    let changes = changes.as_object().into_iter().flatten();
    changes.map(|(name, value)| (name.into(), value.as_str().map(Into::into))).collect()
}
