//! Addresses that workers still hold.
//!
//! Who closes a server with slots closes sockets of which workers have copies, and as long as one
//! is open the address is in use. Node knows no such thing: under its hand-off the port is free when
//! the primary has closed it, and a worker that takes over from the one before counts on that. So
//! a listen on an address that is just being released waits until it is.

use std::time::Duration;

use cluster_sched::Mono;

use super::base::Machine;
use super::io::Output;
use super::server::{Attempt, Phase, PortReuse};
use crate::id::ServerId;

/// `EADDRINUSE`, by libuv's sign.
const IN_USE: i32 = -98;
/// How long to wait until the next attempt.
const AGAIN: Duration = Duration::from_millis(10);
/// How long a worker that asks waits at most. (Another worker may keep its socket on purpose.)
const AT_MOST: Duration = Duration::from_secs(5);
/// So many addresses are remembered, the latest ones: a worker may open and close without end.
const MOST: usize = 256;

impl Machine {
    /// The sockets of that server are about to be closed.
    pub(super) fn vacate(&mut self, id: ServerId) {
        let Some(server) = self.server(id) else { return };
        let (Some(slots), Some(port)) = (&server.slots, server.bound_address().port) else {
            return;
        };
        let workers = slots.lent.clone();
        self.port_reuse.retain(|held| held.workers.iter().any(|w| self.workers.contains_key(w)));
        let excess = (self.port_reuse.len() + 1).saturating_sub(MOST);
        self.port_reuse.drain(..excess);
        self.port_reuse.push(PortReuse { port, workers });
    }

    /// Whether a server that could not be bound is to be tried again, for then it will be.
    pub(super) fn tries_again(&mut self, now: Mono, id: ServerId, errno: i32) -> bool {
        let Some(server) = self.servers.get_mut(&id) else { return false };
        let (Some(slots), Some(port)) = (&mut server.slots, server.address.port) else {
            return false;
        };
        let Some(attempt) = &mut slots.attempt else { return false };
        let wanted = matches!(&server.phase, Phase::Binding { waiting } if !waiting.is_empty());
        let held = |held: &PortReuse| {
            held.port == port && held.workers.iter().any(|w| self.workers.contains_key(w))
        };
        let until = *attempt.until.get_or_insert(now + AT_MOST);
        let again = wanted && errno == IN_USE && now < until && self.port_reuse.iter().any(held);
        if again {
            attempt.at = Some(now + AGAIN);
        }
        again
    }

    /// When to try again.
    pub(super) fn next_attempt(&self) -> Option<Mono> {
        let slots = self.servers.values().filter_map(|server| server.slots.as_ref());
        slots.filter_map(|slots| slots.attempt.as_ref()?.at).min()
    }

    pub(super) fn attempts_due(&mut self, now: Mono) {
        for (&server, Attempt { query, choice, at, worker, .. }) in self
            .servers
            .iter_mut()
            .filter_map(|(id, server)| Some((id, server.slots.as_mut()?.attempt.as_mut()?)))
        {
            if at.take_if(|at| *at <= now).is_some() {
                let (query, choice, worker) = (query.clone(), *choice, *worker);
                self.output.push_back(Output::BindSlots { server, query, choice, worker });
            }
        }
    }
}
