//! Which CPUs a slot's worker runs on.

use rustix::io::Errno;
use rustix::thread::{CpuSet, sched_getaffinity};

use crate::settings::Affinity;

/// The CPUs of the worker in that slot.
pub(super) fn cpus(affinity: &Affinity, slot: u32) -> Result<CpuSet, Errno> {
    match affinity {
        Affinity::Each => {
            let ours = sched_getaffinity(None)?;
            let ours: Vec<_> = (0..CpuSet::MAX_CPU).filter(|cpu| ours.is_set(*cpu)).collect();
            set(nth(&ours, slot).into_iter().copied())
        }
        Affinity::Sets(sets) => {
            let cpus = nth(sets, slot).into_iter().flatten();
            set(cpus.map(|cpu| usize::try_from(*cpu).unwrap_or(usize::MAX)))
        }
    }
}

/// Around and around.
fn nth<T>(all: &[T], slot: u32) -> Option<&T> {
    let slot = usize::try_from(slot).unwrap_or(usize::MAX);
    all.get(slot.checked_rem(all.len())?)
}

/// As the kernel does: there must be one, and only so many can be named.
fn set(cpus: impl Iterator<Item = usize>) -> Result<CpuSet, Errno> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        if cpu >= CpuSet::MAX_CPU {
            return Err(Errno::INVAL);
        }
        set.set(cpu);
    }
    if set.count() == 0 { Err(Errno::INVAL) } else { Ok(set) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(affinity: &Affinity, slot: u32) -> Result<Vec<usize>, Errno> {
        let set = cpus(affinity, slot)?;
        Ok((0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
    }

    #[test]
    fn each_slot_has_one_of_ours_and_they_go_around() {
        let ours = sched_getaffinity(None).expect("it can be asked");
        let ours: Vec<_> = (0..CpuSet::MAX_CPU).filter(|cpu| ours.is_set(*cpu)).collect();
        for (slot, cpu) in (0..).zip(ours.iter().chain(&ours)) {
            assert_eq!(listed(&Affinity::Each, slot), Ok(vec![*cpu]));
        }
    }

    #[test]
    fn sets_go_around_too() {
        let sets = Affinity::Sets(vec![vec![0, 1], vec![7]]);
        let found: Vec<_> = (0..4).map(|slot| listed(&sets, slot)).collect();
        assert_eq!(found, [Ok(vec![0, 1]), Ok(vec![7]), Ok(vec![0, 1]), Ok(vec![7])]);
    }

    #[test]
    fn nothing_and_too_much_is_refused() {
        for sets in [vec![], vec![vec![]], vec![vec![1024]], vec![vec![u32::MAX]]] {
            assert_eq!(listed(&Affinity::Sets(sets), 0), Err(Errno::INVAL));
        }
    }
}
