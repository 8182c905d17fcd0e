//! What is left of one worker that has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use cluster_sched::Mono;
use serde::{Deserialize, Serialize};

use super::stat::{ProcessId, ProcessStat, RunState};
use super::{EndDescendants, Tree};
use crate::signal::Signal;

/// How soon it is looked again whether something is left; each time twice as long, up to the latter.
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LAST_LOOK: Duration = Duration::from_millis(500);

/// How long it is until the next look, at least, for each process that is left.
const FOR_EACH: Duration = Duration::from_micros(500);

/// How often it is looked whether what is spared still runs.
const LOOK_AT_SPARED: Duration = Duration::from_secs(10);

/// How long a process that was sent `SIGKILL` is waited for. One that does not end then hangs in the
/// kernel, or is not ours to signal.
const GIVE_UP_AFTER: Duration = Duration::from_secs(5);

/// What is done about processes that a worker left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeftoverProgress {
    /// They were sent `SIGTERM`.
    Terminated {
        /// Their pids.
        pids: Vec<u32>,
        /// How long they have to end.
        kill_after: Duration,
    },
    /// They were sent `SIGKILL`.
    Killed {
        /// Their pids.
        pids: Vec<u32>,
    },
    /// They are left running, for the time being: they asked for what has ended the worker, or are
    /// needed by what did ([`Primary::spare_requester`](crate::Primary::spare_requester)).
    Spared {
        /// Their pids.
        pids: Vec<u32>,
    },
    /// They have ended.
    Ended,
    /// They have not ended even so, and are left alone.
    Survived {
        /// Their pids.
        pids: Vec<u32>,
    },
}

impl fmt::Display for LeftoverProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |pids: &[u32]| {
            let shown: Vec<_> = pids.iter().take(8).map(u32::to_string).collect();
            let more = if pids.len() > shown.len() { ", …" } else { "" };
            let (count, s) = (pids.len(), if pids.len() == 1 { "" } else { "es" });
            format!("{count} process{s} (pid {}{more})", shown.join(", "))
        };
        match self {
            Self::Terminated { pids, .. } => write!(f, "{} left behind: sent SIGTERM", list(pids)),
            Self::Killed { pids } => {
                write!(f, "{} left behind did not end: sent SIGKILL", list(pids))
            }
            Self::Spared { pids } => {
                write!(f, "{} left behind may go on: they asked for this", list(pids))
            }
            Self::Ended => f.write_str("what it left behind has ended"),
            Self::Survived { pids } => write!(
                f,
                "{} left behind survived SIGKILL: left alone (blocked in the kernel, or running as \
                 another user)",
                list(pids)
            ),
        }
    }
}

/// What follows from a look.
pub(super) enum Next {
    /// Nothing is left.
    Over { progress: Option<LeftoverProgress> },
    /// These are signalled.
    Signal { signals: Vec<(ProcessId, Signal)>, progress: Option<LeftoverProgress> },
}

/// The processes that a worker left behind.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Leftovers {
    /// The number of its process group.
    group: u32,
    session: u32,
    rules: EndDescendants,
    /// Proven to be the worker's.
    known: BTreeSet<ProcessId>,
    /// Those that were sent `SIGTERM`.
    terminated: BTreeSet<ProcessId>,
    kill_at: Option<Mono>,
    killed: bool,
    given_up: bool,
    /// Something was reported.
    reported: bool,
    /// All that is left is spared.
    rests: bool,
    look_at: Option<Mono>,
    pause: Duration,
}

impl Leftovers {
    pub(super) fn new(now: Mono, tree: Tree, kill: bool) -> Self {
        let Tree { leader, session, rules, descendants } = tree;
        Self {
            group: leader.pid,
            session,
            rules,
            known: descendants,
            terminated: BTreeSet::new(),
            kill_at: kill.then_some(now),
            killed: false,
            given_up: false,
            reported: false,
            rests: false,
            look_at: None,
            pause: FIRST_LOOK,
        }
    }

    /// Nothing is spared any more.
    pub(super) fn hurry(&mut self, now: Mono, kill: bool) {
        if kill {
            self.kill_at = Some(self.kill_at.map_or(now, |at| at.min(now)));
        }
        self.rests = false;
        self.pause = FIRST_LOOK;
        self.look_at = Some(now);
    }

    pub(super) fn look_at(&self) -> Option<Mono> {
        self.look_at
    }

    pub(super) fn rests(&self) -> bool {
        self.rests
    }

    pub(super) fn knows_any(&self) -> bool {
        !self.known.is_empty()
    }

    pub(super) fn knows(&self, process: &ProcessId) -> bool {
        self.known.contains(process)
    }

    pub(super) fn given_up(&self) -> bool {
        self.given_up
    }

    /// Whether it is time to look; the next one is due only when that look's result is there.
    pub(super) fn is_due(&mut self, now: Mono) -> bool {
        self.look_at.take_if(|at| *at <= now).is_some()
    }

    /// It could not be looked: later.
    pub(super) fn not_listed(&mut self, now: Mono) {
        self.look_at = Some(now + LAST_LOOK);
    }

    pub(super) fn listed(
        &mut self,
        now: Mono,
        group_exists: bool,
        processes: &[ProcessStat],
        spared: &BTreeSet<ProcessId>,
    ) -> Next {
        let members = self.members(group_exists, processes);
        self.known = members.iter().map(|p| p.id).collect();
        if members.is_empty() {
            return Next::Over { progress: self.reported.then_some(LeftoverProgress::Ended) };
        }
        let pids = below(spared, &members);
        let (spared, ending): (Vec<_>, Vec<_>) =
            members.into_iter().partition(|p| pids.contains(&p.id.pid));
        let first = !std::mem::replace(&mut self.reported, true);
        self.rests = ending.is_empty();
        if self.rests {
            // When they are to end after all they have all the time that others have.
            self.kill_at = None;
            self.killed = false;
            self.look_at = Some(now + LOOK_AT_SPARED);
            let pids = spared.iter().map(|p: &&ProcessStat| p.id.pid).collect();
            let progress = first.then_some(LeftoverProgress::Spared { pids });
            return Next::Signal { signals: Vec::new(), progress };
        }
        // To look at many takes long.
        let many = u32::try_from(ending.len()).unwrap_or(u32::MAX);
        self.look_at = Some(now + self.pause.max(FOR_EACH.saturating_mul(many)));
        self.pause = (self.pause * 2).min(LAST_LOOK);
        self.signal(now, &ending)
    }

    /// Those of the processes that are the worker's, and run.
    fn members<'a>(
        &self,
        group_exists: bool,
        processes: &'a [ProcessStat],
    ) -> Vec<&'a ProcessStat> {
        let alive: Vec<_> = processes.iter().filter(|p| p.is_alive()).collect();
        let known = |p: &ProcessStat| self.known.contains(&p.id);
        // As long as one of its members lives the group's number is no other group's.
        let group_exists = group_exists || alive.iter().any(|p| known(p) && p.group == self.group);
        let in_group = |p: &ProcessStat| group_exists && p.group == self.group;
        let mut found: BTreeMap<u32, &ProcessStat> =
            alive.iter().filter(|p| known(p) || in_group(p)).map(|p| (p.id.pid, *p)).collect();
        // And what they have started meanwhile.
        add_descendants(&mut found, &alive);
        let detached = |p: &ProcessStat| p.session != self.session;
        found.into_values().filter(|p| !(self.rules.keep_detached && detached(p))).collect()
    }

    fn signal(&mut self, now: Mono, ending: &[&ProcessStat]) -> Next {
        let pids = || ending.iter().map(|p| p.id.pid).collect::<Vec<_>>();
        let kill_at = *self.kill_at.get_or_insert(now + self.rules.kill_after);
        if now >= kill_at + GIVE_UP_AFTER {
            self.given_up = true;
            let progress = Some(LeftoverProgress::Survived { pids: pids() });
            return Next::Signal { signals: Vec::new(), progress };
        }
        if now >= kill_at {
            let first = !std::mem::replace(&mut self.killed, true);
            let progress = first.then(|| LeftoverProgress::Killed { pids: pids() });
            let signals = ending.iter().map(|p| (p.id, Signal::KILL)).collect();
            return Next::Signal { signals, progress };
        }
        self.look_at = self.look_at.map(|at| at.min(kill_at));
        let mut signals = Vec::new();
        let first = self.terminated.is_empty();
        for process in ending {
            if self.terminated.insert(process.id) {
                signals.push((process.id, Signal::TERM));
                if process.state == RunState::Stopped {
                    // It would not notice while it is stopped.
                    signals.push((process.id, Signal::CONT));
                }
            }
        }
        let kill_after = self.rules.kill_after;
        let progress = first.then(|| LeftoverProgress::Terminated { pids: pids(), kill_after });
        Next::Signal { signals, progress }
    }
}

/// Adds those of the processes that descend from processes which are there.
fn add_descendants<'a>(found: &mut BTreeMap<u32, &'a ProcessStat>, all: &[&'a ProcessStat]) {
    loop {
        let before = found.len();
        for process in all {
            let is_parent = |parent: &&ProcessStat| parent.id.start <= process.id.start;
            if found.get(&process.parent).is_some_and(is_parent) {
                found.insert(process.id.pid, process);
            }
        }
        if found.len() == before {
            return;
        }
    }
}

/// The pids of those of the members that are spared, and of their descendants, which they may need.
fn below(spared: &BTreeSet<ProcessId>, members: &[&ProcessStat]) -> BTreeSet<u32> {
    let is_spared = |p: &&&ProcessStat| spared.contains(&p.id);
    let mut found = members.iter().filter(is_spared).map(|p| (p.id.pid, *p)).collect();
    add_descendants(&mut found, members);
    found.into_keys().collect()
}
