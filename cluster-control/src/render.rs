//! What a primary has to tell, with the API's names.

use std::ffi::OsStr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cluster_proto::{DecodeError, Json, Object, UserMessage, Value};

use crate::rpc;
use crate::text::Text;
use cluster_primary::tree::LeftoverProgress;
use cluster_primary::{
    Address, Affinity, Event, EventHandle, Fallback, InspectPort, Placement, PolicyName, Primary,
    Settings, Stdio, WorkerId,
};
use cluster_supervisor::driver::{Cause, Death, Notice};

/// An event as the control API sends it: an object with a `type` and the event's fields. `None` for events
/// that the control API does not have.
///
/// A message that is too large to be converted becomes an `error`.
///
/// With `tagged`, values that JSON cannot represent are written as [`Value::to_tagged`] does: for messages of
/// an `advanced` channel.
pub fn event(event: &Event, tagged: bool) -> Option<Object> {
    let typed = |name: &str| Object::new().with("type", name);
    let about = |name: &str, worker: &WorkerId| typed(name).with("worker", worker.0);
    Some(match event {
        Event::Setup { settings: set, .. } => typed("setup").with("settings", settings(set)),
        Event::Fork { worker, pid, .. } => about("fork", worker).with("pid", *pid),
        Event::Online { worker, .. } => about("online", worker),
        Event::Listening { worker, address: at, .. } => {
            about("listening", worker).with("address", address(at))
        }
        Event::ListenFailed { worker, address: at, error, limit, .. } => {
            about("listenFailed", worker)
                .with("address", address(at))
                .with("code", errno_name(error))
                .with(
                    "message",
                    limit.map_or_else(|| error.to_string(), |limit| format!("{error}: {limit}")),
                )
        }
        Event::Message { worker, message, handle, .. } => match converted(message) {
            Ok(message) => told(about("message", worker), &message, handle, tagged),
            Err(failure) => failure.event(about("error", worker)),
        },
        // For a client of the control socket it is a message, which may be answered by another.
        Event::Request { worker, request, body, handle, .. } => match converted(body) {
            Ok(body) => told(about("message", worker), &request.as_message(body), handle, tagged),
            Err(failure) => failure.event(about("error", worker)),
        },
        Event::Stdio { worker, fd, data, .. } => {
            about("stdio", worker).with("fd", *fd).with("data", STANDARD.encode(data))
        }
        Event::Error { worker, error, .. } => {
            about("error", worker).with("code", error.code()).with("message", error.to_string())
        }
        Event::Disconnect { worker, exited_after_disconnect, .. } => {
            about("disconnect", worker).with("exitedAfterDisconnect", *exited_after_disconnect)
        }
        Event::Exit { worker, status, exited_after_disconnect, .. } => about("exit", worker)
            .with("code", status.code())
            .with("signal", status.signal().map(|signal| signal.to_string()))
            .with("exitedAfterDisconnect", *exited_after_disconnect),
        Event::Unresponsive { worker, silent_for, .. } => {
            about("unresponsive", worker).with("silentMs", millis(*silent_for))
        }
        Event::Responsive { worker, .. } => about("responsive", worker),
        Event::Fallback { address: at, instead, reason, .. } => typed("fallback")
            .with("address", address(at))
            .with("instead", instead.as_str())
            .with("message", reason.as_str()),
        Event::Leftovers { worker, progress, .. } => {
            let (name, pids) = match progress {
                LeftoverProgress::Terminated { pids, .. } => ("terminated", pids),
                LeftoverProgress::Killed { pids } => ("killed", pids),
                LeftoverProgress::Spared { pids } => ("spared", pids),
                LeftoverProgress::Ended => ("ended", &Vec::new()),
                LeftoverProgress::Survived { pids } => ("survived", pids),
                _ => return None,
            };
            let pids = pids.iter().map(|pid| Value::from(*pid)).collect();
            about("leftovers", worker).with("progress", name).with("pids", Value::Array(pids))
        }
        Event::HandsOver { address: at, runtime, .. } => typed("fallback")
            .with("address", address(at))
            .with("instead", Fallback::Handoff.as_str())
            .with("message", format!("{runtime} cannot serve a socket that it is sent")),
        _ => return None,
    })
}

/// As [`event`], as JSON text. A message that came as JSON is passed on byte by byte, and not copied if it is
/// long.
pub fn event_text(event: &Event, tagged: bool) -> Option<Text> {
    shown(event, tagged).map(|(text, _)| text)
}

/// As [`event_text`], and whether that is what happened: in place of a message that is too large, or cannot be
/// read, stands an error.
pub(super) fn shown(event: &Event, tagged: bool) -> Option<(Text, bool)> {
    let of_message = match event {
        Event::Message { worker, message, handle, .. } if !tagged => {
            message.to_json().map(|json| (worker, None, json, handle))
        }
        Event::Request { worker, request, body, handle, .. } if !tagged => {
            body.to_json().map(|json| (worker, Some(request.id()), json, handle))
        }
        _ => None,
    };
    let Some((worker, request, json, handle)) = of_message else {
        let object = self::event(event, tagged)?;
        let is_message = matches!(event, Event::Message { .. } | Event::Request { .. });
        let is_shown =
            !is_message || object.member("type").and_then(Value::as_str) == Some("message");
        return Some((rpc::text(object).into(), is_shown));
    };
    let mut head = format!(r#"{{"type":"message","worker":{worker},"message":"#);
    let mut tail = String::new();
    if let Some(id) = request {
        head.push_str(&format!(r#"{{"cmd":"CLUSTER_REQUEST","id":{id},"body":"#));
        tail.push('}');
    }
    if let Some(handle) = handle {
        let name = Json::text(&handle.kind.name().into()).unwrap_or_default();
        tail.push_str(&format!(r#","handle":{name}"#));
    }
    tail.push('}');
    Some((Text::around(head.into_bytes(), json, tail.as_bytes()), true))
}

/// Messages that are converted to JSON: the longest, and the most values that one may hold. A tree of these
/// is made, and a text.
const MAX_CONVERTED: usize = 16 << 20;
const MAX_CONVERTED_VALUES: usize = 128 << 10;

/// Why a message is not told.
enum NotTold {
    TooLarge,
    Broken(DecodeError),
}

impl NotTold {
    fn event(self, about: Object) -> Object {
        let (code, message) = match self {
            Self::TooLarge => (
                "ERR_IPC_TOO_LARGE",
                format!(
                    "a message of its is not shown: it is not JSON, and is converted only up to {} MiB and \
                     {MAX_CONVERTED_VALUES} values",
                    MAX_CONVERTED >> 20
                ),
            ),
            Self::Broken(error) => {
                ("ERR_IPC_BAD_MESSAGE", format!("a message of its cannot be read: {error}"))
            }
        };
        about.with("code", code).with("message", message)
    }
}

fn converted(message: &UserMessage) -> Result<Value, NotTold> {
    if message.encoded_len().is_some_and(|length| length > MAX_CONVERTED) {
        return Err(NotTold::TooLarge);
    }
    message.value_within(MAX_CONVERTED_VALUES).map_err(|error| match error {
        DecodeError::TooManyValues { .. } => NotTold::TooLarge,
        error => NotTold::Broken(error),
    })
}

/// What a worker said, with the name of the descriptor that came with it.
fn told(about: Object, message: &Value, handle: &Option<EventHandle>, tagged: bool) -> Object {
    let message = if tagged { message.to_tagged() } else { message.clone() };
    let object = about.with("message", message);
    match handle {
        Some(handle) => object.with("handle", handle.kind.name()),
        None => object,
    }
}

/// The event by which the control API reports a decision of the supervisor; `None` if it has none for it.
pub fn notice(notice: &Notice) -> Option<Object> {
    let typed = |name: &str| Object::new().with("type", name);
    let about = |name: &str, slot: u32, worker: WorkerId| {
        typed(name).with("worker", worker.0).with("slot", slot)
    };
    Some(match notice {
        Notice::Ready { slot, worker } => about("ready", *slot, *worker),
        Notice::Slow { slot, worker, after } => {
            about("slow", *slot, *worker).with("afterMs", millis(*after))
        }
        Notice::Replacing { death: of, pause } => {
            let mut object = typed("replacing");
            for (name, value) in death(of).iter() {
                object.insert(name, value.clone());
            }
            object.with("pauseMs", millis(*pause))
        }
        Notice::Left { slot, worker } => about("left", *slot, *worker),
        Notice::NoneReady { death: of, pause, gives_up_in } => {
            let mut object = typed("noneReady");
            for (name, value) in death(of).iter() {
                object.insert(name, value.clone());
            }
            object.with("pauseMs", millis(*pause)).with("givesUpInMs", gives_up_in.map(millis))
        }
        Notice::GaveUp { deaths } => {
            let deaths = deaths.iter().map(|of| death(of).into()).collect();
            typed("gaveUp").with("deaths", Value::Array(deaths))
        }
        Notice::ReloadBegan { generation } => typed("reloadBegan").with("generation", *generation),
        Notice::Reloaded { generation, replaced } => {
            typed("reloaded").with("generation", *generation).with("replaced", *replaced)
        }
        Notice::ReloadAborted { generation, slot, reason, was_ready, replaced, kept } => {
            typed("reloadAborted")
                .with("generation", *generation)
                .with("slot", *slot)
                .with("reason", reason.to_string())
                .with("wasReady", *was_ready)
                .with("replaced", *replaced)
                .with("kept", *kept)
        }
        Notice::Recycling { slot, worker, cause } => {
            let object = about("recycling", *slot, *worker);
            match *cause {
                Cause::Memory(bytes) => object.with("cause", "memory").with("rssBytes", bytes),
                Cause::Age(age) => object.with("cause", "age").with("ageMs", millis(age)),
                Cause::Connections(count) => {
                    object.with("cause", "connections").with("connections", count)
                }
                Cause::Unresponsive => object.with("cause", "unresponsive"),
                _ => object,
            }
        }
        Notice::OverMemoryLimit { slot, worker, bytes, limit, ready_for, pause } => {
            about("overMemoryLimit", *slot, *worker)
                .with("rssBytes", *bytes)
                .with("limitBytes", *limit)
                .with("readyMs", millis(*ready_for))
                .with("pauseMs", millis(*pause))
        }
        Notice::NotRecycled { slot, reason } => {
            typed("notRecycled").with("slot", *slot).with("reason", reason.to_string())
        }
        Notice::Scaled { from, to } => typed("scaled").with("from", *from).with("to", *to),
        Notice::Draining { delay } => typed("draining").with("delayMs", millis(*delay)),
        Notice::Ending { grace } => typed("ending").with("graceMs", millis(*grace)),
        Notice::Late { worker, slot, signal, at_once } => about("late", *slot, *worker)
            .with("signal", signal.to_string())
            .with("atOnce", *at_once),
        Notice::NoWorkerLeft => typed("nobodyLeft"),
        _ => return None,
    })
}

fn death(death: &Death) -> Object {
    let mut object = Object::new()
        .with("slot", death.slot)
        .with("reason", death.failure.to_string())
        .with("livedMs", millis(death.lived))
        .with("wasReady", death.was_ready);
    if let Some(worker) = death.worker {
        object.insert("worker", worker.0);
    }
    object
}

/// Milliseconds, whole ones.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn address(address: &Address) -> Object {
    let kind = address.address_type.map(|kind| match kind.to_string().parse::<i64>() {
        Ok(number) => Value::from(number),
        Err(_) => Value::from(kind.to_string()),
    });
    let mut object = Object::new()
        .with("address", address.address.clone())
        .with("port", address.port)
        .with("addressType", kind.unwrap_or_default());
    if let Some(fd) = address.fd {
        object.insert("fd", fd);
    }
    object
}

/// The name of an `errno`, `ENOENT` say.
pub(super) fn errno_name(error: &std::io::Error) -> String {
    use rustix::io::Errno;
    const NAMES: [(Errno, &str); 24] = [
        (Errno::NOENT, "ENOENT"),
        (Errno::ACCESS, "EACCES"),
        (Errno::PERM, "EPERM"),
        (Errno::NOTDIR, "ENOTDIR"),
        (Errno::ISDIR, "EISDIR"),
        (Errno::NOEXEC, "ENOEXEC"),
        (Errno::TXTBSY, "ETXTBSY"),
        (Errno::LOOP, "ELOOP"),
        (Errno::NAMETOOLONG, "ENAMETOOLONG"),
        (Errno::TOOBIG, "E2BIG"),
        (Errno::AGAIN, "EAGAIN"),
        (Errno::NOMEM, "ENOMEM"),
        (Errno::MFILE, "EMFILE"),
        (Errno::NFILE, "ENFILE"),
        (Errno::INVAL, "EINVAL"),
        (Errno::BADF, "EBADF"),
        (Errno::IO, "EIO"),
        (Errno::NOSPC, "ENOSPC"),
        (Errno::ADDRINUSE, "EADDRINUSE"),
        (Errno::ADDRNOTAVAIL, "EADDRNOTAVAIL"),
        (Errno::AFNOSUPPORT, "EAFNOSUPPORT"),
        (Errno::MSGSIZE, "EMSGSIZE"),
        (Errno::NOTSOCK, "ENOTSOCK"),
        (Errno::SRCH, "ESRCH"),
    ];
    let errno = Errno::from_io_error(error);
    let named = NAMES.iter().find(|(known, _)| Some(*known) == errno);
    match (named, errno) {
        (Some((_, name)), _) => (*name).into(),
        (None, Some(errno)) => format!("errno {}", errno.raw_os_error()),
        (None, None) => "ERR_SYSTEM".into(),
    }
}

/// The settings in force.
pub(super) fn settings(settings: &Settings) -> Object {
    let text = |text: &OsStr| Value::from(text.to_string_lossy().into_owned());
    let texts = |list: &[std::ffi::OsString]| Value::Array(list.iter().map(|t| text(t)).collect());
    let env = settings.env.iter().map(|(name, value)| {
        (name.to_string_lossy().into_owned(), value.as_deref().map_or(Value::Null, text))
    });
    let stdio = settings.stdio.as_ref().map(|entries| {
        Value::Array(
            entries
                .iter()
                .map(|entry| match entry {
                    Stdio::Inherit => "inherit".into(),
                    Stdio::Ignore => "ignore".into(),
                    Stdio::Pipe => "pipe".into(),
                    Stdio::Ipc => "ipc".into(),
                    Stdio::Fd(fd) => Value::from(i64::from(fd.as_raw_fd())),
                    Stdio::Numbered { number, .. } => Value::from(i64::from(*number)),
                    _ => Value::Null,
                })
                .collect(),
        )
    });
    Object::new()
        .with("exec", text(settings.exec.as_os_str()))
        .with("args", texts(&settings.args))
        .with("execPath", settings.exec_path.as_ref().map(|path| text(path.as_os_str())))
        .with("execArgv", texts(&settings.exec_argv))
        .with("launcher", texts(&settings.launcher))
        .with("cwd", settings.cwd.as_ref().map(|path| text(path.as_os_str())))
        .with("env", Object::from_members(env.collect()))
        .with("serialization", settings.serialization.to_string())
        .with("silent", settings.silent)
        .with("stdio", stdio)
        .with("uid", settings.uid)
        .with("gid", settings.gid)
        .with("groups", settings.groups.as_deref().map(numbers))
        .with("noNewPrivs", settings.no_new_privs)
        .with("keepCapabilities", settings.keep_capabilities)
        .with("listenAsWorker", settings.listen_as_worker)
        .with("privilegedPorts", numbers_of(&settings.privileged_ports))
        .with("affinity", settings.affinity.as_ref().map(affinity))
        .with("dieWithPrimary", settings.die_with_primary)
        .with(
            "inspectPort",
            match &settings.inspect_port {
                InspectPort::Fixed(port) => Some(*port),
                _ => None,
            },
        )
        .with("windowsHide", settings.windows_hide)
}

fn numbers(numbers: &[u32]) -> Value {
    Value::Array(numbers.iter().map(|n| Value::from(*n)).collect())
}

fn numbers_of(ports: &[u16]) -> Value {
    Value::Array(ports.iter().map(|port| Value::from(u32::from(*port))).collect())
}

fn affinity(affinity: &Affinity) -> Value {
    match affinity {
        Affinity::Each => "each".into(),
        Affinity::Sets(sets) => Value::Array(sets.iter().map(|set| numbers(set)).collect()),
        _ => Value::Null,
    }
}

/// Placement and policy in one word, as in Node.
pub(super) fn policy(settings: &Settings) -> String {
    match (settings.placement, settings.policy) {
        (Placement::Shared, _) => "none".into(),
        (Placement::Kernel, PolicyName::RoundRobin) => "kernel".into(),
        (Placement::Kernel, policy) => format!("kernel-{policy}"),
        (_, _) => settings.policy_name().to_owned(),
    }
}

/// The workers in Node's `cluster.workers`.
pub(super) fn workers(primary: &Primary) -> Value {
    let worker = |id: WorkerId| {
        let state = primary.worker_state(id)?;
        let listening = primary.listening(id).iter().map(|at| address(at).into()).collect();
        let object = Object::new()
            .with("id", id.0)
            .with("pid", state.pid)
            .with("state", state.state)
            .with("connected", state.connected)
            .with("dead", state.dead)
            .with("exitedAfterDisconnect", state.exited_after_disconnect)
            .with("listening", Value::Array(listening))
            .with("connections", state.connections);
        Some(Value::from(object))
    };
    Value::Array(primary.workers().into_iter().filter_map(worker).collect())
}
