//! Descriptors that were written to a worker and that it has not read.
//!
//! The kernel counts descriptors that are in flight between sockets against a limit of their sender's user
//! (`ETOOMANYREFS`, unix(7)): a worker that answers for connections without ever reading them could use up all of
//! it, and no other worker would get any. What a socket's receiver has not read the kernel tells as an amount of
//! memory (`SIOCOUTQ`), from which this works out how many descriptors that can be, and how many it is at least.

use std::collections::VecDeque;
use std::time::Duration;

use cluster_ipc::Written;
use cluster_sched::Mono;

/// The kernel's memory for one write: its bytes and at least that many for the buffer's head. (On 64-bit Linux
/// `struct sk_buff` and `struct skb_shared_info` have some 230 and 320 bytes; 32-bit ones are smaller.)
const LEAST_PER_WRITE: u64 = 400;
/// The same at most: a buffer's size is a power of two, so bytes count twice.
const MOST_PER_WRITE: u64 = 2048;
const MOST_PER_BYTE: u64 = 2;

/// How long a worker may leave too many descriptors unread before its channel is closed.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was written to one worker since it had, as far as is known, read everything.
#[derive(Debug, Default)]
pub(super) struct Untaken {
    /// The channel's counters when they were last read.
    seen: Written,
    /// Writes that may be unread, the oldest first.
    recent: VecDeque<Written>,
    /// The number of descriptors in them.
    handles: u64,
    /// Since when there are too many of them and none was read.
    held: Option<Held>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    since: Mono,
    unread: u64,
}

/// What may be written to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Anything.
    Write,
    /// Nothing, until it has read some of what was written.
    Hold,
    /// Nothing any more: it has left this many descriptors unread, and either it has acknowledged more of them than
    /// it has read, or it reads nothing at all.
    Close { handles: u64, answered: bool },
}

impl Untaken {
    /// Updates the channel's counters: what it has written since its start.
    pub(super) fn note(&mut self, written: Written) {
        let new = written.since(self.seen);
        self.seen = written;
        if new.writes == 0 {
            return;
        }
        self.handles += new.handles;
        match self.recent.back_mut() {
            // Writes without descriptors need no entry of their own.
            Some(last) if new.handles == 0 => *last = last.and(new),
            _ => self.recent.push_back(new),
        }
    }

    /// How many descriptors it may have left unread.
    pub(super) fn handles(&self) -> u64 {
        self.handles
    }

    /// Whether so many may be unread that it is time to check.
    pub(super) fn is_much(&self, allowed: u64) -> bool {
        self.handles > allowed
    }

    /// `unread` bytes of the kernel's memory hold what the worker has not read. It has not acknowledged
    /// `in_flight` descriptors, and may leave `allowed` unread.
    pub(super) fn look(&mut self, now: Mono, unread: u64, in_flight: u64, allowed: u64) -> Verdict {
        let least = self.bound(unread);
        if self.handles <= allowed {
            self.held = None;
            return Verdict::Write;
        }
        let (handles, answered) = (self.handles, least > in_flight);
        let held = match self.held {
            Some(held) if held.unread == unread => held,
            // It has read something.
            _ => Held { since: now, unread },
        };
        self.held = Some(held);
        if answered || now >= held.since + PATIENCE {
            return Verdict::Close { handles, answered };
        }
        Verdict::Hold
    }

    /// Forgets writes that must have been read, and returns how many descriptors cannot have been read.
    fn bound(&mut self, unread: u64) -> u64 {
        let (mut at_least, mut at_most, mut certain, mut kept) = (0, 0, 0, 0);
        for written in self.recent.iter().rev() {
            if at_least >= unread {
                break;
            }
            kept += 1;
            at_least += written.bytes + LEAST_PER_WRITE * written.writes;
            at_most += MOST_PER_BYTE * written.bytes + MOST_PER_WRITE * written.writes;
            if at_most <= unread {
                certain += written.handles;
            }
        }
        self.recent.drain(..self.recent.len() - kept);
        self.handles = self.recent.iter().map(|written| written.handles).sum();
        certain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds a write of that length with that many descriptors.
    fn write(untaken: &mut Untaken, total: &mut Written, bytes: u64, handles: u64) {
        *total = total.and(Written { writes: 1, bytes, handles });
        untaken.note(*total);
    }

    #[test]
    fn what_is_read_does_not_count() {
        let (mut untaken, mut total) = (Untaken::default(), Written::default());
        for _ in 0..100 {
            write(&mut untaken, &mut total, 90, 1);
        }
        assert!(untaken.is_much(64));
        assert_eq!(untaken.look(Mono::ZERO, 0, 0, 64), Verdict::Write);
        assert_eq!(untaken.handles(), 0);
    }

    #[test]
    fn plain_messages_that_are_unread_are_no_descriptors() {
        let (mut untaken, mut total) = (Untaken::default(), Written::default());
        for _ in 0..100 {
            write(&mut untaken, &mut total, 90, 1);
        }
        write(&mut untaken, &mut total, 100_000, 0);
        // The long message alone takes that much.
        assert_eq!(untaken.look(Mono::ZERO, 100_400, 0, 64), Verdict::Write);
        assert!(untaken.handles() <= 1, "{untaken:?}");
    }

    #[test]
    fn who_answers_without_reading_is_found_out() {
        let (mut untaken, mut total) = (Untaken::default(), Written::default());
        for _ in 0..300 {
            write(&mut untaken, &mut total, 90, 1);
        }
        // As Linux has it: each takes 768 bytes.
        let verdict = untaken.look(Mono::ZERO, 300 * 768, 1, 256);
        assert_eq!(verdict, Verdict::Close { handles: 300, answered: true });
    }

    #[test]
    fn who_owes_answers_has_time_as_long_as_it_reads() {
        let (mut untaken, mut total) = (Untaken::default(), Written::default());
        for _ in 0..300 {
            write(&mut untaken, &mut total, 90, 1);
        }
        let mut now = Mono::ZERO;
        let mut look = |after: Duration, unread| {
            now += after;
            untaken.look(now, unread, 300, 64)
        };
        assert_eq!(look(Duration::ZERO, 300 * 768), Verdict::Hold);
        assert_eq!(look(PATIENCE / 2, 300 * 768), Verdict::Hold);
        assert_eq!(look(PATIENCE / 2, 299 * 768), Verdict::Hold, "it has read one");
        assert_eq!(look(PATIENCE / 2, 299 * 768), Verdict::Hold);
        let Verdict::Close { answered: false, .. } = look(PATIENCE / 2, 299 * 768) else {
            panic!("it reads nothing");
        };
        assert_eq!(look(Duration::ZERO, 0), Verdict::Write);
    }

    /// The bounds hold for what this kernel does.
    #[test]
    #[cfg(target_os = "linux")]
    fn the_kernel_takes_as_much_memory_as_is_assumed() {
        use std::io::Write as _;
        use std::os::unix::net::UnixStream;

        for bytes in [1_usize, 90, 300, 1000, 5000, 30_000] {
            let (mut ours, _theirs) = UnixStream::pair().expect("a pair");
            ours.write_all(&vec![0; bytes]).expect("there is room");
            let unread = super::super::unread::memory(&ours).expect("Linux tells it");
            let bytes = bytes as u64;
            let most = MOST_PER_BYTE * bytes + MOST_PER_WRITE;
            assert!((bytes + LEAST_PER_WRITE..=most).contains(&unread), "{bytes}: {unread}");
        }
    }
}
