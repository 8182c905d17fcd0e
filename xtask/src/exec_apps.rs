//! `cargo xtask exec-apps`: packages from npm that have a primary half, under `cluster exec` and under `node`.
//!
//! Each program in `xtask/exec` prints what its packages have done. Output and status have to be the same.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::node::{self, Node};
use crate::step;
use crate::tally::Tally;

/// What the programs need, with the versions that they were written for.
const PACKAGES: [&str; 6] = [
    "prom-client@15",
    "socket.io@4",
    "socket.io-client@4",
    "@socket.io/cluster-adapter@0.3",
    "@socket.io/sticky@1",
    "throng@5",
];

const PROGRAMS: [&str; 3] = ["prom-client.cjs", "socket.io.cjs", "throng.cjs"];

/// Seconds that a program may take.
const LIMIT: &str = "60";

pub(crate) fn run() -> io::Result<ExitCode> {
    step::run(&mut step::cargo(["build", "--quiet", "--package", "cluster-cli"]))?;
    let tally = check()?;
    println!("{tally}");
    Ok(if tally.failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs every program under every Node, each as a test.
///
/// # Errors
/// If npm fails, or a program cannot be started.
pub(crate) fn check() -> io::Result<Tally> {
    let folder = install()?;
    let mut tally = Tally::default();
    for (node, program) in
        node::in_use(&[])?.iter().flat_map(|node| PROGRAMS.map(|program| (node, program)))
    {
        let (expected, ours) =
            (plain(node, &folder.join(program))?, exec(node, &folder.join(program))?);
        let same = expected == ours && ours.1 == Some(0);
        let shown = if same { "as under node" } else { "NOT as under node" };
        println!("Node {}, {program}: {shown}", node.version);
        if !same {
            println!("  node: {expected:?}\n  cluster exec: {ours:?}");
        }
        tally.add(&Tally { passed: u64::from(same), failed: u64::from(!same) });
    }
    Ok(tally)
}

/// The folder with the programs and their packages.
fn install() -> io::Result<PathBuf> {
    let folder = step::target_dir().join("exec-apps");
    fs::create_dir_all(&folder)?;
    for program in PROGRAMS {
        fs::copy(step::root().join("xtask/exec").join(program), folder.join(program))?;
    }
    let is_there = |spec: &str| {
        let at = spec.rfind('@').unwrap_or(spec.len());
        folder.join("node_modules").join(&spec[..at]).is_dir()
    };
    if !PACKAGES.into_iter().all(is_there) {
        let mut command = Command::new("npm");
        command.args(["install", "--prefix"]).arg(&folder).args(PACKAGES);
        command.args([
            "--no-save",
            "--no-audit",
            "--no-fund",
            "--prefer-offline",
            "--loglevel=error",
        ]);
        step::run(command.stdin(Stdio::null()))?;
    }
    Ok(folder)
}

fn plain(node: &Node, program: &Path) -> io::Result<(String, Option<i32>)> {
    ran(&[node.path.as_os_str(), program.as_os_str()])
}

fn exec(node: &Node, program: &Path) -> io::Result<(String, Option<i32>)> {
    let cluster = step::target_dir().join("debug/cluster");
    ran(&[
        cluster.as_os_str(),
        "exec".as_ref(),
        "--exec-path".as_ref(),
        node.path.as_os_str(),
        program.as_os_str(),
    ])
}

/// What it prints, and its status.
fn ran(words: &[&OsStr]) -> io::Result<(String, Option<i32>)> {
    let output = Command::new("timeout").arg(LIMIT).args(words).stdin(Stdio::null()).output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok((String::from_utf8_lossy(&text).into_owned(), output.status.code()))
}
