//! The messages of a cluster's channel.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

use crate::key::ServerKey;
use crate::listen::{ListenQuery, ListenReply};
use crate::user_message::UserMessage;
use crate::value::{Object, Value};

/// What one frame says.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Message {
    /// The cluster's own business (`NODE_CLUSTER`).
    Cluster(ClusterMessage),
    /// A message with a descriptor beside it (`NODE_HANDLE`).
    Handle(HandleMessage),
    /// The descriptor of the last [`Handle`](Self::Handle) arrived (`NODE_HANDLE_ACK`).
    HandleAck,
    /// It did not (`NODE_HANDLE_NACK`).
    HandleNack,
    /// The count of connections that were sent away from a `net.Server` (`NODE_SOCKET_*`).
    SocketList(SocketList),
    /// Some other message that never reaches a user: its `cmd` starts with `NODE_`.
    Internal(Object),
    /// A user's message.
    User(Value),
    /// A user's message that is not decoded: so a [`FrameReader`](crate::FrameReader) has it.
    Encoded(UserMessage),
}

impl Message {
    /// A message of the cluster's own.
    pub fn cluster(seq: u64, ack: Option<u64>, body: ClusterBody) -> Self {
        Self::Cluster(ClusterMessage { seq, ack, body, extra: Object::new() })
    }

    /// This message with a descriptor of that kind beside it.
    #[must_use]
    pub fn with_handle(self, kind: HandleKind) -> Self {
        Self::Handle(HandleMessage { kind, key: None, message: Box::new(self) })
    }

    /// Whether it is one of the answers that overtake what a handle gate holds back.
    pub fn is_handle_answer(&self) -> bool {
        matches!(self, Self::HandleAck | Self::HandleNack)
    }
}

/// A message between the two halves of `node:cluster`.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ClusterMessage {
    /// The sender's count: one per process, over all its channels, so gaps are normal.
    pub seq: u64,
    /// The `seq` of the message that this one answers.
    pub ack: Option<u64>,
    /// What it says.
    pub body: ClusterBody,
    /// Members that this version does not know.
    pub extra: Object,
}

/// What a [`ClusterMessage`] says.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum ClusterBody {
    /// Worker: it runs.
    Online,
    /// Worker: it wants to listen.
    QueryServer(Box<ListenQuery>),
    /// Worker: it listens; the query again, with the port that is bound.
    Listening(Box<ListenQuery>),
    /// Worker: it closed that server.
    Close {
        /// The server's key.
        key: ServerKey,
    },
    /// Worker: it disconnects voluntarily, and wants that acknowledged first.
    ExitedAfterDisconnect,
    /// Worker: it took the connection of the `newconn` that this answers, or refuses it.
    Accepted(bool),
    /// Primary: the answer to a `queryServer`.
    ListenReply(Box<ListenReply>),
    /// Primary: a connection for that server comes with this message.
    NewConn {
        /// The server's key.
        key: ServerKey,
    },
    /// Primary: close all servers, then the channel.
    Disconnect,
    /// Either: an answer that says nothing but that.
    Ack,
    /// An `act` that this version does not know; its members are the message's `extra`.
    Other {
        /// The `act`, empty where there was none.
        act: String,
    },
}

/// A message with a descriptor beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct HandleMessage {
    /// What the descriptor is.
    pub kind: HandleKind,
    /// The connection key of the `net.Server` that a `net.Socket` came from.
    pub key: Option<String>,
    /// The message that it goes with: never another handle, but for one that Node sends again.
    pub message: Box<Message>,
}

/// What a descriptor is, in Node's terms (`type` of a `NODE_HANDLE`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum HandleKind {
    /// A bare TCP or Unix-domain socket, listening, bound or connected: what the cluster uses.
    NetNative,
    /// A listening `net.Server`.
    NetServer,
    /// A connected `net.Socket`.
    NetSocket,
    /// A bound `net.BoundSocket` (Node 26).
    NetBoundSocket,
    /// A bare UDP socket.
    DgramNative,
    /// A `dgram.Socket`.
    DgramSocket(DgramType),
    /// Something this version does not know.
    Other(String),
}

impl HandleKind {
    /// Node's name of it.
    pub fn name(&self) -> &str {
        match self {
            Self::NetNative => "net.Native",
            Self::NetServer => "net.Server",
            Self::NetSocket => "net.Socket",
            Self::NetBoundSocket => "net.BoundSocket",
            Self::DgramNative => "dgram.Native",
            Self::DgramSocket(_) => "dgram.Socket",
            Self::Other(name) => name,
        }
    }
}

impl fmt::Display for HandleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The family of a `dgram.Socket`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum DgramType {
    /// `"udp4"`
    Udp4,
    /// `"udp6"`
    Udp6,
}

/// How the two ends keep a `net.Server`'s count of connections true for those sent away.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum SocketList {
    /// `NODE_SOCKET_NOTIFY_CLOSE`: say when the last one has closed.
    NotifyClose {
        /// The server's connection key.
        key: String,
    },
    /// `NODE_SOCKET_ALL_CLOSED`: it has.
    AllClosed {
        /// The server's connection key.
        key: String,
    },
    /// `NODE_SOCKET_GET_COUNT`: how many are open?
    GetCount {
        /// The server's connection key.
        key: String,
    },
    /// `NODE_SOCKET_COUNT`: that many.
    Count {
        /// The server's connection key.
        key: String,
        /// Open connections.
        count: u64,
    },
}
