//! Frames of the native wire that hold many messages, taken apart.

use std::collections::{BTreeSet, VecDeque};

use cluster_proto::native::{Answer, Batch};
use cluster_proto::{ClusterBody, DecodeError, HandleKind, Message, ServerKey};
use serde::{Deserialize, Serialize};

use crate::error::StateError;
use crate::received::{Received, ReceivedHandle};

/// Keys that are kept: for a peer that names more they are allocated again.
const KEYS: usize = 64;

/// The messages of the last batch that have not been received yet.
#[derive(Debug)]
pub(crate) struct Unpacked<H> {
    key: Option<ServerKey>,
    connections: VecDeque<(u64, H)>,
    /// Connections whose handles did not arrive.
    lost: VecDeque<u64>,
    answers: VecDeque<Answer>,
    /// Keys that were heard before, so that a connection takes no memory for its own.
    keys: BTreeSet<ServerKey>,
}

impl<H> Unpacked<H> {
    pub(crate) fn new() -> Self {
        Self {
            key: None,
            connections: VecDeque::new(),
            lost: VecDeque::new(),
            answers: VecDeque::new(),
            keys: BTreeSet::new(),
        }
    }

    /// Takes a batch, after all of the one before has been received; `take` brings up to so many
    /// handles.
    pub(crate) fn open(
        &mut self,
        payload: &[u8],
        take: impl FnOnce(usize, &mut Vec<H>),
        handles: &mut Vec<H>,
    ) -> Result<(), DecodeError> {
        match Batch::read(payload)? {
            Batch::Connections(connections) => {
                take(connections.count, handles);
                self.key = Some(self.known(connections.key));
                // If the rest cannot be read, those that are left stay with the caller.
                handles.reverse();
                for seq in connections {
                    let seq = seq?;
                    match handles.pop() {
                        Some(handle) => self.connections.push_back((seq, handle)),
                        None => self.lost.push_back(seq),
                    }
                }
            }
            Batch::Answers(answers) => {
                take(0, handles);
                for answer in answers {
                    self.answers.push_back(answer?);
                }
            }
        }
        Ok(())
    }

    /// The next message.
    pub(crate) fn next(&mut self) -> Option<Received<H>> {
        if let Some(answer) = self.answers.pop_front() {
            return Some(Received { message: answer.message(), handle: None });
        }
        let (seq, handle) = self.connections.pop_front()?;
        let key = self.key.clone()?;
        let handle = ReceivedHandle { kind: HandleKind::NetNative, key: None, handle };
        let message = Message::cluster(seq, None, ClusterBody::NewConn { key });
        Some(Received { message, handle: Some(handle) })
    }

    /// The number of the next connection whose handle did not arrive.
    pub(crate) fn next_lost(&mut self) -> Option<u64> {
        self.lost.pop_front()
    }

    pub(crate) fn state(&self) -> UnpackedState {
        UnpackedState {
            key: self.key.clone(),
            connections: self.connections.iter().map(|(seq, _)| *seq).collect(),
            lost: self.lost.clone(),
            answers: self.answers.clone(),
        }
    }

    /// The handles of the connections, in their order.
    pub(crate) fn handles(&self) -> impl Iterator<Item = &H> {
        self.connections.iter().map(|(_, handle)| handle)
    }

    /// The handles of the connections, in their order.
    pub(crate) fn into_handles(self) -> impl Iterator<Item = H> {
        self.connections.into_iter().map(|(_, handle)| handle)
    }

    /// In a state that [was checked](UnpackedState::check), with as many handles as it speaks of.
    pub(crate) fn from_state(state: UnpackedState, handles: impl Iterator<Item = H>) -> Self {
        let UnpackedState { key, connections, lost, answers } = state;
        let connections = connections.into_iter().zip(handles).collect();
        Self { key, connections, lost, answers, keys: BTreeSet::new() }
    }

    fn known(&mut self, key: &str) -> ServerKey {
        if let Some(known) = self.keys.get(key) {
            return known.clone();
        }
        if self.keys.len() >= KEYS {
            self.keys.clear();
        }
        let key = ServerKey::from(key);
        self.keys.insert(key.clone());
        key
    }
}

/// What an [`Unpacked`] knows beside its handles.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct UnpackedState {
    key: Option<ServerKey>,
    connections: Vec<u64>,
    lost: VecDeque<u64>,
    answers: VecDeque<Answer>,
}

impl UnpackedState {
    /// How many handles it has.
    pub(crate) fn handles(&self) -> usize {
        self.connections.len()
    }

    pub(crate) fn check(&self) -> Result<(), StateError> {
        if self.key.is_none() && !self.connections.is_empty() {
            return Err(StateError::Contradiction { what: "connections for no server" });
        }
        Ok(())
    }
}
