//! The signal that asks a program to stop.

use std::fmt;
use std::str::FromStr;

use cluster_primary::Signal;

use super::written::{Written, wanted};

/// A signal that a program can handle (`SIGTERM`, `quit`, `3`), or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StopSignal(pub(crate) Option<Signal>);

const NONE: &str = "none";

impl Written for StopSignal {
    const NUMBERS: bool = true;

    fn takes() -> String {
        "none, or a signal that can be handled: \"SIGTERM\", \"SIGQUIT\", 15".into()
    }
}

impl FromStr for StopSignal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == NONE {
            return Ok(Self(None));
        }
        let can_be_handled = |signal: &Signal| {
            *signal != Signal::NONE && !matches!(signal.name(), Some("SIGKILL" | "SIGSTOP"))
        };
        let signal = text.parse().ok().filter(can_be_handled);
        signal.map(|signal| Self(Some(signal))).ok_or_else(wanted::<Self>)
    }
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(signal) => signal.fmt(f),
            None => f.write_str(NONE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_signals_that_can_be_handled_are_taken() {
        assert_eq!("TERM".parse(), Ok(StopSignal(Some(Signal::TERM))));
        assert_eq!("15".parse(), Ok(StopSignal(Some(Signal::TERM))));
        assert_eq!("none".parse(), Ok(StopSignal(None)));
        for text in ["", "0", "SIGKILL", "9", "STOP", "SIGFOO", "-1", "None"] {
            assert!(text.parse::<StopSignal>().is_err(), "{text:?}");
        }
    }
}
