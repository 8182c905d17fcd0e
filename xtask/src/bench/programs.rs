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
    /// Such a server on tokio.
    pub(crate) tokio_worker: PathBuf,
    /// This program, which plays some parts itself.
    pub(crate) own: PathBuf,
}

/// Builds them.
pub(crate) fn build() -> io::Result<()> {
    // With all of the workspace, as `cargo bench` has it: the same features, so nothing twice.
    let (bins, examples) = (["cluster", "xtask"], ["bench_http", "bench_tokio"]);
    let programs = bins.into_iter().flat_map(|name| ["--bin", name]);
    let programs = programs.chain(examples.into_iter().flat_map(|name| ["--example", name]));
    step::run(step::cargo(["build", "--release", "--workspace"]).args(programs))
}

impl Programs {
    pub(crate) fn built() -> Self {
        let built = step::target_dir().join("release");
        Self {
            cluster: built.join("cluster"),
            http_worker: built.join("examples/bench_http"),
            tokio_worker: built.join("examples/bench_tokio"),
            own: built.join("xtask"),
        }
    }
}
