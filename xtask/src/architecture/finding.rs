//! What a crate does that its rules forbid.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use super::rules::Denied;

pub(super) struct Finding {
    pub(super) file: PathBuf,
    pub(super) line: usize,
    pub(super) what: What,
}

pub(super) enum What {
    /// A module uses one that it may not use.
    Dependency {
        from: String,
        to: String,
        item: String,
        folder: String,
        denied: Denied,
    },
    Upward {
        path: String,
        by: String,
        instead: String,
    },
    /// The files, and the steps of a way around.
    Cycle {
        files: BTreeSet<PathBuf>,
        steps: Vec<Step>,
    },
    /// A type, and the uses of its fields in other files.
    Spread {
        of: String,
        files: Vec<(PathBuf, BTreeSet<usize>)>,
    },
    /// Of a module that the rules of its folder do not list.
    Unlisted {
        module: String,
        folder: String,
    },
    /// Of a folder without rules.
    NoRules {
        folder: String,
    },
    /// Rules of a module that does not exist.
    Stale {
        module: String,
        folder: String,
    },
    Unresolved {
        path: String,
    },
}

/// A file's use of the next file.
pub(super) struct Step {
    pub(super) file: PathBuf,
    pub(super) line: usize,
    pub(super) item: String,
    pub(super) to: PathBuf,
}

/// What exceptions are counted by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Dependency(String),
    Upward(String),
    Spread(String),
    Cycle(BTreeSet<String>),
}

impl Finding {
    /// What it counts as, and for how much; none if there are no exceptions of its kind.
    pub(super) fn key(&self, source: &Path) -> Option<(Key, usize)> {
        let shown = |file: &Path| file.strip_prefix(source).unwrap_or(file).display().to_string();
        match &self.what {
            What::Dependency { from, to, .. } => {
                Some((Key::Dependency(format!("{from} -> {to}")), 1))
            }
            What::Upward { .. } => Some((Key::Upward(shown(&self.file)), 1)),
            What::Spread { of, files } => {
                let uses = files.iter().map(|(_, lines)| lines.len()).sum();
                Some((Key::Spread(of.clone()), uses))
            }
            What::Cycle { files, .. } => {
                let files: BTreeSet<_> = files.iter().map(|file| shown(file)).collect();
                let size = files.len();
                Some((Key::Cycle(files), size))
            }
            What::Unlisted { .. }
            | What::NoRules { .. }
            | What::Stale { .. }
            | What::Unresolved { .. } => None,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, what } = self;
        write!(f, "{}:{line}: ", file.display())?;
        match what {
            What::Dependency { from, to, item, folder, denied } => write!(
                f,
                "dependency not allowed: `{from}` uses `{item}` of `{to}`; by \"{folder}\" in architecture.toml it may use \
                 {denied}: move `{item}` to a module that both may use, or pass in what is needed of it"
            ),
            What::Upward { path, by, instead } => write!(
                f,
                "upward import: `{path}` leads through {by}, which has it from elsewhere: write `{instead}`"
            ),
            What::Cycle { files, steps } => {
                let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
                writeln!(
                    f,
                    "dependency cycle of {} files: {}; break it by moving what they share to a file that uses none of \
                     them. One way around:",
                    files.len(),
                    names.join(" ")
                )?;
                for (index, Step { file, line, item, to }) in steps.iter().enumerate() {
                    let end = if index + 1 == steps.len() { "" } else { "\n" };
                    let file = file.display();
                    write!(f, "    {file}:{line}: `{item}` of {}{end}", to.display())?;
                }
                Ok(())
            }
            What::Spread { of, files } => {
                let places: Vec<_> = files
                    .iter()
                    .map(|(file, lines)| {
                        let lines: Vec<_> = lines.iter().map(ToString::to_string).collect();
                        format!("\n    {}:{}", file.display(), lines.join(","))
                    })
                    .collect();
                write!(
                    f,
                    "the fields of `{of}` are used in {} other files, and one at most may: split the type into parts that \
                     own their fields, or add methods to it{}",
                    files.len(),
                    places.concat()
                )
            }
            What::Unlisted { module, folder } => write!(
                f,
                "`{module}` is not listed: add it to \"{folder}\" in architecture.toml, after the modules that it uses"
            ),
            What::NoRules { folder } => write!(
                f,
                "architecture.toml has no \"{folder}\", which has more than two files: list its modules, those that use no \
                 other first (`cargo xtask architecture --suggest {folder}` prints today's order)"
            ),
            What::Stale { module, folder } => write!(
                f,
                "\"{folder}\" lists `{module}`, which does not exist: remove it from architecture.toml"
            ),
            What::Unresolved { path } => write!(
                f,
                "`{path}` cannot be resolved, so that what it uses is not checked: write a path to the file that defines it"
            ),
        }
    }
}
