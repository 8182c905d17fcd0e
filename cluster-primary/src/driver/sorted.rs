//! A small set that keeps its memory.

/// Few values, in order, taken all at once again and again: a tree would take and give back memory
/// for that each time.
#[derive(Debug)]
pub(super) struct Sorted<T> {
    values: Vec<T>,
    /// What [`take`](Self::take) gives out, by turns.
    spare: Vec<T>,
}

impl<T> Default for Sorted<T> {
    fn default() -> Self {
        Self { values: Vec::new(), spare: Vec::new() }
    }
}

impl<T: Ord + Copy> Sorted<T> {
    /// Adds a value; whether it is new.
    pub(super) fn insert(&mut self, value: T) -> bool {
        let place = self.values.binary_search(&value);
        if let Err(place) = place {
            self.values.insert(place, value);
        }
        place.is_err()
    }

    /// Takes a value out; whether it was there.
    pub(super) fn remove(&mut self, value: &T) -> bool {
        let place = self.values.binary_search(value);
        if let Ok(place) = place {
            self.values.remove(place);
        }
        place.is_ok()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.values.iter()
    }

    pub(super) fn clear(&mut self) {
        self.values.clear();
    }

    /// All values; [`give_back`](Self::give_back) what they came in.
    pub(super) fn take(&mut self) -> Vec<T> {
        std::mem::swap(&mut self.values, &mut self.spare);
        std::mem::take(&mut self.spare)
    }

    pub(super) fn give_back(&mut self, mut taken: Vec<T>) {
        taken.clear();
        if taken.capacity() > self.spare.capacity() {
            self.spare = taken;
        }
    }

    /// Adds all values of another one, which is empty then.
    pub(super) fn append(&mut self, other: &mut Self) {
        for value in other.values.drain(..) {
            self.insert(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_once_each_and_in_order() {
        let mut set = Sorted::default();
        for value in [3, 1, 2, 3, 1] {
            set.insert(value);
        }
        assert!(set.remove(&2) && !set.remove(&2));
        let taken = set.take();
        assert_eq!(taken, [1, 3]);
        assert!(set.is_empty());
        assert!(set.insert(5) && !set.insert(5));
        set.give_back(taken);
        let mut other = Sorted::default();
        other.insert(4);
        set.append(&mut other);
        assert_eq!(set.iter().copied().collect::<Vec<_>>(), [4, 5]);
        assert!(other.is_empty());
    }
}
