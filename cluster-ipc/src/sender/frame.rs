//! A frame between `send` and its end.

use cluster_proto::{HandleKind, ServerKey, hex};
use serde::{Deserialize, Serialize};

use crate::config::Wire;

/// What the peer's handles are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    Ack,
    Nack,
}

/// A frame that the gate knows by its key. `S` is a share of a handle, or stands for one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Frame<S> {
    Plain(#[serde(with = "hex")] Vec<u8>),
    Connection(ServerKey, u64),
    Answer(Answer),
    Wire(Wire),
    Mark(u64),
    Handle(HandleFrame<S>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct HandleFrame<S> {
    #[serde(with = "hex")]
    pub(super) bytes: Vec<u8>,
    /// What the bytes are in.
    pub(super) wire: Wire,
    pub(super) carried: Carried<S>,
    pub(super) resend: bool,
    /// It is sent again, and so wrapped twice.
    pub(super) again: bool,
    pub(super) probe: bool,
    pub(super) token: Option<u64>,
}

/// Where a frame's handle is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Carried<S> {
    /// It has none: a probe, or it is written for the last time.
    Nothing,
    Shared(S),
    /// Its owner has it, under that number.
    Lent(u64),
}

impl<S> Frame<S> {
    /// Lets go of what it holds.
    pub(super) fn empty(&mut self) {
        match self {
            Self::Plain(bytes) => *bytes = Vec::new(),
            Self::Handle(frame) => {
                frame.bytes = Vec::new();
                frame.carried = Carried::Nothing;
            }
            Self::Connection(..) | Self::Answer(_) | Self::Wire(_) | Self::Mark(_) => {}
        }
    }

    /// The same with another share of its handle.
    pub(super) fn map<'a, Z>(&'a self, share: impl FnOnce(&'a S) -> Z) -> Frame<Z> {
        match self {
            Self::Plain(bytes) => Frame::Plain(bytes.clone()),
            Self::Connection(key, number) => Frame::Connection(key.clone(), *number),
            Self::Answer(answer) => Frame::Answer(*answer),
            Self::Wire(wire) => Frame::Wire(*wire),
            Self::Mark(token) => Frame::Mark(*token),
            Self::Handle(frame) => Frame::Handle(HandleFrame {
                bytes: frame.bytes.clone(),
                wire: frame.wire,
                carried: match &frame.carried {
                    Carried::Nothing => Carried::Nothing,
                    Carried::Shared(handle) => Carried::Shared(share(handle)),
                    Carried::Lent(number) => Carried::Lent(*number),
                },
                resend: frame.resend,
                again: frame.again,
                probe: frame.probe,
                token: frame.token,
            }),
        }
    }
}

/// `{"cmd":"NODE_HANDLE","type":"net.Native","msg":M}` around that frame; none if it is no frame, or
/// what the encoding does not hold.
pub(super) fn wrap(wire: Wire, frame: &[u8]) -> Option<Vec<u8>> {
    let codec = wire.codec();
    let mut again = Vec::with_capacity(frame.len() + 64);
    let first = codec.decode(wire.payload(frame)).ok()?;
    codec.encode(&first.with_handle(HandleKind::NetNative), &mut again).ok()?;
    Some(again)
}
