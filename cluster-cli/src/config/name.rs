//! Clusters' names.

use std::fmt;
use std::str::FromStr;

use super::written::{Written, wanted};

/// A name that is a file's too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name(pub(crate) String);

impl Written for Name {
    fn takes() -> String {
        "a name of letters, digits, -, _ and ., at most 60, the first of them no .".into()
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let good =
            (1..=60).contains(&text.len()) && text.chars().all(plain) && !text.starts_with('.');
        good.then(|| Self(text.into())).ok_or_else(wanted::<Self>)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
