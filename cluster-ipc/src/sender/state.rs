//! The sending half, as plain data.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use cluster_proto::{FrameClass, Gate, GateState};
use serde::{Deserialize, Serialize};

use crate::config::Wire;
use crate::error::StateError;
use crate::max_count::MAX_COUNT;
use crate::outgoing::HandleAnswer;
use crate::queue::{Queue, QueueState};
use crate::straddle::Straddle;

use super::frame::{Answer, Carried, Frame, HandleFrame, wrap};
use super::{CONNECTION, MAX_ANSWERS, Sender};

/// What a [`Sender`] knows; numbers stand for the handles that it has a share of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SenderState {
    wire: Wire,
    answer_wire: Wire,
    max_frame: usize,
    high_water: usize,
    queue_limit: usize,
    gate: GateState<u64>,
    #[serde(default)]
    frames: BTreeMap<u64, Frame<usize>>,
    last_key: u64,
    #[serde(default)]
    queue: QueueState,
    #[serde(default)]
    straddle: Straddle,
    #[serde(default)]
    answers: VecDeque<Answer>,
    #[serde(default)]
    reports: VecDeque<HandleAnswer>,
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    abandoned: VecDeque<Option<u64>>,
    #[serde(default)]
    reached: VecDeque<u64>,
    #[serde(default)]
    undelivered: u64,
    arrived: Option<u64>,
    closed: bool,
}

/// Gives each shared handle a number of its own, however often it is to be sent.
pub(crate) struct Numbers<'a, H> {
    next: usize,
    known: BTreeMap<*const H, usize>,
    handles: Vec<&'a Arc<H>>,
}

impl<'a, H> Numbers<'a, H> {
    pub(crate) fn from(first: usize) -> Self {
        Self { next: first, known: BTreeMap::new(), handles: Vec::new() }
    }

    fn of(&mut self, handle: &'a Arc<H>) -> usize {
        *self.known.entry(Arc::as_ptr(handle)).or_insert_with(|| {
            self.handles.push(handle);
            self.next += 1;
            self.next - 1
        })
    }

    /// The handles, in the order of their numbers.
    pub(crate) fn into_handles(self) -> Vec<&'a Arc<H>> {
        self.handles
    }
}

impl<H> Sender<H> {
    /// Nothing that is queued grows any more.
    pub(crate) fn seal(&mut self) {
        self.queue.seal();
    }

    /// What it knows; it must be [sealed](Self::seal).
    pub(crate) fn state<'a>(&'a self, numbers: &mut Numbers<'a, H>) -> SenderState {
        let frames = self.frames.iter();
        let frames = frames.map(|(key, frame)| (*key, frame.map(|handle| numbers.of(handle))));
        SenderState {
            wire: self.wire,
            answer_wire: self.answer_wire,
            max_frame: self.max_frame,
            high_water: self.high_water,
            queue_limit: self.queue_limit,
            gate: self.gate.state(),
            frames: frames.collect(),
            last_key: self.last_key,
            queue: self.queue.state(),
            straddle: self.straddle.clone(),
            answers: self.answers.clone(),
            reports: self.reports.clone(),
            abandoned: self.abandoned.clone(),
            reached: self.reached.clone(),
            undelivered: self.undelivered,
            arrived: self.arrived,
            closed: self.closed,
        }
    }

    /// In a state that [was checked](SenderState::check), with the handle of each number.
    pub(crate) fn from_state(state: SenderState, share: impl Fn(usize) -> Arc<H>) -> Self {
        let queued = state.queued();
        let frames = state.frames.iter();
        let frames = frames.map(|(key, frame)| (*key, frame.map(|number| share(*number))));
        Self {
            wire: state.wire,
            answer_wire: state.answer_wire,
            max_frame: state.max_frame,
            high_water: state.high_water,
            queue_limit: state.queue_limit,
            frames: frames.collect(),
            gate: Gate::from_state(state.gate).expect("the state was checked"),
            last_key: state.last_key,
            queue: Queue::from_state(state.queue),
            straddle: state.straddle,
            queued,
            answers: state.answers,
            reports: state.reports,
            abandoned: state.abandoned,
            reached: state.reached,
            undelivered: state.undelivered,
            arrived: state.arrived,
            frame: Vec::new(),
            written: Default::default(),
            closed: state.closed,
        }
    }
}

impl SenderState {
    /// The numbers of the handles that it has a share of, some of them perhaps several times.
    pub(crate) fn handles(&self) -> impl Iterator<Item = usize> {
        self.frames.values().filter_map(|frame| match frame {
            Frame::Handle(HandleFrame { carried: Carried::Shared(number), .. }) => Some(*number),
            _ => None,
        })
    }

    /// Whether a sender can be in this state: whatever it does then, it finds what it expects.
    pub(crate) fn check(&self) -> Result<(), StateError> {
        self.gate.check()?;
        self.queue.check()?;
        self.straddle.check()?;
        if self.answers.len() > MAX_ANSWERS {
            return Err(StateError::OutOfRange { what: "answers that wait to be written" });
        }
        if self.undelivered > MAX_COUNT || self.last_key > MAX_COUNT {
            return Err(StateError::OutOfRange { what: "what a sender has counted" });
        }
        if usize::try_from(self.gate.abandoned) != Ok(self.abandoned.len()) {
            return Err(StateError::Contradiction { what: "the gate and the abandoned probes" });
        }
        self.check_gate()?;
        let written = self.check_order()?;
        if self.closed { self.check_closed() } else { self.check_frames(written) }
    }

    /// Every frame is known to the gate, once, and as what it is.
    fn check_gate(&self) -> Result<(), StateError> {
        let wrong = StateError::Contradiction { what: "the gate and the frames" };
        let under_way = self.gate.under_way.iter().map(|frame| (frame.class, frame.key));
        let mut known = BTreeSet::new();
        for (class, key) in under_way.chain(self.gate.held.iter().copied()) {
            let Some(frame) = self.frames.get(&key) else { return Err(wrong) };
            let lent =
                matches!(frame, Frame::Handle(frame) if matches!(frame.carried, Carried::Lent(_)));
            let right = match (class, frame) {
                (FrameClass::Handle { resend }, Frame::Handle(frame)) => {
                    frame.resend == resend && !lent
                }
                (FrameClass::Connection, Frame::Handle(frame)) => {
                    !frame.resend && !frame.probe && (lent || self.closed)
                }
                (FrameClass::Plain, Frame::Handle(_) | Frame::Answer(_)) => false,
                (FrameClass::Plain, _) => true,
                _ => false,
            };
            if !right || key > self.last_key || !known.insert(key) {
                return Err(wrong);
            }
        }
        if known.len() != self.frames.len() || !self.gate.output.is_empty() {
            return Err(wrong);
        }
        Ok(())
    }

    /// Of the handles that the gate let go the last ones are in the queue, and the others wait for
    /// their answers: how many that are.
    fn check_order(&self) -> Result<usize, StateError> {
        let wrong = StateError::Contradiction { what: "the gate and the queue" };
        let let_go = self.gate.under_way.iter().map(|frame| frame.key);
        let written = let_go.len().checked_sub(self.queue.handles().count());
        let Some(written) = written else { return Err(wrong) };
        let unanswered = self.straddle.unanswered();
        // What a channel lets go that is closed is never written.
        let right = if self.closed { unanswered <= written } else { unanswered == written };
        if right && (self.closed || let_go.skip(written).eq(self.queue.handles())) {
            Ok(written)
        } else {
            Err(wrong)
        }
    }

    fn check_closed(&self) -> Result<(), StateError> {
        let is_empty = |frame: &Frame<usize>| match frame {
            Frame::Plain(bytes) => bytes.is_empty(),
            Frame::Handle(frame) => {
                frame.bytes.is_empty() && matches!(frame.carried, Carried::Nothing)
            }
            _ => true,
        };
        let empty = self.queue.is_empty() && self.answers.is_empty();
        if empty && self.frames.values().all(is_empty) {
            Ok(())
        } else {
            Err(StateError::Contradiction { what: "a channel that is closed has more to write" })
        }
    }

    /// What is to be written is there; `written` handles are already.
    fn check_frames(&self, written: usize) -> Result<(), StateError> {
        let under_way = self.gate.under_way.iter().enumerate();
        let under_way = under_way.map(|(place, frame)| (frame.key, place >= written));
        let held = self.gate.held.iter().map(|(_, key)| (*key, true));
        for (key, is_to_be_written) in under_way.chain(held) {
            let right = match &self.frames[&key] {
                Frame::Plain(bytes) => !bytes.is_empty(),
                Frame::Handle(frame) => {
                    let begun = self.queue.written_of(key);
                    frame.can_be_kept() && (!is_to_be_written || frame.can_be_written(begun))
                }
                _ => true,
            };
            if !right {
                return Err(StateError::Contradiction { what: "a frame that is to be written" });
            }
        }
        Ok(())
    }

    /// Bytes of messages that are held or queued.
    fn queued(&self) -> usize {
        if self.closed {
            return 0;
        }
        let bytes = |key| match self.frames.get(&key) {
            Some(Frame::Plain(bytes)) => bytes.len(),
            Some(Frame::Handle(frame)) => frame.bytes.len(),
            Some(Frame::Connection(..)) => CONNECTION,
            Some(Frame::Answer(_) | Frame::Wire(_) | Frame::Mark(_)) | None => 0,
        };
        let held: usize = self.gate.held.iter().map(|(_, key)| bytes(*key)).sum();
        let handles: usize = self.queue.handles().map(bytes).sum();
        held + handles + self.queue.connections() * CONNECTION + self.queue.plain_bytes()
            - self.queue.written()
    }
}

impl HandleFrame<usize> {
    /// Whether it says of itself what can be.
    fn can_be_kept(&self) -> bool {
        match self.carried {
            Carried::Shared(_) if self.resend => {
                !self.probe
                    && if self.again { !self.bytes.is_empty() } else { self.can_be_wrapped() }
            }
            Carried::Nothing | Carried::Lent(_) | Carried::Shared(_) => !self.resend && !self.again,
        }
    }

    fn can_be_wrapped(&self) -> bool {
        wrap(self.wire, &self.bytes).is_some()
    }

    /// Whether there is what is to be written, of which so many bytes are already.
    fn can_be_written(&self, begun: usize) -> bool {
        let has_handle = !matches!(self.carried, Carried::Nothing);
        // A handle goes with the first bytes, and a probe has none.
        let right = if self.probe { !has_handle } else { has_handle || begun > 0 };
        right && begun < self.bytes.len()
    }
}
