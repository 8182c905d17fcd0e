//! No worker has a capability of its primary's, unless it is to.

#[path = "support/dropped.rs"]
mod dropped;
#[path = "support/hostile.rs"]
mod hostile;
mod support;

use std::process::Command;

use dropped::{Stage, copy, is_root};
use support::{Cluster, Folder};

const NET_BIND_SERVICE: u64 = 1 << 10;

/// The sets of a worker's capabilities, by their names.
fn sets(cluster: &Cluster) -> Vec<(String, u64)> {
    cluster.out.wait_for(1, |line| line.contains("told all"));
    let lines = cluster.out.all();
    let cap = |line: &String| {
        let (_, rest) = line.split_once("Cap")?;
        let (name, bits) = rest.split_once(": ")?;
        Some((name.to_owned(), u64::from_str_radix(bits, 16).expect("hexadecimal")))
    };
    let sets: Vec<_> = lines.iter().filter_map(cap).collect();
    assert_eq!(sets.len(), 5, "{lines:?}");
    sets
}

/// All but what it could ever have (`Bnd`) is empty.
fn assert_none(cluster: &Cluster) {
    for (name, bits) in sets(cluster) {
        assert!(name == "Bnd" || bits == 0, "Cap{name} is {bits:x}");
    }
}

fn setpriv(arguments: &[&str], run: &Command) -> Command {
    let mut command = Command::new("setpriv");
    command.args(arguments).arg(run.get_program()).args(run.get_args());
    for (name, value) in run.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

fn can_set_privileges() -> bool {
    let found = Command::new("setpriv").arg("--version").output().is_ok();
    assert!(found || std::env::var_os("CI").is_none(), "setpriv is to be here");
    found && is_root()
}

#[test]
fn a_worker_of_another_user_has_none_of_roots() {
    if !can_set_privileges() {
        return;
    }
    let stage = Stage::new("dropped-capabilities");
    for options in [&[][..], &["--inh-caps=+net_bind_service,+net_raw"]] {
        let mut run = setpriv(options, &stage.run(&[], "privileges", &[]));
        let cluster = Cluster::start(&mut run);
        assert_none(&cluster);
        let said = cluster.out.all();
        let has = |what: &str| said.iter().any(|line| line.ends_with(what));
        assert!(has("Uid: 65534 65534 65534 65534"), "{said:?}");
        assert!(has("Gid: 65534 65534 65534 65534") && has("Groups:"), "{said:?}");
        cluster.end();
    }
}

/// As under `User=` and `AmbientCapabilities=CAP_NET_BIND_SERVICE` in a unit.
#[test]
fn ambient_capabilities_stay_with_the_primary() {
    if !can_set_privileges() {
        return;
    }
    let stage = Stage::new("ambient");
    let runtime = Folder::new("ambient-runtime");
    std::os::unix::fs::chown(&runtime.0, Some(65534), Some(65534)).unwrap();
    let program = stage.folder.0.join("cluster");
    copy(env!("CARGO_BIN_EXE_cluster").as_ref(), &program);
    let caps = [
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--inh-caps=+net_bind_service",
        "--ambient-caps=+net_bind_service",
    ];
    for keeps in [false, true] {
        let mut run = Command::new(&program);
        run.args(["run", "-n", "2", "--ready", "online", "--grace", "1s"]);
        run.args(keeps.then_some("--keep-capabilities"));
        run.arg(&stage.program).args(["privileges", "127.0.0.1:0"]);
        run.env("XDG_RUNTIME_DIR", &runtime.0);
        let cluster = Cluster::start(&mut setpriv(&caps, &run));
        if keeps {
            for (name, bits) in sets(&cluster) {
                assert!(bits & NET_BIND_SERVICE != 0, "Cap{name} is {bits:x}");
            }
        } else {
            assert_none(&cluster);
        }
        let own = std::fs::read_to_string(format!("/proc/{}/status", cluster.pid())).unwrap();
        assert!(own.contains("CapAmb:\t0000000000000400"), "the primary keeps them: {own}");
        cluster.end();
    }
}
