//! Text that others have chosen, made safe to show.
//!
//! A worker chooses the paths and names that it listens on, and what stands in error messages about it. Written as
//! they are to a terminal or a log, control characters could clear the screen, forge lines of the log, or (by
//! Unicode's bidirectional controls) show another text than there is. Whatever shows such text to people passes it
//! through one of these functions: [`Address`](crate::Address)'s `Display` does by itself.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a character does more than to stand for itself: control characters (with line ends), Unicode's line and
/// paragraph separators, controls of bidirectional text, and invisible ones that hide text (tags, the byte order
/// mark, interlinear annotations).
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{061c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// The text in one line, with each unsafe character written as Rust would: `\n`, `\u{1b}`, `\u{202e}`.
///
/// ```
/// use cluster_primary::printable;
///
/// assert_eq!(printable::one_line("/run/app.sock"), "/run/app.sock");
/// assert_eq!(printable::one_line("/run/\u{1b}[2J\nx"), r"/run/\u{1b}[2J\nx");
/// ```
pub fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, is_unsafe)
}

/// As [`one_line`], but lines stay lines: for what has several.
///
/// ```
/// use cluster_primary::printable;
///
/// assert_eq!(printable::lines("one\ntwo\u{7}"), "one\ntwo\\u{7}");
/// ```
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |character| character != '\n' && is_unsafe(character))
}

fn escaped(text: &str, is_unsafe: impl Fn(char) -> bool) -> Cow<'_, str> {
    replaced(text, is_unsafe, |character, safe| {
        let _ = write!(safe, "{}", character.escape_default());
    })
}

/// A JSON text, which means the same afterwards: unsafe characters are written as `\u202e`. (JSON has to escape
/// only those below U+0020.) Outside of strings line ends stay.
///
/// ```
/// use cluster_primary::printable;
///
/// assert_eq!(printable::json("[\"\u{9b}2J\"]"), r#"["\u009b2J"]"#);
/// ```
pub fn json(text: &str) -> Cow<'_, str> {
    // Within its strings there are none of these.
    let is_space = |character| matches!(character, '\n' | '\r' | '\t');
    replaced(
        text,
        |character| !is_space(character) && is_unsafe(character),
        |character, safe| {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(safe, "\\u{unit:04x}");
            }
        },
    )
}

fn replaced(
    text: &str,
    is_unsafe: impl Fn(char) -> bool,
    replace: impl Fn(char, &mut String),
) -> Cow<'_, str> {
    let mut safe = String::new();
    let mut rest = text;
    while let Some((at, character)) = first_unsafe(rest, &is_unsafe) {
        safe.push_str(&rest[..at]);
        replace(character, &mut safe);
        rest = &rest[at + character.len_utf8()..];
    }
    if rest.len() == text.len() {
        return Cow::Borrowed(text);
    }
    safe.push_str(rest);
    Cow::Owned(safe)
}

/// The first unsafe character and where it is.
fn first_unsafe(text: &str, is_unsafe: impl Fn(char) -> bool) -> Option<(usize, char)> {
    let mut from = 0;
    loop {
        from += plain_prefix(&text.as_bytes()[from..]);
        // This block has a character that is not plain: it is read character by character.
        let block = text[from..].char_indices().take_while(|(at, _)| *at < BLOCK);
        let mut read = 0;
        for (at, character) in block {
            if is_unsafe(character) {
                return Some((from + at, character));
            }
            read = at + character.len_utf8();
        }
        if read == 0 {
            return None;
        }
        from += read;
    }
}

/// A message may be 64 MiB long: blocks of so many bytes are looked at together, which the compiler vectorizes.
const BLOCK: usize = 64;

/// How many bytes at the beginning, in whole blocks, are printable ASCII.
fn plain_prefix(text: &[u8]) -> usize {
    let is_plain =
        |block: &&[u8]| block.iter().fold(true, |plain, byte| plain & (b' '..=b'~').contains(byte));
    text.chunks_exact(BLOCK).take_while(is_plain).count() * BLOCK
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of each kind one.
    const UNSAFE: &str =
        "\0\t\n\r\u{1b}\u{7f}\u{85}\u{9b}\u{200f}\u{2028}\u{2029}\u{202e}\u{2066}\u{feff}\u{e0041}";

    #[test]
    fn nothing_unsafe_is_left() {
        for text in [one_line(UNSAFE), json(&serde_json::to_string(UNSAFE).expect("a text"))] {
            assert!(text.chars().all(|c| !is_unsafe(c)), "{text:?}");
        }
        assert_eq!(lines("a\n\u{1b}\r"), "a\n\\u{1b}\\r");
    }

    #[test]
    fn json_means_the_same() {
        let written = serde_json::to_string(&[UNSAFE, "ä€🦀"]).expect("texts");
        let read: Vec<String> = serde_json::from_str(&json(&written)).expect("it is JSON");
        assert_eq!(read, [UNSAFE, "ä€🦀"]);
    }

    #[test]
    fn unsafe_characters_are_found_wherever_they_are() {
        for unsafe_ in UNSAFE.chars() {
            for before in [0, 1, BLOCK - 2, BLOCK - 1, BLOCK, 3 * BLOCK + 7] {
                for filler in ["x", "ä", "🦀"] {
                    let (head, tail) = (filler.repeat(before), filler.repeat(BLOCK + 1));
                    let expected = format!("{head}{}{tail}", unsafe_.escape_default());
                    assert_eq!(one_line(&format!("{head}{unsafe_}{tail}")), expected);
                }
            }
        }
    }

    #[test]
    fn what_people_write_stays() {
        // Joiners stand for nothing themselves, but are part of how words and signs are written.
        for text in ["", "/run/app.sock", "größe", "日本語", "العربية", "👩\u{200d}💻", "a\\n"]
        {
            assert!(matches!(one_line(text), Cow::Borrowed(same) if same == text), "{text}");
            assert!(matches!(lines(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }
}
