//! A primary and its supervisor, in one loop.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::string::ToString;
use std::time::Duration;

use cluster_primary::embed::Clock;
use cluster_primary::{Event, Mono, Primary, WorkerId, usage};

use super::{Config, Input, Notice, Output, Supervisor};
use crate::io::Outcome;

/// A [`Primary`] whose workers are kept by a [`Supervisor`].
///
/// ```no_run
/// use cluster_supervisor::driver::{Config, ClusterEvent, Supervised};
/// use cluster_primary::{Primary, Settings};
///
/// let primary = Primary::new(Settings::new("server.js"))?;
/// let mut cluster = Supervised::new(primary, Config::new(4));
/// while let Some(happening) = cluster.next()? {
///     match happening {
///         ClusterEvent::Event(event) => println!("{event:?}"),
///         ClusterEvent::Notice(notice) => println!("{notice:?}"), // `Replacing`, `Reloaded`, …
///         _ => {}
///     }
/// }
/// println!("{:?}", cluster.outcome());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A program with other things to wait for has them
/// [watched](Primary::watch), and calls [`ready`](Self::ready) until there is nothing, then
/// [`wait`](Self::wait).
#[derive(Debug)]
pub struct Supervised {
    pub(super) primary: Primary,
    pub(super) supervisor: Supervisor,
    pub(super) clock: Clock,
    pub(super) notices: VecDeque<Notice>,
    /// Workers that were forked for the supervisor, and whose [`Event::Fork`] has not been taken yet.
    pub(super) own_forks: BTreeSet<WorkerId>,
}

/// What happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClusterEvent {
    /// The primary saw it.
    Event(Event),
    /// The supervisor decided it.
    Notice(Notice),
    /// The program was so slow that events were lost (`tokio::AsyncSupervised` only).
    Lost {
        /// How many.
        events: u64,
    },
}

impl Supervised {
    /// Begins to keep workers. Those that the primary has already are seen off in the end, but not
    /// kept.
    pub fn new(primary: Primary, config: Config) -> Self {
        let mut cluster = Self {
            primary,
            supervisor: Supervisor::new(config),
            clock: Clock::start(),
            notices: VecDeque::new(),
            own_forks: BTreeSet::new(),
        };
        cluster.input(Input::Start);
        cluster
    }

    /// The primary.
    pub fn primary(&self) -> &Primary {
        &self.primary
    }

    /// The primary, to be driven beside the supervisor. (Take its events by
    /// [`ready`](Self::ready) alone, for the supervisor must see them.)
    pub fn primary_mut(&mut self) -> &mut Primary {
        &mut self.primary
    }

    /// The supervisor.
    pub fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// The supervisor, to be [configured](Supervisor::configure).
    pub fn supervisor_mut(&mut self) -> &mut Supervisor {
        &mut self.supervisor
    }

    /// The time by the clock that the supervisor goes by.
    pub fn now(&self) -> Mono {
        self.clock.now()
    }

    /// Replaces every worker by a new one, without loss: [`Notice::Reloaded`] or
    /// [`Notice::ReloadAborted`] follows.
    pub fn reload(&mut self) {
        self.input(Input::Reload);
    }

    /// Keeps so many workers from now on (at least one).
    pub fn scale(&mut self, workers: u32) {
        self.input(Input::Scale { workers });
    }

    /// Ends after that time: until then all goes on, but
    /// [`Supervisor::is_ready`] says that clients should not be sent here any more.
    pub fn drain(&mut self, delay: Duration) {
        self.input(Input::Drain { delay });
    }

    /// Has all workers leave, those that do not in time by force.
    pub fn end(&mut self) {
        self.input(Input::End);
    }

    /// Kills those that are still there, and what those have left behind that have ended.
    pub fn end_now(&mut self) {
        self.primary.kill_leftovers();
        self.input(Input::EndNow);
    }

    /// A worker said that it is ready, by another way than its channel
    /// ([`Ready::Notify`](crate::Ready::Notify)).
    pub fn notified(&mut self, worker: WorkerId) {
        self.input(Input::Notified { worker });
    }

    /// How it ended, if it has, and nothing is left to be told.
    pub fn outcome(&self) -> Option<Outcome> {
        let told = self.notices.is_empty() && self.primary.is_over();
        self.supervisor.outcome().filter(|_| told)
    }

    /// Waits for the next thing to happen; `None` when all is over.
    ///
    /// # Errors
    /// If the system's poll fails.
    #[expect(clippy::should_implement_trait, reason = "it can fail, and an iterator's cannot")]
    pub fn next(&mut self) -> io::Result<Option<ClusterEvent>> {
        loop {
            if let Some(happening) = self.ready() {
                return Ok(Some(happening));
            }
            if self.outcome().is_some() {
                return Ok(None);
            }
            self.wait(None)?;
        }
    }

    /// What has happened and was not taken yet, without waiting.
    pub fn ready(&mut self) -> Option<ClusterEvent> {
        self.take_timeouts();
        if let Some(notice) = self.notices.pop_front() {
            return Some(ClusterEvent::Notice(notice));
        }
        let event = self.primary.ready_event()?;
        self.observe(&event);
        Some(ClusterEvent::Event(event))
    }

    /// Waits until something happens, a [watched](Primary::watch) descriptor becomes readable, or
    /// that time is over.
    ///
    /// # Errors
    /// If the system's poll fails.
    pub fn wait(&mut self, patience: Option<Duration>) -> io::Result<()> {
        let due = self.supervisor.poll_timeout().map(|at| self.clock.until(at));
        let told = (!self.notices.is_empty()).then_some(Duration::ZERO);
        let patience = [patience, due, told].into_iter().flatten().min();
        self.primary.wait(patience)
    }

    /// How long the program's own loop may wait at most for the primary's descriptor to become readable, before it calls
    /// [`wait`](Self::wait) without waiting, and [`ready`](Self::ready); `None` means without limit.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let due = self.supervisor.poll_timeout().map(|at| self.clock.until(at));
        let told = (!self.notices.is_empty()).then_some(Duration::ZERO);
        [due, told, self.primary.poll_timeout()].into_iter().flatten().min()
    }

    /// Does what the supervisor wants for the sake of the time.
    fn take_timeouts(&mut self) {
        let now = self.clock.now();
        if self.supervisor.poll_timeout().is_some_and(|at| at <= now) {
            self.supervisor.handle_timeout(now);
            self.obey();
        }
    }

    fn observe(&mut self, event: &Event) {
        let input = match *event {
            // The supervisor knows already.
            Event::Fork { worker, .. } if self.own_forks.remove(&worker) => None,
            Event::Fork { worker, .. } => {
                let slot = self.primary.worker_state(worker).map(|state| state.slot);
                slot.map(|slot| Input::Adopted { slot, worker })
            }
            _ => Input::of(event),
        };
        // All were told to disconnect (Node's `cluster.disconnect()`): none is to be replaced.
        let leaves = matches!(
            input,
            Some(Input::Disconnected { meant: true, .. } | Input::Exited { meant: true, .. })
        );
        if leaves && self.supervisor.config().keep && self.primary.disconnects().under_way() {
            self.input(Input::End);
        }
        if let Some(input) = input {
            self.input(input);
        }
    }

    fn input(&mut self, input: Input) {
        self.supervisor.handle_input(self.clock.now(), input);
        self.obey();
    }

    fn obey(&mut self) {
        while let Some(output) = self.supervisor.poll_output() {
            let now = self.clock.now();
            match output {
                Output::Fork { slot } => {
                    let answer = match self.primary.fork_in(slot) {
                        Ok(worker) => {
                            self.own_forks.insert(worker);
                            Input::Forked { slot, worker }
                        }
                        Err(error) => Input::ForkFailed { slot, reason: error.to_string() },
                    };
                    self.supervisor.handle_input(now, answer);
                }
                Output::TakeOutOfRotation { worker } => self.primary.take_out_of_rotation(worker),
                Output::TakeAllOutOfRotation => self.primary.take_all_out_of_rotation(),
                Output::FinishWork { worker } => self.primary.finish_work(worker),
                Output::AskStop { worker, signal, message } => {
                    self.primary.ask_stop(worker, signal, message);
                }
                Output::SendStop { worker, message } => {
                    // If the channel is full or has closed, the next steps end the worker.
                    let _ = self.primary.send(worker, message.0);
                }
                Output::Disconnect { worker } => self.primary.disconnect_worker(worker),
                Output::Kill { worker, signal } => {
                    // One that cannot be signalled is tried again, or its end is heard of.
                    let _ = self.primary.kill(worker, signal);
                }
                Output::DisconnectAll => self.primary.disconnect(),
                Output::ReleaseUnused => self.primary.release_unused(),
                Output::Measure => self.measure(now),
                Output::Tell(notice) => self.notices.push_back(notice),
                Output::Over(_) => {}
            }
        }
    }

    fn measure(&mut self, now: Mono) {
        for worker in self.primary.all_workers() {
            let Some(state) = self.primary.worker_state(worker) else { continue };
            let memory = usage::of(state.pid).rss_bytes;
            let connections = state.connections;
            self.supervisor.handle_input(now, Input::Usage { worker, memory, connections });
        }
    }
}
