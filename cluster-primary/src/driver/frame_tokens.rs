//! The names under which a channel reports what became of descriptors and marks.

use crate::id::SendId;

/// A probe, among hand-offs and users' descriptors.
pub(super) const PROBE: u64 = u64::MAX;
/// The mark behind what waits when the pressure is high.
pub(super) const DRAINED: u64 = u64::MAX;
/// A user's; hand-offs have the `seq` of their message, which counts from 0.
const USER: u64 = 1 << 63;

pub(super) enum Token {
    Probe,
    User(SendId),
    HandOff(u64),
}

pub(super) fn user(id: SendId) -> u64 {
    USER | id.0
}

pub(super) fn of(token: u64) -> Token {
    match token {
        PROBE => Token::Probe,
        token if token & USER != 0 => Token::User(SendId(token & !USER)),
        seq => Token::HandOff(seq),
    }
}
