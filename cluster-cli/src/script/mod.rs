//! The primary's side of the script: its workers come here, and their messages are passed on.

mod link;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use cluster_ipc::Outgoing;
use cluster_primary::proto::{Message, Object, SocketList, Value};
use cluster_primary::{
    Address, Adopted, Event, EventHandle, Placement, Primary, Serialization, WatchId, WorkerId,
};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg, sockopt,
};
use rustix::process::{
    Pid, PidfdFlags, PidfdGetfdFlags, Signal, pidfd_getfd, pidfd_open, pidfd_send_signal,
};

pub(crate) use link::LONGEST_MESSAGE;
use link::{Left, Link};

/// The script's process.
const SCRIPT: Token = Token(0);
/// Where workers come from.
const LISTENER: Token = Token(1);
/// The first of the others.
const FIRST: usize = 2;

/// `cluster.SCHED_NONE`.
const SCHED_NONE: &str = "1";

/// The script and its workers.
pub(crate) struct Script {
    poll: Poll,
    ready: Events,
    watch: WatchId,
    pid: u32,
    /// Readable when the script has ended.
    process: OwnedFd,
    listener: UnixListener,
    /// Processes that are about to be workers.
    joining: BTreeMap<Token, UnixStream>,
    links: BTreeMap<WorkerId, Link>,
    tokens: BTreeMap<Token, WorkerId>,
    /// Links with more to read or to write.
    pending: BTreeSet<WorkerId>,
    last_token: usize,
    workers: u64,
    /// The placement was chosen by an option, so that `cluster.schedulingPolicy` does not.
    placement_is_set: bool,
}

/// What a process says that is about to be a worker.
struct Request {
    worker: WorkerId,
    policy: String,
    serialization: Serialization,
    script: OwnedFd,
}

impl Script {
    /// That process, whose workers come through that listener.
    pub(crate) fn new(
        primary: &mut Primary,
        pid: u32,
        listener: UnixListener,
        placement_is_set: bool,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let process = process.ok_or(io::ErrorKind::InvalidInput)?;
        let process = pidfd_open(process, PidfdFlags::empty())?;
        listener.set_nonblocking(true)?;
        let registry = poll.registry();
        registry.register(&mut SourceFd(&process.as_raw_fd()), SCRIPT, Interest::READABLE)?;
        registry.register(&mut SourceFd(&listener.as_raw_fd()), LISTENER, Interest::READABLE)?;
        let watch = primary.watch(poll.as_raw_fd())?;
        let of = process.try_clone()?;
        primary.lend_from(move |number| Ok(pidfd_getfd(&of, number, PidfdGetfdFlags::empty())?));
        Ok(Self {
            poll,
            ready: Events::with_capacity(64),
            watch,
            pid,
            process,
            listener,
            joining: BTreeMap::new(),
            links: BTreeMap::new(),
            tokens: BTreeMap::new(),
            pending: BTreeSet::new(),
            last_token: FIRST,
            workers: 0,
            placement_is_set,
        })
    }

    /// Asks the script to end, as `kill` does.
    pub(crate) fn terminate(&self) {
        // It may have ended.
        let _ = pidfd_send_signal(&self.process, Signal::TERM);
    }

    /// How many workers there were.
    pub(crate) fn workers(&self) -> u64 {
        self.workers
    }

    /// Whether something waits that needs no wake.
    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Does what is ready; whether the script has ended.
    pub(crate) fn process(&mut self, primary: &mut Primary) -> io::Result<bool> {
        if primary.take_ready(self.watch) && self.poll(primary)? {
            return Ok(true);
        }
        for worker in std::mem::take(&mut self.pending) {
            self.turn(primary, worker);
        }
        Ok(false)
    }

    fn poll(&mut self, primary: &mut Primary) -> io::Result<bool> {
        loop {
            self.poll.poll(&mut self.ready, Some(Duration::ZERO))?;
            if self.ready.is_empty() {
                return Ok(false);
            }
            let ready: Vec<_> = self.ready.iter().map(mio::event::Event::token).collect();
            for token in ready {
                match token {
                    SCRIPT => return Ok(true),
                    LISTENER => self.accept()?,
                    token => match self.tokens.get(&token) {
                        Some(worker) => {
                            self.pending.insert(*worker);
                        }
                        None => self.join(primary, token),
                    },
                }
            }
        }
    }

    fn next_token(&mut self) -> Token {
        self.last_token += 1;
        Token(self.last_token)
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // The system is out of descriptors: those that wait are taken with the next.
                Err(_) => return Ok(()),
            };
            stream.set_nonblocking(true)?;
            // Any user can connect; strangers must not use up descriptors of this process.
            if let Err(error) = self.check_peer(&stream) {
                // So that the reason arrives: closing with data unread would discard it.
                let _ = receive(&stream);
                let _ = (&stream).write_all(format!("{error}\n").as_bytes());
                continue;
            }
            let token = self.next_token();
            let registry = self.poll.registry();
            registry.register(&mut SourceFd(&stream.as_raw_fd()), token, Interest::READABLE)?;
            self.joining.insert(token, stream);
        }
    }

    /// Whether the script itself has connected, or a process that it has started.
    fn check_peer(&self, stream: &UnixStream) -> io::Result<u32> {
        let peer = sockopt::socket_peercred(stream)?.pid.as_raw_nonzero().get().cast_unsigned();
        if peer == self.pid || parent_of(peer) == Some(self.pid) {
            return Ok(peer);
        }
        let what = format!("process {peer} was not started by the script");
        Err(io::Error::new(io::ErrorKind::PermissionDenied, what))
    }

    /// A process asks to be a worker.
    fn join(&mut self, primary: &mut Primary, token: Token) {
        let Some(stream) = self.joining.get(&token) else { return };
        let received = match receive(stream) {
            Ok(None) => return,
            Ok(Some(request)) => Ok(request),
            Err(error) => Err(error),
        };
        let Some(stream) = self.joining.remove(&token) else { return };
        let answer = match (received, self.check_peer(&stream)) {
            (Ok(request), Ok(pid)) => self.adopt(primary, pid, request),
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
        let _ = self.poll.registry().deregister(&mut SourceFd(&stream.as_raw_fd()));
        // A process that has died waits for nothing.
        let _ = match answer {
            Ok(channel) => send(&stream, &channel),
            Err(error) => (&stream).write_all(format!("{error}\n").as_bytes()),
        };
    }

    fn adopt(&mut self, primary: &mut Primary, pid: u32, request: Request) -> io::Result<OwnedFd> {
        let Request { worker, policy, serialization, script } = request;
        // Paths of sockets are as short as seen from there: an address holds about a hundred bytes. If it cannot be
        // entered longer paths are used.
        let _ = std::env::set_current_dir(format!("/proc/{}/cwd", self.pid));
        let is_none = policy == SCHED_NONE && !self.placement_is_set;
        let settings = primary.settings();
        if settings.serialization != serialization
            || (is_none && settings.placement != Placement::Shared)
        {
            primary.setup(|settings| {
                settings.serialization = serialization;
                if is_none {
                    settings.placement = Placement::Shared;
                }
            });
        }
        let channel = primary.adopt(Adopted { worker, pid }).map_err(io::Error::other)?;
        self.workers += 1;
        let token = self.next_token();
        let link = Link::new(worker, script, serialization, self.poll.registry(), token)?;
        self.tokens.insert(token, worker);
        self.links.insert(worker, link);
        self.pending.insert(worker);
        Ok(channel)
    }

    fn turn(&mut self, primary: &mut Primary, worker: WorkerId) {
        let Some(link) = self.links.get_mut(&worker) else { return };
        match link.turn(primary) {
            Left::Nothing => {}
            Left::More => {
                self.pending.insert(worker);
            }
            Left::Closed => {
                self.links.remove(&worker);
                self.tokens.retain(|_, of| *of != worker);
                primary.hold_messages(worker, false);
            }
        }
    }

    /// Tells the script what has happened to a worker.
    pub(crate) fn event(&mut self, primary: &mut Primary, event: Event) {
        let worker = match &event {
            Event::Online { worker }
            | Event::Listening { worker, .. }
            | Event::Message { worker, .. }
            | Event::Drained { worker }
            | Event::SocketCount { worker, .. }
            | Event::SocketsClosed { worker, .. }
            | Event::Disconnect { worker, .. }
            | Event::Exit { worker, .. } => *worker,
            _ => return,
        };
        let Some(link) = self.links.get_mut(&worker) else { return };
        self.pending.insert(worker);
        match event {
            Event::Online { .. } => link.send(primary, &act("online").into_message(), None),
            Event::Listening { address, .. } => {
                link.send(primary, &listening(&address).into_message(), None);
            }
            Event::Message { message, handle, .. } => {
                link.send(primary, &Message::Encoded(message), handle.map(outgoing));
            }
            Event::Drained { .. } => link.drained(),
            Event::SocketCount { key, count, .. } => {
                link.send(primary, &Message::SocketList(SocketList::Count { key, count }), None);
            }
            Event::SocketsClosed { key, .. } => {
                link.send(primary, &Message::SocketList(SocketList::AllClosed { key }), None);
            }
            Event::Disconnect { exited_after_disconnect, .. } => {
                if exited_after_disconnect {
                    link.send(primary, &act("exitedAfterDisconnect").into_message(), None);
                }
                link.close();
            }
            _ => link.close(),
        }
    }
}

/// What one makes of a message of the cluster's own.
trait IntoInternal {
    fn into_message(self) -> Message;
}

impl IntoInternal for Object {
    fn into_message(self) -> Message {
        Message::Internal(self)
    }
}

fn act(act: &str) -> Object {
    Object::new().with("cmd", "NODE_CLUSTER").with("act", act).with("seq", 0)
}

fn listening(address: &Address) -> Object {
    let kind = address.address_type.map(|kind| match kind.to_string().parse::<i64>() {
        Ok(number) => Value::from(number),
        Err(_) => Value::from(kind.to_string()),
    });
    let mut object = act("listening")
        .with("address", address.address.clone())
        .with("port", address.port)
        .with("addressType", kind.unwrap_or_default());
    if let Some(fd) = address.fd {
        object.insert("fd", fd);
    }
    object
}

fn outgoing(handle: EventHandle) -> Outgoing<OwnedFd> {
    let EventHandle { kind, handle, key, .. } = handle;
    let outgoing = Outgoing::new(kind, handle);
    match key {
        Some(key) => outgoing.key(key),
        None => outgoing,
    }
}

/// The process that has started that one.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, which may have any characters, is in parentheses; the state follows, then the parent.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// What a process asks; `None` if that has not come yet.
fn receive(stream: &UnixStream) -> io::Result<Option<Request>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut text = [0; 256];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = match recvmsg(stream, &mut [IoSliceMut::new(&mut text)], &mut control, flags) {
        Ok(received) => received,
        Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    let script = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let text = std::str::from_utf8(&text[..received.bytes]).unwrap_or_default();
    let mut words = text.split_whitespace();
    let worker = words.next().and_then(|word| word.parse().ok()).map(WorkerId);
    let (Some(worker), Some(policy), Some(script)) = (worker, words.next(), script) else {
        return Err(io::Error::other("that is no request of a worker"));
    };
    let serialization = match words.next() {
        Some("advanced") => Serialization::Advanced,
        _ => Serialization::Json,
    };
    Ok(Some(Request { worker, policy: policy.to_owned(), serialization, script }))
}

/// Gives a process the worker's end of its channel.
fn send(stream: &UnixStream, channel: &OwnedFd) -> io::Result<()> {
    let fds = [channel.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(stream, &[IoSlice::new(b"\n")], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}
