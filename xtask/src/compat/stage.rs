//! One play of a scenario: a primary and its workers in a folder of their own, told what to do one
//! thing after the other, and all that they say written down.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

use super::cast::{Pair, Policy};
use super::names::Names;
use super::trace::{Note, Party};
use crate::node::Node;
use crate::step;

/// The environment variable in which an actor finds the socket of its stage.
pub(super) const STAGE: &str = "COMPAT_STAGE";

/// After this long nothing more is expected to happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is played, and by whom.
#[derive(Clone, Copy)]
pub(super) struct Play<'a> {
    pub(super) node: &'a Node,
    pub(super) policy: Policy,
    pub(super) pair: Pair,
    /// Tells it from the others that are played at the same time.
    pub(super) number: usize,
}

impl Play<'_> {
    /// An address of the loopback that is this play's own, so that no other has its ports. (Their
    /// numbers differ by the process too: two suites may run.)
    fn host(&self) -> Ipv4Addr {
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let number = self.number % 250;
        Ipv4Addr::new(127, 1 + high % 250, low, 1 + number as u8)
    }
}

/// Why a scenario did not go on.
#[derive(Debug)]
pub(super) struct Stall(pub(super) String);

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<io::Error> for Stall {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

pub(super) type Played<T = ()> = Result<T, Stall>;

/// See the module.
pub(super) struct Stage<'a> {
    pub(super) play: Play<'a>,
    folder: PathBuf,
    listener: UnixListener,
    primary: Child,
    actors: Vec<Actor>,
    names: Names,
    notes: Vec<Note>,
    /// The notes that were waited for, so that each is waited for once.
    seen: BTreeMap<(Party, String), usize>,
    /// What is not answered yet, by its number.
    open: BTreeMap<u64, (Party, Value)>,
    answers: VecDeque<(u64, Value)>,
    last: u64,
}

struct Actor {
    stream: UnixStream,
    read: Vec<u8>,
    party: Option<Party>,
    over: bool,
}

/// Held while a process is started: until it executes its program it has all that we have.
static STARTING: Mutex<()> = Mutex::new(());

/// Closes a socket, and waits until its address is free: a process that another play is just
/// starting may hold it for a moment more, even when it executes its program already.
pub(super) fn free<S>(socket: S, is_free: impl Fn() -> bool) {
    drop(socket);
    let _guard = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    while !is_free() {
        std::thread::yield_now();
    }
}

impl<'a> Stage<'a> {
    pub(super) fn open(play: Play<'a>, folder: PathBuf) -> Played<Self> {
        fs::create_dir_all(&folder)?;
        let path = folder.join("stage");
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        let output = fs::File::create(folder.join("output"))?;
        let mut command = play.pair.primary(play.node, play.policy)?;
        command.env(STAGE, &path).current_dir(&folder);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let primary = {
            let _guard = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
            command.spawn()?
        };
        let mut stage = Self {
            play,
            listener,
            primary,
            actors: Vec::new(),
            names: Names::new(&folder, play.host()),
            folder,
            notes: Vec::new(),
            seen: BTreeMap::new(),
            open: BTreeMap::new(),
            answers: VecDeque::new(),
            last: 0,
        };
        stage.until("the primary", |stage| stage.actor(Party::Primary).map(drop))?;
        Ok(stage)
    }

    /// The address to listen on.
    pub(super) fn host(&self) -> String {
        self.play.host().to_string()
    }

    /// Ports that were met are met again: another address may have the same.
    pub(super) fn forget_ports(&mut self) {
        self.names.forget("port");
    }

    /// A folder for what the scenario needs.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Has the primary do something; its answer.
    pub(super) fn primary(&mut self, order: Value) -> Played<Value> {
        self.order(Party::Primary, order)
    }

    /// Has a worker do something, once it is there; its answer.
    pub(super) fn worker(&mut self, worker: u32, order: Value) -> Played<Value> {
        self.order(Party::Worker(worker), order)
    }

    /// Has a process begin something that needs others: see [`answer`](Self::answer).
    pub(super) fn begin(&mut self, party: Party, mut order: Value) -> Played<u64> {
        self.until(&format!("{party}"), |stage| stage.actor(party).map(drop))?;
        self.last += 1;
        let n = self.last;
        self.open.insert(n, (party, order.clone()));
        order["n"] = n.into();
        let actor = self.actor(party).ok_or_else(|| Stall(format!("{party} is gone")))?;
        actor.stream.write_all(format!("{order}\n").as_bytes())?;
        Ok(n)
    }

    /// Waits for the answer to what was begun, but not of a process that is gone.
    pub(super) fn answer(&mut self, n: u64) -> Played<Value> {
        let what = match self.open.get(&n) {
            Some((party, order)) => format!("an answer of {party} to {order}"),
            None => format!("answer {n}"),
        };
        self.until(&what, |stage| {
            if let Some(at) = stage.answers.iter().position(|(answered, _)| *answered == n) {
                return stage.answers.remove(at).map(|(_, is)| Ok(is));
            }
            let party = stage.open.get(&n)?.0;
            let over = stage.actor(party)?.over;
            over.then(|| Err(Stall(format!("{party} ended before it gave {what}"))))
        })?
    }

    fn order(&mut self, party: Party, order: Value) -> Played<Value> {
        let n = self.begin(party, order)?;
        self.answer(n)
    }

    /// Waits until the primary has noted an event of a worker's life once more.
    pub(super) fn sees(&mut self, worker: u32, event: &str) -> Played {
        self.noted(Party::Primary, Some(worker), event)
    }

    /// Waits until the primary has noted an event that is no worker's once more.
    pub(super) fn sees_itself(&mut self, event: &str) -> Played {
        self.noted(Party::Primary, None, event)
    }

    /// Waits until a worker has noted an event once more.
    pub(super) fn worker_sees(&mut self, worker: u32, event: &str) -> Played {
        self.noted(Party::Worker(worker), Some(worker), event)
    }

    fn noted(&mut self, by: Party, about: Option<u32>, event: &str) -> Played {
        let key = (by, format!("{about:?} {event}"));
        let before = self.seen.get(&key).copied().unwrap_or(0);
        let what = format!("{event} of {about:?} at {by}");
        self.until(&what, |stage| {
            let it = |note: &&Note| note.by == by && note.about == about && note.what == event;
            (stage.notes.iter().filter(it).count() > before).then_some(())
        })?;
        self.seen.insert(key, before + 1);
        Ok(())
    }

    /// Waits until a worker's process has gone.
    pub(super) fn gone(&mut self, worker: u32) -> Played {
        let party = Party::Worker(worker);
        self.until(&format!("the end of {party}"), |stage| {
            let mut its = stage.actors.iter().filter(|actor| actor.party == Some(party));
            its.next().is_some_and(|actor| actor.over).then_some(())
        })
    }

    /// Connects to that port as a client, and writes down all that it is told.
    pub(super) fn client(&mut self, host: &str, port: &Value) -> Played {
        let told = read_from(host, port).unwrap_or_else(|error| format!("{:?}", error.kind()));
        self.client_says(&json!({ "host": host, "port": port }), &told);
        Ok(())
    }

    /// As [`client`](Self::client) of a server that several workers share: which of them it was is
    /// the kernel's choice, and not written down.
    pub(super) fn client_of_some(&mut self, port: &Value) -> Played {
        let host = self.host();
        let told = read_from(&host, port).unwrap_or_else(|error| format!("{:?}", error.kind()));
        self.client_says(&json!({ "host": host, "port": port }), &some_worker(&told));
        Ok(())
    }

    /// Connects to that path as a client, and writes down all that it is told; not by which worker,
    /// if that is the kernel's choice.
    pub(super) fn client_of_path(&mut self, path: &Path, of_some: bool) -> Played {
        let read = || -> io::Result<String> {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            read_all(stream)
        };
        let told = read().unwrap_or_else(|error| format!("{:?}", error.kind()));
        let told = if of_some { some_worker(&told) } else { told };
        self.client_says(&json!({ "path": path }), &told);
        Ok(())
    }

    /// As [`client_of_path`](Self::client_of_path), of a name in the abstract namespace. Node 20 pads it
    /// with zeros.
    #[cfg(target_os = "linux")]
    pub(super) fn client_of_abstract_path(&mut self, name: &str, of_some: bool) -> Played {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::SocketAddr;

        /// What a Unix-domain address has room for, without the zero at its beginning.
        const ROOM: usize = 107;
        let read = |name: &[u8]| -> io::Result<String> {
            let stream = UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            read_all(stream)
        };
        let mut padded = name.as_bytes().to_vec();
        padded.resize(ROOM, 0);
        let told = read(name.as_bytes()).or_else(|_| read(&padded));
        let told = told.unwrap_or_else(|error| format!("{:?}", error.kind()));
        let told = if of_some { some_worker(&told) } else { told };
        self.client_says(&json!({ "abstract": name }), &told);
        Ok(())
    }

    /// Sends datagrams to that port until one is answered: what a datagram is worth before any process
    /// listens.
    pub(super) fn datagram(&mut self, host: &str, port: &Value) -> Played {
        let told = ask_by_datagram(host, port).unwrap_or_else(|e| format!("{:?}", e.kind()));
        self.client_says(&json!({ "udp": host, "port": port }), &told);
        Ok(())
    }

    /// Writes down what a client saw, under the name of what it did.
    pub(super) fn client_says(&mut self, did: &Value, saw: &str) {
        let text = format!("connect {} -> {saw:?}", self.names.shown(did));
        self.notes.push(Note { by: Party::Client, about: None, what: "connect".into(), text });
    }

    /// Writes down what the scenario itself found.
    pub(super) fn finding(&mut self, text: impl Into<String>) {
        let what = "finding".into();
        self.notes.push(Note { by: Party::Client, about: None, what, text: text.into() });
    }

    /// Ends it: the primary is told to go, every process is awaited, and all that was noted given.
    pub(super) fn close(mut self) -> Played<Vec<Note>> {
        self.primary(json!({ "do": "quit" }))?;
        self.until("the end of all", |stage| {
            stage.actors.iter().all(|actor| actor.over).then_some(())
        })?;
        let status: ExitStatus = self.primary.wait()?;
        if !status.success() {
            return Err(Stall(format!("the primary ended with {status}")));
        }
        let output = fs::read_to_string(self.folder.join("output"))?;
        if !output.is_empty() {
            return Err(Stall(format!("an actor complained:\n{output}")));
        }
        Ok(std::mem::take(&mut self.notes))
    }

    /// What was noted, and what was printed, to find out why it stalled.
    pub(super) fn report(&self) -> String {
        let mut report: String = self.notes.iter().map(|note| format!("    {note}\n")).collect();
        let output = fs::read(self.folder.join("output")).unwrap_or_default();
        for line in String::from_utf8_lossy(&output).lines() {
            report.push_str(&format!("    | {line}\n"));
        }
        report
    }

    fn actor(&mut self, party: Party) -> Option<&mut Actor> {
        self.actors.iter_mut().find(|actor| actor.party == Some(party))
    }

    /// Listens to the actors until that is so.
    fn until<T>(&mut self, what: &str, mut is: impl FnMut(&mut Self) -> Option<T>) -> Played<T> {
        let deadline = now() + PATIENCE;
        loop {
            if let Some(is) = is(self) {
                return Ok(is);
            }
            if !self.turn(deadline)? {
                return Err(Stall(format!("{what} never came")));
            }
        }
    }

    /// Waits for a report of any process, and records it; returns whether that was in time.
    fn turn(&mut self, deadline: Instant) -> Played<bool> {
        let left = deadline.saturating_duration_since(now());
        let left = Timespec::try_from(left).map_err(|_| Stall("no such time".into()))?;
        let open = self.actors.iter().filter(|actor| !actor.over);
        let open = open.map(|actor| PollFd::new(&actor.stream, PollFlags::IN));
        let listener = PollFd::new(&self.listener, PollFlags::IN);
        let mut all: Vec<PollFd<'_>> = std::iter::once(listener).chain(open).collect();
        if poll(&mut all, Some(&left)).map_err(io::Error::from)? == 0 {
            return Ok(false);
        }
        drop(all);
        while let Ok((stream, _)) = self.listener.accept() {
            stream.set_nonblocking(true)?;
            self.actors.push(Actor { stream, read: Vec::new(), party: None, over: false });
        }
        for index in 0..self.actors.len() {
            self.actors[index].fill()?;
            while let Some(line) = self.actors[index].line() {
                let line = serde_json::from_str(&line).map_err(|error| {
                    Stall(format!("{line:?} is no line of an actor's: {error}"))
                })?;
                self.heard(index, line)?;
            }
        }
        Ok(true)
    }

    fn heard(&mut self, index: usize, line: Value) -> Played {
        let actor = &mut self.actors[index];
        let Some(by) = actor.party else {
            actor.party = match (line["hello"].as_str(), line["id"].as_u64()) {
                (Some("worker"), Some(id)) => {
                    Some(Party::Worker(id.try_into().map_err(|_| Stall(format!("worker {id}")))?))
                }
                _ => Some(Party::Primary),
            };
            return Ok(());
        };
        let its_own = match by {
            Party::Worker(id) => Some(id),
            Party::Primary | Party::Client => None,
        };
        let worker = |members: &Value| members["worker"].as_u64().and_then(|id| id.try_into().ok());
        if let Some(n) = line["n"].as_u64() {
            let Some((_, order)) = self.open.remove(&n) else {
                return Err(Stall(format!("{by} answered what it was not asked: {line}")));
            };
            let is = line["is"].clone();
            // Of a fork the answer tells which worker it is about.
            let about = its_own.or_else(|| worker(&order)).or_else(|| worker(&is));
            let what = order["do"].as_str().unwrap_or_default().to_owned();
            let text = self.names.shown_answer(&order, &is);
            self.notes.push(Note { by, about, what, text });
            self.answers.push_back((n, is));
            return Ok(());
        }
        let about = its_own.or_else(|| worker(&line));
        let what = line["event"].as_str().unwrap_or_default().to_owned();
        let text = self.names.shown_event(&line);
        self.notes.push(Note { by, about, what, text });
        Ok(())
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        // The workers go with their primary.
        let _ = self.primary.kill();
        let _ = self.primary.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Actor {
    fn fill(&mut self) -> Played {
        let mut buf = [0; 4096];
        while !self.over {
            match self.stream.read(&mut buf) {
                Ok(0) => self.over = true,
                Ok(read) => self.read.extend_from_slice(&buf[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // A process that was killed, with an order unread.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => self.over = true,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn line(&mut self) -> Option<String> {
        let end = self.read.iter().position(|byte| *byte == b'\n')?;
        let line = self.read.drain(..=end).collect::<Vec<u8>>();
        Some(String::from_utf8_lossy(&line).into_owned())
    }
}

fn number(port: &Value) -> io::Result<u16> {
    let port = port.as_u64().and_then(|port| port.try_into().ok());
    port.ok_or_else(|| io::Error::other("nothing listens there"))
}

fn read_from(host: &str, port: &Value) -> io::Result<String> {
    let stream = TcpStream::connect((host, number(port)?))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    read_all(stream)
}

/// A client of that port.
pub(super) fn connect(host: &str, port: &Value) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, number(port)?))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// All that a client is told.
pub(super) fn read_all(mut stream: impl Read) -> io::Result<String> {
    let mut told = String::new();
    stream.read_to_string(&mut told)?;
    Ok(told)
}

fn ask_by_datagram(host: &str, port: &Value) -> io::Result<String> {
    let port = number(port)?;
    let here = if host.contains(':') { "::1" } else { host };
    let socket = UdpSocket::bind((here, 0))?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let deadline = now() + PATIENCE;
    let mut buf = [0; 1024];
    loop {
        // One to a port that is not bound yet brings an error back.
        let _ = socket.send_to(b"who is there?", (host, port));
        match socket.recv(&mut buf) {
            Ok(length) => return Ok(String::from_utf8_lossy(&buf[..length]).into_owned()),
            Err(_) if now() < deadline => {}
            Err(error) => return Err(error),
        }
    }
}

/// What a client was told, without the number of the worker.
fn some_worker(told: &str) -> String {
    match told.strip_prefix("worker ").and_then(|rest| rest.split_once(',')) {
        Some((_, rest)) => format!("some worker,{rest}"),
        None => told.to_owned(),
    }
}

fn now() -> Instant {
    step::now()
}
