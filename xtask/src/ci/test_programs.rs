//! The tests of the workspace: one build of all their programs, several of which run at a time.
//!
//! `cargo test` runs one after the other, although most tests wait for processes that they have started.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde::Deserialize;

use super::board::{Board, Many};
use super::measured;
use crate::step;
use crate::tally::Tally;

/// The programs that take longest are started first: one that starts last keeps all others waiting.
const LONGEST: [&str; 7] = [
    "cluster-cli soak",
    "cluster-cli node_agent",
    "cluster-cli deaths",
    "cluster-cli reload",
    "cluster-cli runtimes",
    "cluster-cli control",
    "cluster-primary machine_state",
];

/// These run alone, after the others. In `slow_clients` the service closes a client's connection after 10 seconds, in which the
/// test has to send 40 MB. In `hostile_listeners` clients wait at a hostile worker for as long as the machine lets the
/// primary take to find it. In `hostile_messages` the primary's memory, which is limited, grows by what it has not handled yet.
const ALONE: [&str; 3] =
    ["cluster-cli slow_clients", "cluster-cli hostile_listeners", "cluster-cli hostile_messages"];

/// What a failed test printed is repeated at the end up to so many lines and characters.
const LINES_OF_A_FAILURE: usize = 12;
const LENGTH_OF_A_FAILURE: usize = 1500;

/// A program that Cargo has built from tests.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TestProgram {
    /// Of its package and its file: `cluster-cli soak`.
    name: String,
    package: String,
    /// Its source, from the folder of the package.
    source: PathBuf,
    folder: PathBuf,
    executable: PathBuf,
}

/// A line of `cargo build --message-format=json`.
#[derive(Deserialize)]
struct Message {
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    src_path: PathBuf,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Enough that they rarely leave a processor idle while they wait; what they do leave is for the stages that compile, and
/// more would only have tests wait for each other.
pub(super) fn default_jobs() -> usize {
    1 + thread::available_parallelism().map_or(1, usize::from)
}

/// Builds all tests, and all programs that they start; in one go, since what Cargo builds of a crate depends on what is built with it.
pub(super) fn build() -> io::Result<Vec<TestProgram>> {
    let mut command = step::cargo(["build", "--workspace", "--lib", "--tests", "--examples"]);
    command.args(["--bin", "cluster", "--bin", "example-*"]);
    command.args(["--message-format", "json-render-diagnostics"]).stdout(Stdio::piped());
    let shown = step::announce(&command);
    let mut child = command.spawn().map_err(|error| step::not_started(&command, &error))?;
    let mut programs = Vec::new();
    for line in BufReader::new(child.stdout.take().expect("stdout is piped above")).lines() {
        programs.extend(test_program(&line?)?);
    }
    let status = child.wait()?;
    if !status.success() {
        return Err(io::Error::other(format!("{shown}: {status}; why stands above")));
    }
    programs.sort_by_cached_key(|program| {
        let among = LONGEST.iter().position(|name| *name == program.name);
        (among.unwrap_or(LONGEST.len()), program.package != "cluster-cli", program.name.clone())
    });
    Ok(programs)
}

/// The program of tests that Cargo reports by this line, if it does.
fn test_program(message: &str) -> io::Result<Option<TestProgram>> {
    let Message {
        manifest_path: Some(manifest),
        target: Some(target),
        profile: Some(Profile { test: true }),
        executable: Some(executable),
    } = serde_json::from_str(message)?
    else {
        return Ok(None);
    };
    let folder = manifest.parent().unwrap_or(Path::new("/")).to_owned();
    let package = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let source = target.src_path.strip_prefix(&folder).unwrap_or(&target.src_path).to_owned();
    let name = format!("{package} {}", target.name);
    Ok(Some(TestProgram { name, package, source, folder, executable }))
}

/// Runs them all, so many at a time, and prints the output of each when it is over.
pub(super) fn run(board: &Board, programs: &[TestProgram], jobs: usize) -> Many {
    let sum = Mutex::new(Many { tally: Tally::default(), used: Some(Duration::ZERO) });
    let (alone, together) =
        programs.iter().partition(|program| ALONE.contains(&program.name.as_str()));
    side_by_side(board, together, jobs, &sum);
    side_by_side(board, alone, 1, &sum);
    sum.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn side_by_side(board: &Board, programs: VecDeque<&TestProgram>, jobs: usize, sum: &Mutex<Many>) {
    let waiting = Mutex::new(programs);
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(program) = next() {
                    let (tally, used) = one(board, program);
                    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                    sum.tally.add(&tally);
                    sum.used = sum.used.zip(used).map(|(sum, used)| sum + used);
                }
            });
        }
    });
}

fn one(board: &Board, program: &TestProgram) -> (Tally, Option<Duration>) {
    let TestProgram { name, package, source, .. } = program;
    let begun = board.begin(name);
    let log = board.log(&name.replace(' ', "."));
    let ended = start_and_wait(program, &log);
    board.end(name);
    let output = fs::read(&log).unwrap_or_default();
    let output = String::from_utf8_lossy(&output);
    let mut tally = Tally::default();
    output.lines().for_each(|line| tally.count(line));
    let (failure, used) = match ended {
        Ok((status, used)) if status.success() => (None, used),
        Ok((status, used)) => (Some(status.to_string()), used),
        Err(error) => (Some(error.to_string()), None),
    };
    let took = begun.elapsed().as_secs_f64();
    let cpu = used.unwrap_or_default().as_secs_f64();
    let source = source.display();
    board.print(&format!("\n--- {package}, {source} ({took:.1} s, {cpu:.1} s of CPU)\n{output}"));
    if let Some(failure) = failure {
        board.note_failure(format!("tests of {package}, {source}: {failure}"));
        failed_tests(&output).into_iter().for_each(|test| board.note_failure(test));
        // One that was ended by a signal has not counted its failure.
        tally.failed = tally.failed.max(1);
    }
    (tally, used)
}

/// The tests that this output reports as failed, each with what it printed; that is far above the end of CI's output,
/// and often the end is all that people see.
fn failed_tests(output: &str) -> Vec<String> {
    let headings = output.split("\n---- ").skip(1);
    let tests = headings.filter_map(|report| report.split_once(" stdout ----\n"));
    tests
        .map(|(name, printed)| {
            let printed = printed.split("\nfailures:\n").next().unwrap_or_default();
            let lines = printed.lines().filter(|line| !line.trim().is_empty());
            let text: Vec<_> = lines.take(LINES_OF_A_FAILURE).collect();
            let text: String = text.join("\n  ").chars().take(LENGTH_OF_A_FAILURE).collect();
            format!("{name}:\n  {text}")
        })
        .collect()
}

/// As `cargo test` would start it. Its output goes to a file: a process that it leaves behind would keep a pipe open.
fn start_and_wait(
    program: &TestProgram,
    log: &Path,
) -> io::Result<(std::process::ExitStatus, Option<Duration>)> {
    let output = File::create(log)?;
    let mut command = Command::new(&program.executable);
    command.current_dir(&program.folder).env("CARGO_MANIFEST_DIR", &program.folder);
    command.env("CARGO_PKG_NAME", &program.package).env(step::BUILT, "1");
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let mut child = command.spawn().map_err(|error| step::not_started(&command, &error))?;
    measured::wait(&mut child)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_tests_are_told_from_others() {
        let message = |test| {
            serde_json::json!({
                "reason": "compiler-artifact",
                "manifest_path": "/w/cluster-cli/Cargo.toml",
                "target": { "kind": ["test"], "name": "soak", "src_path": "/w/cluster-cli/tests/soak.rs" },
                "profile": { "test": test },
                "executable": "/w/target/debug/deps/soak-1",
            })
            .to_string()
        };
        let expected = TestProgram {
            name: "cluster-cli soak".into(),
            package: "cluster-cli".into(),
            source: "tests/soak.rs".into(),
            folder: "/w/cluster-cli".into(),
            executable: "/w/target/debug/deps/soak-1".into(),
        };
        assert_eq!(test_program(&message(true)).expect("JSON"), Some(expected));
        assert_eq!(test_program(&message(false)).expect("JSON"), None);
        let finished = r#"{"reason":"build-finished","success":true}"#;
        assert_eq!(test_program(finished).expect("JSON"), None);
    }

    #[test]
    fn failed_tests_are_named_with_what_they_printed() {
        let output = "running 2 tests\ntest a ... FAILED\ntest b ... FAILED\n\nfailures:\n\n\
                      ---- a stdout ----\n\nthread 'a' panicked at tests/x.rs:1:2:\n1 is not 2\n\n\
                      ---- b stdout ----\nno\n\n\nfailures:\n    a\n    b\n\ntest result: FAILED.";
        let expected = ["a:\n  thread 'a' panicked at tests/x.rs:1:2:\n  1 is not 2", "b:\n  no"];
        assert_eq!(failed_tests(output), expected);
        assert!(failed_tests("running 1 test\ntest a ... ok\n").is_empty());
    }

    #[test]
    fn programs_that_are_named_exist() {
        for name in LONGEST.into_iter().chain(ALONE) {
            let (package, file) = name.split_once(' ').expect("two words");
            let path = step::root().join(package).join("tests").join(file);
            let is_there = path.with_extension("rs").is_file() || path.join("main.rs").is_file();
            assert!(is_there, "{}", path.display());
        }
    }
}
