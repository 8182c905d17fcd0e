//! The relay: what a Node primary takes for its worker.
//!
//! ```text
//! Node primary ──channel── relay ──socketpair── Node worker
//! ```
//!
//! Each chunk is what one `recvmsg` returned into a buffer as large as libuv's, so it is what
//! the peer would have read. It is logged, then passed on with one `sendmsg`, descriptor
//! included, unless the recording asks for the loss of that descriptor.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::thread;
use std::time::Duration;

use cluster_worker::{environment, restore};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, FdFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair, sockopt,
};

use crate::inherited;
use crate::log::{Direction, Entry, Kind};

/// As much as libuv reads at once from a channel.
const READ_SIZE: usize = 65_536;

/// How long a worker may live on after its primary's end of the channel was closed.
const ORPHAN_GRACE: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What the primary would have given to Node: the script and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    worker: Vec<String>,
}

pub(crate) fn run(args: &Args) -> io::Result<ExitCode> {
    let primary = inherited::channel()?;
    let variable =
        |name: &str| env::var(name).map_err(|error| io::Error::other(format!("{name}: {error}")));
    let no_worker = || io::Error::other("a Node primary starts this");
    let mut recorder = Recorder {
        worker: environment().ok().flatten().map(|env| env.id).ok_or_else(no_worker)?,
        log: OpenOptions::new().append(true).create(true).open(variable("GOLDEN_LOG")?)?,
        drop: env::var("GOLDEN_DROP").ok().map(|rule| DropRule::parse(&rule)).transpose()?,
        delay: match env::var("GOLDEN_DELAY_MS") {
            Ok(text) => Duration::from_millis(text.parse().map_err(io::Error::other)?),
            Err(_) => Duration::ZERO,
        },
    };
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::io::fcntl_setfd(&theirs, FdFlags::empty())?;
    let mut worker = Command::new(variable("GOLDEN_NODE")?);
    restore(&mut worker)
        .args(&args.worker)
        .env("NODE_CHANNEL_FD", theirs.as_raw_fd().to_string())
        .env_remove("GOLDEN_LOG")
        .env_remove("GOLDEN_DROP");
    let mut worker = worker.spawn()?;
    drop(theirs);
    let relayed = recorder.relay(primary, ours);
    let status = reap(&mut worker)?;
    relayed?;
    leave_as(status)
}

struct Recorder {
    worker: u32,
    log: File,
    drop: Option<DropRule>,
    /// A pause before each read, in which frames pile up.
    delay: Duration,
}

impl Recorder {
    /// Relays until either side closes; closing both ends of ours tells the other.
    fn relay(&mut self, primary: OwnedFd, worker: OwnedFd) -> io::Result<()> {
        let ready = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
        loop {
            let mut polled =
                [PollFd::new(&primary, PollFlags::IN), PollFd::new(&worker, PollFlags::IN)];
            match poll(&mut polled, None) {
                Err(Errno::INTR) => continue,
                outcome => outcome?,
            };
            thread::sleep(self.delay);
            let [from_primary, from_worker] = polled.map(|fd| fd.revents().intersects(ready));
            // The worker first: what it said before it closed must reach the primary, though
            // the primary's next frame no longer reaches the worker.
            if from_worker && !self.pass(&worker, &primary, Direction::ToPrimary)? {
                return Ok(());
            }
            if from_primary && !self.pass(&primary, &worker, Direction::ToWorker)? {
                return Ok(());
            }
        }
    }

    /// Passes one chunk on; `false` at the end of the stream.
    fn pass(&mut self, from: &OwnedFd, to: &OwnedFd, direction: Direction) -> io::Result<bool> {
        let mut buffer = vec![0; READ_SIZE];
        let Some((length, mut handles)) = receive(from, &mut buffer)? else {
            return Ok(false);
        };
        buffer.truncate(length);
        let handle = match handles.as_slice() {
            [] => None,
            [handle] => Some(kind(handle)?),
            _ => return Err(io::Error::other("more than one descriptor in a chunk")),
        };
        let dropped = handle.is_some()
            && self.drop.as_mut().is_some_and(|rule| rule.takes(direction, &buffer));
        if dropped {
            handles.clear();
        }
        let entry = Entry { worker: self.worker, direction, handle, dropped, bytes: buffer };
        entry.append_to(&mut self.log)?;
        match send(to, &entry.bytes, &handles) {
            // The receiver is gone; its own last words are still to be read.
            Err(Errno::PIPE | Errno::CONNRESET) => Ok(true),
            outcome => Ok(outcome.map(|()| true)?),
        }
    }
}

fn receive(from: &OwnedFd, buffer: &mut [u8]) -> io::Result<Option<(usize, Vec<OwnedFd>)>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut slices = [IoSliceMut::new(buffer)];
        match recvmsg(from, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            Err(Errno::CONNRESET) => return Ok(None),
            outcome => break outcome?,
        }
    };
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::other("control data truncated"));
    }
    let handles = control
        .drain()
        .flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(handles) => handles.collect(),
            _ => Vec::new(),
        })
        .collect();
    Ok((received.bytes > 0).then_some((received.bytes, handles)))
}

fn send(to: &OwnedFd, mut bytes: &[u8], handles: &[OwnedFd]) -> Result<(), Errno> {
    let borrowed: Vec<BorrowedFd<'_>> = handles.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let rights = SendAncillaryMessage::ScmRights(&borrowed);
    if !borrowed.is_empty() && !control.push(rights) {
        return Err(Errno::NOBUFS);
    }
    while !bytes.is_empty() {
        match sendmsg(to, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            outcome => {
                bytes = &bytes[outcome?..];
                control.clear();
            }
        }
    }
    Ok(())
}

fn kind(handle: &OwnedFd) -> io::Result<Kind> {
    let family = match sockopt::socket_domain(handle) {
        Err(Errno::NOTSOCK) => return Ok(Kind::Other),
        outcome => outcome?,
    };
    Ok(match (family, sockopt::socket_type(handle)?) {
        (AddressFamily::INET | AddressFamily::INET6, SocketType::STREAM) => Kind::Tcp,
        (AddressFamily::INET | AddressFamily::INET6, SocketType::DGRAM) => Kind::Udp,
        (AddressFamily::UNIX, SocketType::STREAM) => Kind::Pipe,
        _ => Kind::Other,
    })
}

/// Which descriptors to lose: `P>W net.Socket 1` loses one, the first that rides on a frame of
/// that type; with a larger number those that follow it in that direction are lost too, whatever
/// they ride on, so that a resent one can be lost as well.
struct DropRule {
    direction: Direction,
    needle: Vec<u8>,
    count: u32,
    begun: bool,
}

impl DropRule {
    fn parse(rule: &str) -> io::Result<Self> {
        let mut words = rule.split(' ');
        let (Some(direction), Some(kind), Some(count), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(io::Error::other(format!("GOLDEN_DROP: {rule:?} is not three words")));
        };
        let direction = [Direction::ToWorker, Direction::ToPrimary]
            .into_iter()
            .find(|known| known.label() == direction)
            .ok_or_else(|| io::Error::other(format!("GOLDEN_DROP: no direction {direction:?}")))?;
        Ok(DropRule {
            direction,
            needle: format!(r#""type":"{kind}""#).into_bytes(),
            count: count.parse().map_err(io::Error::other)?,
            begun: false,
        })
    }

    fn takes(&mut self, direction: Direction, chunk: &[u8]) -> bool {
        if direction != self.direction || self.count == 0 {
            return false;
        }
        self.begun |= chunk.windows(self.needle.len()).any(|window| window == self.needle);
        self.count -= u32::from(self.begun);
        self.begun
    }
}

fn reap(worker: &mut Child) -> io::Result<ExitStatus> {
    let step = Duration::from_millis(10);
    let mut waited = Duration::ZERO;
    while waited < ORPHAN_GRACE {
        if let Some(status) = worker.try_wait()? {
            return Ok(status);
        }
        thread::sleep(step);
        waited += step;
    }
    worker.kill()?;
    worker.wait()
}

/// Ends as the worker ended, so that the primary sees the worker's own code or signal.
fn leave_as(status: ExitStatus) -> io::Result<ExitCode> {
    if let Some(signal) = status.signal().and_then(rustix::process::Signal::from_named_raw) {
        rustix::process::kill_process(rustix::process::getpid(), signal)?;
    }
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, From::from))
}
