//! The hidden verb `exec-worker`: a process that the script has spawned, before it is the worker.

use std::ffi::OsStr;
use std::io::{self, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::args::ExecWorker;

/// As shells have it.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

pub(crate) fn worker(args: &ExecWorker) -> ExitCode {
    let Some((program, rest)) = args.command.split_first() else {
        return ExitCode::from(NOT_FOUND);
    };
    let mut command = Command::new(program);
    command.args(rest);
    // The program is the worker, not this one.
    cluster_worker::restore(&mut command);
    if let Err(error) = join(args, &command) {
        eprintln!("cluster: worker {}: the primary cannot take it: {error}", args.worker);
        return ExitCode::FAILURE;
    }
    let error = command.exec();
    eprintln!("cluster: cannot execute {}: {error}", Path::new(program).display());
    ExitCode::from(match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    })
}

fn variable<'a>(command: &'a Command, name: &str) -> Option<&'a OsStr> {
    command.get_envs().find(|(key, _)| *key == OsStr::new(name)).and_then(|(_, value)| value)
}

/// Gives the primary the script's end of the channel, and puts one that leads to the primary in its place.
fn join(args: &ExecWorker, command: &Command) -> io::Result<()> {
    let number = variable(command, "NODE_CHANNEL_FD").and_then(OsStr::to_str);
    let number: RawFd = number
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| io::Error::other("the script gave it no channel (NODE_CHANNEL_FD)"))?;
    let mode = variable(command, "NODE_CHANNEL_SERIALIZATION_MODE").unwrap_or_default();
    let request = format!("{} {} {}\n", args.worker, args.policy, mode.display());
    let primary = UnixStream::connect(&args.socket)?;
    // SAFETY: the process that started this one has opened it, and nothing else here uses it.
    #[allow(unsafe_code, reason = "an inherited descriptor is known by its number")]
    let script = unsafe { OwnedFd::from_raw_fd(number) };
    let sent = send(&primary, request.as_bytes(), script.as_fd());
    // A primary that refuses says why before it closes.
    let channel = receive(&primary)?;
    sent?;
    put(channel, script)
}

/// Puts a descriptor, without close-on-exec, in place of another.
fn put(channel: OwnedFd, mut place: OwnedFd) -> io::Result<()> {
    let placed = rustix::io::dup2(&channel, &mut place);
    // It stays open for the program.
    let _ = place.into_raw_fd();
    Ok(placed?)
}

fn send(primary: &UnixStream, request: &[u8], script: BorrowedFd<'_>) -> io::Result<()> {
    let fds = [script];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(primary, &[IoSlice::new(request)], &mut control, SendFlags::empty())?;
    Ok(())
}

/// The worker's end of its channel, or why there is none.
fn receive(mut primary: &UnixStream) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut text = [0; 512];
    let received =
        recvmsg(primary, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::empty())?;
    let channel = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    channel.ok_or_else(|| {
        let mut why = text[..received.bytes].to_vec();
        // What follows, if it is long.
        let _ = primary.read_to_end(&mut why);
        let why = String::from_utf8_lossy(&why).trim().to_owned();
        io::Error::other(if why.is_empty() { "it has ended".to_owned() } else { why })
    })
}
