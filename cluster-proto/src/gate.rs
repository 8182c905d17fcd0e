//! One descriptor in flight at a time, and nothing overtakes it.

mod state;

use alloc::collections::VecDeque;
use core::fmt;

pub use state::{GateState, UnderWay};

/// How often Node sends a `net.Socket` again before it gives up.
const MAX_RESENDS: u32 = 3;

/// What a frame means to the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum FrameClass {
    /// A frame without a descriptor.
    Plain,
    /// `NODE_HANDLE_ACK` or `NODE_HANDLE_NACK`: overtakes all that waits.
    Answer,
    /// A frame with a descriptor, of which the peer answers every one.
    Handle {
        /// Whether it is sent again when the peer says that the descriptor did not arrive. Node
        /// does so for a `net.Socket` sent without `keepOpen` (and `net.BoundSocket`) only.
        resend: bool,
    },
    /// The same for a connection that is not waited for: any number of them may be under way at
    /// once, and hold back nothing. It is not sent again.
    Connection,
}

/// What is to be done with a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum GateOutput<K> {
    /// Write it now, behind whatever was written before.
    Send(K),
    /// Write it again, wrapped once more: `{"cmd":"NODE_HANDLE","type":"net.Native","msg":M}` with
    /// the whole first frame as M.
    Resend(K),
    /// The peer has its descriptor: let go of the frame and of ours.
    Delivered(K),
    /// The peer said that the descriptor did not arrive, for the last time: let go of both.
    Undelivered(K),
}

/// The order of frames while a descriptor is un-ACKed, exactly as Node keeps it.
///
/// A peer answers each frame with a descriptor by ACK or NACK. Until it has, Node holds back every
/// later frame but answers of its own. The gate holds keys of frames, not the frames.
///
/// ```text
///  sender            gate                     peer
///  Handle(1) ──────► Send(1) ───────────────► descriptor arrives
///  Plain(2)  ──────► held
///  Answer(3) ──────► Send(3) ───────────────►
///                    ack() ◄──────────────── NODE_HANDLE_ACK
///                    Delivered(1), Send(2) ─►
/// ```
///
/// A window above one lets that many descriptors be under way at once, and holds plain frames
/// back only behind descriptors that wait or that might be sent again. [Connections](FrameClass::Connection)
/// are not counted by it.
#[derive(Debug)]
pub struct Gate<K> {
    window: usize,
    in_flight: VecDeque<InFlight<K>>,
    /// Those of them that may be sent again.
    resendable: usize,
    /// Those that are no connections.
    counted: usize,
    held: VecDeque<(FrameClass, K)>,
    output: VecDeque<GateOutput<K>>,
    /// Node answers a frame that was sent again once for each wrapping.
    spare_answers: u32,
    /// Frames that were abandoned and may still be answered. All of them are older than what is in
    /// flight, as only the oldest can be abandoned.
    abandoned: u32,
}

#[derive(Debug)]
struct InFlight<K> {
    key: K,
    resend: bool,
    connection: bool,
    resends: u32,
}

impl<K: Clone> Gate<K> {
    /// A gate with Node's window: one descriptor under way.
    pub fn new() -> Self {
        Self::with_window(1)
    }

    /// A gate that lets up to `window` descriptors (at least one) be under way.
    pub fn with_window(window: usize) -> Self {
        Self {
            window: window.max(1),
            in_flight: VecDeque::new(),
            resendable: 0,
            counted: 0,
            held: VecDeque::new(),
            output: VecDeque::new(),
            spare_answers: 0,
            abandoned: 0,
        }
    }

    /// Takes a frame that is to be sent.
    pub fn submit(&mut self, class: FrameClass, key: K) {
        if class == FrameClass::Answer {
            self.output.push_back(GateOutput::Send(key));
        } else {
            self.held.push_back((class, key));
            self.release();
        }
    }

    /// The peer has the oldest descriptor under way. What was [abandoned](Self::abandon) before it is
    /// never answered then: a peer answers in order, and what is abandoned has no descriptor.
    ///
    /// # Errors
    /// [`UnexpectedAnswer`] if none is: the peer is broken.
    pub fn ack(&mut self) -> Result<(), UnexpectedAnswer> {
        match self.in_flight.pop_front() {
            Some(frame) => {
                self.abandoned = 0;
                self.uncount(&frame);
                self.spare_answers = self.spare_answers.saturating_add(frame.resends);
                self.output.push_back(GateOutput::Delivered(frame.key));
                self.release();
                Ok(())
            }
            None => self.spare_answer(),
        }
    }

    /// The oldest descriptor under way did not arrive; or, where one was [abandoned](Self::abandon)
    /// before it, this is the late answer to that.
    ///
    /// # Errors
    /// [`UnexpectedAnswer`] if there is neither: the peer is broken.
    pub fn nack(&mut self) -> Result<(), UnexpectedAnswer> {
        if let Some(left) = self.abandoned.checked_sub(1) {
            self.abandoned = left;
            return Ok(());
        }
        let Some(frame) = self.in_flight.front_mut() else { return self.spare_answer() };
        if frame.resend && frame.resends < MAX_RESENDS {
            frame.resends += 1;
            self.output.push_back(GateOutput::Resend(frame.key.clone()));
        } else if let Some(frame) = self.in_flight.pop_front() {
            self.uncount(&frame);
            self.output.push_back(GateOutput::Undelivered(frame.key));
            self.release();
        }
        Ok(())
    }

    /// An answer came while nothing that it could be for has been written yet. (The gate does not
    /// know what is written: to it a frame is under way as soon as it has let it go.)
    ///
    /// # Errors
    /// [`UnexpectedAnswer`] unless it is one too many to a frame that was sent again, which Node
    /// answers once for each wrapping.
    pub fn spare_answer(&mut self) -> Result<(), UnexpectedAnswer> {
        self.spare_answers = self.spare_answers.checked_sub(1).ok_or(UnexpectedAnswer)?;
        Ok(())
    }

    /// The oldest descriptor under way: what the next answer is for.
    pub fn oldest(&self) -> Option<&K> {
        self.in_flight.front().map(|frame| &frame.key)
    }

    /// Stops waiting for the answer to the oldest frame under way: it counts as undelivered, and what
    /// waits for it goes on. Its place is kept: the next [`nack`](Self::nack) is its late answer, unless
    /// an [`ack`](Self::ack) of what was sent behind it comes first.
    ///
    /// For a frame that went without its descriptor, so that the peer can only refuse it.
    pub fn abandon(&mut self) {
        if let Some(frame) = self.in_flight.pop_front() {
            self.uncount(&frame);
            self.spare_answers = self.spare_answers.saturating_add(frame.resends);
            self.abandoned = self.abandoned.saturating_add(1);
            self.output.push_back(GateOutput::Undelivered(frame.key));
            self.release();
        }
    }

    /// How many frames were [abandoned](Self::abandon) and may still be answered.
    pub fn abandoned(&self) -> u32 {
        self.abandoned
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<GateOutput<K>> {
        self.output.pop_front()
    }

    /// Whether a plain frame would be let go at once, and with nothing before it: then it need not
    /// be submitted.
    pub fn is_open(&self) -> bool {
        self.held.is_empty() && self.output.is_empty() && !self.bars_plain()
    }

    /// At window one everything waits, as in Node; above it only what order demands.
    fn bars_plain(&self) -> bool {
        self.resendable > 0 || (self.window == 1 && self.counted > 0)
    }

    fn uncount(&mut self, frame: &InFlight<K>) {
        self.resendable -= usize::from(frame.resend);
        self.counted -= usize::from(!frame.connection);
    }

    /// Frames held back.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Descriptors under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether nothing is held back and no descriptor is under way.
    pub fn is_idle(&self) -> bool {
        self.held.is_empty() && self.in_flight.is_empty() && self.output.is_empty()
    }

    fn release(&mut self) {
        while let Some((class, _)) = self.held.front() {
            let full = self.counted >= self.window;
            let blocked = match class {
                FrameClass::Plain => self.bars_plain(),
                FrameClass::Handle { resend } => {
                    full || self.resendable > 0 || (*resend && !self.in_flight.is_empty())
                }
                FrameClass::Connection => self.bars_plain(),
                FrameClass::Answer => false,
            };
            if blocked {
                return;
            }
            let Some((class, key)) = self.held.pop_front() else { return };
            let (resend, connection) = match class {
                FrameClass::Handle { resend } => (resend, false),
                FrameClass::Connection => (false, true),
                FrameClass::Plain | FrameClass::Answer => {
                    self.output.push_back(GateOutput::Send(key));
                    continue;
                }
            };
            self.resendable += usize::from(resend);
            self.counted += usize::from(!connection);
            self.in_flight.push_back(InFlight { key: key.clone(), resend, connection, resends: 0 });
            self.output.push_back(GateOutput::Send(key));
        }
    }
}

impl<K: Clone> Default for Gate<K> {
    fn default() -> Self {
        Self::new()
    }
}

/// The peer answered for a descriptor that it was not sent. (A Node peer dies of this.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnexpectedAnswer;

impl fmt::Display for UnexpectedAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the peer acknowledged a descriptor that it was not sent")
    }
}

impl core::error::Error for UnexpectedAnswer {}

#[cfg(test)]
mod tests {
    use super::*;
    use GateOutput::*;
    use alloc::vec::Vec;

    const HANDLE: FrameClass = FrameClass::Handle { resend: false };
    const RESENT: FrameClass = FrameClass::Handle { resend: true };

    fn outputs(gate: &mut Gate<u32>) -> Vec<GateOutput<u32>> {
        core::iter::from_fn(|| gate.poll_output()).collect()
    }

    #[test]
    fn all_but_answers_waits_for_the_ack_in_order() {
        let mut gate = Gate::new();
        assert!(gate.is_open());
        gate.submit(FrameClass::Plain, 1);
        assert!(!gate.is_open(), "it is still to be polled");
        gate.submit(HANDLE, 2);
        gate.submit(FrameClass::Plain, 3);
        gate.submit(HANDLE, 4);
        gate.submit(FrameClass::Plain, 5);
        gate.submit(FrameClass::Answer, 6);
        assert_eq!(outputs(&mut gate), [Send(1), Send(2), Send(6)]);
        gate.ack().unwrap();
        assert_eq!(outputs(&mut gate), [Delivered(2), Send(3), Send(4)]);
        assert_eq!((gate.held(), gate.in_flight()), (1, 1));
        gate.ack().unwrap();
        assert_eq!(outputs(&mut gate), [Delivered(4), Send(5)]);
        assert!(gate.is_idle());
    }

    #[test]
    fn connections_hold_back_nothing_and_wait_for_others() {
        let mut gate = Gate::new();
        for key in 1..=3 {
            gate.submit(FrameClass::Connection, key);
        }
        gate.submit(FrameClass::Plain, 4);
        assert_eq!(outputs(&mut gate), [Send(1), Send(2), Send(3), Send(4)]);
        assert!(gate.is_open());
        gate.submit(HANDLE, 5);
        gate.submit(FrameClass::Connection, 6);
        gate.submit(FrameClass::Plain, 7);
        gate.nack().unwrap();
        assert_eq!(outputs(&mut gate), [Send(5), Undelivered(1)]);
        for _ in 0..2 {
            gate.ack().unwrap();
        }
        assert_eq!(outputs(&mut gate), [Delivered(2), Delivered(3)]);
        gate.ack().unwrap();
        assert_eq!(outputs(&mut gate), [Delivered(5), Send(6), Send(7)]);
    }

    #[test]
    fn what_may_be_sent_again_waits_for_connections_too() {
        let mut gate = Gate::new();
        gate.submit(FrameClass::Connection, 1);
        gate.submit(RESENT, 2);
        assert_eq!(outputs(&mut gate), [Send(1)]);
        gate.ack().unwrap();
        assert_eq!(outputs(&mut gate), [Delivered(1), Send(2)]);
    }

    #[test]
    fn what_is_abandoned_holds_back_nothing_and_may_be_answered_late() {
        let mut gate = Gate::new();
        gate.submit(HANDLE, 1);
        gate.submit(FrameClass::Plain, 2);
        assert_eq!(gate.oldest(), Some(&1));
        gate.abandon();
        assert_eq!(outputs(&mut gate), [Send(1), Undelivered(1), Send(2)]);
        assert!(gate.is_idle() && gate.oldest().is_none());
        gate.nack().unwrap();
        assert_eq!(gate.nack(), Err(UnexpectedAnswer), "late, but only once");
        gate.abandon();
        assert!(gate.is_idle(), "nothing was under way");
    }

    #[test]
    fn a_late_refusal_is_for_what_was_abandoned_and_not_for_what_is_under_way() {
        let mut gate = Gate::new();
        gate.submit(HANDLE, 1);
        gate.abandon();
        gate.submit(FrameClass::Connection, 2);
        gate.submit(FrameClass::Connection, 3);
        assert_eq!(outputs(&mut gate), [Send(1), Undelivered(1), Send(2), Send(3)]);
        gate.nack().unwrap();
        assert_eq!((gate.abandoned(), gate.in_flight()), (0, 2));
        gate.nack().unwrap();
        gate.ack().unwrap();
        assert_eq!(outputs(&mut gate), [Undelivered(2), Delivered(3)]);
        assert_eq!(gate.nack(), Err(UnexpectedAnswer));
    }

    #[test]
    fn a_peer_that_never_answers_what_was_abandoned_stalls_nothing() {
        let mut gate = Gate::new();
        gate.submit(HANDLE, 1);
        gate.abandon();
        gate.submit(HANDLE, 2);
        gate.submit(HANDLE, 3);
        assert_eq!(outputs(&mut gate), [Send(1), Undelivered(1), Send(2)]);
        assert_eq!(gate.abandoned(), 1);
        gate.ack().unwrap();
        assert_eq!(gate.abandoned(), 0, "the peer answers in order");
        assert_eq!(outputs(&mut gate), [Delivered(2), Send(3)]);
        gate.nack().unwrap();
        assert_eq!(outputs(&mut gate), [Undelivered(3)]);
        assert!(gate.is_idle());
        // It is refused, and never taken.
        gate.submit(HANDLE, 4);
        gate.abandon();
        assert_eq!(gate.ack(), Err(UnexpectedAnswer));
    }

    #[test]
    fn a_nack_loses_the_descriptor_that_is_not_sent_again() {
        let mut gate = Gate::new();
        gate.submit(HANDLE, 1);
        gate.submit(FrameClass::Plain, 2);
        assert_eq!(outputs(&mut gate), [Send(1)]);
        gate.nack().unwrap();
        assert_eq!(outputs(&mut gate), [Undelivered(1), Send(2)]);
    }

    #[test]
    fn a_socket_is_sent_again_three_times_and_its_double_acks_are_allowed() {
        let mut gate = Gate::new();
        gate.submit(RESENT, 1);
        gate.submit(FrameClass::Plain, 2);
        assert_eq!(outputs(&mut gate), [Send(1)]);
        for _ in 0..3 {
            gate.nack().unwrap();
            assert_eq!(outputs(&mut gate), [Resend(1)]);
        }
        gate.nack().unwrap();
        assert_eq!(outputs(&mut gate), [Undelivered(1), Send(2)]);

        gate.submit(RESENT, 3);
        gate.nack().unwrap();
        gate.ack().unwrap();
        assert_eq!(outputs(&mut gate), [Send(3), Resend(3), Delivered(3)]);
        // A Node peer acknowledges the outer and the inner frame.
        assert_eq!(gate.ack(), Ok(()));
        assert_eq!(gate.ack(), Err(UnexpectedAnswer));
    }

    #[test]
    fn a_second_ack_is_not_for_the_frame_that_the_first_let_go() {
        let mut gate = Gate::new();
        gate.submit(RESENT, 1);
        gate.submit(HANDLE, 2);
        gate.nack().unwrap();
        gate.ack().unwrap();
        assert_eq!(outputs(&mut gate), [Send(1), Resend(1), Delivered(1), Send(2)]);
        // 2 is not written yet.
        assert_eq!(gate.spare_answer(), Ok(()));
        assert_eq!(outputs(&mut gate), []);
        assert_eq!(gate.spare_answer(), Err(UnexpectedAnswer));
        gate.ack().unwrap();
        assert_eq!(outputs(&mut gate), [Delivered(2)]);
    }

    #[test]
    fn an_unexpected_answer_is_an_error() {
        let mut gate = Gate::<u32>::new();
        assert_eq!(gate.ack(), Err(UnexpectedAnswer));
        assert_eq!(gate.nack(), Err(UnexpectedAnswer));
        gate.submit(FrameClass::Plain, 1);
        assert_eq!(gate.ack(), Err(UnexpectedAnswer));
    }

    #[test]
    fn a_wider_window_lets_more_be_under_way_but_order_holds_where_it_matters() {
        let mut gate = Gate::with_window(2);
        gate.submit(HANDLE, 1);
        gate.submit(FrameClass::Plain, 2);
        gate.submit(HANDLE, 3);
        gate.submit(HANDLE, 4);
        gate.submit(FrameClass::Plain, 5);
        assert_eq!(outputs(&mut gate), [Send(1), Send(2), Send(3)]);
        gate.ack().unwrap();
        assert_eq!(outputs(&mut gate), [Delivered(1), Send(4), Send(5)]);
        // What may be sent again travels alone.
        gate.submit(RESENT, 6);
        gate.submit(FrameClass::Plain, 7);
        gate.ack().unwrap();
        assert_eq!(outputs(&mut gate), [Delivered(3)]);
        gate.ack().unwrap();
        assert_eq!(outputs(&mut gate), [Delivered(4), Send(6)]);
        gate.ack().unwrap();
        assert_eq!(outputs(&mut gate), [Delivered(6), Send(7)]);
    }
}
