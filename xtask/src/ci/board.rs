//! What a run of CI keeps account of: the stages that are over, those that run, and what is printed.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::measured;
use super::stages::Stage;
use super::table::{Result as Outcome, Row, Table};
use crate::step;
use crate::tally::Tally;

/// After so long without it, what runs is reported.
const REPORT_EVERY: Duration = Duration::from_secs(120);

pub(super) struct Board {
    begun: Instant,
    /// Where the output of stages and test programs goes until it is printed.
    logs: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    rows: Vec<Row>,
    running: BTreeMap<String, Instant>,
    tally: Tally,
    failures: Vec<String>,
    /// No further stage is to be started.
    stopped: bool,
    done: bool,
}

/// What came of many programs together.
pub(super) struct Many {
    pub(super) tally: Tally,
    pub(super) used: Option<Duration>,
}

impl Board {
    pub(super) fn new() -> io::Result<Self> {
        let logs = step::target_dir().join("ci/logs");
        fs::create_dir_all(&logs)?;
        let (state, changed) = <_>::default();
        Ok(Self { begun: step::now(), logs, state, changed })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prints all of it together.
    pub(super) fn print(&self, text: &str) {
        let mut stdout = io::stdout().lock();
        // If stdout is gone, the exit status still tells.
        let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    }

    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// Runs a stage while nothing else runs, its output as it comes.
    pub(super) fn in_front<T>(
        &self,
        name: &str,
        run: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let (begun, before) = (step::now(), measured::of_children());
        let result = run();
        let used = measured::of_children().zip(before).map(|(now, before)| now - before);
        let passed = if result.is_ok() { Outcome::Passed } else { Outcome::Failed };
        self.over(name, passed, begun, used);
        result
    }

    /// Runs a stage that consists of many programs, which report by themselves.
    pub(super) fn many(&self, name: &str, run: impl FnOnce(&Self) -> Many) {
        let begun = self.begin(name);
        let Many { tally, used } = run(self);
        let passed = if tally.failed == 0 { Outcome::Passed } else { Outcome::Failed };
        self.count(&tally);
        self.over(name, passed, begun, used);
    }

    /// Runs a stage in a process of its own, unless one has failed; prints its output when it is over.
    pub(super) fn play(&self, stage: &Stage, nice: bool) {
        if self.state().stopped {
            let (stage, result) = (stage.name.to_owned(), Outcome::NotRun);
            let row = Row { stage, result, took: Duration::ZERO, used: None };
            self.state().rows.push(row);
            return;
        }
        let begun = self.begin(stage.name);
        let log = self.log(stage.name);
        let played = play(stage, nice, &log);
        let output = fs::read(&log).unwrap_or_default();
        let output = String::from_utf8_lossy(&output);
        let took = begun.elapsed().as_secs_f64();
        let (passed, used) = match played {
            Ok((succeeded, used)) => {
                let tally = output.lines().last().and_then(Tally::of_sum).unwrap_or_default();
                self.print(&format!("\n=== {} ({took:.1} s)\n{output}", stage.name));
                let passed = succeeded && tally.failed == 0;
                self.count(&tally);
                if !succeeded {
                    self.failed(format!("stage {}: its output stands above", stage.name));
                } else if !passed {
                    self.state()
                        .failures
                        .push(format!("stage {}: {} failed", stage.name, tally.failed));
                }
                (passed, used)
            }
            Err(error) => {
                self.failed(format!("stage {}: {error}", stage.name));
                (false, None)
            }
        };
        let result = if passed { Outcome::Passed } else { Outcome::Failed };
        self.over(stage.name, result, begun, used);
    }

    /// A stage that could not do its work is one failure, and ends the run.
    fn failed(&self, what: String) {
        let mut state = self.state();
        state.tally.failed += 1;
        state.stopped = true;
        state.failures.push(what);
    }

    pub(super) fn count(&self, tally: &Tally) {
        self.state().tally.add(tally);
    }

    /// Notes what failed, for the end.
    pub(super) fn note_failure(&self, what: String) {
        self.state().failures.push(what);
    }

    /// Notes that something runs.
    pub(super) fn begin(&self, name: &str) -> Instant {
        let begun = step::now();
        self.state().running.insert(name.to_owned(), begun);
        begun
    }

    /// Notes that it does not run any more.
    pub(super) fn end(&self, name: &str) {
        self.state().running.remove(name);
    }

    fn over(&self, stage: &str, result: Outcome, begun: Instant, used: Option<Duration>) {
        self.end(stage);
        let row = Row { stage: stage.to_owned(), result, took: begun.elapsed(), used };
        self.state().rows.push(row);
    }

    /// Nothing runs any more.
    pub(super) fn done(&self) {
        self.state().done = true;
        self.changed.notify_all();
    }

    /// Prints at intervals what is running, so that a stage that hangs can be seen.
    pub(super) fn reported_until_done(&self) {
        let mut state = self.state();
        while !state.done {
            let waited = self.changed.wait_timeout(state, REPORT_EVERY);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if !state.done {
                let running = state.running.iter();
                let running: Vec<_> = running
                    .map(|(name, begun)| format!("{name} ({} s)", begun.elapsed().as_secs()))
                    .collect();
                let after = self.begun.elapsed().as_secs() / 60;
                self.print(&format!("... after {after} min: {}\n", running.join(", ")));
            }
        }
    }

    /// Prints what failed, the stages and the sum of the tests.
    pub(super) fn conclude(self, outcome: io::Result<()>) -> ExitCode {
        let took = self.begun.elapsed().as_secs();
        let mut state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = outcome {
            state.failures.push(error.to_string());
            state.tally.failed += 1;
        }
        println!("\n{}", Table(&state.rows));
        state.failures.iter().for_each(|failure| println!("FAILED: {failure}"));
        println!("ci took {} min {} s", took / 60, took % 60);
        println!("{}", state.tally);
        if state.tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Whether it succeeded, and the processor time that it used.
fn play(stage: &Stage, nice: bool, log: &Path) -> io::Result<(bool, Option<Duration>)> {
    let output = File::create(log)?;
    let mut command = Command::new(env::current_exe()?);
    command.args(["ci-stage", stage.name]).args(nice.then_some("--nice"));
    command.env(step::BUILT, "1").stdin(Stdio::null());
    command.stdout(output.try_clone()?).stderr(output);
    let mut child = command.spawn().map_err(|error| step::not_started(&command, &error))?;
    let (status, used) = measured::wait(&mut child)?;
    Ok((status.success(), used))
}
