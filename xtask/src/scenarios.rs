//! What is recorded: a script of `xtask/golden/` under certain settings.

/// How a recording is written down.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A line per frame.
    Frames,
    /// A line per chunk that was read.
    Chunks,
    Both,
}

#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// The script's name without `.js`.
    pub(crate) script: &'static str,
    /// `NODE_CLUSTER_SCHED_POLICY`.
    pub(crate) policy: &'static str,
    /// `json` or `advanced`.
    pub(crate) serialization: &'static str,
    pub(crate) form: Form,
    /// Further variables for the script and the relay.
    pub(crate) env: &'static [(&'static str, &'static str)],
    /// Recorded with these major versions of Node only; with all if empty.
    pub(crate) majors: &'static [u32],
}

const fn plain(name: &'static str) -> Scenario {
    Scenario {
        name,
        script: name,
        policy: "rr",
        serialization: "json",
        form: Form::Frames,
        env: &[],
        majors: &[],
    }
}

const fn nack(name: &'static str, env: &'static [(&'static str, &'static str)]) -> Scenario {
    Scenario { script: "nack", env, ..plain(name) }
}

/// A relay that reads this late finds several frames at once.
const LATE: &[(&str, &str)] = &[("GOLDEN_DELAY_MS", "50")];

pub(crate) const ALL: &[Scenario] = &[
    Scenario { script: "listen", form: Form::Both, ..plain("listen-rr") },
    Scenario { script: "listen", policy: "none", ..plain("listen-none") },
    Scenario { script: "listen-fd", ..plain("listen-fd-rr") },
    Scenario { script: "listen-fd", policy: "none", ..plain("listen-fd-none") },
    Scenario { script: "listen-again", ..plain("listen-again-rr") },
    Scenario { script: "listen-again", policy: "none", ..plain("listen-again-none") },
    Scenario { script: "listen-twice", ..plain("listen-twice-rr") },
    Scenario { script: "listen-twice", policy: "none", ..plain("listen-twice-none") },
    Scenario { script: "errors", ..plain("errors-rr") },
    Scenario { script: "errors", policy: "none", ..plain("errors-none") },
    plain("udp"),
    plain("tls"),
    plain("two-workers"),
    plain("refused"),
    Scenario {
        script: "worker-leaves",
        env: &[("GOLDEN_LEAVE", "disconnect")],
        ..plain("worker-disconnect")
    },
    Scenario { script: "worker-leaves", env: &[("GOLDEN_LEAVE", "kill")], ..plain("worker-kill") },
    plain("sockets"),
    plain("sockets-counted"),
    plain("handles"),
    nack("nack-socket-down", &[("GOLDEN_LOST", "down"), ("GOLDEN_DROP", "P>W net.Socket 1")]),
    nack("nack-socket-exhausted", &[("GOLDEN_LOST", "down"), ("GOLDEN_DROP", "P>W net.Socket 9")]),
    nack("nack-socket-up", &[("GOLDEN_LOST", "up"), ("GOLDEN_DROP", "W>P net.Socket 1")]),
    nack("nack-server", &[("GOLDEN_LOST", "server"), ("GOLDEN_DROP", "P>W net.Server 1")]),
    nack("nack-newconn", &[("GOLDEN_LOST", "listen"), ("GOLDEN_DROP", "P>W net.Native 1")]),
    Scenario {
        policy: "none",
        ..nack("nack-reply", &[("GOLDEN_LOST", "listen"), ("GOLDEN_DROP", "P>W net.Native 1")])
    },
    plain("messages"),
    Scenario { form: Form::Both, env: LATE, ..plain("burst") },
    Scenario { form: Form::Chunks, majors: &[26], ..plain("large") },
    Scenario { script: "listen", serialization: "advanced", ..plain("advanced-rr") },
    Scenario {
        script: "listen",
        policy: "none",
        serialization: "advanced",
        ..plain("advanced-none")
    },
    Scenario { script: "errors", serialization: "advanced", ..plain("advanced-errors") },
    Scenario { script: "listen-fd", serialization: "advanced", ..plain("advanced-fd") },
    Scenario { script: "tls", serialization: "advanced", ..plain("advanced-tls") },
    Scenario { script: "sockets", serialization: "advanced", ..plain("advanced-sockets") },
    Scenario { script: "handles", serialization: "advanced", ..plain("advanced-handles") },
    Scenario { script: "messages", serialization: "advanced", ..plain("advanced-messages") },
    Scenario {
        script: "burst",
        serialization: "advanced",
        form: Form::Both,
        env: LATE,
        ..plain("advanced-burst")
    },
];
