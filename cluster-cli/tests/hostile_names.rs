//! Names that workers choose do nothing to a terminal, and forge no line of a log, wherever they are shown.

#[path = "support/hostile.rs"]
mod hostile;
mod support;

use std::net::SocketAddr;
use std::process::Command;

use hostile::UnderAttack;
use support::{Cluster, Folder, cluster, eventually, get_path};

/// What no output may have in it: control characters, and those that change or hide other text.
fn is_unsafe(character: char) -> bool {
    (character.is_control() && character != '\n')
        || ('\u{2028}'..='\u{202e}').contains(&character)
        || ('\u{2066}'..='\u{2069}').contains(&character)
        || character == '\u{feff}'
}

#[track_caller]
fn assert_safe(what: &str, text: &str) {
    let found: Vec<_> = text.lines().filter(|line| line.contains(is_unsafe)).collect();
    assert!(found.is_empty(), "{what}: {found:?}");
    assert!(!text.lines().any(|line| line.starts_with("cluster: error: forged")), "{what}: {text}");
}

struct Trial {
    under_attack: UnderAttack,
    control: String,
    http: SocketAddr,
    _folder: Folder,
}

impl Trial {
    /// Without looking for workers in the log, which is JSON.
    fn end(self) {
        let mut cluster = self.under_attack.survived();
        cluster.signal(rustix::process::Signal::TERM);
        assert!(cluster.wait().success());
    }
}

fn attacked(options: &[&str]) -> Trial {
    // The path of a socket has to be short.
    let folder = Folder::new("n");
    let control = folder.0.join("c").display().to_string();
    let path = folder.0.display().to_string();
    let options = [&["--http", "127.0.0.1:0", "--control", &control], options].concat();
    let cluster = Cluster::start(&mut hostile::run(&options, "names", &[&path]));
    let http = eventually("the log, or an event, names its HTTP server", || {
        let lines = [cluster.err.all(), cluster.out.all()].concat();
        let line = lines.into_iter().find(|line| line.contains("http://"))?;
        line.split("http://").nth(1)?.split('/').next()?.parse().ok()
    });
    let address = eventually("the other one listens", || {
        let status = get_path(http, "/status").ok()?;
        let status: serde_json::Value = serde_json::from_str(&status).ok()?;
        let workers = status["workers"].as_array()?;
        // The hostile one has been answered, too.
        let paths =
            |at: &serde_json::Value| at["address"].as_str().is_some_and(|at| at.contains("owned"));
        let listening = |worker: &serde_json::Value| worker["listening"].as_array().cloned();
        workers.iter().filter_map(listening).flatten().find(paths)?;
        let mut ports = workers.iter().flat_map(|worker| {
            worker["listening"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|at| at["port"].as_u64())
        });
        ports.find(|port| *port > 0)
    });
    let address = SocketAddr::from(([127, 0, 0, 1], u16::try_from(address).unwrap()));
    Trial { under_attack: UnderAttack::at(cluster, address), control, http, _folder: folder }
}

fn printed(trial: &Trial, args: &[&str]) -> String {
    let mut command: Command = cluster();
    let (verb, rest) = args.split_first().expect("there is a verb");
    command.arg(verb).args(["--control", &trial.control]).args(rest);
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).expect("it is a text")
}

#[test]
fn the_log_and_the_tables_escape_them() {
    let trial = attacked(&[]);
    trial.under_attack.cluster.err.wait_for(1, |line| line.contains("cannot listen on /nowhere/"));
    let log = trial.under_attack.cluster.err.all().join("\n");
    for what in ["listens on ", "cannot listen on /nowhere/"] {
        let line = log.lines().find(|line| line.contains(what) && line.contains("owned"));
        let line = line.unwrap_or_else(|| panic!("no line has {what:?}: {log}"));
        let escaped = r"\u{1b}]0;owned\u{7}\u{1b}[31m\u{9b}2J\r\ncluster: error: forged\u{2028}\u{202e}txt.exe";
        assert!(line.starts_with("cluster: ") && line.contains(escaped), "{line}");
    }
    assert_safe("the log", &log);
    for args in [&["status"][..], &["status", "--json"], &["ctl", "ls"], &["ctl", "--json", "ls"]] {
        let text = printed(&trial, args);
        assert!(text.contains("owned"), "{args:?} shows where workers listen: {text}");
        assert_safe(&format!("{args:?}"), &text);
    }
    let metrics = get_path(trial.http, "/metrics").unwrap();
    assert_safe("metrics", &metrics);
    assert!(!metrics.contains("owned"), "no label is a worker's choice");
    let page = get_path(trial.http, "/").unwrap();
    assert!(!page.contains("owned"), "the page asks for the status, and has no text of its own");
    // What JSON says is what it was.
    let status: serde_json::Value =
        serde_json::from_str(&printed(&trial, &["status", "--json"])).unwrap();
    let workers = status["workers"].as_array().unwrap();
    let paths = workers.iter().flat_map(|worker| worker["listening"].as_array().unwrap());
    let mut paths = paths.filter_map(|at| at["address"].as_str());
    assert!(paths.any(|path| path.contains("\u{1b}]0;owned\u{7}\u{1b}[31m\u{9b}2J\r\n")));
    trial.under_attack.survived().end();
}

#[test]
fn the_log_as_json_escapes_them() {
    let trial = attacked(&["--log-format", "json"]);
    trial.under_attack.cluster.err.wait_for(1, |line| line.contains("cannot listen on /nowhere/"));
    let log = trial.under_attack.cluster.err.all().join("\n");
    assert_safe("the log", &log);
    let listens =
        log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let messages: Vec<_> =
        listens.filter_map(|line| Some(line["message"].as_str()?.to_owned())).collect();
    // People read it in the end: within the message names are escaped too.
    assert!(messages.iter().any(|message| message.contains(r"\u{1b}]0;owned")), "{messages:?}");
    trial.end();
}

#[test]
fn events_as_json_escape_them_and_mean_the_same() {
    let trial = attacked(&["--json"]);
    trial.under_attack.cluster.out.wait_for(1, |line| line.contains("/nowhere/"));
    let events = trial.under_attack.cluster.out.all().join("\n");
    assert_safe("the events", &events);
    let events =
        events.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut addresses =
        events.filter_map(|event| Some(event["address"]["address"].as_str()?.to_owned()));
    assert!(addresses.any(|path| path.contains("\r\ncluster: error: forged\u{2028}\u{202e}")));
    trial.end();
}
