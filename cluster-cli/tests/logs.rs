//! What is said, and what workers write: as text and as JSON.

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{ChildStdout, Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};
use support::{Cluster, Folder, Lines, assert_gone, cluster, get, kill};

/// A worker that first does what this script says, and then serves as the demo does.
fn worker(folder: &Folder, script: &str) -> PathBuf {
    let demo = env!("CARGO_BIN_EXE_cluster");
    let text = format!("#!/bin/sh\n{script}\nexec {demo} demo-worker 127.0.0.1:0\n");
    folder.file("worker", &text, 0o755)
}

fn run(options: &[&str], worker: &PathBuf) -> Command {
    let mut command = cluster();
    command.arg("run").args(options).arg(worker);
    command
}

/// Starts it; whoever asks for it reads its standard output, or does not.
fn start_unread(mut command: Command) -> (Cluster, ChildStdout) {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let out = child.stdout.take().expect("it is a pipe");
    let err = Lines::default();
    err.collect(child.stderr.take().expect("it is a pipe"));
    (Cluster { child, out: Lines::default(), err }, out)
}

/// Lines in pieces: every `printf` is a `write(2)` of its own.
const PIECES: &str = "i=0
while [ $i -lt 200 ]; do
    printf '%s of' $i; printf ' %s' $NODE_UNIQUE_ID; printf ' out\\n'
    printf '%s of' $i >&2; printf ' %s' $NODE_UNIQUE_ID >&2; printf ' err\\n' >&2
    i=$((i + 1))
done";

#[test]
fn lines_of_workers_are_whole_and_say_whose_they_are() {
    let folder = Folder::new("pieces");
    let cluster = Cluster::start(&mut run(&["-n", "4"], &worker(&folder, PIECES)));
    get(cluster.listening(4)).expect("it serves");
    for (lines, stream) in [(&cluster.out, "out"), (&cluster.err, "err")] {
        lines.wait_for(800, |line| line.ends_with(stream));
        let said = lines.all();
        let said: Vec<_> = said.iter().filter(|line| !line.starts_with("cluster: ")).collect();
        assert_eq!(said.len(), 800);
        for slot in 0..4 {
            let worker = slot + 1;
            let prefix = format!("[{slot}] ");
            let of_one: Vec<_> = said.iter().filter(|line| line.starts_with(&prefix)).collect();
            let wanted: Vec<_> =
                (0..200).map(|i| format!("[{slot}] {i} of {worker} {stream}")).collect();
            assert!(of_one.into_iter().copied().eq(wanted.iter()), "{said:#?}");
        }
    }
    cluster.end();
}

#[test]
fn the_rest_of_a_line_comes_when_its_worker_ends() {
    let folder = Folder::new("rest");
    let worker = worker(&folder, "printf 'no end'; printf 'nor here' >&2");
    let cluster = Cluster::start(&mut run(&["-n", "1"], &worker));
    cluster.listening(1);
    assert!(cluster.out.all().is_empty(), "{:?}", cluster.out.all());
    kill(cluster.worker_pids()[0], Signal::KILL);
    cluster.out.wait_for(1, |line| line == "[0] no end");
    cluster.err.wait_for(1, |line| line == "[0] nor here");
    cluster.end();
}

#[test]
fn bytes_are_left_as_they_are() {
    let folder = Folder::new("bytes");
    let worker = worker(&folder, "printf 'caf\\351\\n'");
    let (cluster, out) = start_unread(run(&["-n", "1"], &worker));
    let mut line = Vec::new();
    BufReader::new(out).read_until(b'\n', &mut line).expect("it is read");
    assert_eq!(line, b"[0] caf\xe9\n");
    cluster.listening(1);
    cluster.end();
}

#[test]
fn inherited_output_is_the_workers_own() {
    let folder = Folder::new("inherit");
    let worker = worker(&folder, "echo out; echo err >&2");
    let cluster = Cluster::start(&mut run(&["-n", "2", "--output", "inherit"], &worker));
    cluster.out.wait_for(2, |line| line == "out");
    cluster.err.wait_for(2, |line| line == "err");
    cluster.listening(2);
    cluster.end();
}

/// The objects that were said, without their time; it is there.
fn objects(lines: &[String]) -> Vec<Value> {
    let object = |line: &String| {
        let mut object: Value =
            serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        let members = object.as_object_mut().expect("it is an object");
        let timestamp = members.remove("timestamp").expect("it has a time");
        let timestamp = timestamp.as_str().expect("it is text").to_owned();
        assert!(timestamp.len() >= 20 && timestamp.ends_with('Z'), "{timestamp}");
        object
    };
    lines.iter().map(object).collect()
}

#[test]
fn as_json_everything_is_an_object_with_fields() {
    let folder = Folder::new("json");
    let worker = worker(&folder, "echo '\"out\"'; printf 'caf\\351' >&2");
    let mut cluster = Cluster::start(&mut run(&["-n", "1", "--log-format", "json"], &worker));
    cluster.err.wait_for(1, |line| line.contains("listens on"));
    cluster.signal(Signal::TERM);
    assert_eq!(cluster.wait().code(), Some(0));
    cluster.err.wait_for(1, |line| line.contains("left"));
    let log = objects(&cluster.err.all());
    let pid = log[0]["pid"].as_u64().expect("it is a number");
    assert_gone(&[i32::try_from(pid).expect("it fits")]);
    let about = |level: &str, message: &str| json!({"level": level, "message": message, "slot": 0, "worker": 1, "pid": pid});
    assert_eq!(log[0], about("info", &format!("worker 1 (pid {pid}) started")));
    assert_eq!(log.last(), Some(&about("info", "worker 1 left (code 0)")));
    let ending = "ending: waiting up to 10s for connections to finish";
    assert!(log.contains(&json!({"level": "info", "message": ending})), "{log:?}");
    cluster.out.wait_for(2, |line| line.contains("stream"));
    let wrote = |stream: &str, line: &str| json!({"level": "info", "slot": 0, "worker": 1, "pid": pid, "stream": stream, "line": line});
    let wanted = [wrote("stdout", "\"out\""), wrote("stderr", "caf\u{fffd}")];
    assert_eq!(objects(&cluster.out.all()), wanted);
}

#[test]
fn a_level_is_the_least_that_is_said() {
    let folder = Folder::new("level");
    let worker = worker(&folder, "echo told");
    let options = ["-n", "1", "--log-level", "warn"];
    let mut cluster = Cluster::start(&mut run(&options, &worker));
    cluster.out.wait_for(1, |line| line == "[0] told");
    cluster.signal(Signal::TERM);
    cluster.wait();
    let log: Vec<_> =
        cluster.err.all().into_iter().filter(|line| line.starts_with("cluster: ")).collect();
    assert_eq!(log, Vec::<String>::new());

    let options = ["-n", "1", "--log-level", "debug"];
    let cluster = Cluster::start(&mut run(&options, &worker));
    cluster.err.wait_for(1, |line| line.contains("is online"));
    cluster.listening(1);
    cluster.end();
}

/// What two workers write before they listen, and more than anybody's pipe takes.
const FLOOD: &str = "yes 'this is not read by anybody' | head -n 200000";

/// A reader that has stopped keeps neither workers nor clients; one that reads on is told.
#[test]
fn nobody_waits_for_who_does_not_read() {
    let folder = Folder::new("unread");
    let (cluster, unread) = start_unread(run(&["-n", "2"], &worker(&folder, FLOOD)));
    let address = cluster.listening(2);
    let answers: BTreeSet<_> = (0..4).map(|_| get(address).expect("it serves")).collect();
    assert_eq!(answers.len(), 2, "{answers:?}");
    cluster.out.collect(unread);
    let notice = |line: &str| {
        line.starts_with("cluster: warning: ") && line.ends_with("dropped: nobody read")
    };
    cluster.out.wait_for(1, notice);
    let whole = |line: &String| {
        let text = line.strip_prefix("[0] ").or(line.strip_prefix("[1] "));
        text == Some("this is not read by anybody") || notice(line)
    };
    assert!(cluster.out.all().iter().all(whole));
    cluster.end();
}

#[test]
fn the_end_does_not_wait_for_who_does_not_read() {
    let folder = Folder::new("unread-end");
    let (cluster, _unread) = start_unread(run(&["-n", "1"], &worker(&folder, FLOOD)));
    cluster.listening(1);
    cluster.end();
}
