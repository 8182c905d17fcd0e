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
            Self::Any => "any process",
        })
    }
}

/// Every such pair.
pub(super) const COMMUTING: &[Commuting] = &[
    Commuting {
        by: By::Primary,
        pair: ["disconnect", "exit"],
        because: "the end of the channel and the end of the process are noticed independently; \
                  Node's documentation says so",
    },
    Commuting {
        by: By::Primary,
        pair: ["disconnected", "exit"],
        because: "`cluster.disconnect()` waits for channels, not for processes",
    },
    Commuting {
        by: By::Primary,
        pair: ["disconnected", "disconnect"],
        because: "Node calls back when its list of workers is empty, which can be early because \
                  `disconnect()` empties it; ours waits for every worker's `disconnect`",
    },
    Commuting {
        by: By::Any,
        pair: ["send", "message"],
        because: "a message is written when the system accepts it, independently of what arrives \
                  from the other side",
    },
    Commuting {
        by: By::Primary,
        pair: ["send", "online"],
        because: "a message is written when the system accepts it, independently of what arrives \
                  from the other side",
    },
    Commuting {
        by: By::Any,
        pair: ["sendHandle", "message"],
        because: "a message is written when the system accepts it, independently of what arrives \
                  from the other side",
    },
];

/// Whether the order of two notes of one process is listed above.
pub(super) fn commute(by: Party, a: &str, b: &str) -> bool {
    COMMUTING
        .iter()
        .filter(|listed| listed.by == By::Any || by == Party::Primary)
        .any(|listed| listed.pair == [a, b] || listed.pair == [b, a])
}

/// Scenarios that are not played with a runtime, which cannot do what they are about.
pub(super) struct Unplayed {
    pub(super) worker: Side,
    pub(super) scenarios: &'static [&'static str],
    pub(super) because: &'static str,
}

/// Every such.
pub(super) const UNPLAYED: &[Unplayed] = &[
    Unplayed {
        worker: Side::Bun,
        scenarios: &["structured-clones", "lone-surrogates"],
        because: "Bun's `advanced` encoding is not Node's: use `json`",
    },
    Unplayed {
        worker: Side::Deno,
        scenarios: &["structured-clones"],
        because: "Deno's `advanced` encoding is not Node's: use `json`",
    },
    Unplayed {
        worker: Side::Deno,
        scenarios: &["lone-surrogates"],
        because: "a Deno worker dies of a message with a lone surrogate",
    },
    Unplayed {
        worker: Side::Deno,
        scenarios: &["a-listener-down", "descriptors-at-once", "messages-behind-a-descriptor"],
        because: "Deno cannot listen on a `net.Server` that it is sent: its worker dies of \
                  `EINVAL`",
    },
    Unplayed {
        worker: Side::Deno,
        scenarios: &["datagrams", "datagrams-6", "datagrams-of-another-family"],
        because: "Deno binds UDP sockets itself and does not share them between workers",
    },
];

/// Whether a scenario is played with workers of that kind.
pub(super) fn is_played(scenario: &str, worker: Side) -> bool {
    let lists =
        |unplayed: &Unplayed| unplayed.worker == worker && unplayed.scenarios.contains(&scenario);
    !UNPLAYED.iter().any(lists)
}

/// A difference that is meant.
pub(super) struct Difference {
    /// What it is called in the documentation.
    pub(super) id: &'static str,
    pub(super) scenarios: &'static [&'static str],
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
    DenoWorkers,
    Before(u32),
    All,
}

impl Where {
    fn includes(self, setting: &Setting) -> bool {
        setting.pair != Pair::NODE
            && match self {
                Self::DenoWorkers => setting.pair.worker == Side::Deno,
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
            Self::DenoWorkers => f.write_str("Deno workers"),
            Self::Before(major) => write!(f, "compared with Node versions before {major}"),
            Self::All => f.write_str("all pairs with Rust"),
        }
    }
}

enum Edit {
    /// This text of a note by that.
    Replace(&'static str, &'static str),
    /// The notes of this text that are not the primary's are not there.
    Without(&'static str),
    /// Before the note of this text there is one of the primary's about a worker.
    Before(&'static str, u32, &'static str),
}

/// Every difference that is meant.
pub(super) const DIFFERENCES: &[Difference] = &[
    Difference {
        id: "ipv6-only-is-ignored",
        scenarios: &["every-host"],
        shows: Where::DenoWorkers,
        edits: &[Edit::Replace(r#""ConnectionRefused""#, r#""worker 1, only 6\n""#)],
        because: "Deno does not say in its query that a server wants IPv6 only",
    },
    Difference {
        id: "kill-is-silent",
        scenarios: &["worker-kills-itself"],
        shows: Where::RustWorkers,
        edits: &[Edit::Without("disconnect")],
        because: "`Worker::kill` ends the process at once and does not return; Node's runs the \
                  event loop once more, with a `disconnect` event",
    },
    Difference {
        id: "orphans-are-silent",
        scenarios: &["primary-closes-channel", "worker-closes-channel", "primary-goes-first"],
        shows: Where::RustWorkers,
        edits: &[Edit::Without("disconnect")],
        because: "a worker whose channel closes exits at once, unless \
                  `Options::exit_when_orphaned` is off: then `recv` returns `None`, which \
                  corresponds to Node's event",
    },
    Difference {
        id: "exclusive-servers-close",
        scenarios: &["exclusive"],
        shows: Where::RustWorkers,
        edits: &[
            Edit::Replace(r#""worker 2, two\n""#, r#""ConnectionRefused""#),
            Edit::Replace(r#""worker 1, one\n""#, r#""ConnectionRefused""#),
            Edit::Without(r#"close {"id":"one"} -> null"#),
            Edit::Without(r#"close {"id":"two"} -> null"#),
        ],
        because: "a worker that disconnects closes its own servers too, and exits; a Node worker \
                  continues to serve them, although the primary can no longer reach it",
    },
    Difference {
        id: "family-of-the-address",
        scenarios: &["datagrams-of-another-family"],
        shows: Where::RustWorkers,
        edits: &[
            Edit::Replace(
                r#"bind {"host":"::1","id":"udp4","port":0,"type":"udp4"} -> {"error":"EINVAL"}"#,
                r#"bind {"host":"::1","id":"udp4","port":0,"type":"udp4"} -> {"address":"::1","port":"port 1"}"#,
            ),
            Edit::Before(
                "disconnectAll -> null",
                1,
                r#"listening {"address":"::1","addressType":"udp6","port":"port 1","worker":1}"#,
            ),
            Edit::Replace(
                r#"bind {"host":"127.0.0.1","id":"udp6","port":0,"type":"udp6"} -> {"error":"EINVAL"}"#,
                r#"bind {"host":"127.0.0.1","id":"udp6","port":0,"type":"udp6"} -> {"address":"127.0.0.1","port":"port 2"}"#,
            ),
            Edit::Before(
                "disconnectAll -> null",
                1,
                r#"listening {"address":"127.0.0.1","addressType":"udp4","port":"port 2","worker":1}"#,
            ),
        ],
        because: "`UdpOptions` takes the family from the address; a `dgram.Socket` has one before \
                  it is bound",
    },
    Difference {
        id: "reserved-messages",
        scenarios: &["unknown-acts"],
        shows: Where::RustWorkers,
        edits: &[
            Edit::Replace(
                r#"send {"message":{"act":"unknown","cmd":"NODE_CLUSTER"}} -> "written""#,
                r#"send {"message":{"act":"unknown","cmd":"NODE_CLUSTER"}} -> {"error":"ERR_INVALID_ARG_VALUE"}"#,
            ),
            Edit::Replace(
                r#"send {"message":{"cmd":"NODE_CLUSTER"}} -> "written""#,
                r#"send {"message":{"cmd":"NODE_CLUSTER"}} -> {"error":"ERR_INVALID_ARG_VALUE"}"#,
            ),
            Edit::Replace(
                r#"send {"message":{"cmd":"NODE_UNHEARD_OF"}} -> "written""#,
                r#"send {"message":{"cmd":"NODE_UNHEARD_OF"}} -> {"error":"ERR_INVALID_ARG_VALUE"}"#,
            ),
        ],
        because: "`Worker::send` refuses messages that are reserved for the protocol; Node sends \
                  them, and no program receives them",
    },
    Difference {
        id: "retry-shares",
        scenarios: &["another-may-retry"],
        shows: Where::Before(24),
        edits: &[
            Edit::Replace(
                r#"listen {"host":"HOST","id":"again","port":"port 1"} -> {"error":"EADDRINUSE"}"#,
                r#"listen {"host":"HOST","id":"again","port":"port 1"} -> {"address":"HOST","port":"port 1"}"#,
            ),
            Edit::Before(
                "disconnectAll -> null",
                1,
                r#"listening {"address":"HOST","addressType":4,"port":"port 1","worker":1}"#,
            ),
        ],
        because: "a worker whose listen failed may try again, and shares the server if another \
                  worker has it by then; Node 20 and 22 remember the failure and refuse forever; \
                  Node 24 and later behave as we do",
    },
    Difference {
        id: "shared-failure-is-told",
        scenarios: &["another-may-retry-shared"],
        shows: Where::All,
        edits: &[
            Edit::Replace(
                r#"listen {"host":"HOST","id":"s","port":"port 1"} -> {"error":"EADDRINUSE"}"#,
                r#"listen {"host":"HOST","id":"s","port":"port 1"} -> {"address":"HOST","port":"port 1"}"#,
            ),
            Edit::Before(
                "disconnectAll -> null",
                2,
                r#"listening {"address":"HOST","addressType":4,"port":"port 1","worker":2}"#,
            ),
            Edit::Replace(r#""ConnectionRefused""#, r#""worker 2, s\n""#),
        ],
        because: "Node's primary does not notice that a shared TCP socket could not be bound (the \
                  worker does), and gives the same socket to the next worker; ours notices, and \
                  tries again",
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
        if !difference.scenarios.contains(&scenario) || !difference.shows.includes(setting) {
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
    /// Makes it; whether there was something to edit.
    fn make(&self, notes: &mut Vec<Note>) -> bool {
        match self {
            // Several may have met the same; the last of them fares differently.
            Self::Replace(from, to) => match notes.iter_mut().rfind(|n| n.text.contains(from)) {
                Some(note) => note.text = note.text.replace(from, to),
                None => return false,
            },
            Self::Without(text) => {
                let before = notes.len();
                notes.retain(|note| note.by == Party::Primary || note.text != *text);
                return notes.len() < before;
            }
            Self::Before(text, worker, inserted) => {
                let Some(place) = notes.iter().position(|note| note.text == *text) else {
                    return false;
                };
                let what = inserted.split(' ').next().unwrap_or_default().to_owned();
                let (by, about) = (Party::Primary, Some(*worker));
                notes.insert(place, Note { by, about, what, text: (*inserted).to_owned() });
            }
        }
        true
    }
}
