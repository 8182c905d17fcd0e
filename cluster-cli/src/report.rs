//! Reports what happens: as a log, or as JSON for programs.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use cluster_control::{event_text, notice_object};
use cluster_primary::proto::Json;
use cluster_primary::tree::LeftoverProgress;
use cluster_primary::{Event, Object, Primary, Serialization, Signal, Value, WorkerId, printable};
use cluster_supervisor::driver::{Cause, Config, Death, Failure, Notice, Ready};
use tracing::{debug, error, info, trace, warn};

use crate::config::{self, Seeing};
use crate::listen::advice::{Place, advice, exhausted};
use crate::logs::lines::State;
use crate::logs::{Author, Events, LIFE, Logs, Output};
use crate::repeats::{Repeats, more};

/// The kind of errors of a worker that cannot listen.
const LISTEN: &str = "ERR_LISTEN";

/// Where what happens is said.
#[derive(Clone)]
pub(crate) struct Report(Rc<Parts>);

struct Parts {
    /// Events are printed instead of logged.
    json: bool,
    /// A supervisor reports the deaths of workers, and what follows from them.
    supervised: bool,
    events: RefCell<Events<io::Stdout>>,
    known: RefCell<BTreeMap<WorkerId, Known>>,
    /// Why workers started without an agent, as far as that has been logged.
    no_agent: RefCell<BTreeSet<String>>,
    /// Workers that have reached a limit of listeners, which was logged.
    limited: RefCell<BTreeSet<WorkerId>>,
    /// Errors of which a worker can cause any number.
    repeats: RefCell<Repeats>,
    /// What workers write, if it comes through us.
    output: Option<Output>,
    /// The last to go: whatever was said is to be written.
    logs: Logs,
}

/// Of whom something may still be said.
struct Known {
    author: Author,
    gone: bool,
}

impl Report {
    /// Starts reporting, in the format that was asked for.
    pub(crate) fn start(seeing: &Seeing) -> Self {
        Self::of(seeing, true)
    }

    /// As [`start`](Self::start), for a primary without a supervisor.
    pub(crate) fn unsupervised(seeing: &Seeing) -> Self {
        Self::of(seeing, false)
    }

    fn of(seeing: &Seeing, supervised: bool) -> Self {
        let logs = Logs::start(seeing.log_format, seeing.log_level);
        let passed_on = !seeing.json && seeing.output == config::Output::Prefix;
        let output = passed_on
            .then(|| Output::new(seeing.log_format, Arc::clone(&logs.out), Arc::clone(&logs.err)));
        Self(Rc::new(Parts {
            json: seeing.json,
            supervised,
            events: RefCell::new(Events::new(io::stdout())),
            known: RefCell::default(),
            no_agent: RefCell::default(),
            limited: RefCell::default(),
            repeats: RefCell::default(),
            output,
            logs,
        }))
    }

    /// What a primary saw.
    pub(crate) fn event(&self, primary: &Primary, event: &Event) {
        if self.0.json {
            let advanced = matches!(event, Event::Message { worker, .. } | Event::Request { worker, .. }
                if primary.serialization(*worker) == Some(Serialization::Advanced));
            if let Some(text) = event_text(event, advanced) {
                let safe = text.parts().map(|part| match String::from_utf8_lossy(part) {
                    Cow::Borrowed(part) => printable::json(part),
                    Cow::Owned(part) => Cow::Owned(printable::json(&part).into_owned()),
                });
                let [head, message, tail] = safe.each_ref().map(|part| part.as_bytes());
                self.0.events.borrow_mut().write(&[head, message, tail, b"\n"]);
            }
            return;
        }
        if let Some(worker) = worker_of(event) {
            let pid = match event {
                Event::Fork { pid, .. } => Some(*pid),
                _ => None,
            };
            self.know(primary, worker, pid);
        }
        self.log(primary, event);
        if let Event::Exit { worker, .. } = event
            && let Some(known) = self.0.known.borrow_mut().get_mut(worker)
        {
            known.gone = true;
        }
        if let Event::Leftovers { worker, progress } = event {
            self.leftovers(*worker, progress);
        }
    }

    /// What a worker has left behind may write as long as it runs.
    fn leftovers(&self, worker: WorkerId, progress: &LeftoverProgress) {
        let gone = matches!(progress, LeftoverProgress::Ended | LeftoverProgress::Survived { .. });
        if let (true, Some(output), Some(author)) = (gone, &self.0.output, self.author(worker)) {
            output.ended(author);
        }
        if let Some(known) = self.0.known.borrow_mut().get_mut(&worker) {
            known.gone = gone;
        }
    }

    /// Learns of a worker, at its first event.
    fn know(&self, primary: &Primary, worker: WorkerId, pid: Option<u32>) {
        let mut known = self.0.known.borrow_mut();
        if known.contains_key(&worker) {
            return;
        }
        // Nothing more is reported of workers that exited before.
        known.retain(|_, known| !known.gone);
        // It may be gone already, when much happened before we came to hear of it.
        let state = primary.worker_state(worker);
        if let Some(pid) = pid.or(state.map(|state| state.pid)) {
            let author = Author { slot: state.map(|state| state.slot), worker, pid };
            known.insert(worker, Known { author, gone: false });
        }
    }

    /// An event, as a line of JSON.
    fn print(&self, object: Object) {
        let text = Json::text(&Value::from(object)).unwrap_or_default();
        let line = printable::json(&text).into_owned() + "\n";
        self.0.events.borrow_mut().write(&[line.as_bytes()]);
    }

    fn author(&self, worker: WorkerId) -> Option<Author> {
        self.0.known.borrow().get(&worker).map(|known| known.author)
    }

    /// A worker's slot, number and process id, as far as they are known.
    fn about(&self, worker: WorkerId) -> (Option<u32>, u32, Option<u32>) {
        let author = self.author(worker);
        (author.and_then(|author| author.slot), worker.0, author.map(|author| author.pid))
    }

    fn log(&self, primary: &Primary, event: &Event) {
        let name = |worker: &WorkerId| match self.author(*worker) {
            Some(author) => format!("worker {worker} (pid {})", author.pid),
            None => format!("worker {worker}"),
        };
        match event {
            Event::Fork { worker, pid, .. } => {
                let (slot, worker, _) = self.about(*worker);
                info!(target: LIFE, slot, worker, pid, "worker {worker} (pid {pid}) started");
            }
            Event::Online { worker: id } => {
                let (slot, worker, pid) = self.about(*id);
                debug!(target: LIFE, slot, worker, pid, "{} is online", name(id));
            }
            Event::Listening { worker: id, address, .. } => {
                let (slot, worker, pid) = self.about(*id);
                info!(target: LIFE, slot, worker, pid, "{} listens on {address}", name(id));
            }
            Event::ListenFailed { worker: id, address, error, limit: Some(limit), .. } => {
                // It may try without end.
                if !self.0.limited.borrow_mut().insert(*id) {
                    return;
                }
                let (slot, worker, pid) = self.about(*id);
                error!(
                    slot,
                    worker,
                    pid,
                    "{} cannot listen on {address}: {error}: {limit}. More failures of this kind are not \
                     logged for this worker",
                    name(id)
                );
            }
            Event::ListenFailed { worker: id, address, error, .. } => {
                let Some(left_out) = self.0.repeats.borrow_mut().note(*id, LISTEN) else { return };
                let (slot, worker, pid) = self.about(*id);
                let advice = advice(Place::of(address, primary.settings()), error);
                error!(
                    slot,
                    worker,
                    pid,
                    "{} cannot listen on {address}: {error}{advice}{}",
                    name(id),
                    more(left_out)
                );
            }
            Event::Fallback { address, instead, reason } => warn!(
                "the placement kernel is not fully available on {address}: {reason}. Instead {instead}. It needs Linux 5.12 and the capability CAP_BPF (for instance by \
                 setcap cap_bpf+ep on this program, or AmbientCapabilities=CAP_BPF in its unit)"
            ),
            Event::HandsOver { address, runtime } => warn!(
                "connections to {address} are handed off to the workers, whatever --placement says: \
                 {runtime} cannot serve a socket that it receives"
            ),
            Event::Message { worker: id, .. } | Event::Request { worker: id, .. } => {
                let (slot, worker, pid) = self.about(*id);
                trace!(target: LIFE, slot, worker, pid, "{} sent a message", name(id));
            }
            Event::Stdio { worker, fd, data } => {
                if let (Some(output), Some(author)) = (&self.0.output, self.author(*worker)) {
                    output.wrote(author, *fd, data);
                }
            }
            Event::Error { worker: id, error } => {
                let left_out = self.0.repeats.borrow_mut().note(*id, error.code());
                let Some(left_out) = left_out else { return };
                let (slot, worker, pid) = self.about(*id);
                error!(slot, worker, pid, "{}: {error}{}", name(id), more(left_out));
            }
            Event::Disconnect { worker: id, .. } => {
                let (slot, worker, pid) = self.about(*id);
                debug!(target: LIFE, slot, worker, pid, "{} has disconnected", name(id));
            }
            Event::Taken { worker: id, client } => {
                let (slot, worker, pid) = self.about(*id);
                match client {
                    Some(client) => {
                        info!(target: LIFE, slot, worker, pid, "{} took a connection of {client}", name(id));
                    }
                    None => {
                        info!(target: LIFE, slot, worker, pid, "{} took a connection", name(id));
                    }
                }
            }
            Event::NoAgent { worker: id, reason } => {
                let (slot, worker, pid) = self.about(*id);
                // It is the same for each worker, usually.
                if !self.0.no_agent.borrow_mut().insert(reason.clone()) {
                    return;
                }
                warn!(
                    slot,
                    worker,
                    pid,
                    "{} starts without cluster's agent: {reason}. When it has to leave, it is told to \
                     disconnect, even during a request (--node-agent=false disables the agent)",
                    name(id)
                );
            }
            Event::Leftovers { worker: id, progress } => {
                let (slot, worker, pid) = self.about(*id);
                match progress {
                    LeftoverProgress::Ended => {
                        debug!(target: LIFE, slot, worker, pid, "{}: {progress}", name(id));
                    }
                    LeftoverProgress::Terminated { .. } | LeftoverProgress::Spared { .. } => {
                        info!(target: LIFE, slot, worker, pid, "{}: {progress}", name(id));
                    }
                    _ => warn!(slot, worker, pid, "{}: {progress}", name(id)),
                }
            }
            Event::Unresponsive { worker: id, silent_for } => {
                let (slot, worker, pid) = self.about(*id);
                let (name, time) = (name(id), rounded(*silent_for));
                if self.0.supervised {
                    warn!(
                        slot,
                        worker,
                        pid,
                        "{name} has not answered for {time}: it gets no connections until it does \
                         (--hang-replace replaces such workers)"
                    );
                } else {
                    warn!(
                        slot,
                        worker,
                        pid,
                        "{name} has not answered for {time}: it gets no connections until it does"
                    );
                }
            }
            Event::Responsive { worker: id } => {
                let (slot, worker, pid) = self.about(*id);
                info!(target: LIFE, slot, worker, pid, "{} responds again", name(id));
            }
            Event::Exit { worker: id, status, exited_after_disconnect, .. } => {
                if let (Some(output), Some(author)) = (&self.0.output, self.author(*id)) {
                    output.ended(author);
                }
                self.0.limited.borrow_mut().remove(id);
                let (slot, worker, pid) = self.about(*id);
                for (kind, count) in self.0.repeats.borrow_mut().end(*id) {
                    error!(
                        slot,
                        worker,
                        pid,
                        "{}: {count} more errors of the kind {kind} were not logged",
                        name(id)
                    );
                }
                if *exited_after_disconnect && matches!(status.code(), Some(1..)) {
                    // No failure, as it was asked to leave; but its shutdown may not have gone well.
                    warn!(target: LIFE, slot, worker, pid, "worker {worker} left ({status})");
                } else if *exited_after_disconnect {
                    info!(target: LIFE, slot, worker, pid, "worker {worker} left ({status})");
                } else if self.0.supervised {
                    // The supervisor's notice of it is logged.
                    debug!(target: LIFE, slot, worker, pid, "worker {worker} exited ({status})");
                } else {
                    warn!(target: LIFE, slot, worker, pid, "worker {worker} died ({status})");
                }
            }
            _ => {}
        }
    }

    /// What the supervisor has decided. (`online` are the workers that have said anything on their
    /// channels.)
    pub(crate) fn notice(&self, notice: &Notice, config: &Config, online: &BTreeSet<WorkerId>) {
        if self.0.json {
            if let Some(object) = notice_object(notice) {
                self.print(object);
            }
        } else {
            self.log_notice(notice, config, online);
        }
    }

    fn log_notice(&self, notice: &Notice, config: &Config, online: &BTreeSet<WorkerId>) {
        match notice {
            Notice::Ready { worker: id, .. } => {
                let (slot, worker, pid) = self.about(*id);
                debug!(target: LIFE, slot, worker, pid, "worker {worker} is ready");
            }
            Notice::Slow { worker: id, after, .. } => {
                let (slot, worker, pid) = self.about(*id);
                let lacks = lacking(config.ready, online.contains(id));
                warn!(
                    slot,
                    worker,
                    pid,
                    "worker {worker} is not ready after {after:?}: {lacks}; still waiting"
                );
            }
            Notice::Replacing { death, pause } => self.log_death(death, *pause),
            Notice::NoneReady { death, pause, gives_up_in } => {
                let slot = death.slot;
                let sign = awaited(config.ready);
                let then = match gives_up_in {
                    Some(left) => format!(
                        "if none is within {}, the cluster gives up (--failure-period)",
                        rounded(*left)
                    ),
                    None => "it never gives up (--max-failures 0)".into(),
                };
                error!(
                    slot,
                    "no worker is ready, and new ones fail; the last: {}. Waiting for a worker that {sign}, \
                     with pauses of up to {pause:?} between attempts; {then}",
                    one(death)
                );
            }
            Notice::GaveUp { deaths } => {
                let lines: Vec<_> =
                    deaths.iter().map(|death| format!("\n  {}", one(death))).collect();
                let lines = lines.concat();
                let Config { max_failures, failure_period, .. } = config;
                match &deaths[..] {
                    [death @ Death { worker: None, .. }] => error!("{}", death.failure),
                    _ => error!(
                        "giving up: a slot failed more than {max_failures} times within \
                         {failure_period:?}, and no worker is ready. The last failures:{lines}"
                    ),
                }
            }
            Notice::ReloadBegan { generation } => {
                info!("reload {generation}: replacing every worker");
            }
            Notice::Reloaded { generation, replaced } => {
                info!("reload {generation} done: {}", workers(*replaced, "replaced"));
            }
            Notice::ReloadAborted { generation, slot, reason, was_ready, replaced, kept } => {
                let lacks = match reason {
                    Failure::NotReady(_) => format!(": {}", lacking(config.ready, true)),
                    _ => String::new(),
                };
                error!(
                    slot,
                    "reload {generation} was aborted: the replacement worker for slot {slot} failed: \
                     {reason}{}{lacks}. {}",
                    after_ready(*was_ready),
                    left_by_reload(*replaced, *kept)
                );
            }
            Notice::Recycling { worker: id, cause, .. } => {
                let (slot, worker, pid) = self.about(*id);
                let cause = because(*cause);
                info!(target: LIFE, slot, worker, pid, "worker {worker} is replaced: {cause}");
            }
            Notice::OverMemoryLimit { worker: id, bytes, limit, ready_for, pause, .. } => {
                let (slot, worker, pid) = self.about(*id);
                warn!(
                    slot,
                    worker,
                    pid,
                    "worker {worker} uses {} MiB of memory {} after it became ready, and may use {} MiB \
                     (--max-memory): if the program needs that much, raise the limit. The worker is not \
                     replaced within {pause:?}",
                    bytes >> 20,
                    rounded(*ready_for),
                    limit >> 20
                );
            }
            Notice::NotRecycled { slot, reason } => {
                warn!(slot, "the worker of slot {slot} stays: its replacement failed: {reason}");
            }
            Notice::Scaled { from, to } => info!("scaling from {from} to {to} workers"),
            Notice::Draining { delay } if delay.is_zero() => {
                info!("draining: no longer ready; stopping now");
            }
            Notice::Draining { delay } => {
                info!("draining: no longer ready; stopping in {delay:?}");
            }
            Notice::Ending { grace } if grace.is_zero() => {
                info!("stopping: not waiting for connections to finish");
            }
            Notice::Ending { grace } => {
                info!("stopping: waiting up to {grace:?} for connections to finish");
            }
            Notice::Late { worker: id, signal, at_once, .. } => {
                let (slot, worker, pid) = self.about(*id);
                let why = if *at_once { "is not waited for" } else { "did not leave in time" };
                warn!(target: LIFE, slot, worker, pid, "worker {worker} {why}: {signal}");
            }
            Notice::NoWorkerLeft => error!(
                "no worker is left: all have disconnected, and none is replaced \
                 (--replace-disconnected=false)"
            ),
            _ => {}
        }
    }

    fn log_death(&self, death: &Death, pause: Duration) {
        let when = if pause.is_zero() { String::new() } else { format!(" in {}", rounded(pause)) };
        let Death { slot, worker, failure, .. } = death;
        match (worker, failure) {
            (Some(id), Failure::Died(status)) => {
                let (slot, worker, pid) = self.about(*id);
                warn!(
                    target: LIFE, slot, worker, pid,
                    "worker {worker} died ({status}); starting another{when}"
                );
            }
            (Some(id), Failure::Disconnected) => {
                let (slot, worker, pid) = self.about(*id);
                info!(
                    target: LIFE, slot, worker, pid,
                    "worker {worker} disconnected; starting another{when}"
                );
            }
            (_, failure) => error!(slot, "{failure}; trying again{when}"),
        }
    }

    /// A worker was stopped by a signal.
    pub(crate) fn stopped(&self, worker: WorkerId, signal: Signal) {
        let (slot, id, pid) = self.about(worker);
        let continued = pid.map_or_else(|| "SIGCONT".to_owned(), |pid| format!("kill -CONT {pid}"));
        let advice = match signal.name() {
            Some("SIGTTIN") => {
                "it read from the terminal, which a background process may not do: redirect its input"
                    .to_owned()
            }
            Some("SIGTTOU") => "it used the terminal, which a background process may not do (stty -tostop lets it write there)"
                .to_owned(),
            _ => format!("it serves no requests until it continues ({continued})"),
        };
        let what = format!("worker {worker} was stopped by {signal}: {advice}");
        if self.0.json {
            self.warning(&what);
        } else {
            warn!(slot, worker = id, pid, "{what}");
        }
    }

    /// Nothing listens to the messages that a worker sends. (`ready`: it is the message `ready`.)
    pub(crate) fn unheard(&self, worker: WorkerId, ready: bool) {
        if ready {
            return self.hint(&format!(
                "worker {worker} sends the message 'ready' (process.send('ready')): --ready message waits for \
                 it, as PM2's wait_ready does"
            ));
        }
        let (slot, id, pid) = self.about(worker);
        let what = format!(
            "worker {worker} sends messages to its primary (process.send), but nothing there receives \
             them: they are dropped. cluster run does not run the primary half of a program: see \
             docs/messages.md (logged once)"
        );
        if self.0.json {
            self.warning(&what);
        } else {
            warn!(slot, worker = id, pid, "{what}");
        }
    }

    /// Where the cluster can be driven.
    pub(crate) fn control(&self, path: &Path) {
        if self.0.json {
            self.print(typed("control").with("path", path.to_string_lossy().into_owned()));
        } else {
            debug!("control socket: {}", path.display());
        }
    }

    /// As [`control`](Self::control), of one that does nothing else until it is driven.
    pub(crate) fn ready(&self, path: &Path) {
        if self.0.json {
            self.control(path);
        } else {
            info!("ready; control socket: {}", path.display());
        }
    }

    /// Where a browser sees how all is.
    pub(crate) fn shows(&self, at: SocketAddr) {
        if self.0.json {
            self.print(typed("http").with("url", format!("http://{at}/")));
        } else {
            info!("status page: http://{at}/");
        }
    }

    /// A socket for all workers.
    pub(crate) fn listens(&self, at: &str) {
        if self.0.json {
            self.print(typed("socket").with("at", at));
        } else {
            info!("listening on {at}, for all workers");
        }
    }

    /// Something went wrong without which it goes on.
    pub(crate) fn warning(&self, what: &str) {
        if self.0.json {
            self.print(typed("warning").with("message", what));
        } else {
            warn!("{what}");
        }
    }

    /// Something that is as asked for, but perhaps not as expected.
    pub(crate) fn hint(&self, what: &str) {
        if self.0.json {
            self.print(typed("hint").with("message", what));
        } else {
            info!("hint: {what}");
        }
    }

    /// Something that ends the cluster before its time, or could not be done.
    pub(crate) fn failure(&self, what: &str) {
        if self.0.json {
            self.print(typed("failure").with("message", what));
        } else {
            error!("{what}");
        }
    }

    /// The cluster itself is broken: that is logged in any case.
    pub(crate) fn broken(&self, what: &str, error: &io::Error) {
        error!("{what}: {error}{}", exhausted(error));
    }

    /// There is nothing to run but the demo.
    pub(crate) fn demo(&self, at: SocketAddr) {
        if self.0.json {
            return;
        }
        // Any free port is said when workers listen.
        match at.port() {
            0 => info!("no program is given: running the demo on {at}"),
            _ => info!(
                "no program is given: running the demo on {at} (try curl http://{at}/; Ctrl-C ends it)"
            ),
        }
    }
}

impl Report {
    /// The program was executed again.
    pub(crate) fn upgraded(&self, from: &str, count: u64) {
        let version = env!("CARGO_PKG_VERSION");
        if self.0.json {
            self.print(
                typed("upgraded")
                    .with("version", version)
                    .with("from", from)
                    .with("upgrades", count),
            );
        } else {
            info!("upgraded to version {version} (from {from}; upgrade {count})");
        }
    }

    /// The lines that workers have begun, for the next image of this program to go on with.
    pub(crate) fn lines(&self) -> Option<State<(u32, u32)>> {
        self.0.output.as_ref().map(Output::lines)
    }

    /// Goes on with lines that workers have begun.
    pub(crate) fn put_lines(&self, state: State<(u32, u32)>) {
        if let Some(output) = &self.0.output {
            output.put_lines(state);
        }
    }

    /// Waits until all that was said is written, but not longer than that; whether it is. What is not
    /// is lost when the process is replaced.
    pub(crate) fn finish(&self, patience: Duration) -> bool {
        self.0.logs.finish(patience)
    }
}

/// The worker that an event is of.
fn worker_of(event: &Event) -> Option<WorkerId> {
    match event {
        Event::Fork { worker, .. }
        | Event::Online { worker }
        | Event::Listening { worker, .. }
        | Event::ListenFailed { worker, .. }
        | Event::Message { worker, .. }
        | Event::Request { worker, .. }
        | Event::Stdio { worker, .. }
        | Event::Error { worker, .. }
        | Event::Disconnect { worker, .. }
        | Event::Exit { worker, .. } => Some(*worker),
        _ => None,
    }
}

/// What a worker has not done that is not ready.
fn lacking(ready: Ready, online: bool) -> &'static str {
    match ready {
        Ready::Online | Ready::Listening | Ready::Message if !online => {
            "it has not sent anything on its channel: does the program speak node:cluster's protocol? \
             (For one that does not, use --listen)"
        }
        Ready::Online => "it has not sent anything on its channel",
        Ready::Listening => {
            "it does not listen (for a program that never does, choose another --ready)"
        }
        Ready::Message => "it has not sent the message \"ready\"",
        Ready::Notify => "it has not sent READY=1 to NOTIFY_SOCKET",
        _ => "it has not run for long enough",
    }
}

/// When a new worker failed.
pub(crate) fn after_ready(was_ready: bool) -> &'static str {
    if was_ready { " after it was ready" } else { "" }
}

/// How far a reload had come that was aborted.
pub(crate) fn left_by_reload(replaced: u32, kept: u32) -> String {
    let kept = match kept {
        0 => "No old worker is left".into(),
        1 => "1 old worker stays".into(),
        kept => format!("{kept} old workers stay"),
    };
    format!("{kept}; {}", workers(replaced, "replaced before that"))
}

/// What a worker does that becomes ready.
fn awaited(ready: Ready) -> &'static str {
    match ready {
        Ready::Online => "answers on its channel",
        Ready::Listening => "listens",
        Ready::Message => "sends the message \"ready\"",
        Ready::Notify => "sends READY=1 to NOTIFY_SOCKET",
        _ => "stays alive",
    }
}

/// A failure among others.
fn one(death: &Death) -> String {
    let Death { slot, worker, failure, lived, was_ready } = death;
    let when = if *was_ready { "after it had been ready" } else { "before it was ready" };
    match (worker, failure) {
        (Some(worker), Failure::Died(status)) => {
            format!("worker {worker} (slot {slot}): {status} after {}, {when}", rounded(*lived))
        }
        (Some(worker), Failure::Disconnected) => {
            format!("worker {worker} (slot {slot}): disconnected after {}, {when}", rounded(*lived))
        }
        (_, failure) => format!("slot {slot}: {failure}"),
    }
}

fn because(cause: Cause) -> String {
    match cause {
        Cause::Memory(bytes) => format!("it uses {} MiB of memory (--max-memory)", bytes >> 20),
        Cause::Age(age) => format!("it is {} s old (--max-age)", age.as_secs()),
        Cause::Connections(count) => {
            format!("it has accepted {count} connections (--max-connections)")
        }
        _ => "it does not respond (--hang-replace)".into(),
    }
}

fn workers(count: u32, what: &str) -> String {
    if count == 1 { format!("1 worker {what}") } else { format!("{count} workers {what}") }
}

/// A time as a person would say it: to the millisecond.
fn rounded(time: Duration) -> String {
    if time < Duration::from_millis(1) {
        return "0s".into();
    }
    format!("{:?}", Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
}

fn typed(name: &str) -> Object {
    Object::new().with("type", name)
}
