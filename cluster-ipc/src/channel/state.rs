//! A channel is taken apart, and put together again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::{error, fmt};

use cluster_proto::{Deframer, DeframerState};
use serde::{Deserialize, Serialize};

use crate::config::Wire;
use crate::error::StateError;
use crate::max_count::MAX_COUNT;
use crate::pairing::{Pairing, PairingState};
use crate::sender::{Numbers, Sender, SenderState};
use crate::transport::Transport;
use crate::unpack::{Unpacked, UnpackedState};

use super::Channel;

/// All that a [`Channel`] knows, but for its transport and its handles: half-read and half-written
/// frames, what is held back, answers that are awaited, limits.
///
/// It has serde's traits, and is made for a format that describes itself, such as JSON: bytes are
/// hexadecimal digits there, and what a version does not know is passed over. It can be
/// [checked](Self::check) without a channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChannelState {
    wire: Wire,
    deframer: DeframerState,
    /// How many handles came whose bytes have not been looked at.
    #[serde(default)]
    arrived: usize,
    #[serde(default)]
    pairing: PairingState,
    #[serde(default)]
    unpacked: UnpackedState,
    sender: SenderState,
    native: bool,
    short_reads: bool,
    #[serde(default)]
    drained: bool,
    max_handles: usize,
    ended: bool,
    #[serde(default)]
    missing: u64,
    #[serde(default)]
    truncated: u64,
}

/// What a channel is [taken apart](Channel::into_parts) into, and [put together](Channel::from_parts)
/// from.
#[derive(Debug)]
pub struct Parts<T: Transport> {
    /// What carries the channel.
    pub transport: T,
    /// What it knows.
    pub state: ChannelState,
    /// The handles of which the state speaks, by their places here: first those that were received,
    /// which must be owned alone; then those that are to be sent, once each, however
    /// many messages they are to go with. Those that are [lent](Channel::send_lent) are not among
    /// them.
    pub handles: Vec<Arc<T::Handle>>,
}

/// Why a channel was not put together. Everything is still there.
pub struct PartsError<T: Transport> {
    /// What is wrong.
    pub error: StateError,
    /// What was given; nothing of it is lost.
    pub parts: Parts<T>,
}

impl<T: Transport> fmt::Display for PartsError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the channel cannot be put together: {}", self.error)
    }
}

impl<T: Transport> fmt::Debug for PartsError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartsError").field("error", &self.error).finish_non_exhaustive()
    }
}

impl<T: Transport> error::Error for PartsError<T> {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.error)
    }
}

impl<T: Transport> Channel<T> {
    /// What it knows, and the handles that belong to it, in the order of [`Parts::handles`].
    ///
    /// The channel goes on as before, so that a process can find out whether another takes over.
    /// (The next answer to a connection begins a frame of its own: no more is seen of it.)
    pub fn state(&mut self) -> (ChannelState, Vec<&T::Handle>) {
        self.sender.seal();
        let this = &*self;
        let (state, outgoing) = this.sealed_state();
        let received = this.arrived.iter().chain(this.pairing.handles());
        let received = received.chain(this.unpacked.handles());
        (state, received.chain(outgoing.into_iter().map(|handle| &**handle)).collect())
    }

    /// Takes the channel apart. Nothing is closed, and nothing is lost.
    ///
    /// ```
    /// use cluster_ipc::proto::{HandleKind, Message};
    /// use cluster_ipc::{Channel, ChannelConfig, ChannelState, Outgoing, Parts, Recv, Socket};
    /// use std::os::fd::OwnedFd;
    ///
    /// let (mut channel, peer) = Channel::pair(ChannelConfig::default())?;
    /// let mut peer = Channel::from_fd(peer, ChannelConfig::default())?;
    /// let null: OwnedFd = std::fs::File::open("/dev/null")?.into();
    /// channel.send(&Message::User("take".into()), Some(Outgoing::new(HandleKind::NetNative, null)))?;
    /// channel.send(&Message::User("next".into()), None)?;
    ///
    /// let parts = channel.into_parts();
    /// let text = serde_json::to_string(&parts.state)?;
    /// let socket = OwnedFd::from(parts.transport);
    ///
    /// // In another program, which has inherited the descriptors:
    /// let state: ChannelState = serde_json::from_str(&text)?;
    /// let transport = Socket::from_fd(socket)?;
    /// let mut channel = Channel::from_parts(Parts { transport, state, handles: parts.handles })?;
    /// channel.flush()?;
    /// let Recv::Message(received) = peer.recv()? else { panic!("it was written") };
    /// assert!(received.handle.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_parts(mut self) -> Parts<T> {
        self.sender.seal();
        let (state, outgoing) = self.sealed_state();
        let outgoing: Vec<_> = outgoing.into_iter().map(Arc::clone).collect();
        let received = self.arrived.into_iter().chain(self.pairing.into_handles());
        let received = received.chain(self.unpacked.into_handles()).map(Arc::new);
        let handles = received.chain(outgoing).collect();
        Parts { transport: self.transport, state, handles }
    }

    /// Puts a channel together: it does from here on what the one that was
    /// [taken apart](Self::into_parts) would have done.
    ///
    /// It is not registered as an event source yet. After its registration it reports what is readable by then;
    /// what is to be written has to be [flushed](Self::flush) once. Handles that came over an
    /// `execve(2)` are not close-on-exec, and the caller makes them so.
    ///
    /// # Errors
    /// [`PartsError`], with all that was given, if the state is none that a channel can be in, or is
    /// not the one of these handles. Whatever the state was, a channel that is made of it does not
    /// panic.
    pub fn from_parts(mut parts: Parts<T>) -> Result<Self, Box<PartsError<T>>> {
        if let Err(error) = parts.check() {
            return Err(Box::new(PartsError { error, parts }));
        }
        let Parts { transport, state, handles: mut received } = parts;
        let outgoing = received.split_off(state.received());
        let owned = |handle| Arc::into_inner(handle).expect("it has one owner, as was checked");
        let mut received = received.into_iter().map(owned);
        let arrived = received.by_ref().take(state.arrived).collect();
        let waiting = received.by_ref().take(state.pairing.handles()).collect();
        let (next_frame, end) = (state.deframer.position, state.end());
        let first = state.received();
        Ok(Self {
            transport,
            sender: Sender::from_state(state.sender, |number| {
                Arc::clone(&outgoing[number - first])
            }),
            wire: state.wire,
            deframer: Deframer::from_state(state.deframer).expect("the state was checked"),
            pairing: Pairing::from_state(
                state.pairing,
                state.max_handles,
                next_frame,
                end,
                waiting,
            ),
            unpacked: Unpacked::from_state(state.unpacked, received),
            reader: None,
            allowance: None,
            native: state.native,
            short_reads: state.short_reads,
            drained: state.drained,
            max_handles: state.max_handles,
            max_unexpected: None,
            arrived,
            taken: Vec::new(),
            ended: state.ended,
            missing: state.missing,
            truncated: state.truncated,
        })
    }

    fn sealed_state(&self) -> (ChannelState, Vec<&Arc<T::Handle>>) {
        let received =
            self.arrived.len() + self.pairing.waiting() + self.unpacked.handles().count();
        let mut numbers = Numbers::from(received);
        let state = ChannelState {
            wire: self.wire,
            deframer: self.deframer.state(),
            arrived: self.arrived.len(),
            pairing: self.pairing.state(),
            unpacked: self.unpacked.state(),
            sender: self.sender.state(&mut numbers),
            native: self.native,
            short_reads: self.short_reads,
            drained: self.drained,
            max_handles: self.max_handles,
            ended: self.ended,
            missing: self.missing,
            truncated: self.truncated,
        };
        (state, numbers.into_handles())
    }
}

impl ChannelState {
    /// How many handles belong to it.
    pub fn handles(&self) -> usize {
        self.received().saturating_add(self.sender.handles().collect::<BTreeSet<_>>().len())
    }

    /// Whether a channel can be in this state; [`Channel::from_parts`] asks the same.
    ///
    /// # Errors
    /// [`StateError`] if none can.
    pub fn check(&self) -> Result<(), StateError> {
        self.deframer.check()?;
        if self.deframer.framing != self.wire.codec().framing() {
            return Err(StateError::Contradiction { what: "the framing and the wire" });
        }
        self.pairing.check(self.max_handles, self.end())?;
        self.unpacked.check()?;
        self.sender.check()?;
        if self.missing > MAX_COUNT || self.truncated > MAX_COUNT {
            return Err(StateError::OutOfRange { what: "what a channel has counted" });
        }
        if self.ended && self.received() > 0 {
            return Err(StateError::Contradiction { what: "handles behind the end of the stream" });
        }
        // One behind the other, and behind those that were received.
        let numbers: BTreeSet<usize> = self.sender.handles().collect();
        let place = |number: &usize| number.checked_sub(self.received());
        if !numbers.iter().map(place).eq((0..numbers.len()).map(Some)) {
            return Err(StateError::Contradiction { what: "the numbers of the handles" });
        }
        Ok(())
    }

    /// How many handles were received: they are the first ones.
    fn received(&self) -> usize {
        let handles = [self.arrived, self.pairing.handles(), self.unpacked.handles()];
        handles.into_iter().fold(0, usize::saturating_add)
    }

    /// Where in the stream the next read begins.
    fn end(&self) -> u64 {
        self.deframer.position.saturating_add(self.deframer.bytes.len() as u64)
    }
}

impl<T: Transport> Parts<T> {
    fn check(&mut self) -> Result<(), StateError> {
        self.state.check()?;
        let (expected, given) = (self.state.handles(), self.handles.len());
        if expected != given {
            return Err(StateError::HandleCount { expected, given });
        }
        let mut received = self.handles.iter_mut().take(self.state.received());
        match received.position(|handle| Arc::get_mut(handle).is_none()) {
            Some(number) => Err(StateError::HandleShared { number }),
            None => Ok(()),
        }
    }
}
