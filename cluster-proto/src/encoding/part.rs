//! A part of a payload in `advanced`.

/// What has to be known of a structured clone to read a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) version: u32,
    /// Objects that began before it.
    pub(crate) objects: u32,
}
