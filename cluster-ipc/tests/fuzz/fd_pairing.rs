//! The body of the fuzz target `fd_pairing`: reads and frames in any interleaving, against a model
//! that sees the stream as a whole and forgets nothing.
//!
//! The first byte is the limit; each further pair of bytes is one step, see [`Run::step`].

use std::collections::VecDeque;
use std::ops::Range;

use cluster_ipc::{Found, Pairing, TooManyHandles};

/// Runs the bytes as steps. Panics as soon as the pairing and the model disagree.
pub(crate) fn run(data: &[u8]) {
    let Some((&first, steps)) = data.split_first() else { return };
    let limit = usize::from(first % 9);
    let mut run = Run {
        pairing: Pairing::new(limit),
        limit,
        reads: Vec::new(),
        received: 0,
        next_frame: 0,
        begun: None,
        handles: 0,
        taken: 0,
    };
    for step in steps.chunks_exact(2) {
        run.step(step[0], step[1]);
        run.check_books();
    }
    run.pairing.clear();
    assert_eq!(run.pairing.waiting(), 0);
}

struct Run {
    pairing: Pairing<u32>,
    limit: usize,
    /// Every read that brought handles, with those that no frame took yet.
    reads: Vec<Read>,
    received: u64,
    next_frame: u64,
    /// The frame at `next_frame`, where it was looked at: its length, its handles.
    begun: Option<(u64, usize)>,
    /// Handles are numbered as they come.
    handles: u32,
    taken: u64,
}

struct Read {
    range: Range<u64>,
    handles: VecDeque<u32>,
    truncated: bool,
}

impl Run {
    /// Bits 0 and 1 say what happens, 2 and 3 how many handles there are, 4 that more were lost;
    /// the second byte is a length.
    fn step(&mut self, what: u8, length: u8) {
        let handles = usize::from(what >> 2 & 3);
        match what & 3 {
            0 | 1 => self.read(usize::from(length % 17), handles, what & 16 != 0),
            2 => self.frame(1 + u64::from(length % 32), handles),
            _ => self.drain(),
        }
    }

    fn read(&mut self, bytes: usize, count: usize, truncated: bool) {
        let handles: VecDeque<u32> = (self.handles..).take(count).collect();
        self.handles += count as u32;
        let range = self.received..self.received + bytes as u64;
        self.received = range.end;
        let waiting = self.pairing.waiting();
        let read = self.pairing.read(bytes, handles.iter().copied(), truncated);
        // Handles come with bytes; those that do not belong to no message.
        let fits = bytes == 0 || waiting + count <= self.limit;
        assert_eq!(read, if fits { Ok(()) } else { Err(TooManyHandles { limit: self.limit }) });
        if fits && bytes > 0 {
            self.reads.push(Read { range, handles, truncated });
        }
    }

    /// Gives the next frame to the pairing if it is there as a whole.
    fn frame(&mut self, length: u64, handles: usize) {
        let (length, handles) = *self.begun.get_or_insert((length, handles));
        let frame = self.next_frame..self.next_frame + length;
        if frame.end > self.received {
            return;
        }
        (self.begun, self.next_frame) = (None, frame.end);
        if handles == 0 {
            self.pairing.pass(frame);
            return;
        }
        let mut taken = vec![u32::MAX];
        let found = self.pairing.take(frame.clone(), handles, &mut taken);
        let read = self.reads.iter_mut().find(|read| read.range.contains(&frame.start));
        let expected = match read {
            Some(read) if read.handles.len() >= handles => {
                // In the order in which they came, behind what was there.
                assert!(taken[1..].iter().copied().eq(read.handles.drain(..handles)));
                self.taken += handles as u64;
                Found::All
            }
            Some(read) => Found::Missing { lost: read.truncated },
            None => Found::Missing { lost: false },
        };
        assert_eq!(found, expected, "the frame at {frame:?}");
        let count = if found == Found::All { handles } else { 0 };
        assert_eq!((taken[0], taken.len()), (u32::MAX, 1 + count));
    }

    /// Says that no whole frame is left, where that is so.
    fn drain(&mut self) {
        let begun = self.begun.is_some_and(|(length, _)| self.next_frame + length > self.received);
        if !begun && self.next_frame < self.received {
            return;
        }
        self.pairing.drained();
        // Only the frame that has begun can still claim any.
        let claimable = self.reads.iter().find(|read| read.range.contains(&self.next_frame));
        assert_eq!(self.pairing.waiting(), claimable.map_or(0, |read| read.handles.len()));
    }

    /// Every handle waits, was taken, or was dropped and counted.
    fn check_books(&self) {
        assert!(self.pairing.waiting() <= self.limit);
        let waiting = self.pairing.waiting() as u64;
        assert_eq!(self.taken + self.pairing.unexpected() + waiting, u64::from(self.handles));
    }
}
