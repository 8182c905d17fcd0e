//! `cluster exec`: programs with a primary half of their own do what they do under `node`.
#![cfg(target_os = "linux")]

mod support;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use support::{
    Cluster, Folder, assert_gone, cluster, eventually, file, is_there, kill, nodes, signal_of,
};

fn script(name: &str) -> PathBuf {
    file("cluster-cli/tests/programs/exec").join(name)
}

/// Programs that could fork without end run under a limit.
fn limited(command: &mut Command) -> &mut Command {
    use rustix::process::{Resource, Rlimit, setrlimit};

    let limit = || {
        let limit = Rlimit { current: Some(4096), maximum: Some(4096) };
        // Where the limit is lower already that is as good.
        let _ = setrlimit(Resource::Nproc, limit);
        Ok(())
    };
    // SAFETY: it makes a system call only.
    #[allow(unsafe_code, reason = "a limit is set in the child")]
    unsafe {
        command.pre_exec(limit)
    }
}

fn exec(node: &Path, options: &[&str], script: &Path, args: &[&str]) -> Command {
    let mut command = cluster();
    command.arg("exec").args(options).arg("--exec-path").arg(node).arg(script).args(args);
    limited(&mut command);
    command
}

/// What it printed, and how it ended.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    out: Vec<String>,
    code: Option<i32>,
    signal: Option<i32>,
}

fn outcome(command: &mut Command) -> (Outcome, Vec<String>) {
    let mut run = Cluster::start(command);
    let status = run.wait();
    let outcome = Outcome { out: run.out.all(), code: status.code(), signal: signal_of(status) };
    (outcome, run.err.all())
}

/// Runs a program under `node` and under `cluster exec`, with the same result; what that is.
#[track_caller]
fn alike(node: &Path, options: &[&str], name: &str, args: &[&str]) -> Outcome {
    let script = script(name);
    let mut plain = Command::new(node);
    for variable in ["NODE_UNIQUE_ID", "NODE_CHANNEL_FD", "NODE_CLUSTER_SCHED_POLICY"] {
        plain.env_remove(variable);
    }
    let (expected, _) = outcome(limited(plain.arg(&script).args(args)));
    let (ours, err) = outcome(&mut exec(node, options, &script, args));
    assert_eq!(ours, expected, "{name} {args:?} under {}: {err:#?}", node.display());
    ours
}

const PLACEMENTS: [&[&str]; 3] = [&[], &["--placement", "shared"], &["--placement", "kernel"]];

#[test]
fn a_program_sees_the_whole_life_of_its_workers() {
    for node in nodes() {
        for options in PLACEMENTS {
            let ours = alike(&node, options, "events.cjs", &[]);
            assert_eq!(ours.code, Some(0));
            assert!(ours.out[0].contains("exit 0 null true true"), "{ours:?}");
        }
    }
}

#[test]
fn sockets_are_sent_in_both_directions() {
    for node in nodes() {
        let ours = alike(&node, &[], "handles.cjs", &[]);
        for text in ["from the worker", "from the script"] {
            assert!(ours.out[0].contains(text), "{ours:?}");
        }
    }
}

#[test]
fn structured_clones_and_piped_streams_pass() {
    for node in nodes() {
        let ours = alike(&node, &[], "advanced.cjs", &[]);
        assert!(ours.out[0].contains("\"same\":11"), "{ours:?}");
    }
}

#[test]
fn a_udp_port_may_be_a_string() {
    for node in nodes() {
        let ours = alike(&node, &[], "udp.cjs", &[]);
        assert!(ours.out[0].starts_with("hello back"), "{ours:?}");
    }
}

#[test]
fn a_program_ends_as_it_does_under_node() {
    let ends = ["last-words", "code", "throw", "kill-worker", "unref", "signal"];
    for (node, how) in nodes().iter().flat_map(|node| ends.map(|how| (node, how))) {
        let ours = alike(node, &[], "ends.cjs", &[how]);
        match how {
            "last-words" => assert_eq!(ours.out, ["last words", "exit 7 null"]),
            "code" => assert_eq!(ours.code, Some(3)),
            "throw" => assert_eq!(ours.code, Some(1)),
            "kill-worker" => assert_eq!(ours.out, ["exit null SIGKILL"]),
            "unref" => assert_eq!(ours.code, Some(0)),
            _ => assert_eq!(ours.signal, Some(Signal::TERM.as_raw())),
        }
    }
}

/// (Node's own primary loses connections here.)
#[test]
fn a_reload_in_the_programs_own_code_loses_no_connection() {
    for node in nodes() {
        let (ours, err) = outcome(&mut exec(&node, &[], &script("reload.cjs"), &[]));
        assert_eq!(ours.out, [r#"{"lost":0,"served":true,"left":[]}"#], "{err:#?}");
    }
}

/// (Node's own primary cannot listen on a descriptor that its loop watches already.)
#[test]
fn workers_listen_on_descriptors_of_the_script() {
    for node in nodes() {
        let (ours, err) = outcome(&mut exec(&node, &[], &script("descriptor.cjs"), &[]));
        assert_eq!(ours.out, ["listening true", "from the worker", "exit 0"], "{err:#?}");
    }
}

/// The script, its worker and its primary, once the worker is online.
fn running(node: &Path, options: &[&str]) -> (Cluster, i32, i32) {
    running_as("stay", node, options)
}

/// The same, with a worker that stays, or that hangs soon.
fn running_as(how: &str, node: &Path, options: &[&str]) -> (Cluster, i32, i32) {
    let script = Cluster::start(&mut exec(node, options, &script("ends.cjs"), &[how]));
    let line = script.out.wait_for(1, |line| line.starts_with("worker ")).remove(0);
    let worker = line.rsplit(' ').next().and_then(|pid| pid.parse().ok()).expect("a process id");
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", script.pid()));
    let children = children.expect("the script runs");
    let mut others = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    let primary = others.find(|pid| *pid != worker).expect("the primary is a child of the script");
    (script, worker, primary)
}

/// What the primary and the script share.
fn folder_of(script: &Cluster) -> PathBuf {
    std::env::temp_dir().join(format!("cluster-exec-{}", script.pid()))
}

#[test]
fn nothing_is_left_of_a_script_that_is_killed() {
    for node in nodes() {
        let (mut script, worker, primary) = running(&node, &[]);
        kill(script.pid(), Signal::KILL);
        assert_eq!(signal_of(script.wait()), Some(Signal::KILL.as_raw()));
        assert_gone(&[worker, primary]);
    }
}

/// Node's primary is the script.
#[test]
fn a_script_ends_with_its_primary() {
    for node in nodes() {
        let (mut script, worker, primary) = running(&node, &[]);
        kill(primary, Signal::KILL);
        assert_eq!(signal_of(script.wait()), Some(Signal::KILL.as_raw()));
        assert!(script.err.all().iter().any(|line| line.contains("the primary has ended")));
        assert!(!folder_of(&script).exists(), "its folder is removed");
        assert_gone(&[worker]);
    }
}

#[test]
fn the_cluster_is_shown_and_commands_say_whose_they_are() {
    for node in nodes() {
        let folder = Folder::new("exec-control");
        let control = folder.0.join("control");
        let control = control.to_str().expect("UTF-8");
        let (mut script, worker, primary) = running(&node, &["--control", control]);
        let (status, _) = outcome(cluster().args(["status", "--json", "--control", control]));
        let status: serde_json::Value = serde_json::from_str(&status.out[0]).expect("JSON");
        assert_eq!(status["workers"][0]["pid"], worker, "{status}");
        assert_eq!(status["pid"], primary, "{status}");
        let (reload, err) = outcome(cluster().args(["reload", "--control", control]));
        assert_eq!(reload.code, Some(1));
        assert!(err[0].contains("under cluster exec the program itself"), "{err:?}");
        let (fork, err) = outcome(cluster().args(["ctl", "--control", control, "fork"]));
        assert_eq!(fork.code, Some(1));
        assert!(err[0].contains("the program itself forks"), "{err:?}");
        // Signals that stop a `cluster run` are the script's alone.
        kill(primary, Signal::TERM);
        kill(script.pid(), Signal::TERM);
        assert_eq!(signal_of(script.wait()), Some(Signal::TERM.as_raw()));
        assert_gone(&[worker, primary]);
    }
}

#[test]
fn a_cluster_is_stopped_by_ending_its_script() {
    let Some(node) = nodes().into_iter().next() else { return };
    let folder = Folder::new("exec-stop");
    let control = folder.0.join("control");
    let control = control.to_str().expect("UTF-8");
    let (mut script, worker, primary) = running(&node, &["--control", control]);
    let (stop, err) = outcome(cluster().args(["ctl", "--control", control, "stop"]));
    assert_eq!(stop.code, Some(0), "{err:?}");
    assert_eq!(signal_of(script.wait()), Some(Signal::TERM.as_raw()));
    assert_gone(&[worker, primary]);
}

#[test]
fn a_worker_that_hangs_is_reported() {
    for node in nodes() {
        let options = ["--hang-after", "300ms", "--log-level", "warn"];
        let (mut run, worker, primary) = running_as("hang", &node, &options);
        run.err.wait_for(1, |line| line.contains("worker 1") && line.contains("has not answered"));
        // A worker that hangs does not see that its primary has gone, under node neither.
        kill(worker, Signal::KILL);
        kill(run.pid(), Signal::KILL);
        run.wait();
        assert_gone(&[worker, primary]);
    }
}

/// Neither half reads for a while: what was sent waits, and nothing is lost.
#[test]
fn many_messages_wait_where_they_have_to() {
    for node in nodes() {
        let ours = alike(&node, &[], "flood.cjs", &[]);
        assert_eq!(ours.out, ["down 200 in order", "up 200 in order", "long 67108864"]);
    }
}

#[test]
fn a_program_that_starts_node_itself_preloads_a_file() {
    for node in nodes() {
        let folder = Folder::new("exec-preload");
        let record = folder.0.join("record");
        let mut preload = cluster();
        preload.args(["exec", "--preload", "--record"]).arg(&record);
        let (preload, err) = outcome(&mut preload);
        let [path] = &preload.out[..] else { panic!("{err:?}") };
        for option in ["--require", "--import"] {
            let mut command = Command::new(&node);
            command.args([option, path]).arg(script("events.cjs"));
            let (ours, err) = outcome(limited(&mut command));
            assert!(ours.code == Some(0) && ours.out.len() == 1, "{ours:?} {err:#?}");
            assert!(ours.out[0].contains(r#""execArgv":[]"#), "{ours:?}");
        }
        let lines =
            || std::fs::read_to_string(&record).ok().filter(|text| text.lines().count() == 2);
        let text = eventually("both primaries have ended", lines);
        assert_eq!(text, "2\n2\n", "each had two workers");
    }
}

#[test]
fn a_worker_that_the_script_did_not_start_is_refused() {
    let Some(node) = nodes().into_iter().next() else { return };
    let (mut script, worker, primary) = running(&node, &[]);
    let socket = folder_of(&script);
    let mut stranger = cluster();
    stranger.args(["exec-worker".as_ref(), socket.join("primary.sock").as_os_str()]);
    stranger.args(["9", "2", "--", "/bin/true"]);
    // Any open descriptor will do: who asks is looked at first.
    stranger.env("NODE_UNIQUE_ID", "9").env("NODE_CHANNEL_FD", "0");
    let (refused, err) = outcome(&mut stranger);
    assert_eq!(refused.code, Some(1));
    assert!(err.iter().any(|line| line.contains("was not started by the script")), "{err:?}");
    assert!(is_there(worker), "the cluster goes on");
    kill(script.pid(), Signal::KILL);
    script.wait();
    assert_gone(&[worker, primary]);
    assert!(!socket.exists(), "the primary has removed its folder");
}

#[test]
fn a_program_that_does_not_exist_is_an_error() {
    let folder = Folder::new("exec-missing");
    let missing = folder.0.join("no-node");
    let (ours, err) = outcome(&mut exec(&missing, &[], &script("ends.cjs"), &["code"]));
    assert_eq!(ours.code, Some(1));
    assert!(err[0].contains("cannot execute") && err[0].contains("--exec-path"), "{err:?}");
}
