//! Bytes as hexadecimal digits, where a format is text.
//!
//! For `#[serde(with = "cluster_proto::hex")]` on a `Vec<u8>`, which would be an array of numbers
//! otherwise: three times as long again, and slow. What is no text gets the bytes as they are.
//!
//! ```
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Waiting {
//!     #[serde(with = "cluster_proto::hex")]
//!     bytes: Vec<u8>,
//! }
//! let text = serde_json::to_string(&Waiting { bytes: b"hi".to_vec() })?;
//! assert_eq!(text, r#"{"bytes":"6869"}"#);
//! assert_eq!(serde_json::from_str::<Waiting>(&text)?.bytes, b"hi");
//! # Ok::<(), serde_json::Error>(())
//! ```

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::de::{Deserializer, Error, Visitor};
use serde::ser::Serializer;

/// Writes the bytes.
///
/// # Errors
/// The serializer's.
pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        serializer.serialize_str(&digits(bytes))
    } else {
        serializer.serialize_bytes(bytes)
    }
}

/// Reads them.
///
/// # Errors
/// The deserializer's, and if a text is not pairs of hexadecimal digits.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    if deserializer.is_human_readable() {
        deserializer.deserialize_str(Bytes)
    } else {
        deserializer.deserialize_byte_buf(Bytes)
    }
}

fn digits(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut digits = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        digits.push(char::from(DIGITS[usize::from(byte >> 4)]));
        digits.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    digits
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some((digit(*high)? << 4 | digit(*low)?) as u8)).collect()
}

struct Bytes;

impl Visitor<'_> for Bytes {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pairs of hexadecimal digits")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<u8>, E> {
        bytes(text).ok_or_else(|| E::custom("a text that is not pairs of hexadecimal digits"))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.into())
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(bytes(&digits(&all)), Some(all));
        assert_eq!(bytes("aBFf"), Some([0xab, 0xff].into()));
        assert_eq!(bytes(""), Some(Vec::new()));
    }

    #[test]
    fn what_is_no_pair_of_digits_is_refused() {
        for text in ["a", "abc", "0g", "+1", " 1", "é"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }
}
