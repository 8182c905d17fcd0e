//! `cargo xtask ci`: what CI runs, in order. The first step that fails ends it.
//!
//! The tests come last, and after them their sum, because whoever runs CI reads its last lines.

use std::env;
use std::io::{self, BufRead, BufReader};
use std::process::{ExitCode, Stdio};

use crate::tally::Tally;
use crate::{agent, api, apps, bench, compat, fuzz, package, portable, step};

/// How long each fuzz target runs.
const SMOKE_SECONDS: u32 = 5;

/// How often Node and ours are compared.
const COMPARED: u32 = 2;

const DENY: [&str; 3] = ["--", "-D", "warnings"];

pub(crate) fn run() -> io::Result<ExitCode> {
    let begun = step::now();
    step::run(&mut step::cargo(["fmt", "--all", "--check"]))?;
    step::run(step::cargo(["clippy", "--workspace", "--all-targets"]).args(DENY))?;
    step::run(step::cargo(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    portable::run()?;
    package::run()?;
    api::unchanged()?;
    fuzz_smoke()?;
    bench::smoke()?;
    let mut outcome = tests()?;
    agents(&mut outcome)?;
    real_programs(&mut outcome)?;
    compared(&mut outcome)?;
    let took = begun.elapsed().as_secs();
    println!("ci took {} min {} s", took / 60, took % 60);
    println!("{} passed, {} failed", outcome.tally.passed, outcome.tally.failed);
    Ok(if outcome.succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The fuzz workspace: its style, and each target for a moment.
fn fuzz_smoke() -> io::Result<()> {
    const MANIFEST: [&str; 2] = ["--manifest-path", "fuzz/Cargo.toml"];
    step::run(step::cargo(["fmt", "--all"]).args(MANIFEST).arg("--check"))?;
    if !fuzz::is_available() {
        return no_excuse(
            "NOT FUZZED: there is no cargo-fuzz (`cargo install cargo-fuzz --locked`)",
        );
    }
    step::run(step::cargo(["clippy"]).args(MANIFEST).args(DENY))?;
    fuzz::run(&fuzz::Args::all(SMOKE_SECONDS)).map(drop)
}

/// The agent's own tests.
fn agents(outcome: &mut Tested) -> io::Result<()> {
    let tally = agent::test(&[])?;
    if tally.passed == 0 {
        no_excuse("AGENT NOT TESTED: there is no Node")?;
    }
    outcome.tally.passed += tally.passed;
    outcome.tally.failed += tally.failed;
    outcome.succeeded &= tally.failed == 0;
    Ok(())
}

/// A few real packages, reloaded under load: each trial counts as a test.
fn real_programs(outcome: &mut Tested) -> io::Result<()> {
    let tally = match apps::check(&["express", "nest", "ws", "http2", "undici"], 26) {
        Ok(tally) => tally,
        Err(error) => return no_excuse(&format!("REAL PROGRAMS NOT RUN: {error}")),
    };
    outcome.tally.passed += tally.passed;
    outcome.tally.failed += tally.failed;
    outcome.succeeded &= tally.failed == 0;
    Ok(())
}

/// Node and ours, compared: each trace counts as a test.
fn compared(outcome: &mut Tested) -> io::Result<()> {
    println!("==> cargo xtask compat --repeat {COMPARED}");
    let begun = step::now();
    let summary = compat::compare(&compat::Args::all(COMPARED))?;
    println!("{summary}");
    println!("    took {:.1} s", begun.elapsed().as_secs_f64());
    if summary.passed() == 0 {
        no_excuse("NOT COMPARED: there is no Node")?;
    }
    outcome.tally.passed += summary.passed();
    outcome.tally.failed += summary.failed();
    outcome.succeeded &= summary.failed() == 0;
    Ok(())
}

/// Says what could not be done. For CI that is a failure.
fn no_excuse(lack: &str) -> io::Result<()> {
    if env::var_os("CI").is_some_and(|ci| ci == "true") {
        return Err(io::Error::other(lack.to_owned()));
    }
    println!("!!! {lack}. CI would fail here.");
    Ok(())
}

struct Tested {
    tally: Tally,
    succeeded: bool,
}

/// `cargo test`, all of it even if some fail, passed on and counted.
fn tests() -> io::Result<Tested> {
    let mut command = step::cargo(["test", "--workspace", "--no-fail-fast"]);
    step::announce(&command);
    let spawned = command.stdout(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|error| step::not_started(&command, &error))?;
    let output = child.stdout.take().expect("stdout is piped above");
    let mut tally = Tally::default();
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        tally.count(&line);
    }
    Ok(Tested { tally, succeeded: child.wait()?.success() })
}
