//! The programs that are measured, built as they are shipped.

use std::io;
use std::path::PathBuf;

use crate::step;

/// Where they are.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// `cluster`
    pub(crate) cluster: PathBuf,
    /// A lean HTTP server on `cluster-worker`.
    pub(crate) http_worker: PathBuf,
    /// This program, which plays some parts itself.
    pub(crate) own: PathBuf,
}

/// Builds them.
pub(crate) fn build() -> io::Result<()> {
    // With all of the workspace, as `cargo bench` has it: the same features, so nothing twice.
    let programs = ["--bin", "cluster", "--bin", "xtask", "--example", "bench_http"];
    step::run(step::cargo(["build", "--release", "--workspace"]).args(programs))
}

impl Programs {
    pub(crate) fn built() -> Self {
        let built = step::target_dir().join("release");
        Self {
            cluster: built.join("cluster"),
            http_worker: built.join("examples/bench_http"),
            own: built.join("xtask"),
        }
    }
}
