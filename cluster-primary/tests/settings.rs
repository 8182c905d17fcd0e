//! What the settings make of a worker's process.

#[path = "support/process.rs"]
mod support;

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;

#[cfg(target_os = "linux")]
use cluster_primary::Affinity;
use cluster_primary::{Event, ExitStatus, ForkError, Primary, Settings, Signal, Stdio, WorkerId};
use support::{Cluster, Folder, example, puppet};

#[test]
fn arguments_and_environment_are_as_set() {
    let mut settings = puppet().args(["one", "two three"]).env("CLUSTER_TEST", "yes");
    settings.env.push(("HOME".into(), None));
    let mut cluster = Cluster::with(settings);
    let one = cluster.fork();
    assert_eq!(cluster.ask(one, "args"), "one|two three");
    assert_eq!(cluster.ask(one, "env CLUSTER_TEST"), "yes");
    assert_eq!(cluster.ask(one, "env HOME"), "(unset)");
    assert_ne!(cluster.ask(one, "env PATH"), "(unset)", "the primary's own is inherited");

    let env = [("CLUSTER_TEST", Some("no")), ("CLUSTER_MORE", Some("1")), ("PATH", None)];
    let two = cluster.primary.fork_with(env).expect("it is there");
    assert_eq!(cluster.ask(two, "env CLUSTER_TEST"), "no", "a fork's own go over the settings'");
    assert_eq!(cluster.ask(two, "env CLUSTER_MORE"), "1");
    assert_eq!(cluster.ask(two, "env PATH"), "(unset)");
    let three = cluster.fork();
    assert_eq!(cluster.ask(three, "env CLUSTER_MORE"), "(unset)", "and are that fork's alone");
}

#[test]
fn an_interpreter_gets_its_arguments_the_program_and_its_arguments() {
    let mut settings = Settings::new("app.xyz").args(["a", "b"]);
    settings.exec_path = Some(example("puppet"));
    settings.exec_argv = vec!["--flag".into()];
    let mut cluster = Cluster::with(settings);
    let worker = cluster.fork();
    assert_eq!(cluster.ask(worker, "args"), "--flag|app.xyz|a|b");
}

#[test]
fn a_launcher_becomes_the_worker() {
    let mut settings = puppet().args(["a"]);
    settings.launcher = ["env", "CLUSTER_TEST=launched"].map(OsString::from).into();
    let mut cluster = Cluster::with(settings);
    let worker = cluster.fork();
    assert_eq!(cluster.ask(worker, "env CLUSTER_TEST"), "launched");
    assert_eq!(cluster.ask(worker, "args"), "a");

    cluster.primary.setup(|settings| {
        settings.exec = "app.xyz".into();
        settings.exec_path = Some(example("puppet"));
        settings.exec_argv = vec!["--flag".into()];
    });
    let worker = cluster.fork();
    assert_eq!(cluster.ask(worker, "env CLUSTER_TEST"), "launched");
    assert_eq!(cluster.ask(worker, "args"), "--flag|app.xyz|a");
}

#[test]
fn what_a_launcher_will_not_find_is_said_at_once() {
    for (launcher, exec, said) in [
        ("env", "/no/such/program", "cannot execute /no/such/program: No such file"),
        ("env", "cluster-no-such-program", "on PATH"),
        ("env", "/etc/passwd", "is not executable"),
        ("/no/such/launcher", "sh", "cannot execute /no/such/launcher"),
    ] {
        let mut settings = Settings::new(exec);
        settings.launcher = vec![launcher.into()];
        let mut primary = Primary::new(settings).expect("a poll");
        let error = primary.fork().expect_err("it is not there");
        assert!(error.to_string().contains(said), "{error}");
        assert!(primary.is_over(), "no worker is left of it");
    }
    // It is sought where the worker's environment says.
    let folder = Folder::new("path");
    std::os::unix::fs::symlink(example("puppet"), folder.0.join("a-puppet")).expect("it is ours");
    let mut settings = Settings::new("a-puppet");
    settings.launcher = vec!["/usr/bin/env".into()];
    let mut cluster = Cluster::with(settings.env("PATH", &folder.0));
    let worker = cluster.fork();
    assert_eq!(cluster.ask(worker, "slot"), "0");
}

#[test]
fn the_working_directory_is_as_set() {
    let folder = Folder::new("cwd");
    let mut settings = puppet();
    settings.cwd = Some(folder.0.clone());
    let mut cluster = Cluster::with(settings);
    let worker = cluster.fork();
    assert_eq!(cluster.ask(worker, "cwd"), folder.0.display().to_string());
}

#[test]
fn what_a_silent_worker_writes_comes_to_the_primary_to_the_last_byte() {
    let mut cluster = Cluster::with(puppet().silent(true));
    let worker = cluster.fork();
    assert_eq!(cluster.ask(worker, "print hello"), "printed");
    assert_eq!(stdio(&mut cluster, worker, 1, 6), b"hello\n");
    cluster.primary.send(worker, "die 3").expect("it is connected");
    assert_eq!(stdio(&mut cluster, worker, 1, 50_000), vec![b'o'; 50_000]);
    assert_eq!(stdio(&mut cluster, worker, 2, 50_000), vec![b'e'; 50_000]);
    assert_eq!(cluster.message(worker), "last words");
    assert_eq!(cluster.exit_of(worker), (ExitStatus::Code(3), false));
}

fn stdio(cluster: &mut Cluster, from: WorkerId, number: u32, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < length {
        let wanted = |e: &Event| matches!(e, Event::Stdio { worker, fd, .. } if (*worker, *fd) == (from, number));
        let Event::Stdio { data, .. } = cluster.until("output", wanted) else { unreachable!() };
        bytes.extend(data);
    }
    bytes
}

#[test]
fn the_last_words_on_both_pipes_are_heard() {
    // All is there at once when the primary looks.
    for _ in 0..10 {
        let script = "printf out; printf err >&2; printf five >&5";
        let mut settings = Settings::new("sh").args(["-c", script]);
        settings.stdio = Some(vec![
            Stdio::Ignore,
            Stdio::Pipe,
            Stdio::Pipe,
            Stdio::Ipc,
            Stdio::Ignore,
            Stdio::Pipe,
        ]);
        let mut cluster = Cluster::with(settings);
        let worker = cluster.primary.fork().expect("there is a shell");
        assert_eq!(stdio(&mut cluster, worker, 1, 3), b"out");
        assert_eq!(stdio(&mut cluster, worker, 2, 3), b"err");
        assert_eq!(stdio(&mut cluster, worker, 5, 4), b"five");
        assert_eq!(cluster.exit_of(worker), (ExitStatus::Code(0), false));
    }
}

#[test]
fn the_channel_may_stand_anywhere() {
    for at in [0, 3, 7, 20] {
        let mut stdio = vec![Stdio::Ignore; 24];
        stdio[at] = Stdio::Ipc;
        let mut settings = puppet();
        settings.stdio = Some(stdio);
        let mut cluster = Cluster::with(settings);
        let worker = cluster.fork();
        assert_eq!(cluster.ask(worker, "args"), "", "at {at}");
    }
    // The worker has taken the variables out of its environment; a shell has not.
    let mut settings = Settings::new("sh").args(["-c", "echo $NODE_CHANNEL_FD $NODE_UNIQUE_ID"]);
    settings.stdio =
        Some(vec![Stdio::Ignore, Stdio::Pipe, Stdio::Inherit, Stdio::Ignore, Stdio::Ipc]);
    let mut cluster = Cluster::with(settings);
    let worker = cluster.primary.fork().expect("there is a shell");
    assert_eq!(stdio(&mut cluster, worker, 1, 4), b"4 1\n");
}

#[test]
fn an_open_file_can_be_given() {
    let folder = Folder::new("file");
    let mut file = File::options()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(folder.0.join("log"))
        .expect("a file");
    let given = Arc::new(file.try_clone().expect("a duplicate").into());
    let mut settings = puppet();
    settings.stdio = Some(vec![Stdio::Ignore, Stdio::Fd(given), Stdio::Inherit, Stdio::Ipc]);
    let mut cluster = Cluster::with(settings);
    let worker = cluster.fork();
    assert_eq!(cluster.ask(worker, "print into the file"), "printed");
    let mut text = String::new();
    file.rewind().and_then(|()| file.read_to_string(&mut text)).expect("it can be read");
    assert_eq!(text, "into the file\n");
}

#[test]
fn the_channel_must_stand_exactly_once() {
    for (stdio, count) in [(vec![Stdio::Ignore], 0), (vec![Stdio::Ipc, Stdio::Ipc], 2)] {
        let mut settings = puppet();
        settings.stdio = Some(stdio);
        let mut primary = Primary::new(settings).expect("a poll");
        let error = primary.fork().expect_err("it does not");
        assert!(matches!(error, ForkError::Stdio { channels } if channels == count), "{error}");
        assert!(primary.is_over());
    }
}

#[test]
fn a_worker_runs_as_the_user_that_is_set() {
    if !rustix::process::getuid().is_root() {
        println!("skipped: only root may become another user");
        return;
    }
    let folder = Folder::new("uid");
    let mut settings = for_every_user(&folder);
    (settings.uid, settings.gid) = (Some(65534), Some(65533));
    let mut cluster = Cluster::with(settings);
    let worker = cluster.fork();
    assert_eq!(cluster.ask(worker, "ids"), "65534 65533");
}

/// A puppet that every user can reach and execute.
fn for_every_user(folder: &Folder) -> Settings {
    let program = folder.0.join("puppet");
    // By a process of its own: what this one has open for writing a fork of another test inherits
    // for a moment, and it cannot be executed meanwhile.
    let copied = Command::new("cp").arg(example("puppet")).arg(&program).status();
    assert!(copied.expect("there is cp").success());
    for path in [&folder.0, &program] {
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(path, open).expect("it is ours");
    }
    let mut settings = Settings::new(&program);
    settings.cwd = Some("/".into());
    settings
}

#[test]
#[cfg(target_os = "linux")]
fn a_worker_is_in_the_groups_that_are_set() {
    if !rustix::process::getuid().is_root() {
        println!("skipped: only root may choose groups");
        return;
    }
    // This thread's, and so those of whom it forks.
    let ours = [7, 8].map(rustix::process::Gid::from_raw);
    rustix::thread::set_thread_groups(&ours).expect("root may");
    let folder = Folder::new("groups");
    let set: [(_, fn(&mut Settings)); 5] = [
        ("7 8", |_| {}),
        ("", |s| s.uid = Some(65534)),
        ("", |s| s.gid = Some(65533)),
        ("1 2", |s| (s.uid, s.groups) = (Some(65534), Some(vec![1, 2]))),
        ("", |s| s.groups = Some(vec![])),
    ];
    let mut cluster = Cluster::with(for_every_user(&folder));
    for (groups, change) in set {
        cluster.primary.setup(|settings| {
            (settings.uid, settings.gid, settings.groups) = (None, None, None);
            change(settings);
        });
        let worker = cluster.fork();
        assert_eq!(
            cluster.ask(worker, "status Groups"),
            groups,
            "{:?}",
            cluster.primary.settings()
        );
    }
}

#[test]
#[cfg(target_os = "linux")]
fn what_a_worker_may_not_become_is_said() {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    // From here on this thread may not change users or groups, nor may whom it forks.
    let mut sets = capabilities(None).expect("they can be read");
    let change = CapabilitySet::SETUID | CapabilitySet::SETGID;
    for set in [&mut sets.effective, &mut sets.permitted, &mut sets.inheritable] {
        set.remove(change);
    }
    set_capabilities(None, sets).expect("less is always granted");
    let set: [(_, fn(&mut Settings)); 4] = [
        ("uid 65534: Operation not permitted", |s| s.uid = Some(65534)),
        ("gid 65533: Operation not permitted", |s| s.gid = Some(65533)),
        ("groups [1, 2]: Operation not permitted", |s| s.groups = Some(vec![1, 2])),
        ("affinity 1023: Invalid argument", |s| {
            s.affinity = Some(Affinity::Sets(vec![vec![1023]]));
        }),
    ];
    for (said, change) in set {
        let mut settings = puppet();
        change(&mut settings);
        let mut primary = Primary::new(settings).expect("a poll");
        let error = primary.fork().expect_err("it may not");
        assert!(matches!(error, ForkError::Setting { .. }), "{error}");
        assert!(error.to_string().contains(said), "{error}");
        assert!(primary.is_over(), "no worker is left of it");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn no_new_privileges_is_as_set() {
    let ours = std::fs::read_to_string("/proc/self/status").expect("it can be read");
    let ours = if ours.contains("NoNewPrivs:\t1") { "1" } else { "0" };
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    assert_eq!(cluster.ask(worker, "status NoNewPrivs"), ours);
    cluster.primary.setup(|settings| settings.no_new_privs = true);
    let worker = cluster.fork();
    assert_eq!(cluster.ask(worker, "status NoNewPrivs"), "1");
}

#[test]
#[cfg(target_os = "linux")]
fn each_slot_runs_on_its_cpus() {
    let ours = rustix::thread::sched_getaffinity(None).expect("it can be asked");
    let ours: Vec<u32> = (0..1024_u32).filter(|cpu| ours.is_set(*cpu as usize)).collect();
    let mut settings = puppet();
    settings.affinity = Some(Affinity::Each);
    let mut cluster = Cluster::with(settings);
    for cpu in ours.iter().chain(&ours[..1]) {
        let worker = cluster.fork();
        assert_eq!(cluster.ask(worker, "status Cpus_allowed_list"), cpu.to_string());
    }
    // A slot that none has is the next worker's, with what goes with it.
    let first = cluster.primary.workers()[0];
    cluster.primary.kill(first, Signal::KILL).expect("it is ours");
    cluster.exit_of(first);
    let sets = Affinity::Sets(vec![vec![ours[ours.len() - 1]], vec![ours[0]]]);
    cluster.primary.setup(|settings| settings.affinity = Some(sets));
    let worker = cluster.fork();
    let last = ours[ours.len() - 1].to_string();
    assert_eq!(cluster.ask(worker, "status Cpus_allowed_list"), last);
}

#[test]
fn a_worker_knows_its_slot_which_its_successor_has_after_it() {
    let mut cluster = Cluster::with(puppet().env("CLUSTER_SLOT", "77"));
    let workers: Vec<_> = (0..3).map(|_| cluster.fork()).collect();
    for (slot, worker) in workers.iter().enumerate() {
        assert_eq!(cluster.ask(*worker, "slot"), slot.to_string());
        assert_eq!(cluster.ask(*worker, "env CLUSTER_SLOT"), slot.to_string());
        let state = cluster.primary.worker_state(*worker).expect("it is there");
        assert_eq!(usize::try_from(state.slot), Ok(slot));
    }
    cluster.primary.kill(workers[1], Signal::KILL).expect("it is ours");
    cluster.exit_of(workers[1]);
    let successor = cluster.fork();
    assert_eq!(cluster.ask(successor, "slot"), "1");
    let next = cluster.fork();
    assert_eq!(cluster.ask(next, "slot"), "3");
}

#[test]
fn a_worker_has_a_process_group_of_its_own() {
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    assert_eq!(cluster.ask(worker, "group"), "true");
}

/// Whatever their primary does.
#[test]
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "what a signal does is the whole process's")]
fn a_worker_holds_back_and_ignores_no_signal() {
    use nix::sys::signal::{self, SigHandler, SigSet};

    SigSet::all().thread_set_mask().expect("it is a set");
    // SAFETY: no handler is installed.
    let before = unsafe { signal::signal(signal::SIGWINCH, SigHandler::SigIgn) };
    assert!(matches!(before, Ok(SigHandler::SigDfl)), "{before:?}");

    let script =
        "while read -r line; do case $line in Sig[BI]*) echo $line;; esac; done </proc/self/status";
    let settings = Settings::new("sh").args(["-c", script]).silent(true);
    let mut cluster = Cluster::with(settings);
    let worker = cluster.primary.fork().expect("there is a shell");
    let said = stdio(&mut cluster, worker, 1, 2 * "SigBlk: 0000000000000000\n".len());
    let said = String::from_utf8(said).expect("numbers");
    let masks = said.split_whitespace().filter_map(|word| u64::from_str_radix(word, 16).ok());
    // (What is above are real-time signals, of which libuv ignores none nor forgets any.)
    let standard: Vec<_> = masks.map(|mask| mask & 0x7fff_ffff).collect();
    assert_eq!(standard, [0, 0], "{said}");
}

#[test]
fn a_worker_is_not_told_what_its_primary_is_itself() {
    // A shell that is a worker of ours, by all that its environment says, is a primary's
    // environment here: each variable is its worker's own.
    let script = "echo $NODE_UNIQUE_ID $NODE_CHANNEL_FD $NODE_CHANNEL_SERIALIZATION_MODE";
    let mut settings = Settings::new("sh").args(["-c", script]).silent(true);
    for (name, value) in [
        ("NODE_UNIQUE_ID", "99"),
        ("NODE_CHANNEL_FD", "77"),
        ("NODE_CHANNEL_SERIALIZATION_MODE", "advanced"),
    ] {
        settings = settings.env(name, value);
    }
    let mut cluster = Cluster::with(settings);
    let worker = cluster.primary.fork().expect("there is a shell");
    assert_eq!(stdio(&mut cluster, worker, 1, 9), b"1 3 json\n");
}

#[test]
fn what_cannot_be_executed_is_said_at_once() {
    let folder = Folder::new("errors");
    let file = |name: &str, text: &str, mode| {
        let path = folder.0.join(name);
        // By a process of its own, as in the test of users.
        let mut write = Command::new("sh");
        write.args(["-c", "printf %s \"$1\" > \"$0\""]).arg(&path).arg(text);
        assert!(write.status().expect("there is a shell").success());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("ours");
        path
    };
    let fails = |settings: Settings| {
        let mut primary = Primary::new(settings).expect("a poll");
        let error = primary.fork().expect_err("it cannot");
        assert!(primary.is_over(), "no worker is left of it");
        assert!(primary.all_workers().is_empty());
        error
    };
    let error = fails(Settings::new("cluster-no-such-program"));
    assert!(matches!(&error, ForkError::Spawn { error, .. } if error.raw_os_error() == Some(2)));
    assert!(error.to_string().contains("on PATH"), "{error}");

    let error = fails(Settings::new(file("plain", "text", 0o644)));
    assert!(error.to_string().contains("executable"), "{error}");

    let error = fails(Settings::new(file("dead", "#!/no/such/interpreter\n", 0o755)));
    assert!(matches!(error, ForkError::DeadInterpreter { .. }), "{error}");

    let error = fails(Settings::new(folder.0.join("missing.js")));
    assert!(matches!(error, ForkError::Script { .. }), "{error}");

    let mut settings = puppet();
    settings.cwd = Some(folder.0.join("nowhere"));
    let error = fails(settings);
    assert!(matches!(error, ForkError::Cwd { .. }), "{error}");

    let mut settings = puppet();
    settings.cwd = Some(file("no-folder", "", 0o644));
    let error = fails(settings);
    assert!(matches!(error, ForkError::Cwd { .. }), "{error}");
}

#[test]
fn a_program_that_is_not_there_is_said_whatever_the_descriptors() {
    // Placing descriptors must not get in the way of the report.
    for length in [4, 8, 16, 32, 64] {
        let mut settings = Settings::new("/no/such/program");
        let mut stdio = vec![Stdio::Ignore; length];
        stdio.push(Stdio::Ipc);
        settings.stdio = Some(stdio);
        let mut primary = Primary::new(settings).expect("a poll");
        let error = primary.fork().map(|id| id.0).expect_err(&format!("with {length} descriptors"));
        assert!(matches!(error, ForkError::Spawn { .. }), "{error}");
    }
}

#[test]
fn a_later_setup_is_for_later_forks() {
    let mut cluster = Cluster::with(puppet().args(["first"]));
    let one = cluster.fork();
    cluster.primary.setup(|settings| settings.args = vec![OsString::from("second")]);
    let two = cluster.fork();
    assert_eq!(cluster.ask(one, "args"), "first");
    assert_eq!(cluster.ask(two, "args"), "second");
}
