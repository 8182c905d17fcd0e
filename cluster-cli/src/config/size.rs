//! Sizes of memory.

use std::fmt;
use std::str::FromStr;

use super::decimal::{split, times};
use super::written::{Written, wanted};

/// Bytes of each unit, the largest first.
const UNITS: [(&str, u64); 5] =
    [("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10), ("", 1)];

/// A number of bytes, but not none: `1048576`, `800K`, `512M`, `1.5G` (powers of 1024).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl Written for Size {
    const NUMBERS: bool = true;

    fn takes() -> String {
        "a size: \"800K\", \"512M\", \"1G\", or a number of bytes".into()
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split(text.trim());
        let unit = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
        let bytes = unit.and_then(|(_, unit)| u64::try_from(times(number, *unit)?).ok());
        bytes.filter(|bytes| *bytes > 0).map(Self).ok_or_else(wanted::<Self>)
    }
}

/// In the largest unit that divides it.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, unit) =
            UNITS.iter().find(|(_, unit)| self.0.is_multiple_of(*unit)).unwrap_or(&UNITS[4]);
        write!(f, "{}{name}", self.0 / unit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_are_powers_of_1024() {
        for (text, wanted) in [
            ("1", 1),
            ("800K", 819_200),
            ("512m", 536_870_912),
            ("1.5G", 1_610_612_736),
            ("1T", 1 << 40),
        ] {
            assert_eq!(text.parse(), Ok(Size(wanted)), "{text:?}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in ["", "0", "0M", "-1", "1.5", "10MB", "10 M", "1P", "20000000T"] {
            assert!(text.parse::<Size>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_as_the_same(bytes in 1_u64.., shift in 0_u32..44) {
            let size = Size((bytes >> shift).max(1) << shift.min(bytes.leading_zeros()));
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }
    }
}
