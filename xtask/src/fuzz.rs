//! `cargo xtask fuzz`: each target for a while, from its committed seeds.

use std::fs;
use std::io;
use std::process::ExitCode;

use crate::{step, targets};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long to fuzz each target
    #[arg(long, value_name = "N", default_value_t = 10)]
    seconds: u32,
    /// What to fuzz [default: every target of fuzz/Cargo.toml]
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// Optimize little: a smoke test takes longer to build than to run
    #[arg(skip)]
    smoke: bool,
}

impl Args {
    /// Every target for that long.
    pub(crate) fn smoke(seconds: u32) -> Self {
        Self { seconds, targets: Vec::new(), smoke: true }
    }
}

pub(crate) fn run(args: &Args) -> io::Result<ExitCode> {
    if !is_available() {
        return Err(io::Error::other(
            "there is no cargo-fuzz: `cargo install cargo-fuzz --locked` (it needs a nightly Rust too)",
        ));
    }
    let known = targets::of_kind(&step::root().join("fuzz/Cargo.toml"), "bin")?;
    if let Some(unknown) = args.targets.iter().find(|target| !known.contains(target)) {
        return Err(io::Error::other(format!(
            "no fuzz target is called {unknown}; there are: {}",
            known.join(", ")
        )));
    }
    let wanted = if args.targets.is_empty() { &known } else { &args.targets };
    for target in wanted {
        one(target, args)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether this machine can fuzz.
pub(crate) fn is_available() -> bool {
    step::has_subcommand("fuzz")
}

/// Fuzzes one target; what is new goes to its corpus, not to the seeds.
fn one(target: &str, args: &Args) -> io::Result<()> {
    let seeds = format!("fuzz/seeds/{target}");
    let corpus = format!("fuzz/corpus/{target}");
    if !step::root().join(&seeds).is_dir() {
        return Err(io::Error::other(format!(
            "the target has no seeds: {seeds} is to hold some, for `cargo test` to play them again"
        )));
    }
    fs::create_dir_all(step::root().join(&corpus))?;
    let time = format!("-max_total_time={}", args.seconds);
    let mut command = step::cargo([
        "fuzz",
        "run",
        target,
        &corpus,
        &seeds,
        "--",
        &time,
        "-print_final_stats=1",
        "-print_funcs=0",
        "-verbosity=0",
    ]);
    if args.smoke {
        command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
    }
    step::run(&mut command)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::{step, targets};

    /// What `.cargo/config.toml` lets take unstable options is what the targets are built from.
    #[test]
    fn every_crate_under_a_target_may_take_the_sanitizers_option() {
        let named = env!("RUSTC_BOOTSTRAP");
        let named: BTreeSet<_> = named.split(',').map(str::to_owned).collect();

        let tree = step::cargo([
            "tree",
            "--locked",
            "--manifest-path",
            "fuzz/Cargo.toml",
            "--prefix",
            "none",
        ])
        .args(["--edges", "normal,no-proc-macro", "--format", "{lib}"])
        .output()
        .expect("cargo tree");
        assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
        let tree = String::from_utf8(tree.stdout).expect("names");
        // With a library, or empty for one without: the package of the targets themselves.
        let mut needed: BTreeSet<_> =
            tree.lines().map(|line| line.trim_end_matches(" (*)")).map(str::to_owned).collect();
        needed.remove("");
        let manifest = step::root().join("fuzz/Cargo.toml");
        needed.extend(targets::of_kind(&manifest, "bin").expect("the targets"));
        needed.insert("___".to_owned());

        assert_eq!(named, needed);
    }

    /// Of this workspace, the targets of the protocol are built from the crate of the protocol alone.
    #[test]
    fn ipc_frames_builds_only_what_it_needs() {
        let mut tree = step::cargo(["tree", "--locked", "--manifest-path", "fuzz/Cargo.toml"]);
        tree.args(["--package", "cluster-fuzz", "--edges", "normal,build", "--prefix", "none"]);
        let tree = tree.args(["--format", "{lib}"]).output().expect("cargo tree");
        assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
        let tree = String::from_utf8(tree.stdout).expect("names");
        let ours: BTreeSet<_> = tree
            .lines()
            .map(|line| line.trim_end_matches(" (*)"))
            .filter(|name| name.starts_with("cluster_"))
            .collect();
        assert_eq!(ours, BTreeSet::from(["cluster_proto"]));
        let targets = targets::of_kind(&step::root().join("fuzz/Cargo.toml"), "bin");
        assert!(targets.expect("the targets").iter().any(|target| target == "ipc_frames"));
    }
}
