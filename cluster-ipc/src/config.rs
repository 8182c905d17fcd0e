//! What a channel may cost, and what it speaks.

use cluster_proto::native;
use cluster_proto::{
    Advanced, BunJson, Codec, DEFAULT_MAX_FRAME, Encoding, Framing, Json, Postcard,
};
use serde::{Deserialize, Serialize};

/// The encoding of a channel's messages. These are all that a channel speaks: Node's, Bun's and the native one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Wire {
    /// Node's default (`serialization: 'json'`): what every Node peer speaks.
    #[default]
    Json,
    /// Node's `serialization: 'advanced'`: what JSON cannot say too.
    Advanced,
    /// Length-prefixed postcard: smaller and faster, between two Rust ends only.
    Postcard,
    /// Bun's dialect of [`Json`](Self::Json). A channel that speaks `Json` changes to it by itself when
    /// its peer turns out to be Bun.
    BunJson,
}

impl Wire {
    pub(crate) fn encoding(self) -> Encoding {
        match self {
            Self::Json | Self::BunJson => Encoding::Json,
            Self::Advanced => Encoding::Advanced,
            Self::Postcard => Encoding::Postcard,
        }
    }

    pub(crate) fn codec(self) -> &'static dyn Codec {
        match self {
            Self::Json => &Json,
            Self::Advanced => &Advanced,
            Self::Postcard => &Postcard,
            Self::BunJson => &BunJson,
        }
    }

    /// A frame without its framing; nothing of what is none.
    pub(crate) fn payload(self, frame: &[u8]) -> &[u8] {
        match self.codec().framing() {
            Framing::Length => frame.get(4..).unwrap_or_default(),
            _ => frame.split_last().map_or(&[], |(_, payload)| payload),
        }
    }
}

/// Limits and settings of a [`Channel`](crate::Channel).
///
/// ```
/// use cluster_ipc::{ChannelConfig, Wire};
///
/// let config = ChannelConfig::default().wire(Wire::Postcard).max_frame(1 << 20);
/// assert_eq!(config.high_water, 128 << 10);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChannelConfig {
    /// The encoding, both ways, at the start. Default: [`Wire::Json`].
    pub wire: Wire,
    /// The longest frame that is taken or sent, in bytes. Default: 64 MiB. A peer that sends a
    /// longer one costs itself the channel.
    pub max_frame: usize,
    /// How many queued bytes make [`Pressure::High`](crate::Pressure::High). Default: 128 KiB,
    /// at which Node's `send()` returns `false`.
    pub high_water: usize,
    /// How many bytes may be queued before users' messages are refused. Default: 64 MiB. The
    /// protocol's own messages may take 4 MiB more.
    pub queue_limit: usize,
    /// How many handles may be under way before the first is answered. Default: 1, which is
    /// Node's order exactly.
    pub gate_window: usize,
    /// How many received handles may wait for the rest of their frame. Default: 253, which is what
    /// one frame of the native wire has at most.
    pub max_handles: usize,
    /// Whether a peer may change its direction to the native wire, by the
    /// [marker](cluster_proto::native::marker); this end then does the same. Default: false, and
    /// the marker is a message like others.
    pub native: bool,
    /// Whether a read that brings less than there was room for has emptied the socket, so that no
    /// other has to find that out: so it is on Linux, whichever side calls
    /// [`Channel::note_readable`](crate::Channel::note_readable) with each event.
    /// Elsewhere it is ignored. Default: false.
    pub short_reads: bool,
    /// Whether users' messages are received as they came ([`Message::Encoded`](cluster_proto::Message::Encoded)),
    /// checked but not decoded, and those of the protocol's own have limits of their own: what a peer
    /// needs that may be hostile. See [`FrameReader`](cluster_proto::FrameReader). Default: false.
    pub encoded: bool,
}

impl Default for ChannelConfig {
    fn default() -> Self {
        Self {
            wire: Wire::default(),
            max_frame: DEFAULT_MAX_FRAME,
            high_water: 128 << 10,
            queue_limit: 64 << 20,
            gate_window: 1,
            max_handles: native::MAX_CONNECTIONS,
            native: false,
            short_reads: false,
            encoded: false,
        }
    }
}

impl ChannelConfig {
    /// Sets [`wire`](Self::wire).
    #[must_use]
    pub fn wire(mut self, wire: Wire) -> Self {
        self.wire = wire;
        self
    }

    /// Sets [`max_frame`](Self::max_frame), in bytes.
    #[must_use]
    pub fn max_frame(mut self, bytes: usize) -> Self {
        self.max_frame = bytes;
        self
    }

    /// Sets [`high_water`](Self::high_water), in bytes.
    #[must_use]
    pub fn high_water(mut self, bytes: usize) -> Self {
        self.high_water = bytes;
        self
    }

    /// Sets [`queue_limit`](Self::queue_limit), in bytes.
    #[must_use]
    pub fn queue_limit(mut self, bytes: usize) -> Self {
        self.queue_limit = bytes;
        self
    }

    /// Sets [`gate_window`](Self::gate_window), in handles; 0 counts as 1.
    #[must_use]
    pub fn gate_window(mut self, handles: usize) -> Self {
        self.gate_window = handles;
        self
    }

    /// Sets [`max_handles`](Self::max_handles).
    #[must_use]
    pub fn max_handles(mut self, handles: usize) -> Self {
        self.max_handles = handles;
        self
    }

    /// Sets [`native`](Self::native).
    #[must_use]
    pub fn native(mut self, allowed: bool) -> Self {
        self.native = allowed;
        self
    }

    /// Sets [`short_reads`](Self::short_reads).
    #[must_use]
    pub fn short_reads(mut self, trusted: bool) -> Self {
        self.short_reads = trusted;
        self
    }

    /// Sets [`encoded`](Self::encoded).
    #[must_use]
    pub fn encoded(mut self, encoded: bool) -> Self {
        self.encoded = encoded;
        self
    }
}
