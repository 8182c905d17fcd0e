//! Licences, sources and duplicate versions of all dependencies, and known advisories about them, by `deny.toml`:
//! what `cargo deny` checks.

use std::io;
use std::process::Stdio;

use crate::step;

/// Checks; or says what could not be checked, and why.
pub(crate) fn check() -> io::Result<Option<String>> {
    if !step::has_subcommand("deny") {
        return Ok(Some(
            "DEPENDENCIES NOT CHECKED by deny.toml: `cargo install cargo-deny --locked`".into(),
        ));
    }
    // What is only a warning is for people who look after the dependencies.
    let warnings = ["--allow", "duplicate", "--hide-inclusion-graph"];
    step::run(step::cargo(["deny", "check"]).args(warnings).args(["bans", "licenses", "sources"]))?;
    // The advisories are a repository, which cannot be had everywhere.
    let fetched = step::cargo(["deny", "fetch", "db"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !fetched {
        return Ok(Some("ADVISORIES NOT CHECKED: their database cannot be fetched".into()));
    }
    step::run(&mut step::cargo(["deny", "check", "--disable-fetch", "advisories"]))?;
    Ok(None)
}
