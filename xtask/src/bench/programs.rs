//! The programs that are measured.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

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
    /// Workers that attack their primary.
    pub(crate) hostile: PathBuf,
    /// This program, which plays some parts itself.
    pub(crate) own: PathBuf,
}

/// How they are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// As they are shipped.
    Release,
    /// As the tests have built them already.
    Dev,
}

impl Profile {
    /// As an option of Cargo's.
    pub(crate) fn option(self) -> [&'static str; 2] {
        ["--profile", if self == Self::Release { "release" } else { "dev" }]
    }
}

/// Builds them.
pub(crate) fn build(profile: Profile) -> io::Result<()> {
    // With all of the workspace, as `cargo bench` has it: the same features, so nothing twice.
    let (bins, examples) = (["cluster", "xtask"], ["bench_http", "bench_tokio", "hostile"]);
    // The running program is not replaced: it starts itself again.
    let bins = bins.into_iter().filter(|name| profile == Profile::Release || *name != "xtask");
    let programs = bins.flat_map(|name| ["--bin", name]);
    let programs = programs.chain(examples.into_iter().flat_map(|name| ["--example", name]));
    step::run(step::cargo(["build", "--workspace"]).args(profile.option()).args(programs))
}

impl Programs {
    /// Those that [`build`] has built.
    pub(crate) fn built(profile: Profile) -> io::Result<Self> {
        Ok(match profile {
            Profile::Release => Self::within(&step::target_dir().join("release")),
            Profile::Dev => Self::beside_this()?,
        })
    }

    /// Those beside this program, which is one of them.
    pub(crate) fn beside_this() -> io::Result<Self> {
        let own = env::current_exe()?;
        let folder = own.parent().unwrap_or(Path::new("/"));
        Ok(Self::within(folder))
    }

    fn within(built: &Path) -> Self {
        Self {
            cluster: built.join("cluster"),
            http_worker: built.join("examples/bench_http"),
            tokio_worker: built.join("examples/bench_tokio"),
            hostile: built.join("examples/hostile"),
            own: built.join("xtask"),
        }
    }
}
