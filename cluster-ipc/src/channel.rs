//! The channel: both halves on one transport.

mod state;

use std::cell::RefCell;
use std::io;
use std::ops::Range;

use cluster_proto::native::{self, Batch};
use cluster_proto::{
    BunJson, ClusterBody, DecodeError, Deframer, FrameError, FrameReader, Message,
};

use crate::config::{ChannelConfig, Wire};
use crate::error::{RecvError, SendError};
use crate::flush::{Flush, Pressure};
use crate::outgoing::{HandleAnswer, Outgoing};
use crate::pairing::{Found, Pairing};
use crate::received::{Received, ReceivedHandle, Recv};
use crate::sender::{Answer, MAX_ANSWERS, Sender};
use crate::socket::Socket;
use crate::transport::Transport;
use crate::unpack::Unpacked;
use crate::written::Written;

pub use state::{ChannelState, Parts, PartsError};

/// How much is read at once, in bytes.
const READ: usize = 64 << 10;

thread_local! {
    /// What is read goes through here: nothing of it is left between two calls, and a thread has
    /// any number of channels.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::default();
}

/// A channel of messages, some with a handle beside them, over a [`Transport`].
///
/// Nothing in it waits: [`send`](Self::send) queues, [`flush`](Self::flush) writes what the
/// transport takes, [`recv`](Self::recv) reads what is there. The caller waits for readiness; see
/// the crate's page for the whole loop.
///
/// Dropping it closes the transport and every handle in it.
#[derive(Debug)]
pub struct Channel<T: Transport = Socket> {
    pub(crate) transport: T,
    sender: Sender<T::Handle>,
    wire: Wire,
    deframer: Deframer,
    pairing: Pairing<T::Handle>,
    unpacked: Unpacked<T::Handle>,
    /// What looks at the next frame, if users' messages are not decoded.
    reader: Option<FrameReader>,
    /// Bytes that may be read, and bytes that may be looked at, before others have their turn.
    allowance: Option<Allowance>,
    native: bool,
    short_reads: bool,
    /// The last read emptied the transport.
    drained: bool,
    max_handles: usize,
    /// How many handles may come that belong to no message, if that is limited.
    max_unexpected: Option<u64>,
    /// What a read brought; empty between calls, kept for its memory.
    arrived: Vec<T::Handle>,
    taken: Vec<T::Handle>,
    ended: bool,
    missing: u64,
    truncated: u64,
}

/// What is left of an [allowance](Channel::allow).
#[derive(Clone, Copy, Debug)]
struct Allowance {
    read: usize,
    look: usize,
    is_used_up: bool,
}

/// What went wrong on a channel without ending it, counted since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelStats {
    /// Handles that came with no message that has one; they were closed, or
    /// [kept](Channel::keep_unexpected).
    pub unexpected_handles: u64,
    /// Messages that came without the handle that they speak of; they were answered NACK and not
    /// delivered. A peer's [`probe`](Channel::probe) is one.
    pub missing_handles: u64,
    /// Handles of ours that the peer answered NACK for the last time.
    pub undelivered_handles: u64,
    /// Reads that lost handles (`MSG_CTRUNC`): this process has too many open files, or the peer
    /// sends several at once.
    pub truncated_reads: u64,
}

impl<T: Transport> Channel<T> {
    /// A channel over that transport.
    pub fn with_transport(transport: T, config: ChannelConfig) -> Self {
        Self {
            transport,
            sender: Sender::new(&config),
            wire: config.wire,
            reader: config.encoded.then(|| FrameReader::new(config.wire.encoding())),
            allowance: None,
            deframer: Deframer::new(config.wire.codec().framing()).max_frame(config.max_frame),
            pairing: Pairing::new(config.max_handles),
            unpacked: Unpacked::new(),
            native: config.native,
            short_reads: config.short_reads && cfg!(target_os = "linux"),
            drained: false,
            max_handles: config.max_handles,
            max_unexpected: None,
            arrived: Vec::new(),
            taken: Vec::new(),
            ended: false,
            missing: 0,
            truncated: 0,
        }
    }

    /// Queues a message, and a handle with it (`process.send(message, handle)`).
    ///
    /// Nothing is written before [`flush`](Self::flush): many messages then go in one write.
    /// Messages arrive in the order of their sending. While a handle is unanswered by the peer,
    /// those sent behind it are held back (see [`ChannelConfig::gate_window`]).
    ///
    /// # Errors
    /// [`SendError`]; the message is not queued then, and the share of the handle is dropped.
    pub fn send(
        &mut self,
        message: &Message,
        handle: Option<Outgoing<T::Handle>>,
    ) -> Result<Pressure, SendError> {
        self.sender.send(message, handle)
    }

    /// Queues a handle frame without a handle, which the peer's event loop answers NACK without its
    /// application knowing: a ping for which a Node worker needs no code.
    ///
    /// [`poll_answer`](Self::poll_answer) reports it under `token`, with `delivered: false`. It
    /// travels alone: it waits for the answers to all handles before it, and those behind it wait
    /// for its answer.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn probe(&mut self, token: u64) -> Result<Pressure, SendError> {
        self.sender.probe(token)
    }

    /// Has handles wait until the peer has read all that was written before them. So it is needed by a
    /// peer that takes a handle for that of the first frame that it reads together with it (Deno).
    ///
    /// No event tells when that is so: while [`waits_to_be_read`](Self::waits_to_be_read) says that a
    /// handle waits, the caller looks (`SIOCOUTQ`), [says so](Self::note_all_read), and flushes again.
    pub fn keep_handles_apart(&mut self) {
        self.sender.keep_apart();
    }

    /// Whether a handle is next that [is kept apart](Self::keep_handles_apart), and waits.
    pub fn waits_to_be_read(&self) -> bool {
        self.sender.waits_to_be_read()
    }

    /// The peer has read all that was written.
    pub fn note_all_read(&mut self) {
        self.sender.note_all_read();
    }

    /// Whether a [`probe`](Self::probe) is written and not answered: nothing else is under way then.
    pub fn awaits_probe(&self) -> bool {
        self.sender.awaits_probe()
    }

    /// Keeps handles that belong to no message, instead of dropping them, until they are
    /// [taken](Self::take_unexpected); and allows no more than `limit` of them in the channel's life.
    /// Beyond, [`recv`](Self::recv) fails with [`RecvError::TooManyUnexpected`].
    ///
    /// For a peer that is not trusted: to close a descriptor that it made can block for as long as
    /// it likes (a connection with `SO_LINGER` and unsent data). When such a channel ends, what it
    /// has received and not returned is kept too; what is still in the transport is closed when the
    /// channel is dropped, so that is better done where blocking does no harm.
    pub fn keep_unexpected(&mut self, limit: u64) {
        self.pairing.keep_unexpected();
        self.max_unexpected = Some(limit);
    }

    /// The handles that were [kept](Self::keep_unexpected) since the last call.
    pub fn take_unexpected(&mut self) -> Vec<T::Handle> {
        self.pairing.take_unexpected()
    }

    /// Stops waiting for the answer to a [`probe`](Self::probe), and sends what waits for it; false if
    /// no probe is written and unanswered. If it is answered later all the same, that is
    /// [reported](Self::poll_answer) then, and charged to nothing that was sent meanwhile.
    ///
    /// For a peer that seems never to answer probes (Deno), and only once it has *read* this one: a probe
    /// that is still in the socket would take the descriptor of the frame behind it.
    pub fn abandon_probe(&mut self) -> bool {
        self.sender.abandon_probe()
    }

    /// Writes what is queued until the transport takes no more.
    ///
    /// It is to be called after [`send`](Self::send), after [`recv`](Self::recv) (whose answers to
    /// handles it writes, and who takes the answers for which messages wait), and when the
    /// transport gets writable. When the peer turns out to be gone, what is queued is
    /// dropped and `Done` returned: `send` says [`Closed`](SendError::Closed) from then on, and
    /// `recv` still reads what the peer wrote before.
    ///
    /// # Errors
    /// What the transport says otherwise, such as `ETOOMANYREFS` when this user has too many
    /// descriptors in flight. Nothing is lost then: it may be tried again later.
    pub fn flush(&mut self) -> io::Result<Flush> {
        self.sender.flush(&mut self.transport, |_| None)
    }

    /// Queues a message with a `net.Native` that stays with its owner, which lends it to each
    /// [`flush_with`](Self::flush_with) under that number: nothing is counted, duplicated or
    /// allocated for it. On the native wire a connection's message (`newconn`, under its `seq`)
    /// shares its frame with up to 252 others, and its handle is not acknowledged. On any wire those
    /// sent behind it do not wait, whatever [`ChannelConfig::gate_window`] is.
    ///
    /// The handle must be there until it [has arrived](Self::has_arrived), until
    /// [`poll_answer`](Self::poll_answer) reports that it did not, or until the channel is closed.
    /// Numbers must rise.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_lent(&mut self, message: Message, number: u64) -> Result<Pressure, SendError> {
        self.sender.send_lent(message, number)
    }

    /// [`flush`](Self::flush) where handles are [lent](Self::send_lent).
    ///
    /// # Errors
    /// As [`flush`](Self::flush), and `NotFound` if one is not there whose turn it is.
    pub fn flush_with<'a>(
        &mut self,
        lend: impl Fn(u64) -> Option<&'a T::Handle>,
    ) -> io::Result<Flush>
    where
        T::Handle: 'a,
    {
        self.sender.flush(&mut self.transport, lend)
    }

    /// Whether the peer has the lent handle of that number: it has acknowledged it, or, on the
    /// native wire, it is written.
    pub fn has_arrived(&self, number: u64) -> bool {
        self.sender.has_arrived(number)
    }

    /// Changes this end to the native wire, in the newest version that both ends speak, and tells
    /// the peer. That must know it: it has [offered](cluster_proto::native::offered) that version.
    /// The peer's direction changes when it has told so in turn, if [`ChannelConfig::native`] is
    /// set; a peer that then names an unknown version is a [`RecvError`].
    ///
    /// # Errors
    /// As [`send`](Self::send); nothing has changed then.
    pub fn negotiate(&mut self, offered: u32) -> Result<(), SendError> {
        if self.sender.wire() != Wire::Postcard {
            self.sender.send(&native::marker(native::agreed(offered)), None)?;
            self.sender.set_wire(Wire::Postcard);
        }
        Ok(())
    }

    /// The next message: one that is read already, else it reads until there is one or nothing is
    /// left to read.
    ///
    /// Call it until it returns `WouldBlock` or `Closed`, or no readiness event may follow. A call
    /// that returns a message has read at most what that message needed.
    ///
    /// # Errors
    /// [`RecvError`], once: the channel is dead then, all that waits in it is dropped, and every
    /// further call returns `Closed`. Only after [`RecvError::TooDeep`] it goes on.
    pub fn recv(&mut self) -> Result<Recv<T::Handle>, RecvError> {
        if self.ended {
            return Ok(Recv::Closed);
        }
        let received = self.read_message();
        if matches!(received, Err(RecvError::TooDeep)) {
            return received;
        }
        if received.is_err() {
            self.sender.close();
        }
        if matches!(received, Err(_) | Ok(Recv::Closed)) {
            self.end();
        }
        received
    }

    /// Has [`recv`](Self::recv) read no more than about that many bytes, whole frames or not, until this is
    /// called again. Then it returns `WouldBlock`, and [`is_used_up`](Self::is_used_up) tells that there
    /// may be more: no readiness event follows.
    pub fn allow(&mut self, bytes: usize) {
        self.allowance = Some(Allowance { read: bytes, look: bytes, is_used_up: false });
    }

    /// Whether the last [`recv`](Self::recv) went no further because no more was [allowed](Self::allow).
    pub fn is_used_up(&self) -> bool {
        self.allowance.is_some_and(|allowance| allowance.is_used_up)
    }

    /// Has users' messages received as they come from here on: see [`ChannelConfig::encoded`]. A channel
    /// that was taken apart does not know it any more.
    pub fn receive_encoded(&mut self) {
        self.reader.get_or_insert_with(|| FrameReader::new(self.wire.encoding()));
    }

    /// An event said that there is something to read: a [short read](ChannelConfig::short_reads)
    /// before it was not the last. If it also said that the peer has closed its end, every read
    /// goes on to the end of the stream from here on.
    pub fn note_readable(&mut self, read_closed: bool) {
        self.drained = false;
        self.short_reads &= !read_closed;
    }

    /// What the peer answered to a handle that was sent [with a token](Outgoing::token), the
    /// oldest answer first; each is reported once. Handles that are unanswered when the channel
    /// closes are not reported.
    pub fn poll_answer(&mut self) -> Option<HandleAnswer> {
        self.sender.poll_report()
    }

    /// Has [`poll_mark`](Self::poll_mark) report `token` when all that was sent so far has been
    /// written: Node's callback of `send()`. A mark behind a handle that the gate waits for (always,
    /// with a `gate_window` of one) waits for its answer too. If the channel closes before, there is
    /// no report.
    pub fn mark(&mut self, token: u64) {
        self.sender.mark(token);
    }

    /// The next [mark](Self::mark) that a [`flush`](Self::flush) has come by; each is reported once.
    pub fn poll_mark(&mut self) -> Option<u64> {
        self.sender.poll_mark()
    }

    /// Changes the encoding of all messages sent from now on. The peer has to know, by the last
    /// message in the old one, and nothing may be un-ACKed then: see
    /// [`handles_in_flight`](Self::handles_in_flight).
    pub fn set_send_wire(&mut self, wire: Wire) {
        self.sender.set_wire(wire);
    }

    /// Changes the encoding of the messages that [`recv`](Self::recv) has not returned yet.
    pub fn set_recv_wire(&mut self, wire: Wire) {
        self.wire = wire;
        self.deframer.set_framing(wire.codec().framing());
        if let Some(reader) = &mut self.reader {
            *reader = FrameReader::new(wire.encoding());
        }
    }

    /// Bytes of messages that are held back or not written yet.
    pub fn queued_bytes(&self) -> usize {
        self.sender.queued_bytes()
    }

    /// Bytes of all messages that [`recv`](Self::recv) has returned, since the channel's start.
    pub fn received_bytes(&self) -> u64 {
        self.deframer.position()
    }

    /// Whether nothing is queued, held back or unanswered; also when there is no peer any more to
    /// write to.
    pub fn is_idle(&self) -> bool {
        self.sender.is_idle()
    }

    /// Handles that were let go by the gate and are not answered yet.
    pub fn handles_in_flight(&self) -> usize {
        self.sender.in_flight()
    }

    /// Whether [`flush`](Self::flush) has something to write now.
    pub fn wants_write(&self) -> bool {
        self.sender.wants_write()
    }

    /// Whether [`send`](Self::send) can do anything but return [`SendError::Closed`].
    pub fn can_send(&self) -> bool {
        !self.sender.is_closed()
    }

    /// How much was written so far.
    pub fn written(&self) -> Written {
        self.sender.written()
    }

    /// What went wrong so far.
    pub fn stats(&self) -> ChannelStats {
        ChannelStats {
            unexpected_handles: self.pairing.unexpected(),
            missing_handles: self.missing,
            undelivered_handles: self.sender.undelivered(),
            truncated_reads: self.truncated,
        }
    }

    /// The transport below. Reading or writing it directly breaks the channel.
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// The transport below. Reading or writing it directly breaks the channel.
    pub fn transport_mut(&mut self) -> &mut T {
        &mut self.transport
    }

    fn read_message(&mut self) -> Result<Recv<T::Handle>, RecvError> {
        loop {
            if let Some(received) = self.take_buffered()? {
                return Ok(Recv::Message(received));
            }
            if self.is_used_up() {
                return Ok(Recv::WouldBlock);
            }
            self.pairing.drained();
            self.check_unexpected()?;
            // Of a peer that is gone nothing is announced any more.
            if std::mem::take(&mut self.drained) && !self.sender.is_closed() {
                return Ok(Recv::WouldBlock);
            }
            if let Some(allowance) = &mut self.allowance
                && allowance.read == 0
            {
                allowance.is_used_up = true;
                return Ok(Recv::WouldBlock);
            }
            // Taken, not borrowed: a transport may do anything.
            let mut buffer = BUFFER.take();
            if buffer.is_empty() {
                buffer = vec![0; READ].into_boxed_slice();
            }
            let received = self.transport.recv(&mut buffer, &mut self.arrived);
            if let Ok(meta) = &received {
                if let Some(allowance) = &mut self.allowance {
                    allowance.read = allowance.read.saturating_sub(meta.bytes);
                }
                self.deframer.extend(&buffer[..meta.bytes]);
            }
            BUFFER.set(buffer);
            match received {
                Ok(meta) => {
                    self.truncated += u64::from(meta.truncated);
                    let brought = !self.arrived.is_empty();
                    // The descriptors before the bytes: a frame must find what it came with.
                    self.pairing
                        .read(meta.bytes, self.arrived.drain(..), meta.truncated)
                        .map_err(|_| RecvError::TooManyHandles { limit: self.max_handles })?;
                    if meta.bytes == 0 {
                        return self.end_of_stream();
                    }
                    // A read stops behind the bytes that brought a handle; else only when there is
                    // no more. What comes later is a readiness of its own.
                    let short = meta.bytes < READ && !meta.truncated && !brought;
                    self.drained = self.short_reads && short;
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(Recv::WouldBlock),
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::ConnectionReset => return self.end_of_stream(),
                    _ => return Err(RecvError::Io(error)),
                },
            }
        }
    }

    /// Whether no more handles came that belong to no message than may.
    fn check_unexpected(&self) -> Result<(), RecvError> {
        match self.max_unexpected {
            Some(limit) if self.pairing.unexpected() > limit => {
                Err(RecvError::TooManyUnexpected { limit })
            }
            _ => Ok(()),
        }
    }

    fn end_of_stream(&self) -> Result<Recv<T::Handle>, RecvError> {
        match self.deframer.buffered() {
            0 => Ok(Recv::Closed),
            bytes => Err(RecvError::ClosedInFrame { bytes }),
        }
    }

    /// The next message of those that are read already.
    fn take_buffered(&mut self) -> Result<Option<Received<T::Handle>>, RecvError> {
        loop {
            if let Some(received) = self.unpacked.next() {
                return Ok(Some(received));
            }
            while let Some(seq) = self.unpacked.next_lost() {
                self.missing += 1;
                let refusal = Message::cluster(0, Some(seq), ClusterBody::Accepted(false));
                match self.sender.send(&refusal, None) {
                    Ok(_) | Err(SendError::Closed) => {}
                    Err(_) => return Err(RecvError::TooManyAnswers { limit: MAX_ANSWERS }),
                }
            }
            let (payload, is_whole) = self.deframer.peek()?;
            let is_batch = is_whole && self.wire == Wire::Postcard && Batch::is_one(payload);
            let mut at_once = None;
            if let Some(reader) = self.reader.as_mut().filter(|_| !is_batch) {
                at_once = if is_whole { reader.at_once(payload) } else { None };
                if at_once.is_none() && !look(reader, &mut self.allowance, payload) {
                    return Ok(None);
                }
            }
            if !is_whole {
                return Ok(None);
            }
            if is_batch {
                let Some(frame) = self.deframer.next_frame()? else { return Ok(None) };
                let pairing = &mut self.pairing;
                let take = |count, into: &mut Vec<_>| {
                    pairing.take_up_to(frame.range, count, into);
                };
                self.unpacked.open(frame.payload, take, &mut self.taken)?;
                continue;
            }
            if self.wire == Wire::Json && BunJson::is_marked(payload) {
                // A peer that speaks Bun's dialect understands no other. Both have the same framing.
                self.wire = Wire::BunJson;
                if self.sender.wire() == Wire::Json {
                    self.sender.set_wire(Wire::BunJson);
                }
            }
            let Some((message, range)) = self.next_message(at_once)? else { return Ok(None) };
            let message = match message {
                Err(DecodeError::TooDeep) => {
                    self.pairing.pass(range);
                    return Err(RecvError::TooDeep);
                }
                decoded => decoded?,
            };
            let Message::Handle(mut handle) = message else {
                self.pairing.pass(range);
                match message {
                    Message::HandleAck => self.answered(Answer::Ack)?,
                    Message::HandleNack => self.answered(Answer::Nack)?,
                    message => match native::marked(&message).filter(|_| self.native) {
                        Some(version) => self.peer_negotiated(version)?,
                        None => return Ok(Some(Received { message, handle: None })),
                    },
                }
                continue;
            };
            let found = self.pairing.take(range, 1, &mut self.taken);
            let answer = if found == Found::All { Answer::Ack } else { Answer::Nack };
            if !self.sender.answer(answer) {
                return Err(RecvError::TooManyAnswers { limit: MAX_ANSWERS });
            }
            // One that is sent again is wrapped twice, and answered once.
            if let Message::Handle(inner) = *handle.message {
                handle = inner;
            }
            if found == Found::All && handle.message.is_handle_answer() {
                return Err(RecvError::UnexpectedAnswer);
            }
            let Some(arrived) = self.taken.pop() else {
                self.missing += 1;
                continue;
            };
            let received = ReceivedHandle { kind: handle.kind, key: handle.key, handle: arrived };
            return Ok(Some(Received { message: *handle.message, handle: Some(received) }));
        }
    }

    /// Takes the next frame, which is whole, and its message: it may be known already.
    #[expect(clippy::type_complexity, reason = "a message, or why it is none, and its place")]
    fn next_message(
        &mut self,
        known: Option<Message>,
    ) -> Result<Option<(Result<Message, DecodeError>, Range<u64>)>, FrameError> {
        if let (Some(reader), None) = (&mut self.reader, &known) {
            let frame = self.deframer.next_owned()?;
            return Ok(frame.map(|(payload, range)| (reader.finish(payload), range)));
        }
        let frame = self.deframer.next_frame()?;
        let codec = self.wire.codec();
        Ok(frame.map(|frame| (known.map_or_else(|| codec.decode(frame.payload), Ok), frame.range)))
    }

    /// What the peer sends from here on is of that version, and so is what it is sent.
    fn peer_negotiated(&mut self, version: u32) -> Result<(), RecvError> {
        if !(1..=native::VERSION).contains(&version) {
            return Err(RecvError::UnknownVersion { version });
        }
        self.set_recv_wire(Wire::Postcard);
        match self.negotiate(version) {
            Ok(()) | Err(SendError::Closed) => Ok(()),
            Err(_) => Err(RecvError::TooManyAnswers { limit: MAX_ANSWERS }),
        }
    }

    fn answered(&mut self, answer: Answer) -> Result<(), RecvError> {
        self.sender.answered(answer).map_err(|_| RecvError::UnexpectedAnswer)
    }

    /// Nothing is read any more: lets go of what was.
    fn end(&mut self) {
        self.ended = true;
        self.pairing.clear();
        self.deframer = Deframer::new(self.wire.codec().framing());
        let unpacked = std::mem::replace(&mut self.unpacked, Unpacked::new());
        let received = [std::mem::take(&mut self.arrived), std::mem::take(&mut self.taken)];
        self.pairing.discard_all(received.into_iter().flatten().chain(unpacked.into_handles()));
        self.reader = self.reader.as_ref().map(|_| FrameReader::new(self.wire.encoding()));
    }
}

/// Looks at what has arrived of a frame, as far as that is allowed; whether it has seen all of it.
fn look(reader: &mut FrameReader, allowance: &mut Option<Allowance>, arrived: &[u8]) -> bool {
    let before = reader.looked_at();
    reader.look(arrived, allowance.map_or(usize::MAX, |allowance| allowance.look));
    let looked_at = reader.looked_at();
    if let Some(allowance) = allowance {
        allowance.look = allowance.look.saturating_sub(looked_at - before);
        allowance.is_used_up = looked_at < arrived.len();
    }
    looked_at == arrived.len()
}
