//! The signal that asks a program to end.

use std::fmt;
use std::str::FromStr;

use cluster_primary::Signal;

use super::written::{Written, wanted};

/// A signal that a program can hear: `SIGTERM`, `quit`, `3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StopSignal(pub(crate) Signal);

impl Written for StopSignal {
    const NUMBERS: bool = true;

    fn takes() -> String {
        "a signal that can be heard: \"SIGTERM\", \"SIGQUIT\", 15".into()
    }
}

impl FromStr for StopSignal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let heard = |signal: &Signal| {
            *signal != Signal::NONE && !matches!(signal.name(), Some("SIGKILL" | "SIGSTOP"))
        };
        text.parse().ok().filter(heard).map(Self).ok_or_else(wanted::<Self>)
    }
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_hears_asks_nothing() {
        assert_eq!("TERM".parse(), Ok(StopSignal(Signal::TERM)));
        assert_eq!("15".parse(), Ok(StopSignal(Signal::TERM)));
        for text in ["", "0", "SIGKILL", "9", "STOP", "SIGFOO", "-1"] {
            assert!(text.parse::<StopSignal>().is_err(), "{text:?}");
        }
    }
}
