//! The others that do what `node:cluster` does, from npm.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::notes::Notes;
use crate::node::{self, Node};
use crate::step;

/// Where they are, as far as they are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peers {
    pub(crate) bun: Option<Bun>,
    pub(crate) pm2: Option<Pm2>,
}

#[derive(Clone, Debug)]
pub(crate) struct Bun {
    pub(crate) path: PathBuf,
    pub(crate) version: String,
}

/// Runs under any Node.
#[derive(Clone, Debug)]
pub(crate) struct Pm2 {
    pub(crate) script: PathBuf,
    pub(crate) version: String,
}

/// How long npm waits for an answer, in milliseconds, and how often it asks again.
const NPM_WAITS: [&str; 2] = ["--fetch-timeout=60000", "--fetch-retries=1"];

/// Those in a folder, into which they are installed first if they are not there.
pub(crate) fn find(folder: &Path, notes: &mut Notes) -> Peers {
    let mut peers = installed(folder);
    if peers.bun.is_none() || peers.pm2.is_none() {
        let why = match install(folder) {
            Err(error) => format!("npm could not install it: {error}"),
            Ok(()) => "it does not run here".to_owned(),
        };
        peers = installed(folder);
        for (name, is_there) in [("Bun", peers.bun.is_some()), ("PM2", peers.pm2.is_some())] {
            if !is_there {
                notes.left_out(name.to_owned(), why.clone());
            }
        }
    }
    peers
}

/// By name, from whatever registry npm is set to.
fn install(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut npm = Command::new("npm");
    // Whatever is said of it names no folder of this machine's.
    npm.current_dir(folder).args(["install", "--prefix", "."]);
    npm.args(["--no-save", "--no-audit", "--no-fund", "--loglevel=error"]).args(NPM_WAITS);
    step::run(npm.args(["bun", "pm2"]).stdin(Stdio::null()))
}

fn installed(folder: &Path) -> Peers {
    let modules = folder.join("node_modules");
    let pm2 = modules.join("pm2/bin/pm2");
    // Where npm runs no scripts of packages, `bun` stays a stub, and the program is in the package
    // of its platform.
    let bun = bun_candidates(&modules).into_iter().find_map(|path| {
        let version = node::version(&path).ok()?;
        Some(Bun { path, version })
    });
    let pm2 = version_of_package(&modules.join("pm2"))
        .filter(|_| pm2.is_file())
        .map(|version| Pm2 { script: pm2, version });
    Peers { bun, pm2 }
}

fn bun_candidates(modules: &Path) -> Vec<PathBuf> {
    let platforms = std::fs::read_dir(modules.join("@oven")).into_iter().flatten();
    let of_platforms = platforms.filter_map(|entry| Some(entry.ok()?.path().join("bin/bun")));
    [modules.join(".bin/bun")].into_iter().chain(of_platforms).collect()
}

/// The version of the package in a folder.
pub(crate) fn version_of_package(folder: &Path) -> Option<String> {
    let text = std::fs::read(folder.join("package.json")).ok()?;
    let package: serde_json::Value = serde_json::from_slice(&text).ok()?;
    package["version"].as_str().map(str::to_owned)
}

impl Bun {
    /// What to run its scripts with, as if it were a Node.
    pub(crate) fn as_node(&self) -> Node {
        Node { path: self.path.clone(), version: self.version.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::installed;

    #[test]
    fn an_empty_folder_has_no_peers() {
        let peers = installed("/nonexistent".as_ref());
        assert!(peers.bun.is_none() && peers.pm2.is_none());
    }
}
