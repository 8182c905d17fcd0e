//! What a worker has started ends with it: its process group, and what is proven to descend from it.
//! Nothing else does.
#![cfg(target_os = "linux")]

mod support;

use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;
use support::{Cluster, Folder, cluster, eventually, is_there, kill, state};

/// A worker that starts a process in its group, one in a session of its own, and a child of the latter
/// (also in its session), prints their pids, and waits.
const FAMILY: &str = r#"
sleep 1000 & group=$!
setsid sh -c 'sleep 1000 & echo $! > "$0"; wait' "$DIR/below.$$" & detached=$!
until [ -s "$DIR/below.$$" ]; do sleep 0.01; done
echo "family $group $detached $(cat "$DIR/below.$$")"
wait
"#;

/// A `cluster run` of one shell script.
struct Family {
    cluster: Cluster,
    name: String,
    folder: Folder,
}

impl Family {
    fn start(name: &str, script: &str, options: &[&str]) -> Self {
        let folder = Folder::new(name);
        let path = folder.file("worker.sh", script, 0o755);
        let name = format!("{name}-{}", std::process::id());
        let mut run = cluster();
        run.args(["run", "-n", "1", "--ready", "alive", "--name", &name]).args(options);
        let program = run.get_program().to_owned();
        run.arg("sh").arg(path).env("DIR", &folder.0).env("PROGRAM", program).env("NAME", &name);
        Self { cluster: Cluster::start(&mut run), name, folder }
    }

    /// The pids that the worker of that number has printed: in its group, detached, below the latter.
    #[track_caller]
    fn pids(&self, number: usize) -> Vec<i32> {
        let lines = self.cluster.out.wait_for(number, |line| line.contains("family "));
        let (_, pids) = lines[number - 1].split_once("family ").expect("it was asked for");
        pids.split(' ').map(|pid| pid.parse().expect("a pid")).collect()
    }

    fn ask(&self, words: &[&str]) -> String {
        let output = cluster().args(words).args(["--name", &self.name]).output();
        let output = output.expect("it starts");
        assert!(output.status.success(), "{output:?}\n{:#?}", self.cluster.err.all());
        String::from_utf8(output.stdout).expect("it is text")
    }

    /// Waits until so many descendants of the worker are known.
    #[track_caller]
    fn known(&self, count: usize) {
        let field = format!("\"descendants\":{count},");
        eventually("they are known", || {
            self.ask(&["status", "--json"]).contains(&field).then_some(())
        });
    }

    fn is_logged(&self, what: &str) -> bool {
        self.cluster.err.all().iter().any(|line| line.contains(what))
    }

    #[track_caller]
    fn stop(&mut self) {
        self.cluster.signal(Signal::TERM);
        let status = self.cluster.wait();
        assert_eq!(status.code(), Some(0), "{:#?}", self.cluster.err.all());
    }
}

/// Whatever a test finds, what its workers started ends.
impl Drop for Family {
    fn drop(&mut self) {
        let child = &mut self.cluster.child;
        let _ = child.kill();
        let _ = child.wait();
        kill_all_of(&self.folder);
    }
}

/// Kills every process in whose environment `DIR` is that folder.
fn kill_all_of(folder: &Folder) {
    let variable = format!("DIR={}", folder.0.display());
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(environment) = std::fs::read(entry.path().join("environ")) else { continue };
        let pid = entry.file_name().to_str().and_then(|pid| pid.parse().ok());
        if environment.split(|byte| *byte == 0).any(|v| v == variable.as_bytes()) {
            pid.into_iter().for_each(|pid| kill(pid, Signal::KILL));
        }
    }
}

/// Whether it runs. (One that has ended may wait for the system's first process to notice.)
fn runs(pid: i32) -> bool {
    is_there(pid) && state(pid).is_some_and(|state| state != 'Z')
}

/// They have ended before the primary did.
#[track_caller]
fn assert_none_runs(pids: &[i32]) {
    let running: Vec<_> =
        pids.iter().filter(|pid| runs(**pid)).map(|pid| (pid, state(*pid))).collect();
    assert!(running.is_empty(), "{running:?} still run, of {pids:?}");
}

#[track_caller]
fn end_soon(pids: &[i32]) {
    for &pid in pids {
        eventually("it ends", || (!runs(pid)).then_some(()));
    }
}

#[test]
fn all_ends_when_a_worker_is_killed_replaced_or_stopped() {
    let mut family = Family::start("trees", FAMILY, &["--stable-after", "0s"]);
    let first = family.pids(1);
    family.known(3);
    kill(family.cluster.worker_pids()[0], Signal::KILL);
    end_soon(&first);
    family.cluster.err.wait_for(1, |line| line.contains("3 processes (pid "));

    // The new worker is ready a second after its start: what it started is known by then or when it is
    // told to leave.
    let second = family.pids(2);
    family.ask(&["reload"]);
    end_soon(&second);

    let third = family.pids(3);
    family.stop();
    assert_none_runs(&third);
    assert!(!family.is_logged("sent SIGKILL"), "{:#?}", family.cluster.err.all());
}

#[test]
fn what_ignores_sigterm_is_killed() {
    let script = r#"
        sh -c 'trap "" TERM; echo "family $$"; while :; do sleep 1; done' & wait
    "#;
    let mut family = Family::start("stubborn", script, &["--kill-after", "300ms"]);
    let pids = family.pids(1);
    family.stop();
    assert!(!runs(pids[0]));
    assert!(family.is_logged("did not end: sent SIGKILL"), "{:#?}", family.cluster.err.all());
}

#[test]
fn a_second_request_to_end_does_not_wait_for_it() {
    let script = r#"
        sh -c 'trap "" TERM; echo "family $$"; while :; do sleep 1; done' & wait
    "#;
    let mut family = Family::start("hurry", script, &["--kill-after", "1h"]);
    let pids = family.pids(1);
    family.cluster.signal(Signal::TERM);
    family.cluster.err.wait_for(1, |line| line.contains("left behind: sent SIGTERM"));
    // Two requests within a second are one.
    let child = &mut family.cluster;
    eventually("it ends at once", || {
        child.signal(Signal::TERM);
        child.child.try_wait().expect("it is our child")
    });
    assert!(!runs(pids[0]));
}

#[test]
fn detached_processes_can_be_kept() {
    let mut family = Family::start("kept", FAMILY, &["--keep-detached"]);
    let pids = family.pids(1);
    family.known(3);
    family.stop();
    assert!(!runs(pids[0]), "the group has ended");
    assert!(runs(pids[1]) && runs(pids[2]), "{:#?}", family.cluster.err.all());
}

#[test]
fn an_upgrade_keeps_what_is_known() {
    let family = Family::start("upgraded", FAMILY, &["--stable-after", "0s"]);
    let pids = family.pids(1);
    family.known(3);
    family.ask(&["upgrade"]);
    kill(family.cluster.worker_pids()[0], Signal::KILL);
    end_soon(&pids);
}

/// A deploy script that a worker has started, and that asks for a reload.
const DEPLOY: &str = r#"
sleep 1000 & other=$!
sh -c '"$PROGRAM" reload --name "$NAME" > /dev/null; echo "reloaded" >> "$DIR/log"
       sleep 1; echo "done" >> "$DIR/log"; sleep 1000' & script=$!
echo "family $script $other"
wait
"#;

#[test]
fn a_reload_does_not_end_who_asked_for_it() {
    // Only the first worker asks: the new one finds the file.
    let script =
        format!("if [ -e \"$DIR/log\" ]; then exec sleep 1000; fi\n: > \"$DIR/log\"\n{DEPLOY}");
    let mut family = Family::start("deploy", &script, &[]);
    let pids = family.pids(1);
    let log = family.folder.0.join("log");
    eventually("the script comes to its end", || {
        std::fs::read_to_string(&log).ok().filter(|log| log == "reloaded\ndone\n")
    });
    assert!(runs(pids[0]), "{:#?}", family.cluster.err.all());
    end_soon(&pids[1..]);
    // In the end it ends with the rest.
    family.stop();
    assert!(!runs(pids[0]));
}

#[test]
fn what_was_there_before_is_left_alone() {
    // A daemon of the shell that becomes the primary: a child of the primary's, in its group.
    let folder = Folder::new("sibling");
    let worker = folder.file("worker.sh", FAMILY, 0o755);
    let program: PathBuf = cluster().get_program().into();
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(r#"sleep 1000 & echo "sibling $!"; exec "$0" "$@""#).arg(program);
    shell.args(["run", "-n", "1", "--ready", "alive", "--stable-after", "0s", "sh"]).arg(worker);
    let mut cluster = Cluster::start(shell.env("DIR", &folder.0));
    let sibling = cluster.out.wait_for(1, |line| line.contains("sibling "))[0].clone();
    let sibling: i32 = sibling.rsplit(' ').next().unwrap().parse().unwrap();
    cluster.out.wait_for(1, |line| line.contains("family "));
    kill(cluster.worker_pids()[0], Signal::KILL);
    cluster.err.wait_for(1, |line| line.contains("left behind: sent SIGTERM"));
    cluster.out.wait_for(2, |line| line.contains("family "));
    cluster.signal(Signal::TERM);
    let status = cluster.wait();
    assert_eq!(status.code(), Some(0), "{:#?}", cluster.err.all());
    assert!(runs(sibling));
    kill_all_of(&folder);
}

/// The process that was started with that word, as seen from outside its namespace.
fn process_with(word: &str) -> Option<i32> {
    let entries = std::fs::read_dir("/proc").ok()?.flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.find(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes())
    })
}

#[test]
fn the_first_process_of_a_container_leaves_adopted_strangers_alone() {
    let unshare = || {
        let mut command = Command::new("unshare");
        let flags =
            ["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"];
        command.args(flags);
        command
    };
    if !unshare().arg("true").status().is_ok_and(|status| status.success()) {
        eprintln!("no namespaces are to be had: not tested");
        return;
    }
    // Two strangers: a child from before, and an orphan that is adopted.
    let folder = Folder::new("first");
    let worker = folder.file("worker.sh", FAMILY, 0o755);
    let id = std::process::id();
    let (child, orphan) = (format!("1000.1{id}"), format!("1000.2{id}"));
    let script = format!(r#"sleep {child} & (setsid sleep {orphan} &); exec "$0" "$@""#);
    let program: PathBuf = cluster().get_program().into();
    let mut shell = unshare();
    shell.args(["sh", "-c", &script]).arg(program);
    shell.args(["run", "-n", "1", "--ready", "alive", "--stable-after", "0s", "sh"]).arg(worker);
    let cluster = Cluster::start(shell.env("DIR", &folder.0));
    let [child, orphan] = [child, orphan].map(|word| eventually("it runs", || process_with(&word)));
    cluster.out.wait_for(1, |line| line.contains("family "));
    // The workers' pids are those inside: it is told by its own primary.
    let told = eventually("the primary is found", || {
        let out = std::fs::read_to_string(format!("/proc/{child}/status")).ok()?;
        let line = out.lines().find(|line| line.starts_with("PPid:"))?.to_owned();
        line.split_whitespace().nth(1)?.parse::<i32>().ok()
    });
    kill(told, Signal::HUP);
    cluster.err.wait_for(1, |line| line.contains("left behind: sent SIGTERM"));
    cluster.out.wait_for(2, |line| line.contains("family "));
    eventually("what was left behind has ended", || {
        let log = cluster.err.all();
        log.iter().any(|line| line.contains("reload")).then_some(())
    });
    assert!(runs(child) && runs(orphan), "{:#?}", cluster.err.all());
}

#[test]
fn npm_leaves_no_process_behind() {
    if Command::new("npm").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "there is no npm");
        eprintln!("there is no npm: not tested");
        return;
    }
    let script = r#"cd "$DIR" && npm --silent start; exit"#;
    let folder = Folder::new("npm");
    folder.file("package.json", r#"{"scripts":{"start":"node server.js"}}"#, 0o644);
    folder.file("start.sh", script, 0o755);
    let server = r#"
        const server = require("http").createServer((_, response) => response.end("ok"));
        server.listen(0, "127.0.0.1", () => {
            console.log(`family ${process.pid} ${process.ppid}`);
            process.on("SIGTERM", () => {});
        });
    "#;
    folder.file("server.js", server, 0o644);
    let family = |n: usize, cluster: &Cluster| -> Vec<i32> {
        let lines = cluster.out.wait_for(n, |line| line.contains("family "));
        let (_, pids) = lines[n - 1].split_once("family ").expect("it was asked for");
        pids.split(' ').map(|pid| pid.parse().expect("a pid")).collect()
    };
    let mut run = cluster();
    run.args(["run", "-n", "1", "--ready", "alive", "--stable-after", "0s"]);
    run.args(["--kill-after", "500ms", "sh"]).arg(folder.0.join("start.sh")).env("DIR", &folder.0);
    let mut cluster = Cluster::start(&mut run);
    let first = family(1, &cluster);
    kill(cluster.worker_pids()[0], Signal::KILL);
    end_soon(&first);
    let second = family(2, &cluster);
    cluster.signal(Signal::HUP);
    let third = family(3, &cluster);
    end_soon(&second);
    cluster.err.wait_for(1, |line| line.contains("reload") && line.contains("done"));
    cluster.signal(Signal::TERM);
    cluster.wait();
    assert_none_runs(&third);
    kill_all_of(&folder);
}
