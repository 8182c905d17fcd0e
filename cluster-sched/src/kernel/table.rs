//! The table that the program reads: which slots get connections now.

use super::choice::Choice;
use crate::sticky::{Buckets, SIZE};
use alloc::vec;
use alloc::vec::Vec;

/// The place of the waiting room: a socket that no worker has. Connections wait there as long as no
/// slot is on.
pub const ROOM: u32 = 0;

/// How many places a group has at most, the waiting room included.
pub const MAX_PLACES: u32 = 4096;

/// Which place gets which share of the connections.
///
/// Each connection comes to one entry; every entry is as likely as any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    entries: Vec<u32>,
}

impl Table {
    /// The slots that are on, each with its place, in any order. Without any, everything goes to
    /// the [`ROOM`].
    ///
    /// # Panics
    /// If there are more than [`MAX_PLACES`].
    #[must_use]
    pub fn of(choice: Choice, on: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let mut on: Vec<(u32, u32)> = on.into_iter().collect();
        on.sort_unstable();
        on.dedup();
        assert!(on.len() <= MAX_PLACES as usize, "there are {} slots", on.len());
        if on.is_empty() {
            return Self { entries: vec![ROOM] };
        }
        let entries = match choice {
            Choice::RoundRobin | Choice::Random => on.into_iter().map(|(_, place)| place).collect(),
            Choice::Sticky => {
                let buckets = Buckets::new(on.iter().map(|&(slot, _)| slot));
                (0..SIZE).filter_map(|bucket| buckets.place_of(bucket)).map(|at| on[at].1).collect()
            }
        };
        Self { entries }
    }

    /// The server is closed: clients are refused, as if no socket listened.
    #[must_use]
    pub const fn refusing() -> Self {
        Self { entries: Vec::new() }
    }

    /// The places, as the program counts them.
    #[must_use]
    pub fn entries(&self) -> &[u32] {
        &self.entries
    }

    /// The value of the map [`Maps::table`]: how many entries there are, then the entries, then as
    /// many zeros as belong to it.
    #[must_use]
    pub fn to_bytes(&self, choice: Choice) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4 * (1 + capacity(choice) as usize));
        bytes.extend((self.entries.len() as u32).to_ne_bytes());
        bytes.extend(self.entries.iter().flat_map(|entry| entry.to_ne_bytes()));
        bytes.resize(4 * (1 + capacity(choice) as usize), 0);
        bytes
    }
}

/// How many entries a table has at most.
pub(super) const fn capacity(choice: Choice) -> u32 {
    match choice {
        Choice::RoundRobin | Choice::Random => MAX_PLACES,
        Choice::Sticky => SIZE as u32,
    }
}

/// One of something for each map that the program uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maps<T> {
    /// What [`Table::to_bytes`] says, as its only value.
    pub table: T,
    /// The number of connections so far, as its only value: eight bytes.
    pub counter: T,
    /// The sockets by their places.
    pub sockets: T,
}

/// A map that the program uses. Its keys are numbers of four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapSpec {
    /// What it holds.
    pub kind: MapKind,
    /// Bytes of a value.
    pub value_size: u32,
    /// How many values it has.
    pub max_entries: u32,
}

/// What a map holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    /// Values: `BPF_MAP_TYPE_ARRAY`.
    Values,
    /// Sockets of a group: `BPF_MAP_TYPE_REUSEPORT_SOCKARRAY`.
    Sockets,
}

impl MapSpec {
    const fn value(value_size: u32) -> Self {
        Self { kind: MapKind::Values, value_size, max_entries: 1 }
    }
}

impl Maps<MapSpec> {
    /// What maps the program for that choice needs.
    #[must_use]
    pub const fn of(choice: Choice) -> Self {
        Self {
            table: MapSpec::value(4 * (1 + capacity(choice))),
            counter: MapSpec::value(8),
            sockets: MapSpec { kind: MapKind::Sockets, value_size: 8, max_entries: MAX_PLACES },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sticky::client_of;

    #[test]
    fn slots_are_listed_in_their_order_by_their_places() {
        for choice in [Choice::RoundRobin, Choice::Random] {
            assert_eq!(Table::of(choice, [(7, 1), (0, 3), (2, 2)]).entries(), [3, 2, 1]);
        }
    }

    #[test]
    fn clients_come_to_the_slot_of_the_policy() {
        let on = [(5, 1), (0, 2), (9, 3)];
        let table = Table::of(Choice::Sticky, on);
        let buckets = Buckets::new([0, 5, 9]);
        for n in 0..1000 {
            let client = client_of(core::net::Ipv4Addr::from_bits(n * 77_777).into());
            let place = table.entries()[client as usize % table.entries().len()];
            let slot = buckets.slot_of(client).unwrap();
            assert!(on.contains(&(slot, place)));
        }
    }

    #[test]
    fn without_slots_there_is_the_room_and_after_the_end_nothing() {
        for &choice in Choice::ALL {
            assert_eq!(Table::of(choice, []).entries(), [ROOM]);
            assert_eq!(Table::refusing().entries(), []);
        }
    }

    #[test]
    fn a_value_fills_its_map() {
        for &choice in Choice::ALL {
            for table in [Table::refusing(), Table::of(choice, (0..100).map(|n| (n, n + 1)))] {
                let size = Maps::of(choice).table.value_size as usize;
                assert_eq!(table.to_bytes(choice).len(), size);
            }
        }
    }
}
