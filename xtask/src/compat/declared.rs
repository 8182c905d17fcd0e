//! What may differ: pairs of notes whose order means nothing, and differences that are meant.

use std::fmt;

use super::cast::{Pair, Side};
use super::trace::{Note, Party};

/// Two kinds of notes of one process, about one worker, whose order means nothing.
pub(super) struct Commuting {
    pub(super) by: By,
    pub(super) pair: [&'static str; 2],
    pub(super) because: &'static str,
}

/// Who notes it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Primary,
    Any,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "the primary",
            Self::Any => "anybody",
        })
    }
}

/// Every such pair.
pub(super) const COMMUTING: &[Commuting] = &[
    Commuting {
        by: By::Primary,
        pair: ["disconnect", "exit"],
        because: "the channel's end and the process's come by different ways; Node's page says so",
    },
    Commuting {
        by: By::Primary,
        pair: ["disconnected", "exit"],
        because: "`cluster.disconnect()` waits for channels, not for processes",
    },
    Commuting {
        by: By::Primary,
        pair: ["disconnected", "disconnect"],
        because: "Node calls back from within the last of the two events of the last worker, ours after \
                  its `disconnect`",
    },
    Commuting {
        by: By::Any,
        pair: ["send", "message"],
        because: "a message is written whenever the system takes it, whatever comes the other way",
    },
    Commuting {
        by: By::Primary,
        pair: ["send", "online"],
        because: "a message is written whenever the system takes it, whatever comes the other way",
    },
    Commuting {
        by: By::Any,
        pair: ["sendHandle", "message"],
        because: "a message is written whenever the system takes it, whatever comes the other way",
    },
];

/// Whether the order of two notes of one process is listed above.
pub(super) fn commute(by: Party, a: &str, b: &str) -> bool {
    COMMUTING
        .iter()
        .filter(|listed| listed.by == By::Any || by == Party::Primary)
        .any(|listed| listed.pair == [a, b] || listed.pair == [b, a])
}

/// A difference that is meant.
pub(super) struct Difference {
    /// What it is called in the documentation.
    pub(super) id: &'static str,
    pub(super) scenario: &'static str,
    /// Where it shows.
    pub(super) shows: Where,
    /// How what Node does becomes what is expected.
    edits: &'static [Edit],
    pub(super) because: &'static str,
}

/// Where a trace was made.
pub(super) struct Setting {
    pub(super) pair: Pair,
    /// Of the Node that it is compared with.
    pub(super) major: u32,
}

/// In which pairs, compared with which Node. Never in Node with Node.
#[derive(Clone, Copy)]
pub(super) enum Where {
    RustWorkers,
    Before(u32),
    All,
}

impl Where {
    fn includes(self, setting: &Setting) -> bool {
        setting.pair != Pair::NODE
            && match self {
                Self::RustWorkers => setting.pair.worker == Side::Rust,
                Self::Before(major) => setting.major < major,
                Self::All => true,
            }
    }
}

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RustWorkers => f.write_str("Rust workers"),
            Self::Before(major) => write!(f, "compared with a Node before {major}"),
            Self::All => f.write_str("wherever one side is Rust"),
        }
    }
}

enum Edit {
    /// This text of a note by that.
    Replace(&'static str, &'static str),
    /// The note of this text is not there.
    Without(&'static str),
    /// Before the note of this text there is one of the primary's about a worker.
    Before(&'static str, u32, &'static str),
}

/// Every difference that is meant.
pub(super) const DIFFERENCES: &[Difference] = &[
    Difference {
        id: "kill-is-silent",
        scenario: "worker-kills-itself",
        shows: Where::RustWorkers,
        edits: &[Edit::Without("disconnect")],
        because: "`Worker::kill` ends the process where it is called, and does not return; Node's \
                  goes through the event loop once more, with a `disconnect` event",
    },
    Difference {
        id: "retry-shares",
        scenario: "another-may-retry",
        shows: Where::Before(24),
        edits: &[
            Edit::Replace(
                r#"listen {"host":"127.0.0.1","id":"again","port":"port 1"} -> {"error":"EADDRINUSE"}"#,
                r#"listen {"host":"127.0.0.1","id":"again","port":"port 1"} -> {"address":"127.0.0.1","port":"port 1"}"#,
            ),
            Edit::Before(
                "disconnectAll -> null",
                1,
                r#"listening {"address":"127.0.0.1","addressType":4,"port":"port 1","worker":1}"#,
            ),
        ],
        because: "a worker whose listen failed may listen once more where another does by now; \
                  Node 20 and 22 count the failure, and refuse for ever; Node 24 and later do as we do",
    },
    Difference {
        id: "shared-failure-is-told",
        scenario: "another-may-retry-shared",
        shows: Where::All,
        edits: &[
            Edit::Replace(
                r#"listen {"host":"127.0.0.1","id":"s","port":"port 1"} -> {"error":"EADDRINUSE"}"#,
                r#"listen {"host":"127.0.0.1","id":"s","port":"port 1"} -> {"address":"127.0.0.1","port":"port 1"}"#,
            ),
            Edit::Before(
                "disconnectAll -> null",
                2,
                r#"listening {"address":"127.0.0.1","addressType":4,"port":"port 1","worker":2}"#,
            ),
            Edit::Replace(r#""ConnectionRefused""#, r#""worker 2, s\n""#),
        ],
        because: "Node's primary does not notice that a shared TCP socket could not be bound (the \
                  worker does), and lends it to the next who asks; ours notices, and tries again",
    },
];

/// What is to be expected of a pair where Node does that, and the differences that this takes.
///
/// # Errors
/// If Node does not do any more what a difference is declared from.
pub(super) fn expected(
    scenario: &str,
    setting: &Setting,
    node_s: &[Note],
) -> Result<(Vec<Note>, Vec<&'static str>), String> {
    let mut notes = node_s.to_vec();
    let mut ids = Vec::new();
    for difference in DIFFERENCES {
        if difference.scenario != scenario || !difference.shows.includes(setting) {
            continue;
        }
        ids.push(difference.id);
        for edit in difference.edits {
            if !edit.make(&mut notes) {
                let id = difference.id;
                return Err(format!("  Node does not do any more what {id} is declared from\n"));
            }
        }
    }
    Ok((notes, ids))
}

impl Edit {
    /// Makes it once; whether there was something to edit.
    fn make(&self, notes: &mut Vec<Note>) -> bool {
        let looked_for = match self {
            Self::Replace(text, _) | Self::Without(text) | Self::Before(text, ..) => text,
        };
        let mut places = (0..notes.len()).filter(|at| notes[*at].text.contains(looked_for));
        let Some(place) = (match self {
            // Several workers may have failed at it; the last of them need not.
            Self::Replace(..) => places.next_back(),
            Self::Without(_) => places.find(|at| notes[*at].by != Party::Primary),
            Self::Before(..) => places.next(),
        }) else {
            return false;
        };
        match self {
            Self::Replace(from, to) => notes[place].text = notes[place].text.replace(from, to),
            Self::Without(_) => drop(notes.remove(place)),
            Self::Before(_, worker, text) => {
                let what = text.split(' ').next().unwrap_or_default().to_owned();
                let (by, about) = (Party::Primary, Some(*worker));
                notes.insert(place, Note { by, about, what, text: (*text).to_owned() });
            }
        }
        true
    }
}
