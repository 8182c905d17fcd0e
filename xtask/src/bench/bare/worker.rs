//! A worker without a cluster. For a connection it does what `cluster-worker/benches/workers/bench_http.rs`
//! does, and answers with the same bytes.

use std::io::{self, ErrorKind, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpStream as StdStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::ExitCode;

use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, accept_with, listen, recvmsg,
};

use super::{reuse_port, say_listening};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Listen there; without it connections come by standard input
    #[arg(long)]
    port: Option<u16>,
}

/// Where connections come from, or, to one that listens itself, the end of all.
const STDIN: Token = Token(usize::MAX);
const LISTENER: Token = Token(usize::MAX - 1);

/// As Node's.
const BACKLOG: i32 = 511;

pub(crate) fn run(args: &Args) -> io::Result<ExitCode> {
    let mut worker = Worker::new()?;
    let mut events = Events::with_capacity(256);
    let registry = worker.poll.registry();
    registry.register(&mut SourceFd(&io::stdin().as_raw_fd()), STDIN, Interest::READABLE)?;
    let listener = args.port.map(|port| {
        let listener = reuse_port(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))?;
        listen(&listener, BACKLOG)?;
        registry.register(&mut SourceFd(&listener.as_raw_fd()), LISTENER, Interest::READABLE)?;
        say_listening(port);
        io::Result::Ok(listener)
    });
    let listener = listener.transpose()?;
    loop {
        match worker.poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            outcome => outcome?,
        }
        for event in &events {
            match (event.token(), &listener) {
                (STDIN, Some(_)) => return Ok(ExitCode::SUCCESS),
                (STDIN, None) => {
                    if !worker.receive()? {
                        return Ok(ExitCode::SUCCESS);
                    }
                }
                (LISTENER, Some(listener)) => worker.accept(listener)?,
                (Token(index), _) => worker.ready(index),
            }
        }
    }
}

struct Worker {
    poll: Poll,
    answer: Vec<u8>,
    /// Those that have not asked yet, by token.
    waiting: Vec<Option<TcpStream>>,
    free: Vec<usize>,
}

impl Worker {
    fn new() -> io::Result<Self> {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\
             Connection: close\r\n\r\n{:>11}\n",
            std::process::id()
        );
        let (waiting, free) = (Vec::new(), Vec::new());
        Ok(Self { poll: Poll::new()?, answer: answer.into(), waiting, free })
    }

    /// Takes what the primary has sent; whether it is still there.
    fn receive(&mut self) -> io::Result<bool> {
        loop {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut byte = [0];
            let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
            match recvmsg(io::stdin(), &mut [IoSliceMut::new(&mut byte)], &mut control, flags) {
                Ok(received) if received.bytes == 0 => return Ok(false),
                Ok(_) => {}
                Err(Errno::WOULDBLOCK) => return Ok(true),
                Err(error) => return Err(error.into()),
            }
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(connections) = message {
                    connections.into_iter().try_for_each(|one| self.take(one))?;
                }
            }
        }
    }

    fn accept(&mut self, listener: &OwnedFd) -> io::Result<()> {
        loop {
            match accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(connection) => self.take(connection)?,
                Err(Errno::WOULDBLOCK) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn take(&mut self, connection: OwnedFd) -> io::Result<()> {
        let mut stream = TcpStream::from_std(StdStream::from(connection));
        // Most have asked before they come.
        if answer(&mut stream, &self.answer) {
            return Ok(());
        }
        let index = self.free.pop().unwrap_or(self.waiting.len());
        self.poll.registry().register(&mut stream, Token(index), Interest::READABLE)?;
        if index == self.waiting.len() {
            self.waiting.push(Some(stream));
        } else {
            self.waiting[index] = Some(stream);
        }
        Ok(())
    }

    fn ready(&mut self, index: usize) {
        let Some(slot) = self.waiting.get_mut(index) else { return };
        if slot.as_mut().is_some_and(|stream| answer(stream, &self.answer)) {
            *slot = None;
            self.free.push(index);
        }
    }
}

/// Answers once something is asked; whether the connection is done with.
fn answer(stream: &mut TcpStream, words: &[u8]) -> bool {
    match stream.read(&mut [0; 1024]) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
        // A client that leaves early, or does not read, affects no other.
        Ok(asked) if asked > 0 => {
            let _ = stream.write(words);
            let _ = stream.shutdown(Shutdown::Write);
        }
        _ => {}
    }
    true
}
