//! Who may connect to the control API, and that no worker takes its place.

#[path = "../../cluster-primary/tests/support/process.rs"]
mod support;

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::{self, JoinHandle};

use cluster_control::ControlServer;
use rustix::process::{Uid, geteuid};
use rustix::thread::set_thread_res_uid;
use support::{Cluster, Folder, LIMIT, placements, puppet};

/// Asks for the version, as that user; what is answered.
fn ask(path: &Path, user: Option<Uid>) -> JoinHandle<String> {
    let path = path.to_owned();
    thread::spawn(move || {
        if let Some(user) = user {
            // This thread's alone.
            set_thread_res_uid(user, user, user).expect("root may");
        }
        let mut client = UnixStream::connect(path).expect("the file's mode lets it");
        client.set_read_timeout(Some(LIMIT)).expect("a socket");
        let call = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"version\"}";
        // It may have been hung up on already.
        let _ = client.write_all(call);
        let _ = client.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    })
}

fn answered(
    control: &mut ControlServer,
    cluster: &mut Cluster,
    client: JoinHandle<String>,
) -> String {
    while !client.is_finished() {
        control.process(&mut cluster.primary).expect("a poll");
        thread::yield_now();
    }
    client.join().expect("it does not panic")
}

#[test]
fn a_client_of_another_user_is_hung_up_on() {
    if !geteuid().is_root() {
        println!("left out: only root can become another user");
        return;
    }
    let folder = Folder::new("peer");
    let path = folder.0.join("control.sock");
    let mut control = ControlServer::bind(&path).expect("a socket");
    // It is not to be the mode that keeps others out.
    for (path, mode) in [(&folder.0, 0o755), (&path, 0o666)] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("they are ours");
    }
    let mut cluster = Cluster::new();
    for (user, trusted) in [(None, true), (Some(Uid::from_raw(65_534)), false), (None, true)] {
        let client = ask(&path, user);
        let answer = answered(&mut control, &mut cluster, client);
        assert_eq!(answer.contains("\"protocol\":1"), trusted, "{answer}");
        assert_eq!(answer.is_empty(), !trusted, "{answer}");
    }
}

#[test]
fn no_worker_can_take_over_what_the_primary_opened_itself() {
    for placement in placements() {
        let folder = Folder::new(&format!("own-descriptors-{placement}"));
        let path = folder.0.join("control.sock");
        let mut control = ControlServer::bind(&path).expect("a socket");
        let mut cluster = Cluster::with(puppet().placement(placement));
        let (good, rogue) = (cluster.fork(), cluster.fork());
        let address = cluster.listen(good, 0);
        cluster.ask(good, &format!("unix {}", folder.0.join("served").display()));
        let open = std::fs::read_dir("/proc/self/fd").expect("it is there").flatten();
        let mut sockets = 0;
        for number in open.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
            let target = std::fs::read_link(format!("/proc/self/fd/{number}"));
            // Those that are no sockets have other reasons to be refused.
            if number > 2 && target.is_ok_and(|t| t.to_string_lossy().starts_with("socket:")) {
                sockets += 1;
                let answer = cluster.ask(rogue, &format!("fd {number}"));
                assert_eq!(answer, "failed 22", "{placement}: {number}");
            }
        }
        assert!(sockets >= 3, "the control API's, and two servers': {sockets}");
        assert_eq!(cluster.served_by(address), good);
        // And clients of the control API are connected to the primary.
        let answer = answered(&mut control, &mut cluster, ask(&path, None));
        assert!(answer.contains("\"protocol\":1"), "{answer}");
    }
}
