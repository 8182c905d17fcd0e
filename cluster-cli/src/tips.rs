//! What may have been meant by words on the command line that mean nothing here.
//!
//! clap suggests whatever is spelled most like a word. People who come from PM2, gunicorn or nginx use
//! words of those: for them a name that looks similar is the wrong answer.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory, Error, Parser};

use crate::args::Args;
use crate::config::{Variable, nearest};

/// The arguments that the program was given. Where they are wrong it ends.
pub(crate) fn read_args() -> Args {
    Args::try_parse().unwrap_or_else(|error| with_tip(error).exit())
}

/// Commands of PM2 and others.
const COMMANDS: &[(&[&str], &str)] = &[
    (&["start"], "to run a program: cluster run PROGRAM (options come before it)"),
    (
        &["stop", "delete", "del", "kill", "shutdown", "quit"],
        "Ctrl-C, SIGTERM, or the service manager ends a cluster; cluster drain does so by command",
    ),
    (&["restart", "gracefulReload", "reopen"], "cluster reload replaces every worker"),
    (
        &["list", "ls", "l", "ps", "describe", "desc", "info", "show", "jlist", "prettylist"],
        "cluster status shows the workers of a cluster (--json: as JSON)",
    ),
    (&["monit", "monitor", "dash", "dashboard"], "cluster top shows a cluster live"),
    (
        &["logs", "log", "flush", "reloadLogs"],
        "the log is what cluster run writes to standard error: see the service manager's or the container's \
         log, or cluster ctl events",
    ),
    (
        &["startup", "unstartup", "save", "dump", "resurrect", "enable", "install"],
        "a service manager starts cluster run: see docs/deploying.md",
    ),
    (&["update"], "cluster upgrade puts a new version of cluster in the place of the old one"),
    (&["trigger", "sendSignal", "send", "fork", "events"], "see cluster ctl --help"),
    (&["init", "ecosystem"], "docs/from-pm2.md shows the configuration file beside PM2's"),
];

/// Options of other programs, without the hyphens.
const OPTIONS: &[(&[&str], &str)] = &[
    (
        &[
            "d",
            "D",
            "daemon",
            "daemonize",
            "background",
            "detach",
            "fork",
            "no-daemon",
            "foreground",
        ],
        "cluster run stays in the foreground: start it from a service manager, a container \
         (docs/deploying.md), or nohup",
    ),
    (
        &["watch", "reload", "hot", "ignore-watch"],
        "cluster reload replaces the workers: call it from the tool that watches the files",
    ),
    (
        &["i", "w", "c", "instances", "processes", "worker-processes", "cluster", "parallel"],
        "--workers (-n) says how many workers there are",
    ),
    (
        &["p", "port", "host", "H", "hostname"],
        "a program chooses what it listens on: its own options come after it",
    ),
    (
        &["b", "bind", "fd", "socket"],
        "--listen opens a socket, for programs that take sockets as systemd passes them",
    ),
    (&["max-memory-restart", "memory", "max-rss"], "--max-memory limits the memory of a worker"),
    (&["max-restarts", "max-retries"], "--max-failures limits how often workers may fail"),
    (
        &["restart-delay", "exp-backoff-restart-delay"],
        "--backoff-first is the pause after a failure",
    ),
    (&["interpreter", "x", "exec"], "--exec-path is the interpreter"),
    (
        &["node-args", "interpreter-args", "node-options"],
        "--exec-arg is an argument of the interpreter",
    ),
    (
        &[
            "inspect",
            "inspect-brk",
            "require",
            "r",
            "import",
            "loader",
            "max-old-space-size",
            "enable-source-maps",
        ],
        "pass options of node with --exec-arg: --exec-arg=--inspect",
    ),
    (
        &["kill-timeout", "graceful-timeout", "shutdown-timeout", "stop-timeout"],
        "--grace is how long a worker may take to leave",
    ),
    (
        &["timeout", "t", "worker-timeout"],
        "--hang-after is how long a worker may leave everything unanswered (with --hang-replace it is \
         replaced then); --grace is how long it may take to leave",
    ),
    (&["wait-ready"], "--ready message waits until a new worker sends 'ready'"),
    (&["listen-timeout"], "--ready-timeout is how long a new worker may take to become ready"),
    (
        &["min-ready-seconds", "min-healthy-time", "update-monitor", "monitor", "min-uptime"],
        "--min-ready-time is how long a new worker must have been ready before the old one leaves; \
         --stable-after, how long after that its death does not count as a failure",
    ),
    (&["user", "u"], "--uid is the user of the workers"),
    (&["group", "g"], "--gid is the group of the workers"),
    (
        &["max-requests", "max-requests-jitter"],
        "--max-connections, --max-age and --max-memory replace workers",
    ),
    (
        &[
            "log",
            "l",
            "log-file",
            "logfile",
            "error",
            "e",
            "o",
            "error-logfile",
            "access-logfile",
            "log-date-format",
        ],
        "the log, and what workers write, goes to cluster's own output: redirect that",
    ),
    (&["pid", "pidfile", "pid-file"], "cluster status --json tells the process id"),
    (&["cron", "cron-restart"], "have cron call cluster reload"),
    (&["preload", "preload-app"], "each worker is a process of its own from the start"),
];

/// Says what a word may have meant, where clap says nothing, or what misleads.
fn with_tip(mut error: Error) -> Error {
    let words: Vec<_> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    match error.kind() {
        ErrorKind::InvalidSubcommand => unknown_command(&mut error, &words),
        ErrorKind::UnknownArgument => unknown_argument(&mut error, &words),
        _ => {}
    }
    error
}

fn text(error: &Error, kind: ContextKind) -> Option<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    }
}

fn attach(error: &mut Error, tip: String) {
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
}

fn found(table: &[(&[&str], &str)], word: &str) -> Option<String> {
    let row = table.iter().find(|(words, _)| words.contains(&word));
    row.map(|(_, tip)| (*tip).to_owned())
}

fn unknown_command(error: &mut Error, words: &[String]) {
    let Some(unknown) = text(error, ContextKind::InvalidSubcommand) else { return };
    let ours = Args::command();
    let visible = |name: &str| {
        ours.get_subcommands().any(|verb| verb.get_name() == name && !verb.is_hide_set())
    };
    let is_first = words.first() == Some(&unknown);
    let suggested = match error.remove(ContextKind::SuggestedSubcommand) {
        Some(ContextValue::Strings(names)) => names,
        _ => Vec::new(),
    };
    // What only the program itself calls is nothing to suggest.
    let suggested: Vec<_> =
        suggested.into_iter().filter(|name| !is_first || visible(name)).collect();
    let tip = if visible(&unknown) {
        format!("it is a separate command: cluster {unknown}")
    } else if let Some(tip) = is_first.then(|| found(COMMANDS, &unknown)).flatten() {
        tip
    } else if is_first && unknown.contains(['.', '/']) {
        // No command is written like a file: `server.js` is not meant to be `serve`.
        format!("to run a program: cluster run {unknown}")
    } else if !suggested.is_empty() {
        error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(suggested));
        return;
    } else if is_first {
        format!("to run a program: cluster run {unknown}")
    } else {
        return;
    };
    attach(error, tip);
}

fn unknown_argument(error: &mut Error, words: &[String]) {
    let Some(unknown) = text(error, ContextKind::InvalidArg) else { return };
    let command = words.first().map_or("", String::as_str);
    // To pass it as a value is never what was meant: `-- --daemon` is a program of that name.
    error.remove(ContextKind::Suggested);
    let suggested = text(error, ContextKind::SuggestedArg);
    let option = unknown.trim_start_matches('-').split('=').next().unwrap_or_default().to_owned();
    let is_option = unknown.starts_with('-');
    let tip = if is_option && option.starts_with(|c: char| c.is_ascii_digit()) {
        Some("no option takes a number below 0".to_owned())
    } else if is_option && command == "run" {
        found(OPTIONS, &option)
    } else if !is_option
        && ["reload", "scale", "drain", "upgrade", "status", "top"].contains(&command)
    {
        Some("--name NAME says which cluster is meant".to_owned())
    } else {
        None
    };
    let is_close = |name: &String| nearest(&option, [name.trim_start_matches('-')]).is_some();
    if tip.is_none() && suggested.as_ref().is_some_and(is_close) {
        return;
    }
    error.remove(ContextKind::SuggestedArg);
    // It has the suggestion in it.
    if suggested.is_some()
        && let Some(usage) = usage(command)
    {
        error.insert(ContextKind::Usage, ContextValue::StyledStr(usage));
    }
    if let Some(tip) = tip {
        attach(error, tip);
    }
}

/// What is wrong where the value of a flag stands behind it and not behind an `=`: it is taken for the
/// program.
pub(crate) fn misplaced_value(program: &[OsString], words: &[OsString]) -> Option<String> {
    let value = program.first()?.to_str()?;
    let before = words.len().checked_sub(program.len() + 1).and_then(|at| words.get(at))?;
    let name = before.to_str()?.strip_prefix("--")?;
    let mut ours = Args::command();
    ours.build();
    let run = ours.find_subcommand("run")?;
    let flag = run.get_arguments().find(|option| option.get_long() == Some(name))?;
    let is_flags = flag.is_require_equals_set() && ["true", "false", "slot"].contains(&value);
    is_flags.then(|| {
        format!(
            "{value} would be run as the program: give the value of --{name} after an equals sign: \
                 --{name}={value}"
        )
    })
}

/// What is wrong where `--env` is to remove a variable that is not there: it was meant to set one, or to
/// choose among several sets of variables, as PM2's `--env production` does.
pub(crate) fn missing_variable(variables: &[Variable]) -> Option<String> {
    let is_missing = |variable: &&Variable| {
        variable.value.is_none() && std::env::var_os(&variable.name).is_none()
    };
    let name = variables.iter().find(is_missing)?.name.to_string_lossy();
    let meant = match &*name {
        "production" | "prod" => "NODE_ENV=production".into(),
        "development" | "dev" => "NODE_ENV=development".into(),
        "staging" | "test" => format!("NODE_ENV={name}"),
        name => format!("{name}=VALUE"),
    };
    Some(format!(
        "--env {name} removes a variable from the workers' environment, but there is none of that name. \
         To set one, use --env NAME=VALUE: --env {meant}"
    ))
}

fn usage(command: &str) -> Option<clap::builder::StyledStr> {
    let mut ours = Args::command();
    ours.build();
    ours.find_subcommand_mut(command).map(Command::render_usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_of_others_is_one_of_ours() {
        let mut ours = Args::command();
        ours.build();
        let names: Vec<_> = ours.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
        for (words, tip) in COMMANDS {
            assert!(words.iter().all(|word| !names.iter().any(|name| name == word)), "{tip}");
        }
        let run = ours.find_subcommand("run").expect("it is there");
        for (words, tip) in OPTIONS {
            for word in *words {
                let long = run.get_arguments().any(|option| option.get_long() == Some(word));
                let short = run.get_arguments().filter_map(clap::Arg::get_short);
                let short = short.map(String::from).any(|short| short == *word);
                assert!(!long && !short, "{word}: {tip}");
            }
        }
    }
}
