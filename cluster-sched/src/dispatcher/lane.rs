//! One worker, as the dispatcher sees it: what its servers have in common.

use super::window::Window;
use alloc::vec::Vec;

/// A worker that may be given connections by several servers.
#[derive(Clone, Debug)]
pub(super) struct Lane<S> {
    /// Servers that know it, in ascending order. Most workers have one.
    pub(super) servers: Vec<S>,
    /// How many of these may give it connections.
    pub(super) present: u32,
    /// Hand-offs in flight, of all servers.
    pub(super) in_flight: usize,
    /// It is expected to answer soon, so that connections may be kept back for it.
    pub(super) expected: bool,
    /// How many connections it holds, if it reports that.
    pub(super) held: Option<u32>,
    /// How many hand-offs may be in flight.
    pub(super) window: Window,
    /// The window and the turns that its servers were last told.
    pub(super) told: (u32, u32),
}

impl<S: Copy + Ord> Lane<S> {
    pub(super) const fn new() -> Self {
        Self {
            servers: Vec::new(),
            present: 0,
            in_flight: 0,
            expected: true,
            held: None,
            window: Window::new(),
            told: (1, 1),
        }
    }

    pub(super) fn enter(&mut self, server: S) {
        if let Err(place) = self.servers.binary_search(&server) {
            self.servers.insert(place, server);
        }
        self.present += 1;
    }

    pub(super) fn forget(&mut self, server: S, was_present: bool) {
        if let Ok(place) = self.servers.binary_search(&server) {
            self.servers.remove(place);
            self.present -= u32::from(was_present);
        }
    }

    /// What each of its servers may have in flight, and what it may assign. All have the same share of
    /// the window, and each at least one, so that no server waits for another's connections. `limit` is
    /// that of the window.
    pub(super) fn shares(&self, limit: u32) -> (u32, u32) {
        let share = |window: u32| (window / self.present.max(1)).max(1);
        let window = share(self.window.size());
        (window, if self.expected { share(limit) } else { window })
    }
}
