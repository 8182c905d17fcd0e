//! One process, as `/proc/PID/stat` describes it.

use serde::{Deserialize, Serialize};

/// A process that cannot be confused with a later one of the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its pid, which the system reuses once the process has ended.
    pub pid: u32,
    /// When it was started, in clock ticks since the system was.
    pub start: u64,
}

/// What is known of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessStat {
    /// Which process.
    pub id: ProcessId,
    /// The pid of its parent: the process that started it, or has adopted it since.
    pub parent: u32,
    /// Its process group.
    pub group: u32,
    /// Its session.
    pub session: u32,
    /// What it does at the moment.
    pub state: RunState,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// It runs, or waits for something.
    Running,
    /// A signal has stopped it, or a debugger.
    Stopped,
    /// It has ended.
    Ended,
}

impl ProcessStat {
    /// Reads the text of `/proc/PID/stat`, see `proc_pid_stat(5)`; `None` if it is not one.
    pub fn parse(text: &[u8]) -> Option<Self> {
        // The second field, in parentheses, is the program's name, which may hold any bytes.
        let text = String::from_utf8_lossy(text);
        let (pid, _) = text.split_once(" (")?;
        let (_, rest) = text.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        let state = match fields.next()? {
            "T" | "t" => RunState::Stopped,
            "Z" | "X" | "x" => RunState::Ended,
            _ => RunState::Running,
        };
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        let session = fields.next()?.parse().ok()?;
        // `starttime` is the 22nd field; the next one is the 7th.
        let start = fields.nth(15)?.parse().ok()?;
        let id = ProcessId { pid: pid.parse().ok()?, start };
        Some(Self { id, parent, group, session, state })
    }

    /// Whether it has not ended.
    pub fn is_alive(&self) -> bool {
        self.state != RunState::Ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: &str = "7 8 9 34816 10 4194304 1 2 3 4 5 6 7 8 20 0 1 0 4711 1 2 3";

    #[test]
    fn the_fields_are_found_whatever_the_program_is_called() {
        for name in ["sh", "a) S 1 2 (b", "x y", "", "\u{fffd}"] {
            let stat = ProcessStat::parse(format!("12 ({name}) S {REST}").as_bytes()).unwrap();
            let id = ProcessId { pid: 12, start: 4711 };
            let expected =
                ProcessStat { id, parent: 7, group: 8, session: 9, state: RunState::Running };
            assert_eq!(stat, expected, "{name:?}");
        }
    }

    #[test]
    fn the_state_is_told_apart() {
        for (letter, state) in [
            ("R", RunState::Running),
            ("D", RunState::Running),
            ("T", RunState::Stopped),
            ("t", RunState::Stopped),
            ("Z", RunState::Ended),
            ("X", RunState::Ended),
        ] {
            let stat = ProcessStat::parse(format!("12 (sh) {letter} {REST}").as_bytes()).unwrap();
            assert_eq!(stat.state, state, "{letter}");
        }
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "12 (sh", "12 (sh) S", "12 (sh) S 1 2", "x (sh) S 7 8 9 0 0 0 0 0 0 0"] {
            assert_eq!(ProcessStat::parse(text.as_bytes()), None, "{text:?}");
        }
        let cut = format!("12 (sh) S {REST}").replace(" 4711 1 2 3", "");
        assert_eq!(ProcessStat::parse(cut.as_bytes()), None);
    }
}
