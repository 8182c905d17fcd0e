//! What goes wrong at the start is said in a line that names it, and leaves nothing behind.

mod support;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use support::{Cluster, cluster};

/// Runs to the end; the status, and what was said.
fn fail(command: &mut Command) -> (Option<i32>, String) {
    let mut cluster = Cluster::start(command);
    let status = cluster.wait();
    let pids = cluster.worker_pids();
    for pid in pids {
        support::eventually("the worker is gone", || (!support::is_there(pid)).then_some(()));
    }
    let said = support::eventually("it said something", || {
        let said = cluster.err.all().join("\n");
        (!said.is_empty()).then_some(said)
    });
    (status.code(), said)
}

fn scratch(name: &str, text: &str, mode: u32) -> std::path::PathBuf {
    let dir = std::env::temp_dir().join(format!("cluster-mistakes-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn a_missing_program() {
    let (status, said) = fail(cluster().args(["run", "-n", "2", "/nowhere/to/be/found"]));
    assert_eq!(status, Some(1));
    assert!(said.contains("cannot execute /nowhere/to/be/found: No such file"), "{said}");
}

#[test]
fn a_program_that_is_not_on_the_path() {
    let (status, said) = fail(cluster().args(["run", "no-such-program-here"]));
    assert_eq!(status, Some(1));
    assert!(said.contains("no-such-program-here") && said.contains("on PATH?"), "{said}");
}

#[test]
fn a_missing_script() {
    let (status, said) = fail(cluster().args(["run", "nowhere.js"]));
    assert_eq!(status, Some(1));
    assert!(said.contains("cannot run the script nowhere.js: No such file"), "{said}");
}

#[test]
fn a_file_that_may_not_be_executed() {
    let path = scratch("plain", "#!/bin/sh\n", 0o644);
    let (status, said) = fail(cluster().arg("run").arg(&path));
    assert_eq!(status, Some(1));
    assert!(said.contains("plain") && said.contains("is it executable?"), "{said}");
}

#[test]
fn an_interpreter_that_is_not_there() {
    let path = scratch("dead", "#!/no/such/interpreter\n", 0o755);
    let (status, said) = fail(cluster().arg("run").arg(&path));
    assert_eq!(status, Some(1));
    assert!(
        said.contains("dead: the interpreter that its first line names is not there"),
        "{said}"
    );
    let script = scratch("app.js", "", 0o644);
    let (status, said) = fail(cluster().env("PATH", "/nowhere").arg("run").arg(&script));
    assert_eq!(status, Some(1));
    assert!(said.contains("cannot execute node") && said.contains("on PATH?"), "{said}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_policy_that_the_kernel_cannot_follow() {
    let args = ["run", "--placement", "kernel", "--policy", "least-connections"];
    let (status, said) = fail(cluster().args(args));
    assert_eq!(status, Some(2));
    assert!(said.contains("it can by rr, random, sticky"), "{said}");
}

#[test]
fn a_port_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (status, said) = fail(cluster().args(["run", "-n", "2", "--demo-listen", &address]));
    assert_eq!(status, Some(4));
    assert!(
        said.contains(&format!("cannot listen on {address}: Address already in use")),
        "{said}"
    );
    assert!(said.contains("giving up: a slot failed more than 5 times within 60s"), "{said}");
    let end = said.lines().last().unwrap_or_default();
    assert!(end.contains("Address already in use"), "the last line says why: {end}");
}

#[test]
fn an_address_that_is_not_ours() {
    let (status, said) = fail(cluster().args(["run", "-n", "1", "--demo-listen", "192.0.2.1:80"]));
    assert_eq!(status, Some(4));
    assert!(
        said.contains("cannot listen on 192.0.2.1:80: Cannot assign requested address"),
        "{said}"
    );
}

#[test]
fn a_program_that_is_here_but_not_on_the_path() {
    let path = scratch("here.sh", "#!/bin/sh\n", 0o755);
    let here = path.parent().unwrap();
    let (status, said) = fail(cluster().current_dir(here).args(["run", "here.sh"]));
    assert_eq!(status, Some(1));
    assert!(said.contains("say ./here.sh"), "{said}");
}

#[test]
fn a_program_that_knows_nothing_of_clusters() {
    let (status, said) = fail(cluster().args(["run", "-n", "1", "false"]));
    assert_eq!(status, Some(4));
    assert!(said.contains("does the program speak node:cluster's protocol?"), "{said}");
}

#[test]
fn a_policy_without_hand_offs() {
    let args = ["run", "--placement", "shared", "--policy", "random"];
    let (status, said) = fail(cluster().args(args));
    assert_eq!(status, Some(2));
    assert!(said.contains("--policy"), "{said}");
}

#[test]
fn a_missing_directory() {
    let (status, said) = fail(cluster().args(["run", "--cwd", "/nowhere/at/all"]));
    assert_eq!(status, Some(1));
    assert!(said.contains("/nowhere/at/all"), "{said}");
}

#[test]
fn wrong_usage() {
    for args in [
        &["run", "--policy", "best"][..],
        &["run", "--placement", "magic"],
        &["run", "-n", "0"],
        &["run", "--worker"],
        &["run", "--demo-listen", "foo"],
        &["walk"],
    ] {
        let (status, said) = fail(cluster().args(args));
        assert_eq!(status, Some(2), "{said}");
        assert!(said.contains(args.last().unwrap()), "{said}");
    }
}
