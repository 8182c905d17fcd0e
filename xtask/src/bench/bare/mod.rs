//! The least that can be done, which the others are measured against: a primary that accepts and
//! passes on and keeps no account of anything, and workers that share a port without any primary.
//!
//! They are hidden subcommands of this program, and speak to the bench as `cluster run --json` does.

mod accept_loop;
mod primary;
mod worker;

use std::io::{self, Write};
use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

pub(crate) use primary::{Args as PrimaryArgs, run as primary};
pub(crate) use worker::{Args as WorkerArgs, run as worker};

/// The loop that others' primaries are compared with, as the docs show it.
pub(crate) const LOOP: &str = include_str!("accept_loop.rs");

/// A socket that shares its port, bound.
fn reuse_port(address: SocketAddrV4) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    bind(&socket, &address)?;
    Ok(socket)
}

/// In one write, as others write to the same pipe.
fn say_listening(port: u16) {
    let line = format!("{{\"type\":\"listening\",\"address\":{{\"port\":{port}}}}}\n");
    // No process listens any more: then none waits either.
    let _ = io::stdout().write_all(line.as_bytes());
}
