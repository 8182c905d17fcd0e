//! `cargo xtask api`: what each crate promises to its users, compared with what was written down.
//!
//! The lists stand in each crate's `public-api.txt`: a change of the public API is a change of that file, for
//! its reviewer, and its list of removed lines is what a new version would break.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use crate::step;

const CRATES: [&str; 7] = [
    "cluster-proto",
    "cluster-ipc",
    "cluster-sched",
    "cluster-primary",
    "cluster-supervisor",
    "cluster-control",
    "cluster-worker",
];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write the lists again
    #[arg(long)]
    write: bool,
}

pub(crate) fn run(args: &Args) -> io::Result<ExitCode> {
    describe()?;
    let mut changed = false;
    for name in CRATES {
        let now = listed(name)?;
        let path = step::root().join(name).join("public-api.txt");
        if args.write {
            fs::write(&path, now)?;
            continue;
        }
        let before = fs::read_to_string(&path).unwrap_or_default();
        changed |= report_changes(name, &before, &now);
    }
    if changed {
        println!("the public API has changed: if that is meant, `cargo xtask api --write`");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// As a step of CI.
pub(crate) fn unchanged() -> io::Result<()> {
    match run(&Args { write: false })? {
        ExitCode::SUCCESS => Ok(()),
        _ => Err(io::Error::other("the public API is not what public-api.txt says")),
    }
}

/// The crate's public items, a line each.
fn listed(name: &str) -> io::Result<String> {
    let file = Path::new("doc").join(name.replace('-', "_")).with_extension("json");
    let json = step::target_dir().join(file);
    let api = public_api::Builder::from_rustdoc_json(&json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build();
    // It says itself which version of the format it reads, and which it was given.
    let api = api.map_err(|error| {
        io::Error::other(format!("rustdoc's description of {name} cannot be read: {error}"))
    })?;
    Ok(api.to_string())
}

/// A crate with features that are no part of its promise, and those that are.
const PARTLY_PROMISED: (&str, &str) = ("cluster-primary", "tokio");

/// Has rustdoc describe the crates with all the features that are part of their promise. Stable's may do that for them alone, by `RUSTC_BOOTSTRAP` in
/// `.cargo/config.toml`; set here to more, it would have build scripts ask for other things, and everything built again.
fn describe() -> io::Result<()> {
    let all = CRATES.into_iter().filter(|name| *name != PARTLY_PROMISED.0);
    describe_with(all, &["--all-features"])?;
    let (name, features) = PARTLY_PROMISED;
    describe_with([name], &["--features", features])
}

fn describe_with(
    crates: impl IntoIterator<Item = &'static str>,
    features: &[&str],
) -> io::Result<()> {
    let mut command = step::cargo(["doc", "--quiet", "--no-deps", "--lib"]);
    command.args(crates.into_iter().flat_map(|name| ["--package", name])).args(features);
    let flags = "-Z unstable-options --output-format json --cap-lints allow";
    step::run(command.env("RUSTDOCFLAGS", flags))
}

/// Says what is in one and not in the other; whether there is anything.
fn report_changes(name: &str, before: &str, now: &str) -> bool {
    let (before, now): (BTreeSet<_>, BTreeSet<_>) =
        (before.lines().collect(), now.lines().collect());
    for gone in before.difference(&now) {
        println!("{name}: - {gone}");
    }
    for added in now.difference(&before) {
        println!("{name}: + {added}");
    }
    before != now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_and_what_is_new_are_changes() {
        assert!(!report_changes("a", "pub fn a\npub fn b\n", "pub fn a\npub fn b\n"));
        assert!(report_changes("a", "pub fn a\npub fn b\n", "pub fn a\n"));
        assert!(report_changes("a", "pub fn a\n", "pub fn a\npub fn b\n"));
    }
}
