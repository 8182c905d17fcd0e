//! The supervisor's fields, and what all files of it need. The folder `supervisor` has one file for each concern.

mod coming;
mod dying;
mod inputs;
mod leaving;
mod state;
mod turnover;
mod view;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};

pub use state::Contradiction;
pub use view::{Counts, MemberState, State, Vacancy};

use crate::config::Config;
use crate::host::Host;
use crate::io::{Death, Notice, Outcome, Output};
use crate::jitter::Jitter;
use crate::mono::Mono;
use crate::slot::{Change, Member, Slot, Stage, Why};
use serde::{Deserialize, Serialize};

/// Keeps workers, without I/O.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Supervisor<H: Host> {
    config: Config<H>,
    #[serde(rename = "lots")]
    jitter: Jitter,
    slots: BTreeMap<u32, Slot<H>>,
    members: BTreeMap<H::Worker, Member>,
    /// The number of the last reload that began.
    generation: u64,
    /// The number of the last reload that completed; none where that is `generation`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    completed: Option<u64>,
    /// The reload that is under way.
    reload: Option<Reload>,
    /// Slots that are to change hands, and those that do.
    todo: VecDeque<(u32, Why)>,
    changing: BTreeMap<u32, Change<H>>,
    /// There may be servers that no worker serves.
    unsettled: bool,
    measure_at: Option<Mono>,
    phase: Phase,
    deaths: VecDeque<Death<H>>,
    /// A worker has been ready.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    served: bool,
    /// No worker is ready, and workers fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outage: Option<Outage>,
    counts: Counts,
    output: VecDeque<Output<H>>,
}

/// A time without a ready worker, in which workers fail.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Outage {
    /// When the first of them failed.
    since: Mono,
    /// [`Notice::NoneReady`] was sent.
    reported: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Reload {
    generation: u64,
    replaced: u32,
    /// Slots whose new worker succeeds no other, as the slot was vacant: it must have been ready for
    /// [`Config::min_ready_time`], too, before the reload is done.
    #[serde(default, rename = "empty")]
    on_trial: BTreeSet<u32>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Phase {
    /// Before [`Input::Start`](crate::Input::Start).
    New,
    Running,
    /// It will end then.
    Draining(Mono),
    Ending {
        /// How it ends, if all goes as it should.
        outcome: Outcome,
        /// Workers are killed without a grace period.
        at_once: bool,
    },
    Over(Outcome),
}

impl<H: Host> Supervisor<H> {
    /// A supervisor without workers.
    pub fn new(config: Config<H>) -> Self {
        let jitter = Jitter::new(config.seed);
        Self {
            config,
            jitter,
            slots: BTreeMap::new(),
            members: BTreeMap::new(),
            generation: 0,
            completed: None,
            reload: None,
            todo: VecDeque::new(),
            changing: BTreeMap::new(),
            unsettled: true,
            measure_at: None,
            phase: Phase::New,
            deaths: VecDeque::new(),
            served: false,
            outage: None,
            counts: Counts::default(),
            output: VecDeque::new(),
        }
    }

    fn notify(&mut self, notice: Notice<H>) {
        self.output.push_back(Output::Tell(notice));
    }

    fn runs(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Draining(_))
    }

    fn any_worker_is_ready(&self) -> bool {
        self.members.values().any(|member| member.stage == Stage::Ready)
    }

    fn all_ready(&self) -> bool {
        let ready = |worker: H::Worker| {
            self.members.get(&worker).is_some_and(|member| member.stage == Stage::Ready)
        };
        self.slots.values().all(|slot| slot.worker.is_some_and(ready))
    }
}
