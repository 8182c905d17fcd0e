//! The primary executes its program again, repeatedly, under load, without a lost connection.
//!
//! A few times each; `cargo xtask soak` has it do a hundred.

#[path = "support/load.rs"]
mod load;
mod support;

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use load::{Load, Target, rust_worker, tcp};
use rustix::process::Signal;
use support::{Cluster, Folder, assert_gone, cluster, eventually, file, nodes, run_script, soaks};

fn upgrades() -> usize {
    if soaks() { 100 } else { 6 }
}

/// A `cluster` of its own, whose file can be replaced.
fn own_program(folder: &Folder) -> PathBuf {
    let path = folder.0.join("cluster");
    replace(&path, Path::new(env!("CARGO_BIN_EXE_cluster")));
    path
}

/// Puts another program in the place of one that may be running: by its name, as packages do.
fn replace(path: &Path, with: &Path) {
    let new = path.with_extension("new");
    // A process of its own writes it: children that other tests start meanwhile would hold a file open
    // for writing that is open so here, and no such file can be executed.
    let copied = Command::new("cp").arg(with).arg(&new).status().expect("it runs");
    assert!(copied.success());
    std::fs::set_permissions(&new, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::rename(&new, path).unwrap();
}

fn under(program: &Path, from: &Command) -> Command {
    let mut command = Command::new(program);
    command.args(from.get_args());
    for (name, value) in from.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

fn upgrade_under_load(run: &Command, target: impl FnOnce(&Cluster) -> Target) {
    let folder = Folder::new("upgrade");
    let program = own_program(&folder);
    let mut cluster = Cluster::start(&mut under(&program, run));
    cluster.err.wait_for(2, |line| line.contains(" listens on "));
    let load = Load::start(&target(&cluster), 4, 4);
    load.more(100);
    let mut before = None;
    for number in 1..=upgrades() {
        replace(&program, Path::new(env!("CARGO_BIN_EXE_cluster")));
        cluster.signal(Signal::USR2);
        let done = format!("upgrade {number})");
        let line =
            cluster.err.wait_for(1, |line| line.contains(&done) || line.contains("not upgraded"));
        assert!(line[0].contains(&done), "{line:?}");
        load.more(50);
        if number == 2 {
            before = Some((cluster.descriptors(), cluster.rss_kib()));
        }
    }
    let workers = cluster.worker_pids();
    assert_eq!(workers.len(), 2, "no worker was replaced: {:#?}", cluster.err.all());
    let tally = load.stop();
    eprintln!(
        "{} upgrades, {} requests, {} retried",
        upgrades(),
        tally.fresh + tally.kept,
        tally.retried
    );
    assert!(tally.failures.is_empty(), "{:?}\n{:#?}", tally.failures, cluster.err.all());
    // No client even had to try again: no connection was touched.
    assert_eq!(tally.retried, 0);
    let (descriptors, rss) = before.unwrap();
    eventually("no descriptor is left over", || {
        (cluster.descriptors() <= descriptors).then_some(())
    });
    let now = cluster.rss_kib();
    assert!(now <= rss + 2048, "from {rss} KiB to {now} KiB");
    cluster.signal(Signal::TERM);
    assert_eq!(cluster.wait().code(), Some(0), "{:#?}", cluster.err.all());
    assert_gone(&workers);
}

#[test]
fn rust_workers_by_hand_off() {
    upgrade_under_load(&rust_worker(&[], "0.0.0.0:0"), tcp);
}

#[test]
fn rust_workers_by_the_kernel() {
    upgrade_under_load(&rust_worker(&["--placement", "kernel"], "0.0.0.0:0"), tcp);
}

#[test]
fn rust_workers_on_a_path() {
    let folder = Folder::new("upgrade-path");
    let path = folder.0.join("app.sock");
    let target = Target::Unix(path.clone());
    upgrade_under_load(&rust_worker(&[], path.to_str().unwrap()), |_| target);
}

#[test]
fn node_workers() {
    for node in nodes() {
        for placement in ["handoff", "kernel"] {
            let script = file("testdata/js/keep-alive.cjs");
            let options = ["-n", "2", "--placement", placement];
            let mut run = run_script(&node, &script, &options);
            upgrade_under_load(run.arg("0"), tcp);
        }
    }
}

fn name(what: &str) -> String {
    format!("{what}-{}", std::process::id())
}

/// `cluster VERB --name NAME …`
fn command(verb: &[&str], name: &str) -> (bool, String) {
    let output = cluster().args(verb).args(["--name", name]).output().expect("it runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).expect("it is text"))
}

#[test]
fn a_program_that_is_no_good_is_found_out_and_the_old_one_goes_on() {
    let name = name("no-good");
    let folder = Folder::new("no-good");
    let program = own_program(&folder);
    let mut run = cluster();
    run.args(["run", "-n", "2", "--name", &name, "--demo-listen", "127.0.0.1:0"]);
    let cluster = Cluster::start(&mut under(&program, &run));
    let address = cluster.listening(2);
    for (text, why) in [
        ("#!/bin/sh\necho it is broken\nexit 3\n", "it is broken"),
        ("#!/nowhere/at/all\n", "No such file"),
        ("not a program", "not a program for this system"),
    ] {
        let bad = folder.0.join("bad");
        std::fs::write(&bad, text).unwrap();
        replace(&program, &bad);
        let (good, said) = command(&["upgrade"], &name);
        assert!(!good && said.to_lowercase().contains(&why.to_lowercase()), "{why}: {said}");
        support::get(address).expect("it serves on");
    }
    let pid = cluster.pid();
    replace(&program, Path::new(env!("CARGO_BIN_EXE_cluster")));
    let (good, said) = command(&["upgrade"], &name);
    assert!(good && said.contains("version"), "{said}");
    assert_eq!(pid, cluster.pid());
    let (good, status) = command(&["status", "--json"], &name);
    assert!(good && status.contains("\"upgrades\":1"), "{status}");
    support::get(address).expect("it serves on");
    assert_eq!(cluster.worker_pids().len(), 2);
    cluster.end();
}

/// A library that lets no poll be made, until the image before has been executed again.
fn without_polls(folder: &Folder) -> Option<PathBuf> {
    let (source, library) = (folder.0.join("no_poll.c"), folder.0.join("no_poll.so"));
    let text = "#include <errno.h>\n#include <stdlib.h>\n#include <sys/syscall.h>\n#include <unistd.h>\n\
                int epoll_create1(int flags) {\n\
                if (!getenv(\"CLUSTER_UPGRADE_FAILED\")) { errno = EMFILE; return -1; }\n\
                return syscall(SYS_epoll_create1, flags);\n}\n";
    std::fs::write(&source, text).unwrap();
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    let built = built.is_ok_and(|status| status.success());
    assert!(built || std::env::var_os("CI").is_none(), "a C compiler is to be here");
    built.then_some(library)
}

#[test]
#[cfg(target_os = "linux")]
fn an_image_that_cannot_go_on_executes_the_one_before_again() {
    let name = name("goes-back");
    let folder = Folder::new("goes-back");
    let Some(library) = without_polls(&folder) else { return };
    let program = own_program(&folder);
    // Of a socket's file, too, nothing may be taken down.
    let path = folder.0.join("app.sock");
    let run = rust_worker(&["--name", &name], path.to_str().unwrap());
    let cluster = Cluster::start(&mut under(&program, &run));
    cluster.err.wait_for(2, |line| line.contains(" listens on "));
    let load = Load::start(&Target::Unix(path), 4, 0);
    load.more(50);
    let turncoat = folder.0.join("turncoat");
    let text = format!(
        "#!/bin/sh\n\
         [ -n \"$CLUSTER_UPGRADE_TRIAL\" ] && echo 'cluster: this program can go on' && exit 0\n\
         LD_PRELOAD='{}' exec '{}' \"$@\"\n",
        library.display(),
        env!("CARGO_BIN_EXE_cluster"),
    );
    std::fs::write(&turncoat, text).unwrap();
    replace(&program, &turncoat);
    for _ in 0..2 {
        let (good, said) = command(&["upgrade"], &name);
        assert!(!good && said.contains("the new program could not continue"), "{said}");
        load.more(50);
    }
    let (good, status) = command(&["status", "--json"], &name);
    assert!(good && status.contains("\"upgrades\":0"), "{status}");
    let tally = load.stop();
    assert!(tally.failures.is_empty(), "{:?}\n{:#?}", tally.failures, cluster.err.all());
    assert_eq!(cluster.worker_pids().len(), 2);
    cluster.end();
}

/// A program that leaves with code 0 has not said that it can go on.
#[test]
fn a_program_that_is_another_is_not_gone_over_to() {
    let name = name("another");
    let folder = Folder::new("another");
    let program = own_program(&folder);
    let mut run = cluster();
    run.args(["run", "-n", "1", "--name", &name, "--demo-listen", "127.0.0.1:0"]);
    let cluster = Cluster::start(&mut under(&program, &run));
    cluster.listening(1);
    let other = folder.0.join("other");
    for (text, wanted) in [
        ("#!/bin/sh\n", "it said nothing (exit status: 0): is it cluster at all?"),
        ("#!/bin/sh\necho hello\n", "hello (exit status: 0): is it cluster at all?"),
        ("#!/bin/sh\necho broken >&2\nexit 3\n", "broken (exit status: 3)"),
    ] {
        std::fs::write(&other, text).unwrap();
        replace(&program, &other);
        let (good, said) = command(&["upgrade"], &name);
        assert!(!good && said.contains(wanted), "{said}");
        assert!(said.contains("not upgraded, the old program continues: "), "{said}");
    }
    std::fs::remove_file(&program).unwrap();
    let (good, said) = command(&["upgrade"], &name);
    assert!(!good && said.contains("cannot execute ") && said.contains("No such file"), "{said}");
    assert_eq!(cluster.worker_pids().len(), 1, "no worker was replaced");
    cluster.end();
}

/// What is executed is what was tried, and no shell.
#[test]
fn a_program_that_misbehaves_in_its_trial_is_not_gone_over_to() {
    let name = name("misbehaves");
    let folder = Folder::new("misbehaves");
    let program = own_program(&folder);
    let mut run = cluster();
    run.args(["run", "-n", "1", "--name", &name, "--demo-listen", "127.0.0.1:0"]);
    let cluster = Cluster::start(&mut under(&program, &run));
    cluster.listening(1);
    let (other, marker) = (folder.0.join("other"), folder.0.join("marker"));
    let real = env!("CARGO_BIN_EXE_cluster");
    let good = "echo 'cluster: this program can go on'";
    let pid = folder.0.join("pid");
    let (touched, left) = (marker.display(), pid.display());
    let own = program.display();
    for (text, wanted) in [
        // A shell would run it.
        (format!("touch '{touched}'\n{good}\n"), "not a program for this system"),
        (format!("#!/bin/sh\n'{real}' \"$@\"\n"), "it was started as a child by another program"),
        (
            format!("#!/bin/sh\nsleep 600 >/dev/null 2>&1 &\necho $! >'{left}'\n{good}\n"),
            "it left processes behind",
        ),
        (format!("#!/bin/sh\necho '# more' >>'{own}'\n{good}\n"), "was changed during its trial"),
    ] {
        std::fs::write(&other, &text).unwrap();
        replace(&program, &other);
        let (upgraded, said) = command(&["upgrade"], &name);
        assert!(!upgraded && said.contains(wanted), "{text}: {said}");
    }
    assert!(!marker.exists(), "a shell has run what is no program");
    let left: i32 = std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
    eventually("what was left behind has ended", || {
        matches!(support::state(left), None | Some('Z')).then_some(())
    });
    assert_eq!(cluster.worker_pids().len(), 1, "no worker was replaced");
    cluster.end();
}

/// Keeps others from opening a file, as a dead network mount does: they wait until this is dropped.
#[cfg(target_os = "linux")]
struct Lease(std::fs::File);

#[cfg(target_os = "linux")]
impl Lease {
    /// `None` where the file system has no leases.
    #[expect(unsafe_code, reason = "no library takes leases")]
    fn take(path: &Path) -> Option<Self> {
        use std::os::fd::AsRawFd;

        /// From `<linux/fcntl.h>`: which signal says that the lease is to be given up.
        const F_SETSIG: libc::c_int = 10;

        let file = std::fs::File::open(path).expect("it is there");
        // It is told by a signal that is ignored by default.
        // SAFETY: these calls take numbers only, of a file that is open.
        let taken = unsafe {
            libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGURG) == 0
                && libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) == 0
        };
        let error = std::io::Error::last_os_error();
        assert!(taken || std::env::var_os("CI").is_none(), "leases are to be had here: {error}");
        taken.then_some(Self(file))
    }

    /// Waits until something waits for the file.
    fn is_waited_for(&self) {
        use std::os::unix::fs::MetadataExt;

        let inode = format!(":{} ", self.0.metadata().unwrap().ino());
        eventually("something waits for the file", || {
            let leases = std::fs::read_to_string("/proc/locks").ok()?;
            leases.lines().any(|l| l.contains("BREAKING") && l.contains(&inode)).then_some(())
        });
    }
}

/// One request at a time, each of them answered within five seconds. (The connection's end is not waited
/// for: a program on trial has copies of those that are on their way to workers.)
fn serves(address: std::net::SocketAddr, requests: usize) {
    for _ in 0..requests {
        let mut connection = std::net::TcpStream::connect(address).expect("it listens");
        connection.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        connection.write_all(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = [0; 1024];
        let length = connection.read(&mut answer).expect("an answer within five seconds");
        assert!(answer[..length].starts_with(b"HTTP/1."), "{:?}", &answer[..length]);
    }
}

/// The file, or the interpreter that a script names, is on a file system that does not answer for a while.
#[test]
#[cfg(target_os = "linux")]
fn a_file_that_cannot_be_opened_or_executed_for_long_does_not_block_the_primary() {
    let name = name("blocks");
    let folder = Folder::new("blocks");
    let program = own_program(&folder);
    let mut run = cluster();
    run.args(["run", "-n", "1", "--name", &name, "--demo-listen", "127.0.0.1:0"]);
    let cluster = Cluster::start(&mut under(&program, &run));
    let address = cluster.listening(1);
    let interpreter = folder.0.join("sh");
    replace(&interpreter, Path::new("/bin/sh"));
    let script = folder.0.join("script");
    let real = env!("CARGO_BIN_EXE_cluster");
    let text = format!("#!{}\nexec '{real}' \"$@\"\n", interpreter.display());
    std::fs::write(&script, text).unwrap();
    for (new, blocks) in [(Path::new(real), &program), (&script, &interpreter)] {
        replace(&program, new);
        let Some(lease) = Lease::take(blocks) else { return };
        let upgrade = {
            let name = name.clone();
            std::thread::spawn(move || command(&["upgrade"], &name))
        };
        lease.is_waited_for();
        serves(address, 20);
        let (answers, status) = command(&["status", "--json"], &name);
        assert!(answers, "{status}");
        assert!(!upgrade.is_finished(), "it still waits for the file");
        drop(lease);
        let (upgraded, said) = upgrade.join().unwrap();
        assert!(upgraded, "{said}");
    }
    assert_eq!(cluster.worker_pids().len(), 1, "no worker was replaced");
    cluster.end();
}

/// It is ended all the same, with what it has started, and nothing waits for it.
#[test]
fn a_program_that_stops_in_its_trial_is_given_up() {
    let name = name("stops");
    let folder = Folder::new("stops");
    let program = own_program(&folder);
    let mut run = cluster();
    run.args(["run", "-n", "1", "--name", &name, "--demo-listen", "127.0.0.1:0"]);
    let cluster = Cluster::start(&mut under(&program, &run));
    let address = cluster.listening(1);
    let (other, pids) = (folder.0.join("other"), folder.0.join("pids"));
    let text = format!(
        "#!/bin/sh\ntrap '' TERM INT HUP\nsleep 600 >/dev/null 2>&1 &\necho $$ $! >'{}'\nkill -STOP $$\n",
        pids.display()
    );
    std::fs::write(&other, text).unwrap();
    replace(&program, &other);
    let upgrade = {
        let name = name.clone();
        std::thread::spawn(move || command(&["upgrade"], &name))
    };
    while !upgrade.is_finished() {
        serves(address, 1);
    }
    let (upgraded, said) = upgrade.join().unwrap();
    assert!(!upgraded && said.contains("it did not report within 20s"), "{said}");
    let pids = std::fs::read_to_string(&pids).unwrap();
    for pid in pids.split_whitespace().map(|pid| pid.parse().unwrap()) {
        eventually("what was tried has ended", || {
            matches!(support::state(pid), None | Some('Z')).then_some(())
        });
    }
    serves(address, 1);
    cluster.end();
}

/// A script that makes itself `cluster` is one, whatever it does to its path meanwhile.
#[test]
fn what_was_tried_is_executed_and_not_what_its_path_leads_to_by_then() {
    let name = name("swapped");
    let folder = Folder::new("swapped");
    let program = own_program(&folder);
    let mut run = cluster();
    run.args(["run", "-n", "1", "--name", &name, "--demo-listen", "127.0.0.1:0"]);
    let cluster = Cluster::start(&mut under(&program, &run));
    cluster.listening(1);
    let comm = || std::fs::read_to_string(format!("/proc/{}/comm", cluster.pid())).unwrap();
    let before = (comm(), cluster.descriptors());
    let (other, evil, marker) =
        (folder.0.join("other"), folder.0.join("evil"), folder.0.join("marker"));
    std::fs::write(&evil, format!("#!/bin/sh\ntouch '{}'\n", marker.display())).unwrap();
    std::fs::set_permissions(&evil, PermissionsExt::from_mode(0o755)).unwrap();
    let text = format!(
        "#!/bin/sh\nmv '{}' '{}' 2>/dev/null\nexec '{}' \"$@\"\n",
        evil.display(),
        program.display(),
        env!("CARGO_BIN_EXE_cluster"),
    );
    std::fs::write(&other, text).unwrap();
    replace(&program, &other);
    let (upgraded, said) = command(&["upgrade"], &name);
    assert!(upgraded, "{said}");
    assert!(
        !marker.exists() && !evil.exists(),
        "the other program took its place, and was not run"
    );
    replace(&program, Path::new(env!("CARGO_BIN_EXE_cluster")));
    let (upgraded, said) = command(&["upgrade"], &name);
    assert!(upgraded, "{said}");
    assert_eq!(comm(), before.0, "it is called as ever");
    eventually("no descriptor is left open", || (cluster.descriptors() <= before.1).then_some(()));
    assert_eq!(cluster.worker_pids().len(), 1, "no worker was replaced");
    cluster.end();
}

/// A signal that comes while the program changes is for the next image: it must not go to a thread that does
/// not hold it back.
#[test]
#[cfg(target_os = "linux")]
fn threads_of_its_own_get_no_signals() {
    let Some(node) = nodes().into_iter().next() else { return };
    let name = name("threads");
    let folder = Folder::new("threads");
    let script = folder.0.join("serves.cjs");
    let text = "require('node:http').createServer((q, s) => s.end('ok')).listen(0, '127.0.0.1');";
    std::fs::write(&script, text).unwrap();
    let mut run = cluster();
    run.args(["run", "-n", "1", "--name", &name, "--http", "0", "--exec-path"]).arg(&node);
    let cluster = Cluster::start(run.arg(&script));
    cluster.listening(1);
    // Its client is closed in a thread.
    assert!(command(&["status"], &name).0);
    let own = cluster.pid().to_string();
    let blocked = |thread: &str| {
        let status = std::fs::read_to_string(format!("/proc/{own}/task/{thread}/status")).ok()?;
        let of = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1).map(str::to_owned)
        };
        let mask = u64::from_str_radix(&of("SigBlk:")?, 16).expect("it is hexadecimal");
        Some((of("Name:")?, mask >> (Signal::TERM.as_raw() - 1) & 1 == 1))
    };
    let others = eventually("the thread is there", || {
        let threads = std::fs::read_dir(format!("/proc/{own}/task")).ok()?.flatten();
        let names = threads.map(|thread| thread.file_name().into_string().expect("a number"));
        let others: Vec<_> = names.filter(|name| *name != own).collect();
        let others: Vec<_> = others.iter().filter_map(|name| blocked(name)).collect();
        others.iter().any(|(name, _)| name == "close").then_some(others)
    });
    assert!(others.len() >= 3, "{others:?}");
    assert!(others.iter().all(|(_, blocked)| *blocked), "{others:?}");
    assert_eq!(blocked(&own).map(|(_, blocked)| blocked), Some(false));
    cluster.end();
}

#[test]
fn what_else_is_there_goes_on_too() {
    let Some(node) = nodes().into_iter().next() else { return };
    let name = name("all");
    let folder = Folder::new("all");
    let program = own_program(&folder);
    let script = folder.0.join("talks.cjs");
    std::fs::write(
        &script,
        "require('node:http').createServer((q, s) => {\n\
         process.stdout.write(q.url.slice(1) + (q.url === '/end' ? '\\n' : '')); s.end('ok');\n\
         }).listen(0, '127.0.0.1');\n",
    )
    .unwrap();
    let mut run = cluster();
    run.args(["run", "-n", "1", "--name", &name, "--http", "0", "--exec-path"])
        .arg(&node)
        .arg(&script);
    let cluster = Cluster::start(&mut under(&program, &run));
    let address = cluster.listening(1);
    let http = cluster.err.wait_for(1, |line| line.contains("status page: ")).remove(0);
    let http = http.split("http://").nth(1).and_then(|rest| rest.split('/').next()).unwrap();
    let http: std::net::SocketAddr = http.parse().unwrap();
    // A client subscribes to events, before and after.
    let mut follower = cluster_ctl(&["events", "fork", "exit", "ready"], &name);
    let events = support::Lines::default();
    events.collect(follower.stdout.take().unwrap());
    eventually("it follows", || {
        let (_, status) = command(&["status", "--json"], &name);
        status.contains("\"ready\":true").then_some(())
    });
    // The first half of a worker's line before, the second after.
    support::get_path(address, "/half-").unwrap();
    let (good, said) = command(&["upgrade"], &name);
    assert!(good, "{said}");
    support::get_path(address, "/end").unwrap();
    cluster.out.wait_for(1, |line| line == "[0] half-end");
    let mut page = std::net::TcpStream::connect(http).expect("it listens");
    write!(page, "GET / HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    page.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // The supervisor goes on: a death is noticed, and reported to clients that subscribed before.
    support::kill(cluster.worker_pids()[0], Signal::KILL);
    events.wait_for(1, |line| line.contains("exit: signal SIGKILL"));
    cluster.err.wait_for(2, |line| line.contains(" listens on "));
    let (good, said) = command(&["reload"], &name);
    assert!(good, "{said}");
    let (good, said) = command(&["upgrade"], &name);
    assert!(good, "{said}");
    let _ = follower.kill();
    let _ = follower.wait();
    cluster.end();
}

fn cluster_ctl(order: &[&str], name: &str) -> std::process::Child {
    let mut command = cluster();
    command.args(["ctl", "--name", name]).args(order).stdout(std::process::Stdio::piped());
    command.spawn().expect("it runs")
}
