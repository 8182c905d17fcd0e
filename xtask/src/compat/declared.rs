//! What may differ: pairs of notes whose order means nothing, and differences that are meant.

use super::cast::{Pair, Policy, Side};
use super::trace::{Note, Party};

/// Two kinds of notes of one process, about one worker, whose order means nothing.
pub(super) struct Commuting {
    pub(super) by: fn(Party) -> bool,
    pub(super) pair: [&'static str; 2],
    pub(super) because: &'static str,
}

const fn primary(by: Party) -> bool {
    matches!(by, Party::Primary)
}

const fn any(_: Party) -> bool {
    true
}

pub(super) const COMMUTING: &[Commuting] = &[
    Commuting {
        by: primary,
        pair: ["disconnect", "exit"],
        because: "the channel's end and the process's come by different ways; Node's page says so",
    },
    Commuting {
        by: primary,
        pair: ["disconnected", "exit"],
        because: "`cluster.disconnect()` waits for channels, not for processes",
    },
    Commuting {
        by: primary,
        pair: ["disconnected", "disconnect"],
        because: "Node calls back from within the last of the two events of the last worker, ours after \
                  its `disconnect`",
    },
    Commuting {
        by: any,
        pair: ["send", "message"],
        because: "a message is written whenever the system takes it, whatever comes the other way",
    },
    Commuting {
        by: any,
        pair: ["sendHandle", "message"],
        because: "a message is written whenever the system takes it, whatever comes the other way",
    },
];

/// Whether the order of two notes of one process is listed above.
pub(super) fn commute(by: Party, a: &str, b: &str) -> bool {
    COMMUTING
        .iter()
        .any(|listed| (listed.by)(by) && (listed.pair == [a, b] || listed.pair == [b, a]))
}

/// A difference that is meant.
pub(super) struct Difference {
    /// What it is called in the documentation.
    pub(super) id: &'static str,
    pub(super) scenario: &'static str,
    /// Where it shows.
    pub(super) shows: fn(&Setting) -> bool,
    /// What Node does, by a part of the note's text, and what is done instead of it; the empty text
    /// for nothing.
    pub(super) instead: &'static [(&'static str, &'static str)],
    pub(super) because: &'static str,
}

/// Where a trace was made.
pub(super) struct Setting {
    pub(super) pair: Pair,
    pub(super) policy: Policy,
    /// Of the Node that it is compared with.
    pub(super) major: u32,
}

pub(super) const DIFFERENCES: &[Difference] = &[];

/// What is to be expected of a pair where Node does that, and the differences that this takes.
pub(super) fn expected(
    scenario: &str,
    setting: &Setting,
    node_s: &[Note],
) -> (Vec<Note>, Vec<&'static str>) {
    let mut notes = node_s.to_vec();
    let mut ids = Vec::new();
    if setting.pair == Pair::NODE {
        return (notes, ids);
    }
    for difference in DIFFERENCES {
        if difference.scenario != scenario || !(difference.shows)(setting) {
            continue;
        }
        ids.push(difference.id);
        for (node_does, instead) in difference.instead {
            for note in &mut notes {
                note.text = note.text.replace(node_does, instead);
            }
            notes.retain(|note| !note.text.is_empty());
        }
    }
    (notes, ids)
}
