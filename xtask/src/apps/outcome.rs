//! The outcome of a trial, and what is wrong with it.

use std::process::ExitStatus;
use std::time::Duration;

use super::cluster::Seen;
use super::load::{Count, Tally};
use super::shutdown_log::ShutdownLog;

#[derive(Debug)]
pub(crate) struct Outcome {
    /// How long all reloads together took.
    pub(crate) reloading: Duration,
    /// How many workers these replaced.
    pub(crate) replaced: u32,
    pub(crate) tally: Tally,
    pub(crate) log: ShutdownLog,
    pub(crate) seen: Seen,
    pub(crate) status: ExitStatus,
}

impl Outcome {
    /// The mean duration of a reload per worker that it replaced.
    pub(crate) fn per_worker(&self) -> Duration {
        self.reloading / self.replaced.max(1)
    }

    /// In how many workers the handler ran, in how many the clean-up finished, and how many there were.
    pub(crate) fn shutdowns(&self) -> [usize; 3] {
        let workers = &self.seen.workers;
        [self.log.handlers(workers), self.log.cleaned(workers), workers.len()]
    }

    /// Everything that `--check` fails for.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (count, clients) in [(&self.tally.fresh, "fresh"), (&self.tally.kept, "kept")] {
            for (why, times) in &count.reasons {
                problems.push(format!("lost, {clients} connections: {times} × {why}"));
            }
            if count.answered == 0 {
                problems.push(format!("no request was answered on {clients} connections"));
            }
        }
        let [handlers, cleaned, workers] = self.shutdowns();
        if handlers < workers {
            problems.push(format!("the handler ran in {handlers} of {workers} workers"));
        }
        if cleaned < workers {
            problems.push(format!("the clean-up finished in {cleaned} of {workers} workers"));
        }
        if self.status.code() != Some(0) {
            problems.push(format!("cluster run ended with {}", self.status));
        }
        problems.extend(self.remarks());
        problems
    }

    /// Problems that have no column in the table.
    fn remarks(&self) -> Vec<String> {
        let (all, seen) = (self.seen.workers.len(), &self.seen);
        let counts = [
            (seen.late.len(), format!("of {all} workers reached the grace period")),
            (seen.killed, "killed (SIGKILL)".to_owned()),
            (seen.died, "died unasked".to_owned()),
            (self.log.repeated(), "ran their handler more than once".to_owned()),
            (seen.left_behind, "still run after the end".to_owned()),
            (self.tally.unclosed as usize, "clients not closed by the program".to_owned()),
        ];
        let some = counts.into_iter().filter(|(count, _)| *count > 0);
        some.map(|(count, what)| format!("{count} {what}")).collect()
    }

    pub(crate) fn notes(&self) -> String {
        let fallback = self.seen.fallback.as_ref().map(|instead| format!("fallback: {instead}"));
        self.remarks().into_iter().chain(fallback).collect::<Vec<_>>().join("; ")
    }
}

/// `7 of 1200 (3 retried)`
pub(crate) fn losses(count: &Count) -> String {
    let lost = count.lost();
    let retried = match count.retried {
        0 => String::new(),
        retried => format!(" ({retried} retried)"),
    };
    format!("{lost} of {}{retried}", count.answered + lost)
}

/// The installed version and the outcome, or why there is none.
pub(super) type Played = Result<(String, Outcome), String>;

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    /// Of two workers that are replaced once, and nothing is wrong.
    pub(in crate::apps) fn good() -> Outcome {
        let count = |answered| Count { answered, ..Count::default() };
        Outcome {
            reloading: Duration::from_millis(800),
            replaced: 2,
            tally: Tally { fresh: count(100), kept: count(200), unclosed: 0 },
            log: ShutdownLog::parse("handler 1\nclean 1\nhandler 2\nclean 2\n"),
            seen: Seen { workers: vec![1, 2], ready: 2, ..Seen::default() },
            status: ExitStatus::from_raw(0),
        }
    }

    #[test]
    fn a_good_outcome_has_no_problems() {
        assert_eq!(good().problems(), [""; 0]);
        assert_eq!(good().notes(), "");
        assert_eq!(good().per_worker(), Duration::from_millis(400));
        assert_eq!(losses(&good().tally.kept), "0 of 200");
        // A request that was sent again is not lost, and a fallback is only noted.
        let mut outcome = good();
        outcome.tally.kept.retried = 3;
        outcome.seen.fallback = Some("shared".to_owned());
        assert_eq!(outcome.problems(), [""; 0]);
        assert_eq!(outcome.notes(), "fallback: shared");
        assert_eq!(losses(&outcome.tally.kept), "0 of 200 (3 retried)");
    }

    #[test]
    fn each_fault_is_a_problem() {
        type Fault = fn(&mut Outcome);
        let faults: [(Fault, &str); 11] = [
            (|it| it.tally.fresh.reasons = [("refused".into(), 2)].into(), "2 × refused"),
            (|it| it.tally.kept.reasons = [("cut off".into(), 1)].into(), "kept"),
            (|it| it.tally.kept.answered = 0, "no request"),
            (|it| it.log = ShutdownLog::parse("handler 1\nclean 1\n"), "handler ran in 1 of 2"),
            (|it| it.log = ShutdownLog::parse("handler 1\nhandler 2\nclean 2\n"), "in 1 of 2"),
            (|it| it.log = ShutdownLog::parse(&"handler 1\nclean 1\n".repeat(2)), "more than once"),
            (|it| it.seen.late = [1].into(), "1 of 2 workers reached the grace period"),
            (|it| it.seen.died = 1, "1 died"),
            (|it| it.seen.left_behind = 1, "1 still run"),
            (|it| it.tally.unclosed = 1, "1 clients not closed"),
            (|it| it.status = ExitStatus::from_raw(3 << 8), "exit status: 3"),
        ];
        for (fault, problem) in faults {
            let mut outcome = good();
            fault(&mut outcome);
            let problems = outcome.problems();
            assert!(problems.iter().any(|it| it.contains(problem)), "{problems:?}");
        }
    }
}
