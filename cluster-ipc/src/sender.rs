//! The sending half: the gate decides what may be written, the queue in which writes.

mod frame;
mod state;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use cluster_proto::native::{self, MAX_CONNECTIONS, write_connections};
use cluster_proto::{
    EncodeError, FrameClass, Gate, GateOutput, HandleKind, HandleMessage, Message, Object,
    UnexpectedAnswer,
};

use crate::config::{ChannelConfig, Wire};
use crate::error::SendError;
use crate::flush::{Flush, Pressure};
use crate::outgoing::{HandleAnswer, Outgoing};
use crate::queue::{Item, Queue};
use crate::straddle::Straddle;
use crate::transport::Transport;
use crate::written::Written;

use frame::{Carried, Frame, HandleFrame, wrap};

pub(crate) use frame::Answer;
pub(crate) use state::{Numbers, SenderState};

/// Answers that may wait to be written.
pub(crate) const MAX_ANSWERS: usize = 64 << 10;

/// Bytes beyond the queue's limit that the protocol's own messages may take.
const RESERVE: usize = 4 << 20;

fn is_users(message: &Message) -> bool {
    match message {
        Message::User(_) | Message::Encoded(_) => true,
        Message::Handle(handle) => is_users(&handle.message),
        _ => false,
    }
}

/// About how many bytes a message takes, where that is seen at a glance: texts are what is long.
fn about(message: &Message) -> usize {
    match message {
        Message::User(value) => value.as_str().map_or(0, str::len),
        Message::Encoded(message) => message.encoded_len().unwrap_or(0),
        _ => 0,
    }
}

#[derive(Debug)]
pub(crate) struct Sender<H> {
    wire: Wire,
    /// What answers are written in: it changes when the first frame in the new encoding is next,
    /// as answers overtake frames that were encoded before them.
    answer_wire: Wire,
    max_frame: usize,
    high_water: usize,
    queue_limit: usize,
    gate: Gate<u64>,
    frames: BTreeMap<u64, Frame<Arc<H>>>,
    last_key: u64,
    queue: Queue,
    straddle: Straddle,
    /// Bytes of messages that are held or queued.
    queued: usize,
    answers: VecDeque<Answer>,
    reports: VecDeque<HandleAnswer>,
    /// The tokens of the probes that were abandoned and may still be answered.
    abandoned: VecDeque<Option<u64>>,
    reached: VecDeque<u64>,
    undelivered: u64,
    /// The number of the last lent handle that the peer has.
    arrived: Option<u64>,
    /// What a frame of connections is made in.
    frame: Vec<u8>,
    written: Written,
    closed: bool,
}

/// What a connection counts for in the queue, in bytes, beside its server's key.
const CONNECTION: usize = 8;

impl<H> Sender<H> {
    pub(crate) fn new(config: &ChannelConfig) -> Self {
        Self {
            wire: config.wire,
            answer_wire: config.wire,
            max_frame: config.max_frame,
            high_water: config.high_water,
            queue_limit: config.queue_limit,
            gate: Gate::with_window(config.gate_window),
            frames: BTreeMap::new(),
            last_key: 0,
            queue: Queue::default(),
            straddle: Straddle::default(),
            queued: 0,
            answers: VecDeque::new(),
            reports: VecDeque::new(),
            abandoned: VecDeque::new(),
            reached: VecDeque::new(),
            undelivered: 0,
            arrived: None,
            frame: Vec::new(),
            written: Written::default(),
            closed: false,
        }
    }

    pub(crate) fn send(
        &mut self,
        message: &Message,
        handle: Option<Outgoing<H>>,
    ) -> Result<Pressure, SendError> {
        match message {
            Message::Handle(_) => return Err(EncodeError::NestedHandle.into()),
            Message::HandleAck | Message::HandleNack => return Err(EncodeError::Reserved.into()),
            _ => {}
        }
        let Some(outgoing) = handle else { return self.send_plain(message) };
        let resend = outgoing.resend();
        if resend && !message.can_be_sent_again() {
            let what = "it nests too deep to be sent again with its handle".into();
            return Err(EncodeError::Unsupported { encoding: "a resend", what }.into());
        }
        let bytes = self.encode(&Message::Handle(HandleMessage {
            kind: outgoing.kind,
            key: outgoing.key,
            message: Box::new(message.clone()),
        }))?;
        Ok(self.submit(
            FrameClass::Handle { resend },
            Frame::Handle(HandleFrame {
                bytes,
                wire: self.wire,
                carried: Carried::Shared(outgoing.handle),
                resend,
                again: false,
                probe: false,
                token: outgoing.token,
            }),
        ))
    }

    fn send_plain(&mut self, message: &Message) -> Result<Pressure, SendError> {
        if !self.gate.is_open() {
            let bytes = self.encode(message)?;
            return Ok(self.submit(FrameClass::Plain, Frame::Plain(bytes)));
        }
        if self.closed {
            return Err(SendError::Closed);
        }
        if self.wire == Wire::Postcard
            && let Some(answer) = native::as_answer(message)
        {
            let room = self.queue_limit.saturating_add(RESERVE);
            if self.queued >= room {
                return Err(SendError::QueueFull { limit: room });
            }
            self.queued += self.queue.push_answer(answer);
            return Ok(self.pressure());
        }
        // Nothing waits before it: it is written where it stays.
        let tail = self.queue.tail_for(about(message));
        let start = tail.len();
        let encoded = self.wire.codec().encode(message, tail).map_err(SendError::from);
        let length = self.wire.payload(&tail[start..]).len();
        let bytes = tail.len() - start;
        match encoded.and_then(|()| self.check_room(message, bytes, length)) {
            Ok(()) => {
                self.queued += bytes;
                Ok(self.pressure())
            }
            Err(error) => {
                self.queue.cut_tail(start);
                Err(error)
            }
        }
    }

    /// Whether a frame of so many bytes, with a payload of that length, may be queued.
    fn check_room(&self, message: &Message, bytes: usize, length: usize) -> Result<(), SendError> {
        // As the peer's deframer counts: the frame without its framing.
        if length > self.max_frame {
            return Err(SendError::TooLong { limit: self.max_frame, length });
        }
        // What a user may fill must not keep the protocol from saying, say, `disconnect`.
        let reserve = if is_users(message) { 0 } else { RESERVE };
        let limit = self.queue_limit.saturating_add(reserve);
        if self.queued.saturating_add(bytes) > limit {
            return Err(SendError::QueueFull { limit });
        }
        Ok(())
    }

    /// Writes as many connections for one server as a frame holds.
    fn write_connections<'a, T>(
        &mut self,
        transport: &mut T,
        lend: &impl Fn(u64) -> Option<&'a H>,
    ) -> io::Result<()>
    where
        T: Transport<Handle = H>,
        H: 'a,
    {
        let Some((Item::Connections(key, count), _)) = self.queue.front() else { return Ok(()) };
        let count = (*count).min(MAX_CONNECTIONS);
        let lent = |number| lend(number).ok_or(io::Error::from(io::ErrorKind::NotFound));
        let mut numbers = self.queue.connections(count);
        let Some(first) = numbers.next() else { return Ok(()) };
        // On the stack: no memory is taken for a connection.
        let mut handles = [lent(first)?; MAX_CONNECTIONS];
        let mut last = first;
        for (handle, number) in handles[1..].iter_mut().zip(numbers) {
            *handle = lent(number)?;
            last = number;
        }
        self.frame.clear();
        write_connections(key.as_str(), self.queue.connections(count), &mut self.frame);
        let written = transport.send(&self.frame, &handles[..count])?;
        self.written.count(written, count);
        self.arrived = Some(last);
        self.queue.wrote_connections(count, &self.frame[written..]);
        self.queued = self.queued - count * CONNECTION + (self.frame.len() - written);
        Ok(())
    }

    /// As `send` of a message with a `net.Native`, which stays where it is.
    pub(crate) fn send_lent(
        &mut self,
        message: Message,
        number: u64,
    ) -> Result<Pressure, SendError> {
        if self.closed {
            return Err(SendError::Closed);
        }
        if self.wire == Wire::Postcard
            && let Some((seq, key)) = native::as_connection(&message)
            && seq == number
        {
            let limit = self.queue_limit.saturating_add(RESERVE);
            if self.queued.saturating_add(CONNECTION) > limit {
                return Err(SendError::QueueFull { limit });
            }
            self.queued += CONNECTION;
            if self.gate.is_open() {
                self.queue.push_connection(key, seq);
                return Ok(self.pressure());
            }
            return Ok(self.submit(FrameClass::Plain, Frame::Connection(key.clone(), seq)));
        }
        let bytes = self.encode(&message.with_handle(HandleKind::NetNative))?;
        Ok(self.submit(
            FrameClass::Connection,
            Frame::Handle(HandleFrame {
                bytes,
                wire: self.wire,
                carried: Carried::Lent(number),
                resend: false,
                again: false,
                probe: false,
                token: Some(number),
            }),
        ))
    }

    /// Whether the peer has the lent handle of that number; they arrive in their order.
    pub(crate) fn has_arrived(&self, number: u64) -> bool {
        self.arrived.is_some_and(|arrived| number <= arrived)
    }

    fn pressure(&self) -> Pressure {
        if self.queued < self.high_water { Pressure::Low } else { Pressure::High }
    }

    pub(crate) fn probe(&mut self, token: u64) -> Result<Pressure, SendError> {
        // Its receiver sees that the handle is missing before it looks at the message.
        let message = Message::Internal(Object::new().with("cmd", "NODE_CLUSTER_PROBE"));
        let bytes = self.encode(&message.with_handle(HandleKind::NetNative))?;
        Ok(self.submit(
            FrameClass::Handle { resend: false },
            Frame::Handle(HandleFrame {
                bytes,
                wire: self.wire,
                carried: Carried::Nothing,
                resend: false,
                again: false,
                probe: true,
                token: Some(token),
            }),
        ))
    }

    pub(crate) fn keep_apart(&mut self) {
        self.straddle.keep_apart();
    }

    /// Whether the next handle waits until the peer has read what was written before.
    pub(crate) fn waits_to_be_read(&self) -> bool {
        let is_next = matches!(self.queue.front(), Some((Item::Handle(_), 0)));
        is_next && self.straddle.waits_to_be_read()
    }

    pub(crate) fn note_all_read(&mut self) {
        self.straddle.all_read();
    }

    /// Whether all that is under way to the peer is a probe, written and not answered.
    pub(crate) fn awaits_probe(&self) -> bool {
        let oldest = self.gate.oldest().and_then(|key| self.frames.get(key));
        let probe = matches!(oldest, Some(Frame::Handle(frame)) if frame.probe);
        probe && !self.closed && self.straddle.unanswered() == 1
    }

    /// Stops waiting for the answer to a probe that is under way alone; false if there is none.
    pub(crate) fn abandon_probe(&mut self) -> bool {
        if !self.awaits_probe() {
            return false;
        }
        let key = self.gate.oldest().copied();
        if let Some(Frame::Handle(frame)) = key.and_then(|key| self.frames.get_mut(&key)) {
            self.abandoned.push_back(frame.token.take());
        }
        let awaited = self.straddle.answered();
        debug_assert!(awaited, "the probe is written");
        self.gate.abandon();
        self.pump();
        true
    }

    pub(crate) fn set_wire(&mut self, wire: Wire) {
        self.wire = wire;
        if !self.closed {
            self.submit(FrameClass::Plain, Frame::Wire(wire));
        }
    }

    pub(crate) fn wire(&self) -> Wire {
        self.wire
    }

    pub(crate) fn mark(&mut self, token: u64) {
        if !self.closed {
            self.submit(FrameClass::Plain, Frame::Mark(token));
        }
    }

    pub(crate) fn poll_mark(&mut self) -> Option<u64> {
        self.reached.pop_front()
    }

    /// Answers a handle of the peer's; false if it leaves too many unread.
    pub(crate) fn answer(&mut self, answer: Answer) -> bool {
        if self.closed {
            return true;
        }
        if self.answers.len() >= MAX_ANSWERS {
            return false;
        }
        self.submit(FrameClass::Answer, Frame::Answer(answer));
        true
    }

    /// The peer answered.
    pub(crate) fn answered(&mut self, answer: Answer) -> Result<(), UnexpectedAnswer> {
        if answer == Answer::Nack
            && let Some(token) = self.abandoned.pop_front()
        {
            // It is no longer counted as unanswered, and holds nothing back.
            self.gate.nack()?;
            self.reports.extend(token.map(|token| HandleAnswer { token, delivered: false }));
            return Ok(());
        }
        if !self.straddle.answered() {
            // For nothing that is written: one answer too many to a frame that was sent again.
            return self.gate.spare_answer();
        }
        match answer {
            Answer::Ack => {
                self.gate.ack()?;
                // The peer answers in order: it has read these and will not answer them.
                self.abandoned.clear();
            }
            Answer::Nack => self.gate.nack()?,
        }
        self.pump();
        Ok(())
    }

    pub(crate) fn flush<'a, T>(
        &mut self,
        transport: &mut T,
        lend: impl Fn(u64) -> Option<&'a H>,
    ) -> io::Result<Flush>
    where
        T: Transport<Handle = H>,
        H: 'a,
    {
        self.queue.seal();
        loop {
            match self.queue.front() {
                Some((&Item::Wire(wire), _)) => {
                    self.answer_wire = wire;
                    self.queue.pop();
                    continue;
                }
                Some((&Item::Mark(token), _)) => {
                    self.reached.push_back(token);
                    self.queue.pop();
                    continue;
                }
                _ => {}
            }
            self.queue_answers();
            let mut handles = 0;
            let sent = match self.queue.front() {
                None | Some((Item::Wire(_) | Item::Mark(_), _)) => return Ok(Flush::Done),
                Some((Item::Connections(..), _)) => {
                    match self.write_connections(transport, &lend) {
                        Ok(()) => continue,
                        Err(error) => Err(error),
                    }
                }
                Some((Item::Plain(bytes), written)) => transport.send(&bytes[written..], &[]),
                Some((Item::Handle(key), written)) => {
                    let frame = self.handle_frame(*key);
                    if self.is_barred(frame, written) {
                        return Ok(Flush::Done);
                    }
                    match &frame.carried {
                        Carried::Shared(handle) if written == 0 => {
                            handles = 1;
                            transport.send(&frame.bytes, &[&**handle])
                        }
                        Carried::Lent(number) if written == 0 => match lend(*number) {
                            Some(handle) => {
                                handles = 1;
                                transport.send(&frame.bytes, &[handle])
                            }
                            None => Err(io::ErrorKind::NotFound.into()),
                        },
                        _ => transport.send(&frame.bytes[written..], &[]),
                    }
                }
            };
            match sent {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => {
                    self.written.count(bytes, handles);
                    self.wrote(bytes);
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(Flush::Blocked),
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::BrokenPipe
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::NotConnected => {
                        self.close();
                        return Ok(Flush::Done);
                    }
                    _ => return Err(error),
                },
            }
        }
    }

    /// Lets go of all that is not written. What is written may still be answered.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.queued = 0;
        self.queue.clear();
        self.answers = VecDeque::new();
        for frame in self.frames.values_mut() {
            frame.empty();
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.closed || (self.gate.is_idle() && self.queue.is_empty() && self.answers.is_empty())
    }

    pub(crate) fn in_flight(&self) -> usize {
        if self.closed { 0 } else { self.gate.in_flight() }
    }

    pub(crate) fn wants_write(&self) -> bool {
        !self.answers.is_empty()
            || match self.queue.front() {
                None => false,
                Some((Item::Handle(key), written)) => {
                    !self.is_barred(self.handle_frame(*key), written)
                }
                Some(_) => true,
            }
    }

    pub(crate) fn poll_report(&mut self) -> Option<HandleAnswer> {
        self.reports.pop_front()
    }

    pub(crate) fn written(&self) -> Written {
        self.written
    }

    pub(crate) fn undelivered(&self) -> u64 {
        self.undelivered
    }

    /// The message as a frame that the queue has room for.
    fn encode(&mut self, message: &Message) -> Result<Vec<u8>, SendError> {
        if self.closed {
            return Err(SendError::Closed);
        }
        let mut bytes = self.queue.buffer();
        let encoded = self.wire.codec().encode(message, &mut bytes).map_err(SendError::from);
        let length = self.wire.payload(&bytes).len();
        let fits = encoded.and_then(|()| self.check_room(message, bytes.len(), length));
        match fits {
            Ok(()) => {
                self.queued += bytes.len();
                Ok(bytes)
            }
            Err(error) => {
                self.queue.recycle(bytes);
                Err(error)
            }
        }
    }

    fn submit(&mut self, class: FrameClass, frame: Frame<Arc<H>>) -> Pressure {
        self.last_key += 1;
        self.frames.insert(self.last_key, frame);
        self.gate.submit(class, self.last_key);
        self.pump();
        self.pressure()
    }

    /// Does what the gate says.
    fn pump(&mut self) {
        while let Some(output) = self.gate.poll_output() {
            match output {
                GateOutput::Send(key) => self.release(key),
                GateOutput::Resend(key) => self.resend(key),
                GateOutput::Delivered(key) => self.end(key, true),
                GateOutput::Undelivered(key) => self.end(key, false),
            }
        }
    }

    /// The gate lets the frame go.
    fn release(&mut self, key: u64) {
        if let Some(Frame::Handle(_)) = self.frames.get(&key) {
            if !self.closed {
                self.queue.push_handle(key);
            }
            return;
        }
        let frame = self.frames.remove(&key);
        if self.closed {
            return;
        }
        match frame {
            Some(Frame::Plain(bytes)) => self.queue.push_plain(bytes),
            Some(Frame::Connection(key, number)) => self.queue.push_connection(&key, number),
            Some(Frame::Answer(answer)) => self.answers.push_back(answer),
            Some(Frame::Wire(wire)) => self.queue.push_wire(wire),
            Some(Frame::Mark(token)) => self.queue.push_mark(token),
            Some(Frame::Handle(_)) | None => unreachable!("a key is given out once"),
        }
    }

    /// Wraps the first frame once more, and writes that.
    fn resend(&mut self, key: u64) {
        let Some(Frame::Handle(frame)) = self.frames.get_mut(&key) else {
            unreachable!("the gate keeps the key of a frame that it may send again")
        };
        if self.closed {
            return;
        }
        if !frame.again {
            let again = wrap(frame.wire, &frame.bytes);
            // `encode` made it, and `send` saw that one more wrapping is within what every encoding
            // holds.
            frame.bytes = again.expect("a frame of ours is readable");
            frame.again = true;
        }
        self.queued += frame.bytes.len();
        self.queue.push_handle(key);
    }

    /// The peer answered for the last time.
    fn end(&mut self, key: u64, delivered: bool) {
        let Some(Frame::Handle(frame)) = self.frames.remove(&key) else {
            unreachable!("only handles are answered, and once")
        };
        if !delivered && !frame.probe {
            self.undelivered += 1;
        }
        if let Carried::Lent(number) = frame.carried
            && delivered
        {
            // They are answered in their order. Success needs no report.
            self.arrived = Some(number);
            return;
        }
        if let Some(token) = frame.token {
            self.reports.push_back(HandleAnswer { token, delivered });
        }
    }

    /// Puts the answers before what is not begun yet.
    fn queue_answers(&mut self) {
        if self.answers.is_empty() || !self.queue.takes_answers() {
            return;
        }
        let mut bytes = self.queue.buffer();
        for answer in self.answers.drain(..) {
            let message = match answer {
                Answer::Ack => Message::HandleAck,
                Answer::Nack => Message::HandleNack,
            };
            let encoded = self.answer_wire.codec().encode(&message, &mut bytes);
            debug_assert!(encoded.is_ok(), "every encoding has the answers");
        }
        self.queued += bytes.len();
        self.queue.put_answers_first(bytes);
    }

    fn handle_frame(&self, key: u64) -> &HandleFrame<Arc<H>> {
        match self.frames.get(&key) {
            Some(Frame::Handle(frame)) => frame,
            _ => unreachable!("a handle's frame is kept until it is answered"),
        }
    }

    /// Whether the frame has to wait for an answer, though the gate let it go.
    fn is_barred(&self, frame: &HandleFrame<Arc<H>>, written: usize) -> bool {
        written == 0
            && (self.straddle.is_barred() || (frame.probe && self.straddle.unanswered() > 0))
    }

    /// So much of the queue's first item was written.
    fn wrote(&mut self, bytes: usize) {
        self.queued -= bytes;
        self.queue.wrote(bytes);
        let Some((item, written)) = self.queue.front() else { return };
        match item {
            Item::Plain(item) => {
                let whole = written == item.len();
                self.straddle.wrote_plain(bytes);
                if whole {
                    self.queue.pop();
                }
            }
            &Item::Handle(key) => {
                let Some(Frame::Handle(frame)) = self.frames.get_mut(&key) else {
                    unreachable!("a handle's frame is kept until it is answered")
                };
                if !frame.resend && matches!(frame.carried, Carried::Shared(_)) {
                    // The kernel has it: ours need not live any longer.
                    frame.carried = Carried::Nothing;
                }
                if written < frame.bytes.len() {
                    return;
                }
                // A probe would take the next handle from any peer's next frame. Node alone minds
                // where its reads end.
                let to_node = matches!(frame.wire, Wire::Json | Wire::Advanced | Wire::BunJson);
                let straddles = to_node && self.straddle.straddles(written, bytes == written);
                self.straddle.wrote_handle(frame.probe || straddles);
                if !frame.resend {
                    frame.bytes = Vec::new();
                }
                self.queue.pop();
            }
            Item::Connections(..) | Item::Wire(_) | Item::Mark(_) => {
                unreachable!("they are not written so")
            }
        }
    }
}
