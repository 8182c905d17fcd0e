//! The methods and their parameters.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cluster_proto::env::Serialization;
use cluster_proto::{Object, Value};
use cluster_sched::PolicyName;

use crate::command::ControlCommand;
use crate::rpc::Failure;
use cluster_primary::embed::duplicate;
use cluster_primary::{Affinity, InspectPort, Placement, Settings, Signal, Stdio, WorkerId};

/// What can be asked for.
pub(super) enum Call {
    Subscribe { events: Option<BTreeSet<String>> },
    Version,
    SchedulingPolicy { policy: Option<(Placement, PolicyName)> },
    SetupPrimary { change: Change },
    Settings,
    Fork { env: Env },
    Workers,
    Send { worker: WorkerId, message: Value },
    DisconnectWorker { worker: WorkerId },
    CloseChannel { worker: WorkerId },
    Kill { worker: WorkerId, signal: Signal },
    Disconnect,
    Stop,
    Command(ControlCommand),
}

type Env = Vec<(OsString, Option<OsString>)>;

type Step = Box<dyn FnOnce(&mut Settings)>;

/// A change of the settings.
pub(super) struct Change {
    steps: Vec<Step>,
    stdio: Option<Option<Vec<StdioEntry>>>,
    /// It names a program.
    pub(super) exec: bool,
}

/// What `stdio` is made of.
enum StdioEntry {
    Plain(Stdio),
    /// A descriptor of the primary's. Whether there is one is seen when the change is made.
    Number(i32),
}

impl Change {
    /// # Errors
    /// If it names a descriptor that is not open. The settings may have been changed in part then.
    pub(super) fn apply(self, settings: &mut Settings) -> Result<(), Failure> {
        if let Some(stdio) = self.stdio {
            let opened = |entries: Vec<_>| entries.into_iter().map(StdioEntry::open).collect();
            settings.stdio = stdio.map(opened).transpose()?;
        }
        for step in self.steps {
            step(settings);
        }
        Ok(())
    }
}

impl StdioEntry {
    fn open(self) -> Result<Stdio, Failure> {
        match self {
            Self::Plain(stdio) => Ok(stdio),
            Self::Number(number) => match duplicate(number) {
                Some(fd) => Ok(Stdio::Numbered { number, fd: Arc::new(fd) }),
                None => Err(not_open(number)),
            },
        }
    }
}

fn not_open(number: impl std::fmt::Display) -> Failure {
    Failure::params(format!("the primary has no descriptor {number} open"))
}

/// The types of events that can be subscribed to. The last few go beyond Node, and come only to
/// those who ask for them by name.
pub(super) const EVENTS: [&str; 31] = [
    "setup",
    "fork",
    "online",
    "listening",
    "message",
    "stdio",
    "error",
    "disconnect",
    "exit",
    "listenFailed",
    "fallback",
    "unresponsive",
    "responsive",
    "leftovers",
    "ready",
    "slow",
    "replacing",
    "left",
    "noneReady",
    "gaveUp",
    "reloadBegan",
    "reloaded",
    "reloadAborted",
    "recycling",
    "overMemoryLimit",
    "notRecycled",
    "scaled",
    "draining",
    "ending",
    "late",
    "nobodyLeft",
];

/// Workers that can be asked for.
const MAX_WORKERS: u32 = 10_000;
/// The longest time to drain.
const MAX_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How many of these Node has too.
pub(super) const USUAL_EVENTS: usize = 9;

/// All that [`call`] knows.
pub(super) const METHODS: [&str; 18] = [
    "subscribe",
    "version",
    "schedulingPolicy",
    "setupPrimary",
    "settings",
    "fork",
    "workers",
    "send",
    "disconnectWorker",
    "closeChannel",
    "kill",
    "disconnect",
    "stop",
    "status",
    "reload",
    "scale",
    "drain",
    "upgrade",
];

pub(super) fn call(method: &str, params: Object) -> Result<Call, Failure> {
    let mut params = Params(params);
    let call = match method {
        "subscribe" => Call::Subscribe { events: events(params.take("events"))? },
        "version" => Call::Version,
        "schedulingPolicy" => Call::SchedulingPolicy { policy: policy(params.take("policy"))? },
        "setupPrimary" => Call::SetupPrimary { change: change(&mut params)? },
        "settings" => Call::Settings,
        "fork" => {
            let env = params.take("env").map(|env| environment("env", env)).transpose()?;
            Call::Fork { env: env.unwrap_or_default() }
        }
        "workers" => Call::Workers,
        "send" => Call::Send {
            worker: params.worker()?,
            message: params.0.remove("message").ok_or_else(|| unfit("message", "a message"))?,
        },
        "disconnectWorker" => Call::DisconnectWorker { worker: params.worker()? },
        "closeChannel" => Call::CloseChannel { worker: params.worker()? },
        "kill" => {
            let worker = params.worker()?;
            Call::Kill { worker, signal: signal(params.take("signal"))? }
        }
        "disconnect" => Call::Disconnect,
        "stop" => Call::Stop,
        "status" => Call::Command(ControlCommand::Status),
        "reload" => Call::Command(ControlCommand::Reload),
        "scale" => Call::Command(ControlCommand::Scale { workers: params.workers()? }),
        "drain" => Call::Command(ControlCommand::Drain { delay: params.delay()? }),
        "upgrade" => Call::Command(ControlCommand::Upgrade),
        _ => return Err(Failure::method(method)),
    };
    match params.0.iter().next() {
        None => Ok(call),
        Some((name, _)) => Err(Failure::params(format!("{method} has no parameter {name:?}"))),
    }
}

struct Params(Object);

impl Params {
    /// A parameter that may be left out, or null.
    fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    fn worker(&mut self) -> Result<WorkerId, Failure> {
        let id = self.take("worker").and_then(|id| u32::try_from(id.as_u64()?).ok());
        id.map(WorkerId).ok_or_else(|| unfit("worker", "a worker's number"))
    }

    fn workers(&mut self) -> Result<u32, Failure> {
        let count = self.take("workers").and_then(|count| u32::try_from(count.as_u64()?).ok());
        let count = count.filter(|count| (1..=MAX_WORKERS).contains(count));
        count.ok_or_else(|| unfit("workers", "a number from 1 to 10000"))
    }

    fn delay(&mut self) -> Result<Option<Duration>, Failure> {
        let Some(delay) = self.take("delayMs") else { return Ok(None) };
        let delay = delay.as_u64().map(Duration::from_millis).filter(|delay| *delay <= MAX_DELAY);
        delay.map(Some).ok_or_else(|| unfit("delayMs", "milliseconds, a day at the most"))
    }
}

fn unfit(name: &str, expected: &str) -> Failure {
    Failure::params(format!("{name:?} should be {expected}"))
}

fn events(events: Option<Value>) -> Result<Option<BTreeSet<String>>, Failure> {
    let Some(events) = events else { return Ok(None) };
    let names = texts("events", &events)?;
    match names.iter().find(|name| !EVENTS.contains(&name.as_str())) {
        Some(name) => Err(Failure::params(format!(
            "there is no event {name:?}; there are {}",
            EVENTS.join(", ")
        ))),
        None => Ok(Some(names.into_iter().collect())),
    }
}

fn policy(policy: Option<Value>) -> Result<Option<(Placement, PolicyName)>, Failure> {
    Ok(Some(match policy.as_ref().map(Value::as_str) {
        None => return Ok(None),
        Some(Some("none")) => (Placement::Shared, PolicyName::RoundRobin),
        Some(Some(kernel)) if kernel.starts_with("kernel") => match kernel_policy(kernel) {
            Some(policy) => (Placement::Kernel, policy),
            None => return Err(unfit("policy", KERNEL_POLICIES)),
        },
        Some(name) => {
            let known =
                "\"rr\", \"none\", \"least-connections\", \"sticky\", \"random\" or \"kernel\"";
            let policy = name.and_then(|name| name.parse().ok());
            (Placement::Handoff, policy.ok_or_else(|| unfit("policy", known))?)
        }
    }))
}

/// What may follow `kernel`.
const KERNEL_POLICIES: &str = "\"kernel\", \"kernel-random\" or \"kernel-sticky\"";

/// `kernel` is in turns; `kernel-random` and the like are by other policies.
fn kernel_policy(word: &str) -> Option<PolicyName> {
    match word.strip_prefix("kernel")? {
        "" => Some(PolicyName::RoundRobin),
        policy => {
            let policy = policy.strip_prefix('-')?.parse().ok()?;
            cluster_sched::kernel::Choice::try_from(policy).ok().map(|_| policy)
        }
    }
}

/// What a signal means that there is not is an error of the verb's, as in Node.
fn signal(signal: Option<Value>) -> Result<Signal, Failure> {
    let unknown =
        |error: cluster_primary::UnknownSignal| Failure::verb("ERR_UNKNOWN_SIGNAL", error);
    match signal {
        None => Ok(Signal::TERM),
        Some(Value::String(name)) => name.parse().map_err(unknown),
        Some(Value::Number(number)) => number.to_string().parse().map_err(unknown),
        Some(_) => Err(unfit("signal", "a signal's name or number")),
    }
}

fn text(name: &str, value: &Value) -> Result<String, Failure> {
    let text = value.as_str().filter(|text| !text.contains('\0'));
    text.map(str::to_owned).ok_or_else(|| unfit(name, "a string"))
}

fn texts(name: &str, value: &Value) -> Result<Vec<String>, Failure> {
    let list = value.as_array().ok_or_else(|| unfit(name, "an array of strings"))?;
    list.iter().map(|item| text(name, item)).collect()
}

fn flag(name: &str, value: &Value) -> Result<bool, Failure> {
    value.as_bool().ok_or_else(|| unfit(name, "true or false"))
}

fn id(name: &str, value: &Value) -> Result<u32, Failure> {
    let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
    id.ok_or_else(|| unfit(name, "a user's or group's number"))
}

const GROUPS: &str = "an array of groups' numbers";

fn numbers(value: &Value) -> Option<Vec<u32>> {
    value.as_array()?.iter().map(|number| u32::try_from(number.as_u64()?).ok()).collect()
}

const PORTS: &str = "an array of ports";

fn ports(value: &Value) -> Option<Vec<u16>> {
    numbers(value)?
        .into_iter()
        .map(|port| u16::try_from(port).ok().filter(|port| *port > 0))
        .collect()
}

fn affinity(value: &Value) -> Result<Affinity, Failure> {
    let sets = match value {
        Value::String(word) if word == "each" => return Ok(Affinity::Each),
        Value::Array(sets) => sets.iter().map(numbers).collect::<Option<_>>(),
        _ => None,
    };
    let sets = sets.filter(|sets: &Vec<Vec<u32>>| sets.iter().all(|set| !set.is_empty()));
    match sets.filter(|sets| !sets.is_empty()) {
        Some(sets) => Ok(Affinity::Sets(sets)),
        None => Err(unfit("affinity", "\"each\", or an array of arrays of CPUs' numbers")),
    }
}

fn environment(name: &str, value: Value) -> Result<Env, Failure> {
    let Value::Object(object) = value else { return Err(unfit(name, "an object")) };
    object
        .iter()
        .map(|(variable, value)| {
            if variable.is_empty() || variable.contains(['=', '\0']) {
                return Err(Failure::params(format!("{variable:?} is no variable's name")));
            }
            let value = match value {
                Value::Null => None,
                // As Node does.
                Value::Number(n) => Some(n.to_string().into()),
                Value::Bool(b) => Some(b.to_string().into()),
                value => Some(text(variable, value)?.into()),
            };
            Ok((variable.into(), value))
        })
        .collect()
}

fn change(params: &mut Params) -> Result<Change, Failure> {
    let mut change = Change { steps: Vec::new(), stdio: None, exec: false };
    let mut set = |step: Step| change.steps.push(step);
    let (mut exec, mut descriptors) = (false, None);
    if let Some(value) = params.0.remove("exec") {
        let program = PathBuf::from(text("exec", &value)?);
        exec = true;
        set(Box::new(move |s| s.exec = program));
    }
    // Null goes back to the default.
    if let Some(value) = params.0.remove("args") {
        let args = optional(&value, |v| texts("args", v))?.unwrap_or_default();
        let args = args.into_iter().map(Into::into).collect();
        set(Box::new(move |s| s.args = args));
    }
    if let Some(value) = params.0.remove("execPath") {
        let path = optional(&value, |v| text("execPath", v))?.map(PathBuf::from);
        set(Box::new(move |s| s.exec_path = path));
    }
    if let Some(value) = params.0.remove("execArgv") {
        let args = optional(&value, |v| texts("execArgv", v))?.unwrap_or_default();
        let args = args.into_iter().map(Into::into).collect();
        set(Box::new(move |s| s.exec_argv = args));
    }
    if let Some(value) = params.0.remove("launcher") {
        let words = optional(&value, |v| texts("launcher", v))?.unwrap_or_default();
        let words = words.into_iter().map(Into::into).collect();
        set(Box::new(move |s| s.launcher = words));
    }
    if let Some(value) = params.0.remove("cwd") {
        let cwd = optional(&value, |v| text("cwd", v))?.map(PathBuf::from);
        set(Box::new(move |s| s.cwd = cwd));
    }
    if let Some(value) = params.0.remove("env") {
        let env = if value.is_null() { Env::new() } else { environment("env", value)? };
        set(Box::new(move |s| s.env = env));
    }
    if let Some(value) = params.0.remove("serialization") {
        let serialization = match value.as_str() {
            Some("json") => Serialization::Json,
            None if value.is_null() => Serialization::default(),
            Some("advanced") => Serialization::Advanced,
            _ => return Err(unfit("serialization", "\"json\" or \"advanced\"")),
        };
        set(Box::new(move |s| s.serialization = serialization));
    }
    if let Some(value) = params.0.remove("silent") {
        let silent = optional(&value, |v| flag("silent", v))?.unwrap_or_default();
        set(Box::new(move |s| s.silent = silent));
    }
    if let Some(value) = params.0.remove("stdio") {
        descriptors = Some(optional(&value, stdio)?);
    }
    if let Some(value) = params.0.remove("uid") {
        let uid = optional(&value, |v| id("uid", v))?;
        set(Box::new(move |s| s.uid = uid));
    }
    if let Some(value) = params.0.remove("gid") {
        let gid = optional(&value, |v| id("gid", v))?;
        set(Box::new(move |s| s.gid = gid));
    }
    if let Some(value) = params.0.remove("groups") {
        let groups = optional(&value, |v| numbers(v).ok_or_else(|| unfit("groups", GROUPS)))?;
        set(Box::new(move |s| s.groups = groups));
    }
    if let Some(value) = params.0.remove("noNewPrivs") {
        let no = optional(&value, |v| flag("noNewPrivs", v))?.unwrap_or_default();
        set(Box::new(move |s| s.no_new_privs = no));
    }
    if let Some(value) = params.0.remove("keepCapabilities") {
        let keep = optional(&value, |v| flag("keepCapabilities", v))?;
        let keep = keep.unwrap_or_else(|| Settings::default().keep_capabilities);
        set(Box::new(move |s| s.keep_capabilities = keep));
    }
    if let Some(value) = params.0.remove("listenAsWorker") {
        let as_worker = optional(&value, |v| flag("listenAsWorker", v))?.unwrap_or_default();
        set(Box::new(move |s| s.listen_as_worker = as_worker));
    }
    if let Some(value) = params.0.remove("privilegedPorts") {
        let ports = optional(&value, |v| ports(v).ok_or_else(|| unfit("privilegedPorts", PORTS)))?;
        let ports = ports.unwrap_or_default();
        set(Box::new(move |s| s.privileged_ports = ports));
    }
    if let Some(value) = params.0.remove("affinity") {
        let affinity = optional(&value, affinity)?;
        set(Box::new(move |s| s.affinity = affinity));
    }
    if let Some(value) = params.0.remove("dieWithPrimary") {
        let die = optional(&value, |v| flag("dieWithPrimary", v))?.unwrap_or_default();
        set(Box::new(move |s| s.die_with_primary = die));
    }
    if let Some(value) = params.0.remove("inspectPort") {
        let port = optional(&value, |v| {
            let port = v.as_u64().and_then(|port| u16::try_from(port).ok());
            port.ok_or_else(|| unfit("inspectPort", "a port, or null"))
        })?;
        set(Box::new(move |s| {
            s.inspect_port = port.map_or(InspectPort::Count, InspectPort::Fixed);
        }));
    }
    if let Some(value) = params.0.remove("windowsHide") {
        let hide = optional(&value, |v| flag("windowsHide", v))?.unwrap_or_default();
        set(Box::new(move |s| s.windows_hide = hide));
    }
    (change.exec, change.stdio) = (exec, descriptors);
    Ok(change)
}

fn optional<T>(
    value: &Value,
    read: impl FnOnce(&Value) -> Result<T, Failure>,
) -> Result<Option<T>, Failure> {
    if value.is_null() { Ok(None) } else { read(value).map(Some) }
}

/// As in Node: an array, or one word for the first three, to which the channel is added.
fn stdio(value: &Value) -> Result<Vec<StdioEntry>, Failure> {
    match value {
        Value::String(word) if word != "ipc" => {
            let words = [value; 3].into_iter().enumerate();
            let words = words.map(|(at, word)| stdio_entry(at, word));
            words.chain([Ok(StdioEntry::Plain(Stdio::Ipc))]).collect()
        }
        Value::Array(entries) => {
            entries.iter().enumerate().map(|(at, entry)| stdio_entry(at, entry)).collect()
        }
        _ => Err(unfit("stdio", "an array, or one word")),
    }
}

fn stdio_entry(at: usize, entry: &Value) -> Result<StdioEntry, Failure> {
    Ok(StdioEntry::Plain(match entry {
        Value::Null if at < 3 => Stdio::Pipe,
        Value::Null => Stdio::Ignore,
        Value::Number(number) => {
            let numbered = number.as_i64().and_then(|n| i32::try_from(n).ok());
            return numbered.map(StdioEntry::Number).ok_or_else(|| not_open(number));
        }
        entry => match entry.as_str() {
            Some("pipe" | "overlapped") => Stdio::Pipe,
            Some("inherit") => Stdio::Inherit,
            Some("ignore") => Stdio::Ignore,
            Some("ipc") => Stdio::Ipc,
            _ => {
                let what =
                    "\"pipe\", \"inherit\", \"ignore\", \"ipc\", a descriptor's number or null";
                return Err(unfit("stdio", &format!("made of {what}")));
            }
        },
    }))
}
