//! Texts for clients, in which a long message is not copied.

use bytes::Bytes;

/// A message that is longer stays where it is.
const COPIED: usize = 16 << 10;

/// A text of three parts. The middle one may be the memory in which a message came.
#[derive(Clone, Debug, Default)]
pub struct Text {
    head: Vec<u8>,
    message: Bytes,
    tail: Vec<u8>,
}

impl Text {
    /// A text around that message.
    pub(super) fn around(mut head: Vec<u8>, message: Bytes, tail: &[u8]) -> Self {
        if message.len() <= COPIED {
            head.extend_from_slice(&message);
            head.extend_from_slice(tail);
            return head.into();
        }
        Self { head, message, tail: tail.to_vec() }
    }

    /// The text between these.
    #[must_use]
    pub(super) fn within(mut self, before: &[u8], after: &[u8]) -> Self {
        self.head.splice(..0, before.iter().copied());
        let end = if self.message.is_empty() { &mut self.head } else { &mut self.tail };
        end.extend_from_slice(after);
        self
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole, in its parts; some are empty.
    pub fn parts(&self) -> [&[u8]; 3] {
        [&self.head, &self.message, &self.tail]
    }

    /// What can be had at once of what begins there, up to that many bytes.
    pub(super) fn piece(&self, mut at: usize, most: usize) -> &[u8] {
        for part in self.parts() {
            if at < part.len() {
                return &part[at..part.len().min(at.saturating_add(most))];
            }
            at -= part.len();
        }
        &[]
    }
}

impl From<Vec<u8>> for Text {
    fn from(head: Vec<u8>) -> Self {
        Self { head, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_not_copied_and_a_text_is_read_in_any_pieces() {
        for length in [0, 3, COPIED, COPIED + 1] {
            let message = Bytes::from(vec![b'm'; length]);
            let text = Text::around(b"head".to_vec(), message.clone(), b"tail");
            let text = text.within(b"<", b">\n");
            let whole = [b"<head", &message[..], b"tail>\n"].concat();
            assert_eq!(text.parts().concat(), whole);
            assert_eq!(text.len(), whole.len());
            let is_shared = !message.is_empty() && text.parts()[1].as_ptr() == message.as_ptr();
            assert_eq!(is_shared, length > COPIED);
            let mut read = Vec::new();
            while read.len() < text.len() {
                read.extend_from_slice(text.piece(read.len(), 1000));
            }
            assert_eq!(read, whole);
            assert!(text.piece(whole.len(), 5).is_empty());
        }
    }
}
