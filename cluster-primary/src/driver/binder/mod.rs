//! Sockets that are made with the rights of the workers that ask for them.
//!
//! A path that a worker names is never followed, and a port never bound, with the rights of a primary
//! that has more of them: a child of the primary takes on the worker's user and groups, makes the socket
//! and returns it ([`child`]). It is of the worker's user then, which may stop it at any moment: nothing
//! here waits for it, and it is killed when it takes too long.

mod child;
mod state;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use cluster_proto::{AddressType, Field, ListenQuery};
use cluster_sched::Mono;
use cluster_sched::kernel::Choice;
use mio::Interest;
use mio::unix::SourceFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, Gid, Uid, chownat, fstat};
use rustix::io::Errno;
use rustix::net::{
    self, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SocketFlags, SocketType, sockopt,
};
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use super::credentials::Credentials;
use super::kernel::{GroupOptions, GroupSockets};
use super::listen::{Addresses, Bind};
use super::process::Process;
use super::rights::Rights;
use super::socket_file::{Identity, SocketFile};
use super::tokens::Source;
use super::{Primary, fork};
use crate::id::{ServerId, WorkerId};
use crate::socket_access::SocketAccess;
use child::{MOST_RETURNED, Recipe};

pub(super) use state::BinderState;

/// How long a child may take. What it does takes a millisecond, unless it is stopped.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the end of a primary waits until the files of its sockets are removed.
const LAST_PATIENCE: Duration = Duration::from_secs(2);
/// So many children there are at a time.
const MOST: usize = 16;
/// So many of them may be one worker's: its user can stop them, and others must not have to wait for that.
const MOST_OF_ONE: usize = MOST / 2;

/// What a child is for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Purpose {
    /// A server's socket.
    Server {
        server: ServerId,
        query: Box<ListenQuery>,
        shared: bool,
        /// The file of a dead socket that is to be replaced.
        replace: Option<Identity>,
    },
    /// The sockets that a server with slots begins with.
    Group {
        server: ServerId,
        query: Box<ListenQuery>,
        #[serde(with = "crate::upgrade::text::choice")]
        choice: Choice,
    },
    /// The socket of a slot.
    Slot { server: ServerId, slot: u32 },
    /// Files of sockets that are closed.
    Remove { files: Vec<SocketFile> },
}

impl Purpose {
    /// The paths of files that it makes or removes.
    fn paths(&self) -> Vec<&Path> {
        match self {
            Self::Server { query, .. } => unix_path(query).into_iter().collect(),
            Self::Remove { files } => files.iter().map(SocketFile::path).collect(),
            Self::Group { .. } | Self::Slot { .. } => Vec::new(),
        }
    }
}

impl Purpose {
    /// The server with slots whose sockets it makes: these are made one after the other, as the system
    /// numbers them in the order in which they begin to listen.
    fn group(&self) -> Option<ServerId> {
        match self {
            Self::Group { server, .. } | Self::Slot { server, .. } => Some(*server),
            Self::Server { .. } | Self::Remove { .. } => None,
        }
    }
}

/// The file that is asked for, if one is.
fn unix_path(query: &ListenQuery) -> Option<&Path> {
    match (&query.address, query.address_type) {
        (Field::Is(path), Field::Is(AddressType::Pipe)) if query.abstract_name().is_none() => {
            Some(Path::new(path))
        }
        _ => None,
    }
}

/// What a child is to do.
#[derive(Clone, Debug)]
struct Task {
    purpose: Purpose,
    rights: Rights,
    /// The worker that has asked for it, if one has.
    worker: Option<WorkerId>,
}

/// A child that is under way.
struct Job {
    task: Task,
    /// By which it answers, until it has.
    answer: Option<OwnedFd>,
    /// Until it has been waited for.
    process: Option<Process>,
    deadline: Mono,
}

/// All children, and what waits for one.
#[derive(Default)]
pub(super) struct Binder {
    last: u32,
    jobs: BTreeMap<u32, Job>,
    queue: VecDeque<Task>,
    /// When each worker had its last turn, since something waits.
    turns: BTreeMap<Option<WorkerId>, u64>,
    turn: u64,
}

impl Binder {
    /// When the next child is to be killed.
    pub(super) fn poll_timeout(&self) -> Option<Mono> {
        let late = self.jobs.values().filter(|job| job.answer.is_some());
        late.map(|job| job.deadline).min()
    }

    /// Whether nothing is to be made or removed any more.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.jobs.values().all(|job| job.answer.is_none())
    }

    /// The next thing that may be begun. Workers take turns, so that one that asks for much delays others by
    /// one child each. Of one path, and of one server with slots, only one child is under way at a time, in
    /// the order in which they were asked for.
    fn next(&mut self) -> Option<Task> {
        if self.queue.is_empty() {
            self.turns.clear();
        }
        if self.queue.is_empty() || self.jobs.len() >= MOST {
            return None;
        }
        let busy = || self.jobs.values().filter(|job| job.answer.is_some());
        let mut paths: BTreeSet<&Path> = busy().flat_map(|job| job.task.purpose.paths()).collect();
        let mut groups: BTreeSet<ServerId> =
            busy().filter_map(|job| job.task.purpose.group()).collect();
        let mut children: BTreeMap<Option<WorkerId>, usize> = BTreeMap::new();
        self.jobs.values().for_each(|job| *children.entry(job.task.worker).or_default() += 1);
        let mut best: Option<(u64, usize)> = None;
        for (at, Task { purpose, worker, .. }) in self.queue.iter().enumerate() {
            let (own, group) = (purpose.paths(), purpose.group());
            let waits = own.iter().any(|path| paths.contains(path))
                || group.is_some_and(|group| groups.contains(&group))
                || children.get(worker).is_some_and(|count| *count >= MOST_OF_ONE);
            paths.extend(own);
            groups.extend(group);
            let turn = self.turns.get(worker).copied().unwrap_or(0);
            if !waits && best.is_none_or(|(earliest, _)| turn < earliest) {
                best = Some((turn, at));
            }
        }
        let (_, at) = best?;
        let task = self.queue.remove(at)?;
        self.turn += 1;
        self.turns.insert(task.worker, self.turn);
        Some(task)
    }
}

/// What a child has returned.
type Answer = Result<Vec<OwnedFd>, (Errno, Option<OwnedFd>)>;

impl Primary {
    /// With whose rights that worker's listen is to be served, if not with the primary's own.
    pub(super) fn listens_as(&self, worker: WorkerId, query: &ListenQuery) -> Option<Rights> {
        let settings = &self.settings;
        if !settings.listen_as_worker || query.primary_fd().is_some() {
            return None;
        }
        let known = self.children.get(&worker).and_then(|child| child.rights.clone());
        let rights = known.unwrap_or_else(|| Rights::of(settings));
        let is_path = query.address_type == Field::Is(AddressType::Pipe);
        let port = query.port.value().and_then(|port| u16::try_from(port).ok());
        let granted = port.is_some_and(|port| settings.privileged_ports.contains(&port));
        (rights.differ() && (is_path || !granted)).then_some(rights)
    }

    /// Has a child do that, for that worker, once the outputs of the machine are done.
    pub(super) fn delegate(&mut self, purpose: Purpose, rights: Rights, worker: Option<WorkerId>) {
        self.binder.queue.push_back(Task { purpose, rights, worker });
    }

    /// Starts what waits for a child, as far as there may be more.
    pub(super) fn begin_delegated(&mut self) {
        while let Some(task) = self.binder.next() {
            match self.start(&task.purpose, &task.rights) {
                Ok(job) => {
                    let Some((answer, process)) = job else {
                        self.answered(task, Ok(Vec::new()));
                        continue;
                    };
                    let deadline = self.clock.now() + PATIENCE;
                    let (answer, process) = (Some(answer), Some(process));
                    let job = Job { task, answer, process, deadline };
                    self.binder.jobs.insert(self.binder.last, job);
                }
                Err(errno) => self.answered(task, Err((errno, None))),
            }
        }
    }

    /// Starts a child; `None` if none is needed.
    fn start(
        &mut self,
        purpose: &Purpose,
        rights: &Rights,
    ) -> Result<Option<(OwnedFd, Process)>, Errno> {
        let recipe = match purpose {
            Purpose::Server { query, shared, replace, .. } => {
                let access = self.settings.socket_access;
                Recipe::of(query, *shared, &access, *replace)?
            }
            Purpose::Group { query, .. } => {
                Recipe::Group { addresses: Addresses::of(query)?, options: GroupOptions::of(query) }
            }
            Purpose::Slot { server, slot } => {
                let group = self.groups.get(server).ok_or(Errno::BADF)?;
                match group.needs_socket(*slot)? {
                    Some((address, options)) => Recipe::Slot { address, options },
                    None => return Ok(None),
                }
            }
            Purpose::Remove { files } => Recipe::removal(files),
        };
        let (answer, pid) = begin(&recipe, rights)?;
        self.binder.last += 1;
        let (id, registry) = (self.binder.last, self.poll.registry());
        let token = self.tokens.token(Source::Binder(id));
        let watched = registry
            .register(&mut SourceFd(&answer.as_raw_fd()), token, Interest::READABLE)
            .and_then(|()| {
                let number = pid.as_raw_nonzero().get().cast_unsigned();
                Process::watch(number, registry, self.tokens.token(Source::BinderEnd(id)))
            });
        match watched {
            Ok(process) => Ok(Some((answer, process))),
            Err(error) => {
                fork::abandon(pid);
                self.tokens.forget(Source::Binder(id));
                self.tokens.forget(Source::BinderEnd(id));
                Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))
            }
        }
    }

    /// Reads what a child has returned, if it has.
    pub(super) fn read_binder(&mut self, id: u32) {
        let Some(job) = self.binder.jobs.get_mut(&id) else { return };
        let Some(answer) = &job.answer else { return };
        match receive(answer) {
            Err((Errno::WOULDBLOCK | Errno::INTR, _)) => {}
            answer => self.end_job(id, answer),
        }
    }

    /// A child may have ended.
    pub(super) fn reap_binder(&mut self, id: u32) {
        // What it returned before.
        self.read_binder(id);
        let Some(job) = self.binder.jobs.get_mut(&id) else { return };
        let Some(process) = &mut job.process else { return };
        if let Ok(None) = process.try_wait() {
            return;
        }
        process.deregister(self.poll.registry());
        job.process = None;
        self.tokens.forget(Source::BinderEnd(id));
        if job.answer.is_some() {
            // It was killed.
            self.end_job(id, Err((Errno::CANCELED, None)));
        }
        self.binder.jobs.remove(&id);
    }

    /// Kills children that take too long.
    pub(super) fn end_late_jobs(&mut self, now: Mono) {
        let is_late = |job: &Job| job.answer.is_some() && job.deadline <= now;
        while let Some((&id, _)) = self.binder.jobs.iter().find(|(_, job)| is_late(job)) {
            self.end_job(id, Err((Errno::TIMEDOUT, None)));
        }
    }

    fn end_job(&mut self, id: u32, answer: Answer) {
        let Some(job) = self.binder.jobs.get_mut(&id) else { return };
        // It has nothing left to do; a process of its user may have stopped it.
        job.process.iter().for_each(Process::kill);
        if let Some(socket) = job.answer.take() {
            let _ = self.poll.registry().deregister(&mut SourceFd(&socket.as_raw_fd()));
            self.tokens.forget(Source::Binder(id));
        }
        let task = job.task.clone();
        self.answered(task, answer);
    }

    fn answered(&mut self, task: Task, answer: Answer) {
        let Task { purpose, rights, worker } = task;
        match purpose {
            Purpose::Server { server, query, shared, replace } => {
                let bound = match answer {
                    Ok(fds) => self.take_socket(&query, fds, &rights, worker),
                    Err((Errno::ADDRINUSE, Some(file))) if replace.is_none() => {
                        if let Some(dead) = self.given_and_dead(&file) {
                            let replace = Some(dead);
                            let purpose = Purpose::Server { server, query, shared, replace };
                            self.binder.queue.push_front(Task { purpose, rights, worker });
                            return;
                        }
                        Err(Errno::ADDRINUSE)
                    }
                    Err((errno, _)) => Err(errno),
                };
                let bound = bound.map_err(|errno| -errno.raw_os_error());
                self.opened(server, shared, bound, Some(&rights));
            }
            Purpose::Group { server, query, choice } => {
                let sockets = answer.map_err(|(errno, _)| errno).and_then(|fds| {
                    let [room, first] = <[OwnedFd; 2]>::try_from(fds).map_err(|_| Errno::PROTO)?;
                    verify(&room, false, SocketType::STREAM)?;
                    verify(&first, false, SocketType::STREAM)?;
                    Ok(GroupSockets { room, first })
                });
                self.opened_group(server, &query, choice, sockets, &rights, worker);
            }
            Purpose::Slot { server, slot } => {
                let socket = answer.map_err(|(errno, _)| errno).and_then(|fds| {
                    let socket = fds.into_iter().next();
                    if let Some(socket) = &socket {
                        verify(socket, false, SocketType::STREAM)?;
                    }
                    Ok(socket)
                });
                self.opened_slot(server, slot, socket);
            }
            Purpose::Remove { .. } => {}
        }
    }

    /// The socket that a child has returned, given to its owner.
    fn take_socket(
        &mut self,
        query: &ListenQuery,
        fds: Vec<OwnedFd>,
        rights: &Rights,
        worker: Option<WorkerId>,
    ) -> Result<Bind, Errno> {
        let mut fds = fds.into_iter();
        let socket = fds.next().ok_or(Errno::PROTO)?;
        let is_udp = matches!(query.address_type, Field::Is(kind) if kind.is_udp());
        let is_unix = query.address_type == Field::Is(AddressType::Pipe);
        verify(&socket, is_unix, if is_udp { SocketType::DGRAM } else { SocketType::STREAM })?;
        if !is_unix {
            return Ok(if is_udp { Bind::udp(socket) } else { Bind::tcp(socket) });
        }
        let Some(path) = unix_path(query) else { return Ok(Bind::unix(socket, None)) };
        let file = fds.next().ok_or(Errno::PROTO)?;
        let found = fstat(&file)?;
        let known = SocketFile::found(path, child::identity(&found));
        let access = self.settings.socket_access;
        if let Err(errno) = give(&file, &access, rights) {
            let purpose = Purpose::Remove { files: vec![known] };
            self.binder.queue.push_back(Task { purpose, rights: rights.clone(), worker });
            return Err(errno);
        }
        Ok(Bind::unix(socket, Some(known)))
    }

    /// Whether that is the file of a socket that is open nowhere any more, and was given to the owner that
    /// the settings name: the worker's user may not be allowed to ask it.
    fn given_and_dead(&self, file: &OwnedFd) -> Option<Identity> {
        let owner = self.settings.socket_access.uid?;
        let found = fstat(file).ok()?;
        if !child::is_socket(&found) || found.st_uid != owner {
            return None;
        }
        // This very file, whatever stands at its path by now.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let address = net::SocketAddrUnix::new(path).ok()?;
        super::socket_file::is_dead(&address).then(|| child::identity(&found))
    }

    /// Removes the files of sockets that the primary closes at its end, and waits a while for that.
    pub(super) fn remove_last(&mut self, mut files: Vec<(SocketFile, Rights)>) {
        let deadline = self.clock.now() + LAST_PATIENCE;
        let clock = self.clock;
        let wait = |answer: &OwnedFd| {
            let left = Timespec::try_from(clock.until(deadline)).unwrap_or_default();
            // Who is late is killed.
            let _ = poll(&mut [PollFd::new(answer, PollFlags::IN)], Some(&left));
        };
        for Task { purpose, rights, .. } in std::mem::take(&mut self.binder.queue) {
            if let Purpose::Remove { files: more } = purpose {
                files.extend(more.into_iter().map(|file| (file, rights.clone())));
            }
        }
        // What is on its way may be about to make a file, or to remove one.
        for job in std::mem::take(&mut self.binder.jobs).into_values() {
            let Some(answer) = &job.answer else { continue };
            wait(answer);
            if let (Purpose::Server { query, .. }, Ok(fds)) = (&job.task.purpose, receive(answer))
                && let (Some(path), Some(file)) = (unix_path(query), fds.get(1))
                && let Ok(found) = fstat(file)
            {
                let file = SocketFile::found(path, child::identity(&found));
                files.push((file, job.task.rights.clone()));
            }
            job.process.iter().for_each(Process::kill);
        }
        let mut by_rights: Vec<(Vec<SocketFile>, Rights)> = Vec::new();
        for (file, rights) in files {
            match by_rights.iter_mut().find(|(_, known)| *known == rights) {
                Some((known, _)) => known.push(file),
                None => by_rights.push((vec![file], rights)),
            }
        }
        for (files, rights) in by_rights {
            if let Ok((answer, pid)) = begin(&Recipe::removal(&files), &rights) {
                wait(&answer);
                fork::abandon(pid);
            }
        }
    }
}

/// Starts a child; the end by which it answers.
#[allow(unsafe_code, reason = "a child of one's own cannot be had otherwise")]
fn begin(recipe: &Recipe, rights: &Rights) -> Result<(OwnedFd, Pid), Errno> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let (ours, theirs) = net::socketpair(family, kind, SocketFlags::CLOEXEC, None)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    let credentials = Credentials::of(rights);
    // SAFETY: it makes system calls only (see there).
    let pid = unsafe { fork::fork(|| child::run(recipe, &credentials, &theirs)) };
    let pid = pid.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))?;
    Ok((ours, pid))
}

fn receive(answer: &OwnedFd) -> Answer {
    let failed = |errno| (errno, None);
    let mut errno = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_RETURNED))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = net::recvmsg(answer, &mut [IoSliceMut::new(&mut errno)], &mut control, flags)
        .map_err(failed)?;
    let fds: Vec<_> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    if received.bytes == 0 {
        // It has ended without a word.
        return Err(failed(Errno::CANCELED));
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(failed(Errno::MFILE));
    }
    match i32::from_ne_bytes(errno) {
        0 => Ok(fds),
        errno => Err((Errno::from_raw_os_error(errno), fds.into_iter().next())),
    }
}

/// Whether it is such a socket as was asked for.
fn verify(socket: &OwnedFd, is_unix: bool, kind: SocketType) -> Result<(), Errno> {
    let family = sockopt::socket_domain(socket)?;
    let fits = (family == AddressFamily::UNIX) == is_unix && sockopt::socket_type(socket)? == kind;
    if fits { Ok(()) } else { Err(Errno::PROTO) }
}

/// Gives the file of a worker's socket to the owner that the settings name.
fn give(file: &OwnedFd, access: &SocketAccess, rights: &Rights) -> Result<(), Errno> {
    if access.uid.is_none() && access.gid.is_none() {
        return Ok(());
    }
    let found = fstat(file)?;
    let user = rights.uid.unwrap_or_else(|| rustix::process::geteuid().as_raw());
    if !child::is_socket(&found) || found.st_uid != user {
        return Err(Errno::PERM);
    }
    let (uid, gid) = (access.uid.map(Uid::from_raw), access.gid.map(Gid::from_raw));
    chownat(file, "", uid, gid, AtFlags::EMPTY_PATH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;

    fn listen(server: u32, worker: u32, path: Option<&str>) -> Task {
        let query = ListenQuery {
            address: path.map_or(Field::Absent, |path| Field::Is(path.to_owned())),
            address_type: Field::Is(match path {
                Some(_) => AddressType::Pipe,
                None => AddressType::Tcp4,
            }),
            ..ListenQuery::default()
        };
        let purpose = Purpose::Server {
            server: ServerId(server),
            query: Box::new(query),
            shared: false,
            replace: None,
        };
        Task { purpose, rights: Rights::of(&Settings::default()), worker: Some(WorkerId(worker)) }
    }

    fn begin_all(binder: &mut Binder) -> Vec<u32> {
        let mut begun = Vec::new();
        while let Some(task) = binder.next() {
            begun.extend(task.worker.map(|worker| worker.0));
            let (answer, _) = rustix::pipe::pipe().expect("a pipe");
            binder.last += 1;
            let job = Job { task, answer: Some(answer), process: None, deadline: Mono::ZERO };
            binder.jobs.insert(binder.last, job);
        }
        begun
    }

    #[test]
    fn workers_take_turns() {
        let mut binder = Binder::default();
        (0..500).for_each(|server| binder.queue.push_back(listen(server, 1, None)));
        (0..3).for_each(|server| binder.queue.push_back(listen(500 + server, 2, None)));
        binder.queue.push_back(listen(503, 3, None));
        let mut begun = Vec::new();
        for _ in 0..8 {
            begun.extend(binder.next().and_then(|task| task.worker).map(|worker| worker.0));
        }
        assert_eq!(begun, [1, 2, 3, 1, 2, 1, 2, 1]);
    }

    #[test]
    fn children_of_one_worker_leave_room_for_those_of_others() {
        let mut binder = Binder::default();
        (0..500).for_each(|server| binder.queue.push_back(listen(server, 1, None)));
        // Its user has stopped them: they do not answer.
        assert_eq!(begin_all(&mut binder), vec![1; MOST_OF_ONE]);
        binder.queue.push_back(listen(500, 2, None));
        assert_eq!(begin_all(&mut binder), [2]);
    }

    #[test]
    fn requests_for_one_path_are_served_in_order_across_workers() {
        let mut binder = Binder::default();
        binder.queue.push_back(listen(0, 1, Some("/tmp/a")));
        binder.queue.push_back(listen(1, 1, Some("/tmp/b")));
        binder.queue.push_back(listen(2, 2, Some("/tmp/b")));
        binder.queue.push_back(listen(3, 2, Some("/tmp/c")));
        // Worker 2 has its turn after the first, but its first path is asked for by another before.
        let begun: Vec<_> = std::iter::from_fn(|| {
            let task = binder.next()?;
            match task.purpose {
                Purpose::Server { server, .. } => Some(server.0),
                _ => None,
            }
        })
        .collect();
        assert_eq!(begun, [0, 3, 1, 2]);
    }
}
