//! The options of `cluster run`: one list, which the command line and a file in TOML have in common.
//!
//! [`Options`] are what is given, each as far as it is; the command line is laid
//! [over](Options::over) the file. [`Resolved`] is what that comes to, with the defaults, once it is
//! known to go together.

mod account;
mod address;
mod choice;
mod complaint;
mod count;
mod decimal;
mod http_address;
mod http_hosts;
mod name;
mod near;
mod options;
mod period;
mod read;
mod resolved;
mod shown;
mod size;
mod socket;
mod stop_message;
mod stop_signal;
mod variable;
mod written;

pub(crate) use choice::{Affinity, LogFormat, LogLevel, One, Output, Ready};
pub(crate) use complaint::ConfigError;
pub(crate) use count::Count;
#[cfg(test)]
pub(crate) use http_address::HttpAddress;
pub(crate) use http_hosts::{AllowedHost, Hosts, Stranger};
pub(crate) use name::Name;
pub(crate) use near::nearest;
pub(crate) use options::Options;
pub(crate) use period::Period;
pub(crate) use resolved::{Conflict, Resolved, Seeing};
pub(crate) use variable::Variable;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cluster_primary::Settings;

use crate::listen::address::At;

/// The language that a file is in by its name, where that is not TOML.
fn other_language(path: &Path) -> Option<&'static str> {
    match path.extension()?.to_str()? {
        "js" | "cjs" | "mjs" | "ts" | "mts" | "cts" => Some("JavaScript"),
        "json" | "json5" => Some("JSON"),
        "yaml" | "yml" => Some("YAML"),
        _ => None,
    }
}

/// Whether it is a path, and not the name of a program that is sought along `PATH`.
pub(crate) fn is_path(program: &OsStr) -> bool {
    program.as_bytes().contains(&b'/') || program == "." || program == ".."
}

impl Options {
    /// Reads them from a file. Its relative paths are relative to its folder.
    ///
    /// # Errors
    /// [`ConfigError`], which says where in the file what is wrong.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        let cannot = |error| ConfigError::Read { path: path.to_owned(), error };
        let bytes = fs::read(path).map_err(cannot)?;
        if let Some(language) = other_language(path) {
            return Err(ConfigError::OtherLanguage { path: path.to_owned(), language });
        }
        let text = match str::from_utf8(&bytes) {
            Ok(text) => text,
            Err(error) => return Err(ConfigError::not_utf8(path, &bytes, error.valid_up_to())),
        };
        let mut options = read::read(text)
            .map_err(|complaints| ConfigError::Wrong { path: path.to_owned(), complaints })?;
        // An absolute path, because the workers may have another working directory.
        let path = std::path::absolute(path).map_err(cannot)?;
        options.move_to(path.parent().unwrap_or(Path::new("/")));
        Ok(options)
    }

    /// Reads them from what [`Resolved::to_toml`] wrote.
    ///
    /// # Errors
    /// If this program does not know all of it.
    pub(crate) fn parse(text: &str) -> Result<Self, ConfigError> {
        let wrong =
            |complaints| ConfigError::Wrong { path: "(the options in force)".into(), complaints };
        read::read(text).map_err(wrong)
    }

    /// These options over those of that file. What makes one of these pointless is not taken from it.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub(crate) fn over_file(self, path: &Path) -> Result<Self, ConfigError> {
        let mut file = Self::load(path)?;
        if self.control.is_some() || self.name.is_some() {
            (file.control, file.name) = (None, None);
        }
        if !self.program.is_empty() {
            file.demo_listen = None;
        }
        Ok(self.over(file))
    }

    /// Makes relative paths such of that folder.
    fn move_to(&mut self, to: &Path) {
        let join = |path: &mut PathBuf| *path = to.join(&*path);
        self.cwd.iter_mut().for_each(join);
        self.control.iter_mut().for_each(join);
        for address in &mut self.listen {
            if let At::Unix(path) = &mut address.0.at {
                join(path);
            }
        }
        // What has no `/` is sought along PATH, unless an interpreter is to read it.
        let has_slash = |path: &Path| path.as_os_str().as_bytes().contains(&b'/');
        if let Some(program) = self.program.first_mut() {
            let path = PathBuf::from(&*program);
            let is_script = Settings::new(&path).runs_under_node();
            if is_script || self.exec_path.is_some() || is_path(program) {
                *program = to.join(path).into();
            }
        }
        self.exec_path.iter_mut().filter(|path| has_slash(path)).for_each(join);
    }
}
