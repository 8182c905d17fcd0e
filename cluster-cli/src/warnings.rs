//! What the primary counts while it cannot serve as it should, as warnings: with the count, and each at
//! most once a minute.

use std::time::Duration;

use cluster_primary::{Mono, Stats};
use serde::{Deserialize, Serialize};

/// How long nothing is logged of what was just warned of. It is counted meanwhile.
const AT_MOST_EVERY: Duration = Duration::from_secs(60);

/// How much of each there has been.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Counts {
    pauses: u64,
    hand_off_pauses: u64,
    stuck_closes: u64,
    shed: Shed,
}

/// Connections that were closed without a worker having taken them, by the reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Shed {
    full: u64,
    refused: u64,
    closed: u64,
}

impl Shed {
    pub(crate) fn all(self) -> u64 {
        self.full + self.refused + self.closed
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            full: self.full.saturating_sub(before.full),
            refused: self.refused.saturating_sub(before.refused),
            closed: self.closed.saturating_sub(before.closed),
        }
    }

    /// The reasons that there were.
    pub(crate) fn reasons(self) -> String {
        let reasons = [
            (self.full, "because too many waited"),
            (self.refused, "because every worker refused them"),
            (self.closed, "because their server was closed"),
        ];
        let reasons = reasons.iter().filter(|(count, _)| *count > 0);
        reasons.map(|(count, why)| format!("{count} {why}")).collect::<Vec<_>>().join(", ")
    }
}

impl From<Stats> for Counts {
    fn from(stats: Stats) -> Self {
        let Stats { shed_full: full, shed_refused: refused, shed_closed: closed, .. } = stats;
        let Stats { accept_pauses: pauses, hand_off_pauses, stuck_closes, .. } = stats;
        Self { pauses, hand_off_pauses, stuck_closes, shed: Shed { full, refused, closed } }
    }
}

/// What has been warned of, and when each may be again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Warned {
    counts: Counts,
    /// Pauses of the control socket and of `--http`, all in all.
    other_pauses: u64,
    pauses_at: Option<Mono>,
    hand_offs_at: Option<Mono>,
    stuck_at: Option<Mono>,
    shed_at: Option<Mono>,
}

/// Compares what was counted to what has been warned of.
#[derive(Debug, Default)]
pub(crate) struct Warnings(Warned);

impl Warnings {
    /// For the next image of this program.
    pub(crate) fn state(&self) -> Warned {
        self.0
    }

    /// Goes on where the image before was; where that is not known, with what is counted from now on.
    pub(crate) fn resumed(warned: Option<Warned>, counts: Counts) -> Self {
        Self(warned.unwrap_or(Warned { counts, ..Warned::default() }))
    }

    /// Pauses of other listeners than the primary's.
    pub(crate) fn count_other_pauses(&mut self, count: u64) {
        self.0.other_pauses += count;
    }

    /// What the primary has counted, with those.
    pub(crate) fn with_other_pauses(&self, counts: Counts) -> Counts {
        Counts { pauses: counts.pauses + self.0.other_pauses, ..counts }
    }

    /// How often accepting paused and was not warned of, if that is due.
    pub(crate) fn pauses(&mut self, now: Mono, counts: Counts) -> Option<u64> {
        let new = counts.pauses.saturating_sub(self.0.counts.pauses);
        take_turn(&mut self.0.pauses_at, now, new > 0)?;
        self.0.counts.pauses = counts.pauses;
        Some(new)
    }

    /// The same of hand-offs.
    pub(crate) fn hand_off_pauses(&mut self, now: Mono, counts: Counts) -> Option<u64> {
        let new = counts.hand_off_pauses.saturating_sub(self.0.counts.hand_off_pauses);
        take_turn(&mut self.0.hand_offs_at, now, new > 0)?;
        self.0.counts.hand_off_pauses = counts.hand_off_pauses;
        Some(new)
    }

    /// The same of closes that were stuck.
    pub(crate) fn stuck_closes(&mut self, now: Mono, counts: Counts) -> Option<u64> {
        let new = counts.stuck_closes.saturating_sub(self.0.counts.stuck_closes);
        take_turn(&mut self.0.stuck_at, now, new > 0)?;
        self.0.counts.stuck_closes = counts.stuck_closes;
        Some(new)
    }

    /// The same of connections that were closed.
    pub(crate) fn shed(&mut self, now: Mono, counts: Counts) -> Option<Shed> {
        let new = counts.shed.since(self.0.counts.shed);
        take_turn(&mut self.0.shed_at, now, new.all() > 0)?;
        self.0.counts.shed = counts.shed;
        Some(new)
    }

    /// When there is something to warn of that was not due yet.
    pub(crate) fn poll_timeout(&self, counts: Counts) -> Option<Mono> {
        let Warned { counts: before, pauses_at, hand_offs_at, stuck_at, shed_at, .. } = self.0;
        let pauses = pauses_at.filter(|_| counts.pauses > before.pauses);
        let shed = shed_at.filter(|_| counts.shed != before.shed);
        let hand_offs = hand_offs_at.filter(|_| counts.hand_off_pauses > before.hand_off_pauses);
        let stuck = stuck_at.filter(|_| counts.stuck_closes > before.stuck_closes);
        pauses.into_iter().chain(hand_offs).chain(stuck).chain(shed).min()
    }

    /// Nothing comes any more: what is left is due.
    pub(crate) fn end(&mut self) {
        let Warned { pauses_at, hand_offs_at, stuck_at, shed_at, .. } = &mut self.0;
        for at in [pauses_at, hand_offs_at, stuck_at, shed_at] {
            *at = None;
        }
    }
}

/// If there is something, and it is due, the next is due later.
fn take_turn(next: &mut Option<Mono>, now: Mono, wanted: bool) -> Option<()> {
    if !wanted || next.is_some_and(|at| at > now) {
        return None;
    }
    *next = Some(now + AT_MOST_EVERY);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Mono {
        Mono::from_secs(seconds)
    }

    fn counts(pauses: u64, refused: u64) -> Counts {
        Counts { pauses, shed: Shed { refused, ..Shed::default() }, ..Counts::default() }
    }

    #[test]
    fn each_is_warned_of_once_a_minute_and_nothing_is_lost_from_the_count() {
        let mut warnings = Warnings::default();
        assert_eq!(warnings.pauses(at(0), counts(0, 0)), None);
        let mut told = Vec::new();
        for second in 0..200 {
            // Three a second.
            let counts = counts(3 * (second + 1), 0);
            told.extend(warnings.pauses(at(second), counts).map(|count| (second, count)));
        }
        assert_eq!(told, [(0, 3), (60, 180), (120, 180), (180, 180)]);
        // They have ended: what is left comes when it is due, or at the end.
        let all = counts(600, 0);
        assert_eq!(warnings.poll_timeout(all), Some(at(240)));
        assert_eq!(warnings.pauses(at(239), all), None);
        warnings.end();
        assert_eq!(warnings.pauses(at(239), all), Some(57));
        assert_eq!(warnings.poll_timeout(all), None);
    }

    #[test]
    fn one_does_not_keep_the_other_from_being_told() {
        let mut warnings = Warnings::default();
        assert_eq!(warnings.pauses(at(0), counts(1, 0)), Some(1));
        let shed = warnings.shed(at(1), counts(1, 2)).expect("it is due");
        assert_eq!(shed.reasons(), "2 because every worker refused them");
        assert_eq!(warnings.shed(at(2), counts(1, 3)), None);
        assert_eq!(warnings.poll_timeout(counts(1, 3)), Some(at(61)));
    }

    #[test]
    fn an_upgrade_repeats_nothing() {
        let mut before = Warnings::default();
        assert_eq!(before.pauses(at(0), counts(5, 0)), Some(5));
        let mut after = Warnings::resumed(Some(before.state()), counts(7, 0));
        assert_eq!(after.poll_timeout(counts(7, 0)), Some(at(60)));
        assert_eq!(after.pauses(at(60), counts(7, 0)), Some(2));
        // From a version that did not warn.
        let mut after = Warnings::resumed(None, counts(7, 1));
        assert_eq!(
            (after.pauses(at(1), counts(7, 1)), after.shed(at(1), counts(7, 1))),
            (None, None)
        );
    }
}
