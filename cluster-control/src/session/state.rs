//! A client, written down, and taken up.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use mio::net::UnixStream;
use serde::{Deserialize, Serialize};

use super::{Output, Session};
use crate::backlog::Backlog;
use cluster_primary::upgrade::{Arriving, Leaving, StateError};

/// What there is of a client.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SessionState {
    stream: usize,
    #[serde(with = "bytes")]
    input: Vec<u8>,
    skipping: bool,
    #[serde(with = "bytes")]
    output: Vec<u8>,
    subscription: BTreeSet<String>,
    said_all: bool,
    gone: bool,
    leaving: bool,
    awaits: usize,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    cut_off: bool,
}

impl SessionState {
    /// How many answers it waits for.
    pub(crate) fn awaits(&self) -> usize {
        self.awaits
    }
}

impl Session {
    pub(crate) fn state(&self, leaving: &mut Leaving) -> Result<SessionState, StateError> {
        Ok(SessionState {
            stream: leaving.place(&self.stream)?,
            input: self.input[self.taken..].to_vec(),
            skipping: self.skipping,
            output: self.output.bytes(),
            subscription: self.subscription.clone(),
            said_all: self.said_all,
            gone: self.gone,
            leaving: self.leaving,
            awaits: self.awaits,
            cut_off: self.cut_off,
        })
    }

    pub(crate) fn from_state(
        state: SessionState,
        arriving: &mut Arriving,
        backlog: &Backlog,
    ) -> Result<Self, StateError> {
        let stream: OwnedFd = arriving.take(state.stream)?;
        let mut session = Self {
            stream: UnixStream::from_std(stream.into()),
            unwanted: Vec::new(),
            input: state.input,
            searched: 0,
            skipping: state.skipping,
            unfinished: backlog.unfinished_line(),
            output: Output::of(&state.output, backlog),
            deadline: None,
            cut_off: state.cut_off,
            backlog: backlog.clone(),
            subscription: state.subscription,
            taken: 0,
            said_all: state.said_all,
            gone: state.gone,
            leaving: state.leaving,
            awaits: state.awaits,
        };
        session.count_unfinished();
        Ok(session)
    }
}

/// What a client has said, or is to be told: nearly always text, whole or in part.
mod bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&base64::display::Base64Display::new(bytes, &STANDARD))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}
