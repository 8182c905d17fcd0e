//! Workers are kept: those that die, that are too few or too many, that hang, and those of programs that
//! know nothing of clusters.

#[path = "support/load.rs"]
mod load;
mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use load::{Load, Target};
use rustix::process::Signal;
use support::{
    Cluster, Folder, PATIENCE, assert_gone, cluster, eventually, file, kill, nodes, run_script,
};

fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.0\r\n\r\n");
    connection.write_all(request.as_bytes())?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    body.ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
}

fn supervised(node: &Path, options: &[&str]) -> Cluster {
    Cluster::start(&mut run_script(node, &file("testdata/js/supervised.cjs"), options))
}

/// The address of the first that listened.
fn at(cluster: &Cluster, workers: usize) -> SocketAddr {
    cluster.listening(workers)
}

/// `cluster VERB --name NAME …`: what it says, and whether it went well.
fn command(verb: &[&str], name: &str) -> (bool, String) {
    let output = cluster().args(verb).args(["--name", name]).output().expect("it runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).expect("it is text"))
}

/// A name that no other test has.
fn name(what: &str) -> String {
    format!("{what}-{}", std::process::id())
}

#[test]
fn workers_have_slots_which_their_successors_have_after_them() {
    for node in nodes() {
        let cluster = supervised(&node, &["-n", "3"]);
        let address = at(&cluster, 3);
        let slots = || {
            let mut slots: Vec<_> = (0..3).map(|_| ask(address, "/").unwrap()).collect();
            slots.sort();
            slots
        };
        let all = ["slot 0", "slot 1", "slot 2"];
        assert_eq!(slots(), all);
        kill(cluster.worker_pids()[1], Signal::KILL);
        cluster.err.wait_for(4, |line| line.contains(" listens on "));
        assert_eq!(slots(), all);
        cluster.end();
    }
}

#[test]
fn a_program_that_dies_at_once_is_given_up_and_its_port_is_free() {
    for node in nodes() {
        let folder = Folder::new("dies");
        let script = folder.0.join("dies.cjs");
        let text = "require('node:http').createServer().listen(+process.env.PORT, '127.0.0.1', \
                    () => setTimeout(() => process.exit(7), 50))";
        std::fs::write(&script, text).unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut run = cluster();
        run.args(["run", "-n", "2", "--ready", "message", "--max-failures", "3"]);
        run.args(["--backoff-first", "20ms", "--exec-path"]).arg(&node);
        run.args(["--env", &format!("PORT={}", free.port())]).arg(&script);
        let mut cluster = Cluster::start(&mut run);
        // Between two of them the port is kept: clients wait, and are not refused.
        cluster.err.wait_for(1, |line| line.contains("died (code 7)"));
        let waits = TcpStream::connect(free);
        assert_eq!(cluster.wait().code(), Some(4), "{:#?}", cluster.err.all());
        assert!(waits.is_ok(), "{waits:?}");
        let lines = cluster.err.all();
        let pauses: Vec<_> =
            lines.iter().filter(|line| line.contains("starting another in")).collect();
        assert!((6..=7).contains(&pauses.len()), "{lines:#?}");
        let end =
            lines.iter().position(|line| line.contains("giving up: a slot failed more than 3"));
        let deaths =
            lines[end.expect("it gives up")..].iter().filter(|l| l.contains("code 7 after"));
        assert!(deaths.count() >= 4, "{lines:#?}");
        assert!(TcpStream::connect(free).is_err(), "no process listens any more");
        assert_gone(&cluster.worker_pids());
    }
}

#[test]
fn a_worker_that_is_busy_for_seconds_is_left_alone_and_the_others_serve() {
    for node in nodes() {
        let cluster = supervised(&node, &["-n", "2"]);
        let address = at(&cluster, 2);
        let blocked = std::thread::spawn(move || ask(address, "/block/5000"));
        // Some of these wait with the worker that is blocked: what was on its way to it. All else goes to
        // the other.
        let over = std::sync::atomic::AtomicBool::new(false);
        let served: Vec<u32> = std::thread::scope(|scope| {
            let client = || {
                let mut served = 0;
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    ask(address, "/").unwrap();
                    served += 1;
                }
                served
            };
            let clients: Vec<_> = (0..8).map(|_| scope.spawn(client)).collect();
            eventually("the worker is done", || blocked.is_finished().then_some(()));
            over.store(true, std::sync::atomic::Ordering::Relaxed);
            clients.into_iter().map(|client| client.join().unwrap()).collect()
        });
        assert!(blocked.join().unwrap().unwrap().starts_with("slot "));
        assert!(served.iter().sum::<u32>() > 100, "{served:?}");
        let lines = cluster.err.all();
        assert!(
            !lines.iter().any(|l| l.contains("died") || l.contains("not answered")),
            "{lines:#?}"
        );
        assert_eq!(cluster.worker_pids().len(), 2);
        cluster.end();
    }
}

#[test]
fn a_worker_that_hangs_is_out_of_rotation_until_it_answers() {
    for node in nodes() {
        let cluster = supervised(&node, &["-n", "2", "--hang-after", "400ms"]);
        let address = at(&cluster, 2);
        let blocked = std::thread::spawn(move || ask(address, "/block/3000"));
        cluster.err.wait_for(1, |line| line.contains("has not answered for"));
        let slots: std::collections::BTreeSet<_> =
            (0..10).map(|_| ask(address, "/").unwrap()).collect();
        assert_eq!(slots.len(), 1, "{slots:?}");
        cluster.err.wait_for(1, |line| line.contains("responds again"));
        let back = blocked.join().unwrap().unwrap();
        assert!(!slots.contains(&back), "{back} of {slots:?}");
        eventually("both serve", || (ask(address, "/").ok()? == back).then_some(()));
        assert_eq!(cluster.worker_pids().len(), 2);
        cluster.end();
    }
}

#[test]
fn one_that_hangs_is_replaced_if_so_wanted() {
    for node in nodes() {
        let options = ["-n", "2", "--hang-after", "400ms", "--hang-replace", "--grace", "1"];
        let cluster = supervised(&node, &options);
        let address = at(&cluster, 2);
        let blocked = std::thread::spawn(move || ask(address, "/block/60000"));
        cluster.err.wait_for(1, |line| line.contains("is replaced: it does not respond"));
        cluster.err.wait_for(3, |line| line.contains(" listens on "));
        // It is made to exit, and with it the processes that waited for it.
        assert!(blocked.join().unwrap().is_err());
        let pids = cluster.worker_pids();
        assert_eq!(pids.len(), 3);
        let gone = eventually("one is gone", || pids.iter().find(|pid| !support::is_there(**pid)));
        assert_ne!(*gone, pids[2]);
        cluster.end();
    }
}

#[test]
fn a_cluster_is_scaled_and_a_reload_keeps_that() {
    let name = name("scaled");
    let mut run = cluster();
    run.args(["run", "-n", "1", "--name", &name, "--demo-listen", "127.0.0.1:0"]);
    let cluster = Cluster::start(&mut run);
    cluster.listening(1);
    assert_eq!(command(&["scale", "3"], &name), (true, "workers: 3\n".into()));
    cluster.err.wait_for(3, |line| line.contains(" listens on "));
    cluster.signal(Signal::TTOU);
    cluster.err.wait_for(1, |line| line.contains("left (code 0)"));
    cluster.signal(Signal::TTIN);
    cluster.err.wait_for(4, |line| line.contains(" listens on "));
    let (good, said) = command(&["reload"], &name);
    assert!(good && said == "reload 1 done: workers replaced: 3\n", "{said}");
    let (good, said) = command(&["scale", "0"], &name);
    assert!(!good && said.contains("expected a number from 1 to 10000"), "{said}");
    let (good, said) = command(&["status"], &name);
    assert!(good && said.contains("3"), "{said}");
    let (good, json) = command(&["status", "--json"], &name);
    assert!(good);
    for part in [
        "\"state\":\"running\"",
        "\"ready\":true",
        "\"wanted\":3",
        "\"generation\":1",
        "\"slot\":2",
    ] {
        assert!(json.contains(part), "{part} in {json}");
    }
    cluster.end();
}

#[test]
fn a_reload_reads_the_file_anew_and_one_that_fails_changes_nothing() {
    for node in nodes() {
        let folder = Folder::new("anew");
        let (file_, name) = (folder.0.join("cluster.toml"), name("anew"));
        let write = |color: &str, program: &str| {
            let node = node.display();
            let text = format!(
                "workers = 2\nname = '{name}'\nprogram = ['{program}']\nexec-path = '{node}'\n\
                 [env]\nCOLOR = '{color}'\n"
            );
            std::fs::write(&file_, text).unwrap();
        };
        let script = file("testdata/js/supervised.cjs");
        let program = script.to_str().unwrap();
        write("green", program);
        let mut run = cluster();
        run.args(["run", "--config"]).arg(&file_);
        let cluster = Cluster::start(&mut run);
        let address = at(&cluster, 2);
        assert_eq!(ask(address, "/env/COLOR").unwrap(), "green");

        // The first port stays: it is asked for as 0, and known.
        write("blue", program);
        let (good, said) = command(&["reload"], &name);
        assert!(good, "{said}");
        for _ in 0..2 {
            assert_eq!(ask(address, "/env/COLOR").unwrap(), "blue");
        }

        // What cannot change is said each time, for it stays as it is.
        let text = std::fs::read_to_string(&file_).unwrap();
        std::fs::write(&file_, format!("placement = 'kernel'\nready = 'notify'\n{text}")).unwrap();
        for count in 1..=2 {
            let (good, said) = command(&["reload"], &name);
            assert!(good, "{said}");
            let when = "these changes take effect when the cluster is restarted: placement, ready";
            assert!(said.contains(when), "{said}");
            for option in ["placement", "ready"] {
                let anew = format!("{option} takes effect when the cluster is restarted");
                cluster.err.wait_for(count, |line| line.contains(&anew));
            }
        }

        // A file that is wrong is said to be, and nothing happens.
        std::fs::write(&file_, "workers = 'two'\n").unwrap();
        let (good, said) = command(&["reload"], &name);
        assert!(!good && said.contains("workers: expected a number from 1 to 10000"), "{said}");

        // A program that dies at once: the old ones stay, and so does what they were started with.
        let bad = folder.0.join("bad.cjs");
        std::fs::write(&bad, "process.exit(9)").unwrap();
        write("red", bad.to_str().unwrap());
        let (good, said) = command(&["reload"], &name);
        assert!(!good && said.contains("code 9") && said.contains("ERR_RELOAD_ABORTED"), "{said}");
        assert_eq!(ask(address, "/env/COLOR").unwrap(), "blue");
        let listening = cluster.err.wait_for(8, |line| line.contains(" listens on ")).len();
        assert!(ask(address, "/exit/1").is_err());
        cluster.err.wait_for(listening + 1, |line| line.contains(" listens on "));
        for _ in 0..2 {
            assert_eq!(ask(address, "/env/COLOR").unwrap(), "blue");
        }
        cluster.end();
    }
}

#[test]
fn a_worker_that_is_never_ready_does_not_replace_the_old_one() {
    for node in nodes() {
        let name = name("unready");
        let folder = Folder::new("unready");
        let script = folder.0.join("app.cjs");
        let good = std::fs::read_to_string(file("testdata/js/supervised.cjs")).unwrap();
        std::fs::write(&script, &good).unwrap();
        let options = ["-n", "2", "--name", &name, "--ready-timeout", "2s"];
        let cluster = Cluster::start(&mut run_script(&node, &script, &options));
        let address = at(&cluster, 2);
        std::fs::write(&script, "setInterval(() => {}, 1000)").unwrap();
        let (done, said) = command(&["reload"], &name);
        assert!(!done && said.contains("not ready within 2s"), "{said}");
        assert!(ask(address, "/").unwrap().starts_with("slot "));
        let pids = cluster.worker_pids();
        assert_gone(&pids[2..]);
        assert_eq!(pids.len(), 3);
        cluster.end();
    }
}

fn python() -> Option<&'static str> {
    let there = Command::new("python3").arg("--version").output().is_ok();
    assert!(there || std::env::var_os("CI").is_none(), "python3 is to be here");
    there.then_some("python3")
}

#[test]
fn a_program_that_knows_nothing_of_clusters_is_reloaded_and_scaled_without_loss() {
    let Some(python) = python() else { return };
    for ready in ["notify", "alive"] {
        let name = name(ready);
        let mut run = cluster();
        run.args(["run", "-n", "2", "--name", &name, "--listen", "0.0.0.0:0", "--ready", ready]);
        run.arg(python).arg(file("testdata/serve_fds.py"));
        let mut cluster = Cluster::start(&mut run);
        let line = cluster.err.wait_for(1, |line| line.contains("listening on ")).remove(0);
        let port = line.split(':').nth(2).and_then(|rest| rest.split(',').next()).unwrap();
        let load = Load::start(&Target::Tcp(port.parse().unwrap()), 4, 0);
        load.more(50);
        for number in 1..=3 {
            let (good, said) = command(&["reload"], &name);
            assert!(good && said.contains(&format!("reload {number} done")), "{said}");
            load.more(20);
        }
        assert!(command(&["scale", "3"], &name).0);
        load.more(50);
        assert!(command(&["scale", "1"], &name).0);
        load.more(50);
        let tally = load.stop();
        assert!(tally.failures.is_empty(), "{:?}\n{:#?}", tally.failures, cluster.err.all());
        assert!(tally.answers.len() >= 5, "{:?}", tally.answers);
        cluster.signal(Signal::TERM);
        assert_eq!(cluster.wait().code(), Some(0), "{:#?}", cluster.err.all());
        assert_gone(&cluster.worker_pids());
    }
}

/// What a process holds back, and what it has been told of upgrades.
#[cfg(target_os = "linux")]
fn held_and_told(pid: i32) -> (String, bool) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let held = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).expect("it is said");
    let told = std::fs::read(format!("/proc/{pid}/environ")).expect("it is ours");
    let told = told.split(|byte| *byte == 0).any(|set| set.starts_with(b"CLUSTER_UPGRADE"));
    (held.trim().to_owned(), told)
}

#[test]
#[cfg(target_os = "linux")]
fn no_worker_starts_with_signals_held_back_or_knows_of_upgrades() {
    let name = name("held");
    let mut run = cluster();
    run.args(["run", "-n", "1", "--name", &name, "--listen", "127.0.0.1:0", "--ready", "alive"]);
    run.args(["sleep", "1000"]);
    let mut cluster = Cluster::start(&mut run);
    let pid = eventually("it is there", || cluster.worker_pids().first().copied());
    let free = ("0000000000000000".to_owned(), false);
    assert_eq!(held_and_told(pid), free, "the first");
    let (good, said) = command(&["upgrade"], &name);
    assert!(good, "{said}");
    let (good, said) = command(&["reload"], &name);
    assert!(good, "{said}");
    let next = eventually("its successor is told of", || cluster.worker_pids().get(1).copied());
    assert_eq!(held_and_told(next), free, "after an upgrade");
    cluster.signal(Signal::TERM);
    assert_eq!(cluster.wait().code(), Some(0), "{:#?}", cluster.err.all());
    assert!(!cluster.err.all().iter().any(|line| line.contains("in time")), "it left by itself");
    assert_gone(&[pid, next]);
}
