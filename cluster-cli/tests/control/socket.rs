//! The socket itself.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use serde_json::json;

use crate::client::Client;
use crate::serve;
use crate::support::{Folder, cluster};

#[test]
fn what_looks_for_clusters_is_no_client_of_theirs() {
    let folder = Folder::new("looked-for");
    let there = folder.0.join("cluster");
    std::fs::create_dir(&there).expect("a folder");
    std::fs::set_permissions(&there, PermissionsExt::from_mode(0o700)).expect("it is ours");
    let (one, two) = (there.join("one.sock"), there.join("two.sock"));
    let mut served = serve(&one, &["--once"]);
    let _other = serve(&two, &[]);
    // With two of them it must be told which, and has asked none.
    let looked = cluster().args(["ctl", "ls"]).env("XDG_RUNTIME_DIR", &folder.0).output();
    let looked = looked.expect("it runs");
    assert_eq!(looked.status.code(), Some(1));
    let said = String::from_utf8_lossy(&looked.stderr).into_owned();
    assert!(said.contains("one") && said.contains("two"), "{said}");
    let mut client = Client::connect(&one);
    assert_eq!(client.call("version", json!({}))["protocol"], 1);
    drop(client);
    served.wait();
    let looked = cluster().args(["ctl", "ls"]).env("XDG_RUNTIME_DIR", &folder.0).output();
    assert_eq!(looked.expect("it runs").status.code(), Some(0), "there is one left");
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let folder = Folder::new("stale");
    let path = folder.0.join("control");
    drop(UnixListener::bind(&path).expect("a socket"));
    let served = serve(&path, &[]);
    let second = cluster().arg("serve").arg("--control").arg(&path).output().expect("it runs");
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("is in use") && said.contains(path.to_str().expect("text")), "{said}");
    Client::connect(&path).call("version", json!({}));
    drop(served);
}
