//! The socket, and the clients that have connected to it.

mod state;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cluster_proto::env::Serialization;
use cluster_proto::{Object, Value};
use mio::net::UnixListener;
use mio::{Events, Interest, Poll, Token};

use crate::backlog::Backlog;
use crate::calls::{self, Outcome};
use crate::command::{Answer, CommandId, ControlCommand, Refusal};
use crate::params::Call;
use crate::peer::{is_trusted, peer_pid};
use crate::render;
use crate::rpc::{self, Failure, Request};
use crate::session::{CutOff, Session};
use crate::text::Text;
use cluster_primary::embed::{
    Clock, Closer, PrivateSocket, SocketFile, bounded_calls, for_clients,
};
use cluster_primary::{Event, Primary};
use cluster_supervisor::driver::Notice;

const LISTENER: Token = Token(usize::MAX);

/// Readiness that one look can bring.
const EVENTS: usize = 128;

/// Clients that are taken in before others have their turn.
const ACCEPTS_PER_WAKE: usize = 64;

/// How long it is until clients are taken in again when there were no descriptors for them.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Events that clients have not read yet are kept in memory: up to so many bytes in total, those of an
/// event that several clients wait for counted once. Beyond that, the client that is furthest behind is
/// cut off. Workers never wait for clients.
const MAX_BACKLOG: usize = 256 << 20;

/// The part of that which is handed to the next image of this process, each client's counted by itself.
const MAX_HANDED_OVER: usize = 64 << 20;

/// How long clients have to read what is queued for them when the server closes...
const LAST_WORDS: Duration = Duration::from_secs(1);
/// ... or again as long, if they have read so many bytes meanwhile.
const LAST_WORDS_PACE: u64 = 8 << 20;

/// The control API of one primary; see the [module](super).
pub struct ControlServer {
    poll: Poll,
    ready: Events,
    listener: UnixListener,
    file: SocketFile,
    clients: BTreeMap<usize, Session>,
    /// Clients that may have more to say: no new edge comes for it.
    pending: BTreeSet<usize>,
    more_clients: bool,
    /// Clients wait, for whom there was no descriptor.
    accept_again: bool,
    /// There are as many clients as may be; others wait until one of them leaves.
    full: bool,
    /// How often accepting paused since the owner last asked, and why the last time.
    accept_pauses: Option<(u64, io::Error)>,
    last_client: usize,
    /// The first that ever connected.
    first_client: Option<usize>,
    disconnecting: Vec<Waiter>,
    /// Whether there is a supervisor that takes commands.
    accepts_commands: bool,
    last_command: u64,
    commands: VecDeque<(CommandId, ControlCommand)>,
    /// Who waits for a command to be answered, and what to answer to.
    unanswered: BTreeMap<CommandId, (usize, Option<Value>)>,
    has_program: bool,
    stop: bool,
    /// Nothing can be forked any more.
    ending: bool,
    /// Why clients fork nothing.
    no_forks: Option<String>,
    first_is_gone: bool,
    /// Its file and its clients are another's by now.
    abandoned: bool,
    clock: Clock,
    /// What is queued for all clients.
    backlog: Backlog,
    /// Closes what clients may have sent descriptors over.
    closer: Closer,
}

/// Who waits for all workers to have disconnected.
struct Waiter {
    client: usize,
    /// What to answer to.
    id: Option<Value>,
    /// The `Disconnected` event that means it.
    round: u64,
}

/// Why the control socket could not be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum ControlError {
    /// Another process listens there already.
    InUse {
        /// Where.
        path: PathBuf,
    },
    /// A file that is not a socket is at this path.
    Occupied {
        /// Where.
        path: PathBuf,
    },
    /// The socket could not be created.
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { path } => write!(
                f,
                "the control socket {} is in use: another primary listens there: stop it, or choose \
                 another path or name",
                path.display()
            ),
            Self::Occupied { path } => write!(
                f,
                "cannot create the control socket {}: the file there is not a socket: move it away, or \
                 choose another path",
                path.display()
            ),
            Self::Socket { path, error } => {
                write!(f, "cannot create the control socket {}: {error}", path.display())?;
                f.write_str(match error.kind() {
                    io::ErrorKind::NotFound => "; does that folder exist?",
                    io::ErrorKind::PermissionDenied => "; may this user write in that folder?",
                    _ => "",
                })
            }
        }
    }
}

impl std::error::Error for ControlError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::InUse { .. } | Self::Occupied { .. } => None,
            Self::Socket { error, .. } => Some(error),
        }
    }
}

impl ControlServer {
    /// Listens at the path, with mode 0600. A file that a killed primary left behind is replaced.
    ///
    /// # Errors [`ControlError`], which has the path.
    pub fn bind(path: impl AsRef<Path>) -> Result<Self, ControlError> {
        let path = path.as_ref();
        let socket = PrivateSocket::bind(path).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse if is_no_socket(path) => {
                ControlError::Occupied { path: path.into() }
            }
            io::ErrorKind::AddrInUse => ControlError::InUse { path: path.into() },
            _ => ControlError::Socket { path: path.into(), error },
        })?;
        let failed = |error| ControlError::Socket { path: path.into(), error };
        let poll = Poll::new().map_err(failed)?;
        let mut listener = UnixListener::from_std(socket.fd.into());
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE).map_err(failed)?;
        Ok(Self {
            poll,
            ready: Events::with_capacity(EVENTS),
            listener,
            file: socket.file,
            clients: BTreeMap::new(),
            pending: BTreeSet::new(),
            more_clients: false,
            accept_again: false,
            full: false,
            accept_pauses: None,
            last_client: 0,
            first_client: None,
            disconnecting: Vec::new(),
            accepts_commands: false,
            last_command: 0,
            commands: VecDeque::new(),
            unanswered: BTreeMap::new(),
            has_program: true,
            stop: false,
            ending: false,
            no_forks: None,
            first_is_gone: false,
            abandoned: false,
            clock: Clock::start(),
            backlog: Backlog::default(),
            closer: Closer::default(),
        })
    }

    /// The settings have no program yet: until a client sets `exec`, `fork` is an error that says so.
    #[must_use]
    pub fn without_program(mut self) -> Self {
        self.has_program = false;
        self
    }

    /// The workers are forked by someone else: `fork`, `setupPrimary` and a change of the scheduling policy are refused
    /// (`ERR_NO_FORK`) with this reason.
    #[must_use]
    pub fn without_forks(mut self, why: impl Into<String>) -> Self {
        self.no_forks = Some(why.into());
        self
    }

    /// The caller executes [commands](Self::next_command); otherwise `status`, `reload` and the like are
    /// errors.
    #[must_use]
    pub fn accepting_commands(mut self) -> Self {
        self.accepts_commands = true;
        self
    }

    /// The next command of a client. Each has to be [answered](Self::answer) once.
    pub fn next_command(&mut self) -> Option<(CommandId, ControlCommand)> {
        self.commands.pop_front()
    }

    /// Answers a command, if its client is still connected.
    pub fn answer(&mut self, command: CommandId, answer: Result<Value, Refusal>) {
        let Some((client, to)) = self.unanswered.remove(&command) else { return };
        let Some(client) = self.clients.get_mut(&client) else { return };
        client.awaits -= 1;
        let Some(to) = to else { return };
        client.send(answer_line(&to, answer));
        self.flush();
    }

    /// Reads from clients, a bounded amount, executes their calls, and writes what is queued for them.
    ///
    /// # Errors If the system's poll fails.
    pub fn process(&mut self, primary: &mut Primary) -> io::Result<()> {
        let _bounded = bounded_calls();
        match self.poll.poll(&mut self.ready, Some(Duration::ZERO)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &self.ready {
            if event.token() == LISTENER {
                self.more_clients = true;
                continue;
            }
            let Some(client) = self.clients.get_mut(&event.token().0) else { continue };
            // Of one that is closed altogether what it said last is still heard.
            client.leaving |= event.is_write_closed() || event.is_error();
            if event.is_writable() {
                client.note_writable();
            }
            self.pending.insert(event.token().0);
        }
        if std::mem::take(&mut self.more_clients) | std::mem::take(&mut self.accept_again) {
            self.accept();
        }
        for id in std::mem::take(&mut self.pending) {
            self.serve(primary, id);
        }
        let now = self.clock.now();
        self.clients.values_mut().for_each(|client| client.check_progress(now));
        self.flush();
        Ok(())
    }

    /// Cuts off the clients that are furthest behind, until no more than `limit` bytes are queued.
    fn limit_backlog(&mut self, limit: usize) {
        while self.backlog.bytes() > limit {
            // What is left for clients that were cut off is a line each, for some seconds.
            let ending = self.clients.values().filter(|client| client.is_cut_off());
            let ending: usize = ending.map(Session::queued).sum();
            if self.backlog.bytes().saturating_sub(ending) <= limit || !self.cut_off_furthest(limit)
            {
                return;
            }
        }
    }

    /// Gives up the longest of the lines that clients have begun, until all of them together are short
    /// enough.
    fn limit_unfinished(&mut self) {
        while self.backlog.unfinished() > rpc::MAX_UNFINISHED {
            let longest = self.clients.values_mut().max_by_key(|client| client.unfinished());
            let Some(client) = longest else { return };
            client.drop_unfinished();
            client.send(rpc::failed(Some(&Value::Null), &rpc::too_much()));
        }
    }

    /// Cuts off the client that is furthest behind, if any is.
    fn cut_off_furthest(&mut self, limit: usize) -> bool {
        let behind = self.clients.values_mut().filter(|client| client.is_behind());
        let furthest = behind.max_by_key(|client| client.queued());
        furthest.map(|client| client.cut_off(CutOff::TooFarBehind { limit })).is_some()
    }

    /// Sends an event to the clients that subscribed to it. The primary's owner passes on every event that it
    /// takes, in their order. Returns false for a message or a request that no client was sent, because none
    /// has subscribed to messages, or because it is too large or cannot be decoded: then no client will
    /// answer a request.
    #[must_use = "a request that no client was shown is to be refused"]
    pub fn event(&mut self, primary: &Primary, event: &Event) -> bool {
        self.answer_disconnects(primary, event);
        if let Event::Message { worker, .. } | Event::Request { worker, .. } = event {
            // A message that no client hears is not looked at.
            if !self.hears_messages() {
                return false;
            }
            let tagged = primary.serialization(*worker) == Some(Serialization::Advanced);
            let Some((text, is_shown)) = render::shown(event, tagged) else { return false };
            self.notify_text("message", Some(text));
            return is_shown;
        } else if self.is_listened_to()
            && let Some(object) = render::event(event, false)
        {
            self.notify(object);
        }
        true
    }

    /// Sends a decision of the supervisor to the clients that subscribed to it by name.
    pub fn notice(&mut self, notice: &Notice) {
        if self.is_listened_to()
            && let Some(object) = render::notice(notice)
        {
            self.notify(object);
        }
    }

    /// Whether a client has subscribed to messages, and so may answer requests.
    pub fn hears_messages(&self) -> bool {
        self.clients.values().any(|client| client.wants("message"))
    }

    fn is_listened_to(&self) -> bool {
        !self.clients.values().all(Session::wants_nothing)
    }

    fn notify(&mut self, object: Object) {
        let name = object.member("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        self.notify_text(&name, Some(rpc::text(object).into()));
    }

    fn notify_text(&mut self, name: &str, text: Option<Text>) {
        let Some(text) = text else { return };
        let line = self.backlog.line(rpc::notification_of(text));
        for client in self.clients.values_mut().filter(|client| client.wants(name)) {
            client.share(Arc::clone(&line));
        }
        drop(line);
        self.flush();
    }

    /// Answers the clients that wait until all workers have disconnected.
    fn answer_disconnects(&mut self, primary: &Primary, event: &Event) {
        if let Event::Disconnected = event {
            let told = primary.disconnects().told;
            let (over, waiting) = std::mem::take(&mut self.disconnecting)
                .into_iter()
                .partition(|waiter: &Waiter| waiter.round <= told);
            self.disconnecting = waiting;
            for Waiter { client, id, .. } in over {
                let Some(client) = self.clients.get_mut(&client) else { continue };
                client.awaits -= 1;
                if let Some(id) = id {
                    client.send(rpc::result(&id, true.into()));
                }
            }
        }
    }

    /// How long a loop may wait before it calls [`process`](Self::process); `None` means without limit.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let paused = |id: &usize| self.clients.get(id).is_some_and(Session::requests_paused);
        let pending = self.pending.iter().any(|id| !paused(id));
        let due = self.clients.values().any(|client| client.can_write() || client.is_unwatched());
        if self.more_clients || pending || due {
            return Some(Duration::ZERO);
        }
        let deadline = self.clients.values().filter_map(Session::deadline).min();
        let accept = self.accept_again.then_some(ACCEPT_PAUSE);
        [accept, deadline.map(|at| self.clock.until(at))].into_iter().flatten().min()
    }

    /// How often accepting clients paused since the last call, because the system was out of descriptors or
    /// memory, and the last error; `None` if it did not. The clients wait in the kernel's queue.
    pub fn take_accept_pauses(&mut self) -> Option<(u64, io::Error)> {
        self.accept_pauses.take()
    }

    /// Whether a client has called `stop`.
    pub fn asked_to_stop(&self) -> bool {
        self.stop
    }

    /// The cluster is about to stop: from now on `fork` is refused.
    pub fn end_forks(&mut self) {
        self.ending = true;
    }

    /// Whether the first client that connected has disconnected. (A check whether a primary listens here does
    /// not count as a connection.)
    pub fn first_client_is_gone(&self) -> bool {
        self.first_is_gone
    }

    fn accept(&mut self) {
        let most = for_clients();
        for _ in 0..ACCEPTS_PER_WAKE {
            self.full = self.clients.len() >= most;
            if self.full {
                return;
            }
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                // Out of descriptors, for example. There is no new edge for clients that wait now.
                Err(error) => {
                    self.accept_again = true;
                    let before = self.accept_pauses.take().map_or(0, |(count, _)| count);
                    self.accept_pauses = Some((before + 1, error));
                    return;
                }
            };
            if !is_trusted(&stream) {
                self.closer.discard(stream);
                continue;
            }
            self.last_client += 1;
            let both = Interest::READABLE | Interest::WRITABLE;
            if self.poll.registry().register(&mut stream, Token(self.last_client), both).is_ok() {
                self.clients.insert(self.last_client, Session::new(stream, &self.backlog));
                self.first_client.get_or_insert(self.last_client);
            }
        }
        self.more_clients = true;
    }

    fn serve(&mut self, primary: &mut Primary, id: usize) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let (requests, more) = client.read();
        self.limit_unfinished();
        let Some(client) = self.clients.get_mut(&id) else { return };
        if more {
            self.pending.insert(id);
        } else if client.leaving {
            client.hung_up();
        }
        for request in requests {
            let Request { id: answer_to, call } = request;
            let outcome = call.and_then(|call| self.perform(primary, call));
            let Some(client) = self.clients.get_mut(&id) else { return };
            let result = match outcome {
                Ok(Outcome::Result(result)) => Ok(result),
                Ok(Outcome::HasProgram(settings)) => {
                    self.has_program = true;
                    Ok(settings)
                }
                Ok(Outcome::Subscribed(events)) => {
                    client.subscribe(events);
                    Ok(true.into())
                }
                Ok(Outcome::Stop) => {
                    self.stop = true;
                    Ok(true.into())
                }
                Ok(Outcome::Command(command)) if self.accepts_commands => {
                    if command.replaces_workers()
                        && let Some(pid) = peer_pid(client.stream())
                    {
                        // A script that a worker has started may be what asks.
                        primary.spare_requester(pid);
                    }
                    client.awaits += 1;
                    self.last_command += 1;
                    let command_id = CommandId(self.last_command);
                    self.commands.push_back((command_id, command));
                    self.unanswered.insert(command_id, (id, answer_to));
                    continue;
                }
                Ok(Outcome::Command(command)) => Err(Failure::verb(
                    "ERR_NOT_SUPERVISED",
                    format_args!(
                        "this primary takes no commands: it has no supervisor that can {}",
                        command.name()
                    ),
                )),
                Ok(Outcome::WhenDisconnected { round }) => {
                    client.awaits += 1;
                    self.disconnecting.push(Waiter { client: id, id: answer_to, round });
                    continue;
                }
                Err(failure) => Err(failure),
            };
            match (answer_to, result) {
                (Some(to), Ok(result)) => client.send(rpc::result(&to, result)),
                (Some(to), Err(failure)) => client.send(rpc::failed(Some(&to), &failure)),
                // A notification is not answered.
                (None, _) => {}
            }
        }
    }

    fn perform(&self, primary: &mut Primary, call: Call) -> Result<Outcome, Failure> {
        if let (
            Call::Fork { .. }
            | Call::SetupPrimary { .. }
            | Call::SchedulingPolicy { policy: Some(_) },
            Some(why),
        ) = (&call, &self.no_forks)
        {
            return Err(Failure::verb("ERR_NO_FORK", why));
        }
        if let Call::Fork { .. } = call {
            if self.ending || self.stop {
                return Err(Failure::verb("ERR_ENDING", "the cluster is stopping"));
            }
            if !self.has_program {
                return Err(Failure::verb(
                    "ERR_NO_EXEC",
                    "there is no program to run: call setupPrimary with an exec first",
                ));
            }
        }
        calls::perform(primary, call)
    }

    /// Writes what can be written at once, limits what is left, and removes clients that are gone.
    fn flush(&mut self) {
        let mut over = Vec::new();
        for (id, client) in &mut self.clients {
            client.flush();
            if client.is_over() && !self.pending.contains(id) {
                over.push(*id);
            }
        }
        self.limit_backlog(MAX_BACKLOG);
        for id in over {
            if let Some(mut client) = self.clients.remove(&id) {
                let _ = self.poll.registry().deregister(client.stream());
                // Its end is seen at once, and what it sent last may take long to close.
                let _ = client.stream().shutdown(Shutdown::Both);
                self.closer.discard(client);
                self.first_is_gone |= self.first_client == Some(id);
                // Another may wait for its place.
                self.more_clients |= self.full;
            }
            self.disconnecting.retain(|waiter| waiter.client != id);
            self.unanswered.retain(|_, (client, _)| *client != id);
        }
    }
}

fn answer_line(to: &Value, answer: Answer) -> Vec<u8> {
    match answer {
        Ok(result) => rpc::result(to, result),
        Err(Refusal { code, message }) => rpc::failed(Some(to), &Failure::verb(code, message)),
    }
}

fn is_no_socket(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| !found.file_type().is_socket())
}

/// The poll's own descriptor: readable when a client has something to say.
impl AsRawFd for ControlServer {
    fn as_raw_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }
}

impl ControlServer {
    /// Writes what is queued for clients, and closes their connections, when the program ends. Blocks until
    /// they have read it, for at most a second, and longer while they read 8 MiB per second.
    pub fn finish(mut self) {
        let _bounded = bounded_calls();
        let clock = Clock::start();
        let mut deadline = LAST_WORDS;
        let taken = |clients: &BTreeMap<usize, Session>| -> u64 {
            clients.values().map(Session::written).sum()
        };
        let mut before = taken(&self.clients);
        loop {
            for client in self.clients.values_mut() {
                client.note_writable();
                client.flush();
            }
            if !self.clients.values().any(Session::has_output) {
                break;
            }
            let mut left = clock.until(deadline);
            if left.is_zero() {
                if taken(&self.clients) - before < LAST_WORDS_PACE {
                    break;
                }
                before = taken(&self.clients);
                deadline = clock.now() + LAST_WORDS;
                left = LAST_WORDS;
            }
            if self.clients.values().any(Session::can_write) {
                continue;
            }
            match self.poll.poll(&mut self.ready, Some(left)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => break,
                _ => {}
            }
        }
    }
}

/// Removes the socket's file. Clients that have not read everything are cut off: see
/// [`finish`](ControlServer::finish).
impl Drop for ControlServer {
    fn drop(&mut self) {
        if self.abandoned {
            return;
        }
        self.file.remove();
        self.closer.discard(std::mem::take(&mut self.clients));
    }
}

impl fmt::Debug for ControlServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlServer")
            .field("clients", &self.clients.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use mio::net::UnixStream;

    use super::*;

    #[test]
    fn the_client_that_is_furthest_behind_is_cut_off() {
        let path = std::env::temp_dir().join(format!("cluster-backlog-{}", std::process::id()));
        let mut server = ControlServer::bind(&path).expect("a socket");
        let mut others = Vec::new();
        for id in 1..=3 {
            let (ours, theirs) = UnixStream::pair().expect("a pair");
            others.push(theirs);
            server.clients.insert(id, Session::new(ours, &server.backlog));
        }
        let queue = |server: &mut ControlServer, clients: &[usize]| {
            let line = server.backlog.line(vec![b'\n'; 1000]);
            for id in clients {
                server.clients.get_mut(id).expect("it is there").share(Arc::clone(&line));
            }
        };
        let cut_off = |server: &ControlServer| -> Vec<usize> {
            let cut_off = server.clients.iter().filter(|(_, client)| client.is_cut_off());
            cut_off.map(|(id, _)| *id).collect()
        };
        (0..5).for_each(|_| queue(&mut server, &[1, 2, 3]));
        (0..5).for_each(|_| queue(&mut server, &[2, 3]));
        (0..5).for_each(|_| queue(&mut server, &[3]));
        server.limit_backlog(15_000);
        assert!(cut_off(&server).is_empty(), "what they share counts once");
        server.limit_backlog(14_999);
        assert_eq!(cut_off(&server), [3]);
        server.limit_backlog(8_000);
        assert_eq!(cut_off(&server), [2, 3]);

        // A client that waits for one line only is not behind, however long that is.
        queue(&mut server, &[1]);
        server.limit_backlog(1);
        assert_eq!(cut_off(&server), [1, 2, 3]);
        let (ours, _theirs) = UnixStream::pair().expect("a pair");
        server.clients.insert(4, Session::new(ours, &server.backlog));
        queue(&mut server, &[4]);
        server.limit_backlog(1);
        assert_eq!(cut_off(&server), [1, 2, 3]);
    }
}
