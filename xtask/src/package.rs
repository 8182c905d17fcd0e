//! `cargo xtask package`: each crate as it would be published, in the order of their dependencies.

use std::fs;
use std::io;
use std::process::{Command, ExitCode, Output, Stdio};

use serde::Deserialize;

use crate::step;

/// What every published crate must contain.
const FILES: [&str; 4] = ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    version: String,
    publish: Option<Vec<String>>,
    features: std::collections::BTreeMap<String, Vec<String>>,
}

impl Package {
    /// The folder that its package contains.
    fn folder(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }
}

pub(crate) fn run() -> io::Result<ExitCode> {
    let packages = published()?;
    for package in &packages {
        complete(&package.name)?;
    }
    check_packed(&packages)?;
    for package in &packages {
        each_feature(package)?;
    }
    println!("{} crates can be published", packages.len());
    Ok(ExitCode::SUCCESS)
}

/// Packs the crates, and checks each as it was packed, with those before it as they were packed. `cargo package` would do that
/// too, but compile each with all that it needs to the end; what a package lacks, a check finds as well.
fn check_packed(packages: &[Package]) -> io::Result<()> {
    let names = packages.iter().flat_map(|package| ["--package", package.name.as_str()]);
    let pack = ["package", "--quiet", "--allow-dirty", "--no-verify"];
    step::run(step::cargo(pack).args(names))?;
    let packed = step::target_dir().join("package");
    let folder = packed.join("checked");
    if folder.is_dir() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    for package in packages {
        let file = packed.join(format!("{}.crate", package.folder()));
        let mut tar = Command::new("tar");
        step::run(tar.arg("-xzf").arg(file).arg("-C").arg(&folder))?;
    }
    // The versions that everything else is tested with.
    fs::copy(step::root().join("Cargo.lock"), folder.join("Cargo.lock"))?;
    let manifest = folder.join("Cargo.toml");
    fs::write(&manifest, workspace_of(packages))?;
    for package in packages {
        let mut command = step::cargo(["check", "--quiet", "--package", &package.name]);
        command.arg("--manifest-path").arg(&manifest);
        step::run(command.env("CARGO_TARGET_DIR", step::target_dir()))?;
    }
    Ok(())
}

/// The manifest of a workspace in which the crates are those that stand in folders beside it.
fn workspace_of(packages: &[Package]) -> String {
    let folders: Vec<_> =
        packages.iter().map(|package| format!("{:?}", package.folder())).collect();
    let mut manifest =
        format!("[workspace]\nresolver = \"3\"\nmembers = [{}]\n", folders.join(", "));
    // As in this workspace, so that nothing they depend on is checked twice.
    manifest += "\n[profile.dev]\ndebug = \"line-tables-only\"\n";
    manifest += "\n[profile.dev.package.\"*\"]\ndebug = false\n";
    manifest += "\n[patch.crates-io]\n";
    for package in packages {
        manifest += &format!("{} = {{ path = {:?} }}\n", package.name, package.folder());
    }
    manifest
}

pub(crate) fn succeeded(what: &str, output: &Output) -> io::Result<()> {
    match output.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("{what}: {}", output.status))),
    }
}

/// The crates that are for publishing.
pub(crate) fn published() -> io::Result<Vec<Package>> {
    let asked = step::cargo(["metadata", "--no-deps", "--format-version=1"])
        .stderr(Stdio::inherit())
        .output()?;
    succeeded("cargo metadata", &asked)?;
    let metadata: Metadata = serde_json::from_slice(&asked.stdout)?;
    let published = metadata.packages.into_iter().filter(|package| package.publish.is_none());
    Ok(published.collect())
}

fn complete(name: &str) -> io::Result<()> {
    let list = ["package", "--quiet", "--allow-dirty", "--list", "--package", name];
    let listed = step::cargo(list).stderr(Stdio::inherit()).output()?;
    succeeded(&format!("cargo package --list --package {name}"), &listed)?;
    let listed = String::from_utf8_lossy(&listed.stdout);
    match FILES.iter().find(|file| !listed.lines().any(|line| line == **file)) {
        None => Ok(()),
        Some(file) => Err(io::Error::other(format!("the package {name} lacks {file}"))),
    }
}

/// The crate with none of its features, and with each alone: what one brings the others must not need.
fn each_feature(package: &Package) -> io::Result<()> {
    let names = package.features.keys().filter(|name| *name != "default");
    let alone = names.map(|name| vec!["--features", name.as_str()]);
    let mut combinations = vec![Vec::new()];
    combinations.extend(alone);
    if combinations.len() == 1 {
        // It was checked already.
        return Ok(());
    }
    for features in combinations {
        let lint = ["clippy", "--quiet", "--package", &package.name, "--no-default-features"];
        step::run(step::cargo(lint).args(features).args(["--", "-D", "warnings"]))?;
    }
    Ok(())
}
