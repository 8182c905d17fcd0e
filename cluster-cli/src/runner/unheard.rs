//! Messages of workers that nothing reads: each program is reported once.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The programs that were reported.
#[derive(Debug, Default)]
pub(super) struct Unheard {
    reported: BTreeSet<(PathBuf, bool)>,
}

impl Unheard {
    /// Whether a message of that program is to be reported; it is not again. `is_ready`: it is PM2's
    /// message `ready`, which is reported in other words.
    pub(super) fn is_new(&mut self, program: &Path, is_ready: bool) -> bool {
        self.reported.insert((program.to_owned(), is_ready))
    }

    /// For the next image of this program.
    pub(super) fn reported(&self) -> impl Iterator<Item = (&Path, bool)> {
        self.reported.iter().map(|(program, is_ready)| (program.as_path(), *is_ready))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_reported_once_for_each_kind_of_message() {
        let mut unheard = Unheard::default();
        let program = Path::new("app.js");
        let is_new: Vec<_> =
            [false, true, false, true].map(|is_ready| unheard.is_new(program, is_ready)).into();
        assert_eq!(is_new, [true, true, false, false]);
        assert!(unheard.is_new(Path::new("other.js"), false));
        assert_eq!(unheard.reported().count(), 3);
    }
}
