//! What the workers' own shutdown handlers write: `handler PID` when they start, `clean PID` when
//! their clean-up has finished.

use std::collections::BTreeMap;

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ShutdownLog {
    handlers: BTreeMap<u32, usize>,
    cleaned: BTreeMap<u32, usize>,
}

impl ShutdownLog {
    /// Other lines, and one that is still being written, count nothing.
    pub(crate) fn parse(text: &str) -> Self {
        let mut log = Self::default();
        for line in text.lines() {
            let Some((step, pid)) = line.split_once(' ') else { continue };
            let Ok(pid) = pid.parse() else { continue };
            match step {
                "handler" => *log.handlers.entry(pid).or_default() += 1,
                "clean" => *log.cleaned.entry(pid).or_default() += 1,
                _ => {}
            }
        }
        log
    }

    /// In how many of these workers the handler ran.
    pub(crate) fn handlers(&self, workers: &[u32]) -> usize {
        workers.iter().filter(|worker| self.handlers.contains_key(worker)).count()
    }

    /// In how many of these workers the clean-up finished.
    pub(crate) fn cleaned(&self, workers: &[u32]) -> usize {
        workers.iter().filter(|worker| self.cleaned.contains_key(worker)).count()
    }

    /// In how many workers the handler ran more than once.
    pub(crate) fn repeated(&self) -> usize {
        self.handlers.values().filter(|count| **count > 1).count()
    }
}

#[cfg(test)]
mod tests {
    use super::ShutdownLog;

    #[test]
    fn handlers_and_clean_ups_are_counted_per_worker() {
        let log = ShutdownLog::parse("handler 7\nhandler 8\nclean 7\nhandler 8\nnoise\nclean x\n");
        assert_eq!(log.handlers(&[7, 8, 9]), 2);
        assert_eq!(log.cleaned(&[7, 8, 9]), 1);
        assert_eq!(log.handlers(&[9]), 0);
        assert_eq!(log.repeated(), 1);
        assert_eq!(ShutdownLog::parse(""), ShutdownLog::default());
    }
}
