//! A primary with real workers, and clients that talk to them while it runs.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use cluster_primary::{
    Event, ExitStatus, Frozen, Next, Placement, Primary, Settings, Signal, WorkerId,
};

/// Nothing here takes long, even where many tests share a processor; past this it hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// How long a turn of waiting is.
const TURN: Duration = Duration::from_millis(20);

/// A primary whose workers are killed at the end, whatever happens.
pub(crate) struct Cluster {
    pub(crate) primary: Primary,
    /// Events that no wait has taken yet.
    events: Vec<Event>,
    /// The longest that a half-read message was in a state.
    pub(crate) half_read: usize,
    /// The longest text of a state.
    pub(crate) longest: usize,
}

impl Cluster {
    /// One whose workers are [puppets](example).
    pub(crate) fn new() -> Self {
        Self::with(puppet())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        Self {
            primary: Primary::new(settings).expect("a poll"),
            events: Vec::new(),
            half_read: 0,
            longest: 0,
        }
    }

    /// Forks a worker and waits until it is online.
    pub(crate) fn fork(&mut self) -> WorkerId {
        let id = self.primary.fork().expect("the program is there");
        self.until("online", |e| matches!(e, Event::Online { worker } if *worker == id));
        id
    }

    /// The next event that comes within a moment; that passes also if nothing can come.
    fn turn(&mut self) -> Option<Event> {
        let next = self.primary.next_event_within(TURN).expect("a poll");
        if matches!(next, Next::Over) {
            thread::sleep(TURN);
        }
        next.event()
    }

    /// Waits for an event, and takes it; others stay for later waits.
    pub(crate) fn until(&mut self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        let mut turns = 0;
        if let Some(at) = self.events.iter().position(&wanted) {
            return self.events.remove(at);
        }
        loop {
            match self.turn() {
                Some(event) if wanted(&event) => return event,
                Some(event) => self.events.push(event),
                None => turns += 1,
            }
            assert!(TURN * turns < LIMIT, "no {what}; there was {:?}", self.events);
        }
    }

    /// Takes the events that are there, and has another image of this process go on, as it were.
    pub(crate) fn upgrade(&mut self) {
        while let Some(event) = self.primary.ready_event() {
            self.events.push(event);
        }
        let Frozen { text, fds } = self.primary.state().expect("all can be handed over");
        let next = Primary::from_state(&text, fds).unwrap_or_else(|e| panic!("{e}; {text}"));
        std::mem::replace(&mut self.primary, next).abandon();
        self.longest = self.longest.max(text.len());
        // In hexadecimal digits, behind this.
        let half_read = text.split("\"bytes\":\"").skip(1).filter_map(|rest| rest.find('"'));
        self.half_read = self.half_read.max(half_read.max().unwrap_or(0));
    }

    /// Waits for an event, and takes it; before each look another image goes on.
    pub(crate) fn until_upgrading(&mut self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        let mut turns = 0;
        loop {
            self.upgrade();
            if let Some(at) = self.events.iter().position(&wanted) {
                return self.events.remove(at);
            }
            self.primary.wait(Some(TURN)).expect("a poll");
            turns += 1;
            assert!(turns < 100_000, "no {what}; there was {:?}", self.events);
        }
    }

    /// All events that were not waited for.
    pub(crate) fn rest(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Runs the primary until that thread is done.
    pub(crate) fn run<T: Send + 'static>(&mut self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let thread = thread::spawn(job);
        let mut turns = 0;
        while !thread.is_finished() {
            match self.turn() {
                Some(event) => self.events.push(event),
                None => turns += 1,
            }
            assert!(TURN * turns < LIMIT, "a client hangs; there was {:?}", self.events);
        }
        thread.join().expect("the client does not panic")
    }

    /// Runs the primary until it has handed over so many connections. A client may be served
    /// before the primary has read that its connection was taken.
    pub(crate) fn until_handed_over(&mut self, count: u64) {
        let mut turns = 0;
        while self.primary.stats().handed_over < count {
            match self.turn() {
                Some(event) => self.events.push(event),
                None => turns += 1,
            }
            assert!(TURN * turns < LIMIT, "{:?}", self.primary.stats());
        }
    }

    /// The next message of that worker, as text.
    pub(crate) fn message(&mut self, from: WorkerId) -> String {
        let message = |e: &Event| matches!(e, Event::Message { worker, .. } if *worker == from);
        match self.until("message", message) {
            Event::Message { message, .. } => match message.as_str() {
                Some(text) => text.into_owned(),
                None => format!("{message:?}"),
            },
            _ => unreachable!("it was asked for"),
        }
    }

    /// Sends a message, and waits for the answer.
    pub(crate) fn ask(&mut self, worker: WorkerId, order: &str) -> String {
        self.primary.send(worker, order).expect("it is connected");
        self.message(worker)
    }

    /// Has the worker listen on loopback; where.
    pub(crate) fn listen(&mut self, worker: WorkerId, port: u16) -> SocketAddr {
        let answer = self.ask(worker, &format!("tcp 127.0.0.1:{port}"));
        let port = answer.strip_prefix("listening ").unwrap_or_else(|| panic!("{answer}"));
        SocketAddr::from(([127, 0, 0, 1], port.parse().expect("a port")))
    }

    /// Connects, and says which worker answered.
    pub(crate) fn served_by(&mut self, address: SocketAddr) -> WorkerId {
        self.run(move || serve_from_any_worker(TcpStream::connect(address).expect("it listens")))
    }

    pub(crate) fn exit_of(&mut self, id: WorkerId) -> (ExitStatus, bool) {
        match self.until("exit", |e| matches!(e, Event::Exit { worker, .. } if *worker == id)) {
            Event::Exit { status, exited_after_disconnect, .. } => {
                (status, exited_after_disconnect)
            }
            _ => unreachable!("it was asked for"),
        }
    }

    pub(crate) fn disconnect_of(&mut self, id: WorkerId) -> bool {
        let gone = |e: &Event| matches!(e, Event::Disconnect { worker, .. } if *worker == id);
        match self.until("disconnect", gone) {
            Event::Disconnect { exited_after_disconnect, .. } => exited_after_disconnect,
            _ => unreachable!("it was asked for"),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for worker in self.primary.all_workers() {
            let _ = self.primary.kill(worker, Signal::KILL);
        }
        // They are waited for, so that tests that count processes or descriptors do not find them.
        for _ in 0..500 {
            if self.primary.all_workers().is_empty() {
                break;
            }
            let _ = self.primary.next_event_within(TURN);
        }
    }
}

/// Reads the id of the worker that answers.
pub(crate) fn serve_from_any_worker(mut connection: impl Read) -> WorkerId {
    let mut text = String::new();
    let mut byte = [0; 1];
    while !text.ends_with('\n') {
        let length = connection.read(&mut byte).expect("an answer");
        assert_eq!(length, 1, "it hung up after {text:?}");
        text.push(char::from(byte[0]));
    }
    WorkerId(text.trim().parse().expect("an id"))
}

/// The settings for a worker that does what it is told.
pub(crate) fn puppet() -> Settings {
    // Packages cannot have examples of one name.
    Settings::new(example(match env!("CARGO_PKG_NAME") {
        "cluster-control" => "control_worker",
        "cluster-supervisor" => "supervisor_worker",
        _ => "puppet",
    }))
}

/// Every placement that there is on this system.
pub(crate) fn placements() -> impl Iterator<Item = Placement> {
    let here = |placement: &Placement| puppet().placement(*placement).check_placement().is_ok();
    Placement::ALL.iter().copied().filter(here)
}

/// An example, which `cargo test` builds beside the tests.
pub(crate) fn example(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().expect("a path");
    path.pop();
    path.pop();
    path.push("examples");
    path.push(name);
    assert!(path.exists(), "{} is built by `cargo test` without --test", path.display());
    path
}

/// An empty folder that is removed at the end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cluster-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path.canonicalize().expect("it is there"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
