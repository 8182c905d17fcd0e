//! Who chooses among a group's sockets: a program with maps, or a classic one without.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use cluster_sched::kernel::{Choice, Maps, Table, classic, program};

use super::state::MapsState;
use super::sys::{self, Map};
use crate::upgrade::{Arriving, Leaving, StateError};

#[derive(Debug)]
pub(super) enum Chooser {
    /// The kernel keeps the program as long as the group; what it reads is written here.
    Program { choice: Choice, maps: Maps<Map> },
    /// Attached again whenever a slot goes on or off.
    Classic { choice: Choice },
}

impl Chooser {
    /// Loads the program, and has it choose among the group that the socket is in.
    ///
    /// # Errors
    /// Why that cannot be. The group is as it was.
    pub(super) fn load(choice: Choice, socket: impl AsFd) -> Result<Self, String> {
        let no = |what: &str| {
            let what = what.to_owned();
            move |error: io::Error| format!("{what}: {error}")
        };
        let wanted = Maps::of(choice);
        let maps = Maps {
            table: Map::new(wanted.table).map_err(no("cannot create a map"))?,
            counter: Map::new(wanted.counter).map_err(no("cannot create a map"))?,
            sockets: Map::new(wanted.sockets).map_err(no("cannot create a map of sockets"))?,
        };
        let numbers = Maps {
            table: maps.table.number(),
            counter: maps.counter.number(),
            sockets: maps.sockets.number(),
        };
        let loaded = sys::load(&program(choice, numbers))
            .map_err(|error| format!("cannot load a program: {error}"))?;
        let waiting = Table::of(choice, []).to_bytes(choice);
        maps.table.update(0, &waiting).map_err(no("cannot write a map"))?;
        sys::attach(socket, &loaded).map_err(no("cannot attach a program"))?;
        Ok(Self::Program { choice, maps })
    }

    /// Has a classic program choose among the group that the socket is in.
    ///
    /// # Errors
    /// If the system takes no program at all.
    pub(super) fn classic(choice: Choice, socket: impl AsFd) -> io::Result<Self> {
        sys::attach_classic(socket, &classic(choice, []))?;
        Ok(Self::Classic { choice })
    }

    /// The places of its maps, if it has any.
    pub(super) fn state(&self, leaving: &mut Leaving) -> Result<Option<MapsState>, StateError> {
        let Self::Program { maps, .. } = self else { return Ok(None) };
        Ok(Some(MapsState {
            table: leaving.place(&maps.table)?,
            counter: leaving.place(&maps.counter)?,
            sockets: leaving.place(&maps.sockets)?,
        }))
    }

    /// One that has chosen already.
    pub(super) fn from_state(
        choice: Choice,
        maps: Option<MapsState>,
        arriving: &mut Arriving,
    ) -> Result<Self, StateError> {
        let Some(places) = maps else { return Ok(Self::Classic { choice }) };
        let specs = Maps::of(choice);
        let maps = Maps {
            table: Map::from_fd(arriving.take(places.table)?, specs.table),
            counter: Map::from_fd(arriving.take(places.counter)?, specs.counter),
            sockets: Map::from_fd(arriving.take(places.sockets)?, specs.sockets),
        };
        Ok(Self::Program { choice, maps })
    }

    pub(super) const fn choice(&self) -> Choice {
        match self {
            Self::Program { choice, .. } | Self::Classic { choice } => *choice,
        }
    }

    /// A new socket of the group stands at that place.
    pub(super) fn put(&self, place: u32, socket: &OwnedFd) -> io::Result<()> {
        match self {
            Self::Program { maps, .. } => maps.sockets.put(place, socket),
            Self::Classic { .. } => Ok(()),
        }
    }

    /// These slots are on, each with its place.
    pub(super) fn choose(&self, on: &BTreeMap<u32, u32>, member: &OwnedFd) -> io::Result<()> {
        let on = on.iter().map(|(&slot, &place)| (slot, place));
        match self {
            Self::Program { choice, maps } => {
                maps.table.update(0, &Table::of(*choice, on).to_bytes(*choice))
            }
            Self::Classic { choice } => {
                fitting(on.collect(), |on| sys::attach_classic(member, &classic(*choice, on)))
            }
        }
    }

    /// Clients that connect are refused. (A classic program can do no more than send them to the waiting
    /// room.)
    pub(super) fn refuse(&self, member: &OwnedFd) -> io::Result<()> {
        match self {
            Self::Program { choice, maps } => {
                maps.table.update(0, &Table::refusing().to_bytes(*choice))
            }
            Self::Classic { choice } => sys::attach_classic(member, &classic(*choice, [])),
        }
    }
}

/// Attaches a classic program for as many slots as the system takes: its length is limited
/// (`net.core.optmem_max`, 20 KiB until Linux 6.9, some hundreds of slots). The others get nothing.
fn fitting(
    mut on: Vec<(u32, u32)>,
    attach: impl Fn(Vec<(u32, u32)>) -> io::Result<()>,
) -> io::Result<()> {
    loop {
        match attach(on.clone()) {
            Err(error) if error.kind() == io::ErrorKind::OutOfMemory && on.len() > 1 => {
                on.truncate(on.len() / 2);
            }
            attached => return attached,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_program_that_is_too_long_is_made_for_fewer() {
        let all: Vec<_> = (0..600).map(|slot| (slot, slot + 1)).collect();
        let attached = Cell::new(0);
        let attach = |most: usize| {
            let attached = &attached;
            move |on: Vec<_>| match on.len() {
                many if many > most => Err(io::Error::from_raw_os_error(libc::ENOMEM)),
                few => {
                    attached.set(few);
                    Ok(())
                }
            }
        };
        fitting(all.clone(), attach(200)).unwrap();
        assert_eq!(attached.get(), 150);
        // Out of memory for good.
        assert!(fitting(all, attach(0)).is_err());
        assert!(fitting(Vec::new(), attach(0)).is_ok());
    }
}
