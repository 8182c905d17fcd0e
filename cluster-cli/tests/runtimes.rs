//! Programs of `node:http` and `node:cluster` under Bun and Deno, with each placement.
//!
//! The runtimes are sought as `CLUSTER_TEST_BUN` and `CLUSTER_TEST_DENO`; where `CI` is set they must be
//! there.

#[path = "support/load.rs"]
mod load;
#[path = "support/programs.rs"]
mod programs;
mod support;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use load::{Load, tcp};
use programs::program;
use rustix::process::Signal;
use support::{Cluster, Folder, assert_gone, cluster, eventually, get, get_path, kill};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runtime {
    Bun,
    Deno,
}

impl Runtime {
    fn executable(self) -> Option<PathBuf> {
        let variable = match self {
            Self::Bun => "CLUSTER_TEST_BUN",
            Self::Deno => "CLUSTER_TEST_DENO",
        };
        let path = std::env::var_os(variable).map(PathBuf::from);
        assert!(path.is_some() || std::env::var_os("CI").is_none(), "{variable} names no {self:?}");
        if path.is_none() {
            println!("skipped: {variable} names no {self:?}");
        }
        path
    }
}

const PLACEMENTS: [&str; 3] = ["handoff", "shared", "kernel"];

/// Longer than any test waits: a worker that is waited for to the end of it fails the test.
const GRACE: &str = "600s";

/// `cluster run` of two workers.
fn run(executable: &Path, options: &[&str], script: &Path) -> Command {
    let mut command = cluster();
    command.args(["run", "-n", "2", "--grace", GRACE]).args(options);
    command.arg("--exec-path").arg(executable).arg(script);
    command
}

/// Runs the test with each runtime that is there, under each placement.
fn each(test: impl Fn(Runtime, &str, &[&str], &Path)) {
    for runtime in [Runtime::Bun, Runtime::Deno] {
        let Some(executable) = runtime.executable() else { continue };
        for placement in PLACEMENTS {
            eprintln!("{runtime:?}, {placement}");
            test(runtime, placement, &["--placement", placement], &executable);
        }
    }
}

fn loopback(cluster: &Cluster, workers: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, cluster.listening(workers).port()))
}

#[test]
fn connections_go_to_all_workers_in_turn() {
    each(|runtime, placement, options, executable| {
        let cluster = Cluster::start(&mut run(executable, options, &program("runtime.cjs")));
        let address = loopback(&cluster, 2);
        let mut answers = BTreeMap::<String, u32>::new();
        for _ in 0..400 {
            *answers.entry(get(address).expect("an answer")).or_default() += 1;
        }
        let counts: Vec<u32> = answers.values().copied().collect();
        // Of a shared socket any worker accepts, and without CAP_BPF the kernel chooses at random.
        let lots = cluster.err.all().iter().any(|line| line.contains("CAP_BPF"));
        if placement == "handoff" || runtime == Runtime::Deno || (placement == "kernel" && !lots) {
            assert_eq!(counts, [200, 200], "{runtime:?}, {placement}");
        } else {
            assert_eq!(counts.len(), 2, "{runtime:?}, {placement}: {answers:?}");
        }
        let handed = |line: &String| line.contains("Deno cannot serve a socket that it receives");
        let told = cluster.err.all().iter().any(handed);
        assert_eq!(told, runtime == Runtime::Deno && placement != "handoff", "{placement}");
        cluster.end();
    });
}

#[test]
fn two_reloads_under_load_lose_nothing() {
    each(|runtime, placement, options, executable| {
        let mut cluster = Cluster::start(&mut run(executable, options, &program("runtime.cjs")));
        let load = Load::start(&tcp(&cluster), 4, 2);
        load.more(200);
        for number in 1..=2 {
            cluster.signal(Signal::HUP);
            let done = format!("reload {number} done");
            cluster.err.wait_for(1, |line| line.contains(&done));
            load.more(100);
        }
        let tally = load.stop();
        let what = format!("{runtime:?}, {placement}: {:#?}", cluster.err.all());
        assert!(tally.failures.is_empty(), "{:?}\n{what}", tally.failures);
        assert!(tally.answers.len() >= 3 && tally.fresh > 0 && tally.kept > 0, "{what}");
        let workers = cluster.worker_pids();
        assert_eq!(workers.len(), 6, "{what}");
        // They have left by themselves, and long before the grace period was over.
        assert_gone(&workers[..4]);
        let bad = |line: &String| line.contains("died") || line.contains("did not leave");
        assert!(!cluster.err.all().iter().any(bad), "{what}");
        cluster.signal(Signal::TERM);
        assert_eq!(cluster.wait().code(), Some(0), "{what}");
        assert_gone(&workers);
    });
}

#[test]
fn a_request_that_is_being_answered_is_answered_before_the_worker_leaves() {
    each(|runtime, placement, options, executable| {
        let mut cluster = Cluster::start(&mut run(executable, options, &program("runtime.cjs")));
        let address = loopback(&cluster, 2);
        let slow = std::thread::spawn(move || get_path(address, "/slow"));
        cluster.out.wait_for(1, |line| line.contains("slow at "));
        cluster.signal(Signal::TERM);
        let answer = slow.join().expect("the client does not panic");
        assert!(answer.is_ok(), "{runtime:?}, {placement}: {answer:?}");
        assert_eq!(cluster.wait().code(), Some(0), "{:#?}", cluster.err.all());
    });
}

#[test]
fn an_idle_worker_is_not_considered_hung_and_one_that_blocks_is() {
    each(|runtime, placement, options, executable| {
        let options = [options, &["--hang-after", "400ms", "--kill-after", "100ms"]].concat();
        let cluster = Cluster::start(&mut run(executable, &options, &program("runtime.cjs")));
        let address = loopback(&cluster, 2);
        let workers = cluster.worker_pids();
        std::thread::spawn(move || get_path(address, "/block"));
        let blocks = cluster.out.wait_for(1, |line| line.contains("blocks "));
        let blocked = blocks[0].rsplit(' ').next().and_then(|pid| pid.parse::<i32>().ok());
        let blocked = blocked.expect("a process id");
        let idle = workers.into_iter().find(|pid| *pid != blocked).expect("there are two");
        // What goes to the other is answered, and what goes to the blocked one is evidence against it:
        // Deno answers no probe.
        for _ in 0..2 {
            std::thread::spawn(move || get(address));
        }
        let hung = |line: &str| line.contains("has not answered for ");
        cluster.err.wait_for(1, hung);
        // By then the idle one has been probed as long, and several times that.
        for _ in 0..8 {
            assert_eq!(get(address).expect("it serves"), format!("process {idle}"));
        }
        let lines: Vec<_> = cluster.err.all().into_iter().filter(|line| hung(line)).collect();
        let of_blocked = |line: &String| {
            line.contains(&format!("(pid {blocked})")) || {
                let name = cluster.err.all();
                let started = name.iter().find(|l| l.contains(&format!("(pid {blocked}) started")));
                let worker = started
                    .and_then(|l| Some(l.split(" (pid ").next()?.rsplit(": ").next()?.to_owned()));
                worker.is_some_and(|worker| line.contains(&worker))
            }
        };
        assert!(lines.iter().all(of_blocked), "{runtime:?}, {placement}: {lines:#?}");
        kill(blocked, Signal::KILL);
    });
}

/// Programs that take no part in `node:cluster`: the signal is all that they could get.
#[test]
fn servers_of_the_runtimes_own_leave_by_the_stop_signal() {
    for (runtime, serve) in [
        (Runtime::Bun, "Bun.serve({ port: 0, reusePort: true, fetch: () => new Response('') })"),
        (Runtime::Deno, "Deno.serve({ port: 0, onListen() {} }, () => new Response(''))"),
    ] {
        let Some(executable) = runtime.executable() else { continue };
        let folder = Folder::new("serve");
        let text = format!(
            "{serve};\nprocess.on('SIGTERM', () => {{ console.log('flushed'); process.exit(0); }});\n\
             console.log('serves');\n"
        );
        let script = folder.file("serve.mjs", &text, 0o644);
        let options = ["--hang-after", "100ms", "--ready", "alive"];
        let mut cluster = Cluster::start(&mut run(&executable, &options, &script));
        cluster.out.wait_for(2, |line| line.contains("serves"));
        cluster.signal(Signal::TERM);
        assert_eq!(cluster.wait().code(), Some(0), "{runtime:?}: {:#?}", cluster.err.all());
        cluster.out.wait_for(2, |line| line.contains("flushed"));
        let hung = |line: &String| line.contains("has not answered");
        assert!(!cluster.err.all().iter().any(hung), "{:#?}", cluster.err.all());
    }
}

#[test]
fn a_script_may_name_its_runtime_in_its_first_line() {
    for (runtime, line) in [
        (Runtime::Bun, "#!/usr/bin/env bun"),
        (Runtime::Deno, "#!/usr/bin/env -S deno run -A --ext=js"),
    ] {
        let Some(executable) = runtime.executable() else { continue };
        let folder = Folder::new("first-line");
        let text = format!(
            "{line}\nimport http from 'node:http';\n\
             http.createServer((_, response) => response.end(`process ${{process.pid}}`))\
             .listen(0, '0.0.0.0');\n"
        );
        let script = folder.file("app", &text, 0o755);
        let mut path = OsString::from(executable.parent().expect("it is in a folder"));
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut command = cluster();
        command.args(["run", "-n", "2", "--grace", GRACE]).arg(&script).env("PATH", path);
        let cluster = Cluster::start(&mut command);
        let address = loopback(&cluster, 2);
        let mut answers: Vec<_> = (0..4).map(|_| get(address).expect("an answer")).collect();
        answers.sort();
        answers.dedup();
        assert_eq!(answers.len(), 2, "{runtime:?}");
        cluster.end();
    }
}

#[test]
fn what_was_learned_of_a_worker_survives_an_upgrade() {
    each(|runtime, placement, options, executable| {
        let cluster = Cluster::start(&mut run(executable, options, &program("runtime.cjs")));
        let load = Load::start(&tcp(&cluster), 2, 2);
        load.more(50);
        for number in 1..=2 {
            cluster.signal(Signal::USR2);
            let done = format!("upgrade {number})");
            let lines = cluster
                .err
                .wait_for(1, |line| line.contains(&done) || line.contains("not upgraded"));
            assert!(lines[0].contains(&done), "{lines:?}");
            load.more(50);
        }
        let tally = load.stop();
        assert!(tally.failures.is_empty(), "{runtime:?}, {placement}: {:?}", tally.failures);
        assert_eq!(cluster.worker_pids().len(), 2, "{:#?}", cluster.err.all());
        let pids = cluster.worker_pids();
        eventually("both are there", || {
            pids.iter().all(|pid| support::is_there(*pid)).then_some(())
        });
        cluster.end();
    });
}

#[test]
fn without_the_preload_bun_binds_the_port_itself() {
    let Some(executable) = Runtime::Bun.executable() else { return };
    let options = ["--node-agent=false"];
    let cluster = Cluster::start(&mut run(&executable, &options, &program("runtime.cjs")));
    let lines = cluster.err.wait_for(2, |line| line.contains(" listens on "));
    // Each has a port of its own, as none was named.
    let address = |line: &String| line.rsplit(' ').next().map(str::to_owned);
    assert_ne!(address(&lines[0]), address(&lines[1]));
}
