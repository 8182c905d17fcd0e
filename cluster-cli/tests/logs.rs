//! What is said, and what workers write: as text and as JSON.

mod support;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{ChildStdout, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::process::Signal;
use serde_json::{Value, json};
use support::{Cluster, Folder, Lines, assert_gone, cluster, eventually, get, kill};

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

/// Starts it; the test reads its standard output, or does not.
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
    let ending = "stopping: waiting up to 10s for connections to finish";
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
    let name = format!("level-{}", std::process::id());
    let options = ["-n", "1", "--log-level", "warn", "--name", &name];
    let mut cluster = Cluster::start(&mut run(&options, &worker));
    cluster.out.wait_for(1, |line| line == "[0] told");
    // A worker that is asked to leave before it listens fails to, and exits with 1: that is a warning.
    eventually("the worker listens", || {
        let status =
            support::cluster().args(["status", "--name", &name]).output().expect("it runs");
        String::from_utf8_lossy(&status.stdout).contains("listening").then_some(())
    });
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

/// What two workers write before they listen, and more than a pipe holds.
const FLOOD: &str = "yes 'this is not read' | head -n 200000";

/// A reader that has stopped keeps neither workers nor clients; one that reads on is told.
#[test]
fn a_reader_that_does_not_read_delays_nothing() {
    let folder = Folder::new("unread");
    let (cluster, unread) = start_unread(run(&["-n", "2"], &worker(&folder, FLOOD)));
    let address = cluster.listening(2);
    let answers: BTreeSet<_> = (0..4).map(|_| get(address).expect("it serves")).collect();
    assert_eq!(answers.len(), 2, "{answers:?}");
    cluster.out.collect(unread);
    let notice = |line: &str| {
        line.starts_with("cluster: warning: ")
            && line.ends_with("dropped: nothing read them in time")
    };
    cluster.out.wait_for(1, notice);
    let whole = |line: &String| {
        let text = line.strip_prefix("[0] ").or(line.strip_prefix("[1] "));
        text == Some("this is not read") || notice(line)
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

/// What is said of lines that were dropped is an object like the others.
#[test]
fn as_json_dropped_lines_are_told_as_json() {
    let folder = Folder::new("unread-json");
    let worker = worker(&folder, FLOOD);
    let (mut cluster, unread) = start_unread(run(&["-n", "1", "--log-format", "json"], &worker));
    cluster.err.wait_for(1, |line| line.contains("listens on"));
    cluster.out.collect(unread);
    cluster.out.wait_for(1, |line| line.contains("dropped: nothing read them in time"));
    let said = objects(&cluster.out.all());
    let warnings: Vec<_> = said.iter().filter(|object| object["level"] == "warn").collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    cluster.signal(Signal::TERM);
    assert_eq!(cluster.wait().code(), Some(0), "{:#?}", cluster.err.all());
}

/// A worker that writes a numbered line whenever the file `more` is there, which it removes.
const ON_DEMAND: &str = "(n=0; while kill -0 $$ && sleep 0.01; do
    if [ -e more ]; then rm more; n=$((n + 1)); echo line $n of this worker; fi
done) 2>/dev/null &";

/// Has the worker write a line, and waits until it has.
fn more(folder: &Folder) {
    let more = folder.file("more", "", 0o644);
    eventually("the worker writes", || (!more.exists()).then_some(()));
}

fn text(path: &std::path::Path) -> String {
    std::fs::read_to_string(path).expect("it is text")
}

/// The file that output goes to can grow no more; then it is emptied, as logrotate's copytruncate does.
#[test]
fn output_is_written_again_once_there_is_space() {
    let folder = Folder::new("limit");
    let place = folder.0.display();
    let worker = worker(&folder, &format!("cd {place}\n{ON_DEMAND}"));
    let program = env!("CARGO_BIN_EXE_cluster");
    // A process that ignores SIGXFSZ gets the error instead, and its children start as it does.
    let script = format!(
        "trap '' XFSZ; ulimit -f 1; exec {program} run -n 1 --cwd {place} {} >> {place}/out",
        worker.display()
    );
    let out = folder.file("out", "", 0o644);
    let mut cluster = Cluster::start(&mut {
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).env("XDG_RUNTIME_DIR", env!("CARGO_TARGET_TMPDIR"));
        shell
    });
    cluster.listening(1);
    let warns = |line: &str| {
        line.starts_with("cluster: warning: cannot write to standard output: File too large")
    };
    let mut written = 0;
    eventually("the file is full", || {
        more(&folder);
        written += 1;
        cluster.err.all().iter().any(|line| warns(line)).then_some(())
    });
    let before = text(&out);
    // The last of them is there in part, at most.
    File::options().write(true).open(&out).unwrap().set_len(0).unwrap();
    more(&folder);
    let last = format!("[0] line {} of this worker\n", written + 1);
    eventually("it is written", || text(&out).contains(&last).then_some(()));
    let all = before + &text(&out);
    let wanted: String =
        (1..=written + 1).map(|n| format!("[0] line {n} of this worker\n")).collect();
    assert_eq!(all, wanted, "every byte once, in order");
    assert_eq!(cluster.err.all().iter().filter(|line| warns(line)).count(), 1);
    cluster.signal(Signal::TERM);
    assert_eq!(cluster.wait().code(), Some(0), "{:#?}", cluster.err.all());
}

/// The same on a file system that is full. (Where no such can be mounted, nothing is tested.)
#[test]
#[cfg(target_os = "linux")]
fn output_is_written_again_once_the_disk_has_space() {
    let folder = Folder::new("disk");
    let place = folder.0.display();
    let worker = worker(&folder, &format!("cd {place}\n{ON_DEMAND}"));
    let program = env!("CARGO_BIN_EXE_cluster");
    std::fs::create_dir(folder.0.join("disk")).unwrap();
    // `room` is what the test removes to make space: it is seen from outside by the cluster's root.
    let script = format!(
        "cd {place} && mount -t tmpfs -o size=64k none disk || exit 77
         dd if=/dev/zero of=disk/filler bs=4k 2>/dev/null
         exec {program} run -n 1 --cwd {place} {} >> disk/out",
        worker.display()
    );
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "--user", "--map-root-user", "sh", "-c", &script]);
    shell.env("XDG_RUNTIME_DIR", env!("CARGO_TARGET_TMPDIR"));
    let probe = Command::new("unshare")
        .args(["--mount", "--user", "--map-root-user", "mount", "-t", "tmpfs", "none"])
        .arg(folder.0.join("disk"))
        .status();
    if !probe.is_ok_and(|status| status.success()) {
        println!("skipped: nothing can be mounted here");
        return;
    }
    let mut cluster = Cluster::start(&mut shell);
    cluster.listening(1);
    let disk = PathBuf::from(format!("/proc/{}/root{place}/disk", cluster.pid()));
    more(&folder);
    let warns = |line: &str| {
        line.starts_with(
            "cluster: warning: cannot write to standard output: No space left on device",
        )
    };
    cluster.err.wait_for(1, warns);
    std::fs::remove_file(disk.join("filler")).unwrap();
    more(&folder);
    eventually("all is written", || {
        let wanted = "[0] line 1 of this worker\n[0] line 2 of this worker\n";
        (text(&disk.join("out")) == wanted).then_some(())
    });
    cluster.signal(Signal::TERM);
    assert_eq!(cluster.wait().code(), Some(0), "{:#?}", cluster.err.all());
}

/// Lines of events are whole, and those that are missing are counted.
#[test]
fn events_are_written_again_once_there_is_space_and_the_lost_ones_are_counted() {
    let folder = Folder::new("limit-json");
    let place = folder.0.display();
    let worker = worker(&folder, &format!("cd {place}\n{ON_DEMAND}"));
    let program = env!("CARGO_BIN_EXE_cluster");
    let script = format!(
        "trap '' XFSZ; ulimit -f 8; exec {program} run --json -n 1 --cwd {place} {} >> {place}/out",
        worker.display()
    );
    let out = folder.file("out", "", 0o644);
    let mut cluster = Cluster::start(
        Command::new("sh")
            .args(["-c", &script])
            .env("XDG_RUNTIME_DIR", env!("CARGO_TARGET_TMPDIR")),
    );
    eventually("a worker listens", || text(&out).contains("\"type\":\"listening\"").then_some(()));
    let limit = if cfg!(target_os = "linux") { 8 * 512 } else { 8 * 1024 };
    let mut written = 0;
    eventually("the file is full, and many lines were lost", || {
        more(&folder);
        written += 1;
        let size = std::fs::metadata(&out).unwrap().len();
        (size >= limit && written > 60).then_some(())
    });
    let before = text(&out);
    File::options().write(true).open(&out).unwrap().set_len(0).unwrap();
    eventually("that is told", || {
        more(&folder);
        written += 1;
        text(&out).contains(" dropped: File too large").then_some(())
    });
    // What the worker wrote in these events.
    let last = format!("line {written} of this worker\n");
    let data = |line: &Value| BASE64.decode(line["data"].as_str()?).ok();
    let wrote = |lines: &[Value]| -> String {
        let data: Vec<u8> = lines.iter().filter_map(data).flatten().collect();
        String::from_utf8(data).unwrap()
    };
    let lines = eventually("the last is written", || {
        let all = before.clone() + &text(&out);
        let whole = all.rsplit_once('\n')?.0;
        let object = |line: &str| -> Value {
            serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))
        };
        let lines: Vec<_> = whole.lines().map(object).collect();
        wrote(&lines).ends_with(&last).then_some(lines)
    });
    let there = wrote(&lines).lines().count();
    let lost: usize = lines
        .iter()
        .filter(|line| line["type"] == "warning")
        .filter_map(|line| line["message"].as_str()?.split(' ').next()?.parse::<usize>().ok())
        .sum();
    // An event may have had several of the worker's lines.
    assert!(there < written && (1..=written - there).contains(&lost), "{there} {lost} {written}");
    cluster.signal(Signal::TERM);
    assert_eq!(cluster.wait().code(), Some(0), "{:#?}", cluster.err.all());
}
