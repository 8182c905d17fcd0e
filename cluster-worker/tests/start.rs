//! What a process is told whose environment says that it is a worker, and whose descriptors do not.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// An example, which `cargo test` builds beside the tests.
fn probe() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.push("examples/probe");
    assert!(path.exists(), "{} is built by `cargo test` without --test", path.display());
    path
}

fn start(variables: &[(&str, &str)], stdin: Stdio) -> String {
    let output = Command::new(probe())
        .args(["script", "idle"])
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(stdin)
        .output()
        .unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_descriptor_that_is_no_channel_is_an_error() {
    let id = ("NODE_UNIQUE_ID", "1");
    let (_ours, stream) = std::os::unix::net::UnixStream::pair().unwrap();
    drop(stream);
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (datagram, _other) = std::os::unix::net::UnixDatagram::pair().unwrap();
    let fd = ("NODE_CHANNEL_FD", "0");
    for (variables, stdin, expected) in [
        (vec![id], Stdio::null(), "NODE_CHANNEL_FD"),
        (vec![id, ("NODE_CHANNEL_FD", "x")], Stdio::null(), "NODE_CHANNEL_FD"),
        (vec![id, ("NODE_CHANNEL_FD", "9999")], Stdio::null(), "NotOpen"),
        (vec![id, fd], Stdio::null(), "NotASocket"),
        (vec![id, fd], std::os::fd::OwnedFd::from(tcp).into(), "NotUnixStream"),
        (vec![id, fd], std::os::fd::OwnedFd::from(datagram).into(), "NotUnixStream"),
        (
            vec![id, fd, ("NODE_CHANNEL_SERIALIZATION_MODE", "xml")],
            Stdio::null(),
            "NODE_CHANNEL_SERIALIZATION_MODE",
        ),
    ] {
        let said = start(&variables, stdin);
        assert!(said.contains(expected), "{variables:?}: {said}");
    }
}

#[test]
fn without_the_variable_it_is_no_worker() {
    let said = start(&[("NODE_CHANNEL_FD", "0")], Stdio::null());
    assert!(said.contains("a primary starts this program"), "{said}");
}
