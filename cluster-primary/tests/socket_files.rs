//! What happens at a path where a file is already.

#[path = "support/process.rs"]
mod support;

use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;

use cluster_primary::{Placement, WorkerId};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use support::{Cluster, Folder, placements, puppet};

fn listen(cluster: &mut Cluster, worker: WorkerId, path: &Path) -> String {
    cluster.ask(worker, &format!("unix {}", path.display()))
}

#[test]
fn what_a_dead_primary_left_is_replaced() {
    for placement in placements() {
        let folder = Folder::new(&format!("stale-{placement}"));
        let path = folder.0.join("left");
        // A listener of the standard library leaves its file behind.
        drop(UnixListener::bind(&path).expect("a socket"));
        let mut cluster = Cluster::with(puppet().placement(placement));
        let worker = cluster.fork();
        assert_eq!(listen(&mut cluster, worker, &path), "listening 0", "{placement}");
        let at = path.clone();
        cluster.run(move || drop(UnixStream::connect(at).expect("it listens")));
    }
}

#[test]
fn one_that_a_process_listens_on_is_in_use() {
    for placement in placements() {
        let folder = Folder::new(&format!("live-{placement}"));
        let path = folder.0.join("live");
        let theirs = UnixListener::bind(&path).expect("a socket");
        let mut cluster = Cluster::with(puppet().placement(placement));
        let worker = cluster.fork();
        assert_eq!(listen(&mut cluster, worker, &path), "failed 98", "{placement}");
        // Its owner has noticed nothing.
        theirs.set_nonblocking(true).expect("a flag");
        let noticed = theirs.accept().expect_err("no client has connected");
        assert_eq!(noticed.kind(), std::io::ErrorKind::WouldBlock);
        UnixStream::connect(&path).expect("it is left alone");
        drop(theirs);
        // A child that another test is just forking holds it too, until it executes its program.
        while UnixStream::connect(&path).is_ok() {
            std::thread::yield_now();
        }
        // Its owner has gone now, and the same worker may try again.
        assert_eq!(listen(&mut cluster, worker, &path), "listening 0", "{placement}");
    }
}

#[test]
fn one_that_is_about_to_listen_is_in_use() {
    let folder = Folder::new("bound");
    let path = folder.0.join("bound");
    let theirs = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .expect("a socket");
    let address = SocketAddrUnix::new(&path).expect("it fits");
    rustix::net::bind(&theirs, &address).expect("the path is free");
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    assert_eq!(listen(&mut cluster, worker, &path), "failed 98");
}

#[test]
fn one_whose_queue_is_full_is_in_use() {
    let folder = Folder::new("full");
    let path = folder.0.join("full");
    let theirs = UnixListener::bind(&path).expect("a socket");
    rustix::net::listen(&theirs, 0).expect("it listens");
    let _client = UnixStream::connect(&path).expect("one may wait");
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    assert_eq!(listen(&mut cluster, worker, &path), "failed 98");
}

#[test]
fn what_is_no_stream_socket_is_left_alone() {
    let folder = Folder::new("other");
    let (file, datagrams) = (folder.0.join("file"), folder.0.join("datagrams"));
    std::fs::write(&file, "precious").expect("a file");
    let _socket = UnixDatagram::bind(&datagrams).expect("a socket");
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    for path in [&file, &datagrams] {
        assert_eq!(listen(&mut cluster, worker, path), "failed 98", "{}", path.display());
        assert!(path.exists());
    }
    assert_eq!(std::fs::read_to_string(&file).expect("it is there"), "precious");
}

#[test]
fn a_primary_does_not_take_its_own_socket_for_a_stale_one() {
    // Shared, it is bound here and listened on by the worker, perhaps later.
    let folder = Folder::new("own");
    let path = folder.0.join("own");
    let mut cluster = Cluster::with(puppet().placement(Placement::Shared));
    let worker = cluster.fork();
    assert_eq!(listen(&mut cluster, worker, &path), "listening 0");
    let first = std::fs::metadata(&path).expect("it is there").ino();
    assert_eq!(listen(&mut cluster, worker, &path), "failed 98");
    assert_eq!(std::fs::metadata(&path).expect("it is there").ino(), first);
}
