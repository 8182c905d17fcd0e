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

/// How soon it is looked again whether a worker has read what a handle waits for: at first, and at the
/// most, as each pause is twice the one before it.
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
    /// The channel is to close once all is written.
    pub(super) closing: bool,
    /// Its channel takes nothing more until it is writable.
    pub(super) blocked: bool,
    /// What a handle waits for is not read yet.
    pub(super) unread: Option<Unread>,
    /// It holds descriptors that it has not read, and too many of them: when that is looked at again.
    pub(super) look_again: Option<Unread>,
    /// Descriptors that it may have left unread.
    pub(super) untaken: Untaken,
    /// What runtime its program is has been looked at.
    pub(super) is_recognised: bool,
    /// It made a call of the primary block.
    pub(super) blocks: bool,
    /// Until it is known that it executes its program.
    pub(super) start: Option<Start>,
    /// What it was started with; unknown of one that an earlier version has started.
    pub(super) rights: Option<Rights>,
}

/// When it is looked again whether a worker has read what it was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unread {
    pub(super) at: Mono,
    pub(super) pause: Duration,
}

impl Unread {
    /// It was looked at that time, in vain: when it is looked again.
    pub(super) fn again(before: Option<Self>, now: Mono) -> Self {
        match before {
            // Something else made it be looked at earlier.
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
            blocked: false,
            unread: None,
            look_again: None,
            untaken: Untaken::default(),
            is_recognised: false,
            blocks: false,
        }
    }

    /// Descriptors that came with no message that has one.
    pub(super) fn unexpected_handles(&self) -> u64 {
        self.channel.as_ref().map_or(0, |channel| channel.stats().unexpected_handles)
    }

    /// It made a call of the primary block.
    pub(super) fn note_blocks(&mut self) {
        self.blocks = true;
    }

    /// Whether it ever did.
    pub(super) fn blocks(&self) -> bool {
        self.blocks
    }

    /// The channel as long as it is there.
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
            // Looking early changes nothing.
            assert_eq!(Unread::again(Some(next), now).at, next.at);
            pauses.push((next.at - now).as_millis());
            (now, unread) = (next.at, Some(next));
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 50, 50]);
    }
}
