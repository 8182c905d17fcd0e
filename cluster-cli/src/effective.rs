//! The options in effect: those of the command line over those of the file.

use std::fmt;
use std::path::Path;

use crate::args::Run;
use crate::config::{ConfigError, Conflict, Resolved};
use crate::folder;

impl Run {
    /// The options in force: those of the command line over those of the file that it names, as that
    /// is now. Relative paths are seen from the folder that the cluster was started in, which is
    /// [looked up](crate::directory) by its name each time.
    ///
    /// # Errors
    /// [`OptionsError`], if there is no such file, something is wrong with it, or the options do not
    /// go together.
    pub(crate) fn read(&self) -> Result<Resolved, OptionsError> {
        let moved = self.directory.moved();
        let seen = |path: &Path| match &moved {
            Some(folder) => folder.join(path),
            None => path.to_owned(),
        };
        let mut given = self.options.clone();
        given.cwd = given.cwd.as_deref().map(seen);
        let mut options = match &self.config {
            Some(path) => given.over_file(&seen(path)).map_err(OptionsError::File)?,
            None => given,
        };
        options.cwd = options.cwd.or(moved);
        folder::run_by_node(&mut options).map_err(OptionsError::Folder)?;
        options.resolve().map_err(OptionsError::Conflict)
    }
}

/// The options cannot be followed.
#[derive(Debug)]
#[non_exhaustive]
pub(crate) enum OptionsError {
    /// Something is wrong with the file.
    File(ConfigError),
    /// They do not go together.
    Conflict(Conflict),
    /// The program is a folder that Node would not run.
    Folder(String),
}

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::Conflict(conflict) => conflict.fmt(f),
            Self::Folder(error) => f.write_str(error),
        }
    }
}

impl std::error::Error for OptionsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File(error) => Some(error),
            Self::Conflict(conflict) => Some(conflict),
            Self::Folder(_) => None,
        }
    }
}
