//! What goes wrong at the start is said in a line that names it, and leaves nothing behind.

mod support;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::Command;

use rustix::process::Signal;
use support::{Cluster, Folder, cluster, eventually, is_there};

/// Runs to the end; the status, and what was said.
fn fail(command: &mut Command) -> (Option<i32>, String) {
    let mut cluster = Cluster::start(command);
    let status = cluster.wait();
    let pids = cluster.worker_pids();
    for pid in pids {
        support::eventually("the worker is gone", || (!support::is_there(pid)).then_some(()));
    }
    let said = support::eventually("it said something", || {
        let said = cluster.err.all().join("\n");
        (!said.is_empty()).then_some(said)
    });
    (status.code(), said)
}

#[test]
fn a_missing_program() {
    let (status, said) = fail(cluster().args(["run", "-n", "2", "/nowhere/to/be/found"]));
    assert_eq!(status, Some(1));
    assert!(said.contains("cannot execute /nowhere/to/be/found: No such file"), "{said}");
}

#[test]
fn a_program_that_is_not_on_the_path() {
    let (status, said) = fail(cluster().args(["run", "no-such-program-here"]));
    assert_eq!(status, Some(1));
    assert!(said.contains("no-such-program-here") && said.contains("on PATH?"), "{said}");
}

#[test]
fn a_missing_script() {
    let (status, said) = fail(cluster().args(["run", "nowhere.js"]));
    assert_eq!(status, Some(1));
    assert!(said.contains("cannot run the script nowhere.js: No such file"), "{said}");
}

#[test]
fn a_file_that_may_not_be_executed() {
    let folder = Folder::new("plain");
    let path = folder.file("plain", "#!/bin/sh\n", 0o644);
    let (status, said) = fail(cluster().arg("run").arg(&path));
    assert_eq!(status, Some(1));
    let advice = "plain is not executable: chmod +x, or name its interpreter: --exec-path /bin/sh";
    assert!(said.contains(advice), "{said}");
}

#[test]
fn a_folder_is_no_program() {
    let folder = Folder::new("folder.js");
    let script = folder.0.join("app.js");
    std::fs::create_dir(&script).unwrap();
    let (status, said) = fail(cluster().args(["run", "app.js"]).current_dir(&folder.0));
    assert_eq!(status, Some(1));
    assert!(said.contains("cannot run the script app.js: Is a directory"), "{said}");
    let wanted = format!("{} is a folder, and has no main file", script.display());
    let (status, said) = fail(cluster().arg("run").arg(&script));
    assert_eq!(status, Some(2));
    assert!(said.contains(&wanted), "{said}");
    for options in [&[][..], &["--listen", "127.0.0.1:0"]] {
        let (status, said) = fail(cluster().arg("run").args(options).arg("./").current_dir("/"));
        assert_eq!(status, Some(2));
        assert!(said.contains("./ is a folder, and has no main file"), "{said}");
    }
}

#[test]
fn a_relative_path_is_told_with_where_it_was_sought() {
    let here = Folder::new("sought");
    let wanted = format!("; looked up relative to {}", here.0.canonicalize().unwrap().display());
    for program in ["./gone", "gone.js"] {
        let (status, said) = fail(cluster().args(["run", program]).current_dir(&here.0));
        assert_eq!(status, Some(1));
        assert!(said.contains(&wanted), "{said}");
    }
}

#[test]
fn no_program_where_one_was_meant() {
    for (args, wanted) in [
        (&["run", ""][..], "the program's name is empty: is a shell variable unset?"),
        (&["run", "--exec-arg", "app.js"], "say how to run a program, but no program is given"),
    ] {
        let (status, said) = fail(cluster().args(args));
        assert_eq!(status, Some(2));
        assert!(said.contains(wanted), "{said}");
    }
    let demo = Cluster::start(cluster().args(["run", "-n", "1", "--demo-listen", "127.0.0.1:0"]));
    demo.err.wait_for(1, |line| {
        line == "cluster: no program is given: running the demo on 127.0.0.1:0"
    });
    demo.listening(1);
    demo.end();
}

#[test]
fn words_in_the_wrong_place() {
    let usage = |args: &[&str], wanted: &str| {
        let (status, said) = fail(cluster().args(args));
        assert_eq!(status, Some(2), "{said}");
        assert!(said.contains(wanted), "{said}");
    };
    usage(&["app.js"], "tip: to run a program: cluster run app.js");
    usage(&["server.js", "-n", "2"], "tip: to run a program: cluster run server.js");
    usage(&["./serve"], "tip: to run a program: cluster run ./serve");
    usage(&["stats"], "a similar subcommand exists: 'status'");
    usage(&["ctl", "reload"], "tip: it is a separate command: cluster reload");
    usage(&["reload", "app"], "tip: --name NAME says which cluster is meant");
    usage(&["scale", "-1"], "tip: no option takes a number below 0");
    usage(&["run", "-n", "-1", "app.js"], "tip: no option takes a number below 0");
    let (_, said) = fail(cluster().args(["ctl", "zzzzzz"]));
    assert!(!said.contains("tip:"), "{said}");
}

/// Without a tip of its own clap says what is spelled most like a word.
#[test]
fn words_of_other_programs_are_told_what_stands_for_them() {
    for (args, wanted) in [
        (&["run", "--daemon", "app.js"][..], "cluster run stays in the foreground"),
        (&["run", "-d", "app.js"], "cluster run stays in the foreground"),
        (&["run", "--watch", "app.js"], "cluster reload replaces the workers"),
        (&["run", "--timeout", "30", "app.js"], "--hang-after is how long a worker may leave"),
        (
            &["run", "--min-ready-seconds", "3", "app.js"],
            "--min-ready-time is how long a new worker",
        ),
        (&["run", "-i", "4", "app.js"], "--workers (-n) says how many"),
        (&["run", "--instances=4", "app.js"], "--workers (-n) says how many"),
        (&["run", "--bind", ":80", "app.js"], "--listen opens a socket"),
        (&["run", "--max-memory-restart", "1G", "app.js"], "--max-memory limits"),
        (&["run", "--inspect", "app.js"], "--exec-arg=--inspect"),
        (&["list"], "cluster status shows the workers"),
        (&["stop"], "cluster drain does so by command"),
        (&["stop", "app"], "cluster drain does so by command"),
        (&["restart", "app"], "cluster reload replaces every worker"),
        (&["delete", "app"], "cluster drain does so by command"),
        (&["logs"], "the log is what cluster run writes to standard error"),
        (&["start", "app.js"], "to run a program: cluster run PROGRAM"),
        (&["monit"], "cluster top shows a cluster live"),
        (&["startup"], "see docs/deploying.md"),
    ] {
        let (status, said) = fail(cluster().args(args));
        assert_eq!(status, Some(2), "{said}");
        assert!(said.contains(&format!("tip: {wanted}")) || said.contains(wanted), "{said}");
        assert_eq!(said.matches("tip: ").count(), 1, "{said}");
        for misleading in ["similar", "-- -", "--node-agent", "--batch", "--gid", "listen-shim"] {
            assert!(!said.contains(misleading), "{misleading}: {said}");
        }
    }
    // What is like one of ours, is.
    let (_, said) = fail(cluster().args(["run", "--worker", "4", "app.js"]));
    assert!(said.contains("a similar argument exists: '--workers'"), "{said}");
    let (_, said) = fail(cluster().args(["run", "--frobnicate", "app.js"]));
    assert!(!said.contains("tip:"), "{said}");
    let (_, said) = fail(cluster().args(["run", "--stop-signal", "SIGTREM", "app.js"]));
    assert!(said.contains("did you mean SIGTERM?"), "{said}");
}

#[test]
fn a_flags_value_that_is_taken_for_the_program() {
    for (args, wanted) in [
        (
            &["run", "--node-agent", "false", "app.js"][..],
            "after an equals sign: --node-agent=false",
        ),
        (
            &["run", "-n", "1", "--hang-replace", "true", "app.js"],
            "equals sign: --hang-replace=true",
        ),
        (&["run", "--affinity", "slot", "app.js"], "after an equals sign: --affinity=slot"),
    ] {
        let (status, said) = fail(cluster().args(args));
        assert_eq!(status, Some(2), "{said}");
        assert!(said.contains("would be run as the program") && said.contains(wanted), "{said}");
    }
}

#[test]
fn a_grace_period_of_nothing_is_said_so() {
    let options =
        ["run", "-n", "1", "--grace", "0", "--kill-after", "0", "--demo-listen", "127.0.0.1:0"];
    let mut cluster = Cluster::start(cluster().args(options));
    cluster.listening(1);
    cluster.signal(Signal::TERM);
    cluster.wait();
    let said = cluster.err.all().join("\n");
    assert!(said.contains("stopping: not waiting for connections to finish"), "{said}");
    assert!(!said.contains("0ns"), "{said}");
}

/// A look at the options says what the first worker would find.
#[test]
fn a_script_that_the_workers_user_cannot_read() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let Some(node) = support::nodes().into_iter().next() else { return };
    let folder = Folder::new("unreadable");
    std::fs::set_permissions(&folder.0, std::fs::Permissions::from_mode(0o755)).unwrap();
    let secret = folder.file("secret.js", "", 0o600);
    let open = folder.file("open.js", "", 0o644);
    std::fs::create_dir(folder.0.join("closed")).unwrap();
    let inside = folder.file("closed/app.js", "", 0o644);
    let closed = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(folder.0.join("closed"), closed).unwrap();
    let run = folder.file("run", "#!/bin/sh\n", 0o700);
    let check = |script: &std::path::Path, as_program: bool| {
        let mut command = cluster();
        command.args(["run", "--check", "--uid", "65534", "--gid", "65534"]);
        if !as_program {
            command.arg("--exec-path").arg(&node);
        }
        fail_quietly(command.arg(script))
    };
    for (path, as_program, verb) in [
        (&secret, false, "read the script"),
        (&inside, false, "read the script"),
        (&run, true, "execute"),
    ] {
        let (status, said) = check(path, as_program);
        assert_eq!(status, Some(1), "{said}");
        let wanted =
            format!("the workers' user 65534 (--uid) cannot {verb} {}: Permission", path.display());
        assert!(said.contains(&wanted), "{said}");
    }
    assert_eq!(check(&open, false), (Some(0), String::new()));
    // A further group may be what lets them.
    std::os::unix::fs::chown(&secret, None, Some(7)).unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o640)).unwrap();
    let mut command = cluster();
    command.args(["run", "--check", "--uid", "65534", "--gid", "65534", "--groups", "7"]);
    assert_eq!(fail_quietly(command.arg("--exec-path").arg(&node).arg(&secret)).0, Some(0));
}

#[test]
fn sockets_of_killed_clusters_are_removed_by_the_next_command() {
    let folder = Folder::new("dead-sockets");
    let sockets = folder.0.join("cluster");
    std::fs::create_dir(&sockets).unwrap();
    std::fs::set_permissions(&sockets, std::fs::Permissions::from_mode(0o700)).unwrap();
    let [old, new, live] = ["old", "new", "live"].map(|name| sockets.join(format!("{name}.sock")));
    drop(UnixListener::bind(&old).unwrap());
    drop(UnixListener::bind(&new).unwrap());
    let listener = UnixListener::bind(&live).unwrap();
    // As if they had been there for long. (One that is new may be about to be listened on.)
    let long_ago = rustix::fs::Timestamps {
        last_access: rustix::fs::Timespec { tv_sec: 1_000_000_000, tv_nsec: 0 },
        last_modification: rustix::fs::Timespec { tv_sec: 1_000_000_000, tv_nsec: 0 },
    };
    for path in [&old, &live] {
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(rustix::fs::CWD, path, &long_ago, flags).unwrap();
    }
    let mut command = cluster();
    let (_, said) =
        fail_quietly(command.env("XDG_RUNTIME_DIR", &folder.0).args(["status", "--name", "old"]));
    assert!(said.contains("there is no cluster old"), "{said}");
    assert!(!old.exists(), "it is removed");
    assert!(new.exists() && live.exists(), "others are left alone");
    drop(listener);
}

/// PM2's order: `-n` is the program's then.
#[test]
fn options_behind_the_program_are_hinted_at_where_they_are_not_its_own() {
    let folder = Folder::new("behind");
    let script = folder.file("app.js", "", 0o644);
    let script = script.to_str().unwrap();
    let shell = folder.file(
        "gunicorn",
        "#!/bin/sh
",
        0o755,
    );
    let shell = shell.to_str().unwrap();
    let Some(node) = support::nodes().into_iter().next() else { return };
    let path = std::env::join_paths([node.parent().unwrap()]).unwrap();
    let hint = |args: &[&str]| {
        let (status, said) =
            fail_quietly(cluster().args(["run", "--check"]).args(args).env("PATH", &path));
        assert_eq!(status, Some(0), "{said}");
        said
    };
    for args in [&[script, "-n", "4"][..], &[script, "--workers", "4"], &[shell, "--grace", "5s"]] {
        let said = hint(args);
        let wanted = format!("come before the program: cluster run {} … {}", args[1], args[0]);
        assert!(said.contains(&wanted), "{said}");
    }
    for args in [
        &[shell, "--workers", "1"][..],
        &["--listen", "127.0.0.1:0", shell, "--workers", "1", "app:app"],
        &["--listen", "127.0.0.1:0", script, "-n", "1"],
        &[shell, "-n", "4"],
    ] {
        let said = hint(args);
        assert!(!said.contains("hint"), "{args:?}: {said}");
    }
}

/// As [`fail`], of what may say nothing.
fn fail_quietly(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_configuration_file_of_pm2_is_recognized() {
    let folder = Folder::new("ecosystem");
    let text = "module.exports = { apps: [{ script: 'app.js' }] }";
    for (name, language) in [
        ("ecosystem.config.js", "JavaScript"),
        ("pm2.config.cjs", "JavaScript"),
        ("process.json", "JSON"),
    ] {
        let path = folder.file(name, text, 0o644);
        let (status, said) = fail(cluster().args(["run", "--config"]).arg(&path));
        assert_eq!(status, Some(2), "{said}");
        let wanted =
            format!("this is {language}, but a configuration file is TOML: docs/from-pm2.md");
        assert!(said.contains(&wanted), "{said}");
    }
    for name in ["ecosystem.config.js", "process.json"] {
        let path = folder.0.join(name);
        for options in [&["run"][..], &["run", "--check"]] {
            let (status, said) = fail(cluster().args(options).arg(&path));
            assert_eq!(status, Some(1), "{said}");
            let wanted = format!("{} is a configuration file of PM2", path.display());
            assert!(said.contains(&wanted) && said.contains("docs/from-pm2.md"), "{said}");
            assert!(!said.contains("started"), "{said}");
        }
    }
    // One that only has such a name is a program.
    let Some(node) = support::nodes().into_iter().next() else { return };
    let path = folder.file("ecosystem.config.js", "require('./server.js')", 0o644);
    let (status, said) =
        fail_quietly(cluster().args(["run", "--check", "--exec-path"]).arg(node).arg(&path));
    assert_eq!(status, Some(0), "{said}");
}

/// PM2's `--env production` chooses a set of variables.
#[test]
fn a_variable_that_is_to_be_removed_and_is_not_there() {
    let (status, said) = fail(cluster().args(["run", "--env", "production", "app.js"]));
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("To set one, use --env NAME=VALUE: --env NODE_ENV=production"), "{said}");
    let (status, said) = fail(cluster().args(["run", "--check", "--env", "NOT_THERE", "sh"]));
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("To set one, use --env NAME=VALUE: --env NOT_THERE=VALUE"), "{said}");
    let mut there = cluster();
    there.env("IS_THERE", "1").args(["run", "--check", "--env", "IS_THERE", "sh"]);
    let checked = there.output().expect("it runs");
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    assert!(String::from_utf8_lossy(&checked.stdout).contains("IS_THERE = false"), "{checked:?}");
}

/// A look at a file says what a run of it would.
#[test]
fn an_option_that_became_a_variable() {
    let folder = Folder::new("variable");
    let config =
        folder.file("cluster.toml", "program = [\"/bin/sh\"]\n[env]\ngrace = \"30s\"\n", 0o644);
    let (status, said) = fail(cluster().args(["run", "--check", "--config"]).arg(&config));
    assert_eq!(status, Some(0));
    assert!(said.contains("hint: grace is set as a variable of the workers"), "{said}");
}

#[test]
fn an_interpreter_that_is_not_there() {
    let folder = Folder::new("interpreter");
    let path = folder.file("dead", "#!/no/such/interpreter\n", 0o755);
    let (status, said) = fail(cluster().arg("run").arg(&path));
    assert_eq!(status, Some(1));
    assert!(
        said.contains("interpreter in its first line, /no/such/interpreter, does not exist"),
        "{said}"
    );
    let windows = folder.file("windows", "#!/bin/sh\r\n", 0o755);
    let (status, said) = fail(cluster().arg("run").arg(&windows));
    assert_eq!(status, Some(1));
    assert!(said.contains("the line ends with CR LF, as on Windows"), "{said}");
    let script = folder.file("app.js", "", 0o644);
    let (status, said) = fail(cluster().env("PATH", "/nowhere").arg("run").arg(&script));
    assert_eq!(status, Some(1));
    assert!(said.contains("cannot execute node") && said.contains("on PATH?"), "{said}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_policy_that_the_kernel_cannot_follow() {
    let args = ["run", "--placement", "kernel", "--policy", "least-connections"];
    let (status, said) = fail(cluster().args(args));
    assert_eq!(status, Some(2));
    assert!(said.contains("it supports rr, random, sticky"), "{said}");
}

#[test]
fn a_port_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (status, said) = fail(cluster().args(["run", "-n", "2", "--demo-listen", &address]));
    assert_eq!(status, Some(4));
    assert!(
        said.contains(&format!("cannot listen on {address}: Address already in use")),
        "{said}"
    );
    assert!(said.contains("giving up: a slot failed more than 5 times within 60s"), "{said}");
    let end = said.lines().last().unwrap_or_default();
    assert!(end.contains("Address already in use"), "the last line says why: {end}");
    assert!(end.contains("; another program listens there"), "and what to do: {end}");
}

#[test]
fn a_port_that_is_not_to_be_had_is_advised_about() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for option in ["--http", "--listen"] {
        let (status, said) = fail(cluster().args(["run", option, &address, "sleep", "60"]));
        assert_eq!(status, Some(1));
        assert!(said.contains(&format!("cannot listen on {address}")), "{said}");
        assert!(said.contains("; another program listens there (ss -lp names it)"), "{said}");
    }
}

#[test]
fn an_address_that_is_not_ours() {
    let (status, said) = fail(cluster().args(["run", "-n", "1", "--demo-listen", "192.0.2.1:80"]));
    assert_eq!(status, Some(4));
    assert!(
        said.contains("cannot listen on 192.0.2.1:80: Cannot assign requested address"),
        "{said}"
    );
}

#[test]
fn a_program_that_is_here_but_not_on_the_path() {
    let folder = Folder::new("here");
    folder.file("here.sh", "#!/bin/sh\n", 0o755);
    let (status, said) = fail(cluster().current_dir(&folder.0).args(["run", "here.sh"]));
    assert_eq!(status, Some(1));
    assert!(said.contains("write ./here.sh"), "{said}");
}

#[test]
fn a_program_that_knows_nothing_of_clusters() {
    let (status, said) = fail(cluster().args(["run", "-n", "1", "false"]));
    assert_eq!(status, Some(4));
    assert!(said.contains("does the program speak node:cluster's protocol?"), "{said}");
}

/// What it gave up for is the last that is said.
#[test]
fn why_workers_died_is_told_by_what_they_have_in_common() {
    for (script, wanted) in [
        ("exec no-such-program-here", "code 127 is how a shell"),
        ("exec /etc/passwd", "code 126 is how a shell"),
        ("kill -9 $$", "all of them were sent SIGKILL"),
        ("exit 0", "none of them sent anything on its channel"),
    ] {
        let options = ["run", "-n", "1", "--backoff-max", "100ms", "sh", "-c", script];
        let (status, said) = fail(cluster().args(options));
        assert_eq!(status, Some(4));
        let end = said.lines().last().unwrap_or_default();
        assert!(end.starts_with("cluster: hint: ") && end.contains(wanted), "{script}: {said}");
    }
    for (script, wanted) in [
        ("process.exit(0)", "all of them exited by themselves"),
        ("process.exit(1)", "their output, if any, is above"),
        ("not (javascript", "their output, if any, is above"),
    ] {
        let Some(node) = support::nodes().into_iter().next() else { return };
        let folder = Folder::new("dies");
        let path = folder.0.join("app.cjs");
        std::fs::write(&path, script).unwrap();
        let options = ["run", "-n", "1", "--backoff-max", "100ms", "--exec-path"];
        let (status, said) = fail(cluster().args(options).arg(node).arg(&path));
        assert_eq!(status, Some(4));
        let end = said.lines().last().unwrap_or_default();
        assert!(end.starts_with("cluster: hint: ") && end.contains(wanted), "{script}: {said}");
    }
}

#[test]
fn a_worker_that_never_speaks_is_told_while_it_lives() {
    let options = ["run", "-n", "1", "--grace", "100ms", "--ready-timeout", "10ms", "sleep", "600"];
    let mut cluster = Cluster::start(cluster().args(options));
    let lines = cluster.err.wait_for(1, |line| line.contains("is not ready after 10ms"));
    assert!(lines[0].contains("it has not sent anything on its channel"), "{lines:?}");
    cluster.signal(Signal::TERM);
    assert_eq!(cluster.wait().code(), Some(0), "the stop signal ends it");
    let said = cluster.err.all();
    assert!(!said.iter().any(|line| line.contains("did not leave in time")), "{said:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn few_descriptors() {
    for (limit, wanted) in [(6, "cannot start: Too many open files"), (10, "cannot get a ")] {
        let program = env!("CARGO_BIN_EXE_cluster");
        let command =
            format!("ulimit -n {limit} && exec '{program}' run -n 4 --demo-listen 127.0.0.1:0");
        let (status, said) = fail(&mut as_cluster(&["sh", "-c", &command]));
        assert_eq!(status, Some(1));
        assert!(
            said.contains(wanted) && said.contains("; this process has reached its limit"),
            "{said}"
        );
    }
}

/// With the environment of [`cluster`].
fn as_cluster(command: &[&str]) -> Command {
    let like = cluster();
    let mut other = Command::new(command[0]);
    other.args(&command[1..]);
    for (name, value) in like.get_envs() {
        match value {
            Some(value) => other.env(name, value),
            None => other.env_remove(name),
        };
    }
    other
}

#[test]
fn a_policy_of_nodes_that_there_is_not() {
    let mut command = cluster();
    command.env("NODE_CLUSTER_SCHED_POLICY", "best");
    let demo = Cluster::start(command.args(["run", "-n", "1", "--demo-listen", "127.0.0.1:0"]));
    demo.err.wait_for(1, |line| {
        line.starts_with("cluster: hint: NODE_CLUSTER_SCHED_POLICY says \"best\"")
    });
    demo.listening(1);
    demo.end();
}

#[test]
fn places_where_no_control_socket_can_be() {
    let folder = Folder::new("places");
    std::fs::write(folder.0.join("file"), "").unwrap();
    let open = folder.0.join("cluster");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    let long = folder.0.join("x".repeat(300));
    for (control, wanted) in [
        (folder.0.join("file"), "the file there is not a socket: move it away"),
        (
            folder.0.join("gone/socket"),
            "No such file or directory (os error 2); does that folder exist?",
        ),
        (long, "File name too long"),
    ] {
        for verb in ["run", "serve"] {
            let (status, said) = fail(cluster().args([verb, "--control"]).arg(&control));
            assert_eq!(status, Some(1));
            assert!(said.contains("cannot create the control socket "), "{said}");
            assert!(said.contains(wanted), "{said}");
        }
    }
    for (folder, wanted) in [
        (&folder.0, "is not a private folder of this user (mode 0700); set XDG_RUNTIME_DIR"),
        (&folder.0.join("gone"), "No such file or directory (os error 2); set XDG_RUNTIME_DIR"),
    ] {
        let mut command = cluster();
        command.env("XDG_RUNTIME_DIR", folder);
        let (status, said) = fail(command.args(["run", "--name", "app"]));
        assert_eq!(status, Some(1));
        let named = said.matches(&folder.join("cluster").display().to_string()).count();
        assert!(said.contains(wanted) && named == 1, "{named}: {said}");
    }
}

#[test]
fn clusters_that_are_not_there() {
    let folder = Folder::new("not-there");
    let ctl = |args: &[&str]| {
        let mut command = cluster();
        fail(command.env("XDG_RUNTIME_DIR", &folder.0).arg("ctl").args(args).arg("ls"))
    };
    let (status, said) = ctl(&[]);
    assert_eq!(status, Some(1));
    assert!(said.contains("no running cluster was found: "), "{said}");
    let stale = folder.0.join("stale.sock");
    drop(UnixListener::bind(&stale).unwrap());
    let (status, said) = ctl(&["--control", stale.to_str().unwrap()]);
    assert_eq!(status, Some(1));
    assert!(said.contains("; its cluster is gone, and the file was left behind"), "{said}");
    let (status, said) = ctl(&["--control", folder.0.to_str().unwrap()]);
    assert_eq!(status, Some(1));
    assert!(said.contains("; not a socket"), "{said}");
    let deaf = folder.0.join("hangs-up.sock");
    let listener = UnixListener::bind(&deaf).unwrap();
    let hangs_up = std::thread::spawn(move || drop(listener.accept()));
    let (status, said) = ctl(&["--control", deaf.to_str().unwrap()]);
    hangs_up.join().unwrap();
    assert_eq!(status, Some(1));
    assert!(said.contains("hangs-up.sock closed the connection: its cluster has ended"), "{said}");
    let mut here = cluster();
    here.env("XDG_RUNTIME_DIR", &folder.0);
    let here =
        Cluster::start(here.args(["run", "-n1", "--name", "here", "--demo-listen", "127.0.0.1:0"]));
    here.listening(1);
    let (status, said) = ctl(&["--name", "there"]);
    assert_eq!(status, Some(1));
    assert!(
        said.contains("there is no cluster there in ") && said.contains("there are: here"),
        "{said}"
    );
    here.end();
}

/// Without `--name` a cluster's is its program's, and the number of its process.
#[test]
fn the_name_of_a_program_will_do_where_only_one_cluster_runs_it() {
    let folder = Folder::new("unnamed");
    let ls = |name: &str| {
        let mut command = cluster();
        command.env("XDG_RUNTIME_DIR", &folder.0).args(["ctl", "--name", name, "ls"]);
        command.output().expect("it runs")
    };
    let start = || {
        let mut command = cluster();
        command.env("XDG_RUNTIME_DIR", &folder.0);
        Cluster::start(command.args(["run", "-n1", "--demo-listen", "127.0.0.1:0"]))
    };
    let one = start();
    one.listening(1);
    let listed = ls("demo");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    assert!(!ls("dem").status.success());
    let other = start();
    other.listening(1);
    let said = String::from_utf8(ls("demo").stderr).expect("text");
    assert!(said.contains(&format!("demo-{}", one.pid())), "{said}");
    assert!(said.contains(&format!("demo-{}", other.pid())), "{said}");
    one.end();
    other.end();
}

#[test]
fn what_is_for_clusters_that_keep_their_workers() {
    let folder = Folder::new("driven");
    let control = folder.0.join("control");
    let mut served = Cluster::start(cluster().args(["serve", "--control"]).arg(&control));
    served.err.wait_for(1, |line| line.contains("ready"));
    for (order, wanted) in [
        (&["reload"][..], "there is nothing to reload (ERR_NOT_SUPERVISED)"),
        (&["scale", "3"], "there is nothing to scale (ERR_NOT_SUPERVISED)"),
        (&["drain"], "there is nothing to drain (ERR_NOT_SUPERVISED)"),
        (&["upgrade"], "cluster serve cannot be upgraded in place"),
    ] {
        let (status, said) = fail(cluster().args(order).arg("--control").arg(&control));
        assert_eq!(status, Some(1));
        assert!(said.contains(wanted), "{said}");
    }
    for (signal, wanted) in [
        (Signal::USR2, "upgrade: cluster serve cannot be upgraded in place"),
        (Signal::TTIN, "scale: cluster serve does not supervise workers"),
        (Signal::TTOU, "scale: cluster serve does not supervise workers"),
    ] {
        let before = served.err.all().len();
        served.signal(signal);
        eventually("it says so", || {
            let said = served.err.all();
            said.iter().skip(before).any(|line| line.contains(wanted)).then_some(())
        });
        assert!(is_there(served.pid()));
    }
    served.signal(Signal::TERM);
    assert_eq!(served.wait().code(), Some(0));
}

#[test]
fn nothing_to_draw_on() {
    let (status, said) = fail(cluster().arg("top"));
    assert_eq!(status, Some(1));
    assert!(said.contains("is not a terminal; cluster status prints the state once"), "{said}");
}

#[test]
#[cfg(target_os = "linux")]
fn nowhere_to_print() {
    let mut command = cluster();
    command.args(["run", "--check"]).stdin(std::process::Stdio::null());
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = command.stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("cannot write to standard output: No space left"), "{said}");
}

/// Tests that run as root can become any user.
#[test]
#[cfg(target_os = "linux")]
fn what_takes_privileges() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = Folder::new("privileges");
    std::fs::set_permissions(&folder.0, std::fs::Permissions::from_mode(0o777)).unwrap();
    let program = folder.0.join("cluster");
    // By a process of its own: children of other tests would hold it open for writing.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_cluster")).arg(&program).status();
    assert!(copied.unwrap().success());
    let unprivileged = |args: &[&str]| {
        let options = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
        let mut command = as_cluster(&["setpriv"]);
        command.args(options).arg(&program).args(args).env("XDG_RUNTIME_DIR", &folder.0);
        command
    };
    let there = Command::new("setpriv").arg("--version").output().is_ok();
    assert!(there || std::env::var_os("CI").is_none(), "setpriv is to be here");
    if !there {
        return;
    }
    let control = folder.0.join("control");
    let served = Cluster::start(cluster().args(["serve", "--control"]).arg(&control));
    served.err.wait_for(1, |line| line.contains("ready"));
    let config = folder.file("cluster.toml", "workers = 1", 0o600);
    let (control, config) = (control.to_str().unwrap(), config.to_str().unwrap());
    for (args, code, wanted) in [
        (&["run", "--uid", "root", "/bin/true"][..], 1, "this requires root, or CAP_SETGID"),
        (&["run", "--groups", "root", "/bin/true"], 1, "this requires root, or CAP_SETGID"),
        (&["run", "--control", "/root/x"], 1, "; may this user write in that folder?"),
        (
            &["run", "--listen", "unix:/root/x", "/bin/true"],
            1,
            "; may this user write in that folder?",
        ),
        (&["run", "--config", config], 2, "cannot read the configuration file"),
        (&["ctl", "--control", control, "ls"], 1, "; it belongs to another user"),
    ] {
        let (status, said) = fail(&mut unprivileged(args));
        assert_eq!(status, Some(code), "{args:?}: {said}");
        assert!(said.contains(wanted), "{args:?}: {said}");
    }
    // A container may let every user have low ports.
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    if first.is_ok_and(|port| port.trim() == "1024") {
        let (status, said) = fail(&mut unprivileged(&["run", "--http", "1"]));
        assert_eq!(status, Some(1));
        assert!(
            said.contains("; ports below 1024 require root, or CAP_NET_BIND_SERVICE"),
            "{said}"
        );
    }
    drop(served);
}

#[test]
fn a_policy_without_hand_offs() {
    let args = ["run", "--placement", "shared", "--policy", "random"];
    let (status, said) = fail(cluster().args(args));
    assert_eq!(status, Some(2));
    assert!(said.contains("--policy"), "{said}");
}

#[test]
fn a_missing_directory() {
    let (status, said) = fail(cluster().args(["run", "--cwd", "/nowhere/at/all"]));
    assert_eq!(status, Some(1));
    assert!(said.contains("/nowhere/at/all"), "{said}");
}

#[test]
fn wrong_usage() {
    for args in [
        &["run", "--policy", "best"][..],
        &["run", "--placement", "magic"],
        &["run", "-n", "0"],
        &["run", "--worker"],
        &["run", "--demo-listen", "foo"],
        &["walk"],
    ] {
        let (status, said) = fail(cluster().args(args));
        assert_eq!(status, Some(2), "{said}");
        assert!(said.contains(args.last().unwrap()), "{said}");
    }
}
