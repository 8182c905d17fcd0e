//! An app's packages, installed from npm in a folder of its own for each major version of Node.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::catalog::App;
use crate::bench::peers::version_of_package;
use crate::node::Node;
use crate::step;

/// An app that can be run.
pub(crate) struct Installed {
    pub(crate) folder: PathBuf,
    /// The program, in that folder: Node looks for packages from there.
    pub(crate) program: PathBuf,
    /// Of the package that the app is about.
    pub(crate) version: String,
}

/// Installs what is not there yet.
///
/// # Errors
/// If npm cannot be run, or fails.
pub(crate) fn install(app: &App, node: &Node) -> io::Result<Installed> {
    let folder = step::target_dir().join("apps").join(node.major().to_string()).join(app.name);
    fs::create_dir_all(&folder)?;
    let program = folder.join(app.program);
    fs::copy(step::root().join("xtask/apps").join(app.program), &program)?;
    if !is_complete(app, node, &folder) {
        npm(app, node, &folder)?;
    }
    let version = match app.packages.first() {
        Some(package) => version(&folder, package.name)
            .ok_or_else(|| io::Error::other(format!("npm did not install {}", package.name)))?,
        None => node.version.clone(),
    };
    Ok(Installed { folder, program, version })
}

fn is_complete(app: &App, node: &Node, folder: &Path) -> bool {
    app.packages.iter().all(|package| {
        version(folder, package.name).is_some_and(|it| is_of(&it, package.version(node)))
    })
}

fn version(folder: &Path, package: &str) -> Option<String> {
    version_of_package(&folder.join("node_modules").join(package))
}

/// Whether a version begins with these components.
fn is_of(version: &str, leading: &str) -> bool {
    version.strip_prefix(leading).is_some_and(|rest| rest.starts_with('.'))
}

/// From whatever registry npm is configured for, with that Node: packages with native code are
/// compiled for it.
fn npm(app: &App, node: &Node, folder: &Path) -> io::Result<()> {
    let mut command = Command::new("npm");
    command.args(["install", "--prefix"]).arg(folder);
    command.args(["--no-save", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"]);
    let specs = app.packages.iter().map(|it| format!("{}@{}", it.name, it.version(node)));
    command.args(specs).stdin(Stdio::null());
    let found = node.path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = found.map(Path::to_owned).into_iter().chain(env::split_paths(&path));
    command.env("PATH", env::join_paths(folders).map_err(io::Error::other)?);
    step::run(&mut command)
}

#[cfg(test)]
mod tests {
    use super::is_of;

    #[test]
    fn a_version_is_compared_by_whole_components() {
        assert!(is_of("5.1.0", "5") && is_of("0.2.2", "0.2"));
        assert!(!is_of("50.1.0", "5") && !is_of("4.5.0", "5") && !is_of("0.20.0", "0.2"));
    }
}
