//! `cargo xtask node-tests DIR`: Node's own tests of cluster, unmodified, under `cluster exec`.
//!
//! DIR is a tree of Node's tests (`test/` of nodejs/node at the version of the Node that runs them, or a copy), with
//! `common` and `fixtures` in it. Each test runs under plain `node` first, which says whether it can pass here at all,
//! then under `cluster exec`. Other Nodes that a test starts are ours as well (`NODE_OPTIONS`). The primaries record how
//! many workers they had: a test that passes without any has shown nothing, and is called vacuous.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process_group, setrlimit};

use crate::node::{self, Node};
use crate::step;

/// Tests that cannot pass with a primary in another process, and why.
const ELSEWHERE: [(&str, &str); 2] = [
    ("test-cluster-accept-fail.js", "replaces TCP.prototype.accept of the primary's process"),
    (
        "test-cluster-net-listen-backlog.js",
        "replaces net.Server.prototype.listen of the primary's process",
    ),
];

/// Folders of tests; those of the second run alone.
const FOLDERS: [&str; 2] = ["parallel", "sequential"];

/// A test that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// Processes that a test may start. (Root is not bound by it; the time is limited as well.)
const PROCESSES: u64 = 4096;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder with `parallel`, `sequential`, `common` and `fixtures`
    #[arg(value_name = "DIR")]
    tests: PathBuf,
    /// The Node to run them with; may be repeated [default: those that CLUSTER_TEST_NODES names, else the one on PATH]
    #[arg(long, value_name = "PATH")]
    node: Vec<PathBuf>,
    /// Only tests whose names contain this
    #[arg(long, value_name = "TEXT", default_value = "cluster")]
    only: String,
    /// An option for `cluster exec`, such as --cluster-arg=--placement=kernel; may be repeated
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    cluster_arg: Vec<OsString>,
}

/// How a run of a test has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ran {
    Passed,
    Skipped,
    Failed(String),
}

/// What came of a test under `cluster exec`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Passed {
        workers: u64,
    },
    /// It forked no worker through our primary.
    Vacuous,
    Skipped,
    /// It does not pass under plain `node` either.
    ControlFailed,
    Elsewhere(&'static str),
    Failed(String),
}

pub(crate) fn run(args: &Args) -> io::Result<ExitCode> {
    step::run(&mut step::cargo(["build", "--quiet", "--package", "cluster-cli"]))?;
    let mut failed = 0;
    for node in node::in_use(&args.node)? {
        failed += with(&node, args)?;
    }
    Ok(if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs all tests with that Node; how many failed.
fn with(node: &Node, args: &Args) -> io::Result<usize> {
    let mut verdicts = BTreeMap::new();
    for folder in FOLDERS {
        let tests = tests(&args.tests.join(folder), &args.only)?;
        let jobs = match folder {
            "sequential" => 1,
            _ => thread::available_parallelism().map_or(1, usize::from),
        };
        let left = Mutex::new(tests.into_iter());
        let done = Mutex::new(&mut verdicts);
        thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    loop {
                        let next = left.lock().map(|mut left| left.next());
                        let Ok(Some(test)) = next else { break };
                        let verdict = judge(node, args, &test)
                            .unwrap_or_else(|error| Verdict::Failed(error.to_string()));
                        if let Ok(mut done) = done.lock() {
                            done.insert(name(&test), verdict);
                        }
                    }
                });
            }
        });
    }
    Ok(report(node, &verdicts))
}

fn name(test: &Path) -> String {
    test.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn tests(folder: &Path, only: &str) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|error| {
        io::Error::other(format!("{}: no tests of Node's: {error}", folder.display()))
    })?;
    let mut tests: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "js") && name(path).contains(only))
        .collect();
    tests.sort();
    Ok(tests)
}

fn judge(node: &Node, args: &Args, test: &Path) -> io::Result<Verdict> {
    let own = format!("node-tests-{}-{}", node.major(), name(test));
    let folder = env::temp_dir().join(own);
    fs::create_dir_all(&folder)?;
    let verdict = judge_in(&folder, node, args, test);
    fs::remove_dir_all(&folder)?;
    verdict
}

fn judge_in(folder: &Path, node: &Node, args: &Args, test: &Path) -> io::Result<Verdict> {
    let flags = flags(&fs::read_to_string(test)?);
    let mut plain = Command::new(&node.path);
    match ran(plain.args(&flags).arg(test), folder)? {
        Ran::Passed => {}
        Ran::Skipped => return Ok(Verdict::Skipped),
        Ran::Failed(_) => return Ok(Verdict::ControlFailed),
    }
    if let Some((_, why)) = ELSEWHERE.iter().find(|(other, _)| *other == name(test)) {
        return Ok(Verdict::Elsewhere(why));
    }
    let record = folder.join("record");
    let program = step::target_dir().join("debug/cluster");
    let exec = || {
        let mut command = Command::new(&program);
        command.arg("exec").args(&args.cluster_arg).arg("--record").arg(&record);
        command
    };
    // For the Nodes that the test starts itself.
    let preload = exec().arg("--preload").output()?;
    let preload = String::from_utf8_lossy(&preload.stdout).trim().to_owned();
    let mut ours = exec();
    ours.arg("--exec-path").arg(&node.path);
    ours.args(flags.iter().map(|flag| format!("--exec-arg={flag}"))).arg(test);
    ours.env("NODE_OPTIONS", format!("--require={preload}"));
    Ok(match ran(&mut ours, folder)? {
        Ran::Passed => match workers(&record) {
            0 => Verdict::Vacuous,
            workers => Verdict::Passed { workers },
        },
        Ran::Skipped => Verdict::Skipped,
        Ran::Failed(why) => Verdict::Failed(why),
    })
}

/// The options of Node's that a test asks for (`// Flags: …`).
fn flags(text: &str) -> Vec<String> {
    let line = text.lines().find_map(|line| line.strip_prefix("// Flags:"));
    line.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

/// How many workers primaries have recorded, once the last of them has ended.
fn workers(record: &Path) -> u64 {
    let deadline = now() + Duration::from_secs(2);
    loop {
        let text = fs::read_to_string(record).unwrap_or_default();
        let workers = text.lines().filter_map(|line| line.parse::<u64>().ok()).sum();
        if workers > 0 || now() > deadline {
            return workers;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn ran(command: &mut Command, folder: &Path) -> io::Result<Ran> {
    let limit = || {
        let limit = Rlimit { current: Some(PROCESSES), maximum: Some(PROCESSES) };
        // A limit that is lower already is as good.
        let _ = setrlimit(Resource::Nproc, limit);
        Ok(())
    };
    command.env("NODE_TEST_DIR", folder).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    // SAFETY: it makes a system call only.
    #[allow(unsafe_code, reason = "a limit is set in the child")]
    unsafe {
        command.pre_exec(limit);
    }
    let mut child = command.spawn()?;
    let mut streams = [
        child.stdout.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>),
        child.stderr.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>),
    ];
    let readers = streams.each_mut().map(|stream| {
        let stream = stream.take();
        thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut stream) = stream {
                let _ = stream.read_to_end(&mut bytes);
            }
            String::from_utf8_lossy(&bytes).into_owned()
        })
    });
    let deadline = now() + LIMIT;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if now() > deadline {
            break None;
        }
        thread::sleep(Duration::from_millis(5));
    };
    // Whatever it has left, also what would hold its output open.
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    child.wait()?;
    let [out, err] = readers.map(|reader| reader.join().unwrap_or_default());
    Ok(match status {
        Some(status) if status.success() && out.contains("# Skipped") => Ran::Skipped,
        Some(status) if status.success() => Ran::Passed,
        Some(status) => Ran::Failed(format!("{status}\n{out}{err}")),
        None => Ran::Failed(format!("it took longer than {LIMIT:?}\n{out}{err}")),
    })
}

#[allow(clippy::disallowed_methods, reason = "a limit on a test, which decides nothing else")]
fn now() -> Instant {
    Instant::now()
}

fn report(node: &Node, verdicts: &BTreeMap<String, Verdict>) -> usize {
    let count = |fits: fn(&Verdict) -> bool| verdicts.values().filter(|v| fits(v)).count();
    for (test, verdict) in verdicts {
        match verdict {
            Verdict::Passed { .. } => {}
            Verdict::Vacuous => println!("{test}: vacuous: no worker came to our primary"),
            Verdict::Skipped => println!("{test}: skipped, as under node"),
            Verdict::ControlFailed => println!("{test}: fails under plain node too"),
            Verdict::Elsewhere(why) => println!("{test}: {why}"),
            Verdict::Failed(why) => println!("{test}: FAILED: {why}"),
        }
    }
    let failed = count(|v| matches!(v, Verdict::Failed(_)));
    println!(
        "Node {}: {} tests: {} passed, {failed} failed, {} vacuous, {} skipped, {} fail under node, {} look into the \
         primary's process",
        node.version,
        verdicts.len(),
        count(|v| matches!(v, Verdict::Passed { .. })),
        count(|v| *v == Verdict::Vacuous),
        count(|v| *v == Verdict::Skipped),
        count(|v| *v == Verdict::ControlFailed),
        count(|v| matches!(v, Verdict::Elsewhere(_))),
    );
    failed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_from_their_line() {
        let text = "'use strict';\n// Flags: --expose-internals --no-warnings\n";
        assert_eq!(flags(text), ["--expose-internals", "--no-warnings"]);
        assert!(flags("'use strict';").is_empty());
    }

    #[test]
    fn a_run_is_judged_by_its_status_and_its_time() {
        let folder = env::temp_dir();
        let shell = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        };
        let judged = |script: &str| ran(&mut shell(script), &folder).expect("sh runs");
        assert_eq!(judged("exit 0"), Ran::Passed);
        assert_eq!(judged("echo '1..0 # Skipped: no'"), Ran::Skipped);
        assert!(matches!(judged("echo why; exit 3"), Ran::Failed(why) if why.contains("why")));
        // What it leaves behind does not hold up the others.
        assert_eq!(judged("sleep 1000 & exit 0"), Ran::Passed);
    }
}
