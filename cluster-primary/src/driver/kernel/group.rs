//! The sockets of one server: one for each slot, and the waiting room.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use cluster_proto::{HandleKind, ListenQuery, flags};
use cluster_sched::kernel::{Choice, MAX_PLACES};
use rustix::io::Errno;
use rustix::net::{self, SocketType, sockopt};

use super::super::listen;
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
}

/// A new group.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) group: Group,
    pub(super) bound: Bound,
    /// Why the kernel does not choose by the program that was wanted, if it does not.
    pub(super) without_program: Option<String>,
}

/// Why there is no group.
#[derive(Debug)]
pub(super) enum OpenError {
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
    /// Binds what a worker asked for. Nobody is on: connections wait in the waiting room.
    pub(super) fn open(query: &ListenQuery, choice: Choice) -> Result<Opened, OpenError> {
        let v6_only = query.flag_bits() & flags::TCP_IPV6_ONLY != 0;
        let backlog = query.backlog_length();
        let room = listen::each_address(query, |address| {
            // Alone until it listens: with `SO_REUSEPORT` from the start a port in use by another
            // of this user's programs (a second primary, say) would be shared with it silently.
            let room = socket(address, v6_only, backlog, false)?;
            sockopt::set_socket_reuseport(&room, true)?;
            Ok(room)
        })?;
        let bound = Bound { sockname: listen::sockname(&room), kind: HandleKind::NetNative };
        let address = SocketAddr::try_from(net::getsockname(&room)?).map_err(|_| Errno::INVAL)?;
        // It takes two to be a group.
        let first = socket(address, v6_only, backlog, true)?;
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
        };
        group.add(room)?;
        group.add(first)?;
        Ok(Opened { group, bound, without_program })
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
        })
    }

    /// The group as it is in the kernel: its program goes on choosing, and nothing is attached anew.
    pub(in super::super) fn from_state(
        state: GroupState,
        arriving: &mut Arriving,
    ) -> Result<Self, StateError> {
        let sockets = state.sockets.iter().map(|place| arriving.share(*place));
        let sockets: Vec<_> = sockets.collect::<Result<_, StateError>>()?;
        let place = |place: &u32| (1..sockets.len()).contains(&(*place as usize));
        // The last may be nobody's yet.
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
        })
    }

    pub(super) fn choice(&self) -> Choice {
        self.chooser.choice()
    }

    /// The socket of a slot. It listens, but gets nothing before the slot is on.
    pub(super) fn slot(&mut self, slot: u32) -> Result<Arc<OwnedFd>, Errno> {
        if let Some(socket) = self.socket(Some(slot)) {
            return Ok(Arc::clone(socket));
        }
        // The first was made before anybody asked for it.
        if self.sockets.len() == self.places.len() + 1 {
            if self.sockets.len() >= MAX_PLACES as usize {
                return Err(Errno::MFILE);
            }
            let socket = socket(self.address, self.v6_only, self.backlog, true)?;
            self.add(socket)?;
        }
        let place = self.sockets.len() - 1;
        self.places.insert(slot, place as u32);
        Ok(Arc::clone(&self.sockets[place]))
    }

    fn add(&mut self, socket: OwnedFd) -> Result<(), Errno> {
        self.chooser.put(self.sockets.len() as u32, &socket).map_err(|error| errno(&error))?;
        self.sockets.push(Arc::new(socket));
        Ok(())
    }

    /// The socket of a slot that has one, or the waiting room.
    pub(in super::super) fn socket(&self, slot: Option<u32>) -> Option<&Arc<OwnedFd>> {
        let place = slot.map_or(Some(0), |slot| self.places.get(&slot).copied());
        self.sockets.get(place? as usize)
    }

    /// Gives a slot's socket a turn, or takes it away.
    ///
    /// # Errors
    /// If the program could not be told any more: why. A classic one chooses from now on. (Before
    /// Linux 5.19 a process that drops its privilege may write no maps.)
    pub(super) fn switch(&mut self, slot: u32, turn: u32, on: bool) -> Result<(), String> {
        match (on, self.places.get(&slot)) {
            (true, Some(&place)) => {
                self.on.insert(turn, place);
            }
            // Unless another has the turn by now.
            (false, Some(place)) if self.on.get(&turn) == Some(place) => {
                self.on.remove(&turn);
            }
            _ => return Ok(()),
        }
        let told = self.chooser.choose(&self.on, self.member());
        told.map_err(|error| {
            self.chooser = Chooser::Classic { choice: self.chooser.choice() };
            // If even that fails the last choice stays; what comes to a slot that is off is rescued.
            let _stays = self.chooser.choose(&self.on, self.member());
            format!("cannot write a map: {error}")
        })
    }

    /// Refuses new connections.
    pub(super) fn refuse(&mut self) {
        // If it cannot be told, they come to sockets that are about to close.
        let _late = self.chooser.refuse(self.member());
    }

    /// A socket that is in the group. (The waiting room was not when it began to listen.)
    fn member(&self) -> &OwnedFd {
        &self.sockets[1]
    }

    /// How many connections wait at each slot that has a socket, and in the waiting room.
    pub(super) fn queues(&self) -> Vec<Queue> {
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

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
