//! Whole numbers with a range.

use std::fmt;
use std::str::FromStr;

use super::written::{Written, wanted};

/// A number within a range, its ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count<const LEAST: u64, const MOST: u64>(pub(crate) u64);

impl<const LEAST: u64, const MOST: u64> Count<LEAST, MOST> {
    /// The number, where its range says that it fits.
    pub(crate) fn number<T: TryFrom<u64>>(self) -> T {
        // The range is part of the type: whether it fits does not depend on what was written.
        T::try_from(self.0).ok().expect("the range of this option fits its type")
    }
}

impl<const LEAST: u64, const MOST: u64> Written for Count<LEAST, MOST> {
    const NUMBERS: bool = true;

    fn takes() -> String {
        // What a file's numbers are limited to need not be said.
        if MOST < i64::MAX.unsigned_abs() {
            format!("a number from {LEAST} to {MOST}")
        } else {
            format!("a number, at least {LEAST}")
        }
    }
}

impl<const LEAST: u64, const MOST: u64> FromStr for Count<LEAST, MOST> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| plain && (LEAST..=MOST).contains(number));
        number.map(Self).ok_or_else(wanted::<Self>)
    }
}

impl<const LEAST: u64, const MOST: u64> fmt::Display for Count<LEAST, MOST> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_is_said() {
        assert_eq!("3".parse(), Ok(Count::<1, 3>(3)));
        for text in ["0", "4", "", "-1", "+1", "1.0", "two"] {
            let error = text.parse::<Count<1, 3>>().unwrap_err();
            assert_eq!(error, "expected a number from 1 to 3", "{text:?}");
        }
    }
}
