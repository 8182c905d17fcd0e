//! Servers: how workers ask for them, and join those that exist.

use cluster_proto::{
    AddressType, ClusterBody, Field, ListenQuery, ListenReply, ServerKey, StructuredClone, Value,
};
use cluster_sched::{BoxedPolicy, Config, Mono};

use super::base::Machine;
use super::io::{Bound, Output, SendHandle};
use super::server::{Phase, Server, Slots};
use crate::event::{Address, Event};
use crate::id::{ConnId, ServerId, WorkerId};
use crate::listen_limit::{ListenLimit, ListenScope};
use crate::settings::Placement;

/// `ENOTSUP`, by libuv's sign.
const NOT_SUPPORTED: i32 = -95;
/// `ENAMETOOLONG`, by libuv's sign.
const NAME_TOO_LONG: i32 = -36;
/// `EMSGSIZE`, by libuv's sign.
const DATA_TOO_LARGE: i32 = -90;

/// The longest address: Linux's longest path.
const MAX_ADDRESS: usize = 4096;
/// What a server's data may hold, in nodes and bytes of text: every worker is sent the first one's.
const MAX_DATA: usize = 64 << 10;
/// How deep it may nest: a message around it must not be too deep for its reader.
const MAX_DATA_DEPTH: usize = 64;

/// Why the data of a query is too much to be sent to every worker, if it is.
fn excess(query: &ListenQuery) -> Option<i32> {
    let address = query.address.as_ref().value().map_or(0, String::len);
    if address > MAX_ADDRESS {
        return Some(NAME_TOO_LONG);
    }
    let mut left = MAX_DATA;
    (!fits(&query.data, MAX_DATA_DEPTH, &mut left)).then_some(DATA_TOO_LARGE)
}

fn fits(value: &Value, depth: usize, left: &mut usize) -> bool {
    let mut spend = |cost: usize| match left.checked_sub(cost) {
        Some(rest) => {
            *left = rest;
            true
        }
        None => false,
    };
    match value {
        Value::String(text) => spend(1 + text.len()),
        // Small numbers may be written long.
        Value::Null | Value::Bool(_) | Value::Number(_) => spend(24),
        Value::StructuredClone(rich) => {
            spend(24 + value.as_bytes().map_or(0, <[u8]>::len))
                && match &**rich {
                    StructuredClone::BigInt(n) => spend(n.words().len() * 8),
                    StructuredClone::Utf16(units) => spend(units.len() * 2),
                    StructuredClone::RegExp { source, .. } => spend(source.len()),
                    StructuredClone::Array { members, .. } => {
                        spend(members.iter().map(|(name, _)| name.len()).sum())
                    }
                    _ => true,
                }
                && depth > 0
                && rich.parts().all(|part| fits(part, depth - 1, left))
        }
        Value::Array(items) => {
            spend(1) && depth > 0 && items.iter().all(|item| fits(item, depth - 1, left))
        }
        Value::Object(object) => {
            spend(1)
                && depth > 0
                && object.iter().all(|(name, value)| {
                    *left = left.saturating_sub(name.len());
                    *left > 0 && fits(value, depth - 1, left)
                })
        }
    }
}

impl Machine {
    pub(super) fn query_server(
        &mut self,
        now: Mono,
        worker: WorkerId,
        seq: u64,
        mut query: ListenQuery,
    ) {
        // It is the same for all workers, whatever their working directories.
        if let Some(name) = query.abstract_name() {
            query.address = Field::Is(format!("\0{name}"));
        }
        let Some(asking) = self.known(worker) else { return };
        if !asking.may_listen() {
            return;
        }
        // The younger form of the key: with the older one a worker that listens again after a
        // failure would miss the server that the others share by then. But a worker that listens a
        // second time on the same address tries to bind a second socket, under a key of its own:
        // of two servers with one key a Node worker of today dies.
        let mut key = ServerKey::node25(&query);
        if self.keys.get(&key).is_some_and(|id| self.has_worker(*id, worker)) {
            key = ServerKey::node20(&query);
        }
        if let Some(errno) = excess(&query) {
            let (none, address) = (ServerKey::from(""), Address::of(&ListenQuery::default()));
            self.reply_failure(worker, seq, none, address, errno);
            return;
        }
        let (limit, slot) = (self.config.limits.max_servers, asking.slot);
        if asking.servers.len() >= limit {
            let limit = ListenLimit { scope: ListenScope::Worker, limit, by_descriptors: false };
            self.reply_limit(worker, seq, key, Address::of(&query), limit);
            return;
        }
        let shared_by_others =
            self.keys.get(&key).copied().filter(|id| !self.has_worker(*id, worker));
        let id = match shared_by_others {
            Some(id) => id,
            None => {
                if let Err(limit) = self.room_for_socket(now, slot, None) {
                    self.reply_limit(worker, seq, key, Address::of(&query), limit);
                    return;
                }
                self.open_server(worker, &key, &query)
            }
        };
        if self.must_be_sent_socket(worker, id) {
            self.reply_failure(worker, seq, key, Address::of(&query), NOT_SUPPORTED);
            return;
        }
        let Some(asking) = self.known_mut(worker) else { return };
        // From now on, so that a worker cannot ask for any number of them at once.
        asking.servers.insert(id, key);
        let Some(server) = self.server_mut(id) else { return };
        if !server.data.is_truthy() {
            server.data = query.data;
        }
        match &mut server.phase {
            Phase::Binding { waiting } => waiting.push((worker, seq)),
            Phase::Open { .. } => {
                if self.join(now, id, worker, seq).is_err() {
                    self.close_if_refused(now, id);
                }
            }
            Phase::Draining { .. } | Phase::Closing => {}
        }
    }

    fn has_worker(&self, id: ServerId, worker: WorkerId) -> bool {
        self.server(id).is_some_and(|s| s.has(worker))
    }

    /// A worker's runtime cannot listen on a socket that it is sent.
    pub(super) fn cannot_listen(&mut self, worker: WorkerId, runtime: String) {
        if let Some(worker) = self.known_mut(worker) {
            worker.cannot_listen = Some(runtime);
        }
    }

    /// Whether the worker could serve that server only by a socket that it cannot listen on: others
    /// have opened it.
    fn must_be_sent_socket(&self, worker: WorkerId, id: ServerId) -> bool {
        let cannot = self.known(worker).is_some_and(|w| w.cannot_listen.is_some());
        let sent = |server: &Server| {
            let udp = server.address.address_type.is_some_and(AddressType::is_udp);
            server.slots.is_some() || (server.shared && !udp)
        };
        cannot && self.server(id).is_some_and(sent)
    }

    fn open_server(&mut self, worker: WorkerId, key: &ServerKey, query: &ListenQuery) -> ServerId {
        self.last_server += 1;
        let id = ServerId(self.last_server);
        let udp = query.address_type.value().is_some_and(AddressType::is_udp);
        let runtime = self.known(worker).and_then(|worker| worker.cannot_listen.clone());
        let placement = self.config.placement;
        let shared = udp || (placement == Placement::Shared && runtime.is_none());
        let choice = self.choice_for(query).filter(|_| runtime.is_none());
        if let Some(runtime) = runtime.filter(|_| !udp && placement != Placement::Handoff) {
            self.event(Event::HandsOver { address: Address::of(query), runtime });
        }
        let (policy, config) = self.placing(id);
        self.dispatcher.open(id, policy, config);
        self.servers.insert(id, Server::new(key.clone(), Address::of(query), shared));
        self.keys.entry(key.clone()).or_insert(id);
        self.charge_socket(id, self.slot_of(worker).unwrap_or_default());
        let query = Box::new(query.clone());
        self.output.push_back(match choice {
            Some(choice) => {
                if let Some(server) = self.servers.get_mut(&id) {
                    server.slots = Some(Slots::wanted(query.clone(), choice, worker));
                }
                Output::BindSlots { server: id, query, choice, worker }
            }
            None => Output::Bind { server: id, query, shared, worker },
        });
        id
    }

    /// How that server's connections are placed.
    pub(super) fn placing(&self, id: ServerId) -> (BoxedPolicy<WorkerId, ConnId>, Config) {
        let seed = self.seed ^ u64::from(id.0);
        let policy = match &self.config.custom_policy {
            Some(policy) => policy.build(seed),
            None => self.config.policy.build(seed),
        };
        (policy, Config::default())
    }

    pub(super) fn bound(&mut self, now: Mono, id: ServerId, result: Result<Bound, i32>) {
        if result.as_ref().is_err_and(|&errno| self.tries_again(now, id, errno)) {
            return;
        }
        let Some(server) = self.server_mut(id) else { return };
        let Phase::Binding { waiting } = &mut server.phase else { return };
        let waiting = std::mem::take(waiting);
        let key = server.key.clone();
        match result {
            Ok(bound) => {
                server.phase = Phase::Open { bound };
                if let Some(slots) = &mut server.slots {
                    slots.attempt = None;
                }
                // The latest one that could be bound answers for the key.
                self.keys.insert(key, id);
                let mut refused = false;
                for (worker, seq) in waiting {
                    refused |= self.join(now, id, worker, seq).is_err();
                }
                if refused {
                    self.close_if_refused(now, id);
                }
                // All that asked may have gone meanwhile.
                self.close_if_unused(now, id);
            }
            Err(errno) => {
                let address = server.address.clone();
                self.release_sockets(id);
                self.forget_server(id);
                // Gives other workers a chance to try again.
                if self.keys.get(&key) == Some(&id) {
                    self.keys.remove(&key);
                }
                for (worker, seq) in waiting {
                    if let Some(asking) = self.known_mut(worker) {
                        asking.servers.remove(&id);
                    }
                    self.reply_failure(worker, seq, key.clone(), address.clone(), errno);
                }
            }
        }
    }

    /// A worker serves a server that is open.
    ///
    /// # Errors
    /// If there may be no more sockets; the worker has been told.
    fn join(
        &mut self,
        now: Mono,
        id: ServerId,
        worker: WorkerId,
        seq: u64,
    ) -> Result<(), ListenLimit> {
        let (Some(server), Some(asking)) = (self.servers.get_mut(&id), self.workers.get(&worker))
        else {
            return Ok(());
        };
        let Phase::Open { bound } = &server.phase else { return Ok(()) };
        let slot = asking.slot;
        if !asking.may_listen() {
            return Ok(());
        }
        if server.slots.is_some() {
            return self.join_slot(now, id, worker, seq);
        }
        let errno = server.shared.then_some(0);
        let sockname = if server.shared { None } else { bound.sockname.clone() };
        let handle =
            server.shared.then(|| SendHandle::Server { server: id, kind: bound.kind.clone() });
        let (key, data) = (server.key.clone(), server.data.clone());
        server.workers.insert(worker);
        let shared = server.shared;
        if let Some(listening) = self.known_mut(worker) {
            listening.listens.insert(key.clone());
        }
        let reply = ListenReply { errno, key, data, sockname };
        self.send_internal_with(
            worker,
            Some(seq),
            ClusterBody::ListenReply(Box::new(reply)),
            handle,
        );
        if !shared {
            self.dispatch_to(now, id, worker, slot);
            self.eject_silent(now, id);
        }
        Ok(())
    }

    pub(super) fn close(&mut self, now: Mono, worker: WorkerId, key: &ServerKey) {
        let Some(closing) = self.workers.get_mut(&worker) else { return };
        closing.closes |= closing.listens.remove(key);
        // One that is still being bound the worker cannot mean.
        let servers = &self.servers;
        let serves = |id| servers.get(id).is_some_and(|s| s.serves(worker));
        let closed: Vec<_> = closing
            .servers
            .iter()
            .filter(|(id, name)| *name == key && serves(id))
            .map(|(id, _)| *id)
            .collect();
        for id in &closed {
            closing.servers.remove(id);
        }
        let leaves = closing.exited_after_disconnect == Some(true);
        for id in closed {
            self.retire(now, id, worker);
            // What its program closes is closed, and not kept for the next one.
            if !leaves {
                self.close_unused(now, id);
            }
        }
        // It may have been the last that it was still to serve.
        self.send_disconnect(now, worker);
        self.check_servers_closed(worker);
    }
}
