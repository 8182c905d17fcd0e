//! Starts the child processes that create sockets with workers' rights, and receives their results.

use super::credentials::Credentials;
use crate::socket_access::SocketAccess;
use rustix::fs::{AtFlags, Gid, Uid, chownat};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SocketFlags,
    sockopt,
};
use rustix::process::Pid;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::time::Duration;

use cluster_proto::{AddressType, Field, ListenQuery};
use cluster_sched::Mono;
use mio::Interest;
use mio::unix::SourceFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::fstat;
use rustix::io::Errno;
use rustix::net::{self, SocketType};

use super::base::Primary;
use super::binder::{
    Answer, Job, MOST_RETURNED, Purpose, Recipe, Task, identity, is_socket, run, unix_path,
};
use super::fork;
use super::kernel::{GroupOptions, GroupSockets};
use super::listen::{Addresses, Bind};
use super::process::Process;
use super::rights::Rights;
use super::socket_file::{Identity, SocketFile};
use super::tokens::Source;
use crate::id::WorkerId;

/// How long a child may take. It needs about a millisecond, unless it is stopped.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long dropping a primary waits for its socket files to be removed.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

impl Primary {
    /// Starts children for queued tasks, as many as may run at once.
    pub(super) fn begin_delegated(&mut self) {
        while let Some(task) = self.binder.next() {
            match self.start(&task.purpose, &task.rights) {
                Ok(job) => {
                    let Some((answer, process)) = job else {
                        self.answered(task, Ok(Vec::new()));
                        continue;
                    };
                    let deadline = self.now() + PATIENCE;
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

    /// Reads a child's result, if it is there.
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
        // It may have returned a result before it ended.
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
        // Its work is done, but a process of the same user may have stopped it.
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

    /// Checks the socket that a child returned and gives its file to the configured owner.
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
        let known = SocketFile::found(path, identity(&found));
        let access = self.settings.socket_access;
        if let Err(errno) = give(&file, &access, rights) {
            let purpose = Purpose::Remove { files: vec![known] };
            self.binder.queue.push_back(Task { purpose, rights: rights.clone(), worker });
            return Err(errno);
        }
        Ok(Bind::unix(socket, Some(known)))
    }

    /// Whether this is the file of a socket that no process has open any more, and that belongs to the owner that
    /// the settings name: the worker's user may lack the permission to find out.
    fn given_and_dead(&self, file: &OwnedFd) -> Option<Identity> {
        let owner = self.settings.socket_access.uid?;
        let found = fstat(file).ok()?;
        if !is_socket(&found) || found.st_uid != owner {
            return None;
        }
        // Refers to this very file, whatever is at its path by now.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let address = net::SocketAddrUnix::new(path).ok()?;
        super::socket_file::is_dead(&address).then(|| identity(&found))
    }

    /// Removes the files of the sockets that end with the primary, and waits a while for that.
    pub(super) fn remove_last(&mut self, mut files: Vec<(SocketFile, Rights)>) {
        let deadline = self.now() + LAST_PATIENCE;
        let clock = self.clock;
        let wait = |answer: &OwnedFd| {
            let left = Timespec::try_from(clock.until(deadline)).unwrap_or_default();
            // A late child is killed.
            let _ = poll(&mut [PollFd::new(answer, PollFlags::IN)], Some(&left));
        };
        for Task { purpose, rights, .. } in std::mem::take(&mut self.binder.queue) {
            if let Purpose::Remove { files: more } = purpose {
                files.extend(more.into_iter().map(|file| (file, rights.clone())));
            }
        }
        // Children that are running may be about to create or remove a file.
        for job in std::mem::take(&mut self.binder.jobs).into_values() {
            let Some(answer) = &job.answer else { continue };
            wait(answer);
            if let (Purpose::Server { query, .. }, Ok(fds)) = (&job.task.purpose, receive(answer))
                && let (Some(path), Some(file)) = (unix_path(query), fds.get(1))
                && let Ok(found) = fstat(file)
            {
                let file = SocketFile::found(path, identity(&found));
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

/// Starts a child; returns the socket through which it answers.
#[allow(unsafe_code, reason = "a child of one's own cannot be had otherwise")]
fn begin(recipe: &Recipe, rights: &Rights) -> Result<(OwnedFd, Pid), Errno> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let (ours, theirs) = net::socketpair(family, kind, SocketFlags::CLOEXEC, None)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    let credentials = Credentials::of(rights);
    // SAFETY: it makes system calls only (see there).
    let pid = unsafe { fork::fork(|| run(recipe, &credentials, &theirs)) };
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
        // It ended without an answer.
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

/// Whether the socket is of the requested kind.
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
    if !is_socket(&found) || found.st_uid != user {
        return Err(Errno::PERM);
    }
    let (uid, gid) = (access.uid.map(Uid::from_raw), access.gid.map(Gid::from_raw));
    chownat(file, "", uid, gid, AtFlags::EMPTY_PATH)
}
