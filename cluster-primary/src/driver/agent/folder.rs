//! The file that Node workers load the agent from.
//!
//! It must be there for as long as a worker lives, because Node's worker threads load it again. So its
//! folder is locked (systemd-tmpfiles leaves locked folders alone), and the primary looks after it: what
//! another cleaner has removed is made again. The folder is known by its descriptor: whatever else has
//! its name by now, another user's perhaps, is not used.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use serde::{Deserialize, Serialize};

use crate::agent::{BUN_SCRIPT, DENO_SCRIPT, SCRIPT};
use crate::upgrade::{Arriving, Leaving, StateError, text};

/// What folders' names begin with; the process id and a number follow.
const PREFIX: &str = "cluster-agent-";

/// Names that are tried before a place is given up.
const ATTEMPTS: u32 = 16;

/// What a worker loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum AgentFile {
    /// The agent.
    Node,
    /// What Bun loads instead.
    Bun,
    /// What Deno loads instead.
    Deno,
}

impl AgentFile {
    pub(in super::super) const ALL: [Self; 3] = [Self::Node, Self::Bun, Self::Deno];

    const fn text(self) -> &'static str {
        match self {
            Self::Node => SCRIPT,
            Self::Bun => BUN_SCRIPT,
            Self::Deno => DENO_SCRIPT,
        }
    }

    /// Named by the version: after an upgrade in place workers of both may need theirs.
    const fn name(self) -> &'static str {
        match self {
            Self::Node => concat!("agent-", env!("CARGO_PKG_VERSION"), ".cjs"),
            Self::Bun => concat!("bun-", env!("CARGO_PKG_VERSION"), ".cjs"),
            Self::Deno => concat!("deno-", env!("CARGO_PKG_VERSION"), ".cjs"),
        }
    }
}

/// A folder with the agent's files. It is removed with this.
#[derive(Debug)]
pub(in super::super) struct AgentFolder {
    path: PathBuf,
    lock: File,
    /// Another image of this process has it.
    kept: bool,
}

impl AgentFolder {
    /// Makes one that workers can read; `other_user`: they run as another user than this process.
    ///
    /// # Errors
    /// The last of the reasons why there is no place for it.
    pub(super) fn make(other_user: bool) -> io::Result<Self> {
        let mut failed = io::Error::from(io::ErrorKind::NotFound);
        for parent in candidates(other_user) {
            remove_abandoned(&parent);
            match Self::make_in(&parent) {
                Ok(folder) => return Ok(folder),
                Err(error) => {
                    failed = io::Error::new(error.kind(), format!("{}: {error}", parent.display()));
                }
            }
        }
        Err(failed)
    }

    fn make_in(parent: &Path) -> io::Result<Self> {
        let (mut number, pid) = (0, std::process::id());
        let path = loop {
            let path = parent.join(format!("{PREFIX}{pid}-{number}"));
            match DirBuilder::new().mode(0o755).create(&path) {
                Ok(()) => break path,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < ATTEMPTS => {
                    number += 1;
                }
                Err(error) => return Err(error),
            }
        };
        let lock = open_folder(&path).inspect_err(|_| drop(fs::remove_dir(&path)))?;
        let folder = Self { path, lock, kept: false };
        flock(&folder.lock, FlockOperation::NonBlockingLockShared)?;
        if !folder.is_intact() {
            // Another primary took it for an abandoned one before it was locked.
            return Err(io::ErrorKind::Interrupted.into());
        }
        // Whatever the process's umask is.
        folder.lock.set_permissions(Permissions::from_mode(0o755))?;
        AgentFile::ALL.into_iter().try_for_each(|file| folder.write(file))?;
        Ok(folder)
    }

    /// One of the files. If it or its folder has been removed it is made again; the path stays the same, as
    /// workers that run load it by that.
    ///
    /// # Errors
    /// If it cannot be made again: then another folder is needed.
    pub(in super::super) fn file(&mut self, file: AgentFile) -> io::Result<PathBuf> {
        if !self.is_intact() {
            // What another user has put there is an error.
            DirBuilder::new().mode(0o755).create(&self.path)?;
            let lock = open_folder(&self.path)?;
            flock(&lock, FlockOperation::NonBlockingLockShared)?;
            self.lock = lock;
            if !self.is_intact() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            self.lock.set_permissions(Permissions::from_mode(0o755))?;
        }
        // No other user can put a file into a folder of ours.
        let length = file.text().len() as u64;
        if fs::metadata(self.path(file)).is_ok_and(|found| found.len() == length) {
            return Ok(self.path(file));
        }
        self.write(file)?;
        Ok(self.path(file))
    }

    /// Whether the path still leads to the folder that this one has open, and it is this user's.
    fn is_intact(&self) -> bool {
        let (Ok(ours), Ok(found)) = (self.lock.metadata(), fs::symlink_metadata(&self.path)) else {
            return false;
        };
        found.is_dir()
            && (found.dev(), found.ino()) == (ours.dev(), ours.ino())
            && found.uid() == rustix::process::geteuid().as_raw()
    }

    fn path(&self, file: AgentFile) -> PathBuf {
        self.path.join(file.name())
    }

    fn write(&self, file: AgentFile) -> io::Result<()> {
        let path = self.path(file);
        // One that is not what it should be.
        let _ = fs::remove_file(&path);
        let mut written =
            OpenOptions::new().write(true).create_new(true).mode(0o444).open(&path)?;
        written.write_all(file.text().as_bytes())?;
        written.set_permissions(Permissions::from_mode(0o444))
    }

    /// Leaves it where it is.
    pub(in super::super) fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for AgentFolder {
    fn drop(&mut self) {
        if !self.kept && self.is_intact() {
            // What cannot be removed is removed by the next primary that comes here.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Opens a folder and nothing else, and does not wait for it.
fn open_folder(path: &Path) -> io::Result<File> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(open(path, flags, Mode::empty())?.into())
}

/// Where it may lie, the best place first.
fn candidates(other_user: bool) -> Vec<PathBuf> {
    let root = rustix::process::geteuid().is_root();
    let run = root.then(|| PathBuf::from("/run"));
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let own = own.filter(|path| !root && path.is_absolute());
    // A runtime folder of the user's goes when the user logs out, and a server may stay.
    let candidates = [run, Some(std::env::temp_dir()), own];
    let usable = |path: &PathBuf| path.is_dir() && (!other_user || others_may_enter(path));
    candidates.into_iter().flatten().filter(usable).collect()
}

/// Whether users of all kinds may reach what is in that folder.
fn others_may_enter(folder: &Path) -> bool {
    let enterable = |path: &Path| fs::metadata(path).is_ok_and(|found| found.mode() & 0o001 != 0);
    fs::canonicalize(folder).is_ok_and(|folder| folder.ancestors().all(enterable))
}

/// Removes folders of primaries of this user that were killed.
fn remove_abandoned(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    let ours = |name: &OsStr| name.to_str().is_some_and(|name| name.starts_with(PREFIX));
    for entry in entries.flatten().filter(|entry| ours(&entry.file_name())) {
        let is_ours = entry.metadata().is_ok_and(|found| {
            found.is_dir() && found.uid() == rustix::process::geteuid().as_raw()
        });
        if !is_ours {
            continue;
        }
        // Whatever else may stand there by now is not opened, and not waited for.
        let Ok(folder) = open_folder(&entry.path()) else { continue };
        // Its primary holds a lock for as long as it lives.
        if flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// An [`AgentFolder`], written down. Its descriptor goes along, and with it the lock.
#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) struct AgentFolderState {
    #[serde(with = "text::path")]
    path: PathBuf,
    lock: usize,
}

impl AgentFolder {
    pub(in super::super) fn state(
        &self,
        leaving: &mut Leaving,
    ) -> Result<AgentFolderState, StateError> {
        Ok(AgentFolderState { path: self.path.clone(), lock: leaving.place(&self.lock)? })
    }

    /// It is kept until [`own`](Self::own) is called: the state may yet be refused.
    pub(in super::super) fn from_state(
        state: AgentFolderState,
        arriving: &mut Arriving,
    ) -> Result<Self, StateError> {
        let lock = File::from(arriving.take(state.lock)?);
        Ok(Self { path: state.path, lock, kept: true })
    }

    pub(in super::super) fn own(&mut self) {
        self.kept = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_there_until_the_folder_goes() {
        let mut folder = AgentFolder::make(true).expect("there is a place");
        let file = folder.file(AgentFile::Node).expect("it is written");
        assert_eq!(fs::read_to_string(&file).expect("it can be read"), SCRIPT);
        assert_eq!(fs::metadata(&file).expect("it is there").mode() & 0o777, 0o444);
        assert!(others_may_enter(&folder.path));
        // As a cleaner of temporary files does it.
        fs::remove_dir_all(&folder.path).expect("it is ours");
        assert!(folder.file(AgentFile::Node).expect("it is written again").exists());
        let path = folder.path.clone();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn what_another_has_put_in_its_place_is_not_used() {
        let parent = std::env::temp_dir().join(format!("cluster-replaced-{}", std::process::id()));
        fs::create_dir(&parent).expect("a folder");
        let mut folder = AgentFolder::make_in(&parent).expect("a folder");
        let path = folder.path.clone();
        fs::remove_dir_all(&path).expect("it is ours");
        let other = parent.join("other");
        fs::create_dir(&other).expect("a folder");
        fs::write(
            other.join(folder.path(AgentFile::Node).file_name().expect("it has a name")),
            SCRIPT,
        )
        .expect("it is written");
        std::os::unix::fs::symlink(&other, &path).expect("a link");
        assert!(folder.file(AgentFile::Node).is_err());
        drop(folder);
        assert!(path.is_symlink() && other.exists(), "it removes only what is its own");
        fs::remove_dir_all(&parent).expect("it is ours");
    }

    #[test]
    fn what_a_killed_primary_left_is_removed() {
        let parent = std::env::temp_dir().join(format!("cluster-abandoned-{}", std::process::id()));
        fs::create_dir(&parent).expect("a folder");
        let mut killed = AgentFolder::make_in(&parent).expect("a folder");
        killed.keep();
        let left = killed.path.clone();
        drop(killed);
        let alive = AgentFolder::make_in(&parent).expect("a folder");
        remove_abandoned(&parent);
        assert!(!left.exists() && alive.path.exists());
        drop(alive);
        fs::remove_dir(&parent).expect("nothing stays in it");
    }
}
