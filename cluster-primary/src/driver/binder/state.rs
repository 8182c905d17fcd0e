//! Children that make sockets, written down, and taken up.

use std::os::fd::AsRawFd;

use cluster_sched::Mono;
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use serde::{Deserialize, Serialize};

use super::super::process::Process;
use super::super::rights::Rights;
use super::super::tokens::{Source, Tokens};
use super::{Binder, Job, Purpose, Task};
use crate::id::WorkerId;
use crate::upgrade::{Arriving, Leaving, StateError};

/// What there is of a [`Binder`]. Its children stay this process's.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in super::super) struct BinderState {
    last: u32,
    jobs: Vec<JobState>,
    queue: Vec<(Purpose, Rights)>,
    /// Who has asked for each of these.
    #[serde(default)]
    queue_workers: Vec<Option<WorkerId>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct JobState {
    id: u32,
    purpose: Purpose,
    rights: Rights,
    #[serde(default)]
    worker: Option<WorkerId>,
    answer: Option<usize>,
    pid: Option<u32>,
    deadline: Mono,
}

impl BinderState {
    pub(in super::super) fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.queue.is_empty()
    }
}

impl Binder {
    pub(in super::super) fn state(&self, leaving: &mut Leaving) -> Result<BinderState, StateError> {
        let jobs = self.jobs.iter().map(|(&id, job)| {
            Ok(JobState {
                id,
                purpose: job.task.purpose.clone(),
                rights: job.task.rights.clone(),
                worker: job.task.worker,
                answer: job.answer.as_ref().map(|fd| leaving.place(fd)).transpose()?,
                pid: job.process.as_ref().map(Process::pid),
                deadline: job.deadline,
            })
        });
        Ok(BinderState {
            last: self.last,
            jobs: jobs.collect::<Result<_, StateError>>()?,
            queue: self.queue.iter().map(|t| (t.purpose.clone(), t.rights.clone())).collect(),
            queue_workers: self.queue.iter().map(|task| task.worker).collect(),
        })
    }

    /// Nothing is read yet.
    pub(in super::super) fn from_state(
        state: BinderState,
        arriving: &mut Arriving,
        registry: &Registry,
        tokens: &mut Tokens,
    ) -> Result<Self, StateError> {
        // From a version that did not record which worker had asked.
        let workers = state.queue_workers.into_iter().chain(std::iter::repeat(None));
        let queue = state.queue.into_iter().zip(workers);
        let queue = queue.map(|((purpose, rights), worker)| Task { purpose, rights, worker });
        let mut binder = Self { last: state.last, queue: queue.collect(), ..Self::default() };
        for job in state.jobs {
            let JobState { id, purpose, rights, worker, answer, pid, deadline } = job;
            if id > binder.last {
                return Err(StateError::contradiction("a child comes after the last one"));
            }
            let answer = answer.map(|place| arriving.take(place)).transpose()?;
            if let Some(fd) = &answer {
                let token = tokens.token(Source::Binder(id));
                registry
                    .register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)
                    .map_err(StateError::system("watch on a child that binds"))?;
            }
            let process = pid.map(|pid| {
                Process::watch_again(pid, registry, tokens.token(Source::BinderEnd(id)))
                    .map_err(StateError::system("watch on a child that binds"))
            });
            let process = process.transpose()?;
            let task = Task { purpose, rights, worker };
            binder.jobs.insert(id, Job { task, answer, process, deadline });
        }
        Ok(binder)
    }
}
