//! Ways to listen, the workers that get the connections, and what goes wrong.

use std::net::{TcpListener, TcpStream};

use serde_json::{Value, json};

use super::steps::{
    BOTH, NONE, RR, Scenario, client, cluster, end, fork, gone, listen, local, open, settled, share,
};
use crate::compat::cast::{Policy, Side};
use crate::compat::stage::{Played, Stage, connect, free, read_all};
use crate::compat::trace::Party;

pub(super) const ALL: &[Scenario] = &[
    Scenario { name: "rotation", policies: RR, play: rotation },
    Scenario { name: "any-port", policies: BOTH, play: any_port },
    Scenario { name: "any-port-twice", policies: BOTH, play: any_port_twice },
    Scenario { name: "every-host", policies: BOTH, play: every_host },
    Scenario { name: "one-listens-for-long", policies: BOTH, play: one_listens_for_long },
    Scenario { name: "close-and-listen-again", policies: BOTH, play: close_and_listen_again },
    Scenario { name: "close-while-others-listen", policies: BOTH, play: close_while_others_listen },
    Scenario { name: "same-listen-twice", policies: RR, play: same_listen_twice },
    Scenario { name: "port-in-use", policies: BOTH, play: port_in_use },
    Scenario { name: "close-in-flight", policies: BOTH, play: close_in_flight },
    Scenario { name: "another-may-retry", policies: RR, play: another_may_retry },
    Scenario { name: "another-may-retry-shared", policies: NONE, play: another_may_retry_shared },
    Scenario { name: "address-of-no-interface", policies: BOTH, play: address_of_no_interface },
    Scenario { name: "exclusive", policies: BOTH, play: exclusive },
    Scenario { name: "unix-path", policies: BOTH, play: unix_path },
    Scenario { name: "unix-path-in-use", policies: BOTH, play: unix_path_in_use },
    Scenario { name: "unix-path-nowhere", policies: BOTH, play: unix_path_nowhere },
    #[cfg(target_os = "linux")]
    Scenario { name: "abstract-path", policies: BOTH, play: abstract_path },
    Scenario { name: "descriptor-not-open", policies: BOTH, play: descriptor_not_open },
    Scenario { name: "datagrams", policies: BOTH, play: datagrams },
    Scenario { name: "datagrams-6", policies: BOTH, play: datagrams_6 },
    Scenario { name: "datagrams-in-use", policies: BOTH, play: datagrams_in_use },
    Scenario { name: "datagrams-of-another-family", policies: RR, play: another_family },
];

/// A port of the play's own address that another process listens on.
fn taken_port(stage: &Stage<'_>) -> Played<(TcpListener, Value)> {
    let listener = TcpListener::bind((stage.host(), 0))?;
    let port = listener.local_addr()?.port();
    Ok((listener, json!(port)))
}

fn free_port(taken: TcpListener) -> Played {
    let address = taken.local_addr()?;
    free(taken, || TcpListener::bind(address).is_ok());
    Ok(())
}

/// Listens on a port that the system chooses; which.
fn first(stage: &mut Stage<'_>, worker: u32, id: &str) -> Played<Value> {
    let options = local(stage, &json!(0));
    Ok(listen(stage, worker, id, options)?["port"].clone())
}

fn rotation(stage: &mut Stage<'_>) -> Played {
    cluster(stage, 3)?;
    let port = share(stage, &[1, 2, 3])?;
    for _ in 0..9 {
        client(stage, &port)?;
    }
    end(stage, &[1, 2, 3])
}

/// As many clients as workers: in turn, or whom the kernel wakes.
fn all_answer(stage: &mut Stage<'_>, port: &Value, workers: &[u32]) -> Played {
    for _ in workers {
        match stage.play.policy {
            Policy::Rr => client(stage, port)?,
            Policy::None => stage.client_of_some(port)?,
        }
    }
    Ok(())
}

fn any_port(stage: &mut Stage<'_>) -> Played {
    cluster(stage, 2)?;
    // Two workers that ask for any port get the same.
    let port = share(stage, &[1, 2])?;
    all_answer(stage, &port, &[1, 2])?;
    end(stage, &[1, 2])
}

fn any_port_twice(stage: &mut Stage<'_>) -> Played {
    cluster(stage, 1)?;
    // Two servers of one worker that ask for any port get two.
    let one = first(stage, 1, "one")?;
    let other = first(stage, 1, "other")?;
    client(stage, &one)?;
    client(stage, &other)?;
    end(stage, &[1])
}

fn every_host(stage: &mut Stage<'_>) -> Played {
    cluster(stage, 1)?;
    let local = stage.host();
    for (id, host, from) in [
        ("loopback", Some(local.as_str()), &[local.as_str()][..]),
        ("loopback 6", Some("::1"), &["::1"]),
        ("every 4", Some("0.0.0.0"), &[&local]),
        ("every", None, &[&local, "::1"]),
        ("every 6", Some("::"), &[&local, "::1"]),
    ] {
        stage.forget_ports();
        let mut options = json!({ "port": 0 });
        if let Some(host) = host {
            options["host"] = host.into();
        }
        let port = listen(stage, 1, id, options)?["port"].clone();
        for from in from {
            stage.client(from, &port)?;
        }
        stage.worker(1, json!({ "do": "close", "id": id }))?;
    }
    stage.forget_ports();
    let six = json!({ "host": "::", "port": 0, "ipv6Only": true });
    let port = listen(stage, 1, "only 6", six)?["port"].clone();
    stage.client("::1", &port)?;
    stage.client(&local, &port)?;
    end(stage, &[1])
}

fn one_listens_for_long(stage: &mut Stage<'_>) -> Played {
    cluster(stage, 2)?;
    let port = share(stage, &[1, 2])?;
    // A later worker stays when the first is gone, and one that comes after that shares with it.
    stage.primary(json!({ "do": "kill", "worker": 1, "signal": "SIGKILL" }))?;
    gone(stage, 1)?;
    client(stage, &port)?;
    settled(stage, 2)?;
    fork(stage)?;
    share(stage, &[3])?;
    all_answer(stage, &port, &[2, 3])?;
    end(stage, &[2, 3])
}

fn close_and_listen_again(stage: &mut Stage<'_>) -> Played {
    cluster(stage, 1)?;
    let port = first(stage, 1, "one")?;
    client(stage, &port)?;
    stage.worker(1, json!({ "do": "close", "id": "one" }))?;
    // The primary closes the port when it hears of it; to listen again waits behind that.
    let options = local(stage, &port);
    listen(stage, 1, "two", options)?;
    client(stage, &port)?;
    end(stage, &[1])
}

fn close_while_others_listen(stage: &mut Stage<'_>) -> Played {
    cluster(stage, 2)?;
    let port = share(stage, &[1, 2])?;
    stage.worker(1, json!({ "do": "close", "id": "s" }))?;
    // What the worker says now, the primary hears after the closing.
    stage.worker(1, json!({ "do": "send", "message": "closed" }))?;
    stage.sees(1, "message")?;
    for _ in 0..3 {
        client(stage, &port)?;
    }
    settled(stage, 2)?;
    share(stage, &[1])?;
    all_answer(stage, &port, &[1, 2])?;
    end(stage, &[1, 2])
}

fn port_in_use(stage: &mut Stage<'_>) -> Played {
    let (_taken, port) = taken_port(stage)?;
    cluster(stage, 1)?;
    let options = local(stage, &port);
    listen(stage, 1, "s", options)?;
    end(stage, &[1])
}

/// Two servers of one worker ask for the same port in the same words. (A worker of Node 24 or later
/// that shares sockets dies of it.)
fn same_listen_twice(stage: &mut Stage<'_>) -> Played {
    let (taken, port) = taken_port(stage)?;
    free_port(taken)?;
    cluster(stage, 1)?;
    let options = local(stage, &port);
    listen(stage, 1, "one", options)?;
    let options = local(stage, &port);
    listen(stage, 1, "two", options)?;
    stage.worker(1, json!({ "do": "state" }))?;
    end(stage, &[1])
}

/// One cannot listen; then another can.
fn another_retries(stage: &mut Stage<'_>) -> Played<Value> {
    let (taken, port) = taken_port(stage)?;
    cluster(stage, 2)?;
    let options = local(stage, &port);
    listen(stage, 1, "s", options)?;
    free_port(taken)?;
    let options = local(stage, &port);
    listen(stage, 2, "s", options)?;
    client(stage, &port)?;
    Ok(port)
}

fn another_may_retry(stage: &mut Stage<'_>) -> Played {
    let port = another_retries(stage)?;
    // And with it the first.
    let options = local(stage, &port);
    listen(stage, 1, "again", options)?;
    end(stage, &[1, 2])
}

/// Where Node's workers share a socket, one that listens a second time on what failed dies.
fn another_may_retry_shared(stage: &mut Stage<'_>) -> Played {
    another_retries(stage)?;
    end(stage, &[1, 2])
}

/// A client that connects while one of two closes is served by the other.
fn close_in_flight(stage: &mut Stage<'_>) -> Played {
    const CLIENTS: usize = 40;
    cluster(stage, 2)?;
    let port = share(stage, &[1, 2])?;
    let host = stage.host();
    let clients: Vec<TcpStream> =
        (0..CLIENTS).map(|_| connect(&host, &port)).collect::<Result<_, _>>()?;
    let closing = stage.begin(Party::Worker(1), json!({ "do": "close", "id": "s" }))?;
    let more: Vec<TcpStream> =
        (0..CLIENTS).map(|_| connect(&host, &port)).collect::<Result<_, _>>()?;
    let mut served = 0;
    for client in clients.into_iter().chain(more) {
        served += usize::from(read_all(client)?.starts_with("worker "));
    }
    stage.finding(format!("served: {served} of {}", 2 * CLIENTS));
    stage.answer(closing)?;
    end(stage, &[1, 2])
}

fn address_of_no_interface(stage: &mut Stage<'_>) -> Played {
    cluster(stage, 1)?;
    // Of TEST-NET-1, which no machine has.
    listen(stage, 1, "s", json!({ "host": "192.0.2.1", "port": 0 }))?;
    end(stage, &[1])
}

fn exclusive(stage: &mut Stage<'_>) -> Played {
    cluster(stage, 2)?;
    let own = json!({ "host": stage.host(), "port": 0, "exclusive": true });
    let order = |id: &str, mut options: Value| {
        options["do"] = "listen".into();
        options["id"] = id.into();
        options
    };
    // The primary hears nothing of these.
    let one = stage.worker(1, order("one", own.clone()))?["port"].clone();
    let two = stage.worker(2, order("two", own))?["port"].clone();
    client(stage, &one)?;
    client(stage, &two)?;
    let taken = json!({ "host": stage.host(), "port": one, "exclusive": true });
    stage.worker(2, order("taken", taken))?;
    // A disconnect of Node's does not close them, and they keep it from ending.
    stage.primary(json!({ "do": "disconnectAll" }))?;
    for (worker, id, port) in [(1, "one", one), (2, "two", two)] {
        stage.sees(worker, "disconnect")?;
        client(stage, &port)?;
        if stage.play.pair.worker != Side::Rust {
            stage.worker(worker, json!({ "do": "close", "id": id }))?;
        }
        stage.sees(worker, "exit")?;
        stage.gone(worker)?;
    }
    stage.sees_itself("disconnected")
}

fn unix_path(stage: &mut Stage<'_>) -> Played {
    cluster(stage, 2)?;
    let path = stage.folder().join("server");
    listen(stage, 1, "s", json!({ "path": path }))?;
    stage.client_of_path(&path, false)?;
    settled(stage, 1)?;
    listen(stage, 2, "s", json!({ "path": path }))?;
    for _ in 0..4 {
        stage.client_of_path(&path, stage.play.policy == Policy::None)?;
    }
    end(stage, &[1, 2])?;
    stage.finding(format!("the path is there: {}", path.exists()));
    Ok(())
}

/// A name without a file, as Nitro's servers have one.
#[cfg(target_os = "linux")]
fn abstract_path(stage: &mut Stage<'_>) -> Played {
    cluster(stage, 2)?;
    let name = stage.folder().join("server").display().to_string();
    let path = format!("\0{name}");
    listen(stage, 1, "s", json!({ "path": path }))?;
    stage.client_of_abstract_path(&name, false)?;
    settled(stage, 1)?;
    listen(stage, 2, "s", json!({ "path": path }))?;
    for _ in 0..4 {
        stage.client_of_abstract_path(&name, stage.play.policy == Policy::None)?;
    }
    end(stage, &[1, 2])
}

fn unix_path_in_use(stage: &mut Stage<'_>) -> Played {
    let path = stage.folder().join("taken");
    let taken = std::os::unix::net::UnixListener::bind(&path)?;
    cluster(stage, 1)?;
    listen(stage, 1, "s", json!({ "path": path }))?;
    free(taken, || std::os::unix::net::UnixStream::connect(&path).is_err());
    end(stage, &[1])
}

fn unix_path_nowhere(stage: &mut Stage<'_>) -> Played {
    cluster(stage, 1)?;
    let path = stage.folder().join("nowhere/server");
    listen(stage, 1, "s", json!({ "path": path }))?;
    end(stage, &[1])
}

fn descriptor_not_open(stage: &mut Stage<'_>) -> Played {
    cluster(stage, 1)?;
    listen(stage, 1, "s", json!({ "fd": 10_000 }))?;
    end(stage, &[1])
}

fn bind(stage: &mut Stage<'_>, worker: u32, id: &str, options: Value) -> Played<Value> {
    open(stage, worker, "bind", id, options)
}

fn datagrams(stage: &mut Stage<'_>) -> Played {
    cluster(stage, 1)?;
    let options = json!({ "type": "udp4", "host": stage.host(), "port": 0 });
    let port = bind(stage, 1, "s", options)?["port"].clone();
    stage.datagram(&stage.host(), &port)?;
    // As long as one has it, it stays open.
    fork(stage)?;
    bind(stage, 2, "s", json!({ "type": "udp4", "host": stage.host(), "port": 0 }))?;
    stage.worker(1, json!({ "do": "close", "id": "s" }))?;
    stage.worker(1, json!({ "do": "send", "message": "closed" }))?;
    stage.sees(1, "message")?;
    stage.datagram(&stage.host(), &port)?;
    end(stage, &[1, 2])
}

fn datagrams_6(stage: &mut Stage<'_>) -> Played {
    cluster(stage, 1)?;
    let options = json!({ "type": "udp6", "host": "::1", "port": 0 });
    let port = bind(stage, 1, "s", options)?["port"].clone();
    stage.datagram("::1", &port)?;
    end(stage, &[1])
}

fn another_family(stage: &mut Stage<'_>) -> Played {
    cluster(stage, 1)?;
    for (kind, host) in [("udp4", "::1"), ("udp6", "127.0.0.1")] {
        bind(stage, 1, kind, json!({ "type": kind, "host": host, "port": 0 }))?;
    }
    end(stage, &[1])
}

fn datagrams_in_use(stage: &mut Stage<'_>) -> Played {
    let taken = std::net::UdpSocket::bind((stage.host(), 0))?;
    let port = taken.local_addr()?.port();
    cluster(stage, 1)?;
    bind(stage, 1, "s", json!({ "type": "udp4", "host": stage.host(), "port": port }))?;
    end(stage, &[1])
}
