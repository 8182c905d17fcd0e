//! Messages of the primary's, with what came beside them.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use cluster_ipc::{AnySocket, Counted};
use cluster_proto::{HandleKind, TypeError, Value};
use serde::de::DeserializeOwned;

use crate::driver::{Inbound, InboundHandle, Shared};
use crate::machine::Input;
use crate::request::Request;

/// A message from the primary (`process.on('message', (message, handle) => …)`).
#[derive(Debug)]
#[non_exhaustive]
pub struct Received {
    /// What it says.
    pub message: Value,
    /// The descriptor that came with it.
    pub handle: Option<MessageHandle>,
    /// By what to answer it, if the primary waits for an answer: the message is what it asks then.
    pub request: Option<Request>,
}

/// A descriptor that came with a message.
#[derive(Debug)]
#[non_exhaustive]
pub struct MessageHandle {
    /// What it is, as the primary said. What it really is tells [`socket`](Self::socket).
    pub kind: HandleKind,
    /// The descriptor, close-on-exec, otherwise in the state its sender left it: one of Node's does
    /// not block.
    pub handle: OwnedFd,
    /// Keep it as long as the connection is open: until it is dropped the primary counts the
    /// connection among its server's. `None` where connections are not counted.
    pub counted: Option<Counted>,
}

impl MessageHandle {
    /// The descriptor as a socket of the standard library, by what the kernel says of it.
    pub fn socket(self) -> (AnySocket, Option<Counted>) {
        (self.handle.into(), self.counted)
    }
}

impl Received {
    /// The message as a type of the application's own; see [`Value::decode`].
    ///
    /// # Errors
    /// [`TypeError`] if it is no such thing.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, TypeError> {
        self.message.decode()
    }

    pub(crate) fn new(inbound: Inbound, shared: &Arc<Shared>) -> Self {
        let handle = inbound.handle.map(|InboundHandle { kind, fd, key }| {
            let counted = key.map(|key| {
                let shared = Arc::clone(shared);
                Counted::new(move || shared.with(|core| core.input(Input::SocketClosed(key))))
            });
            MessageHandle { kind, handle: fd, counted }
        });
        let request = inbound.request.map(|id| Request::new(id, shared));
        Self { message: inbound.value, handle, request }
    }
}
