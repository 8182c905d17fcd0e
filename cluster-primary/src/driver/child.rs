//! A worker's process, channel and pipes.

mod state;

use std::collections::BTreeMap;
use std::fs::File;
use std::time::Duration;

use cluster_ipc::Channel;
use cluster_proto::env::Serialization;
use cluster_sched::Mono;

use super::agent::AgentPipes;
use super::process::Process;
use super::rights::Rights;
use super::starting::Start;
use super::untaken::Untaken;

pub(super) use state::ChildState;

/// How soon to check again whether a worker has read what a handle waits for: the first pause, and the
/// longest (each pause is twice the previous one).
const READ_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_READ_PAUSE: Duration = Duration::from_millis(50);

/// What the driver holds of one worker.
pub(super) struct Child {
    pub(super) channel: Option<Channel>,
    pub(super) serialization: Serialization,
    /// Until it has been waited for.
    pub(super) process: Option<Process>,
    pub(super) pipes: BTreeMap<u32, File>,
    pub(super) agent: Option<AgentPipes>,
    /// The channel closes once everything is written.
    pub(super) closing: bool,
    /// Its messages are not read for now: [`Primary::hold_messages`](crate::Primary::hold_messages).
    pub(super) held: bool,
    /// Its channel cannot be written until it is writable again.
    pub(super) blocked: bool,
    /// The worker has not read what a handle waits for.
    pub(super) unread: Option<Unread>,
    /// It has left too many descriptors unread: when to check again.
    pub(super) look_again: Option<Unread>,
    /// Descriptors that it may not have read.
    pub(super) untaken: Untaken,
    /// Its runtime has been identified.
    pub(super) is_recognised: bool,
    /// It has made a system call of the primary block.
    pub(super) blocks: bool,
    /// Present until the worker executes its program.
    pub(super) start: Option<Start>,
    /// What it was started with; unknown for workers that an earlier version started.
    pub(super) rights: Option<Rights>,
}

/// When to check again whether a worker has read what it was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unread {
    pub(super) at: Mono,
    pub(super) pause: Duration,
}

impl Unread {
    /// A check at `now` found that it has not: when to check again.
    pub(super) fn again(before: Option<Self>, now: Mono) -> Self {
        match before {
            // Something else caused an early check.
            Some(before) if now < before.at => before,
            before => {
                let double = |before: Self| (before.pause * 2).min(LONGEST_READ_PAUSE);
                let pause = before.map_or(READ_PAUSE, double);
                Self { at: now + pause, pause }
            }
        }
    }
}

impl Child {
    pub(super) fn new(
        channel: Channel,
        process: Process,
        serialization: Serialization,
        rights: Rights,
    ) -> Self {
        Self {
            start: None,
            rights: Some(rights),
            serialization,
            channel: Some(channel),
            process: Some(process),
            pipes: BTreeMap::new(),
            agent: None,
            closing: false,
            held: false,
            blocked: false,
            unread: None,
            look_again: None,
            untaken: Untaken::default(),
            is_recognised: false,
            blocks: false,
        }
    }

    /// Descriptors that belonged to no message.
    pub(super) fn unexpected_handles(&self) -> u64 {
        self.channel.as_ref().map_or(0, |channel| channel.stats().unexpected_handles)
    }

    /// It has made a system call of the primary block.
    pub(super) fn note_blocks(&mut self) {
        self.blocks = true;
    }

    /// Whether it ever made a system call of the primary block.
    pub(super) fn blocks(&self) -> bool {
        self.blocks
    }

    /// The channel, while it is open.
    pub(super) fn channel(&mut self) -> Option<&mut Channel> {
        self.channel.as_mut()
    }

    /// Whether there is a channel that is not about to close.
    pub(super) fn has_open_channel(&self) -> bool {
        self.channel.is_some() && !self.closing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_does_not_read_is_looked_at_less_and_less_often() {
        let (mut now, mut unread) = (Mono::ZERO, None);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let next = Unread::again(unread, now);
            // An early check changes nothing.
            assert_eq!(Unread::again(Some(next), now).at, next.at);
            pauses.push((next.at - now).as_millis());
            (now, unread) = (next.at, Some(next));
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 50, 50]);
    }
}
