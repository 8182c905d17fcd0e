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
        let lack = |why: &dyn fmt::Display| {
            io::Error::other(format!("{}: no Node that runs: {why}", path.display()))
        };
        let output = Command::new(path).arg("--version").output().map_err(|e| lack(&e))?;
        let said = String::from_utf8_lossy(&output.stdout);
        match said.trim().strip_prefix('v') {
            Some(version) if output.status.success() => {
                Ok(Self { path: path.to_owned(), version: version.to_owned() })
            }
            _ => Err(lack(&output.status)),
        }
    }

    /// `20`
    pub(crate) fn major(&self) -> u32 {
        self.version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0)
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
