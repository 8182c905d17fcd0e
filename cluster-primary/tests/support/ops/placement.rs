//! Servers, their sockets and slots, and connections.

use cluster_primary::machine::{Bound, Input, Queue};
use cluster_primary::proto::{
    AddressType, ClusterBody, Family, Field, HandleKind, ListenQuery, SockName,
};
use cluster_primary::{ConnId, ServerId, WorkerId};

use super::world::{Bytes, Place, World};

impl World {
    pub(super) fn query(&mut self, bytes: &mut Bytes<'_>) {
        let (kind, index) = (bytes.next(), u32::from(bytes.next() % 3));
        let Some(worker) = self.worker(bytes) else { return };
        let address = Field::Is("127.0.0.1".into());
        let tcp = |port| ListenQuery {
            address: address.clone(),
            port: Field::Is(port),
            address_type: Field::Is(AddressType::Tcp4),
            index,
            ..ListenQuery::default()
        };
        let query = match kind % 6 {
            0 | 1 => tcp(i32::from(kind >> 6) + 80),
            2 => tcp(0),
            3 => ListenQuery { address_type: Field::Is(AddressType::Udp4), ..tcp(53) },
            4 => ListenQuery {
                address: Field::Is("/run/s".into()),
                address_type: Field::Is(AddressType::Pipe),
                data: "data".into(),
                ..tcp(-1)
            },
            _ => ListenQuery { fd: Field::Is(5), index, ..ListenQuery::default() },
        };
        let known = &self.workers[&worker];
        if known.connected && !known.leaving {
            self.asked.insert((worker, known.seq));
            self.queries.insert((worker, known.seq), query.clone());
        }
        self.says(worker, None, ClusterBody::QueryServer(Box::new(query)));
    }

    pub(super) fn answer_bind(&mut self, server: ServerId, ok: bool) {
        self.binding.retain(|s| *s != server);
        let sockname = SockName { address: "127.0.0.1".into(), family: Family::Ipv4, port: 99 };
        let bound = Bound { sockname: Some(sockname), kind: HandleKind::NetNative };
        if ok {
            self.open.insert(server);
        } else {
            self.closed.insert(server);
        }
        self.input(Input::Bound { server, result: if ok { Ok(bound) } else { Err(-98) } });
    }

    pub(super) fn answer_probe(&mut self, worker: WorkerId) {
        let due = self.probing.remove(&worker).expect("it was asked");
        if due > 1 {
            self.probing.insert(worker, due - 1);
        }
        self.input(Input::Probed { worker });
    }

    /// Makes a slot's socket, has a worker listen, or looks at queues.
    pub(super) fn advance_slots(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let opening: Vec<_> = self.opening.iter().copied().collect();
        let looks: Vec<_> = self.looks.iter().copied().collect();
        if let Some((server, slot)) = bytes.pick(&opening) {
            self.opening.remove(&(server, slot));
            let made = bytes.next() % 8 != 7;
            if made && self.open.contains(&server) {
                self.queues.entry((server, Some(slot))).or_default();
            }
            let result = if made { Ok(()) } else { Err(-24) };
            self.input(Input::SlotOpened { server, slot, result });
        } else if let Some((worker, query)) = self.to_listen.pop() {
            self.says(worker, None, ClusterBody::Listening(Box::new(query)));
        } else if let Some(server) = bytes.pick(&looks) {
            self.looks.remove(&server);
            let mut queues = Vec::new();
            for (&(_, slot), length) in
                self.queues.range_mut((server, None)..=(server, Some(u32::MAX)))
            {
                *length = u32::from(bytes.next() % 4);
                queues.push(Queue { slot, length: *length });
            }
            self.input(Input::Queues { server, queues });
        } else {
            return false;
        }
        true
    }

    pub(super) fn accept(&mut self, server: ServerId) {
        let conn = ConnId(self.conns.len() as u64 + 1);
        self.conns.insert(conn, Place::Here);
        // A third without an address.
        let client = (!conn.0.is_multiple_of(3)).then_some(conn.0 as u32 % 7);
        self.input(Input::Accepted { server, conn, client });
    }
}
