//! The Nodes to test with, and how to run a script under one.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::path::{Path, PathBuf};

use cluster_primary::Settings;

use crate::support::Folder;

pub(crate) fn nodes() -> Vec<PathBuf> {
    if let Some(nodes) = std::env::var_os("CLUSTER_TEST_NODES") {
        return std::env::split_paths(&nodes).collect();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join("node")).find(|n| n.is_file());
    if found.is_none() {
        println!("skipped: no node on the PATH, nor in CLUSTER_TEST_NODES");
    }
    found.into_iter().collect()
}

pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/js").join(name)
}

pub(crate) fn under(node: &Path, exec: PathBuf) -> Settings {
    let mut settings = Settings::new(exec);
    settings.exec_path = Some(node.to_owned());
    // Where a page's program asks for port 8000 it gets a free one.
    settings.exec_argv = vec!["--require".into(), script("free-port.cjs").into()];
    settings
}

/// A script of the test's own.
pub(crate) fn own(folder: &Folder, text: &str) -> PathBuf {
    let path = folder.0.join("worker.cjs");
    std::fs::write(&path, text).expect("a file");
    path
}
