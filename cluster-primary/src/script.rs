//! What the first bytes of a program's file say about it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// As much of a file as Linux reads of it to learn what is to run it.
const FIRST_LINE: u64 = 256;

/// What a file holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A script whose first line (`#!`) names its interpreter, in these words.
    Script(Vec<OsString>),
    /// Text without such a line.
    Text,
    /// Anything else, or it cannot be read.
    Other,
}

/// What that file holds, as far as its first bytes say.
pub(crate) fn content(file: &Path) -> Content {
    let mut head = Vec::new();
    // Opening a pipe would wait for its writer.
    let regular = std::fs::metadata(file).is_ok_and(|found| found.is_file());
    let mut read =
        || File::open(file).and_then(|file| file.take(FIRST_LINE).read_to_end(&mut head));
    if !regular || read().is_err() {
        return Content::Other;
    }
    match head.strip_prefix(b"#!") {
        Some(rest) => {
            let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let words = line.split(|byte| matches!(byte, b' ' | b'\t'));
            let words = words.filter(|word| !word.is_empty());
            Content::Script(words.map(|word| OsStr::from_bytes(word).to_owned()).collect())
        }
        None if !head.is_empty() && !head.contains(&0) => Content::Text,
        None => Content::Other,
    }
}

/// The words behind `#!`; none if the file has no such line.
pub(crate) fn first_words(file: &Path) -> Vec<OsString> {
    match content(file) {
        Content::Script(words) => words,
        Content::Text | Content::Other => Vec::new(),
    }
}

/// The program that those words have run the script: `node` of `/usr/bin/env -S node --flag`.
pub(crate) fn interpreter(words: &[OsString]) -> Option<&OsStr> {
    let (first, rest) = words.split_first()?;
    if Path::new(first).file_name() != Some(OsStr::new("env")) {
        return Some(first);
    }
    let is_option = |word: &&OsString| {
        let word = word.as_bytes();
        word.starts_with(b"-") || word.contains(&b'=')
    };
    rest.iter().find(|word| !is_option(word)).map(OsString::as_os_str)
}
