//! The folder that the cluster was started in, by its name.
//!
//! A process stays in the folder itself: when its name comes to stand for another one (the link `current`
//! of a deployment is switched to a new release, or the folder is removed and created again), the process is
//! still in the old one. A reload follows the name.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::hex::Hex;

/// An absolute path; none if the folder had been removed before the start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directory(Option<PathBuf>);

impl Directory {
    /// This process's, by the name that the shell has for it, else by its own.
    pub(crate) fn of_process() -> Self {
        let logical = std::env::var_os("PWD").map(PathBuf::from);
        let logical = logical.filter(|path| path.is_absolute() && is_here(path));
        Self(logical.or_else(|| std::env::current_dir().ok()))
    }

    /// For the next image of this program.
    pub(crate) fn handed(&self) -> Option<Hex> {
        self.0.as_ref().map(Hex::of)
    }

    /// What the image before this one knew; where it was an older version, what is known now.
    pub(crate) fn take_up(handed: Option<&Hex>) -> Self {
        match handed.map(Hex::bytes) {
            Some(Ok(path)) => Self(Some(path.into())),
            _ => Self::of_process(),
        }
    }

    /// The folder that the name stands for now, if it is not the one that the process is in. Its path has no
    /// links: until the next reload a worker that dies is replaced by one of the same release.
    pub(crate) fn moved(&self) -> Option<PathBuf> {
        let name = self.0.as_deref()?;
        let found = std::fs::canonicalize(name).ok()?;
        (found.is_dir() && !is_here(&found)).then_some(found)
    }
}

fn is_here(path: &Path) -> bool {
    let same = |a: &Metadata, b: &Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    match (std::fs::metadata(path), std::fs::metadata(".")) {
        (Ok(there), Ok(here)) => same(&there, &here),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_stands_for_another_folder_is_followed() {
        let here = std::env::current_dir().expect("there is one");
        assert_eq!(Directory(Some(here)).moved(), None);
        let elsewhere = Directory(Some("/".into()));
        assert_eq!(elsewhere.moved().as_deref(), Some(Path::new("/")));
        let gone = Directory(Some("/nowhere/at/all".into()));
        assert_eq!(gone.moved(), None);
        assert_eq!(Directory::default().moved(), None);
        let taken_up = Directory::take_up(elsewhere.handed().as_ref());
        assert_eq!(taken_up.0, elsewhere.0);
    }
}
