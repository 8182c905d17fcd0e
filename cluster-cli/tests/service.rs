//! Under a service manager: what it is told, and what it is not passed on.

mod support;

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Output};

use rustix::process::Signal;
use support::{Cluster, Folder, PATIENCE, cluster, file, get, get_path};

/// The next message that has that field.
fn told(manager: &UnixDatagram, field: &str) -> String {
    let mut buffer = [0; 4096];
    loop {
        let length = manager.recv(&mut buffer).unwrap_or_else(|e| panic!("no {field}: {e}"));
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if text.lines().any(|line| line.starts_with(field)) {
            return text;
        }
    }
}

#[test]
fn the_manager_hears_of_all_that_matters() {
    let folder = Folder::new("manager");
    let path = folder.0.join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut run = cluster();
    run.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    run.args(["run", "-n", "2", "--demo-listen", "127.0.0.1:0"]);
    let mut cluster = Cluster::start(&mut run);
    assert!(told(&manager, "READY=1").contains(&format!("MAINPID={}", cluster.pid())));
    assert!(told(&manager, "STATUS=").contains("running; 2 workers wanted"));
    for _ in 0..3 {
        told(&manager, "WATCHDOG=1");
    }
    cluster.signal(Signal::HUP);
    assert!(told(&manager, "RELOADING=1").contains("MONOTONIC_USEC="));
    told(&manager, "READY=1");
    cluster.signal(Signal::TERM);
    told(&manager, "STOPPING=1");
    assert_eq!(cluster.wait().code(), Some(0));
}

#[test]
fn a_manager_that_does_not_listen_stops_nothing() {
    let folder = Folder::new("deaf");
    let mut run = cluster();
    run.env("NOTIFY_SOCKET", folder.0.join("absent")).env("WATCHDOG_USEC", "1000");
    run.args(["run", "-n", "1", "--demo-listen", "127.0.0.1:0"]);
    let cluster = Cluster::start(&mut run);
    cluster.listening(1);
    let said = cluster.err.wait_for(1, |line| line.contains("cannot notify the service manager"));
    assert!(said[0].contains("/absent: No such file or directory"), "{said:?}");
    cluster.end();
}

/// A manager's socket, and the variable that names it.
fn manager(folder: &Folder) -> (UnixDatagram, PathBuf) {
    let path = folder.0.join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    (manager, path)
}

/// The next status that says this.
fn told_status(manager: &UnixDatagram, part: &str) -> String {
    loop {
        let status = told(manager, "STATUS=");
        if status.contains(part) {
            return status;
        }
    }
}

/// A worker that waits until the file `go` is there, or exits with 9 if `bad` is.
fn worker(folder: &Folder) -> PathBuf {
    let (demo, place) = (env!("CARGO_BIN_EXE_cluster"), folder.0.display());
    let text = format!(
        "#!/bin/sh\ncd {place}\n[ -e bad ] && exit 9\nuntil [ -e go ]; do sleep 0.02; done\n\
         exec {demo} demo-worker 127.0.0.1:0\n"
    );
    folder.file("worker", &text, 0o755)
}

#[test]
fn the_manager_is_asked_to_wait_while_the_start_takes_long() {
    let folder = Folder::new("slow");
    let (manager, path) = manager(&folder);
    let mut run = cluster();
    run.env("NOTIFY_SOCKET", &path);
    let mut cluster = Cluster::start(run.args(["run", "-n", "1"]).arg(worker(&folder)));
    // At once, and again while it goes on.
    for _ in 0..2 {
        assert_eq!(told(&manager, "EXTEND_TIMEOUT_USEC="), "EXTEND_TIMEOUT_USEC=15000000\n");
    }
    folder.file("go", "", 0o644);
    told(&manager, "READY=1");
    // It is not asked while the unit is active: so at the end it is asked again.
    cluster.signal(Signal::TERM);
    told(&manager, "STOPPING=1");
    told(&manager, "EXTEND_TIMEOUT_USEC=");
    assert_eq!(cluster.wait().code(), Some(0));
}

#[test]
fn the_manager_is_asked_to_wait_while_a_reload_takes_long() {
    let folder = Folder::new("slow-reload");
    let (manager, path) = manager(&folder);
    folder.file("go", "", 0o644);
    let mut run = cluster();
    run.env("NOTIFY_SOCKET", &path);
    let cluster = Cluster::start(run.args(["run", "-n", "1"]).arg(worker(&folder)));
    told(&manager, "READY=1");
    std::fs::remove_file(folder.0.join("go")).unwrap();
    cluster.signal(Signal::HUP);
    told(&manager, "RELOADING=1");
    for _ in 0..2 {
        told(&manager, "EXTEND_TIMEOUT_USEC=");
    }
    folder.file("go", "", 0o644);
    told(&manager, "READY=1");
    cluster.end();
}

#[test]
fn a_reload_that_fails_is_seen_everywhere_until_one_succeeds() {
    let folder = Folder::new("failed-reload");
    let (manager, path) = manager(&folder);
    folder.file("go", "", 0o644);
    let name = format!("failed-reload-{}", std::process::id());
    let of =
        |verb: &[&str]| cluster().args(verb).args(["--name", &name]).output().expect("it runs");
    let json = || -> serde_json::Value {
        serde_json::from_slice(&of(&["status", "--json"]).stdout).expect("it is JSON")
    };
    let mut run = cluster();
    run.env("NOTIFY_SOCKET", &path);
    run.args(["run", "-n", "2", "--name", &name, "--http", "0"]);
    let cluster = Cluster::start(run.arg(worker(&folder)));
    cluster.listening(2);
    assert!(of(&["reload"]).status.success());
    assert_eq!(json()["reloadFailure"], serde_json::Value::Null);
    told_status(&manager, "running; 2 workers wanted\n");

    let bad = folder.file("bad", "", 0o644);
    let reload = of(&["reload"]);
    assert_eq!(reload.status.code(), Some(1), "{reload:?}");
    let why = "the last reload failed: the replacement worker for slot 0 failed: it died (code 9)";
    told_status(&manager, &format!("running; 2 workers wanted; {why}\n"));
    cluster.err.wait_for(1, |line| line.starts_with("cluster: error: reload 2 was aborted: "));
    let status = json();
    assert_eq!(status["generation"], 1, "the workers that run are of the first reload: {status}");
    assert!(status["workers"].as_array().unwrap().iter().all(|worker| worker["generation"] == 1));
    let failure = &status["reloadFailure"];
    assert_eq!(failure["reason"], "the replacement worker for slot 0 failed: it died (code 9)");
    assert!(failure["agoMs"].is_u64(), "{status}");
    let table = String::from_utf8(of(&["status"]).stdout).unwrap();
    assert!(table.contains("generation 1"), "{table}");
    assert!(table.contains("the last reload failed ") && table.contains("(code 9)"), "{table}");
    let http = cluster.err.wait_for(1, |line| line.contains("http://")).remove(0);
    let address = http.split("http://").nth(1).and_then(|rest| rest.split('/').next()).unwrap();
    let metrics = || get_path(address.parse().unwrap(), "/metrics").expect("it answers");
    assert!(metrics().contains("\ncluster_last_reload_successful 0\n"), "{}", metrics());
    assert!(metrics().contains("\ncluster_generation 1\n"), "{}", metrics());

    // Nothing of that is forgotten by an upgrade.
    let upgrade = of(&["upgrade"]);
    assert!(upgrade.status.success(), "{upgrade:?}");
    assert_eq!(json()["reloadFailure"]["reason"], failure["reason"]);
    told_status(&manager, why);

    std::fs::remove_file(bad).unwrap();
    assert!(of(&["reload"]).status.success());
    let status = json();
    assert_eq!((&status["generation"], &status["reloadFailure"]), (&3.into(), &().into()));
    told_status(&manager, "running; 2 workers wanted\n");
    assert!(metrics().contains("\ncluster_last_reload_successful 1\n"), "{}", metrics());
    cluster.end();
}

#[test]
fn a_configuration_that_cannot_be_read_is_a_failed_reload() {
    let folder = Folder::new("bad-config");
    let (manager, path) = manager(&folder);
    let name = format!("bad-config-{}", std::process::id());
    let text = format!("workers = 1\nname = '{name}'\ndemo-listen = '127.0.0.1:0'\n");
    let config = folder.file("cluster.toml", &text, 0o644);
    let mut run = cluster();
    run.env("NOTIFY_SOCKET", &path).args(["run", "--config"]).arg(&config);
    let cluster = Cluster::start(&mut run);
    told(&manager, "READY=1");
    folder.file("cluster.toml", "workers = 'two'\n", 0o644);
    // A signal has no answer, so the result has to be visible elsewhere.
    cluster.signal(Signal::HUP);
    let status = told_status(&manager, "the last reload failed");
    assert!(status.contains("workers: expected a number"), "{status}");
    let table = support::cluster().args(["status", "--name", &name]).output().unwrap();
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("the last reload failed"), "{table}");
    cluster.end();
}

/// The unit of docs/deploying.md, as far as it is about reloading.
struct Unit {
    /// `ExecReload=`, after the program.
    reload: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Unit {
    fn of(page: &str, runtime: &str) -> Self {
        let unit = page.split("```ini").nth(1).and_then(|rest| rest.split("```").next());
        let lines: Vec<_> = unit.expect("there is a unit").lines().collect();
        let values = |key: &str| {
            let values = lines.iter().filter_map(|line| line.strip_prefix(key));
            values.map(|value| value.replace("%t", runtime)).collect::<Vec<_>>()
        };
        let reload = values("ExecReload=").remove(0);
        let mut words = reload.split_whitespace().map(str::to_owned);
        assert_eq!(words.next().as_deref(), Some("/usr/local/bin/cluster"), "{reload}");
        let split = |set: String| {
            let (name, value) = set.split_once('=').expect("a variable");
            (name.to_owned(), value.to_owned())
        };
        let environment = values("Environment=").into_iter().map(split).collect();
        Self { reload: words.collect(), environment }
    }

    /// What systemd does at `systemctl reload`.
    fn reload(&self) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cluster"));
        command.env_clear().current_dir("/").envs(self.environment.iter().cloned());
        command.args(&self.reload).output().expect("it runs")
    }
}

/// It finds the cluster by what the unit gives it, and fails if the reload fails.
#[test]
fn the_unit_of_the_manual_reloads_and_says_if_that_fails() {
    let folder = Folder::new("unit");
    folder.file("go", "", 0o644);
    let page = std::fs::read_to_string(file("docs/deploying.md")).unwrap();
    let unit = Unit::of(&page, folder.0.to_str().unwrap());
    // RuntimeDirectory= makes it.
    std::fs::create_dir(folder.0.join("app")).unwrap();
    let mut run = cluster();
    run.envs(unit.environment.iter().cloned());
    let cluster = Cluster::start(run.args(["run", "-n", "1"]).arg(worker(&folder)));
    let address = cluster.listening(1);
    let reload = unit.reload();
    assert!(reload.status.success(), "{reload:?}");
    get(address).expect("it serves");
    folder.file("bad", "", 0o644);
    let reload = unit.reload();
    assert_eq!(reload.status.code(), Some(1), "{reload:?}");
    cluster.end();
}
