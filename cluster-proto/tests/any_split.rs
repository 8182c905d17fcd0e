//! However the stream is cut, the same frames come out, at the same places.

#[path = "support/messages.rs"]
mod arbitrary;

use std::ops::Range;

use cluster_proto::{Codec, Deframer, FrameError, Framing, Json, Postcard};
use proptest::collection::vec;
use proptest::prelude::*;

/// All frames, the error that ends them if one does, and what is left at the end.
type Seen = (Vec<(Vec<u8>, Range<u64>)>, Option<FrameError>, usize);

fn deframe<'a>(
    framing: Framing,
    max_frame: usize,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Seen {
    let mut deframer = Deframer::new(framing).max_frame(max_frame);
    let mut frames = Vec::new();
    for piece in pieces {
        deframer.extend(piece);
        loop {
            match deframer.next_frame() {
                Ok(Some(frame)) => frames.push((frame.payload.to_vec(), frame.range)),
                Ok(None) => break,
                Err(error) => return (frames, Some(error), deframer.buffered()),
            }
        }
    }
    let left = deframer.buffered();
    (frames, None, left)
}

/// The stream cut at those places.
fn cut<'a>(stream: &'a [u8], at: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = at.iter().map(|i| i.index(stream.len() + 1)).collect();
    at.sort_unstable();
    let (mut pieces, mut from) = (Vec::new(), 0);
    for to in at.into_iter().chain([stream.len()]) {
        pieces.push(&stream[from..to]);
        from = to;
    }
    pieces
}

fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    vec(any::<prop::sample::Index>(), 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn messages_come_out_as_they_were_put_in(
        messages in vec(arbitrary::message(), 0..12),
        cuts in cuts(),
        json in any::<bool>(),
    ) {
        let codec: &dyn Codec = if json { &Json } else { &Postcard };
        let (mut stream, mut ranges) = (Vec::new(), Vec::new());
        for message in &messages {
            let from = stream.len() as u64;
            codec.encode(message, &mut stream).unwrap();
            ranges.push(from..stream.len() as u64);
        }
        let (frames, error, left) = deframe(codec.framing(), 1 << 20, cut(&stream, &cuts));
        prop_assert_eq!((error, left), (None, 0));
        let decoded: Vec<_> = frames.iter().map(|(p, _)| codec.decode(p).unwrap()).collect();
        prop_assert_eq!(&decoded, &messages);
        prop_assert!(frames.into_iter().map(|(_, range)| range).eq(ranges));
        // Byte by byte, and all at once.
        for pieces in [stream.chunks(1).collect(), vec![&stream[..]]] {
            let (frames, error, left) = deframe(codec.framing(), 1 << 20, pieces);
            prop_assert_eq!((frames.len(), error, left), (messages.len(), None, 0));
        }
    }

    #[test]
    fn no_cut_changes_what_is_found_in_any_bytes(
        stream in vec(prop_oneof![Just(b'\n'), Just(0), 0_u8..8, any::<u8>()], 0..400),
        cuts in cuts(),
        lines in any::<bool>(),
        max_frame in prop_oneof![0_usize..40, Just(100_000)],
    ) {
        let framing = if lines { Framing::Line } else { Framing::Length };
        let whole = deframe(framing, max_frame, [&stream[..]]);
        prop_assert_eq!(deframe(framing, max_frame, cut(&stream, &cuts)), whole.clone());
        prop_assert_eq!(deframe(framing, max_frame, stream.chunks(1)), whole.clone());
        let (frames, error, left) = whole;
        prop_assert!(frames.iter().all(|(payload, _)| payload.len() <= max_frame));
        // Without a gap, from the first byte on.
        let ends = frames.iter().map(|(_, range)| range.end);
        prop_assert!(frames.iter().map(|(_, range)| range.start).eq([0].into_iter().chain(ends).take(frames.len())));
        if error.is_none() {
            let used = frames.last().map_or(0, |(_, range)| range.end) as usize;
            prop_assert_eq!(used + left, stream.len());
        }
    }
}
