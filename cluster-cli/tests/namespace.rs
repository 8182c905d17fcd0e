//! A cluster in a PID namespace of its own, as in a container, and orders from outside.
#![cfg(target_os = "linux")]

mod support;

use std::process::Command;

use support::{Cluster, Folder, cluster, get};

#[test]
fn it_is_the_first_process_and_hears_clients_from_outside() {
    let folder = Folder::new("namespace");
    let socket = folder.0.join("s");
    // Where one may not make namespaces there is nothing to see.
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child"]);
        command
    };
    if !unshare().arg("true").status().is_ok_and(|status| status.success()) {
        eprintln!("no namespaces are to be had: not tested");
        return;
    }
    let program = cluster();
    let mut command = unshare();
    command.arg(program.get_program()).args(["run", "-n", "1", "--control"]).arg(&socket);
    let mut contained = Cluster::start(command.args(["--demo-listen", "127.0.0.1:0"]));
    get(contained.listening(1)).expect("it serves");
    let ordered = |words: &[&str]| {
        let output = cluster().args(words).arg("--control").arg(&socket).output();
        let output = output.expect("it starts");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("it is text")
    };
    assert!(ordered(&["status"]).contains("(pid 1)"));
    assert!(ordered(&["reload"]).contains("workers replaced: 1"));
    get(contained.listening(2)).expect("it serves");
    // Its parent does not pass signals on, so it is asked by its socket.
    let stopped = cluster().args(["ctl", "--control"]).arg(&socket).arg("stop").status();
    assert!(stopped.expect("it starts").success());
    assert_eq!(contained.wait().code(), Some(0), "{:#?}", contained.err.all());
}
