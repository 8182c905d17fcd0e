//! The Nodes to compare with.

use std::env;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A Node.js, and what it calls itself.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) path: PathBuf,
    /// `20.20.0`
    pub(crate) version: String,
}

impl Node {
    /// # Errors
    /// If there is none.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), version: version(path)? })
    }

    /// `20`
    pub(crate) fn major(&self) -> u32 {
        self.version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0)
    }
}

/// What a program that runs JavaScript calls itself: `20.20.0`.
///
/// # Errors
/// If there is none that says so.
pub(crate) fn version(path: &Path) -> io::Result<String> {
    let lack = |why: &dyn fmt::Display| {
        io::Error::other(format!(
            "{}: no Node that runs: {why} (--node PATH, or CLUSTER_TEST_NODES, names others)",
            path.display()
        ))
    };
    let output = Command::new(path).arg("--version").output().map_err(|e| lack(&e))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let version = said.trim();
    let version = version.strip_prefix('v').unwrap_or(version);
    match version.starts_with(|first: char| first.is_ascii_digit()) {
        true if output.status.success() => Ok(version.to_owned()),
        true => Err(lack(&output.status)),
        false => {
            let first = version.lines().next().unwrap_or_default();
            Err(lack(&format_args!("--version says {first:?} ({})", output.status)))
        }
    }
}

/// Those that were asked for, else those that `CLUSTER_TEST_NODES` names, else the one on `PATH`.
pub(crate) fn in_use(asked: &[PathBuf]) -> io::Result<Vec<Node>> {
    if !asked.is_empty() {
        return asked.iter().map(|path| Node::at(path)).collect();
    }
    if let Some(list) = env::var_os("CLUSTER_TEST_NODES") {
        return env::split_paths(&list).map(|path| Node::at(&path)).collect();
    }
    let found = Node::at("node".as_ref());
    if let Err(error) = &found {
        println!("!!! NOT COMPARED with Node: {error}");
    }
    Ok(found.into_iter().collect())
}
