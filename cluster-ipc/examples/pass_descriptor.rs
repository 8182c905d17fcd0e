//! A parent gives its child a listening socket, and they talk: with this crate alone.
//!
//! `cargo run -p cluster-ipc --example pass_descriptor`

use std::error::Error;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};

use cluster_ipc::proto::{HandleKind, Message, Object};
use cluster_ipc::{Channel, ChannelConfig, Flush, Outgoing, Received, Recv};
use mio::{Events, Interest, Poll, Token};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    if std::env::args().nth(1).as_deref() == Some("child") { child() } else { parent() }
}

fn parent() -> Result<()> {
    let (channel, theirs) = Channel::pair(ChannelConfig::default())?;
    // Standard input is as good a place as any, and needs no code between fork and exec.
    let mut child =
        Command::new(std::env::current_exe()?).arg("child").stdin(Stdio::from(theirs)).spawn()?;
    let mut peer = Peer::new(channel)?;

    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let serve = Message::User(Object::new().with("serve", 1).into());
    peer.channel.send(
        &serve,
        Some(Outgoing::new(HandleKind::NetServer, OwnedFd::from(listener)).token(1)),
    )?;
    peer.channel.send(&Message::User("that was all".into()), None)?;

    // The listener is the child's alone now; the kernel keeps the connection until it accepts.
    let mut connection = TcpStream::connect(address)?;
    while let Some(Received { message, .. }) = peer.next()? {
        println!("parent: the child says {message:?}");
    }
    println!("parent: of the listener the child said {:?}", peer.channel.poll_answer());
    let mut text = String::new();
    connection.read_to_string(&mut text)?;
    println!("parent: the connection says {text:?}");
    assert!(child.wait()?.success());
    Ok(())
}

fn child() -> Result<()> {
    let channel = std::io::stdin().as_fd().try_clone_to_owned()?;
    let mut peer = Peer::new(Channel::from_fd(channel, ChannelConfig::default())?)?;
    let first = peer.next()?.ok_or("the parent said nothing")?;
    let listener = TcpListener::from(first.handle.ok_or("without a listener")?.handle);
    let second = peer.next()?.ok_or("the parent said no more")?;
    println!("child: the parent says {:?}", second.message);

    let (mut connection, from) = listener.accept()?;
    write!(connection, "hello from process {}", std::process::id())?;
    peer.channel.send(&Message::User(format!("served {}", from.ip()).into()), None)?;
    // Nothing is written before it is flushed, and the end of the process does not wait.
    while peer.channel.flush()? == Flush::Blocked {
        peer.poll.poll(&mut peer.events, None)?;
    }
    Ok(())
}

/// A channel, and how one waits for it.
struct Peer {
    channel: Channel,
    poll: Poll,
    events: Events,
}

impl Peer {
    fn new(mut channel: Channel) -> Result<Self> {
        let poll = Poll::new()?;
        poll.registry().register(
            &mut channel,
            Token(0),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        Ok(Self { channel, poll, events: Events::with_capacity(8) })
    }

    /// The next message; none when the peer has closed.
    fn next(&mut self) -> Result<Option<Received<OwnedFd>>> {
        loop {
            let received = self.channel.recv()?;
            // What is queued, acknowledgements among it, and what those of the peer let go.
            self.channel.flush()?;
            match received {
                Recv::Message(received) => return Ok(Some(received)),
                Recv::Closed => return Ok(None),
                Recv::WouldBlock => match self.poll.poll(&mut self.events, None) {
                    Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                        return Err(error.into());
                    }
                    _ => {}
                },
            }
        }
    }
}
