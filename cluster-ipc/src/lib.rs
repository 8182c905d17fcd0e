//! A channel of messages over a Unix stream socket, some with a file descriptor beside them.

mod channel;
mod config;
mod error;
mod outgoing;
mod pairing;
mod queue;
mod sender;
mod socket;
mod straddle;
mod transport;
mod unix;

pub use cluster_proto as proto;

pub use channel::{Channel, ChannelStats, Flush, Pressure, Received, ReceivedHandle, Recv};
pub use config::{ChannelConfig, Wire};
pub use error::{RecvError, SendError};
pub use outgoing::{HandleAnswer, Outgoing};
pub use pairing::{Found, Pairing, TooManyHandles};
pub use socket::Socket;
pub use transport::{RecvMeta, Transport};
