//! Records by name, in memory that is reused.

use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

/// Where a record is, as long as it is there.
pub(crate) type At = u32;

/// The place of no record.
pub(crate) const NONE: At = At::MAX;

/// Records of `V`, each with a name.
///
/// A record is found by its name through a hash table: open addressing, at most half full, the
/// next free cell where two want the same. The hash function is fixed, and the table's
/// order is never visible, so that a scheduler's behaviour depends on its inputs alone. (The driver chooses
/// the names: an attacker cannot choose ones that collide.)
///
/// It takes memory when more is held than ever before, and gives none back.
#[derive(Clone, Debug)]
pub(crate) struct Slab<K, V> {
    records: Vec<Record<K, V>>,
    /// Where records were removed.
    free: Vec<At>,
    /// A power of two of them, or none yet.
    cells: Vec<At>,
}

#[derive(Clone, Debug)]
struct Record<K, V> {
    key: K,
    hash: usize,
    value: V,
}

impl<K: Copy + Eq + Hash, V> Slab<K, V> {
    pub(crate) const fn new() -> Self {
        Self { records: Vec::new(), free: Vec::new(), cells: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len() - self.free.len()
    }

    pub(crate) fn find(&self, key: K) -> Option<At> {
        let cell = self.cell(hash(key), |at| self.records[at as usize].key == key)?;
        Some(self.cells[cell])
    }

    /// The name of a record.
    pub(crate) fn key(&self, at: At) -> K {
        self.records[at as usize].key
    }

    /// All records by name, in no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, At)> {
        let there = self.cells.iter().copied().filter(|&at| at != NONE);
        there.map(|at| (self.key(at), at))
    }

    /// Takes a record in. There must be none of that name.
    pub(crate) fn insert(&mut self, key: K, value: V) -> At {
        if (self.len() + 1) * 2 > self.cells.len() {
            self.grow();
        }
        let hash = hash(key);
        let record = Record { key, hash, value };
        let at = if let Some(at) = self.free.pop() {
            self.records[at as usize] = record;
            at
        } else {
            let at = At::try_from(self.records.len()).unwrap_or(NONE);
            assert!(at != NONE, "no system holds four billion connections");
            self.records.push(record);
            at
        };
        self.enter(hash, at);
        at
    }

    /// Removes a record. Its value stays until another takes its place.
    pub(crate) fn remove(&mut self, at: At) {
        let Some(mut hole) = self.cell(self.records[at as usize].hash, |other| other == at) else {
            return;
        };
        self.free.push(at);
        // A record whose search passes the hole moves into it.
        let mask = self.cells.len() - 1;
        let mut cell = hole;
        loop {
            cell = (cell + 1) & mask;
            let at = self.cells[cell];
            if at == NONE {
                break;
            }
            let wanted = self.records[at as usize].hash & mask;
            if cell.wrapping_sub(wanted) & mask >= cell.wrapping_sub(hole) & mask {
                self.cells[hole] = at;
                hole = cell;
            }
        }
        self.cells[hole] = NONE;
    }

    fn grow(&mut self) {
        let more = (self.cells.len() * 2).max(16);
        let old = core::mem::take(&mut self.cells);
        self.cells.resize(more, NONE);
        for at in old.into_iter().filter(|&at| at != NONE) {
            self.enter(self.records[at as usize].hash, at);
        }
    }

    fn enter(&mut self, hash: usize, at: At) {
        let mask = self.cells.len() - 1;
        let mut cell = hash & mask;
        while self.cells[cell] != NONE {
            cell = (cell + 1) & mask;
        }
        self.cells[cell] = at;
    }

    /// The cell of the record that it is, with that hash.
    fn cell(&self, hash: usize, is: impl Fn(At) -> bool) -> Option<usize> {
        // Without cells there is no mask, and nothing at any place.
        let mask = self.cells.len().wrapping_sub(1);
        let mut cell = hash & mask;
        loop {
            match *self.cells.get(cell)? {
                NONE => return None,
                at if is(at) => return Some(cell),
                _ => cell = (cell + 1) & mask,
            }
        }
    }
}

impl<K, V> core::ops::Index<At> for Slab<K, V> {
    type Output = V;

    fn index(&self, at: At) -> &V {
        &self.records[at as usize].value
    }
}

impl<K, V> core::ops::IndexMut<At> for Slab<K, V> {
    fn index_mut(&mut self, at: At) -> &mut V {
        &mut self.records[at as usize].value
    }
}

/// The same in every run and on every machine of one word size.
fn hash(key: impl Hash) -> usize {
    let mut mixer = Mixer(0);
    key.hash(&mut mixer);
    mixer.finish() as usize
}

/// Multiplies by the golden ratio, 64 bits at a time.
struct Mixer(u64);

impl Mixer {
    const fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.mix(number.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.mix(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.mix(number);
    }

    fn write_usize(&mut self, number: usize) {
        self.mix(number as u64);
    }

    /// The high bits are the best mixed, and the low ones are those that are used.
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn it_finds_what_a_map_finds() {
        let mut slab = Slab::new();
        let mut map = BTreeMap::new();
        let mut state = 1u32;
        for step in 0..20_000u32 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Few names, so that cells are fought for; more and less of them held by turns.
            let key = (state >> 16) % if step / 1000 % 2 == 0 { 40 } else { 700 };
            match map.remove(&key) {
                Some(at) => slab.remove(at),
                None => {
                    let at = slab.insert(key, step);
                    assert!(map.values().all(|&other| other != at));
                    map.insert(key, at);
                }
            }
            assert_eq!(slab.len(), map.len());
            assert_eq!(slab.find(key), map.get(&key).copied());
        }
        for key in 0..700 {
            assert_eq!(slab.find(key), map.get(&key).copied());
        }
        for (&key, &at) in &map {
            assert_eq!(slab.key(at), key);
        }
    }

    #[test]
    fn names_of_one_hash_are_told_apart() {
        #[derive(Clone, Copy, PartialEq, Eq)]
        struct Same(u8);
        impl Hash for Same {
            fn hash<H: Hasher>(&self, state: &mut H) {
                state.write_u64(u64::MAX);
            }
        }
        let mut slab = Slab::new();
        assert_eq!(slab.find(Same(0)), None);
        let places = [0, 1, 2, 3, 4].map(|name| slab.insert(Same(name), ()));
        slab.remove(places[1]);
        slab.remove(places[3]);
        let found = [0, 1, 2, 3, 4].map(|name| slab.find(Same(name)));
        assert_eq!(found, [Some(places[0]), None, Some(places[2]), None, Some(places[4])]);
    }

    #[test]
    fn memory_is_used_again() {
        let mut slab = Slab::new();
        for conn in 0..10_000u64 {
            slab.insert(conn, ());
            if let Some(at) = conn.checked_sub(7).and_then(|old| slab.find(old)) {
                slab.remove(at);
            }
        }
        assert_eq!((slab.len(), slab.records.len(), slab.cells.len()), (7, 8, 16));
    }

    /// Names that are counted up must not all want one cell.
    #[test]
    fn names_in_order_are_spread() {
        for step in [1, 2, 64, 4096, 1 << 32] {
            let mut wanted: Vec<_> = (0..512u64).map(|n| hash(n * step) % 1024).collect();
            wanted.sort_unstable();
            wanted.dedup();
            assert!(wanted.len() > 300, "{step}: {}", wanted.len());
        }
    }
}
