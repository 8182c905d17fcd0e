//! What the machine reports to the user.

use cluster_proto::UserMessage;

use super::config::Config;
use super::io::Handle;
use crate::id::{ConnId, WorkerId};
use crate::request::Request;

/// An event, with ids in place of what the driver keeps.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// [`crate::Event::Setup`]: the configuration in force. Placement and policy may be those of before.
    Setup {
        /// All of it.
        config: Config,
    },
    /// [`crate::Event::Message`].
    Message {
        /// The worker.
        worker: WorkerId,
        /// What it said.
        message: UserMessage,
        /// The descriptor that came with it.
        handle: Option<Handle>,
    },
    /// [`crate::Event::Request`].
    Request {
        /// The worker.
        worker: WorkerId,
        /// By what to answer.
        request: Request,
        /// What it asks.
        body: UserMessage,
        /// The descriptor that came with it.
        handle: Option<Handle>,
    },
    /// [`crate::Event::Taken`]. [`Output::DropConn`](super::Output::DropConn) follows.
    Taken {
        /// The worker.
        worker: WorkerId,
        /// The connection.
        conn: ConnId,
    },
    /// One in which the driver has nothing to fill in.
    Plain(crate::event::Event),
}

impl From<crate::event::Event> for Event {
    fn from(event: crate::event::Event) -> Self {
        Self::Plain(event)
    }
}
