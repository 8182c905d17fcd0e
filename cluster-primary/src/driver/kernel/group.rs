//! The sockets of one server: one for each slot, and the waiting room.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use cluster_proto::{HandleKind, ListenQuery, flags};
use cluster_sched::kernel::{Choice, MAX_PLACES};
#[cfg(test)]
use cluster_sched::kernel::{MapSpec, Maps};
use rustix::io::Errno;
use rustix::net::{self, SocketType, sockopt};

use super::super::listen;
use super::super::rights::Rights;
use super::chooser::Chooser;
use super::state::GroupState;
use super::sys;
use crate::machine::{Bound, Queue};
use crate::upgrade::{Arriving, Leaving, StateError};

/// Several listening sockets on one address, among which the kernel chooses.
///
/// None is closed before the server is: a listening socket that closes takes with it what it has
/// queued, and moves another to its place in a group that a classic program counts through.
#[derive(Debug)]
pub(in super::super) struct Group {
    address: SocketAddr,
    v6_only: bool,
    backlog: i32,
    /// By their places. The first is the waiting room.
    sockets: Vec<Arc<OwnedFd>>,
    /// Where each slot's socket stands.
    places: BTreeMap<u32, u32>,
    /// The places of those that are on.
    on: BTreeMap<u32, u32>,
    chooser: Chooser,
    /// With whose rights its sockets are made, if not with the primary's: all by one user, as the kernel
    /// lets no other one join.
    rights: Option<Rights>,
}

/// A new group.
#[derive(Debug)]
pub(in super::super) struct Opened {
    pub(in super::super) group: Group,
    pub(in super::super) bound: Bound,
    /// Why the kernel does not choose by the program that was wanted, if it does not.
    pub(in super::super) without_program: Option<String>,
}

/// What all sockets of a group have in common.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct GroupOptions {
    v6_only: bool,
    backlog: i32,
}

impl GroupOptions {
    pub(in super::super) fn of(query: &ListenQuery) -> Self {
        let v6_only = query.flag_bits() & flags::TCP_IPV6_ONLY != 0;
        Self { v6_only, backlog: query.backlog_length() }
    }

    /// Another socket of the group that listens there. (System calls only.)
    pub(in super::super) fn socket(self, address: SocketAddr) -> Result<OwnedFd, Errno> {
        socket(address, self.v6_only, self.backlog, true)
    }
}

/// The sockets that a group begins with: it takes two to be a group.
#[derive(Debug)]
pub(in super::super) struct GroupSockets {
    pub(in super::super) room: OwnedFd,
    pub(in super::super) first: OwnedFd,
}

impl GroupSockets {
    /// Makes them. (System calls only.)
    pub(in super::super) fn bind(
        addresses: &listen::Addresses,
        options: GroupOptions,
    ) -> Result<Self, Errno> {
        let GroupOptions { v6_only, backlog } = options;
        let room = addresses.bind(|address| {
            // Alone until it listens: with `SO_REUSEPORT` from the start a port in use by another
            // of this user's programs (a second primary, say) would be shared with it silently.
            let room = socket(address, v6_only, backlog, false)?;
            sockopt::set_socket_reuseport(&room, true)?;
            Ok(room)
        })?;
        let address = SocketAddr::try_from(net::getsockname(&room)?).map_err(|_| Errno::INVAL)?;
        let first = options.socket(address)?;
        Ok(Self { room, first })
    }
}

/// Why there is no group.
#[derive(Debug)]
pub(in super::super) enum OpenError {
    /// The address cannot be had.
    Bind(Errno),
    /// It can, but no program of any kind can choose among sockets.
    NoChoice(String),
}

impl From<Errno> for OpenError {
    fn from(errno: Errno) -> Self {
        Self::Bind(errno)
    }
}

impl Group {
    /// Binds what a worker asked for. No slot is on: connections wait in the waiting room.
    pub(in super::super) fn open(query: &ListenQuery, choice: Choice) -> Result<Opened, OpenError> {
        let sockets = GroupSockets::bind(&listen::Addresses::of(query)?, GroupOptions::of(query))?;
        Self::of(sockets, query, choice, None)
    }

    /// The group of these sockets, which are bound as a worker asked for.
    pub(in super::super) fn of(
        sockets: GroupSockets,
        query: &ListenQuery,
        choice: Choice,
        rights: Option<Rights>,
    ) -> Result<Opened, OpenError> {
        let GroupOptions { v6_only, backlog } = GroupOptions::of(query);
        let GroupSockets { room, first } = sockets;
        let bound = Bound { sockname: listen::sockname(&room), kind: HandleKind::NetNative };
        let address = SocketAddr::try_from(net::getsockname(&room)?).map_err(|_| Errno::INVAL)?;
        let (chooser, without_program) = match Chooser::load(choice, &first) {
            Ok(chooser) => (chooser, None),
            Err(reason) => match Chooser::classic(choice, &first) {
                Ok(chooser) => (chooser, Some(reason)),
                Err(error) => {
                    return Err(OpenError::NoChoice(format!(
                        "{reason}, nor a classic one: {error}"
                    )));
                }
            },
        };
        let mut group = Self {
            address,
            v6_only,
            backlog,
            sockets: Vec::new(),
            places: BTreeMap::new(),
            on: BTreeMap::new(),
            chooser,
            rights,
        };
        let untold = group.add(room).or(group.add(first));
        Ok(Opened { group, bound, without_program: without_program.or(untold) })
    }

    pub(in super::super) fn state(&self, leaving: &mut Leaving) -> Result<GroupState, StateError> {
        let sockets = self.sockets.iter().map(|socket| leaving.place(socket));
        Ok(GroupState {
            address: self.address,
            v6_only: self.v6_only,
            backlog: self.backlog,
            sockets: sockets.collect::<Result<_, StateError>>()?,
            places: self.places.clone(),
            on: self.on.clone(),
            choice: self.choice(),
            maps: self.chooser.state(leaving)?,
            rights: self.rights.clone(),
        })
    }

    /// The group as it is in the kernel: its program goes on choosing, and nothing is attached again.
    pub(in super::super) fn from_state(
        state: GroupState,
        arriving: &mut Arriving,
    ) -> Result<Self, StateError> {
        let sockets = state.sockets.iter().map(|place| arriving.share(*place));
        let sockets: Vec<_> = sockets.collect::<Result<_, StateError>>()?;
        let place = |place: &u32| (1..sockets.len()).contains(&(*place as usize));
        // The last may have no worker yet.
        let room = [sockets.len().checked_sub(1), sockets.len().checked_sub(2)];
        let distinct: BTreeSet<_> = state.places.values().collect();
        if sockets.len() < 2
            || sockets.len() > MAX_PLACES as usize
            || !room.contains(&Some(distinct.len()))
            || distinct.len() != state.places.len()
            || !state.places.values().chain(state.on.values()).all(place)
        {
            return Err(StateError::contradiction("a group's places are not those of its sockets"));
        }
        Ok(Self {
            address: state.address,
            v6_only: state.v6_only,
            backlog: state.backlog,
            sockets,
            places: state.places,
            on: state.on,
            chooser: Chooser::from_state(state.choice, state.maps, arriving)?,
            rights: state.rights,
        })
    }

    /// With whose rights its sockets are made, if not with the primary's.
    pub(in super::super) fn rights(&self) -> Option<Rights> {
        self.rights.clone()
    }

    pub(in super::super) fn choice(&self) -> Choice {
        self.chooser.choice()
    }

    /// Makes the [socket](Self::socket) of a slot, if there is none. It listens, but gets nothing
    /// before the slot is on. If the program could not be told of it: why, and a classic one chooses
    /// from now on.
    ///
    /// # Errors
    /// If there is no socket.
    pub(in super::super) fn slot(&mut self, slot: u32) -> Result<Option<String>, Errno> {
        let socket = self.needs_socket(slot)?.map(|(address, options)| options.socket(address));
        self.slot_with(slot, socket.transpose()?)
    }

    /// What the socket of a slot is to be bound to, if one is yet to be made.
    ///
    /// # Errors
    /// If there is no room for another.
    pub(in super::super) fn needs_socket(
        &self,
        slot: u32,
    ) -> Result<Option<(SocketAddr, GroupOptions)>, Errno> {
        // The first was made before any worker asked for it.
        let is_spare = self.sockets.len() > self.places.len() + 1;
        if is_spare || self.places.contains_key(&slot) {
            return Ok(None);
        }
        if self.sockets.len() >= MAX_PLACES as usize {
            return Err(Errno::MFILE);
        }
        let options = GroupOptions { v6_only: self.v6_only, backlog: self.backlog };
        Ok(Some((self.address, options)))
    }

    /// As [`slot`](Self::slot), with the socket that was made for it, if it [needs](Self::needs_socket)
    /// one.
    pub(in super::super) fn slot_with(
        &mut self,
        slot: u32,
        socket: Option<OwnedFd>,
    ) -> Result<Option<String>, Errno> {
        if self.places.contains_key(&slot) {
            return Ok(None);
        }
        let mut untold = None;
        if self.sockets.len() == self.places.len() + 1 {
            if self.sockets.len() >= MAX_PLACES as usize {
                return Err(Errno::MFILE);
            }
            untold = self.add(socket.ok_or(Errno::BADF)?);
        }
        self.places.insert(slot, (self.sockets.len() - 1) as u32);
        Ok(untold)
    }

    /// Adds a socket that listens. It stays, whether the program can be told of it or not: it is in
    /// the group, and clients may wait at it. Why a classic program chooses from now on, if it does.
    fn add(&mut self, socket: OwnedFd) -> Option<String> {
        let told = self.chooser.put(self.sockets.len() as u32, &socket);
        self.sockets.push(Arc::new(socket));
        told.err().map(|error| self.turn_classic(&error))
    }

    /// The program cannot be told any more; why, in words. (Before Linux 5.19 a process that drops
    /// its privilege may write no maps.)
    fn turn_classic(&mut self, error: &io::Error) -> String {
        self.chooser = Chooser::Classic { choice: self.chooser.choice() };
        // If even that fails the last choice stays; what comes to a slot that is off is rescued.
        let _ = self.chooser.choose(&self.on, self.member());
        format!("cannot write a map: {error}")
    }

    /// The socket of a slot that has one, or the waiting room.
    pub(in super::super) fn socket(&self, slot: Option<u32>) -> Option<&Arc<OwnedFd>> {
        let place = slot.map_or(Some(0), |slot| self.places.get(&slot).copied());
        self.sockets.get(place? as usize)
    }

    /// All of them.
    pub(in super::super) fn sockets(&self) -> Vec<Arc<OwnedFd>> {
        self.sockets.clone()
    }

    /// Gives a slot's socket a position in the rotation, or takes it away.
    ///
    /// # Errors
    /// If the program could not be told any more: why. A classic one chooses from now on.
    pub(in super::super) fn switch(
        &mut self,
        slot: u32,
        position: u32,
        on: bool,
    ) -> Result<(), String> {
        match (on, self.places.get(&slot)) {
            (true, Some(&place)) => {
                self.on.insert(position, place);
            }
            // Unless another has the position by now.
            (false, Some(place)) if self.on.get(&position) == Some(place) => {
                self.on.remove(&position);
            }
            _ => return Ok(()),
        }
        let told = self.chooser.choose(&self.on, self.member());
        told.map_err(|error| self.turn_classic(&error))
    }

    /// Refuses new connections.
    pub(in super::super) fn refuse(&mut self) {
        // If it cannot be told, they come to sockets that are about to close.
        let _ = self.chooser.refuse(self.member());
    }

    /// A socket that is in the group. (The waiting room was not when it began to listen; it is all
    /// that there is while a group is made.)
    fn member(&self) -> &OwnedFd {
        self.sockets.get(1).unwrap_or(&self.sockets[0])
    }

    /// How many connections wait at each slot that has a socket, and in the waiting room.
    pub(in super::super) fn queues(&self) -> Vec<Queue> {
        let slots = self.places.keys().map(|&slot| Some(slot));
        let wheres = std::iter::once(None).chain(slots);
        wheres
            .filter_map(|slot| {
                let length = sys::queue_length(self.socket(slot)?).ok()?;
                Some(Queue { slot, length })
            })
            .collect()
    }
}

#[cfg(test)]
impl Group {
    pub(super) fn chooser(&self) -> &Chooser {
        &self.chooser
    }

    pub(super) fn has_program(&self) -> bool {
        matches!(self.chooser, Chooser::Program { .. })
    }

    /// From now on the program cannot be told of sockets: its map has room for none.
    pub(super) fn make_deaf(&mut self) {
        if let Chooser::Program { choice, maps } = &mut self.chooser {
            let spec = MapSpec { max_entries: 1, ..Maps::of(*choice).sockets };
            maps.sockets = sys::Map::new(spec).expect("there is one already");
        }
    }

    /// As if the program could not be told any more.
    pub(super) fn make_classic(&mut self) {
        let chooser = Chooser::classic(self.choice(), self.member());
        self.chooser = chooser.expect("that needs no privilege");
        self.chooser.choose(&self.on, self.member()).expect("nor does that");
    }
}

/// A socket that listens there.
fn socket(
    address: SocketAddr,
    v6_only: bool,
    backlog: i32,
    shares_port: bool,
) -> Result<OwnedFd, Errno> {
    let fd = listen::socket(address, SocketType::STREAM)?;
    sockopt::set_socket_reuseaddr(&fd, true)?;
    if shares_port {
        sockopt::set_socket_reuseport(&fd, true)?;
    }
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&fd, v6_only)?;
    }
    net::bind(&fd, &address)?;
    net::listen(&fd, backlog)?;
    Ok(fd)
}
