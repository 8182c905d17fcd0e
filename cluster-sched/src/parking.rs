//! Connections that all workers refused, and how long they pause.

use crate::config::Config;
use crate::mono::Mono;
use crate::state::PauseState;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// The rounds that connections have lost, and the timers of those in a pause.
#[derive(Clone, Debug)]
pub(crate) struct Parking<C> {
    pauses: BTreeMap<C, Pause>,
    /// When each pause ends; the serial keeps those that end together in the order they began.
    timers: BTreeSet<(Mono, u64, C)>,
    serial: u64,
}

#[derive(Clone, Copy, Debug)]
struct Pause {
    rounds: u32,
    until: Option<(Mono, u64)>,
}

/// What happens to a connection that all workers refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Its timer runs.
    Park,
    /// It has lost its last round.
    GiveUp,
}

impl<C: Copy + Ord> Parking<C> {
    pub(crate) const fn new() -> Self {
        Self { pauses: BTreeMap::new(), timers: BTreeSet::new(), serial: 0 }
    }

    /// All present workers have refused `conn`.
    ///
    /// That ends a round only if it was offered to all: while a pause runs, only workers that
    /// joined meanwhile are asked, and their refusal neither counts nor prolongs the pause. So a
    /// worker that joins and dies over and over cannot use a connection's rounds up.
    pub(crate) fn enter(&mut self, now: Mono, conn: C, config: &Config) -> Verdict {
        let pause = self.pauses.entry(conn).or_insert(Pause { rounds: 0, until: None });
        if pause.until.is_some() {
            return Verdict::Park;
        }
        pause.rounds = pause.rounds.saturating_add(1);
        if pause.rounds >= config.max_refusal_rounds {
            return Verdict::GiveUp;
        }
        let doubled = 1u32.checked_shl(pause.rounds - 1).unwrap_or(u32::MAX);
        let length = config.park.saturating_mul(doubled).min(config.park_cap);
        let until = (now.saturating_add(length), self.serial);
        self.serial += 1;
        pause.until = Some(until);
        self.timers.insert((until.0, until.1, conn));
        Verdict::Park
    }

    /// Rounds and pauses, as they stand at `now`. Those that run come in the order in which they
    /// end.
    pub(crate) fn state(&self, now: Mono) -> Vec<PauseState<C>> {
        let running = self.timers.iter().map(|&(until, _, conn)| (conn, Some(until)));
        let still = self.pauses.iter().filter(|(_, pause)| pause.until.is_none());
        let all = running.chain(still.map(|(&conn, _)| (conn, None)));
        let state = all.map(|(conn, until)| PauseState {
            conn,
            rounds: self.pauses.get(&conn).map_or(0, |pause| pause.rounds),
            left: until.map(|until| until.saturating_sub(now)),
        });
        state.collect()
    }

    /// Takes over what it was of one connection. Of those that end together, the first to be taken
    /// over is the first to end. False if the connection is known already.
    pub(crate) fn resume(&mut self, conn: C, rounds: u32, until: Option<Mono>) -> bool {
        let until = until.map(|until| (until, self.serial));
        if let Some((until, serial)) = until {
            self.timers.insert((until, serial, conn));
            self.serial += 1;
        }
        self.pauses.insert(conn, Pause { rounds, until }).is_none()
    }

    /// Whether a pause of `conn` runs.
    pub(crate) fn is_paused(&self, conn: C) -> bool {
        self.pauses.get(&conn).is_some_and(|pause| pause.until.is_some())
    }

    /// Whether all have refused `conn` at some time.
    pub(crate) fn knows(&self, conn: C) -> bool {
        self.pauses.contains_key(&conn)
    }

    /// A connection whose pause is over at `now`, if there is one.
    pub(crate) fn expire(&mut self, now: Mono) -> Option<C> {
        let &(until, serial, conn) = self.timers.first()?;
        if until > now {
            return None;
        }
        self.timers.remove(&(until, serial, conn));
        if let Some(pause) = self.pauses.get_mut(&conn) {
            pause.until = None;
        }
        Some(conn)
    }

    pub(crate) fn next_expiry(&self) -> Option<Mono> {
        self.timers.first().map(|&(until, _, _)| until)
    }

    /// Connections in a pause, the one that ends first coming first.
    pub(crate) fn paused(&self) -> impl Iterator<Item = C> {
        self.timers.iter().map(|&(_, _, conn)| conn)
    }

    pub(crate) fn forget(&mut self, conn: C) {
        if let Some(Pause { until: Some((until, serial)), .. }) = self.pauses.remove(&conn) {
            self.timers.remove(&(until, serial, conn));
        }
    }

    pub(crate) fn clear(&mut self) {
        self.pauses.clear();
        self.timers.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Mono {
        Mono::from_millis(millis)
    }

    #[test]
    fn pauses_double_up_to_the_cap_and_end_in_giving_up() {
        let config = Config::default().park_cap(ms(150)).max_refusal_rounds(5);
        let mut parking = Parking::new();
        let mut now = ms(7);
        for length in [50, 100, 150, 150] {
            assert_eq!(parking.enter(now, 'a', &config), Verdict::Park);
            assert_eq!(parking.next_expiry(), Some(now + ms(length)));
            now += ms(length);
            assert_eq!(parking.expire(now - ms(1)), None);
            assert_eq!(parking.expire(now), Some('a'));
        }
        assert_eq!(parking.enter(now, 'a', &config), Verdict::GiveUp);
    }

    #[test]
    fn a_refusal_during_the_pause_changes_nothing() {
        let config = Config::default().max_refusal_rounds(2);
        let mut parking = Parking::new();
        for at in 0..9 {
            assert_eq!(parking.enter(ms(at), 'a', &config), Verdict::Park);
            assert_eq!(parking.next_expiry(), Some(ms(50)));
        }
        parking.forget('a');
        assert_eq!(parking.next_expiry(), None);
    }

    #[test]
    fn the_defaults_come_to_a_few_seconds() {
        let config = Config::default();
        let mut parking = Parking::new();
        let mut now = Mono::ZERO;
        while parking.enter(now, 'a', &config) == Verdict::Park {
            now = parking.next_expiry().unwrap();
            parking.expire(now);
        }
        assert_eq!(now, ms(3550));
    }

    #[test]
    fn extreme_settings_do_not_overflow() {
        let config =
            Config::default().park(Mono::MAX).park_cap(Mono::MAX).max_refusal_rounds(u32::MAX);
        let mut parking = Parking::new();
        for _ in 0..70 {
            parking.enter(ms(1), 'a', &config);
            assert_eq!(parking.next_expiry(), Some(Mono::MAX));
            parking.expire(Mono::MAX);
        }
    }
}
