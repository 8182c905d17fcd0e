//! What is read beside `--help`: manual pages, and completions for shells. Both are made of the options as they
//! are, by the program that has them.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::args::{Args, Completions, Pages};

/// Behind what the options say, in every page.
const FILES: &[(&str, &str)] = &[
    (
        "$XDG_RUNTIME_DIR/cluster/NAME.sock",
        "the control socket of the cluster of that name (run --name); /tmp/cluster-UID where the variable \
         is not set",
    ),
    ("cluster.toml", "options of cluster run, by their names, where run --config names it"),
];

const SIGNALS: &[(&str, &str)] = &[
    ("SIGINT, SIGTERM, SIGQUIT", "stop gracefully; the second one at once"),
    (
        "SIGHUP",
        "reload: replace every worker without losing a request; when the terminal is closed: stop gracefully \
         (under nohup: nothing)",
    ),
    ("SIGUSR2", "upgrade: continue with the new version of the program cluster"),
    ("SIGTTIN, SIGTTOU", "add or remove one worker"),
    (
        "SIGUSR1, SIGWINCH",
        "ignored, with a line in the log; process 1 of a container forwards these, SIGQUIT and SIGCONT to \
         the workers",
    ),
];

const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES",
        "sockets that a service manager passes (sd_listen_fds(3)), for run --listen",
    ),
    (
        "NOTIFY_SOCKET, WATCHDOG_USEC",
        "where readiness, status and watchdog messages go (sd_notify(3))",
    ),
    (
        "NODE_UNIQUE_ID, NODE_CHANNEL_FD",
        "set for workers, which recognize by them that they are workers",
    ),
    (
        "CLUSTER_SLOT",
        "set for workers: the number of the slot, which a replacement has after its predecessor",
    ),
];

/// Of the program as a whole; its commands have their own.
const WHOLE: &str = "\
Examples:
  cluster run server.js          one worker per core
  cluster status                 its state
  cluster reload                 replaces every worker without losing a request

Exit status:
  0  done
  1  not done; the reason was printed
  2  wrong usage
  cluster-run(1) has more";

/// `cluster completions`.
pub(crate) fn completions(asked: &Completions) -> ExitCode {
    let mut text = Vec::new();
    clap_complete::generate(asked.shell, &mut visible(), "cluster", &mut text);
    said(io::stdout().write_all(&text))
}

/// `cluster man`.
pub(crate) fn man(asked: &Pages) -> ExitCode {
    let command = visible();
    match &asked.directory {
        Some(directory) => match write_all(&command, directory) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let directory = directory.display();
                said(Err(io::Error::other(format!(
                    "the manual cannot be written to {directory}: {error}"
                ))))
            }
        },
        None => said(page(&command, "cluster").and_then(|page| io::stdout().write_all(&page))),
    }
}

fn said(outcome: io::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cluster: error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The program's options, without the commands that only it itself calls: completions know of nothing
/// hidden.
fn visible() -> Command {
    let whole = Args::command();
    let commands = whole.get_subcommands().filter(|sub| !sub.is_hide_set()).cloned();
    let about = whole.get_about().cloned().unwrap_or_default();
    Command::new("cluster").about(about).version(env!("CARGO_PKG_VERSION")).subcommands(commands)
}

/// A page for the program and one for each of its commands, as git has them: `cluster-run.1`.
fn write_all(command: &Command, directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    fs::write(directory.join("cluster.1"), page(command, "cluster")?)?;
    for sub in command.get_subcommands() {
        let name = format!("cluster-{}", sub.get_name());
        fs::write(directory.join(&name).with_extension("1"), page(sub, &name)?)?;
    }
    Ok(())
}

fn page(command: &Command, name: &str) -> io::Result<Vec<u8>> {
    let usage = name.replacen('-', " ", 1);
    let whole = name == "cluster";
    let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let examples = if whole { WHOLE.to_owned() } else { examples };
    let command = command.clone().name(name.to_owned()).bin_name(usage);
    let man = Man::new(command).manual("cluster").section("1");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if whole {
        man.render_subcommands_section(&mut page)?;
    }
    as_they_stand(&examples).to_writer(&mut page)?;
    if whole || name == "cluster-run" {
        for (heading, entries) in
            [("SIGNALS", SIGNALS), ("ENVIRONMENT", ENVIRONMENT), ("FILES", FILES)]
        {
            listed(heading, entries).to_writer(&mut page)?;
        }
    }
    see_also(whole).to_writer(&mut page)?;
    Ok(plain(&String::from_utf8_lossy(&page)).into_bytes())
}

/// In ASCII, with roff's names for the rest: not every roff is told how its input is encoded.
fn plain(page: &str) -> String {
    let mut plain = String::with_capacity(page.len());
    for c in page.chars() {
        match c {
            '…' => plain.push_str("..."),
            c if c.is_ascii() => plain.push(c),
            c => plain.push_str(&format!("\\[u{:04X}]", u32::from(c))),
        }
    }
    plain
}

/// What stands behind a command's help: headings, and under them lines that are not to be filled.
fn as_they_stand(text: &str) -> Roff {
    let mut roff = Roff::new();
    for line in text.lines() {
        match line.strip_suffix(':') {
            Some(heading) if !line.starts_with(' ') => {
                roff.control("fi", []);
                roff.control("SH", [heading.to_uppercase().as_str()]);
                roff.control("nf", []);
            }
            _ => {
                roff.text([roman(line)]);
            }
        }
    }
    roff.control("fi", []);
    roff
}

fn listed(heading: &str, entries: &[(&str, &str)]) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [heading]);
    for (term, meaning) in entries {
        roff.control("TP", []);
        roff.text([bold(*term)]);
        roff.text([roman(*meaning)]);
    }
    roff
}

fn see_also(whole: bool) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    let commands = visible();
    let names = commands.get_subcommands();
    let mut names: Vec<_> = names.map(|sub| format!("cluster-{}(1)", sub.get_name())).collect();
    if !whole {
        names.insert(0, "cluster(1)".to_owned());
    }
    roff.text([roman(names.join(", "))]);
    roff
}
