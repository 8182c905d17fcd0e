//! What is wrong with a configuration file, and where.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A configuration file cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub(crate) enum ConfigError {
    /// Its name says that it is something else than TOML.
    OtherLanguage { path: PathBuf, language: &'static str },
    /// It cannot be read.
    Read { path: PathBuf, error: io::Error },
    /// It is no text.
    NotUtf8 { path: PathBuf, line: usize, column: usize },
    /// It is a text, but does not say what it should.
    Wrong { path: PathBuf, complaints: Vec<Complaint> },
}

impl ConfigError {
    /// The file is UTF-8 up to that byte.
    pub(super) fn not_utf8(path: &Path, bytes: &[u8], valid: usize) -> Self {
        let text = String::from_utf8_lossy(&bytes[..valid]);
        let (line, column) = place(&text, valid);
        Self::NotUtf8 { path: path.to_owned(), line, column }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherLanguage { path, language } => write!(
                f,
                "{}: this is {language}, but a configuration file is TOML: docs/from-pm2.md shows its \
                 options beside those of ecosystem.config.js",
                path.display()
            ),
            Self::Read { path, error } => match error.kind() {
                io::ErrorKind::IsADirectory => {
                    write!(f, "{}: this is a folder, not a configuration file", path.display())
                }
                _ => write!(f, "cannot read the configuration file {}: {error}", path.display()),
            },
            Self::NotUtf8 { path, line, column } => write!(
                f,
                "{}:{line}:{column}: this byte is not valid UTF-8, which TOML requires",
                path.display()
            ),
            Self::Wrong { path, complaints } => {
                for (number, complaint) in complaints.iter().enumerate() {
                    if number > 0 {
                        f.write_str("\n\n")?;
                    }
                    complaint.write(f, path)?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { error, .. } => Some(error),
            Self::OtherLanguage { .. } | Self::NotUtf8 { .. } | Self::Wrong { .. } => None,
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    line: usize,
    column: usize,
    what: String,
    /// The line that it is on, and what stands under it to show where.
    shown: (String, String),
    note: Option<String>,
}

impl Complaint {
    /// Something about that part of the text.
    pub(super) fn new(text: &str, at: &Range<usize>, what: String) -> Self {
        let start = at.start.min(text.len());
        let (line, column) = place(text, start);
        let before = text[..start].rfind('\n').map_or(0, |end| end + 1);
        let end = text[start..].find('\n').map_or(text.len(), |length| start + length);
        let shown = text[before..end].trim_end_matches('\r');
        // A tab is as wide above as below.
        let blank = |c: char| if c == '\t' { '\t' } else { ' ' };
        let mut under: String = text[before..start].chars().map(blank).collect();
        let marked = text.get(start..at.end.min(end)).unwrap_or_default().trim_end();
        under.extend(std::iter::repeat_n('^', marked.chars().count().max(1)));
        Self { line, column, what, shown: (shown.to_owned(), under), note: None }
    }

    /// Something that helps.
    pub(super) fn with_note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, path: &Path) -> fmt::Result {
        let Self { line, column, what, shown, .. } = self;
        let width = line.to_string().len();
        writeln!(f, "{}:{line}:{column}: {what}", path.display())?;
        writeln!(f, "{:width$} |", "")?;
        writeln!(f, "{line} | {}", shown.0)?;
        write!(f, "{:width$} | {}", "", shown.1)?;
        match &self.note {
            Some(note) => write!(f, "\n{:width$} = {note}", ""),
            None => Ok(()),
        }
    }
}

/// Line and column, from 1, the latter in characters.
pub(super) fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_characters() {
        assert_eq!(place("", 0), (1, 1));
        assert_eq!(place("a\nbö = 1", 6), (2, 4));
        assert_eq!(place("a\n", 2), (2, 1));
    }

    #[test]
    fn what_is_beyond_the_end_is_at_the_end() {
        let complaint = Complaint::new("a =", &(3..9), "what".into());
        assert_eq!((complaint.line, complaint.column), (1, 4));
        assert_eq!(complaint.shown, ("a =".into(), "   ^".into()));
    }
}
