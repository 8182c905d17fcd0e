//! A gate, as plain data.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::{FrameClass, Gate, GateOutput, InFlight, MAX_RESENDS};
use crate::error::StateError;

/// All that a [`Gate`] knows, to be taken elsewhere: into another process, say.
///
/// With the feature `serde` it has serde's traits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct GateState<K> {
    /// How many descriptors may be under way.
    pub window: usize,
    /// Those that are, the oldest first.
    pub under_way: Vec<UnderWay<K>>,
    /// Frames that are held back, in their order.
    pub held: Vec<(FrameClass, K)>,
    /// What has not been polled yet.
    pub output: Vec<GateOutput<K>>,
    /// How many answers too many the peer may still give.
    pub spare_answers: u32,
    /// How many frames were [abandoned](Gate::abandon) and may still be answered.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_zero"))]
    pub abandoned: u32,
}

#[cfg(feature = "serde")]
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A frame with a descriptor that was let go, and is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct UnderWay<K> {
    /// The frame.
    pub key: K,
    /// [`FrameClass::Handle`] or [`FrameClass::Connection`].
    pub class: FrameClass,
    /// How often it was sent again.
    pub resends: u32,
}

impl<K> GateState<K> {
    /// Whether a gate can be in this state. The gate does not compare its keys: that no frame is in
    /// it twice is for the caller that assigns them.
    ///
    /// # Errors
    /// [`StateError`] if none can.
    pub fn check(&self) -> Result<(), StateError> {
        if self.window == 0 {
            return Err(StateError::OutOfRange { what: "a gate's window" });
        }
        for frame in &self.under_way {
            let most = match frame.class {
                FrameClass::Handle { resend: true } => MAX_RESENDS,
                FrameClass::Handle { resend: false } | FrameClass::Connection => 0,
                FrameClass::Plain | FrameClass::Answer => {
                    return Err(StateError::Contradiction { what: "no descriptor is under way" });
                }
            };
            if frame.resends > most {
                return Err(StateError::OutOfRange { what: "how often a frame was sent again" });
            }
        }
        if self.held.iter().any(|(class, _)| *class == FrameClass::Answer) {
            return Err(StateError::Contradiction { what: "an answer is held back" });
        }
        Ok(())
    }
}

impl<K: Clone> Gate<K> {
    /// What it knows: one that is made [from it](Self::from_state) does the same from here on.
    pub fn state(&self) -> GateState<K> {
        let under_way = self.in_flight.iter().map(|frame| UnderWay {
            key: frame.key.clone(),
            class: match frame.connection {
                true => FrameClass::Connection,
                false => FrameClass::Handle { resend: frame.resend },
            },
            resends: frame.resends,
        });
        GateState {
            window: self.window,
            under_way: under_way.collect(),
            held: self.held.iter().cloned().collect(),
            output: self.output.iter().cloned().collect(),
            spare_answers: self.spare_answers,
            abandoned: self.abandoned,
        }
    }

    /// A gate in that state.
    ///
    /// # Errors
    /// [`StateError`] if there is no such state.
    pub fn from_state(state: GateState<K>) -> Result<Self, StateError> {
        state.check()?;
        let in_flight = state.under_way.into_iter().map(|frame| InFlight {
            key: frame.key,
            resend: frame.class == FrameClass::Handle { resend: true },
            connection: frame.class == FrameClass::Connection,
            resends: frame.resends,
        });
        let in_flight: VecDeque<InFlight<K>> = in_flight.collect();
        Ok(Self {
            window: state.window,
            resendable: in_flight.iter().filter(|frame| frame.resend).count(),
            counted: in_flight.iter().filter(|frame| !frame.connection).count(),
            in_flight,
            held: state.held.into(),
            output: state.output.into(),
            spare_answers: state.spare_answers,
            abandoned: state.abandoned,
        })
    }
}
