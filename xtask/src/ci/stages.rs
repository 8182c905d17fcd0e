//! The stages, and what each of them does.

use std::env;
use std::io;

use crate::tally::Tally;
use crate::{
    agent, api, apps, architecture, bench, compat, deny, exec_apps, fuzz, msrv, package, portable,
    step,
};

/// A check that does not depend on any other.
pub(super) struct Stage {
    pub(super) name: &'static str,
    /// The tests that it consists of, if any.
    pub(super) run: fn() -> io::Result<Tally>,
}

/// Those that compile, one after the other: two cargos would wait for each other's lock.
pub(super) const COMPILING: &[Stage] = &[
    Stage { name: "architecture", run: || checked(architecture::kept) },
    Stage { name: "deny", run: || checked(dependencies) },
    Stage { name: "clippy", run: || checked(linted) },
    Stage { name: "doc", run: || checked(documented) },
    Stage { name: "doctests", run: doctests },
    Stage { name: "api", run: || checked(api::unchanged) },
    Stage { name: "portable", run: || checked(|| portable::run().map(drop)) },
    Stage { name: "package", run: || checked(|| package::run().map(drop)) },
    Stage { name: "bench", run: || checked(bench::smoke) },
];

/// Those that compile in a folder of their own.
pub(super) const COMPILING_APART: &[Stage] = &[
    Stage { name: "fuzz", run: || checked(fuzz_smoke) },
    Stage { name: "msrv", run: || checked(oldest_rust) },
];

/// Those that run programs which are built already.
pub(super) const RUNNING: &[Stage] = &[Stage { name: "compat", run: compared }];

/// The same, but at the same time as those: Node's test runner and npm wait a lot.
pub(super) const RUNNING_TOO: &[Stage] = &[
    Stage { name: "agent", run: agents },
    Stage { name: "apps", run: real_programs },
    Stage { name: "exec-apps", run: primary_halves },
];

/// How long each fuzz target runs.
const SMOKE_SECONDS: u32 = 5;

/// How often Node and ours are compared.
const COMPARED: u32 = 2;

const DENY: [&str; 3] = ["--", "-D", "warnings"];

const FUZZ_MANIFEST: [&str; 2] = ["--manifest-path", "fuzz/Cargo.toml"];

impl Stage {
    /// # Errors
    /// If there is none of that name.
    pub(super) fn named(name: &str) -> io::Result<&'static Self> {
        let all = || [COMPILING, COMPILING_APART, RUNNING, RUNNING_TOO].into_iter().flatten();
        all().find(|stage| stage.name == name).ok_or_else(|| {
            let names: Vec<_> = all().map(|stage| stage.name).collect();
            let names = names.join(", ");
            io::Error::other(format!(
                "there is no stage {name}; there are fmt, build, tests, {names}"
            ))
        })
    }
}

/// A stage without tests of its own.
fn checked(check: impl FnOnce() -> io::Result<()>) -> io::Result<Tally> {
    check().map(|()| Tally::default())
}

/// The format of this workspace, of the fuzz targets and of the examples on other frameworks.
pub(super) fn formatted() -> io::Result<()> {
    step::run(&mut step::cargo(["fmt", "--all", "--check"]))?;
    step::run(step::cargo(["fmt", "--all"]).args(FUZZ_MANIFEST).arg("--check"))?;
    let frameworks = ["--manifest-path", "examples/frameworks/Cargo.toml"];
    step::run(step::cargo(["fmt"]).args(frameworks).arg("--check"))
}

fn linted() -> io::Result<()> {
    step::run(step::cargo(["clippy", "--workspace", "--all-targets"]).args(DENY))
}

fn documented() -> io::Result<()> {
    step::run(step::cargo(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
}

fn doctests() -> io::Result<Tally> {
    step::tests(&mut step::cargo(["test", "--workspace", "--doc", "--no-fail-fast"]))
}

/// The fuzz targets: linted, and each run for a moment.
fn fuzz_smoke() -> io::Result<()> {
    if !fuzz::is_available() {
        return no_excuse(
            "NOT FUZZED: there is no cargo-fuzz (`cargo install cargo-fuzz --locked`)",
        );
    }
    step::run(step::cargo(["clippy"]).args(FUZZ_MANIFEST).args(DENY))?;
    fuzz::run(&fuzz::Args::smoke(SMOKE_SECONDS)).map(drop)
}

/// The dependencies, by deny.toml, as far as that can be checked here.
fn dependencies() -> io::Result<()> {
    if let Some(lack) = deny::check()? {
        println!("{lack}");
    }
    Ok(())
}

/// The crates with the Rust version that they declare. Where that cannot be had, Clippy's `incompatible_msrv` is
/// what checks it.
fn oldest_rust() -> io::Result<()> {
    if let Some(lack) = msrv::check()? {
        println!("{lack}");
    }
    Ok(())
}

/// The agent's own tests.
fn agents() -> io::Result<Tally> {
    let tally = agent::test(&[])?;
    if tally.passed == 0 {
        no_excuse("AGENT NOT TESTED: there is no Node")?;
    }
    Ok(tally)
}

/// A few real packages, reloaded under load: each trial counts as a test.
fn real_programs() -> io::Result<Tally> {
    match apps::check(&["express", "nest", "ws", "http2", "undici"], 26) {
        Ok(tally) => Ok(tally),
        Err(error) => {
            no_excuse(&format!("REAL PROGRAMS NOT RUN: {error}")).map(|()| Tally::default())
        }
    }
}

/// Packages with a primary half, as under `node`: each program is a test.
fn primary_halves() -> io::Result<Tally> {
    match exec_apps::check() {
        Ok(tally) if tally != Tally::default() => Ok(tally),
        Ok(tally) => no_excuse("PRIMARY HALVES NOT RUN: there is no Node").map(|()| tally),
        Err(error) => {
            no_excuse(&format!("PRIMARY HALVES NOT RUN: {error}")).map(|()| Tally::default())
        }
    }
}

/// Node and ours, compared: each trace counts as a test.
fn compared() -> io::Result<Tally> {
    println!("==> cargo xtask compat --repeat {COMPARED}");
    let summary = compat::compare(&compat::Args::all(COMPARED))?;
    println!("{summary}");
    if summary.passed() == 0 {
        no_excuse("NOT COMPARED: there is no Node")?;
    }
    Ok(Tally { passed: summary.passed(), failed: summary.failed() })
}

/// Reports what could not be done. For CI that is a failure.
fn no_excuse(lack: &str) -> io::Result<()> {
    if env::var_os("CI").is_some_and(|ci| ci == "true") {
        return Err(io::Error::other(lack.to_owned()));
    }
    println!("!!! {lack}. CI would fail here.");
    Ok(())
}
