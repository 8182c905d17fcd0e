//! Settings of a worker.

use std::time::Duration;

use cluster_ipc::{ChannelConfig, Wire};
use cluster_proto::env::Serialization;

use crate::machine::Config;

/// Settings of a worker, and how to start it with them.
///
/// ```
/// use cluster_worker::Options;
///
/// let worker = Options::new().exit_when_orphaned(false).from_env()?;
/// assert!(worker.is_none(), "no primary has started this process");
/// # Ok::<(), cluster_worker::StartError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    machine: Config,
    pub(crate) inbox_limit: usize,
    #[cfg(feature = "tokio")]
    pub(crate) first_word: Duration,
    pub(crate) handle_limit: usize,
    serialization: Serialization,
    pub(crate) slot: Option<u32>,
    queue_limit: usize,
}

impl Options {
    /// The defaults, which are Node's where Node has any.
    pub fn new() -> Self {
        Self {
            machine: Config::default(),
            inbox_limit: 16_384,
            #[cfg(feature = "tokio")]
            first_word: Duration::from_secs(1),
            handle_limit: 256,
            serialization: Serialization::default(),
            slot: None,
            queue_limit: 64 << 20,
        }
    }

    /// Whether the process exits at once, with 0, when the primary is gone. Default: true.
    ///
    /// A thread that waits in one of the worker's methods notices; where none does, the next call
    /// will.
    #[must_use]
    pub fn exit_when_orphaned(mut self, exit: bool) -> Self {
        self.machine.exit_when_orphaned = exit;
        self
    }

    /// How many connections may wait in one server to be accepted; more are refused, and the
    /// primary gives them to another worker. Default: 1024.
    #[must_use]
    pub fn connection_limit(mut self, connections: usize) -> Self {
        self.machine.queue_limit = connections;
        self
    }

    /// How many messages may wait to be received; more are lost, and counted
    /// ([`RecvError::Lost`](crate::RecvError::Lost)). Default: 16,384.
    #[must_use]
    pub fn message_limit(mut self, messages: usize) -> Self {
        self.inbox_limit = messages;
        self
    }

    /// How many messages with descriptors may wait to be received; more are lost as others are, and
    /// their descriptors closed. Default: 256.
    #[must_use]
    pub fn handle_limit(mut self, messages: usize) -> Self {
        self.handle_limit = messages;
        self
    }

    /// How messages are written on a channel that is given to [`worker`](Self::worker): what the
    /// primary's settings say. A worker that starts from its environment finds it there. Default:
    /// JSON.
    #[must_use]
    pub fn serialization(mut self, serialization: Serialization) -> Self {
        self.serialization = serialization;
        self
    }

    /// The place of a worker that is started on a channel that is given to
    /// [`worker`](Self::worker). One that starts from its environment finds it there. Default: none.
    #[must_use]
    pub fn slot(mut self, slot: Option<u32>) -> Self {
        self.slot = slot;
        self
    }

    /// How many bytes may wait to be written before a message is refused
    /// ([`SendError::QueueFull`](crate::SendError::QueueFull)). The protocol's own messages are not
    /// kept back by it. Default: 64 MiB.
    #[must_use]
    pub fn send_limit(mut self, bytes: usize) -> Self {
        self.queue_limit = bytes;
        self
    }

    /// How long the primary may take to acknowledge that this worker goes, before the channel is
    /// closed all the same, with what could not be written to a primary that does not read.
    /// Default: forever, as in Node.
    #[must_use]
    pub fn answer_timeout(mut self, timeout: Duration) -> Self {
        self.machine.answer_timeout = Some(timeout);
        self
    }

    /// How long [`shutdown`](crate::tokio::Worker::shutdown) waits for clients to say something that have
    /// connected already. Default: a second. (Feature `tokio`.)
    #[cfg(feature = "tokio")]
    #[must_use]
    pub fn first_word(mut self, most: Duration) -> Self {
        self.first_word = most;
        self
    }

    pub(crate) fn machine_config(&self) -> Config {
        self.machine.clone()
    }

    pub(crate) fn channel_config(&self) -> ChannelConfig {
        let wire = match self.serialization {
            Serialization::Advanced => Wire::Advanced,
            _ => Wire::Json,
        };
        ChannelConfig::default()
            .wire(wire)
            .queue_limit(self.queue_limit)
            .native(true)
            .short_reads(true)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}
