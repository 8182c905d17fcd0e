//! The stages, with how long each took.

use std::fmt;
use std::time::Duration;

/// A stage that is over, or was not begun.
pub(super) struct Row {
    pub(super) stage: String,
    pub(super) result: Result,
    pub(super) took: Duration,
    /// Processor time; none if it is not known.
    pub(super) used: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Result {
    Passed,
    Failed,
    NotRun,
}

impl fmt::Display for Result {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Passed => "ok",
            Self::Failed => "FAILED",
            Self::NotRun => "not run",
        })
    }
}

/// All of them, in columns, and a last line with the sum of the processor time.
pub(super) struct Table<'a>(pub(super) &'a [Row]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<12} {:<8} {:>8} {:>11}", "stage", "result", "seconds", "CPU seconds")?;
        let mut sum = Duration::ZERO;
        for Row { stage, result, took, used } in self.0 {
            write!(f, "{stage:<12} {result:<8} {:>8}", took.as_secs())?;
            match used {
                Some(used) => writeln!(f, " {:>11}", used.as_secs())?,
                None => writeln!(f, " {:>11}", "-")?,
            }
            sum += used.unwrap_or_default();
        }
        writeln!(f, "{:<12} {:<8} {:>8} {:>11}", "all", "", "", sum.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_processor_time_is_summed() {
        let row = |stage: &str, result, took, used| Row {
            stage: stage.to_owned(),
            result,
            took: Duration::from_millis(took),
            used: Some(Duration::from_millis(used)),
        };
        let rows = [
            row("fmt", Result::Passed, 2_100, 3_600),
            row("tests", Result::Failed, 400_000, 600_500),
            Row { stage: "api".into(), result: Result::NotRun, took: Duration::ZERO, used: None },
        ];
        assert_eq!(
            Table(&rows).to_string(),
            "stage        result    seconds CPU seconds\n\
             fmt          ok              2           3\n\
             tests        FAILED        400         600\n\
             api          not run         0           -\n\
             all                                    604\n"
        );
    }
}
