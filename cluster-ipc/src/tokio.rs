//! A channel in a program on [tokio] (feature `tokio`).
//!
//! ```
//! use cluster_ipc::proto::Message;
//! use cluster_ipc::tokio::AsyncChannel;
//! use cluster_ipc::{Channel, ChannelConfig};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (parent, child) = Channel::pair(ChannelConfig::default())?;
//! let mut parent = AsyncChannel::new(parent)?;
//! let mut child = AsyncChannel::new(Channel::from_fd(child, ChannelConfig::default())?)?;
//!
//! parent.send(&Message::User("hello".into()), None)?;
//! parent.flush().await?;
//! let received = child.recv().await?.expect("it is open");
//! assert_eq!(received.message, Message::User("hello".into()));
//!
//! drop(parent);
//! assert!(child.recv().await?.is_none());
//! # Ok(()) }
//! ```
//!
//! [tokio]: https://docs.rs/tokio

use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use crate::channel::Channel;
use crate::error::{RecvError, SendError};
use crate::flush::{Flush, Pressure};
use crate::outgoing::Outgoing;
use crate::received::{Received, Recv};
use cluster_proto::Message;

/// When the system is asked again that would not write.
const PAUSE: Duration = Duration::from_millis(100);

/// A [`Channel`] that is awaited. All else is as it is there.
///
/// Every future here can be dropped before it is done: no message is lost, and none is sent twice.
#[derive(Debug)]
pub struct AsyncChannel {
    /// A duplicate of the channel's socket, by which the runtime waits.
    source: AsyncFd<OwnedFd>,
    channel: Channel,
}

impl AsyncChannel {
    /// Has the runtime that is entered wait for what comes to that channel.
    ///
    /// # Errors
    /// If the runtime cannot.
    ///
    /// # Panics
    /// Outside a runtime, or in one without I/O.
    #[allow(
        deprecated,
        reason = "its successor is unsafe, for whatever might be exchanged meanwhile"
    )]
    pub fn new(channel: Channel) -> io::Result<Self> {
        let source = AsyncFd::new(channel.as_fd().try_clone_to_owned()?)?;
        Ok(Self { source, channel })
    }

    /// Waits for the next message; `None` at the end of the channel. What waits to be written, answers
    /// to descriptors among it, is written meanwhile.
    ///
    /// # Errors
    /// [`RecvError`], as [`Channel::recv`] has it.
    pub async fn recv(&mut self) -> Result<Option<Received<OwnedFd>>, RecvError> {
        // A runtime has other tasks, however fast messages come.
        tokio::task::consume_budget().await;
        loop {
            let received = self.channel.recv()?;
            let flushed = self.channel.flush();
            match received {
                Recv::Message(received) => return Ok(Some(received)),
                Recv::Closed => return Ok(None),
                Recv::WouldBlock => {}
            }
            let interest = match flushed {
                Ok(Flush::Blocked) => Interest::READABLE | Interest::WRITABLE,
                _ => Interest::READABLE,
            };
            // What comes from here on is seen by the next look.
            let ready = async {
                self.source.ready(interest).await.map_err(RecvError::Io)?.clear_ready();
                Ok::<_, RecvError>(())
            };
            match flushed {
                Ok(_) => ready.await?,
                // The system would not take it now, but nothing is lost: it is tried again.
                Err(_) => timeout(PAUSE, ready).await.unwrap_or(Ok(()))?,
            }
        }
    }

    /// Queues a message, and with it a descriptor, and writes what can be written without waiting; the
    /// rest goes while [`recv`](Self::recv) or [`flush`](Self::flush) is awaited.
    ///
    /// # Errors
    /// [`SendError`], as [`Channel::send`] has it.
    pub fn send(
        &mut self,
        message: &Message,
        handle: Option<Outgoing<OwnedFd>>,
    ) -> Result<Pressure, SendError> {
        let pressure = self.channel.send(message, handle)?;
        // The rest is written once the socket is writable.
        let _ = self.channel.flush();
        Ok(pressure)
    }

    /// Waits until what is queued is written, but for what waits for the peer's answer to a
    /// descriptor: that takes [`recv`](Self::recv).
    ///
    /// # Errors
    /// As [`Channel::flush`].
    pub async fn flush(&mut self) -> io::Result<()> {
        while self.channel.flush()? == Flush::Blocked {
            self.source.writable().await?.clear_ready();
        }
        Ok(())
    }

    /// The channel itself.
    pub fn into_inner(self) -> Channel {
        self.channel
    }
}

impl Deref for AsyncChannel {
    type Target = Channel;

    fn deref(&self) -> &Channel {
        &self.channel
    }
}

impl DerefMut for AsyncChannel {
    fn deref_mut(&mut self) -> &mut Channel {
        &mut self.channel
    }
}
