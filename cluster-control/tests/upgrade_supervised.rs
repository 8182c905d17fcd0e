//! Supervision goes on in the next image, and so do the clients of the control API.
#![cfg(target_os = "linux")]

#[path = "../../cluster-primary/tests/support/process.rs"]
mod support;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use cluster_control::{CommandId, ControlCommand, ControlServer};
use cluster_primary::{Event, Frozen, Primary, Signal, Value, WorkerId};
use cluster_supervisor::driver::{ClusterEvent, Config, Notice, Outcome, Ready, Supervised};
use support::{Folder, LIMIT, puppet};

const TURN: Duration = Duration::from_millis(20);

/// Has another image go on before each look; what happens in it.
struct Cluster {
    cluster: Option<Supervised>,
    seen: Vec<String>,
}

impl Cluster {
    fn new(workers: u32) -> Self {
        let mut config = Config::new(workers);
        config.ready = Ready::Online;
        config.backoff_first = Duration::from_millis(1);
        let primary = Primary::new(puppet()).expect("a poll");
        Self { cluster: Some(Supervised::new(primary, config)), seen: Vec::new() }
    }

    fn now(&mut self) -> &mut Supervised {
        self.cluster.as_mut().expect("there is one")
    }

    fn take(&mut self) {
        while let Some(happening) = self.now().ready() {
            self.seen.push(match happening {
                ClusterEvent::Notice(notice) => said(&notice),
                ClusterEvent::Event(Event::Online { worker }) => format!("{worker} online"),
                ClusterEvent::Event(Event::Exit { worker, .. }) => format!("{worker} gone"),
                _ => continue,
            });
        }
    }

    fn upgrade(&mut self) {
        self.take();
        let Frozen { text, fds } = self.now().state().expect("all was taken");
        let next = Supervised::from_state(&text, fds).unwrap_or_else(|e| panic!("{e}; {text}"));
        self.cluster.replace(next).expect("there was one").abandon();
    }

    /// Until that is said; what was before.
    fn until(&mut self, line: &str) -> Vec<String> {
        let mut turns = 0;
        loop {
            self.upgrade();
            if let Some(at) = self.seen.iter().position(|seen| seen == line) {
                return self.seen.drain(..=at).collect();
            }
            assert!(TURN * turns < LIMIT, "no {line}; there was {:?}", self.seen);
            self.now().wait(Some(TURN)).expect("a poll");
            turns += 1;
        }
    }

    /// Until both are said, in whichever command.
    fn until_both(&mut self, one: &str, other: &str) {
        if !self.until(one).iter().any(|seen| seen == other) {
            self.until(other);
        }
    }

    fn outcome(&mut self) -> Outcome {
        let mut turns = 0;
        loop {
            self.upgrade();
            if let Some(outcome) = self.now().outcome() {
                return outcome;
            }
            assert!(TURN * turns < LIMIT, "it does not end: {:?}", self.seen);
            self.now().wait(Some(TURN)).expect("a poll");
            turns += 1;
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let Some(mut cluster) = self.cluster.take() else { return };
        cluster.end_now();
        while let Ok(Some(_)) = cluster.next() {}
    }
}

fn said(notice: &Notice) -> String {
    match notice {
        Notice::Ready { slot, worker } => format!("{worker} ready in {slot}"),
        Notice::Replacing { death, .. } => format!("slot {} lost one", death.slot),
        Notice::Reloaded { replaced, .. } => format!("reloaded {replaced}"),
        Notice::Scaled { from, to } => format!("scaled {from} to {to}"),
        other => format!("{other:?}"),
    }
}

#[test]
fn workers_are_kept_reloaded_and_seen_off() {
    let mut cluster = Cluster::new(2);
    cluster.until_both("1 ready in 0", "2 ready in 1");
    assert!(cluster.now().supervisor().is_ready());

    cluster.now().primary_mut().kill(WorkerId(1), Signal::KILL).expect("it lives");
    cluster.until("slot 0 lost one");
    cluster.until("3 ready in 0");
    let counts = cluster.now().supervisor().counts();
    assert_eq!((counts.restarts, counts.deaths), (1, 1));

    cluster.now().reload();
    let seen = cluster.until("reloaded 2");
    for line in ["4 ready in 0", "5 ready in 1", "3 gone", "2 gone"] {
        assert!(seen.contains(&line.to_owned()), "{line}: {seen:?}");
    }
    assert_eq!(cluster.now().supervisor().generation(), 1);

    cluster.now().scale(3);
    cluster.until("6 ready in 2");
    cluster.now().end();
    assert_eq!(cluster.outcome(), Outcome::AsAsked);
    assert_eq!(cluster.now().supervisor().counts().reloads, 1);
}

#[test]
fn deadlines_stay_what_they_are() {
    let mut cluster = Cluster::new(1);
    cluster.until("1 ready in 0");
    let (before, born) = (cluster.now().now(), cluster.now().supervisor().member(WorkerId(1)));
    cluster.upgrade();
    assert!(cluster.now().now() >= before);
    assert!(cluster.now().now() - before < LIMIT);
    assert_eq!(cluster.now().supervisor().member(WorkerId(1)), born);
}

/// A primary that is driven by clients, and whose image changes at every turn.
struct Driven {
    primary: Option<Primary>,
    control: Option<ControlServer>,
}

impl Driven {
    fn primary(&mut self) -> &mut Primary {
        self.primary.as_mut().expect("there is one")
    }

    fn control(&mut self) -> &mut ControlServer {
        self.control.as_mut().expect("there is one")
    }

    fn turn(&mut self) {
        let (Some(primary), Some(control)) = (&mut self.primary, &mut self.control) else { return };
        control.process(primary).expect("a poll");
        while let Some(event) = primary.ready_event() {
            let _ = control.event(primary, &event);
        }
        let Frozen { text, fds } = control.state().expect("nothing is in the way");
        let next = ControlServer::from_state(&text, fds).unwrap_or_else(|e| panic!("{e}; {text}"));
        self.control.replace(next).expect("there was one").abandon();
        let Frozen { text, fds } = primary.state().expect("nothing is in the way");
        let next = Primary::from_state(&text, fds).unwrap_or_else(|e| panic!("{e}; {text}"));
        self.primary.replace(next).expect("there was one").abandon();
        self.primary().wait(Some(Duration::from_millis(1))).expect("a poll");
    }

    /// The next line that the client hears.
    fn line(&mut self, client: &mut BufReader<UnixStream>) -> String {
        let (mut line, mut turns) = (String::new(), 0);
        loop {
            match client.read_line(&mut line) {
                Ok(0) => panic!("it hung up"),
                Ok(_) => return line,
                // What came of a line stays in it.
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => self.turn(),
                Err(error) => panic!("{error}"),
            }
            turns += 1;
            assert!(turns < 60_000, "nothing is said");
        }
    }

    fn command(&mut self) -> (CommandId, ControlCommand) {
        for _ in 0..60_000 {
            if let Some(command) = self.control().next_command() {
                return command;
            }
            self.turn();
        }
        panic!("there is no command");
    }
}

fn client(path: &std::path::Path) -> BufReader<UnixStream> {
    let stream = UnixStream::connect(path).expect("it listens");
    stream.set_nonblocking(true).expect("it can be told");
    BufReader::new(stream)
}

#[test]
fn clients_hear_all_that_they_wait_for() {
    let folder = Folder::new("upgraded-control");
    let path = folder.0.join("s");
    let control = ControlServer::bind(&path).expect("a folder").accepting_commands();
    let primary = Primary::new(puppet()).expect("a poll");
    let mut driven = Driven { primary: Some(primary), control: Some(control) };
    let mut one = client(&path);
    let send = |client: &mut BufReader<UnixStream>, text: &str| {
        client.get_mut().write_all(text.as_bytes()).expect("there is room");
    };
    send(
        &mut one,
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"subscribe\",\"params\":{\"events\":[\"online\"]}}\n",
    );
    assert!(driven.line(&mut one).contains("\"result\":true"));
    // A line in parts, and one that comes later.
    send(&mut one, "{\"jsonrpc\":\"2.0\",\"id\":2,");
    (0..5).for_each(|_| driven.turn());
    send(&mut one, "\"method\":\"fork\"}\n{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"rel");
    let forked = driven.line(&mut one);
    assert!(forked.contains("\"id\":2") && forked.contains("result"), "{forked}");
    let online = driven.line(&mut one);
    assert!(online.contains("\"online\""), "{online}");
    // A command is taken in one image, and answered in another, to `null`.
    send(&mut one, "oad\"}\n");
    let (id, command) = driven.command();
    assert_eq!(command, ControlCommand::Reload);
    let written = serde_json::to_string(&id).expect("it can be written down");
    (0..5).for_each(|_| driven.turn());
    let mut late = client(&path);
    let id: CommandId = serde_json::from_str(&written).expect("it was written down");
    driven.control().answer(id, Ok(Value::from("done")));
    let answer = driven.line(&mut one);
    assert!(answer.contains("\"id\":null") && answer.contains("done"), "{answer}");
    // A client that connected meanwhile is served, and is notified when all have disconnected.
    send(&mut late, "{\"jsonrpc\":\"2.0\",\"id\":\"all\",\"method\":\"disconnect\"}\n");
    let answer = driven.line(&mut late);
    assert!(answer.contains("\"id\":\"all\"") && answer.contains("true"), "{answer}");
    // The file goes with the last image.
    assert!(path.exists());
    drop(driven);
    assert!(!path.exists());
}
