//! What arrives.

use cluster_proto::{HandleKind, Message};

/// What a [`Channel::recv`](crate::Channel::recv) brought.
#[derive(Debug)]
pub enum Recv<H> {
    /// A message.
    Message(Received<H>),
    /// Nothing more yet: wait until the transport is readable.
    WouldBlock,
    /// The peer has closed its end, and all that it wrote is read; or an error was returned
    /// before. It stays so.
    Closed,
}

/// A message that arrived.
#[derive(Debug)]
pub struct Received<H> {
    /// The message, out of the wrapping of its handle. It is never an acknowledgement.
    pub message: Message,
    /// The handle that came with it. The peer has been answered by then: ACK is in the queue.
    pub handle: Option<ReceivedHandle<H>>,
}

/// A handle that arrived, with what the message said of it.
#[derive(Debug)]
pub struct ReceivedHandle<H> {
    /// What the peer says that it is. The channel does not check it.
    pub kind: HandleKind,
    /// The connection key of the `net.Server` that a `net.Socket` came from.
    pub key: Option<String>,
    /// The handle. A descriptor is close-on-exec, otherwise in the state its sender left it:
    /// not necessarily non-blocking.
    pub handle: H,
}
