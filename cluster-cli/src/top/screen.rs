//! What is shown, and what keys do: without a terminal.

use std::collections::VecDeque;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::columns::Column;
use super::rates::Rates;
use crate::status::Status;

/// So many looks back the picture of the rate can go: as wide as a terminal is.
const MEMORY: usize = 512;

/// What a key can ask the cluster for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Reload,
    Scale(u32),
}

/// What a key means for the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Quit,
    Ask(Command),
}

/// All that is shown.
#[derive(Debug, Default)]
pub(super) struct Screen {
    pub(super) status: Option<Status>,
    pub(super) rates: Rates,
    /// Connections per second, the newest first.
    pub(super) history: VecDeque<u64>,
    /// Why there is no newer status.
    pub(super) trouble: Option<String>,
    /// What became of what was asked for.
    pub(super) message: Option<String>,
    pub(super) sort: Column,
    /// Workers above the first that is shown.
    pub(super) above: usize,
}

impl Screen {
    /// The cluster has answered.
    pub(super) fn heard(&mut self, status: Status) {
        if let Some(before) = &self.status {
            let rates = self.rates.next(before, &status);
            // Two answers within a millisecond tell nothing.
            if before.uptime_ms != status.uptime_ms || before.pid != status.pid {
                self.history.push_front(rates.connections.unwrap_or_default().round() as u64);
                self.history.truncate(MEMORY);
                self.rates = rates;
            }
        }
        self.trouble = None;
        self.status = Some(status);
    }

    /// The cluster cannot be asked.
    pub(super) fn lost(&mut self, why: String) {
        self.trouble = Some(why);
        self.message = None;
    }

    /// What was asked for has been answered.
    pub(super) fn answered(&mut self, order: Command, outcome: Result<(), String>) {
        self.message = Some(match (order, outcome) {
            (Command::Reload, Ok(())) => "reloaded".into(),
            (Command::Scale(workers), Ok(())) => {
                if let Some(status) = &mut self.status {
                    status.wanted = Some(workers);
                }
                format!("{workers} workers are wanted")
            }
            (Command::Reload, Err(why)) => format!("reload: {why}"),
            (Command::Scale(workers), Err(why)) => format!("scale to {workers}: {why}"),
        });
    }

    /// What a key does.
    pub(super) fn key(&mut self, key: KeyEvent) -> Option<Step> {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'd') if control => return Some(Step::Quit),
            _ if control => return None,
            KeyCode::Char('q') | KeyCode::Esc => return Some(Step::Quit),
            KeyCode::Char('s') => self.sort = self.sort.next(self.has_agents()),
            KeyCode::Char('S') => self.sort = self.sort.previous(self.has_agents()),
            KeyCode::Char('r') => return self.ask(Command::Reload),
            KeyCode::Char('+' | '=') => return self.scale(1),
            KeyCode::Char('-' | '_') => return self.scale(-1),
            KeyCode::Up | KeyCode::Char('k') => self.above = self.above.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.scroll(1),
            KeyCode::PageUp => self.above = self.above.saturating_sub(10),
            KeyCode::PageDown => self.scroll(10),
            KeyCode::Home => self.above = 0,
            KeyCode::End => self.scroll(usize::MAX),
            _ => {}
        }
        None
    }

    fn has_agents(&self) -> bool {
        self.status.as_ref().is_some_and(Status::has_agents)
    }

    /// How many rows there are: workers, and slots without one.
    pub(super) fn rows(&self) -> usize {
        self.status.as_ref().map_or(0, |status| status.workers.len() + status.vacant.len())
    }

    fn scroll(&mut self, down: usize) {
        self.above = self.above.saturating_add(down).min(self.rows().saturating_sub(1));
    }

    fn scale(&mut self, by: i32) -> Option<Step> {
        let wanted = self.status.as_ref()?.wanted?;
        match wanted.saturating_add_signed(by) {
            0 => {
                self.message = Some("one worker must stay".into());
                None
            }
            workers => self.ask(Command::Scale(workers)),
        }
    }

    /// A worker that is not running is not asked.
    fn ask(&mut self, order: Command) -> Option<Step> {
        if self.trouble.is_some() || self.status.is_none() {
            return None;
        }
        self.message = Some(match order {
            Command::Reload => "reloading…".into(),
            Command::Scale(workers) => format!("scaling to {workers}…"),
        });
        Some(Step::Ask(order))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::full;

    fn key(screen: &mut Screen, code: KeyCode) -> Option<Step> {
        screen.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn keys_that_end_it() {
        let mut screen = Screen::default();
        assert_eq!(key(&mut screen, KeyCode::Char('q')), Some(Step::Quit));
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(screen.key(control_c), Some(Step::Quit));
        assert_eq!(key(&mut screen, KeyCode::Char('c')), None);
    }

    #[test]
    fn a_cluster_is_asked_only_while_it_is_there() {
        let mut screen = Screen::default();
        for order in ['r', '+', '-'] {
            assert_eq!(key(&mut screen, KeyCode::Char(order)), None);
        }
        screen.heard(full());
        assert_eq!(key(&mut screen, KeyCode::Char('r')), Some(Step::Ask(Command::Reload)));
        assert_eq!(key(&mut screen, KeyCode::Char('+')), Some(Step::Ask(Command::Scale(5))));
        screen.answered(Command::Scale(5), Ok(()));
        assert_eq!(key(&mut screen, KeyCode::Char('+')), Some(Step::Ask(Command::Scale(6))));
        screen.answered(Command::Scale(6), Err("no".into()));
        assert_eq!(screen.message.as_deref(), Some("scale to 6: no"));
        assert_eq!(key(&mut screen, KeyCode::Char('-')), Some(Step::Ask(Command::Scale(4))));
        screen.lost("gone".into());
        assert_eq!(key(&mut screen, KeyCode::Char('r')), None);
        let one = Status { wanted: Some(1), ..full() };
        screen.heard(one);
        assert_eq!(screen.trouble, None);
        assert_eq!(key(&mut screen, KeyCode::Char('-')), None);
        assert_eq!(screen.message.as_deref(), Some("one worker must stay"));
    }

    #[test]
    fn it_scrolls_no_further_than_there_are_rows() {
        let mut screen = Screen::default();
        key(&mut screen, KeyCode::Down);
        assert_eq!(screen.above, 0);
        screen.heard(full());
        key(&mut screen, KeyCode::End);
        assert_eq!(screen.above, 4);
        key(&mut screen, KeyCode::Up);
        assert_eq!(screen.above, 3);
        key(&mut screen, KeyCode::PageUp);
        assert_eq!(screen.above, 0);
    }

    #[test]
    fn the_history_has_a_value_for_each_look() {
        let mut screen = Screen::default();
        let mut status = full();
        screen.heard(status.clone());
        assert!(screen.history.is_empty());
        for n in 1..=3 {
            status.uptime_ms = status.uptime_ms.map(|ms| ms + 1000);
            status.totals.handed_over = status.totals.handed_over.map(|all| all + n * 10);
            screen.heard(status.clone());
        }
        assert_eq!(screen.history, [30, 20, 10]);
        screen.heard(status.clone());
        assert_eq!(screen.history.len(), 3, "no time has passed");
        status.pid = Some(1);
        screen.heard(status);
        assert_eq!(screen.history, [0, 30, 20, 10]);
    }
}
