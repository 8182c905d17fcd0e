//! What a change of a slot does to connections that wait.

use cluster_primary::ServerId;

use super::world::World;

impl World {
    pub(super) fn rescue(&mut self, server: ServerId, slot: Option<u32>, most: usize) {
        assert!(!slot.is_some_and(|slot| self.on.contains(&(server, slot))), "it accepts itself");
        // A server that is closed by now has none.
        let Some(length) = self.queues.get_mut(&(server, slot)) else { return };
        let rescued = (*length).min(most as u32);
        assert!(most > 0);
        *length -= rescued;
        for _ in 0..rescued {
            self.accept(server);
        }
    }

    pub(super) fn switch(&mut self, server: ServerId, slot: u32, on: bool) {
        assert!(self.queues.contains_key(&(server, Some(slot))), "slot {slot} has no socket");
        match on {
            true => assert!(self.on.insert((server, slot)), "slot {slot} was on"),
            false => assert!(self.on.remove(&(server, slot)), "slot {slot} was off"),
        }
    }
}
