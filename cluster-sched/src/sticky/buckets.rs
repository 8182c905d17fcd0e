//! The table from clients to slots.

use super::client::finish;
use alloc::vec::Vec;

/// How many buckets there are: a prime, the largest below 2^14.
///
/// A prime, so that every step from 1 to `SIZE - 1` visits all buckets. That many, because the slots
/// take their buckets in turns: of `n` slots each has `SIZE / n` of them, or one more. With 8 slots
/// that is 2,047 or 2,048 (0.05 %), with 64 it is 255 or 256 (0.4 %), with 400 it is 40 or 41
/// (2.5 %); of 4,093 buckets, 400 slots would have 10 or 11. What moves needlessly when a slot comes
/// or goes shrinks with the same ratio. And not more, since a table is rebuilt whenever that
/// happens, which takes some hundred microseconds, and should stay in a core's nearest cache
/// (32 KiB here).
pub const SIZE: usize = 16_381;

const EMPTY: u16 = u16::MAX;

/// The bucket of a client: `client % SIZE`.
#[must_use]
pub const fn bucket_of(client: u32) -> usize {
    client as usize % SIZE
}

/// Which slot each bucket belongs to, as Maglev's lookup table has it.
///
/// A pure function of the *set* of slots: neither their order nor what was before matters. So two
/// ends that know of the same slots send a client the same way, and a client is back where it was
/// as soon as its slot is.
///
/// When one of `n` slots goes, its clients are spread over the rest, and few others move: of all
/// clients, less than 1 % with up to 16 slots and less than 2 % with up to 400. (The tests below
/// hold it to that.)
///
/// Beyond [`SIZE`] slots those with the highest numbers have no bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buckets {
    /// In ascending order.
    slots: Vec<u32>,
    /// For each bucket, the place in `slots` of the slot that has it. Empty if there are no slots. (Places of
    /// those that have a bucket are below `SIZE`, and fit.)
    places: Vec<u16>,
}

impl Buckets {
    /// Deals the buckets out among `slots`, in whatever order they come; a slot that is named twice
    /// counts once.
    ///
    /// Slot `s` would like bucket `offset`, then `offset + skip`, then `offset + 2 * skip`, and so on
    /// (all modulo [`SIZE`]), where with `f` as the finalizer in [`client_of`](super::client_of)
    ///
    /// ```text
    /// offset = f(s ^ 0x9E3779B9) % SIZE
    /// skip   = f(s ^ 0x7F4A7C15) % (SIZE - 1) + 1
    /// ```
    ///
    /// In turns, the lowest first, each slot takes the first bucket on its list that is still free,
    /// until all are taken. That is O(`SIZE` · log `SIZE`) however many slots there are.
    #[must_use]
    pub fn new(slots: impl IntoIterator<Item = u32>) -> Self {
        let mut buckets = Self::empty();
        buckets.rebuild(slots);
        buckets
    }

    /// Of no slots: it has no place for any client.
    #[must_use]
    pub const fn empty() -> Self {
        Self { slots: Vec::new(), places: Vec::new() }
    }

    /// As [`new`](Self::new), in the memory that this one has.
    pub fn rebuild(&mut self, slots: impl IntoIterator<Item = u32>) {
        self.slots.clear();
        self.slots.extend(slots);
        self.slots.sort_unstable();
        self.slots.dedup();
        self.places.clear();
        if self.slots.is_empty() {
            return;
        }
        self.places.resize(SIZE, EMPTY);
        let mut wishes: Vec<Wishes> = self.slots.iter().map(|&slot| Wishes::of(slot)).collect();
        let mut free = SIZE;
        while free > 0 {
            for (place, wishes) in wishes.iter_mut().enumerate().take(free) {
                let bucket = loop {
                    let bucket = wishes.next();
                    if self.places[bucket] == EMPTY {
                        break bucket;
                    }
                };
                self.places[bucket] = place as u16;
                free -= 1;
            }
        }
    }

    /// The slots, in ascending order.
    #[must_use]
    pub fn slots(&self) -> &[u32] {
        &self.slots
    }

    /// The slot of a client; none if there are no slots.
    #[must_use]
    pub fn slot_of(&self, client: u32) -> Option<u32> {
        self.place_of(bucket_of(client)).map(|place| self.slots[place])
    }

    /// The place in [`slots`](Self::slots) of the slot that has this bucket; none if there are no
    /// slots, or no such bucket.
    #[must_use]
    pub fn place_of(&self, bucket: usize) -> Option<usize> {
        self.places.get(bucket).copied().map(usize::from)
    }

    /// The slot of each bucket, from bucket 0 to bucket `SIZE - 1`: what a copy of the table is made
    /// from. Nothing if there are no slots.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = u32> {
        self.places.iter().map(|&place| self.slots[usize::from(place)])
    }
}

/// The buckets in the order in which one slot would like to have them.
#[derive(Clone, Copy)]
struct Wishes {
    next: usize,
    skip: usize,
}

impl Wishes {
    const fn of(slot: u32) -> Self {
        let next = finish(slot ^ 0x9E37_79B9) as usize % SIZE;
        let skip = finish(slot ^ 0x7F4A_7C15) as usize % (SIZE - 1) + 1;
        Self { next, skip }
    }

    fn next(&mut self) -> usize {
        let bucket = self.next;
        self.next += self.skip;
        if self.next >= SIZE {
            self.next -= SIZE;
        }
        bucket
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn shares(buckets: &Buckets) -> BTreeMap<u32, usize> {
        let mut shares = BTreeMap::new();
        for slot in buckets.iter() {
            *shares.entry(slot).or_insert(0) += 1;
        }
        shares
    }

    #[test]
    fn the_size_is_prime() {
        assert!(
            (2..SIZE).take_while(|factor| factor * factor <= SIZE).all(|f| !SIZE.is_multiple_of(f))
        );
    }

    #[test]
    fn no_slot_has_two_buckets_more_than_another() {
        for count in [1, 2, 3, 5, 8, 64, 401, 10_000] {
            let shares = shares(&Buckets::new(0..count));
            assert_eq!(shares.len(), count as usize);
            let (most, least) = (shares.values().max().unwrap(), shares.values().min().unwrap());
            assert!(most - least <= 1, "{count}: {least} to {most}");
        }
    }

    #[test]
    fn slots_are_a_set() {
        let buckets = Buckets::new([7, 1, 4]);
        assert_eq!(buckets.slots(), [1, 4, 7]);
        assert_eq!(buckets, Buckets::new([4, 7, 1, 1, 7]));
        let mut rebuilt = Buckets::new(0..50);
        rebuilt.rebuild([4, 1, 7]);
        assert_eq!(rebuilt, buckets);
        assert_eq!(buckets.slot_of(5), buckets.slot_of(5 + SIZE as u32));
        assert_eq!(buckets.place_of(SIZE), None);
    }

    #[test]
    fn without_slots_there_is_no_place_and_with_too_many_not_for_all() {
        let none = Buckets::new([]);
        assert_eq!((none.slot_of(1), none.iter().len()), (None, 0));
        assert_eq!(none, Buckets::empty());
        let crowd = Buckets::new(0..20_000);
        assert_eq!(shares(&crowd), (0..SIZE as u32).map(|slot| (slot, 1)).collect());
        assert_eq!(Buckets::new([u32::MAX]).slot_of(9), Some(u32::MAX));
    }

    #[test]
    fn few_move_who_need_not() {
        for (count, percent) in
            [(2, 1), (3, 1), (4, 1), (8, 1), (16, 1), (64, 2), (256, 2), (400, 2)]
        {
            let before = Buckets::new(0..count);
            for gone in [0, count / 3, count - 1] {
                let after = Buckets::new((0..count).filter(|&slot| slot != gone));
                let moved = before.iter().zip(after.iter());
                let moved = moved.filter(|&(was, is)| was != gone && was != is).count();
                assert!(moved * 100 < SIZE * percent, "{gone} of {count}: {moved}");
            }
        }
    }

    /// The clients of a slot that goes must not all become one neighbour's.
    #[test]
    fn whose_slot_goes_is_spread_over_the_rest() {
        let before = Buckets::new(0..8);
        let after = Buckets::new((0..8).filter(|&slot| slot != 5));
        let mut heirs = BTreeMap::new();
        for (was, is) in before.iter().zip(after.iter()) {
            if was == 5 {
                *heirs.entry(is).or_insert(0) += 1;
            }
        }
        let even = SIZE / 8 / 7;
        assert_eq!(heirs.len(), 7);
        assert!(heirs.values().all(|share| (even * 8 / 10..even * 12 / 10).contains(share)));
    }

    /// Another implementation must produce this table.
    #[test]
    fn fixed_vectors() {
        let first = |buckets: Buckets| buckets.iter().take(12).collect::<Vec<_>>();
        assert_eq!(first(Buckets::new(0..3)), [1, 2, 0, 1, 2, 1, 2, 1, 1, 2, 2, 1]);
        assert_eq!(first(Buckets::new([0, 2])), [0, 2, 0, 2, 2, 2, 2, 0, 2, 2, 2, 2]);
        assert_eq!(first(Buckets::new(0..8)), [5, 4, 7, 7, 3, 6, 7, 1, 4, 2, 6, 1]);
        let sum = |buckets: Buckets| {
            let slots = buckets.iter().enumerate();
            slots.fold(0u32, |sum, (bucket, slot)| sum.wrapping_add(bucket as u32 * (slot + 1)))
        };
        assert_eq!(sum(Buckets::new(0..3)), 268_320_386);
        assert_eq!(sum(Buckets::new(0..100)), 2_494_730_758);
    }
}
