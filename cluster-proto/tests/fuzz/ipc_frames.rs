//! The body of the fuzz target `ipc_frames`: a stream in a chosen split, with a chosen limit, that
//! may change its framing once.
//!
//! The first byte says how the stream is read, the second how many bytes of the rest are lengths
//! of pieces, and after how many frames the framing changes. See [`Plan::new`].

use std::ops::Range;

use cluster_proto::native::{
    Answer, Batch, MAX_ANSWERS, MAX_CONNECTIONS, OpenAnswers, write_connections,
};
use cluster_proto::{Codec, DEFAULT_MAX_FRAME, Deframer, FrameError, Framing, Json, Postcard};

/// The deframer finds what a reader of the whole stream finds; and each frame that is a
/// message goes out as it came in.
pub(crate) fn run(data: &[u8]) {
    let (plan, stream) = Plan::new(data);
    let expected = plan.whole(stream);
    let found = plan.pieces(stream);
    assert_eq!(found, expected);
    for frame in &found.frames {
        match frame.framing {
            Framing::Line => out_again(&Json, &frame.payload),
            _ if Batch::is_one(&frame.payload) => batch_out_again(&frame.payload),
            _ => out_again(&Postcard, &frame.payload),
        }
    }
}

fn out_again(codec: &impl Codec, payload: &[u8]) {
    let Ok(message) = codec.decode(payload) else { return };
    let mut stream = Vec::new();
    codec.encode(&message, &mut stream).expect("what was read can be written");
    let mut deframer = Deframer::new(codec.framing());
    deframer.extend(&stream);
    let frame = deframer.next_frame().expect("it is in the limit").expect("it is whole");
    assert_eq!(frame.range, 0..stream.len() as u64);
    let again = codec.decode(frame.payload).expect("what was written can be read");
    let mut second = Vec::new();
    codec.encode(&again, &mut second).expect("what was read can be written");
    assert_eq!(second, stream);
}

/// A batch that can be read to its end says the same when it is written again.
fn batch_out_again(payload: &[u8]) {
    let Ok(batch) = Batch::read(payload) else { return };
    let mut stream = Vec::new();
    match batch {
        Batch::Connections(connections) => {
            assert!(connections.count <= MAX_CONNECTIONS);
            let Ok(seqs) = connections.collect::<Result<Vec<_>, _>>() else { return };
            assert_eq!(seqs.len(), connections.count);
            // What a writer gives rises, and stays within what JavaScript counts to.
            if !seqs.is_sorted() || seqs.iter().any(|seq| *seq >= 1 << 53) {
                return;
            }
            write_connections(connections.key, seqs, &mut stream);
        }
        Batch::Answers(answers) => {
            let Ok(answers) = answers.collect::<Result<Vec<_>, _>>() else { return };
            assert!(answers.len() <= MAX_ANSWERS);
            let within = |answer: &Answer| answer.seq < 1 << 53 && answer.ack < 1 << 53;
            let Some((first, others)) = answers.split_first() else { return };
            if !answers.iter().all(within) {
                return;
            }
            let mut open = OpenAnswers::begin(*first, &mut stream);
            assert!(others.iter().all(|answer| open.push(*answer, &mut stream)));
        }
    }
    let again = Batch::read(&stream[4..]).expect("what was written can be read");
    match (batch, again) {
        (Batch::Connections(one), Batch::Connections(two)) => {
            assert_eq!((one.key, one.count), (two.key, two.count));
            assert!(one.map(Result::unwrap).eq(two.map(Result::unwrap)));
        }
        (Batch::Answers(one), Batch::Answers(two)) => {
            assert!(one.map(Result::unwrap).eq(two.map(Result::unwrap)));
        }
        _ => panic!("it is of another kind"),
    }
}

struct Plan<'a> {
    framing: Framing,
    /// The framing changes after that many frames.
    switch_after: Option<usize>,
    max_frame: usize,
    /// Lengths of pieces, over and over; none means the whole at once.
    pieces: &'a [u8],
}

#[derive(Debug, PartialEq, Eq)]
struct Found {
    frames: Vec<Framed>,
    error: Option<FrameError>,
}

#[derive(Debug, PartialEq, Eq)]
struct Framed {
    framing: Framing,
    payload: Vec<u8>,
    range: Range<u64>,
}

impl<'a> Plan<'a> {
    /// Bit 0: lengths first; bit 1: the framing changes; bits 2 and 3: the limit.
    fn new(data: &'a [u8]) -> (Self, &'a [u8]) {
        let (head, rest) = data.split_at(data.len().min(2));
        let byte = |at: usize| head.get(at).copied().unwrap_or(0);
        let (pieces, stream) = rest.split_at(rest.len().min(usize::from(byte(1) & 15)));
        let plan = Self {
            framing: if byte(0) & 1 == 0 { Framing::Line } else { Framing::Length },
            switch_after: (byte(0) & 2 != 0).then_some(usize::from(byte(1) >> 4)),
            max_frame: [DEFAULT_MAX_FRAME, 0, 20, 300][usize::from(byte(0) >> 2 & 3)],
            pieces,
        };
        (plan, stream)
    }

    fn framing(&self, frames: usize) -> Framing {
        match (self.framing, self.switch_after.is_some_and(|after| frames >= after)) {
            (framing, false) => framing,
            (Framing::Line, true) => Framing::Length,
            (_, true) => Framing::Line,
        }
    }

    /// What the deframer finds.
    fn pieces(&self, stream: &[u8]) -> Found {
        let mut deframer = Deframer::new(self.framing(0)).max_frame(self.max_frame);
        let mut found = Found { frames: Vec::new(), error: None };
        let mut lengths = self.pieces.iter().map(|n| usize::from(*n)).cycle();
        let mut rest = stream;
        loop {
            let length = lengths.next().unwrap_or(rest.len()).clamp(1, rest.len().max(1));
            let (piece, later) = rest.split_at(length.min(rest.len()));
            deframer.extend(piece);
            rest = later;
            loop {
                assert_eq!(deframer.position(), found.frames.last().map_or(0, |f| f.range.end));
                let framing = self.framing(found.frames.len());
                deframer.set_framing(framing);
                match deframer.next_frame() {
                    Ok(Some(frame)) => found.frames.push(Framed {
                        framing,
                        payload: frame.payload.to_vec(),
                        range: frame.range,
                    }),
                    Ok(None) => break,
                    Err(error) => {
                        deframer.extend(b"\n\0\0\0\0");
                        assert_eq!(deframer.next_frame(), Err(error.clone()));
                        assert_eq!(deframer.buffered(), 0);
                        found.error = Some(error);
                        return found;
                    }
                }
            }
            // What waits is the beginning of a frame that the limit allows.
            assert!(deframer.buffered() <= self.max_frame.saturating_add(3));
            if rest.is_empty() {
                return found;
            }
        }
    }

    /// What is there, found by looking at the stream as a whole.
    fn whole(&self, stream: &[u8]) -> Found {
        let mut found = Found { frames: Vec::new(), error: None };
        let mut at = 0;
        loop {
            let framing = self.framing(found.frames.len());
            let rest = &stream[at..];
            let (header, length, trailer) = match framing {
                Framing::Line => match rest.split(|b| *b == b'\n').next() {
                    Some(line) => (0, line.len(), 1),
                    None => (0, 0, 1),
                },
                _ if rest.len() < 4 => return found,
                _ => (4, u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize, 0),
            };
            if length > self.max_frame {
                let announced = (framing == Framing::Length).then_some(length);
                found.error = Some(FrameError { limit: self.max_frame, length: announced });
                return found;
            }
            let whole = header + length + trailer;
            if rest.len() < whole {
                return found;
            }
            found.frames.push(Framed {
                framing,
                payload: rest[header..header + length].to_vec(),
                range: at as u64..(at + whole) as u64,
            });
            at += whole;
        }
    }
}
