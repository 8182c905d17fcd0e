//! Bytes as text.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::{Deserialize, Serialize};

/// Bytes that need not be text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Hex(String);

impl Hex {
    pub(crate) fn of(text: impl AsRef<std::ffi::OsStr>) -> Self {
        let bytes = text.as_ref().as_bytes();
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    pub(crate) fn bytes(&self) -> io::Result<OsString> {
        let digits = self.0.as_bytes().chunks(2);
        let bytes = digits.map(|pair| {
            let is_one = pair.len() == 2 && pair.iter().all(u8::is_ascii_hexdigit);
            let pair = std::str::from_utf8(pair).ok().filter(|_| is_one);
            pair.and_then(|pair| u8::from_str_radix(pair, 16).ok())
        });
        let bytes: Option<Vec<u8>> = bytes.collect();
        bytes.map(OsString::from_vec).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "what should be hexadecimal is not")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_that_is_none_is_an_error() {
        for text in ["0", "0g", "\u{e9}", "+1"] {
            assert!(Hex(text.into()).bytes().is_err(), "{text:?}");
        }
    }
}
