//! What goes into the machine, and what comes out of it.

use std::fmt;

use cluster_proto::{HandleKind, ListenQuery, Message, SockName, Value};

/// A server of this worker, by a number of the driver's choice; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub u64);

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "server {}", self.0)
    }
}

/// A received descriptor, by a number of the driver's choice; never used twice.
///
/// The driver keeps the descriptor until the machine names it in an [`Output`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HandleId(pub u64);

/// A received descriptor and what the sender said that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handle {
    /// Its number.
    pub id: HandleId,
    /// Its kind.
    pub kind: HandleKind,
    /// The key of the sender's server that a connection came from, if that is to be counted.
    pub key: Option<String>,
}

/// What happened, or is wanted.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Input {
    /// The application wants a server (TCP, Unix-domain, or UDP).
    Listen {
        /// Its number from now on.
        server: ServerId,
        /// What to ask for. The machine fills in the `index`.
        query: Box<ListenQuery>,
        /// Refuse connections while that many tracked ones are open (`server.maxConnections`).
        max_connections: Option<usize>,
    },
    /// The application has a server of its own: the primary is not asked, and a disconnect closes
    /// it as the others.
    Own {
        /// Its number from now on.
        server: ServerId,
    },
    /// The driver has made the shared socket of [`Output::Open`] ready.
    Opened {
        /// The server.
        server: ServerId,
        /// The port that is bound, if it has one.
        port: Option<u16>,
    },
    /// It could not.
    OpenFailed {
        /// The server.
        server: ServerId,
        /// Why: an `errno`, positive.
        errno: i32,
    },
    /// The application closes a server.
    CloseServer(ServerId),
    /// The application wants a waiting connection of this server. Nothing happens if none waits.
    Take {
        /// The server.
        server: ServerId,
        /// Whether [`Input::Ended`] will say when the connection ends.
        tracked: bool,
    },
    /// A connection that the machine did not hand out, or handed out untracked, is to be tracked:
    /// one that was accepted from a shared socket.
    Track(ServerId),
    /// A tracked connection has ended.
    Ended(ServerId),
    /// It is time to tell the primary how many connections are open, if it wants to know
    /// ([`has_to_tell`](super::Machine::has_to_tell)).
    TellHeld,
    /// A connection is closed that came with a message, and that the primary counts by that key.
    SocketClosed(String),
    /// The application wants to know of the connections that it sent away with that key.
    AskSockets {
        /// The key.
        key: String,
        /// When the last has closed; else how many are open.
        when_closed: bool,
    },
    /// The application closes the channel (`process.disconnect()`).
    CloseChannel,
    /// The application disconnects (`worker.disconnect()`).
    Disconnect,
    /// The application ends the process in good order (`worker.kill()`).
    Kill,
    /// A message came from the primary, its descriptor unwrapped. A user's message without one the
    /// driver may deliver by itself, as it sends what the application sends by itself.
    Received {
        /// The message.
        message: Message,
        /// The descriptor that came with it.
        handle: Option<Handle>,
    },
    /// The channel is closed: the primary did so, it is gone, or [`Output::CloseChannel`] is done.
    ChannelClosed,
}

/// What the driver is to do, or to tell, in this order.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Output {
    /// Send this to the primary.
    Send(Message),
    /// The primary lends its own socket, bound and not listening: check it, listen on it, and
    /// answer with [`Input::Opened`] or [`Input::OpenFailed`]. The driver keeps the descriptor
    /// until [`Output::Closed`] or [`Output::ListenFailed`].
    Open {
        /// The server.
        server: ServerId,
        /// The socket.
        handle: HandleId,
        /// The query's port: a socket that is bound to another one has lost it to another one.
        port: Option<u16>,
        /// The length of the accept queue.
        backlog: i32,
        /// Whether it is a UDP socket, which does not listen.
        udp: bool,
    },
    /// The server listens.
    Listening {
        /// The server.
        server: ServerId,
        /// The bound address, where the primary told it. It tells none for a path, nor for a
        /// shared socket, which the driver can ask itself.
        sockname: Option<SockName>,
    },
    /// The server does not listen, and is gone.
    ListenFailed {
        /// The server.
        server: ServerId,
        /// Why.
        failure: ListenFailure,
    },
    /// One more connection waits to be taken.
    ConnectionReady(ServerId),
    /// Here is the connection that was wanted. The frame that accepts it came just before this:
    /// it is to be written before the application sees the connection.
    Connection {
        /// The server.
        server: ServerId,
        /// The connection.
        handle: HandleId,
        /// Whether it counts until [`Input::Ended`].
        tracked: bool,
    },
    /// The server is closed, and so is whatever waited in it.
    Closed(ServerId),
    /// A message for the application.
    Deliver {
        /// The message.
        value: Value,
        /// The descriptor that came with it, the application's from now on.
        handle: Option<Handle>,
    },
    /// So many connections are open in the primary of those that were sent with that key.
    SocketCount {
        /// The key.
        key: String,
        /// How many.
        count: u64,
    },
    /// The last of the connections that were sent with that key has closed.
    SocketsClosed {
        /// The key.
        key: String,
    },
    /// Close this descriptor.
    CloseHandle(HandleId),
    /// Close the channel when all that was sent has been written, then say
    /// [`Input::ChannelClosed`].
    CloseChannel,
    /// The worker is disconnected.
    Disconnected,
    /// End the process.
    Exit {
        /// With this code.
        code: i32,
    },
}

/// Why a server does not listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenFailure {
    /// The primary could not bind: an `errno`, positive.
    Refused {
        /// The number.
        errno: i32,
    },
    /// The socket that the primary lent cannot be used: an `errno`, positive.
    Unusable {
        /// The number.
        errno: i32,
    },
    /// The worker is disconnecting or disconnected.
    Disconnected,
    /// The primary's answer makes no sense.
    BadReply,
}
