//! The core, and threads that share it, against a primary in the same process.
//!
//! A thread is known to wait when the lock is free after its check has run: it holds it in between.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use cluster_ipc::Pressure;
use cluster_proto::{ClusterBody, EncodeError, Message, Value};

use super::*;
use crate::ListenOptions;
use crate::error::SendError;
use crate::machine::{Input, State};
use primary::{LIMIT, Primary};

#[path = "../../tests/support/primary.rs"]
#[expect(dead_code, reason = "the integration tests use the rest")]
mod primary;

fn core(options: &Options) -> (Primary, Core) {
    let (primary, fd) = Primary::new();
    let options = options.clone().exit_when_orphaned(false);
    (primary, Core::new(1, fd, &options, Front::Threads).unwrap())
}

/// Has a thread wait for that, and returns when it sleeps. Tells when it has gone on.
fn waiter(shared: &Arc<Shared>, done: impl Fn(&Core) -> bool + Send + 'static) -> Receiver<()> {
    let (checked, has_checked) = channel();
    let (went_on, has_gone_on) = channel();
    let its = Arc::clone(shared);
    thread::spawn(move || {
        its.wait(None, |core| {
            let _ = checked.send(());
            done(core).then_some(())
        })
        .unwrap();
        let _ = went_on.send(());
    });
    has_checked.recv_timeout(LIMIT).unwrap();
    shared.with(|core| assert!(core.poller.is_none(), "there is a leader"));
    has_gone_on
}

fn is_gone(core: &Core) -> bool {
    core.machine.state() == State::Disconnected
}

/// A worker with one tracked connection, of a server that is closed.
fn with_a_connection(options: &Options) -> (Primary, Arc<Shared>, ServerId, OwnedFd) {
    let (mut primary, mut core) = core(options);
    let query = ListenOptions::new().port(0).query().unwrap();
    let server = core.listen(query, Kind::Tcp, None);
    core.flush();
    let shared = Shared::new(core);
    primary.answer_listen("key");
    let (_client, _) = primary.connect("key");
    let accept = |core: &mut Core| core.try_accept(server, true);
    let fd = shared.wait(Some(LIMIT), accept).unwrap().expect("in time").unwrap().unwrap();
    shared.with(|core| core.forget(server));
    // With that it has read the worker's ACK, and can go on.
    while !matches!(primary.recv_cluster().body, ClusterBody::Close { .. }) {}
    (primary, shared, server, fd)
}

#[test]
fn a_follower_learns_that_the_disconnect_begins() {
    let (mut primary, shared, server, _connection) = with_a_connection(&Options::new());
    let leader = waiter(&shared, is_gone);
    let follower = waiter(&shared, |core| core.machine.exited_after_disconnect().is_some());
    primary.send_internal(None, ClusterBody::Disconnect);
    follower.recv_timeout(LIMIT).expect("the follower goes on");
    assert!(leader.try_recv().is_err(), "a connection is open");
    shared.with(|core| core.ended(server));
    leader.recv_timeout(LIMIT).expect("the leader goes on");
}

#[test]
fn the_leader_learns_of_a_timeout_that_another_thread_sets() {
    let options = Options::new().answer_timeout(Duration::from_millis(20));
    let (_primary, shared, server, _connection) = with_a_connection(&options);
    shared.with(|core| core.input(Input::Disconnect));
    let leader = waiter(&shared, is_gone);
    shared.with(|core| core.ended(server));
    leader.recv_timeout(LIMIT).expect("the primary's answer is given up");
}

#[test]
fn what_a_primary_does_not_read_is_given_up_too() {
    let options = Options::new().answer_timeout(Duration::from_millis(20));
    let (_primary, shared, server, _connection) = with_a_connection(&options);
    let full = |core: &mut Core| {
        core.send("x".repeat(100_000).into(), None).unwrap();
        core.flush();
        !core.is_flushed()
    };
    while !shared.with(full) {}
    shared.with(|core| core.input(Input::Disconnect));
    let leader = waiter(&shared, is_gone);
    shared.with(|core| core.ended(server));
    leader.recv_timeout(LIMIT).expect("the channel is closed");
}

#[test]
fn nothing_counts_as_written_while_a_frame_is_held() {
    let (_primary, mut core) = core(&Options::new().send_limit(0));
    assert!(core.is_flushed());
    let before = core.link.flushes();
    // More than the channel keeps for the protocol's own frames.
    let path = format!("/{}", "x".repeat(8 << 20));
    let query = crate::UnixOptions::new(path).query().unwrap();
    core.listen(query, Kind::Unix, None);
    core.flush();
    assert!(!core.is_flushed());
    assert_eq!(core.link.flushes(), before);
}

/// A worker that has sent a descriptor and a message behind it, and its primary, which has not
/// acknowledged the descriptor.
fn with_a_message_behind_a_descriptor(options: &Options) -> (Primary, Core, u64) {
    let (mut primary, mut core) = core(options);
    core.flush();
    assert_eq!(primary.recv_cluster().body, ClusterBody::Online);
    let before = core.link.flushes();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    core.send("with".into(), Some(socket.into())).unwrap();
    core.send("behind".into(), None).unwrap();
    core.flush();
    (primary, core, before)
}

#[test]
fn nothing_counts_as_written_behind_a_descriptor() {
    let (mut primary, core, before) = with_a_message_behind_a_descriptor(&Options::new());
    assert!(!core.is_flushed());
    assert_eq!(core.link.flushes(), before);
    assert_eq!(primary.recv(), Some(Message::User("with".into())));
    primary.channel.flush().unwrap();
    let shared = Shared::new(core);
    shared.wait(Some(LIMIT), |core| core.is_flushed().then_some(())).unwrap().expect("in time");
    assert!(shared.with(|core| core.link.flushes()) > before);
    assert_eq!(primary.recv(), Some(Message::User("behind".into())));
}

/// Out of memory, say.
#[test]
fn what_the_system_refuses_to_write_is_written_later() {
    let (mut primary, mut core) = core(&Options::new());
    core.flush();
    assert_eq!(primary.recv_cluster().body, ClusterBody::Online);
    core.link.refusals = 3;
    core.send("hello".into(), None).unwrap();
    let before = core.link.flushes();
    core.flush();
    assert_eq!(core.link.flushes(), before);
    assert!(core.machine.is_connected() && core.failure.is_none());
    assert!(core.link.refusals == 2, "it rests meanwhile");
    core.flush();
    assert_eq!(core.link.refusals, 2);
    // Nothing wakes a thread that waits but the time.
    let shared = Shared::new(core);
    shared.wait(Some(LIMIT), |core| core.is_flushed().then_some(())).unwrap().expect("in time");
    assert_eq!(primary.recv(), Some(Message::User("hello".into())));
    shared.with(|core| assert_eq!(core.link.refusals, 0));
}

#[test]
fn a_descriptor_that_is_never_acknowledged_is_given_up() {
    let options = Options::new().answer_timeout(Duration::from_millis(20));
    let (_primary, core, _) = with_a_message_behind_a_descriptor(&options);
    let shared = Shared::new(core);
    shared.with(|core| core.input(Input::Disconnect));
    let leader = waiter(&shared, is_gone);
    leader.recv_timeout(LIMIT).expect("the channel is closed");
}

#[test]
fn a_descriptor_of_the_primarys_cannot_be_the_workers_own() {
    let query = ListenOptions::new().primary_fd(3).query().unwrap();
    assert_eq!(own::bind(&query).unwrap_err(), rustix::io::Errno::INVAL);
}

#[test]
fn what_looks_like_the_protocols_own_is_not_sent_for_a_user() {
    let (_primary, mut core) = core(&Options::default());
    let own = Value::from(cluster_proto::Object::new().with("cmd", "NODE_CLUSTER"));
    let reserved = SendError::Encode(EncodeError::Reserved);
    assert_eq!(core.send(own, None), Err(reserved));
    assert_eq!(core.send("hello".into(), None), Ok(Pressure::Low));
    core.input(Input::CloseChannel);
    assert_eq!(core.send("hello".into(), None), Err(SendError::Disconnected));
}
