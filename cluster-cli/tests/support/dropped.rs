//! Clusters of root's whose workers are another user's.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part of it")]

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::hostile::program;
use crate::support::{Folder, cluster};

/// The user and the group of the workers.
pub const WORKER: u32 = 65534;

/// Whether these tests can be run; it is printed if not.
pub fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("left out: only root has workers of another user");
    }
    root
}

/// A folder with the hostile program, which its workers can execute.
pub struct Stage {
    pub folder: Folder,
    pub program: PathBuf,
    /// The user and the group of the workers.
    pub user: u32,
}

impl Stage {
    pub fn new(name: &str) -> Self {
        let folder = Folder::new(name);
        open_to_all(&folder.0);
        let path = folder.0.join("hostile");
        copy(&program(), &path);
        Self { folder, program: path, user: WORKER }
    }

    /// A folder in it of the workers' own.
    pub fn own(&self, name: &str) -> PathBuf {
        let path = self.folder.0.join(name);
        std::fs::create_dir(&path).expect("a folder");
        chown(&path, Some(WORKER), Some(WORKER)).expect("root may");
        path
    }

    /// `cluster run` of two workers of that user: one serves, the other carries out that attack.
    pub fn run(&self, options: &[&str], attack: &str, arguments: &[&str]) -> Command {
        let mut command = cluster();
        command.args(["run", "-n", "2", "--ready", "online"]);
        // Attacks do not leave when they are asked to.
        let user = self.user.to_string();
        command.args(["--grace", "1s", "--uid", &user, "--gid", &user]).args(options);
        command.arg(&self.program).args([attack, "127.0.0.1:0"]).args(arguments);
        command
    }
}

pub fn open_to_all(path: &Path) {
    std::fs::set_permissions(path, Permissions::from_mode(0o755)).expect("it is ours");
}

/// Copies a program, by a process of its own: children that other tests start meanwhile would hold a file
/// open for writing that is open so here, and no such file can be executed.
pub fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg(from).arg(to).status().expect("it runs");
    assert!(copied.success());
    open_to_all(to);
}
