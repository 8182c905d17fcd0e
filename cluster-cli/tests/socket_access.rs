//! `--socket-mode` and `--socket-owner`: who may connect to Unix-domain sockets.

mod support;

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use support::{Cluster, Folder, cluster, eventually, nodes};

/// Mode, owner and group.
fn found(path: &Path) -> (u32, u32, u32) {
    let found = std::fs::symlink_metadata(path).expect("it is there");
    (found.permissions().mode() & 0o777, found.uid(), found.gid())
}

fn own() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

fn serves(path: &Path) {
    let mut stream = UnixStream::connect(path).expect("it listens");
    stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// Would let every user connect, were it not for the options.
const SERVER: &str = "require('node:http').createServer((req, res) => res.end('ok'))\
                      .listen({ path: process.argv[2], writableAll: true })";

/// A cluster whose program listens at that path.
fn node_server(folder: &Folder, options: &[&str]) -> Option<(Cluster, PathBuf)> {
    let node = nodes().into_iter().next()?;
    let script = folder.0.join("app.cjs");
    std::fs::write(&script, SERVER).unwrap();
    let path = folder.0.join("app.sock");
    let mut command: Command = cluster();
    command.args(["run", "-n", "1"]).args(options).arg("--exec-path").arg(node);
    let cluster = Cluster::start(command.arg(&script).arg(&path));
    cluster.err.wait_for(1, |line| line.contains(" listens on "));
    Some((cluster, path))
}

/// A program that holds the socket that it is passed.
fn passed(path: &Path, options: &[&str]) -> Cluster {
    let at = format!("unix:{}", path.display());
    let mut command = cluster();
    command.args(["run", "-n", "1", "--listen", &at]).args(options).args(["sleep", "600"]);
    let cluster = Cluster::start(&mut command);
    cluster.err.wait_for(1, |line| line.contains(") started"));
    cluster
}

#[test]
fn the_mode_is_as_it_is_said_whatever_the_program_asks_for() {
    let folder = Folder::new("socket-mode");
    let (uid, gid) = own();
    if let Some((cluster, path)) = node_server(&folder, &["--socket-mode", "0620"]) {
        assert_eq!(found(&path), (0o620, uid, gid));
        serves(&path);
        cluster.signal(Signal::USR2);
        cluster.err.wait_for(1, |line| line.contains("upgraded to version"));
        // A program that closed the socket and listens again gets one of the same mode.
        cluster.signal(Signal::HUP);
        cluster.err.wait_for(1, |line| line.contains("reload 1 done"));
        assert_eq!(found(&path), (0o620, uid, gid));
        cluster.end();
    }
    let path = folder.0.join("passed.sock");
    let cluster = passed(&path, &["--socket-mode", "606"]);
    assert_eq!(found(&path), (0o606, uid, gid));
    cluster.end();
    assert!(!path.exists(), "it is removed");
}

#[test]
fn without_the_options_the_program_decides() {
    let folder = Folder::new("socket-default");
    let Some((cluster, path)) = node_server(&folder, &[]) else { return };
    assert_eq!(found(&path).0 & 0o222, 0o222, "writableAll");
    serves(&path);
    cluster.end();
}

/// With the usual umask a group could not connect.
#[test]
fn a_group_that_is_named_may_connect() {
    let folder = Folder::new("socket-group");
    let (uid, gid) = own();
    let group = format!(":{gid}");
    let path = folder.0.join("passed.sock");
    let cluster = passed(&path, &["--socket-owner", &group]);
    assert_eq!(found(&path), (0o660, uid, gid));
    cluster.end();
    let cluster = passed(&path, &["--socket-owner", &group, "--socket-mode", "0600"]);
    assert_eq!(found(&path).0, 0o600, "unless another mode is set");
    cluster.end();
    let cluster = passed(&path, &["--socket-owner", &uid.to_string()]);
    assert_eq!(found(&path).0 & 0o020, 0, "no group is named");
    cluster.end();
    let Some((cluster, path)) = node_server(&folder, &["--socket-owner", &group]) else { return };
    assert_eq!(found(&path), (0o660, uid, gid));
    cluster.end();
}

/// Node tells the program `EACCES`. The log has the reason.
#[test]
fn a_folder_that_does_not_exist_is_named() {
    let Some(node) = nodes().into_iter().next() else { return };
    let folder = Folder::new("socket-nowhere");
    let missing = folder.0.join("not/there");
    let script = folder.0.join("app.cjs");
    let text = "require('node:net').createServer().on('error', (error) => { console.log(error.code); \
                setInterval(() => {}, 1000); }).listen(process.argv[2])";
    std::fs::write(&script, text).unwrap();
    let mut command = cluster();
    command.args(["run", "-n", "1", "--grace", "100ms", "--exec-path"]).arg(node).arg(script);
    let mut cluster = Cluster::start(command.arg(missing.join("app.sock")));
    cluster.out.wait_for(1, |line| line.ends_with("EACCES"));
    let wanted = format!(
        "No such file or directory (os error 2); the folder {} does not exist",
        missing.display()
    );
    cluster.err.wait_for(1, |l| l.contains("cannot listen on ") && l.ends_with(&wanted));
    cluster.signal(Signal::TERM);
    cluster.wait();
}

/// A socket that was given away, and whose cluster was killed, is replaced by the next one.
#[test]
fn root_gives_sockets_away_and_takes_the_place_of_dead_ones() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = Folder::new("socket-owner");
    let options = ["--socket-owner", "65534:65533", "--socket-mode", "0660"];
    let given = (0o660, 65534, 65533);
    for _ in 0..2 {
        let Some((mut cluster, path)) = node_server(&folder, &options) else { break };
        assert_eq!(found(&path), given);
        serves(&path);
        kill_and_wait(&mut cluster);
        assert!(path.exists(), "a killed one leaves its file");
    }
    let path = folder.0.join("passed.sock");
    for _ in 0..2 {
        let mut cluster = passed(&path, &options);
        assert_eq!(found(&path), given);
        kill_and_wait(&mut cluster);
        assert!(path.exists());
    }
    let path = folder.0.join("group.sock");
    let cluster = passed(&path, &["--socket-owner", ":65533"]);
    assert_eq!((found(&path).1, found(&path).2), (0, 65533), "a group alone");
    cluster.end();
}

fn kill_and_wait(cluster: &mut Cluster) {
    let workers = cluster.worker_pids();
    cluster.signal(Signal::KILL);
    cluster.wait();
    for worker in workers {
        eventually("its worker ends", || {
            matches!(support::state(worker), None | Some('Z')).then_some(())
        });
    }
}

#[test]
fn what_stands_at_the_path_is_neither_changed_nor_followed() {
    let folder = Folder::new("socket-link");
    let precious = folder.file("precious", "", 0o600);
    let path = folder.0.join("app.sock");
    symlink(&precious, &path).unwrap();
    let at = format!("unix:{}", path.display());
    let args = ["run", "-n", "1", "--socket-mode", "0666", "--listen", &at, "sleep", "600"];
    let output = cluster().args(args).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the file there is not a socket of this user"), "{said}");
    assert_eq!(found(&precious).0, 0o600);
}

#[test]
fn a_user_who_may_not_give_it_away_is_told_so() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    if Command::new("setpriv").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "setpriv is to be here");
        return;
    }
    let folder = Folder::new("socket-denied");
    std::fs::set_permissions(&folder.0, PermissionsExt::from_mode(0o777)).unwrap();
    let program = folder.0.join("cluster");
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_cluster")).arg(&program).status();
    assert!(copied.unwrap().success());
    let path = folder.0.join("app.sock");
    let at = format!("unix:{}", path.display());
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&program);
    command.args(["run", "--socket-owner", "root", "--listen", &at, "sleep", "600"]);
    let output = command.env("XDG_RUNTIME_DIR", &folder.0).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("; changing its owner (--socket-owner) requires root"), "{said}");
    assert!(!path.exists(), "nothing is left of it");
}
