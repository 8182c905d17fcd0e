//! What was noted in a play, as a partial order, and how two of them differ.
//!
//! Notes of one process keep their order, but for two kinds of pairs: those that the primary makes
//! about different workers, and those that [`declared::COMMUTING`] lists. Notes of different
//! processes have none. Two traces are the same if one can be turned into the other by swapping
//! neighbours that have no order, which is so if and only if their [canonical] forms are
//! equal (Mazurkiewicz traces, by their lexicographic normal form).

use std::fmt::{self, Write};

use super::declared;

/// Who noted something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Party {
    Primary,
    Worker(u32),
    /// Those that connect to the workers' servers.
    Client,
}

/// One thing that a process did or saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) by: Party,
    /// The worker that it is about; none if about all of them.
    pub(super) about: Option<u32>,
    /// The verb or the event.
    pub(super) what: String,
    /// All of it, the verb or event included.
    pub(super) text: String,
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Primary => f.write_str("primary"),
            Self::Worker(id) => write!(f, "worker {id}"),
            Self::Client => f.write_str("client"),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<8}  {}", self.by.to_string(), self.text)
    }
}

/// Whether the order of the two means nothing.
fn commute(a: &Note, b: &Note) -> bool {
    if a.by != b.by {
        return true;
    }
    let others = a.about.is_some() && b.about.is_some() && a.about != b.about;
    let of_different_workers = a.by == Party::Primary && others;
    of_different_workers || declared::commute(a.by, &a.what, &b.what)
}

/// The smallest of all sequences that differ only in the order of what has none.
pub(super) fn canonical(mut notes: Vec<Note>) -> Vec<Note> {
    let mut sorted = Vec::with_capacity(notes.len());
    while !notes.is_empty() {
        let free = (0..notes.len())
            .filter(|&at| notes[..at].iter().all(|before| commute(before, &notes[at])));
        let key = |&at: &usize| {
            let note = &notes[at];
            (note.by, note.about, note.text.clone())
        };
        let next = free.min_by_key(key).expect("the first of them is free");
        sorted.push(notes.remove(next));
    }
    sorted
}

/// Where two canonical traces differ, as a diff from the first to the second; nothing if nowhere.
pub(super) fn diff(from: &[Note], to: &[Note]) -> Option<String> {
    if from == to {
        return None;
    }
    // The longest common subsequence; traces are short.
    let mut common = vec![vec![0_u32; to.len() + 1]; from.len() + 1];
    for (i, a) in from.iter().enumerate().rev() {
        for (j, b) in to.iter().enumerate().rev() {
            common[i][j] = if a == b {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let mut shown = String::new();
    let (mut i, mut j) = (0, 0);
    while i < from.len() || j < to.len() {
        let (mark, note) = if i < from.len() && j < to.len() && from[i] == to[j] {
            (i, j) = (i + 1, j + 1);
            (' ', &from[i - 1])
        } else if j == to.len() || (i < from.len() && common[i + 1][j] >= common[i][j + 1]) {
            i += 1;
            ('-', &from[i - 1])
        } else {
            j += 1;
            ('+', &to[j - 1])
        };
        // Writing to a string cannot fail.
        let _ = writeln!(shown, "  {mark} {note}");
    }
    Some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(by: Party, about: u32, what: &str) -> Note {
        let text = format!("{what} {about}");
        Note { by, about: (about > 0).then_some(about), what: what.into(), text }
    }

    fn primary(about: u32, what: &str) -> Note {
        note(Party::Primary, about, what)
    }

    #[test]
    fn what_has_no_order_may_come_in_any() {
        let worker = note(Party::Worker(1), 1, "message");
        let one =
            vec![primary(1, "fork"), worker.clone(), primary(2, "fork"), primary(1, "online")];
        let other = vec![primary(2, "fork"), primary(1, "fork"), primary(1, "online"), worker];
        assert_eq!(canonical(one), canonical(other));
    }

    #[test]
    fn a_worker_s_own_life_has_one() {
        let one = vec![primary(1, "fork"), primary(1, "online")];
        let other = vec![primary(1, "online"), primary(1, "fork")];
        assert_ne!(canonical(one), canonical(other));
    }

    #[test]
    fn what_is_about_all_is_in_order_with_each() {
        let one = vec![primary(1, "online"), primary(0, "disconnected")];
        let other = vec![primary(0, "disconnected"), primary(1, "online")];
        assert_ne!(canonical(one), canonical(other));
    }

    #[test]
    fn listed_pairs_commute_and_carry_nothing_else_along() {
        let one = vec![primary(1, "disconnect"), primary(1, "exit")];
        let other = vec![primary(1, "exit"), primary(1, "disconnect")];
        assert_eq!(canonical(one), canonical(other));
        let one = vec![primary(1, "online"), primary(1, "exit")];
        let other = vec![primary(1, "exit"), primary(1, "online")];
        assert_ne!(canonical(one), canonical(other));
    }

    #[test]
    fn a_difference_is_shown_where_it_is() {
        let from = [primary(1, "fork"), primary(1, "online"), primary(1, "exit")];
        let to = [primary(1, "fork"), primary(1, "listening"), primary(1, "exit")];
        assert_eq!(diff(&from, &from), None);
        let shown = diff(&from, &to).unwrap();
        assert_eq!(
            shown,
            "    primary   fork 1\n  - primary   online 1\n  + primary   listening 1\n    \
             primary   exit 1\n"
        );
    }
}
