//! How sending goes.

/// How full the queue is behind a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressure {
    /// Below [`high_water`](crate::ChannelConfig::high_water): Node's `send()` returns `true`.
    Low,
    /// At or above it: Node's `send()` returns `false`. The message is queued all the same; a good
    /// sender stops until the channel [is flushed](crate::Channel::flush).
    High,
}

/// What is left after a [`Channel::flush`](crate::Channel::flush).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// All is written that may be: what is left waits for the peer's answer to a handle, which
    /// [`Channel::recv`](crate::Channel::recv) takes; flush again after it.
    Done,
    /// The transport is full: flush again when it is writable.
    Blocked,
}
