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
        signal.map(|signal| Self(Some(signal))).ok_or_else(|| match near(text) {
            Some(name) => format!("{}; did you mean {name}?", wanted::<Self>()),
            None => wanted::<Self>(),
        })
    }
}

/// The name of the signal that was meant, if it is like one that can be handled, and none itself.
fn near(text: &str) -> Option<&'static str> {
    if text.parse::<Signal>().is_ok() {
        return None;
    }
    let upper = text.to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    let names = (1..32).filter_map(|number| Signal::from_number(number).name());
    let names = names.filter(|name| !["SIGKILL", "SIGSTOP"].contains(name));
    let distance = |name: &str| strsim::damerau_levenshtein(short, &name[3..]);
    names.map(|name| (distance(name), name)).filter(|(slips, _)| *slips == 1).min().map(|(_, n)| n)
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
    fn a_slip_is_seen_through() {
        for (text, meant) in [("SIGTREM", "SIGTERM"), ("QIUT", "SIGQUIT"), ("sigintt", "SIGINT")] {
            let said = text.parse::<StopSignal>().unwrap_err();
            assert!(said.ends_with(&format!("; did you mean {meant}?")), "{said}");
        }
        for text in ["SIGFOOBAR", "KILL", "SIGKILL", "", "99"] {
            let said = text.parse::<StopSignal>().unwrap_err();
            assert!(!said.contains("did you mean"), "{text}: {said}");
        }
    }

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
