//! `cargo xtask agent`: the tests of the worker agent (`node/test`), by Node's own test runner, on each
//! Node that the agent is for.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::thread;

use crate::node::{self, Node};
use crate::step;
use crate::tally::Tally;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A Node.js to test with; may be given several times [default: those that
    /// CLUSTER_TEST_AGENT_NODES names, else CLUSTER_TEST_NODES, else the one on PATH]
    #[arg(long, value_name = "PATH")]
    node: Vec<PathBuf>,
}

pub(crate) fn run(args: &Args) -> io::Result<ExitCode> {
    let tally = test(&args.node)?;
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The agent's tests on each of those Nodes, counted. One that ends without having counted anything
/// has failed.
pub(crate) fn test(asked: &[PathBuf]) -> io::Result<Tally> {
    let mut tally = Tally::default();
    for node in nodes(asked)? {
        let begun = step::now();
        let one = test_with(&node)?;
        let Tally { passed, failed } = one;
        let took = begun.elapsed().as_secs_f64();
        println!("    Node {}: {passed} passed, {failed} failed; took {took:.1} s", node.version);
        tally.passed += passed;
        tally.failed += failed;
    }
    Ok(tally)
}

fn nodes(asked: &[PathBuf]) -> io::Result<Vec<Node>> {
    match env::var_os("CLUSTER_TEST_AGENT_NODES") {
        Some(list) if asked.is_empty() => {
            env::split_paths(&list).map(|path| Node::at(&path)).collect()
        }
        _ => node::in_use(asked),
    }
}

fn test_with(node: &Node) -> io::Result<Tally> {
    let folder = step::root().join("node/test");
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(".test.cjs") {
            files.push(path);
        }
    }
    files.sort();
    let mut command = Command::new(&node.path);
    // Files by their names: what a folder means to --test differs between versions.
    // By default it leaves one processor idle, of two half.
    let files_at_once = 2 * thread::available_parallelism().map_or(1, usize::from);
    command.args(["--test", "--test-reporter=tap"]);
    command
        .arg(format!("--test-concurrency={files_at_once}"))
        .args(files)
        .current_dir(step::root());
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    step::announce(&command);
    let mut child = command.spawn().map_err(|error| step::not_started(&command, &error))?;
    let output = child.stdout.take().expect("stdout is piped above");
    let mut tally = Tally::default();
    for line in BufReader::new(output).lines() {
        let line = line?;
        // What is inside of a failed test says why; of one that passed it is of no interest.
        if line.contains("not ok ") || tally_line(&line, &mut tally) || !line.starts_with(' ') {
            println!("{line}");
        }
    }
    if !child.wait()?.success() && tally.failed == 0 {
        tally.failed += 1;
    }
    Ok(tally)
}

/// `# pass 12`, `# fail 0`
fn tally_line(line: &str, tally: &mut Tally) -> bool {
    let count = |name| line.strip_prefix(name).and_then(|number| number.trim().parse::<u64>().ok());
    if let Some(passed) = count("# pass ") {
        tally.passed += passed;
    } else if let Some(failed) = count("# fail ") {
        tally.failed += failed;
    } else {
        return false;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nodes_runner_counts_is_counted() {
        let mut tally = Tally::default();
        for line in ["# tests 14", "# pass 12", "# fail 2", "# pass x", "ok 1 - # pass 3"] {
            tally_line(line, &mut tally);
        }
        assert_eq!(tally, Tally { passed: 12, failed: 2 });
    }
}
