//! Signals by name and number.

use std::fmt;
use std::str::FromStr;

use rustix::process::Signal as Sys;
use serde::{Deserialize, Serialize};

/// A signal: `"SIGTERM".parse()`, `Signal::TERM`, or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Signal(i32);

/// The signals that have names here, as in Node's `os.constants.signals`. Of two names for one number
/// the first is told.
const NAMES: &[(&str, Sys)] = &[
    ("SIGHUP", Sys::HUP),
    ("SIGINT", Sys::INT),
    ("SIGQUIT", Sys::QUIT),
    ("SIGILL", Sys::ILL),
    ("SIGTRAP", Sys::TRAP),
    ("SIGABRT", Sys::ABORT),
    ("SIGIOT", Sys::ABORT),
    ("SIGBUS", Sys::BUS),
    ("SIGFPE", Sys::FPE),
    ("SIGKILL", Sys::KILL),
    ("SIGUSR1", Sys::USR1),
    ("SIGSEGV", Sys::SEGV),
    ("SIGUSR2", Sys::USR2),
    ("SIGPIPE", Sys::PIPE),
    ("SIGALRM", Sys::ALARM),
    ("SIGTERM", Sys::TERM),
    ("SIGCHLD", Sys::CHILD),
    ("SIGCONT", Sys::CONT),
    ("SIGSTOP", Sys::STOP),
    ("SIGTSTP", Sys::TSTP),
    ("SIGTTIN", Sys::TTIN),
    ("SIGTTOU", Sys::TTOU),
    ("SIGURG", Sys::URG),
    ("SIGXCPU", Sys::XCPU),
    ("SIGXFSZ", Sys::XFSZ),
    ("SIGVTALRM", Sys::VTALARM),
    ("SIGPROF", Sys::PROF),
    ("SIGWINCH", Sys::WINCH),
    ("SIGIO", Sys::IO),
    #[cfg(target_os = "linux")]
    ("SIGPOLL", Sys::IO),
    #[cfg(target_os = "linux")]
    ("SIGPWR", Sys::POWER),
    #[cfg(all(
        target_os = "linux",
        not(any(target_arch = "mips", target_arch = "mips64", target_arch = "sparc64"))
    ))]
    ("SIGSTKFLT", Sys::STKFLT),
    ("SIGSYS", Sys::SYS),
];

impl Signal {
    /// `SIGTERM`: please end. What [`Worker::kill`](crate::Worker::kill) means in Node by default.
    pub const TERM: Self = Self(Sys::TERM.as_raw());
    /// `SIGKILL`: end, now.
    pub const KILL: Self = Self(Sys::KILL.as_raw());
    /// `SIGINT`: Ctrl-C.
    pub const INT: Self = Self(Sys::INT.as_raw());
    /// `SIGCONT`: go on, after a stop.
    pub const CONT: Self = Self(Sys::CONT.as_raw());
    /// `SIGHUP`.
    pub const HUP: Self = Self(Sys::HUP.as_raw());
    /// No signal: asks only whether the process is there.
    pub const NONE: Self = Self(0);

    /// The signal of that number.
    pub const fn from_number(number: i32) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> i32 {
        self.0
    }

    /// Its name, `SIGTERM` say, if it has one.
    pub fn name(self) -> Option<&'static str> {
        NAMES.iter().find(|(_, sys)| sys.as_raw() == self.0).map(|(name, _)| *name)
    }

    pub(crate) fn to_sys(self) -> Option<Sys> {
        Sys::from_named_raw(self.0)
    }
}

/// The name, or the number where there is none.
impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

/// `SIGTERM`, `sigterm`, `TERM` or `15`; 0 is [`Signal::NONE`].
impl FromStr for Signal {
    type Err = UnknownSignal;

    fn from_str(text: &str) -> Result<Self, UnknownSignal> {
        let unknown = || UnknownSignal { name: text.to_owned() };
        if let Ok(number) = text.parse::<i32>() {
            let known = number == 0 || NAMES.iter().any(|(_, sys)| sys.as_raw() == number);
            return known.then_some(Self(number)).ok_or_else(unknown);
        }
        let upper = text.to_ascii_uppercase();
        let short = upper.strip_prefix("SIG").unwrap_or(&upper);
        NAMES
            .iter()
            .find(|(name, _)| &name[3..] == short)
            .map(|(_, sys)| Self(sys.as_raw()))
            .ok_or_else(unknown)
    }
}

/// There is no such signal here.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownSignal {
    /// What was asked for.
    pub name: String,
}

impl fmt::Display for UnknownSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown signal {:?}; write it like SIGTERM, TERM or 15", self.name)
    }
}

impl std::error::Error for UnknownSignal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    fn all_that_node_names_have_names() {
        // `os.constants.signals`, by number; of two names the one that an exit is told by.
        let names = "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT \
                     CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS";
        for (number, short) in (1..).zip(names.split(' ')) {
            let name = format!("SIG{short}");
            assert_eq!(Signal(number).name(), Some(name.as_str()));
            assert_eq!(name.parse(), Ok(Signal(number)), "{name}");
            assert_eq!(number.to_string().parse(), Ok(Signal(number)), "{name}");
            assert!(Signal(number).to_sys().is_some(), "{name} can be sent");
        }
        assert_eq!("SIGPOLL".parse(), "SIGIO".parse::<Signal>());
        assert_eq!("SIGIOT".parse(), "SIGABRT".parse::<Signal>());
    }

    #[test]
    fn names_and_numbers_are_the_same() {
        for name in ["SIGTERM", "sigterm", "TERM", "15"] {
            assert_eq!(name.parse(), Ok(Signal::TERM), "{name}");
        }
        assert_eq!("0".parse(), Ok(Signal::NONE));
        assert_eq!(Signal::KILL.to_string(), "SIGKILL");
        for name in ["", "SIG", "SIGNOPE", "-9", "9999", "TERM "] {
            assert_eq!(name.parse::<Signal>(), Err(UnknownSignal { name: name.to_owned() }));
        }
    }
}
