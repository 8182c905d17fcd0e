//! Durations.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::decimal::{split, times};
use super::written::{Written, wanted};

const SECOND: u64 = 1_000_000_000;

/// Nanoseconds of each unit, the longest first.
const UNITS: [(&str, u64); 5] = [
    ("d", 24 * 3600 * SECOND),
    ("h", 3600 * SECOND),
    ("m", 60 * SECOND),
    ("s", SECOND),
    ("ms", SECOND / 1000),
];

/// The longest: a hundred years. (What is added to it does not overflow.)
const LONGEST: u64 = 36_500 * UNITS[0].1;

/// A duration, of at least so many milliseconds: `10` (seconds), `0.5`, `500ms`, `5m`, `1h`, `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Period<const LEAST: u64 = 0>(pub(crate) Duration);

impl<const LEAST: u64> Written for Period<LEAST> {
    const NUMBERS: bool = true;

    fn takes() -> String {
        let least = match LEAST {
            0 => String::new(),
            least => format!(" of at least {}", Period::<0>(Duration::from_millis(least))),
        };
        format!("a duration{least}: 10 or \"10s\", \"500ms\", \"5m\", \"1h\", \"7d\"")
    }
}

impl<const LEAST: u64> FromStr for Period<LEAST> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split(text.trim());
        let unit = if unit.is_empty() { "s" } else { unit };
        let unit = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, nanos)| *nanos);
        let nanos = unit.and_then(|unit| times(number, unit)).ok_or_else(wanted::<Self>)?;
        let nanos = u64::try_from(nanos).ok().filter(|nanos| *nanos <= LONGEST);
        let period = nanos.map(Duration::from_nanos).ok_or("the longest duration is \"36500d\"")?;
        if period < Duration::from_millis(LEAST) {
            return Err(wanted::<Self>());
        }
        Ok(Self(period))
    }
}

/// In the longest unit that divides it: `1h`, `90s`, `500ms`.
impl<const LEAST: u64> fmt::Display for Period<LEAST> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        if nanos == 0 {
            return f.write_str("0s");
        }
        match UNITS.iter().find(|(_, unit)| nanos.is_multiple_of(u128::from(*unit))) {
            Some((name, unit)) => write!(f, "{}{name}", nanos / u128::from(*unit)),
            None => {
                let text = format!("{}.{:09}", self.0.as_secs(), self.0.subsec_nanos());
                write!(f, "{}s", text.trim_end_matches('0'))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn millis(text: &str) -> Option<u128> {
        text.parse().ok().map(|Period::<0>(period)| period.as_millis())
    }

    #[test]
    fn a_bare_number_is_seconds() {
        for (text, wanted) in [
            ("0", 0),
            ("10", 10_000),
            ("0.5", 500),
            ("500ms", 500),
            ("10s", 10_000),
            ("5m", 300_000),
            ("1.5h", 5_400_000),
            ("7d", 604_800_000),
            (" 1s ", 1000),
        ] {
            assert_eq!(millis(text), Some(wanted), "{text:?}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in ["", "s", "-1", "10 s", "10sec", "1h30m", "1e3", "NaN", "inf", "1M", "36501d"] {
            assert_eq!(millis(text), None, "{text:?}");
        }
        assert_eq!(millis("36500d"), Some(36_500 * 86_400_000));
    }

    #[test]
    fn the_least_is_said() {
        let error = "0".parse::<Period<1>>().unwrap_err();
        assert!(error.contains("at least 1ms"), "{error}");
        assert_eq!("1ms".parse(), Ok(Period::<1>(Duration::from_millis(1))));
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_as_the_same(nanos in 0..LONGEST, coarse in 0_usize..5) {
            for nanos in [nanos, nanos - nanos % UNITS[coarse].1] {
                let period = Period::<0>(Duration::from_nanos(nanos));
                prop_assert_eq!(period.to_string().parse(), Ok(period));
            }
        }
    }
}
