//! `cluster run --config`: what a file says is done, and what is wrong with one is said.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::{Cluster, Folder, cluster, file, get};

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn run(command: &mut Command) -> Said {
    let output = command.stdin(Stdio::null()).output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it says text");
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A file with that in it.
fn written(folder: &Folder, text: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.0.join("cluster.toml");
    std::fs::write(&path, text).expect("it is written");
    path
}

fn check(path: &Path, options: &[&str]) -> Said {
    run(cluster().args(["run", "--check", "--config"]).arg(path).args(options))
}

/// What is said of a file with that in it; `FILE` stands for its path.
#[track_caller]
fn assert_wrong(name: &str, text: impl AsRef<[u8]>, wanted: &str) {
    let folder = Folder::new(name);
    let path = written(&folder, text);
    let said = check(&path, &[]);
    let err = said.err.replace(path.to_str().expect("it is text"), "FILE");
    assert_eq!((said.code, said.out.as_str(), err.as_str()), (Some(2), "", wanted), "{err}");
}

/// The file that is printed says the same as the one that was read, whether there is the program that
/// it names or not.
#[track_caller]
fn in_force(path: &Path, options: &[&str]) -> String {
    let said = check(path, options);
    match said.code {
        Some(0) => assert_eq!(said.err, ""),
        code => {
            let errors = said.err.lines().filter(|line| !line.starts_with("cluster: hint: "));
            let errors: Vec<_> = errors.collect();
            assert_eq!((code, errors.len()), (Some(1), 1), "{}", said.err);
            assert!(errors[0].starts_with("cluster: error: cannot "), "{}", said.err);
        }
    }
    let folder = Folder::new(&format!("again-{}", path.display().to_string().replace('/', "_")));
    let again = check(&written(&folder, &said.out), &[]);
    assert_eq!((again.code, &again.err, &again.out), (said.code, &said.err, &said.out));
    said.out
}

#[test]
fn an_unknown_name_is_told_from_those_that_are_known() {
    assert_wrong(
        "unknown",
        "workers = 2\nworker = 4\n",
        "\
cluster: error: FILE:2:1: there is no option worker; did you mean workers?
  |
2 | worker = 4
  | ^^^^^^
",
    );
    assert_wrong(
        "unknown-elsewhere",
        "instances = 4\n",
        "\
cluster: error: FILE:1:1: there is no option instances; did you mean workers?
  |
1 | instances = 4
  | ^^^^^^^^^
",
    );
    assert_wrong(
        "unknown-case",
        "  max_failures = 4\n",
        "\
cluster: error: FILE:1:3: there is no option max_failures; did you mean max-failures?
  |
1 |   max_failures = 4
  |   ^^^^^^^^^^^^
",
    );
    assert_wrong(
        "unknown-all",
        "colour = 'blue'\n",
        "\
cluster: error: FILE:1:1: there is no option colour
  |
1 | colour = 'blue'
  | ^^^^^^
  = there are workers, exec-path, exec-arg, cwd, env, serialization, policy, placement, \
give-way, backoff-first, backoff-max, max-failures, failure-period, stable-after, replace-disconnected, ready, \
ready-timeout, min-ready-time, batch, hang-after, hang-replace, max-memory, max-age, max-connections, recycle-jitter, listen, \
keep-listeners, socket-mode, socket-owner, demo-listen, node-agent, stop-signal, stop-message, drain-timeout, grace, kill-after, keep-detached, drain-delay, uid, gid, groups, privileged-ports, keep-capabilities, no-new-privs, \
affinity, http, http-host, output, log-format, log-level, log-connections, json, control, name, program
",
    );
}

#[test]
fn options_do_not_stand_in_tables() {
    assert_wrong(
        "tables",
        "[placing]\npolicy = 'rr'\n",
        "\
cluster: error: FILE:1:2: there is no option placing
  |
1 | [placing]
  |  ^^^^^^^
  = options stand at the top of the file, and not in tables; there is only [env]
",
    );
    assert_wrong(
        "after-env",
        "[env]\nNODE_ENV = 'production'\nworkers = 2\n",
        "\
cluster: error: FILE:3:11: env: expected a value in quotes, or false to remove the variable, got 2
  |
3 | workers = 2
  |           ^
  = workers is an option too: options stand before [env]
",
    );
}

#[test]
fn a_value_of_the_wrong_kind_is_told_in_the_options_words() {
    assert_wrong(
        "kinds",
        "\
workers = 'four'
grace = true
policy = 'stikcy'
hang-replace = 'yes'
listen = '8000'
exec-arg = ['--inspect', 5]
cwd = 3
ready = { when = 'listening' }
env = 'A=B'
",
        "\
cluster: error: FILE:1:11: workers: expected a number from 1 to 10000, got 'four'
  |
1 | workers = 'four'
  |           ^^^^^^

FILE:2:9: grace: expected a duration: 10 or \"10s\", \"500ms\", \"5m\", \"1h\", \"7d\", got true
  |
2 | grace = true
  |         ^^^^

FILE:3:10: policy: expected rr, least-connections, sticky or random, got 'stikcy'; did you mean sticky?
  |
3 | policy = 'stikcy'
  |          ^^^^^^^^

FILE:4:16: hang-replace: expected true or false, got 'yes'
  |
4 | hang-replace = 'yes'
  |                ^^^^^

FILE:5:10: listen: expected a list, each element of which is a port, HOST:PORT, [IPV6]:PORT, unix:PATH or fd:NAME (a \
socket that cluster was given), with NAME= before it if the socket is to have a name, got '8000'
  |
5 | listen = '8000'
  |          ^^^^^^

FILE:6:26: exec-arg: expected a text in quotes, got 5
  |
6 | exec-arg = ['--inspect', 5]
  |                          ^

FILE:7:7: cwd: expected a path in quotes, got 3
  |
7 | cwd = 3
  |       ^

FILE:8:9: ready: expected listening, online, message, notify or alive, got { when = 'listening' }
  |
8 | ready = { when = 'listening' }
  |         ^^^^^^^^^^^^^^^^^^^^^^

FILE:9:7: env: expected a table: [env], and below it NAME = \"value\", or NAME = false to remove one, \
got 'A=B'
  |
9 | env = 'A=B'
  |       ^^^^^
",
    );
}

#[test]
fn a_value_out_of_range_is_told_by_the_range() {
    assert_wrong(
        "ranges",
        "\
workers = 0
recycle-jitter = 101
max-memory = 0
max-age = 0
grace = -1
uid = 'no-such-user'
stop-signal = 'SIGKILL'
http = 65536
name = '../up'
",
        "\
cluster: error: FILE:1:11: workers: expected a number from 1 to 10000, got 0
  |
1 | workers = 0
  |           ^

FILE:2:18: recycle-jitter: expected a number from 0 to 100, got 101
  |
2 | recycle-jitter = 101
  |                  ^^^

FILE:3:14: max-memory: expected a size: \"800K\", \"512M\", \"1G\", or a number of bytes, got 0
  |
3 | max-memory = 0
  |              ^

FILE:4:11: max-age: expected a duration of at least 1ms: 10 or \"10s\", \"500ms\", \"5m\", \"1h\", \"7d\", got 0
  |
4 | max-age = 0
  |           ^

FILE:5:9: grace: expected a duration: 10 or \"10s\", \"500ms\", \"5m\", \"1h\", \"7d\", got -1
  |
5 | grace = -1
  |         ^^

FILE:6:7: uid: there is no user no-such-user on this system
  |
6 | uid = 'no-such-user'
  |       ^^^^^^^^^^^^^^

FILE:7:15: stop-signal: expected none, or a signal that can be handled: \"SIGTERM\", \"SIGQUIT\", 15, got 'SIGKILL'
  |
7 | stop-signal = 'SIGKILL'
  |               ^^^^^^^^^

FILE:8:8: http: \"65536\" is no port (0 to 65535), and no HOST:PORT
  |
8 | http = 65536
  |        ^^^^^

FILE:9:8: name: expected a name of letters, digits, -, _ and ., at most 60, the first of them no ., \
got '../up'
  |
9 | name = '../up'
  |        ^^^^^^^
",
    );
}

#[test]
fn a_name_that_stands_twice_is_found_in_both_places() {
    assert_wrong(
        "twice",
        "workers = 1\ngrace = 5\nworkers = 2\n",
        "\
cluster: error: FILE:3:1: workers is given twice; it stands on line 1 already
  |
3 | workers = 2
  | ^^^^^^^
",
    );
    assert_wrong(
        "twice-table",
        "[env]\nA = 'b'\n[env]\n",
        "\
cluster: error: FILE:3:2: env is given twice
  |
3 | [env]
  |  ^^^
",
    );
    assert_wrong(
        "twice-env",
        "[env]\nA = 'b'\n\n'A' = 'c'\n",
        "\
cluster: error: FILE:4:1: 'A' is given twice; it stands on line 2 already
  |
4 | 'A' = 'c'
  | ^^^
",
    );
}

#[test]
fn what_is_no_toml_is_shown_where_it_is() {
    assert_wrong(
        "quotes",
        "\tgrace = 10s # seconds\n",
        "\
cluster: error: FILE:1:10: this is not TOML: text stands in quotes
  |
1 | \tgrace = 10s # seconds
  | \t        ^^^
  = such as grace = \"10s\"
",
    );
    assert_wrong(
        "nothing",
        "grace = 1\nworkers = \n",
        "\
cluster: error: FILE:2:11: this is not TOML: there is no value
  |
2 | workers = 
  |           ^
",
    );
    assert_wrong(
        "sign",
        "workers 2\n",
        "\
cluster: error: FILE:1:9: this is not TOML: key with no value, expected `=`
  |
1 | workers 2
  |         ^
",
    );
    assert_wrong(
        "bracket",
        "program = ['server.js'\nworkers = 2\n",
        "\
cluster: error: FILE:2:1: this is not TOML: missing comma between array elements, expected `,`
  |
2 | workers = 2
  | ^
",
    );
}

#[test]
fn what_is_no_text_is_said_to_be_none() {
    assert_wrong(
        "bytes",
        b"# caf\xc3\xa9\nname = \"\xc3\xa9\xe9\"\n",
        "cluster: error: FILE:2:10: this byte is not valid UTF-8, which TOML requires\n",
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = Folder::new("unreadable");
    let path = folder.0.join("nowhere.toml");
    let said = check(&path, &[]);
    let wanted = format!(
        "cluster: error: cannot read the configuration file {}: No such file or directory (os error 2)\n",
        path.display()
    );
    assert_eq!((said.code, said.err), (Some(2), wanted));
    let said = check(&folder.0, &[]);
    let wanted = format!(
        "cluster: error: {}: this is a folder, not a configuration file\n",
        folder.0.display()
    );
    assert_eq!((said.code, said.err), (Some(2), wanted));
}

#[test]
fn options_that_do_not_go_together_are_told_wherever_they_stand() {
    for (text, options, wanted) in [
        (
            "policy = 'sticky'",
            &["--placement", "shared"][..],
            "--policy has no effect with --placement shared",
        ),
        ("backoff-max = '1s'", &["--backoff-first", "2"], "(2s) is longer than --backoff-max (1s)"),
        (
            "hang-replace = true",
            &["--hang-after=0"],
            "--hang-replace has no effect with --hang-after 0",
        ),
        (
            "drain-timeout = '3s'",
            &["--node-agent=false"],
            "--drain-timeout has no effect with --node-agent=false",
        ),
        ("grace = 2", &["--drain-timeout", "3"], "(3s) is longer than --grace (2s)"),
        (
            "program = ['a']",
            &["--demo-listen", "127.0.0.1:1"],
            "--demo-listen is the address of the demo",
        ),
        ("listen = [8000]", &[], "--listen is for programs that do not use the channel"),
        ("name = 'a'\ncontrol = 'b'", &[], "give one of them"),
        ("uid = 3999999999", &[], "give one with --gid"),
        ("program = ['']", &[], "is a shell variable unset?"),
        ("exec-arg = ['app.js']", &[], "say how to run a program, but no program is given"),
    ] {
        let folder = Folder::new("conflicts");
        let said = check(&written(&folder, text), options);
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{text}");
        assert!(said.err.starts_with("cluster: error: "), "{}", said.err);
        assert!(said.err.contains(wanted), "{}", said.err);
        assert_eq!(said.err.lines().count(), 1, "{}", said.err);
    }
}

#[test]
fn the_command_line_has_the_same_rules() {
    for (options, wanted) in [
        (&["-n", "0"][..], "expected a number from 1 to 10000"),
        (&["--grace", "10 s"], "expected a duration: 10 or"),
        (&["--policy", "stikcy"], "did you mean sticky?"),
        (&["--uid", "no-such-user"], "there is no user no-such-user on this system"),
        (&["--max-memory=0"], "expected a size"),
        (&["--name", ".."], "expected a name"),
        (&["--env", "=x"], "a variable needs a name"),
        (&["--demo-listen", "localhost:80"], "expected ADDRESS:PORT, such as"),
        (&["--listen", "web"], "expected a port, HOST:PORT, [IPV6]:PORT, unix:PATH or fd:NAME"),
        (&["--listen", "65536"], "a port is a number up to 65535"),
        (&["--http", "web"], "\"web\" is no port (0 to 65535), and no HOST:PORT"),
    ] {
        let said = run(cluster().args(["run", "--check"]).args(options));
        assert_eq!(said.code, Some(2), "{options:?}");
        assert!(said.err.contains(wanted), "{}", said.err);
    }
}

#[test]
fn a_check_says_what_is_not_there() {
    let folder = Folder::new("there");
    std::fs::write(folder.0.join("app.js"), "").unwrap();
    std::fs::create_dir(folder.0.join("inside")).unwrap();
    for (text, wanted) in [
        ("program = ['app.js']\nexec-path = 'sh'", None),
        ("program = ['sh']\ncwd = 'inside'", None),
        ("program = ['sh']\nlisten = [8000]", None),
        ("program = ['gone.js']", Some("cannot run the script HERE/gone.js: No such file")),
        (
            "program = ['app.js']\nexec-path = './inside'",
            Some("cannot execute HERE/./inside: Is a directory"),
        ),
        ("program = ['./gone', 'x']", Some("cannot execute HERE/./gone: No such file")),
        ("program = ['app.js']\nexec-path = 'cluster-no-such-node'", Some("and on PATH?")),
        ("program = ['./app.js']\nexec-path = './app.js'", Some("is not executable: chmod +x")),
        (
            "program = ['sh']\ncwd = 'gone'",
            Some("run a worker in the directory HERE/gone: No such"),
        ),
        (
            "program = ['sh']\n[env]\nPATH = '/no/such/folder'",
            Some("is it installed, and on PATH?"),
        ),
    ] {
        let said = check(&written(&folder, text), &[]);
        assert!(said.out.contains("program = ["), "the options are printed: {}", said.out);
        let err = said.err.replace(folder.0.to_str().expect("it is text"), "HERE");
        match wanted {
            None => assert_eq!((said.code, err.as_str()), (Some(0), ""), "{text}"),
            Some(wanted) => {
                assert_eq!(said.code, Some(1), "{text}");
                assert!(err.starts_with("cluster: error: ") && err.contains(wanted), "{err}");
            }
        }
    }
}

#[test]
fn the_defaults_are_in_force() {
    let said = run(cluster().args(["run", "--check", "-n", "3"]));
    let wanted = r#"workers = 3
serialization = "json"
placement = "handoff"
policy = "rr"
give-way = true
backoff-first = "100ms"
backoff-max = "10s"
max-failures = 5
failure-period = "1m"
stable-after = "5s"
replace-disconnected = true
ready = "listening"
ready-timeout = "30s"
min-ready-time = "1s"
batch = 1
hang-after = "10s"
hang-replace = false
recycle-jitter = 10
keep-listeners = true
demo-listen = "127.0.0.1:8000"
node-agent = true
stop-signal = "SIGTERM"
drain-timeout = "5s"
grace = "10s"
kill-after = "5s"
keep-detached = false
drain-delay = "0s"
keep-capabilities = false
no-new-privs = false
affinity = "false"
output = "prefix"
log-format = "text"
log-level = "info"
log-connections = false
json = false
"#;
    assert_eq!((said.code, said.err.as_str(), said.out.as_str()), (Some(0), "", wanted));
}

#[test]
fn the_help_names_the_defaults_that_are_in_force() {
    let help = run(cluster().args(["run", "--help"])).out;
    let in_force = run(cluster().args(["run", "--check"])).out;
    let mut compared = 0;
    for line in in_force.lines() {
        let (name, value) = line.split_once(" = ").expect("it is an option");
        let text = help.split(&format!("--{name}")).skip(1).find_map(|text| {
            let text = text.strip_prefix([' ', '['])?.split("\n\n").next()?;
            Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
        });
        let text = text.unwrap_or_else(|| panic!("{name} is not in {help}"));
        let default = text.split("[default: ").nth(1).expect("its default is told");
        let default = default.trim_end_matches(']').split(',').next().expect("there is one");
        // Its default depends on another option.
        if name == "drain-timeout" {
            assert_eq!(default, "half of --grace");
        } else if name != "workers" {
            assert_eq!(value.trim_matches('"'), default, "{name}");
            compared += 1;
        }
    }
    assert!(compared > 20, "{in_force}");
}

#[test]
fn an_option_in_the_table_of_variables_is_hinted_at() {
    let folder = Folder::new("hint");
    let path = written(&folder, "workers = 1\n[env]\nOTHER = 'x'\npolicy = 'random'\n");
    let cluster = Cluster::start(
        cluster().args(["run", "--demo-listen", "127.0.0.1:0", "--config"]).arg(&path),
    );
    cluster.listening(1);
    let hints = cluster.err.wait_for(1, |line| line.starts_with("cluster: hint: "));
    assert_eq!(hints.len(), 1, "{hints:?}");
    assert!(hints[0].starts_with("cluster: hint: policy is set as a variable"), "{hints:?}");
    cluster.end();
}

#[test]
fn every_option_can_be_given_and_is_in_force() {
    let folder = Folder::new("every");
    let text = r#"
program = ["./server.js", "--port", "80"]
workers = 2
exec-path = "bin/node"
exec-arg = ["--enable-source-maps"]
cwd = "app"
serialization = "advanced"
placement = "kernel"
policy = "sticky"
give-way = false
backoff-first = 0.25
backoff-max = "1.5m"
max-failures = 7
failure-period = "1h"
stable-after = 0
replace-disconnected = false
ready = "message"
ready-timeout = 5
min-ready-time = 0
batch = 2
hang-after = 0
max-memory = 1048576
max-age = "7d"
max-connections = 1_000_000
recycle-jitter = 0
listen = [8000, "[::1]:80", "run/app.sock"]
keep-listeners = false
socket-mode = "660"
socket-owner = "root:5"
node-agent = true
stop-signal = 3
stop-message = '{"cmd":"stop"}'
drain-timeout = 3
grace = "20s"
kill-after = 2
keep-detached = true
drain-delay = "5s"
uid = 0
groups = ["root", 5]
privileged-ports = [80, 443]
keep-capabilities = true
no-new-privs = true
affinity = true
http = "0.0.0.0:9090"
http-host = ["App.internal", "*"]
output = "inherit"
log-format = "json"
log-level = "debug"
log-connections = true
json = true
control = "run/control"
[env]
B = "two words"
A = false
"#;
    let path = written(&folder, text);
    let here = folder.0.to_str().unwrap();
    let wanted = format!(
        r#"program = ["{here}/./server.js", "--port", "80"]
workers = 2
exec-path = "{here}/bin/node"
exec-arg = ["--enable-source-maps"]
cwd = "{here}/app"
serialization = "advanced"
placement = "kernel"
policy = "sticky"
give-way = false
backoff-first = "250ms"
backoff-max = "90s"
max-failures = 7
failure-period = "1h"
stable-after = "0s"
replace-disconnected = false
ready = "message"
ready-timeout = "5s"
min-ready-time = "0s"
batch = 2
hang-after = "0s"
hang-replace = false
max-memory = "1M"
max-age = "7d"
max-connections = 1000000
recycle-jitter = 0
listen = ["*:8000", "[::1]:80", "unix:{here}/run/app.sock"]
keep-listeners = false
socket-mode = "0660"
socket-owner = "root:5"
node-agent = true
stop-signal = "SIGQUIT"
stop-message = '{{"cmd":"stop"}}'
drain-timeout = "3s"
grace = "20s"
kill-after = "2s"
keep-detached = true
drain-delay = "5s"
uid = "0"
gid = "0"
groups = ["root", "5"]
privileged-ports = [80, 443]
keep-capabilities = true
no-new-privs = true
affinity = "slot"
http = "0.0.0.0:9090"
http-host = ["app.internal", "*"]
output = "inherit"
log-format = "json"
log-level = "debug"
log-connections = true
json = true
control = "{here}/run/control"

[env]
A = false
B = "two words"
"#
    );
    if cfg!(target_os = "linux") {
        assert_eq!(in_force(&path, &[]), wanted);
    }
}

#[test]
fn the_command_line_counts_more() {
    let folder = Folder::new("over");
    let path = written(
        &folder,
        "workers = 2\njson = true\ngroups = [1, 2]\nname = 'a'\nprogram = ['a']\n[env]\nA = 'b'\n",
    );
    let said = in_force(
        &path,
        &[
            "-n3",
            "--json=false",
            "--groups",
            "3,4",
            "--control",
            "/c",
            "--env",
            "B=1",
            "--env",
            "XDG_RUNTIME_DIR",
            "b",
            "-v",
        ],
    );
    for line in [
        "workers = 3",
        "json = false",
        "groups = [\"3\", \"4\"]",
        "control = \"/c\"",
        "program = [\"b\", \"-v\"]",
        "[env]\nB = \"1\"\nXDG_RUNTIME_DIR = false\n",
    ] {
        assert!(said.contains(line), "{line} in {said}");
    }
    assert!(!said.contains("name = "), "{said}");
}

#[test]
fn the_example_is_complete_and_good() {
    let path = file("cluster-cli/examples/cluster.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let said = run(cluster().args(["run", "--help"]));
    let options = said.out.lines().filter_map(|line| {
        // What is further in belongs to the text of one.
        line.strip_prefix("      --").or(line.strip_prefix("  -n, --"))
    });
    let options = options.map(|option| option.split([' ', '[']).next().unwrap());
    let mut count = 0;
    for option in options.filter(|option| !["config", "check", "help", "env"].contains(option)) {
        let names = |line: &str| line.trim_start_matches("# ").starts_with(&format!("{option} = "));
        assert!(text.lines().any(names), "{option} is not in the example");
        count += 1;
    }
    assert!(count > 35, "{count} options");
    let said = in_force(&path, &[]);
    assert!(said.contains("log-format = \"json\"") && said.contains("[env]"), "{said}");
    // What stands there as the default is the default.
    let folder = Folder::new("example");
    let bare = written(&folder, "program = ['server.js']\n");
    let bare = in_force(&bare, &[]);
    for line in text.lines().filter_map(|line| line.strip_prefix("# ")) {
        let Some((name, _)) = line.split_once(" = ") else { continue };
        if let Some(default) = bare.lines().find(|line| line.starts_with(&format!("{name} = "))) {
            // For a flag that may be more a string is written.
            assert_eq!(line.replace('"', ""), default.replace('"', ""));
        }
    }
}

#[test]
fn what_the_file_says_is_done() {
    let folder = Folder::new("done");
    let demo = env!("CARGO_BIN_EXE_cluster");
    let script = format!("#!/bin/sh\necho \"$WHO in $PWD\"\nexec {demo} demo-worker 127.0.0.1:0\n");
    std::fs::write(folder.0.join("start.sh"), script).unwrap();
    std::fs::create_dir_all(folder.0.join("inside")).unwrap();
    let text = "program = ['start.sh']\nexec-path = 'sh'\nworkers = 2\ncwd = 'inside'\n[env]\nWHO = 'me'\n";
    let path = written(&folder, text);
    let cluster = Cluster::start(cluster().args(["run", "--config"]).arg(&path));
    get(cluster.listening(2)).expect("it serves");
    let inside = folder.0.join("inside").canonicalize().unwrap();
    for slot in [0, 1] {
        let wanted = format!("[{slot}] me in {}", inside.display());
        cluster.out.wait_for(1, |line| line == wanted);
    }
    cluster.end();
}
