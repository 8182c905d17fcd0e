//! `cargo xtask package`: each crate as it would be published, in the order of their dependencies.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{ExitCode, Output, Stdio};

use serde::Deserialize;

use crate::step;

/// What everybody who gets a crate must find in it.
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

pub(crate) fn run() -> io::Result<ExitCode> {
    let packages = published()?;
    for package in &packages {
        complete(&package.name)?;
    }
    let names = packages.iter().flat_map(|package| ["--package", package.name.as_str()]);
    // Each is built from what was packed, with those before it as they were packed.
    forget_packed(&packages)?;
    let mut command = step::cargo(["package", "--quiet", "--allow-dirty"]);
    step::run(command.args(names))?;
    for package in &packages {
        each_feature(package)?;
    }
    println!("{} crates can be published", packages.len());
    Ok(ExitCode::SUCCESS)
}

/// Removes what cargo has unpacked of earlier ones. It goes by version, which is the same until one is
/// released, and would build the next crate with the sources of some time before.
fn forget_packed(packages: &[Package]) -> io::Result<()> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let Some(sources) = home.map(|home| home.join("registry/src")).filter(|dir| dir.is_dir())
    else {
        return Ok(());
    };
    // The folder of a registry is called by its host, and that of packed crates has none.
    for registry in sources.read_dir()?.flatten() {
        if registry.file_name().as_encoded_bytes().starts_with(b"-") {
            for Package { name, version, .. } in packages {
                let unpacked = registry.path().join(format!("{name}-{version}"));
                match fs::remove_dir_all(&unpacked) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
    }
    Ok(())
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
        // It was built already.
        return Ok(());
    }
    for features in combinations {
        let lint = ["clippy", "--quiet", "--package", &package.name, "--no-default-features"];
        step::run(step::cargo(lint).args(features).args(["--", "-D", "warnings"]))?;
    }
    Ok(())
}
