//! Sockets that are created with the rights of the workers that ask for them.
//!
//! A path that a worker names is never followed, and a port never bound, with the rights of a primary
//! that has more of them: a child of the primary takes on the worker's user and groups, makes the socket
//! and returns it ([`child`]). It is of the worker's user then, which may stop it at any moment: nothing
//! here waits for it, and it is killed when it takes too long.

mod child;
mod state;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::path::Path;

use cluster_proto::{AddressType, Field, ListenQuery};
use cluster_sched::Mono;
use cluster_sched::kernel::Choice;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::process::Process;
use super::rights::Rights;
use super::socket_file::{Identity, SocketFile};
use crate::id::{ServerId, WorkerId};

pub(super) use child::{MOST_RETURNED, Recipe, identity, is_socket, run};
pub(super) use state::BinderState;

/// How many children there may be at a time.
const MOST: usize = 16;
/// How many of them may work for one worker: its user can stop them, and others must not wait for that.
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
    /// The first sockets of a server with slots.
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
    /// The paths of files that it creates or removes.
    fn paths(&self) -> Vec<&Path> {
        match self {
            Self::Server { query, .. } => unix_path(query).into_iter().collect(),
            Self::Remove { files } => files.iter().map(SocketFile::path).collect(),
            Self::Group { .. } | Self::Slot { .. } => Vec::new(),
        }
    }
}

impl Purpose {
    /// The server with slots whose sockets it creates: they are created one after the other, because the system
    /// numbers them in the order in which they begin to listen.
    fn group(&self) -> Option<ServerId> {
        match self {
            Self::Group { server, .. } | Self::Slot { server, .. } => Some(*server),
            Self::Server { .. } | Self::Remove { .. } => None,
        }
    }
}

/// The socket file that is asked for, if one is.
pub(super) fn unix_path(query: &ListenQuery) -> Option<&Path> {
    match (&query.address, query.address_type) {
        (Field::Is(path), Field::Is(AddressType::Pipe)) if query.abstract_name().is_none() => {
            Some(Path::new(path))
        }
        _ => None,
    }
}

/// A child's task.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) purpose: Purpose,
    pub(super) rights: Rights,
    /// The worker that has asked for it, if one has.
    pub(super) worker: Option<WorkerId>,
}

/// A child that is running.
pub(super) struct Job {
    pub(super) task: Task,
    /// The socket through which it answers, until it has.
    pub(super) answer: Option<OwnedFd>,
    /// Until it has been waited for.
    pub(super) process: Option<Process>,
    pub(super) deadline: Mono,
}

/// All children, and the tasks that wait for one.
#[derive(Default)]
pub(super) struct Binder {
    pub(super) last: u32,
    pub(super) jobs: BTreeMap<u32, Job>,
    pub(super) queue: VecDeque<Task>,
    /// When each worker last had a turn, while something waits.
    turns: BTreeMap<Option<WorkerId>, u64>,
    turn: u64,
}

impl Binder {
    /// When the next child is due to be killed.
    pub(super) fn poll_timeout(&self) -> Option<Mono> {
        let late = self.jobs.values().filter(|job| job.answer.is_some());
        late.map(|job| job.deadline).min()
    }

    /// Whether no task is left.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.jobs.values().all(|job| job.answer.is_none())
    }

    /// The next task that may start. Workers take turns, so that one that asks for much delays others by
    /// one child each. For one path, and for one server with slots, only one child runs at a time, in
    /// the order of the requests.
    pub(super) fn next(&mut self) -> Option<Task> {
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
pub(super) type Answer = Result<Vec<OwnedFd>, (Errno, Option<OwnedFd>)>;

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
