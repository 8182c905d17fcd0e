//! A random worker.

use super::state::PolicyState;
use crate::policy::{Choice, Policy, Standing};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// A random worker; all eligible ones are equally likely.
///
/// The same seed and the same inputs give the same choices. Not for secrets: the generator is
/// SplitMix64. Choosing is O(1), but O(n) for a connection that was refused; to find a worker that
/// becomes ready or busy is O(log n).
#[derive(Clone, Debug)]
pub struct Random<W> {
    /// The ready workers in no particular order.
    ready: Vec<W>,
    /// All workers, and where those that are ready stand.
    places: BTreeMap<W, Option<usize>>,
    state: u64,
}

impl<W: Copy + Ord> Random<W> {
    /// With no workers yet. Any seed is as good as any other, zero included.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { ready: Vec::new(), places: BTreeMap::new(), state: seed }
    }

    fn remove(&mut self, worker: W) {
        if let Some(place) = self.places.get_mut(&worker).and_then(Option::take) {
            self.ready.swap_remove(place);
            if let Some(moved) = self.ready.get(place) {
                self.places.insert(*moved, Some(place));
            }
        }
    }

    /// A random one of `choices`.
    fn draw(state: &mut u64, choices: &[W]) -> Option<W> {
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = *state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^= bits >> 31;
        // The high half of the product is below the length; its bias is one in 2^64 / length.
        let place = (u128::from(bits) * choices.len() as u128) >> 64;
        choices.get(place as usize).copied()
    }

    fn choose(&mut self, mut free: impl FnMut(W) -> bool) -> Option<W> {
        let worker = Self::draw(&mut self.state, &self.ready)?;
        if free(worker) {
            return Some(worker);
        }
        // Drawing once more among the rest keeps all of them equally likely.
        let rest: Vec<W> = self.ready.iter().copied().filter(|&worker| free(worker)).collect();
        Self::draw(&mut self.state, &rest)
    }
}

impl<W: Copy + Ord, C> Policy<W, C> for Random<W> {
    fn join(&mut self, worker: W, _slot: u32) {
        self.places.insert(worker, None);
    }

    fn leave(&mut self, worker: W) {
        self.remove(worker);
        self.places.remove(&worker);
    }

    fn ready(&mut self, worker: W) {
        if let Some(place @ None) = self.places.get_mut(&worker) {
            *place = Some(self.ready.len());
            self.ready.push(worker);
        }
    }

    fn busy(&mut self, worker: W) {
        self.remove(worker);
    }

    fn pick(
        &mut self,
        _conn: &C,
        _client: Option<u32>,
        standing: &mut dyn FnMut(W) -> Standing,
    ) -> Choice<W> {
        let choice = self.choose(|worker| standing(worker) == Standing::Free);
        choice.map_or(Choice::Wait, Choice::Give)
    }

    /// How far the generator has come, and the ready workers in the order by which they are drawn.
    fn state(&self) -> PolicyState<W> {
        PolicyState { order: self.ready.clone(), numbers: [self.state].into() }
    }

    fn resume(&mut self, state: &PolicyState<W>) {
        if let Some(&reached) = state.numbers.first() {
            self.state = reached;
        }
        let order: BTreeMap<W, usize> =
            state.order.iter().enumerate().map(|(place, &worker)| (worker, place)).collect();
        self.ready.sort_by_key(|worker| order.get(worker).copied());
        for (place, &worker) in self.ready.iter().enumerate() {
            self.places.insert(worker, Some(place));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_workers(seed: u64, workers: usize) -> Random<usize> {
        let mut policy = Random::new(seed);
        for worker in 0..workers {
            Policy::<usize, ()>::join(&mut policy, worker, 0);
            Policy::<usize, ()>::ready(&mut policy, worker);
        }
        policy
    }

    #[test]
    fn all_are_equally_likely_whichever_is_excluded() {
        let mut policy = with_workers(1, 5);
        let mut count = [0; 5];
        for _ in 0..40_000 {
            count[policy.choose(|worker| worker != 3).unwrap()] += 1;
        }
        assert_eq!(count[3], 0);
        for worker in [0, 1, 2, 4] {
            // Five standard deviations of a fair draw are about 433.
            assert!((9_500..10_500).contains(&count[worker]), "{count:?}");
        }
    }

    #[test]
    fn a_seed_decides_all_choices() {
        let run = |seed| {
            let mut policy = with_workers(seed, 100);
            [(); 20].map(|()| policy.choose(|_| true))
        };
        assert_eq!(run(5), run(5));
        assert_ne!(run(5), run(6));
    }

    #[test]
    fn who_is_busy_is_not_drawn() {
        let mut policy = with_workers(0, 4);
        for gone in [1, 3, 0] {
            Policy::<usize, ()>::busy(&mut policy, gone);
        }
        for _ in 0..20 {
            assert_eq!(policy.choose(|_| true), Some(2));
        }
        Policy::<usize, ()>::leave(&mut policy, 2);
        assert_eq!(policy.choose(|_| true), None);
    }
}
