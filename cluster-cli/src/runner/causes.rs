//! Why no worker lived: what is learned of workers while they run, and what their deaths have in common.

use std::collections::BTreeSet;

use cluster_primary::{Event, ExitStatus, Settings, Signal, WorkerId};
use cluster_supervisor::driver::{Death, Failure};

use crate::listen::advice::{Place, advice};

/// What a shell, `env` and the like exit with where there is no such program.
const NOT_FOUND: i32 = 127;
/// … and where it cannot be executed.
const NOT_EXECUTABLE: i32 = 126;

/// What may explain the deaths of workers.
#[derive(Debug, Default)]
pub(super) struct Causes {
    /// Workers that have sent anything on their channels.
    online: BTreeSet<WorkerId>,
    /// Why a worker could not listen, if none has listened since.
    cannot_listen: Option<String>,
    /// What may explain why the supervisor gave up.
    last_word: Option<String>,
}

impl Causes {
    /// Of a cluster that was taken over from the image before this one.
    pub(super) fn resumed(online: impl Iterator<Item = WorkerId>) -> Self {
        Self { online: online.collect(), ..Self::default() }
    }

    /// Workers that have sent anything on their channels.
    pub(super) fn online(&self) -> &BTreeSet<WorkerId> {
        &self.online
    }

    pub(super) fn learn(&mut self, event: &Event, settings: &Settings) {
        match event {
            Event::Online { worker } => {
                self.online.insert(*worker);
            }
            Event::Listening { .. } => self.cannot_listen = None,
            Event::ListenFailed { address, error, limit: Some(limit), .. } => {
                self.cannot_listen = Some(format!("cannot listen on {address}: {error}: {limit}"));
            }
            Event::ListenFailed { address, error, .. } => {
                let advice = advice(Place::of(address, settings), error);
                self.cannot_listen = Some(format!("cannot listen on {address}: {error}{advice}"));
            }
            _ => {}
        }
    }

    /// A worker is replaced.
    pub(super) fn forget(&mut self, worker: WorkerId) {
        self.online.remove(&worker);
    }

    /// The supervisor gave up after these deaths. `has_channel`: workers were meant to send something on
    /// their channels.
    pub(super) fn gave_up(&mut self, deaths: &[Death], has_channel: bool) {
        self.last_word = match &self.cannot_listen {
            Some(cause) => Some(format!("a worker {cause}")),
            None => they_died(deaths, &self.online, has_channel),
        };
    }

    /// What may explain why the supervisor gave up.
    pub(super) fn take_last_word(&mut self) -> Option<String> {
        self.last_word.take()
    }
}

/// What all of these deaths have in common. `online` are those that have sent anything on their
/// channels; `spoken` is whether they were meant to.
fn they_died(deaths: &[Death], online: &BTreeSet<WorkerId>, spoken: bool) -> Option<String> {
    let mut statuses = BTreeSet::new();
    for death in deaths {
        match &death.failure {
            Failure::Died(status) => statuses.insert(status.to_string()),
            // That is the end of a program that has nothing more to do, too.
            Failure::Disconnected => statuses.insert(ExitStatus::Code(0).to_string()),
            // One that could not be forked has said why.
            _ => return None,
        };
    }
    let all = |status: ExitStatus| statuses.len() == 1 && statuses.contains(&status.to_string());
    let mute = |death: &Death| death.worker.is_some_and(|worker| !online.contains(&worker));
    let text = if all(ExitStatus::Code(NOT_FOUND)) {
        "code 127 is how a shell or env reports that a program does not exist: its own message above names it"
    } else if all(ExitStatus::Code(NOT_EXECUTABLE)) {
        "code 126 is how a shell or env reports that a program cannot be executed: its own message above \
         names it"
    } else if all(ExitStatus::Signal(Signal::KILL)) {
        "all of them were sent SIGKILL: the kernel does that when memory, or the container's limit of it, \
         runs out (see dmesg)"
    } else if spoken && deaths.iter().all(mute) {
        "none of them sent anything on its channel: does the program speak node:cluster's protocol? (For \
         one that does not, use --listen)"
    } else if all(ExitStatus::Code(0)) {
        "all of them exited by themselves, as programs do that have nothing left to do: a worker has to \
         listen and keep running"
    } else {
        "their output, if any, is above; run the program without cluster to see more"
    };
    Some(text.into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn death(worker: u32, failure: Failure) -> Death {
        let lived = Duration::ZERO;
        Death { slot: 0, worker: Some(WorkerId(worker)), failure, lived, was_ready: false }
    }

    fn hint(statuses: &[ExitStatus], online: bool, spoken: bool) -> String {
        let deaths = statuses.iter().zip(1..).map(|(s, id)| death(id, Failure::Died(*s)));
        let deaths: Vec<_> = deaths.collect();
        let heard = deaths.iter().filter(|_| online).filter_map(|death| death.worker).collect();
        they_died(&deaths, &heard, spoken).expect("they died")
    }

    #[test]
    fn what_they_have_in_common_is_said() {
        let code = ExitStatus::Code;
        assert!(hint(&[code(127), code(127)], false, true).contains("does not exist"));
        assert!(hint(&[code(126)], false, true).contains("cannot be executed"));
        assert!(hint(&[ExitStatus::Signal(Signal::KILL)], true, true).contains("memory"));
        assert!(hint(&[code(0), code(1)], false, true).contains("node:cluster's protocol"));
        assert!(hint(&[code(0), code(0)], true, true).contains("listen and keep running"));
        assert!(hint(&[code(0), code(0)], false, false).contains("listen and keep running"));
        assert!(hint(&[code(0), code(1)], true, true).contains("is above;"));
    }

    #[test]
    fn who_could_not_be_forked_has_said_why() {
        let deaths = [death(1, Failure::NotForked("no".into()))];
        assert_eq!(they_died(&deaths, &BTreeSet::new(), true), None);
    }
}
