//! Values that are one of a few names.

use std::ffi::OsStr;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser, ValueParserFactory};
use cluster_primary::{Placement, PolicyName, Serialization};

use super::near::nearest;
use super::written::{Written, wanted};

/// One of a few things, each of which has a name.
pub(crate) trait Choice: Copy + PartialEq + fmt::Debug + Send + Sync + 'static {
    /// All of them, the default first.
    const ALL: &'static [(Self, &'static str)];
    /// Those that are written without quotes in a file as well.
    const FLAGS: bool = false;
}

/// The name of what was chosen.
pub(crate) fn name_of<T: Choice>(chosen: T) -> &'static str {
    T::ALL.iter().find(|(each, _)| *each == chosen).map_or("", |(_, name)| name)
}

/// A choice as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct One<T>(pub(crate) T);

impl<T: Choice> Written for One<T> {
    const FLAGS: bool = T::FLAGS;

    fn takes() -> String {
        let (last, others) = T::ALL.split_last().expect("there is something to choose from");
        let others: Vec<_> = others.iter().map(|(_, name)| *name).collect();
        format!("{} or {}", others.join(", "), last.1)
    }
}

impl<T: Choice + PartialEq> One<T> {
    /// The name of the choice.
    pub(crate) fn name(&self) -> &'static str {
        T::ALL.iter().find(|(value, _)| *value == self.0).map_or("", |(_, name)| name)
    }
}

impl<T: Choice> FromStr for One<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((found, _)) = T::ALL.iter().find(|(_, name)| *name == text) {
            return Ok(Self(*found));
        }
        match nearest(text, T::ALL.iter().map(|(_, name)| *name)) {
            Some(near) => Err(format!("{}; did you mean {near}?", wanted::<Self>())),
            None => Err(wanted::<Self>()),
        }
    }
}

impl<T: Choice> ValueParserFactory for One<T> {
    type Parser = OneParser<T>;

    fn value_parser() -> OneParser<T> {
        OneParser(PhantomData)
    }
}

/// Reads a choice on the command line. Shells are told the names, for completions.
#[derive(Clone, Debug)]
pub(crate) struct OneParser<T>(PhantomData<T>);

impl<T: Choice> TypedValueParser for OneParser<T> {
    type Value = One<T>;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<One<T>, clap::Error> {
        let parser = StringValueParser::new().try_map(|text| text.parse::<One<T>>());
        parser.parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(T::ALL.iter().map(|(_, name)| PossibleValue::new(*name))))
    }
}

impl Choice for PolicyName {
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::RoundRobin, Self::RoundRobin.as_str()),
        (Self::LeastConnections, Self::LeastConnections.as_str()),
        (Self::Sticky, Self::Sticky.as_str()),
        (Self::Random, Self::Random.as_str()),
    ];
}

impl Choice for Placement {
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::Handoff, Self::Handoff.as_str()),
        (Self::Shared, Self::Shared.as_str()),
        (Self::Kernel, Self::Kernel.as_str()),
    ];
}

impl Choice for Serialization {
    const ALL: &'static [(Self, &'static str)] =
        &[(Self::Json, "json"), (Self::Advanced, "advanced")];
}

/// When a new worker counts as ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ready {
    /// At its first sign of life.
    Online,
    /// When a server of its listens.
    #[default]
    Listening,
    /// When it sends the message `ready`.
    Message,
    /// When it says `READY=1` as services do to systemd.
    Notify,
    /// When it has lived for a second.
    Alive,
}

impl Choice for Ready {
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::Listening, "listening"),
        (Self::Online, "online"),
        (Self::Message, "message"),
        (Self::Notify, "notify"),
        (Self::Alive, "alive"),
    ];
}

/// Where the workers' output goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Output {
    /// Through the primary, line by line.
    #[default]
    Prefix,
    /// Where the primary's goes.
    Inherit,
}

impl Choice for Output {
    const ALL: &'static [(Self, &'static str)] =
        &[(Self::Prefix, "prefix"), (Self::Inherit, "inherit")];
}

/// What a line of the log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// An object.
    Json,
}

impl Choice for LogFormat {
    const ALL: &'static [(Self, &'static str)] = &[(Self::Text, "text"), (Self::Json, "json")];
}

/// What is said, and all that weighs more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl Choice for LogLevel {
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::Error, "error"),
        (Self::Warn, "warn"),
        (Self::Info, "info"),
        (Self::Debug, "debug"),
        (Self::Trace, "trace"),
    ];
}

/// Which CPU a worker runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Affinity {
    /// Any.
    #[default]
    Free,
    /// Each slot has its own.
    Slot,
}

impl Choice for Affinity {
    // The first of two names for one thing is how it is shown.
    const ALL: &'static [(Self, &'static str)] =
        &[(Self::Free, "false"), (Self::Slot, "slot"), (Self::Slot, "true")];
    const FLAGS: bool = true;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each_is_read_as_it_is_shown<T: Choice>() {
        for (chosen, name) in T::ALL {
            assert_eq!(name.parse(), Ok(One(*chosen)));
            assert_eq!(name_of(*chosen).parse(), Ok(One(*chosen)));
        }
    }

    #[test]
    fn names_are_read_as_they_are_shown() {
        each_is_read_as_it_is_shown::<PolicyName>();
        each_is_read_as_it_is_shown::<Placement>();
        each_is_read_as_it_is_shown::<Serialization>();
        each_is_read_as_it_is_shown::<Ready>();
        each_is_read_as_it_is_shown::<Output>();
        each_is_read_as_it_is_shown::<LogFormat>();
        each_is_read_as_it_is_shown::<LogLevel>();
        each_is_read_as_it_is_shown::<Affinity>();
    }

    /// Those of other crates may become more.
    #[test]
    fn all_are_there() {
        for policy in PolicyName::ALL {
            assert_eq!(policy.as_str().parse(), Ok(One(*policy)));
        }
        for placement in Placement::ALL {
            assert_eq!(placement.as_str().parse(), Ok(One(*placement)));
        }
    }

    #[test]
    fn what_is_meant_is_guessed() {
        let error = "stikcy".parse::<One<PolicyName>>().unwrap_err();
        let wanted = "expected rr, least-connections, sticky or random; did you mean sticky?";
        assert_eq!(error, wanted);
        let error = "best".parse::<One<PolicyName>>().unwrap_err();
        assert_eq!(error, "expected rr, least-connections, sticky or random");
    }
}
