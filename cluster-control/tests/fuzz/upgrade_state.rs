//! The body of the fuzz target `upgrade_state`: what an image of the program hands to the next one, as any
//! bytes, or as a good state (the golden files) in which parts were changed. It is refused with an error, or
//! a machine comes of it that goes on: it can be written down again, and time, the loss of all its workers
//! and the end bring no panic. Reading takes memory in proportion to the text at most, and leaves no
//! descriptor open.
//!
//! Nothing of what is read is carried out: process ids and paths in it are any.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use cluster_control::ControlServer;
use cluster_primary::machine::{Config, Input, Machine, MachineState};
use cluster_primary::proto::{ClusterBody, Message};
use cluster_primary::{
    ConnId, ExitStatus, Frozen, Mono, Placement, ServerId, StateError, WorkerId,
};
use cluster_supervisor::LeaveProgress;
use cluster_supervisor::driver::{Input as SupervisorInput, Supervised, Supervisor};
use serde_json::Value;

use super::bytes::Bytes;

/// What became of a state.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Report {
    Refused,
    Taken,
}

const GOLDEN: [&str; 6] = [
    include_str!("../golden/upgrade/supervised-1.json"),
    include_str!("../golden/upgrade/supervised-2.json"),
    include_str!("../golden/upgrade/supervised-3.json"),
    include_str!("../golden/upgrade/control-1.json"),
    include_str!("../golden/upgrade/control-2.json"),
    include_str!("../golden/upgrade/control-3.json"),
];

/// What reading may take: so many bytes for each of the text, and some for any.
const BYTES_PER_BYTE: u64 = 64;
const BYTES_FOR_ANY: u64 = 4 << 20;

/// Reads the bytes as a state, or as changes of a good one. Panics if something comes of it that should not.
pub(crate) fn run(data: &[u8]) -> Report {
    let mut bytes = Bytes(data);
    let what = bytes.next();
    let text = match what & 1 {
        0 => String::from_utf8_lossy(bytes.take(usize::MAX)).into_owned(),
        _ => changed(GOLDEN[usize::from(what >> 1) % GOLDEN.len()], &mut bytes),
    };
    let control = run_control(&text);
    let supervised = run_supervised(&text);
    if let Ok(value) = serde_json::from_str(&text) {
        run_machines(&value, &mut bytes);
    }
    match (control, supervised) {
        (Report::Refused, Report::Refused) => Report::Refused,
        _ => Report::Taken,
    }
}

/// As many as the golden files speak of.
fn descriptors() -> Vec<OwnedFd> {
    let (ours, _) = UnixStream::pair().expect("there is room");
    (0..23).map(|_| ours.try_clone().expect("there is room").into()).collect()
}

/// Takes no more memory than it may.
fn measured<T>(text: &str, read: impl FnOnce() -> T) -> T {
    let mut result = None;
    let taken = allocation_counter::measure(|| result = Some(read()));
    let most = BYTES_FOR_ANY + BYTES_PER_BYTE * text.len() as u64;
    assert!(taken.bytes_max <= most, "{} bytes for a text of {}", taken.bytes_max, text.len());
    result.expect("it was read")
}

fn refused(error: &StateError) -> Report {
    assert!(!error.to_string().is_empty());
    Report::Refused
}

fn run_control(text: &str) -> Report {
    let fds = descriptors();
    let mut control = match measured(text, || ControlServer::from_state(text, fds)) {
        Ok(control) => control,
        Err(error) => return refused(&error),
    };
    let Frozen { text, fds } = control.state().expect("nothing keeps it from being written");
    control.abandon();
    ControlServer::from_state(&text, fds).expect("it was written by ourselves").abandon();
    Report::Taken
}

fn run_supervised(text: &str) -> Report {
    let fds = descriptors();
    let mut cluster = match measured(text, || Supervised::from_state(text, fds)) {
        Ok(cluster) => cluster,
        Err(error) => return refused(&error),
    };
    match cluster.state() {
        Ok(Frozen { text, fds }) => {
            cluster.abandon();
            Supervised::from_state(&text, fds).expect("it was written by ourselves").abandon();
        }
        Err(StateError::EventsWait) => cluster.abandon(),
        Err(error) => panic!("what was read cannot be written: {error}"),
    }
    Report::Taken
}

/// The machines alone, which do no I/O: they go on, whatever their workers do.
fn run_machines(value: &Value, bytes: &mut Bytes<'_>) {
    let state = &value["state"];
    if let Ok(state) = serde_json::from_value::<MachineState>(state["primary"]["machine"].clone()) {
        let placement = bytes.pick(Placement::ALL).expect("there are three");
        let mut config = Config::default();
        config.placement = placement;
        if let Ok(machine) = Machine::from_state(Mono::from_secs(1 << 20), config, state) {
            run_machine(machine, bytes);
        }
    }
    // It is checked only as a part of the whole.
    let whole = serde_json::from_value::<Supervisor>(state["supervisor"].clone());
    if let Some(supervisor) = whole.ok().filter(|supervisor| supervisor.check().is_ok()) {
        run_supervisor(supervisor, bytes);
    }
}

fn run_machine(mut machine: Machine, bytes: &mut Bytes<'_>) {
    let mut now = Mono::from_secs(1 << 20);
    let workers: Vec<_> = machine.all_workers().collect();
    let servers: Vec<_> = (0..4).map(ServerId).collect();
    for step in 0..32 {
        let worker = bytes.pick(&workers).unwrap_or(WorkerId(1));
        let server = bytes.pick(&servers).expect("there are four");
        let says = |ack, body| Input::Received {
            worker,
            message: Message::cluster(step, ack, body),
            handle: None,
            arrived: true,
        };
        match bytes.next() % 12 {
            0 => machine.handle_input(now, Input::Probed { worker }),
            1 => machine.handle_input(now, says(None, ClusterBody::QueryServer(Box::default()))),
            2 => machine.handle_input(now, says(None, ClusterBody::Listening(Box::default()))),
            3 => {
                let ack = Some(u64::from(bytes.next()));
                machine.handle_input(now, says(ack, ClusterBody::Accepted(true)));
            }
            4 => machine.handle_input(now, Input::Bound { server, result: Err(-98) }),
            5 => machine.handle_input(now, Input::SlotOpened { server, slot: 0, result: Ok(()) }),
            6 => machine.handle_input(now, Input::Closed { server }),
            7 => {
                let conn = ConnId((1 << 40) + step);
                machine.handle_input(now, Input::Accepted { server, conn, client: Some(1) });
            }
            8 => machine.handle_input(now, Input::Disconnect { worker }),
            9 => machine.handle_input(now, Input::TakeOutOfRotation { worker }),
            10 => machine.handle_input(now, Input::Queues { server, queues: Vec::new() }),
            _ => {
                now = machine.poll_timeout().map_or(now, |due| due.max(now));
                machine.handle_timeout(now);
            }
        }
        while machine.poll_output().is_some() {}
    }
    let state = machine.state(now).expect("all outputs were taken");
    Machine::from_state(now, machine.config(), state).expect("it was written by ourselves");
    machine.handle_input(now, Input::DisconnectAll);
    for worker in workers {
        machine.handle_input(now, Input::ChannelClosed { worker });
        machine.handle_input(now, Input::Exited { worker, status: ExitStatus::Code(0) });
    }
    assert!(machine.is_empty(), "workers are left");
}

fn run_supervisor(mut supervisor: Supervisor, bytes: &mut Bytes<'_>) {
    let mut now = Mono::from_secs(1 << 20);
    for _ in 0..32 {
        let (worker, slot) = (WorkerId(u32::from(bytes.next() % 4)), u32::from(bytes.next() % 4));
        let input = match bytes.next() % 12 {
            0 => SupervisorInput::Forked { slot, worker: WorkerId(100 + slot) },
            1 => SupervisorInput::ForkFailed { slot, reason: "no".into() },
            2 => SupervisorInput::Listening { worker },
            3 => SupervisorInput::Exited { worker, status: ExitStatus::Code(1), meant: false },
            4 => SupervisorInput::Disconnected { worker, meant: true },
            5 => SupervisorInput::Reload,
            6 => SupervisorInput::Scale { workers: slot + 1 },
            7 => SupervisorInput::Usage { worker, memory: Some(u64::MAX), connections: u64::MAX },
            8 => SupervisorInput::Unresponsive { worker },
            9 => SupervisorInput::Leaving { worker, progress: LeaveProgress::OutOfRotation },
            10 => SupervisorInput::Start,
            _ => {
                now = supervisor.poll_timeout().map_or(now, |due| due.max(now));
                supervisor.handle_timeout(now);
                continue;
            }
        };
        supervisor.handle_input(now, input);
        while supervisor.poll_output().is_some() {}
    }
    supervisor.handle_input(now, SupervisorInput::EndNow);
}

/// A good state, with changes.
fn changed(golden: &str, bytes: &mut Bytes<'_>) -> String {
    let mut value: Value = serde_json::from_str(golden).expect("it is good");
    let changes = bytes.next() % 16;
    for _ in 0..changes {
        let paths = paths(&value);
        let path = &paths[usize::from(bytes.next_u16()) % paths.len()];
        let other = &paths[usize::from(bytes.next_u16()) % paths.len()];
        let other = value.pointer(other).expect("it is there").clone();
        let how = bytes.next();
        if how % 16 == 15 {
            remove(&mut value, path);
            continue;
        }
        let place = value.pointer_mut(path).expect("it is there");
        match how % 16 {
            0 => *place = Value::Null,
            1 => *place = 0.into(),
            2 => *place = 1.into(),
            3 => *place = u32::MAX.into(),
            4 => *place = u64::MAX.into(),
            5 => *place = (-1).into(),
            6 => *place = bytes.next_u64().into(),
            7 => *place = u64::from(bytes.next()).into(),
            8 => *place = String::from_utf8_lossy(bytes.take(8)).into(),
            9 => *place = Value::Bool(how & 0x10 != 0),
            // Once more, or another part.
            10 => {
                if let Value::Array(list) = place
                    && let Some(last) = list.last().cloned()
                {
                    list.push(last);
                }
            }
            11 => {
                if let Value::Object(object) = place
                    && let Some(last) = object.values().next_back().cloned()
                {
                    object.insert(bytes.next().to_string(), last);
                }
            }
            _ => *place = other,
        }
    }
    value.to_string()
}

fn remove(value: &mut Value, path: &str) {
    let Some((parent, name)) = path.rsplit_once('/') else { return };
    match value.pointer_mut(parent) {
        Some(Value::Object(object)) => drop(object.remove(name)),
        Some(Value::Array(list)) => {
            if let Ok(nth) = name.parse::<usize>() {
                list.remove(nth);
            }
        }
        _ => {}
    }
}

/// All places of a value, as JSON pointers.
fn paths(value: &Value) -> Vec<String> {
    fn add(value: &Value, path: &str, paths: &mut Vec<String>) {
        paths.push(path.to_owned());
        let mut below = |name: &str, value| {
            // A name with a `/` or `~` would need escapes.
            if !name.contains(['/', '~']) {
                add(value, &format!("{path}/{name}"), paths);
            }
        };
        match value {
            Value::Object(object) => object.iter().for_each(|(name, value)| below(name, value)),
            Value::Array(list) => {
                list.iter().enumerate().for_each(|(nth, value)| below(&nth.to_string(), value));
            }
            _ => {}
        }
    }
    let mut paths = Vec::new();
    add(value, "", &mut paths);
    paths
}
