//! The log that relays append to and `golden` reads: one entry per chunk that a relay received.
//!
//! All relays of a recording share one file, opened for appending, and write each entry with
//! one `write`, so the order of entries is the order in which they were seen.
//!
//! An entry is: worker id (u32, little endian), direction, handle kind, dropped (a byte each),
//! length (u32, little endian), bytes.

use std::fs::File;
use std::io::{self, Write};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Direction {
    ToWorker,
    ToPrimary,
}

impl Direction {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Direction::ToWorker => "P>W",
            Direction::ToPrimary => "W>P",
        }
    }
}

/// What a descriptor turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp,
    Udp,
    Pipe,
    Other,
}

impl Kind {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Kind::Tcp => "tcp",
            Kind::Udp => "udp",
            Kind::Pipe => "pipe",
            Kind::Other => "other",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) worker: u32,
    pub(crate) direction: Direction,
    pub(crate) handle: Option<Kind>,
    /// The relay kept the descriptor from the receiver.
    pub(crate) dropped: bool,
    pub(crate) bytes: Vec<u8>,
}

const HEADER: usize = 11;

impl Entry {
    pub(crate) fn append_to(&self, log: &mut File) -> io::Result<()> {
        let mut line = Vec::with_capacity(HEADER + self.bytes.len());
        line.extend_from_slice(&self.worker.to_le_bytes());
        line.push(u8::from(self.direction == Direction::ToPrimary));
        line.push(match self.handle {
            None => 0,
            Some(Kind::Tcp) => 1,
            Some(Kind::Udp) => 2,
            Some(Kind::Pipe) => 3,
            Some(Kind::Other) => 4,
        });
        line.push(u8::from(self.dropped));
        let length = u32::try_from(self.bytes.len()).map_err(io::Error::other)?;
        line.extend_from_slice(&length.to_le_bytes());
        line.extend_from_slice(&self.bytes);
        log.write_all(&line)
    }

    /// All entries of a log, or `None` if it is torn.
    pub(crate) fn read_all(mut log: &[u8]) -> Option<Vec<Entry>> {
        let mut entries = Vec::new();
        while !log.is_empty() {
            let (header, rest) = log.split_first_chunk::<HEADER>()?;
            let word = |at: usize| {
                u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
            };
            let (bytes, rest) = rest.split_at_checked(word(7) as usize)?;
            entries.push(Entry {
                worker: word(0),
                direction: if header[4] == 1 { Direction::ToPrimary } else { Direction::ToWorker },
                handle: match header[5] {
                    0 => None,
                    1 => Some(Kind::Tcp),
                    2 => Some(Kind::Udp),
                    3 => Some(Kind::Pipe),
                    _ => Some(Kind::Other),
                },
                dropped: header[6] == 1,
                bytes: bytes.to_vec(),
            });
            log = rest;
        }
        Some(entries)
    }
}
