//! The processes that workers start: which of them end with a worker, and how. Without I/O.
//!
//! A worker runs in a process group of its own. When it has ended, the group gets `SIGTERM` and, after
//! [`EndDescendants::kill_after`], `SIGKILL`. Processes in groups or sessions of their own are ended too
//! if they are *proven* to descend from the worker: while it runs, its descendants are recorded once a
//! second, and whenever it is told to leave, by pid and start time. A process that left the group and
//! whose parent ended between two records is not proven, and never signalled.
//!
//! ```text
//!   worker runs          worker has ended             kill_after            gone, or given up
//!     │ Trace, Traced ×n    │ List ─► Listed ─► TERM    │ List ─► Listed ─► KILL    │
//!     └─────────────────────┴───────────────────────────┴────────────────────────────┘
//! ```
//!
//! [`ProcessTrees`] decides; its owner reads `/proc` and sends the signals. Each signal is for a process
//! with a known start time, so that it cannot reach a later process of the same pid.

mod leftovers;
mod stat;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use cluster_sched::Mono;
use serde::{Deserialize, Serialize};

pub use leftovers::LeftoverProgress;
use leftovers::{Leftovers, Next};
pub use stat::{ProcessId, ProcessStat, RunState};

use crate::id::WorkerId;
use crate::signal::Signal;

/// How often the descendants of running workers are recorded.
const TRACE_EVERY: Duration = Duration::from_secs(1);

/// Recording may take this part of the time at most: workers with thousands of processes are looked at
/// less often.
const TRACE_SHARE: u32 = 100;

/// How descendants of a worker end once it has ended:
/// [`Settings::end_descendants`](crate::Settings::end_descendants).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EndDescendants {
    /// How long they have after `SIGTERM`, until `SIGKILL`. Default: 2 s.
    pub kill_after: Duration,
    /// Whether those in sessions of their own are spared: what the program has started by `setsid(1)`,
    /// or by Node's `detached: true`. Default: no.
    pub keep_detached: bool,
}

impl Default for EndDescendants {
    fn default() -> Self {
        Self { kill_after: Duration::from_secs(2), keep_detached: false }
    }
}

/// What [`ProcessTrees`] learns.
#[derive(Clone, Debug)]
pub enum Input {
    /// A worker was started, as the leader of a process group.
    Started {
        /// The worker.
        worker: WorkerId,
        /// Its process.
        leader: ProcessId,
        /// The session that it was started in.
        session: u32,
        /// How its descendants end.
        rules: EndDescendants,
    },
    /// A worker is about to be signalled, or told to leave.
    Leaving {
        /// The worker.
        worker: WorkerId,
    },
    /// The answer to [`Output::Trace`].
    Traced {
        /// The worker.
        worker: WorkerId,
        /// What was found.
        descendants: BTreeSet<ProcessId>,
    },
    /// How long it took to look up the descendants of all workers.
    TraceTook {
        /// The time.
        took: Duration,
    },
    /// A worker's process has ended.
    Ended {
        /// The worker.
        worker: WorkerId,
    },
    /// The answer to [`Output::List`].
    Listed {
        /// The worker.
        worker: WorkerId,
        /// Whether the system says that the worker's process group had members before and after the
        /// list was made, so that its number belonged to no other group.
        group_exists: bool,
        /// All processes; `None` if none of them can be the worker's, as its group is empty and it
        /// [is not known](ProcessTrees::knows_leftovers) to have other descendants.
        processes: Option<Vec<ProcessStat>>,
    },
    /// [`Output::List`] cannot be answered now, because there are no descriptors: it is asked again.
    NotListed {
        /// The worker.
        worker: WorkerId,
    },
    /// A process asks for what ends workers: it, its ancestors, and what they have started are not ended
    /// with the workers that they descend from, until another such process asks or all workers are told to
    /// leave.
    Spare {
        /// The process and its ancestors.
        processes: Vec<ProcessId>,
    },
    /// All workers were told to leave: nothing is spared any more.
    EndAll,
    /// As [`EndAll`](Self::EndAll), and what is left is killed at once.
    KillAll,
}

/// What [`ProcessTrees`] wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The descendants of these processes, and those of them that still run, are wanted, as
    /// [`Input::Traced`].
    Trace {
        /// Of which worker.
        worker: WorkerId,
        /// Where to begin. The first is the worker.
        from: Vec<ProcessId>,
    },
    /// All processes are wanted, as [`Input::Listed`].
    List {
        /// For which worker's sake.
        worker: WorkerId,
    },
    /// A signal is to be sent, if the process still runs.
    Signal {
        /// To which process.
        process: ProcessId,
        /// The signal.
        signal: Signal,
    },
    /// Something is to be reported.
    Report {
        /// Of which worker that has ended.
        worker: WorkerId,
        /// What.
        progress: LeftoverProgress,
    },
    /// Nothing more is wanted for the sake of this worker.
    Over {
        /// The worker.
        worker: WorkerId,
    },
}

/// The processes that workers started.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ProcessTrees {
    running: BTreeMap<WorkerId, Tree>,
    ended: BTreeMap<WorkerId, Leftovers>,
    spared: BTreeSet<ProcessId>,
    /// Nothing gets any more time.
    killing: bool,
    trace_at: Option<Mono>,
    #[serde(skip)]
    outputs: VecDeque<Output>,
}

/// A worker that runs, and what it has started.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Tree {
    leader: ProcessId,
    session: u32,
    rules: EndDescendants,
    descendants: BTreeSet<ProcessId>,
}

impl Tree {
    fn trace(&self, worker: WorkerId) -> Output {
        let from = std::iter::once(self.leader).chain(self.descendants.iter().copied());
        Output::Trace { worker, from: from.collect() }
    }
}

impl ProcessTrees {
    /// Takes in what happened.
    pub fn handle_input(&mut self, now: Mono, input: Input) {
        match input {
            Input::Started { worker, leader, session, rules } => {
                let descendants = BTreeSet::new();
                self.running.insert(worker, Tree { leader, session, rules, descendants });
                self.trace_at.get_or_insert(now + TRACE_EVERY);
            }
            Input::Leaving { worker } => {
                let trace = self.running.get(&worker).map(|tree| tree.trace(worker));
                self.outputs.extend(trace);
            }
            Input::Traced { worker, descendants } => {
                if let Some(tree) = self.running.get_mut(&worker) {
                    tree.descendants = descendants;
                    tree.descendants.remove(&tree.leader);
                }
            }
            Input::Ended { worker } => {
                let Some(tree) = self.running.remove(&worker) else { return };
                self.ended.insert(worker, Leftovers::new(now, tree, self.killing));
                self.outputs.push_back(Output::List { worker });
            }
            Input::Listed { worker, group_exists, processes } => {
                self.listed(now, worker, group_exists, processes);
            }
            Input::TraceTook { took } => {
                let soonest = now + took.saturating_mul(TRACE_SHARE);
                self.trace_at = self.trace_at.map(|at| at.max(soonest));
            }
            Input::NotListed { worker } => {
                if let Some(left) = self.ended.get_mut(&worker) {
                    left.not_listed(now);
                }
            }
            Input::Spare { processes } => self.spare(now, processes),
            Input::EndAll => self.end_all(now, false),
            Input::KillAll => self.end_all(now, true),
        }
    }

    fn spare(&mut self, now: Mono, processes: Vec<ProcessId>) {
        let leads = |process: &ProcessId| {
            self.running.values().any(|t| t.leader == *process || t.descendants.contains(process))
        };
        let left = |process: &ProcessId| self.ended.values().any(|left| left.knows(process));
        // Others have nothing to fear.
        if !processes.iter().any(|process| leads(process) || left(process)) {
            return;
        }
        // A process that asks again and again, from one worker after the other, must not accumulate.
        self.spared = processes.into_iter().collect();
        for left in self.ended.values_mut() {
            left.hurry(now, false);
        }
    }

    fn end_all(&mut self, now: Mono, kill: bool) {
        self.killing |= kill;
        self.spared.clear();
        for left in self.ended.values_mut() {
            left.hurry(now, kill);
        }
    }

    fn listed(
        &mut self,
        now: Mono,
        worker: WorkerId,
        group_exists: bool,
        processes: Option<Vec<ProcessStat>>,
    ) {
        // Spared processes that have ended need not be remembered.
        if let Some(processes) = &processes {
            let alive = processes.iter().filter(|p| p.is_alive()).map(|p| p.id);
            let alive: BTreeSet<_> = alive.collect();
            self.spared.retain(|process| alive.contains(process));
        }
        let Some(left) = self.ended.get_mut(&worker) else { return };
        let over =
            match left.listed(now, group_exists, &processes.unwrap_or_default(), &self.spared) {
                Next::Over { progress } => {
                    let reports = progress.into_iter();
                    self.outputs
                        .extend(reports.map(|progress| Output::Report { worker, progress }));
                    true
                }
                Next::Signal { signals, progress } => {
                    let signals = signals.into_iter();
                    self.outputs.extend(
                        signals.map(|(process, signal)| Output::Signal { process, signal }),
                    );
                    let reports = progress.into_iter();
                    self.outputs
                        .extend(reports.map(|progress| Output::Report { worker, progress }));
                    left.given_up()
                }
            };
        if over {
            self.ended.remove(&worker);
            self.outputs.push_back(Output::Over { worker });
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Mono) {
        if self.trace_at.is_some_and(|at| at <= now) {
            let traces = self.running.iter().map(|(worker, tree)| tree.trace(*worker));
            self.outputs.extend(traces);
            self.trace_at = (!self.running.is_empty()).then(|| now + TRACE_EVERY);
        }
        for (worker, left) in &mut self.ended {
            if left.is_due(now) {
                self.outputs.push_back(Output::List { worker: *worker });
            }
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When something is due next.
    pub fn poll_timeout(&self) -> Option<Mono> {
        let looks = self.ended.values().filter_map(Leftovers::look_at);
        looks.chain(self.trace_at).min()
    }

    /// Whether descendants are to be recorded by now.
    pub fn is_trace_due(&self, now: Mono) -> bool {
        self.trace_at.is_some_and(|at| at <= now)
    }

    /// Whether there are processes that are not to be ended.
    pub fn spares_any(&self) -> bool {
        !self.spared.is_empty()
    }

    /// Whether nothing is left of workers that have ended, but for what is spared.
    pub fn is_idle(&self) -> bool {
        self.ended.values().all(Leftovers::rests)
    }

    /// Whether nothing is followed, spared, or left.
    pub(crate) fn is_empty(&self) -> bool {
        self.running.is_empty() && self.ended.is_empty() && self.spared.is_empty() && !self.killing
    }

    /// How many processes are known to descend from a worker that runs.
    pub fn descendants(&self, worker: WorkerId) -> Option<usize> {
        self.running.get(&worker).map(|tree| tree.descendants.len())
    }

    /// Whether a worker that has ended may have left processes behind that still run.
    pub fn has_leftovers(&self, worker: WorkerId) -> bool {
        self.ended.contains_key(&worker)
    }

    /// Whether processes beside those of its group are known that this worker has left behind.
    pub fn knows_leftovers(&self, worker: WorkerId) -> bool {
        self.ended.get(&worker).is_some_and(Leftovers::knows_any)
    }
}
