//! A primary that does nothing but what cannot be left out.

use std::env;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::accept_loop::hand_out;
use super::reuse_port;

#[derive(clap::Args)]
pub(crate) struct Args {
    workers: usize,
    /// Each worker has a socket of its own, by `SO_REUSEPORT`, and nothing is handed out
    #[arg(long)]
    reuse_port: bool,
    /// Calls are interrupted that block, as those of a primary are
    #[arg(long, conflicts_with = "reuse_port")]
    bounded: bool,
    /// That program is the workers, and not this one
    #[arg(long, requires = "reuse_port")]
    worker: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> io::Result<ExitCode> {
    if args.reuse_port { share_port(args) } else { share_socket(args) }
}

fn share_socket(args: &Args) -> io::Result<ExitCode> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let port = listener.local_addr()?.port();
    listener.set_nonblocking(true)?;
    let mut channels = Vec::new();
    for _ in 0..args.workers {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        fork(own()?.stdin(theirs))?;
        super::say_listening(port);
        channels.push(ours);
    }
    let listener = listener.into();
    match args.bounded {
        true => match hand_out(&listener, &channels, cluster_primary::embed::bounded_calls)? {},
        false => match hand_out(&listener, &channels, || ())? {},
    }
}

fn share_port(args: &Args) -> io::Result<ExitCode> {
    // Holds the port, so that the workers can have it; a socket that does not listen gets no connection.
    let held = reuse_port(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
    let port = TcpListener::from(held.try_clone()?).local_addr()?.port().to_string();
    let child = || {
        let mut command =
            args.worker.as_ref().map_or_else(own, |worker| Ok(Command::new(worker)))?;
        fork(command.args(["--port", &port]).stdin(Stdio::piped()))
    };
    let children: io::Result<Vec<Child>> = (0..args.workers).map(|_| child()).collect();
    // They end when their standard input does, which `wait` alone would close.
    let mut children = children?;
    let _held: Vec<_> = children.iter_mut().map(|child| child.stdin.take()).collect();
    for child in &mut children {
        child.wait()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// This program, as a worker.
fn own() -> io::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.arg("bench-bare-worker");
    Ok(command)
}

/// Starts a worker, and says so. It inherits our output.
fn fork(command: &mut Command) -> io::Result<Child> {
    let child = command.spawn()?;
    println!("{{\"type\":\"fork\",\"pid\":{}}}", child.id());
    Ok(child)
}
