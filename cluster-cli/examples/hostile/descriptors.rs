//! Descriptors that block the process that closes them: connections with `SO_LINGER`, and data that their peer
//! never reads. The first option is the address of that peer.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::channel::{RawChannel, send_with};
use crate::listeners::Lines;
use crate::{Outcome, listeners};

/// Sends them in the way of that name until the channel is closed; false if there is no such way.
pub(crate) fn attack(name: &str, options: &[String], channel: &RawChannel) -> Option<Outcome> {
    // Where the primary is faster it is this process that would be blocked.
    let _bounded = cluster_primary::embed::bounded_calls();
    let outcome = match name {
        "linger-unexpected" => unexpected(options, channel),
        "linger-nested" => nested(options, channel),
        "linger-handle" => handles(options, channel),
        "linger-many" => many(options, channel),
        "linger-and-die" => and_die(options, channel),
        "linger-accepted" => accepted(options, channel),
        "linger-notify" => notify(options),
        _ => return None,
    };
    Some(outcome)
}

/// How many, if the second option says so.
fn count(options: &[String]) -> usize {
    options.get(1).and_then(|count| count.parse().ok()).unwrap_or(usize::MAX)
}

/// A connection that lingers for minutes when it is closed.
fn lingering(options: &[String]) -> io::Result<OwnedFd> {
    let peer = options.first().ok_or_else(|| io::Error::other("no address of a peer"))?;
    let connection = TcpStream::connect(peer)?;
    linger(&connection)?;
    Ok(connection.into())
}

fn linger(mut connection: &TcpStream) -> io::Result<()> {
    sockopt::set_socket_send_buffer_size(connection, 4096)?;
    connection.set_nonblocking(true)?;
    while connection.write(&[0; 4096]).is_ok() {}
    Ok(sockopt::set_socket_linger(connection, Some(Duration::from_secs(300)))?)
}

/// Sends a descriptor with that message, and closes it before the primary does: it is behind messages
/// that the primary has to read first.
fn give(channel: &RawChannel, message: &[u8], descriptor: OwnedFd) -> io::Result<()> {
    let padding = format!("\"{}\"\n", "x".repeat(8000)).repeat(8);
    channel.write(padding.as_bytes())?;
    let given = channel.write_with(message, &[descriptor.as_fd()]);
    keep_unless(&given, descriptor);
    given
}

/// If something was not sent it stays open: to close it would block this process.
fn keep_unless<T>(sent: &io::Result<T>, what: impl Sized) {
    match sent {
        Ok(_) => drop(what),
        Err(_) => std::mem::forget(what),
    }
}

/// With messages that have none.
fn unexpected(options: &[String], channel: &RawChannel) -> Outcome {
    for _ in 0..count(options) {
        let descriptor = lingering(options)?;
        give(channel, b"\"look what comes with it\"\n", descriptor)?;
    }
    println!("all are sent");
    channel.read_to_end()
}

/// In the queue of a Unix socket, which is sent.
fn nested(options: &[String], channel: &RawChannel) -> Outcome {
    for _ in 0..count(options) {
        let (outer, inner) = UnixStream::pair()?;
        let descriptor = lingering(options)?;
        send_with(&inner, b"x", &[descriptor.as_fd()])?;
        give(channel, b"\"look what comes with it\"\n", outer.into())?;
    }
    channel.read_to_end()
}

/// With messages that have one, which no program of a primary's takes.
fn handles(options: &[String], channel: &RawChannel) -> Outcome {
    let frame = b"{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Socket\",\"msg\":\"take it\"}\n";
    for _ in 0..count(options) {
        let descriptor = lingering(options)?;
        give(channel, frame, descriptor)?;
    }
    channel.read_to_end()
}

/// More at once than a primary with few descriptors can receive.
fn many(options: &[String], channel: &RawChannel) -> Outcome {
    for _ in 0..count(options) {
        let descriptors: Vec<_> =
            (0..100).map(|_| lingering(options)).collect::<Result<_, io::Error>>()?;
        let all: Vec<_> = descriptors.iter().map(OwnedFd::as_fd).collect();
        let given = channel.write_with(b"\"look what comes with it\"\n", &all);
        keep_unless(&given, descriptors);
        given?;
    }
    channel.read_to_end()
}

/// As many as the socket holds, perhaps not read before the process has ended.
fn and_die(options: &[String], channel: &RawChannel) -> Outcome {
    let descriptors: Vec<_> =
        (0..50).map(|_| lingering(options)).collect::<Result<_, io::Error>>()?;
    for descriptor in descriptors {
        give(channel, b"\"the last words\"\n", descriptor)?;
    }
    Err("it dies, as it should".into())
}

/// Makes each connection that it is handed linger, and acknowledges it when the primary is the last
/// that has it. Its clients are its own, and never read.
fn accepted(options: &[String], channel: &RawChannel) -> Outcome {
    let mut lines = Lines::of(channel);
    let port = listeners::listen(&mut lines)?;
    let mut clients = Vec::new();
    for _ in 0..count(options) {
        let client = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
        sockopt::set_socket_recv_buffer_size(&client, 2048)?;
        rustix::net::connect(&client, &SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        clients.push(client);
        let (line, connection) = loop {
            if let (line, Some(connection)) = lines.next()? {
                break (line, connection);
            }
        };
        let connection = TcpStream::from(connection);
        linger(&connection)?;
        drop(connection);
        let seq = listeners::number(&line, "\"seq\":").ok_or("a connection without a number")?;
        channel.send("{\"cmd\":\"NODE_HANDLE_ACK\"}")?;
        channel.send(&format!(
            "{{\"cmd\":\"NODE_CLUSTER\",\"accepted\":true,\"seq\":9,\"ack\":{seq}}}"
        ))?;
    }
    println!("all connections linger");
    channel.read_to_end()
}

/// To the socket where workers say that they are ready.
fn notify(options: &[String]) -> Outcome {
    let address = std::env::var_os("NOTIFY_SOCKET").ok_or("no NOTIFY_SOCKET")?;
    let socket = UnixDatagram::unbound()?;
    socket.connect(address)?;
    for _ in 0..count(options) {
        let descriptor = lingering(options)?;
        let sent = send_with(&socket, b"STATUS=look what comes with it", &[descriptor.as_fd()]);
        keep_unless(&sent, descriptor);
        sent?;
    }
    send_with(&socket, b"READY=1", &[])?;
    println!("the flood of notifications is over");
    loop {
        std::thread::park();
    }
}
