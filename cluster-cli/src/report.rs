//! Says what happens: in lines for people, or in JSON for machines.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use cluster_primary::control::event_object;
use cluster_primary::{Event, Object, Primary, Serialization, Signal, Value, WorkerId};

/// Where what happens is said.
#[derive(Clone, Copy)]
pub(crate) struct Report {
    json: bool,
}

impl Report {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// What a primary saw.
    pub(crate) fn event(&self, primary: &Primary, event: &Event) {
        if self.json {
            let advanced = matches!(event, Event::Message { worker, .. }
                if primary.serialization(*worker) == Some(Serialization::Advanced));
            if let Some(object) = event_object(event, advanced) {
                print(object);
            }
            return;
        }
        let pid = |worker: WorkerId| match primary.worker_state(worker) {
            Some(state) => format!("worker {worker} (pid {})", state.pid),
            None => format!("worker {worker}"),
        };
        match event {
            Event::Fork { worker, pid } => say(&format!("worker {worker} (pid {pid}) started")),
            Event::Listening { worker, address } => {
                say(&format!("{} listens on {address}", pid(*worker)));
            }
            Event::ListenFailed { worker, address, error } => {
                say(&format!("error: {} cannot listen on {address}: {error}", pid(*worker)));
            }
            Event::Fallback { address, instead, reason } => say(&format!(
                "warning: the placement kernel cannot be had on {address} as it is meant: {reason}. \
                 Instead {instead}. It needs Linux 5.12 and the capability CAP_BPF (for instance by \
                 setcap cap_bpf+ep on this program, or AmbientCapabilities=CAP_BPF in its unit)"
            )),
            Event::Error { worker, error } => say(&format!("error: {}: {error}", pid(*worker))),
            Event::Exit { worker, status, exited_after_disconnect: true } => {
                say(&format!("worker {worker} left ({status})"));
            }
            _ => {}
        }
    }

    /// A worker died by accident and is replaced.
    pub(crate) fn replaced(&self, worker: WorkerId, status: &str, pause: Duration) {
        if self.json {
            let pause = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            print(typed("replace").with("worker", worker.0).with("afterMs", pause));
        } else if pause.is_zero() {
            say(&format!("worker {worker} died ({status}); starting another"));
        } else {
            say(&format!("worker {worker} died ({status}); starting another in {pause:?}"));
        }
    }

    /// A worker could not be forked; it will be tried again.
    pub(crate) fn tried_again(&self, pause: Duration) {
        if self.json {
            let pause = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            print(typed("retry").with("afterMs", pause));
        } else {
            say(&format!("trying again in {pause:?}"));
        }
    }

    /// The cluster is about to end.
    pub(crate) fn ending(&self, grace: Duration) {
        if self.json {
            print(
                typed("ending")
                    .with("graceMs", u64::try_from(grace.as_millis()).unwrap_or(u64::MAX)),
            );
        } else {
            say(&format!("ending: waiting up to {grace:?} for connections to finish"));
        }
    }

    /// A worker did not leave in time.
    pub(crate) fn killed(&self, worker: WorkerId, signal: Signal, asked_twice: bool) {
        if self.json {
            print(typed("kill").with("worker", worker.0).with("signal", signal.to_string()));
        } else if asked_twice {
            say(&format!("worker {worker} is not waited for: {signal}"));
        } else {
            say(&format!("worker {worker} did not leave in time: {signal}"));
        }
    }

    /// Where the cluster can be driven.
    pub(crate) fn control(&self, path: &Path) {
        if self.json {
            print(typed("control").with("path", path.to_string_lossy().into_owned()));
        }
    }

    /// As [`control`](Self::control), of one that does nothing else until it is driven.
    pub(crate) fn ready(&self, path: &Path) {
        if self.json {
            self.control(path);
        } else {
            say(&format!("ready: driven by whoever connects to {}", path.display()));
        }
    }

    /// Something went wrong without which it goes on.
    pub(crate) fn warning(&self, what: &str) {
        if self.json {
            print(typed("warning").with("message", what));
        } else {
            say(&format!("warning: {what}"));
        }
    }

    /// All workers left of their own will.
    pub(crate) fn nobody_left(&self) {
        if self.json {
            print(typed("nobodyLeft"));
        } else {
            say("all workers have left");
        }
    }

    /// Something that is as asked for, but perhaps not as expected.
    pub(crate) fn hint(&self, what: &str) {
        if self.json {
            print(typed("hint").with("message", what));
        } else {
            say(&format!("hint: {what}"));
        }
    }

    /// Something that ends the cluster before its time.
    pub(crate) fn failure(&self, what: &str) {
        if self.json {
            print(typed("failure").with("message", what));
        } else {
            say(&format!("error: {what}"));
        }
    }
}

fn say(line: &str) {
    // Where nobody hears there is nobody to tell.
    let _unheard = writeln!(io::stderr().lock(), "cluster: {line}");
}

fn print(object: Object) {
    let line = serde_json::to_string(&Value::from(object)).unwrap_or_default();
    let _unheard = writeln!(io::stdout().lock(), "{line}");
}

fn typed(name: &str) -> Object {
    Object::new().with("type", name)
}
