//! Programs see nothing of the agent: whatever they print is the same without it. And it is there,
//! however Node.js is started.
//!
//! On every Node.js that `CLUSTER_TEST_AGENT_NODES` names, else on those of `CLUSTER_TEST_NODES`.

#[path = "support/programs.rs"]
mod programs;
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use programs::{assert_graceful, end, log, printed, program, reload};
use rustix::process::Signal;
use serde_json::Value;
use support::{Cluster, Folder, cluster, eventually, file, nodes};

fn each_agent_node(test: impl Fn(&Path)) {
    let nodes = match std::env::var_os("CLUSTER_TEST_AGENT_NODES") {
        Some(nodes) => std::env::split_paths(&nodes).collect(),
        None => nodes(),
    };
    for node in nodes {
        eprintln!("with {}", node.display());
        test(&node);
    }
}

/// `(22, 13)`
fn version(node: &Path) -> (u32, u32) {
    let output = Command::new(node).arg("--version").output().expect("Node starts");
    let text = String::from_utf8(output.stdout).expect("a version is text");
    let mut numbers = text.trim_start_matches('v').split('.').map_while(|part| part.parse().ok());
    (numbers.next().expect("a major version"), numbers.next().expect("a minor version"))
}

/// A program that prints what it can see of its process.
fn observer(name: &str) -> String {
    text(&file("node/test/programs").join(name))
}

fn text(path: &Path) -> String {
    path.to_str().expect("it is text").to_owned()
}

/// How a program is started, beside the agent.
#[derive(Clone, Default)]
struct Start {
    options: Vec<String>,
    words: Vec<String>,
    env: Vec<(&'static str, String)>,
    /// Parts of what is seen that may differ, by their paths in the object.
    except: &'static [&'static str],
}

impl Start {
    /// Under that Node.js, with those arguments of its own.
    fn under(node: &Path, exec_args: &[&str], words: &[&str]) -> Self {
        let mut start = Self::of(node, words);
        start.options = vec!["--exec-path".into(), text(node)];
        start.options.extend(exec_args.iter().map(|arg| format!("--exec-arg={arg}")));
        start
    }

    /// As the program itself.
    fn of(node: &Path, words: &[&str]) -> Self {
        let path = std::env::var("PATH").expect("it is text");
        let folder = node.parent().expect("it is in a folder").display();
        Self {
            words: words.iter().map(|&word| word.into()).collect(),
            env: vec![("PATH", format!("{folder}:{path}"))],
            ..Self::default()
        }
    }

    fn env(mut self, name: &'static str, value: &str) -> Self {
        self.env.push((name, value.into()));
        self
    }

    fn except(mut self, except: &'static [&'static str]) -> Self {
        self.except = except;
        self
    }

    fn command(&self, options: &[&str]) -> Command {
        let mut command = cluster();
        command.env_remove("NODE_OPTIONS").env_remove("NODE_PENDING_DEPRECATION");
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.args(["run", "-n", "1"]).args(options).args(&self.options).args(&self.words);
        command
    }
}

/// What a program printed, and how it ended.
#[derive(Debug, PartialEq)]
struct Seen {
    printed: Vec<Value>,
    errors: Vec<String>,
    ended: String,
}

/// Runs it once, with or without the agent, to its end.
fn observe(start: &Start, agent: bool) -> Seen {
    let agent_option = format!("--node-agent={agent}");
    let options =
        [&agent_option, "--output", "inherit", "--backoff-first", "1h", "--backoff-max", "1h"];
    let mut cluster = Cluster::start(&mut start.command(&options));
    let ended = cluster.err.wait_for(1, |line| line.contains("worker 1 died ")).remove(0);
    cluster.signal(Signal::TERM);
    cluster.wait();
    let (ours, errors): (Vec<_>, Vec<_>) =
        cluster.err.all().into_iter().partition(|line| line.starts_with("cluster: "));
    assert!(!ours.iter().any(|line| line.contains("without cluster's agent")), "{ours:?}");
    let value = |line: String| serde_json::from_str(&line).unwrap_or(Value::String(line));
    Seen {
        printed: cluster.out.all().into_iter().map(value).collect(),
        errors: errors.into_iter().map(|line| without_pid(&line)).collect(),
        ended: ended.split("; ").next().expect("it has a first part").to_owned(),
    }
}

/// `(node:123) Warning: …`
fn without_pid(line: &str) -> String {
    match line.strip_prefix("(node:").and_then(|rest| rest.split_once(')')) {
        Some((_, rest)) => format!("(node:PID){rest}"),
        None => line.to_owned(),
    }
}

/// The paths at which two values differ, and what is there.
fn differences(one: &Value, other: &Value, at: &str, found: &mut Vec<String>, except: &[&str]) {
    if except.contains(&at) {
        return;
    }
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let names = one.keys().chain(other.keys().filter(|name| !one.contains_key(*name)));
            for name in names {
                let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                let [one, other] =
                    [one, other].map(|object| object.get(name).unwrap_or(&Value::Null));
                differences(one, other, &at, found, except);
            }
        }
        _ if one == other => {}
        _ => found.push(format!("{at}\n  without: {one}\n  with:    {other}")),
    }
}

fn compare(without: &Seen, with: &Seen, except: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    if without.printed.len() == with.printed.len() {
        for (one, other) in without.printed.iter().zip(&with.printed) {
            differences(one, other, "", &mut found, except);
        }
    } else {
        found.push(format!("{:?}\n{:?}", without.printed, with.printed));
    }
    if without.errors != with.errors || without.ended != with.ended {
        found.push(format!(
            "{} {:#?}\n{} {:#?}",
            without.ended, without.errors, with.ended, with.errors
        ));
    }
    found
}

#[track_caller]
fn assert_unseen(start: &Start) {
    let (without, with) = (observe(start, false), observe(start, true));
    let found = compare(&without, &with, start.except);
    assert!(found.is_empty(), "{:?} {:?}\n{}", start.options, start.words, found.join("\n"));
    assert!(!without.printed.is_empty(), "it prints something: {without:?}");
}

/// `async_hooks` see the agent's timers begin, if it is told to report just then.
const ASYNC_HOOKS: &[&str] = &["serving.types"];

#[test]
fn a_common_js_program_sees_nothing() {
    each_agent_node(|node| {
        let main = observer("main.cjs");
        let start = Start::under(node, &[], &[&main, "serving", "children"]);
        assert_unseen(&start.except(ASYNC_HOOKS));
        assert_unseen(&Start::under(node, &["--no-warnings"], &[&main, "-r", "b"]));
    });
}

/// Its main awaits at the top level.
#[test]
fn an_es_module_sees_nothing() {
    each_agent_node(|node| {
        let main = observer("main.mjs");
        let start = Start::under(node, &[], &[&main, "serving", "children"]);
        assert_unseen(&start.except(ASYNC_HOOKS));
    });
}

#[test]
fn node_options_are_the_programs_own() {
    each_agent_node(|node| {
        let start = Start::under(node, &[], &[&observer("main.cjs"), "children"]);
        assert_unseen(&start.clone().env("NODE_OPTIONS", "--no-warnings --stack-trace-limit=7"));
        assert_unseen(&start.env("NODE_OPTIONS", ""));
    });
}

#[test]
fn preloads_are_the_programs_own() {
    each_agent_node(|node| {
        let hook = observer("hook.cjs");
        assert_unseen(&Start::under(node, &["-r", &hook], &[&observer("main.ts")]));
        let twice = ["--require", hook.as_str(), "-r", &hook];
        assert_unseen(&Start::under(node, &twice, &[&observer("main.cjs"), "children"]));
        let import = ["--import", &observer("import.mjs")];
        assert_unseen(&Start::under(node, &import, &[&observer("main.cjs")]));
        assert_unseen(&Start::under(node, &import, &[&observer("main.mjs")]));
    });
}

/// What follows from any `--import`, by which the agent gets into a Node 20 that may not read its file:
/// the main is run by the loader of ES modules.
const LOADED_BY_IMPORT: &[&str] = &[
    "modules.parent",
    "modules.id",
    "order",
    "loaded",
    "environment.listeners.exit",
    "environment.stack",
    "activity.resources",
    "activity.requests",
    "activity.handles",
];

/// Node's arguments for a program that may read that folder only, and listen.
fn permission(node: &Path, folder: &Path) -> Vec<String> {
    let flag = match version(node) {
        (20, _) => "--experimental-permission",
        _ => "--permission",
    };
    let mut flags = vec![flag.to_owned(), format!("--allow-fs-read={}/*", folder.display())];
    if version(node).0 >= 25 {
        flags.push("--allow-net".into());
    }
    flags
}

#[test]
fn a_program_that_may_not_read_other_files_sees_nothing() {
    each_agent_node(|node| {
        let flags = permission(node, &file("node/test"));
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let start = Start::under(node, &flags, &[&observer("main.cjs")]);
        match version(node) {
            (20, _) => assert_unseen(&start.except(LOADED_BY_IMPORT)),
            // The warning of this model opens standard error before the program does.
            _ => assert_unseen(&start.except(&["activity.handles"])),
        }
    });
}

/// A script that starts itself.
fn script(folder: &Folder, name: &str, first_line: &str, code: &str) -> PathBuf {
    folder.file(name, &format!("#!{first_line}\n'use strict';\n{code}\n"), 0o755)
}

#[test]
fn a_script_that_starts_itself_sees_nothing() {
    let folder = Folder::new("agent-script");
    let code =
        format!("require({:?}).run(module, require, ['children']);", observer("observe.cjs"));
    let env = text(&script(&folder, "env", "/usr/bin/env node", &code));
    let flags = text(&script(&folder, "flags", "/usr/bin/env -S node --no-warnings", &code));
    each_agent_node(|node| {
        let direct = format!("direct-{}-{}", version(node).0, version(node).1);
        let direct = text(&script(&folder, &direct, &text(node), &code));
        assert_unseen(&Start::of(node, &[&direct]));
        assert_unseen(&Start::of(node, &[&env, "x"]));
        assert_unseen(&Start::of(node, &[&env]).env("NODE_OPTIONS", ""));
        let options = "--stack-trace-limit=8  --no-warnings ";
        assert_unseen(&Start::of(node, &[&flags, "x"]).env("NODE_OPTIONS", options));
    });
}

#[test]
fn a_program_named_node_sees_nothing() {
    each_agent_node(|node| {
        let main = observer("main.cjs");
        assert_unseen(&Start::of(node, &["node", "--no-warnings", &main, "children"]));
        assert_unseen(&Start::of(node, &[&text(node), &main, "--no-warnings"]));
    });
}

#[test]
fn programs_end_as_they_do_without_it() {
    each_agent_node(|node| {
        for way in ["throw", "reject", "exit", "code", "signal", "abort", "warning", "handler"] {
            let seen = Start::under(node, &[], &[&observer("fail.cjs"), way]);
            let (without, with) = (observe(&seen, false), observe(&seen, true));
            let found = compare(&without, &with, &[]);
            assert!(found.is_empty(), "{way}: {}", found.join("\n"));
        }
    });
}

#[test]
fn a_difference_would_be_found() {
    each_agent_node(|node| {
        let main = observer("main.cjs");
        let one = observe(&Start::under(node, &[], &[&main]), true);
        let other = observe(&Start::under(node, &[], &[&main, "more"]), true);
        let found = compare(&one, &other, &[]);
        assert!(found.len() == 1 && found[0].starts_with("environment.argv\n"), "{found:?}");
    });
}

/// Only with the agent is a handler known of.
#[track_caller]
fn assert_asked(start: &Start) {
    let mut cluster = Cluster::start(&mut start.command(&["--grace", "50"]));
    cluster.listening(1);
    reload(&cluster, 1);
    end(&mut cluster);
    assert_graceful(&cluster);
    let asked = printed(&cluster, "SIGTERM: listening true, connected true");
    assert_eq!(asked, 2, "{:?} {:?}\n{}", start.options, start.words, log(&cluster));
}

#[test]
fn the_agent_is_there_however_node_is_started() {
    let folder = Folder::new("agent-forms");
    let server = text(&program("server.cjs"));
    let code = format!("require({server:?});");
    let env = text(&script(&folder, "env", "/usr/bin/env -S node --no-warnings", &code));
    each_agent_node(|node| {
        let flags = permission(node, &file("cluster-cli/tests"));
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        assert_asked(&Start::under(node, &[], &[&server, "close"]));
        assert_asked(&Start::under(node, &flags, &[&server, "close"]));
        assert_asked(&Start::of(node, &["node", &server, "close"]));
        assert_asked(&Start::of(node, &[&env, "close"]));
        let options = Start::of(node, &[&env, "close"]).env("NODE_OPTIONS", "--no-deprecation");
        assert_asked(&options);
    });
}

/// The file that a worker's agent was loaded from.
fn agent_file(worker: i32) -> PathBuf {
    let line = std::fs::read_to_string(format!("/proc/{worker}/cmdline")).expect("it is there");
    let found = line.split('\0').find(|word| word.contains("/cluster-agent-"));
    PathBuf::from(found.expect("its command line names the agent"))
}

#[test]
fn agents_outlive_an_upgrade_and_leave_no_file() {
    each_agent_node(|node| {
        let start = Start::under(node, &[], &[&text(&program("server.cjs")), "close"]);
        let mut cluster = Cluster::start(&mut start.command(&["--grace", "50"]));
        cluster.listening(1);
        let agent = agent_file(cluster.worker_pids()[0]);
        assert!(agent.is_file(), "{}", agent.display());
        cluster.signal(Signal::USR2);
        cluster.err.wait_for(1, |line| line.contains("upgrade 1)"));
        assert!(agent.is_file(), "{}", agent.display());
        // The worker that was there before is asked by its handler, and so is the next one.
        reload(&cluster, 1);
        assert_eq!(printed(&cluster, "SIGTERM: listening true"), 1, "{}", log(&cluster));
        assert!(agent_file(*cluster.worker_pids().last().expect("one")).is_file());
        reload(&cluster, 2);
        assert_eq!(printed(&cluster, "SIGTERM: listening true"), 2, "{}", log(&cluster));
        let last = agent_file(*cluster.worker_pids().last().expect("one"));
        end(&mut cluster);
        assert_graceful(&cluster);
        for path in [agent, last] {
            let folder = path.parent().expect("it is in a folder");
            eventually("its folder is gone", || (!folder.exists()).then_some(()));
        }
    });
}
