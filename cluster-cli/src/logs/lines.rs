//! What several writers write in pieces, as lines.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The longest piece of a line that waits for its end, in bytes.
pub(crate) const LONGEST: usize = 64 << 10;

/// A line, without its end; or a part of one that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// The bytes as they were written, UTF-8 or not.
    pub(crate) bytes: &'a [u8],
    /// The line goes on in the next, which comes from the same writer.
    pub(crate) cut: bool,
}

/// The beginnings of lines, each by its writer: no line of one is mixed with another's.
///
/// However what is written is cut, the same lines come out. At most [`LONGEST`] bytes of each writer
/// are kept.
#[derive(Clone, Debug)]
pub(crate) struct Lines<W> {
    begun: BTreeMap<W, Vec<u8>>,
}

/// [`Lines`], taken apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State<W> {
    /// The beginning of each writer's line.
    begun: Vec<(W, Vec<u8>)>,
}

impl<W> Default for Lines<W> {
    fn default() -> Self {
        Self { begun: BTreeMap::new() }
    }
}

impl<W: Ord + Copy> Lines<W> {
    /// Takes what a writer wrote, and yields the lines that this ends.
    pub(crate) fn feed(&mut self, writer: W, mut bytes: &[u8], mut each: impl FnMut(Line<'_>)) {
        while let Some(mut begun) = self.begun.remove(&writer) {
            // As much as belongs to the line that was begun, and one byte to tell that it is too long.
            let room = (LONGEST + 1 - begun.len()).min(bytes.len());
            let end = bytes[..room].iter().position(|byte| *byte == b'\n');
            let (now, later) = bytes.split_at(end.map_or(room, |end| end + 1));
            begun.extend_from_slice(now);
            bytes = later;
            let left = split(&begun, &mut each).len();
            if left > 0 {
                begun.drain(..begun.len() - left);
                self.begun.insert(writer, begun);
                if bytes.is_empty() {
                    return;
                }
            }
        }
        let left = split(bytes, &mut each);
        if !left.is_empty() {
            self.begun.insert(writer, left.to_owned());
        }
    }

    /// The writer writes no more: yields what it began.
    pub(crate) fn end(&mut self, writer: W, each: impl FnOnce(Line<'_>)) {
        if let Some(begun) = self.begun.remove(&writer) {
            each(Line { bytes: &begun, cut: false });
        }
    }

    /// Takes it apart, for another process to go on with.
    pub(crate) fn into_state(self) -> State<W> {
        State { begun: self.begun.into_iter().collect() }
    }

    /// Puts it together again.
    pub(crate) fn from_state(state: State<W>) -> Self {
        Self { begun: state.begun.into_iter().collect() }
    }
}

/// Yields whole lines and parts of those that are too long, and returns what is left.
fn split<'a>(mut bytes: &'a [u8], each: &mut impl FnMut(Line<'_>)) -> &'a [u8] {
    loop {
        let seen = bytes.len().min(LONGEST + 1);
        match bytes[..seen].iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                each(Line { bytes: &bytes[..end], cut: false });
                bytes = &bytes[end + 1..];
            }
            None if seen > LONGEST => {
                let (now, later) = bytes.split_at(between_characters(&bytes[..LONGEST]));
                each(Line { bytes: now, cut: true });
                bytes = later;
            }
            None => return bytes,
        }
    }
}

/// Where to cut, at the end or a little before it, so that no character is cut in two.
fn between_characters(bytes: &[u8]) -> usize {
    // Three bytes back at most: a character has four.
    let lead = bytes.iter().rev().take(4).position(|byte| byte & 0b1100_0000 != 0b1000_0000);
    let Some(back) = lead else { return bytes.len() };
    let start = bytes.len() - 1 - back;
    let length = match bytes[start] {
        0b1100_0000..0b1110_0000 => 2,
        0b1110_0000..0b1111_0000 => 3,
        0b1111_0000..0b1111_1000 => 4,
        _ => 1,
    };
    if length > back + 1 { start } else { bytes.len() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Owned = (u8, Vec<u8>, bool);

    /// The lines of writers that write these pieces, and nothing after that.
    fn lines(pieces: &[(u8, &[u8])]) -> Vec<Owned> {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        for &(writer, piece) in pieces {
            lines.feed(writer, piece, |line| seen.push((writer, line.bytes.to_owned(), line.cut)));
            assert!(lines.begun.values().all(|begun| (1..=LONGEST).contains(&begun.len())));
        }
        for writer in 0..=u8::MAX {
            lines.end(writer, |line| seen.push((writer, line.bytes.to_owned(), line.cut)));
        }
        assert!(lines.begun.is_empty());
        seen
    }

    fn of(writer: u8, seen: &[Owned]) -> Vec<(&[u8], bool)> {
        seen.iter().filter(|(w, ..)| *w == writer).map(|(_, b, cut)| (&b[..], *cut)).collect()
    }

    #[test]
    fn lines_come_whole_and_the_rest_at_the_end() {
        let seen = lines(&[(1, b"a"), (2, b"x\ny"), (1, b"b\n\nc\n"), (1, b""), (2, b"z")]);
        let wanted: [(u8, &[u8]); 5] = [(2, b"x"), (1, b"ab"), (1, b""), (1, b"c"), (2, b"yz")];
        assert_eq!(seen, wanted.map(|(writer, line)| (writer, line.to_owned(), false)));
    }

    #[test]
    fn the_longest_line_is_whole_and_one_byte_more_is_cut() {
        let mut text = vec![b'a'; LONGEST];
        text.push(b'\n');
        assert_eq!(of(0, &lines(&[(0, &text)])), [(&text[..LONGEST], false)]);
        text.insert(0, b'b');
        let seen = lines(&[(0, &text[..LONGEST]), (0, &text[LONGEST..])]);
        assert_eq!(of(0, &seen), [(&text[..LONGEST], true), (&b"a"[..], false)]);
    }

    #[test]
    fn no_character_is_cut_in_two() {
        for (before, character) in [(1, "ä"), (1, "€"), (2, "€"), (1, "🦀"), (2, "🦀"), (3, "🦀")]
        {
            let text = "a".repeat(LONGEST - before) + character + "b";
            let seen = lines(&[(0, text.as_bytes())]);
            let lines: Vec<_> =
                seen.iter().map(|(_, line, _)| str::from_utf8(line).unwrap()).collect();
            assert_eq!(lines, [&text[..LONGEST - before], &text[LONGEST - before..]]);
        }
        // What is no UTF-8 anyway is cut where the room ends.
        let text = vec![0x80; LONGEST + 1];
        assert_eq!(of(0, &lines(&[(0, &text)]))[0], (&text[..LONGEST], true));
    }

    #[test]
    fn it_can_be_taken_apart_and_put_together() {
        let mut lines = Lines::default();
        lines.feed((3, 1), b"one\nbegun \xff", |_| {});
        lines.feed((4, 2), b"too", |_| {});
        let state = serde_json::to_string(&lines.into_state()).unwrap();
        let mut lines = Lines::<(u32, u32)>::from_state(serde_json::from_str(&state).unwrap());
        let mut seen = Vec::new();
        lines.feed((3, 1), b"!\n", |line| seen.push(line.bytes.to_owned()));
        lines.end((4, 2), |line| seen.push(line.bytes.to_owned()));
        assert_eq!(seen, [b"begun \xff!".to_vec(), b"too".to_vec()]);
    }

    /// Texts in which lines of all lengths are likely, some of them just as long as they may be.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            4 => proptest::collection::vec(any::<u8>(), 0..20),
            4 => Just(b"\n".to_vec()),
            1 => (0..8_usize).prop_map(|less| vec![b'a'; LONGEST + 4 - less]),
            1 => "[ä€🦀]{1,4}".prop_map(String::into_bytes),
        ];
        proptest::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn however_it_is_cut_the_same_lines_come_out(
            texts in proptest::collection::vec(text(), 1..4),
            cuts in proptest::collection::vec((0..4_usize, 1..200_000_usize), 0..60),
        ) {
            // Pieces of several writers, mixed.
            let mut left: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
            let mut pieces = Vec::new();
            for (writer, length) in cuts {
                let writer = writer % texts.len();
                // Small pieces are as likely as large ones.
                let length = if length % 2 == 0 { length % 7 } else { length };
                let (now, later) = left[writer].split_at(length.min(left[writer].len()));
                pieces.push((u8::try_from(writer).unwrap(), now));
                left[writer] = later;
            }
            for (writer, rest) in left.iter().enumerate() {
                pieces.push((u8::try_from(writer).unwrap(), rest));
            }
            let mixed = lines(&pieces);
            for (writer, text) in texts.iter().enumerate() {
                let writer = u8::try_from(writer).unwrap();
                let alone = lines(&[(writer, text)]);
                prop_assert_eq!(of(writer, &mixed), of(writer, &alone));
                // Nothing is lost, nothing is added.
                let mut again = Vec::new();
                for (line, cut) in of(writer, &alone) {
                    prop_assert!(line.len() <= LONGEST && !line.contains(&b'\n'));
                    again.extend_from_slice(line);
                    if !cut {
                        again.push(b'\n');
                    }
                }
                if !text.is_empty() && !text.ends_with(b"\n") {
                    again.pop();
                }
                prop_assert_eq!(&again, text);
            }
        }
    }
}
