//! What has to hold at every time.

use cluster_primary::Placement;

use super::world::{Place, World};

impl World {
    pub(super) fn check(&self) {
        let stats = self.machine.stats();
        let ended = self.handed_over + self.shed;
        assert_eq!(stats.accepted, self.conns.len() as u64);
        assert_eq!(stats.handed_over, self.handed_over);
        assert_eq!(stats.shed_full + stats.shed_refused + stats.shed_closed, self.shed);
        let here = self.conns.values().filter(|place| **place == Place::Here).count();
        assert_eq!(stats.waiting, here);
        assert_eq!(stats.accepted, ended + here as u64 + self.in_flight().len() as u64);

        let there = self.workers.iter().filter(|(_, w)| w.connected || !w.exited);
        let there: Vec<_> = there.map(|(id, _)| *id).collect();
        assert_eq!(self.machine.all_workers().collect::<Vec<_>>(), there);
        for (id, worker) in &self.workers {
            let Some(state) = self.machine.worker(*id) else { continue };
            assert_eq!((state.connected, state.dead), (worker.connected, worker.exited));
        }
        // Sockets of slots are counted as well.
        let closing = self.closing.values().filter(|wanted| **wanted).count();
        let sockets = self.binding.len() + self.open.len() + closing;
        let counted = self.machine.open_sockets();
        let by_slots = self.settings.placement == Placement::Kernel;
        assert!(counted == sockets || (by_slots && counted > sockets), "{counted}, not {sockets}");
        assert!(counted <= self.settings.limits.max_sockets, "{counted} are too many");
        // The worker that asked waits for a socket that is being made.
        assert!(
            self.asked.iter().all(|(w, _)| self.workers[w].leaving)
                || !self.binding.is_empty()
                || !self.opening.is_empty()
        );
    }
}
