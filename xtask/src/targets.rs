//! What cargo knows a workspace to hold.

use std::io;
use std::path::Path;

use serde_json::Value;

use crate::step;

/// The names of the targets of that kind (`bin`, `bench`, …), each once, sorted.
///
/// # Errors
/// If cargo cannot read the manifest.
pub(crate) fn of_kind(manifest: &Path, kind: &str) -> io::Result<Vec<String>> {
    let mut command =
        step::cargo(["metadata", "--no-deps", "--format-version=1", "--manifest-path"]);
    let output = command.arg(manifest).output();
    let output = output.map_err(|error| step::not_started(&command, &error))?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    Ok(names(&metadata, kind))
}

fn names(metadata: &Value, kind: &str) -> Vec<String> {
    let mut names: Vec<_> = list(&metadata["packages"])
        .flat_map(|package| list(&package["targets"]))
        .filter(|target| list(&target["kind"]).any(|its| its == kind))
        .filter_map(|target| target["name"].as_str().map(str::to_owned))
        .collect();
    names.sort();
    names.dedup();
    names
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    #[test]
    fn targets_are_found_by_kind() {
        let metadata = serde_json::json!({ "packages": [
            { "targets": [{ "kind": ["lib"], "name": "a" }, { "kind": ["bench"], "name": "z" }] },
            { "targets": [{ "kind": ["bench"], "name": "b" }, { "kind": ["bench"], "name": "z" }] },
        ]});
        assert_eq!(super::names(&metadata, "bench"), ["b", "z"]);
        assert!(super::names(&metadata, "bin").is_empty());
    }
}
