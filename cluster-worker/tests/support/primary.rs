//! A primary in the same process, which does only what a test tells it.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use cluster_ipc::{Channel, ChannelConfig, Outgoing, Recv};
use cluster_proto::{ClusterBody, ClusterMessage, HandleKind, ListenReply, Message, Value};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Nothing here takes long; past this it hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Primary {
    pub(crate) channel: Channel,
    seq: u64,
}

impl Primary {
    /// A primary, and the worker's end of its channel.
    pub(crate) fn new() -> (Self, OwnedFd) {
        let (channel, fd) = Channel::pair(ChannelConfig::default()).unwrap();
        (Self { channel, seq: 0 }, fd)
    }

    /// The next message, or `None` at the end of the channel.
    pub(crate) fn recv(&mut self) -> Option<Message> {
        loop {
            self.channel.flush().unwrap();
            match self.channel.recv().unwrap() {
                Recv::Message(received) => return Some(received.message),
                Recv::WouldBlock => assert!(readable(&self.channel, LIMIT), "nothing comes"),
                Recv::Closed => return None,
            }
        }
    }

    /// The next message if it is there.
    pub(crate) fn try_recv(&mut self) -> Option<Message> {
        match self.channel.recv().unwrap() {
            Recv::Message(received) => Some(received.message),
            Recv::WouldBlock | Recv::Closed => None,
        }
    }

    pub(crate) fn recv_cluster(&mut self) -> ClusterMessage {
        match self.recv() {
            Some(Message::Cluster(message)) => message,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn send_internal(&mut self, ack: Option<u64>, body: ClusterBody) -> u64 {
        self.seq += 1;
        self.channel.send(&Message::cluster(self.seq, ack, body), None).unwrap();
        self.channel.flush().unwrap();
        self.seq
    }

    /// As [`send_internal`](Self::send_internal), with a descriptor beside it.
    pub(crate) fn send_internal_with(&mut self, ack: Option<u64>, body: ClusterBody, fd: OwnedFd) {
        self.seq += 1;
        self.send_with(&Message::cluster(self.seq, ack, body), fd);
    }

    /// Any message with a descriptor beside it.
    pub(crate) fn send_with(&mut self, message: &Message, fd: OwnedFd) {
        let handle = Outgoing::new(HandleKind::NetNative, fd);
        self.channel.send(message, Some(handle)).unwrap();
        self.channel.flush().unwrap();
    }

    pub(crate) fn send_user(&mut self, value: impl Into<Value>) {
        self.channel.send(&Message::User(value.into()), None).unwrap();
        self.channel.flush().unwrap();
    }

    /// Answers `online` and the first listen, which must come next, with round-robin.
    pub(crate) fn open(&mut self, key: &str) {
        self.answer_listen(key);
        assert!(matches!(self.recv_cluster().body, ClusterBody::Listening(_)));
    }

    /// As [`open`](Self::open), without waiting for `listening`.
    pub(crate) fn answer_listen(&mut self, key: &str) {
        let (seq, reply) = self.listen_reply(key);
        self.send_internal(Some(seq), reply);
    }

    /// Refuses the first listen, which must come next after `online`.
    pub(crate) fn refuse_listen(&mut self, errno: i32) {
        let (seq, mut reply) = self.listen_reply("key");
        if let ClusterBody::ListenReply(reply) = &mut reply {
            reply.errno = Some(-errno);
        }
        self.send_internal(Some(seq), reply);
    }

    /// As [`answer_listen`](Self::answer_listen), and lends that socket.
    pub(crate) fn lend(&mut self, key: &str, socket: OwnedFd) {
        let (seq, reply) = self.listen_reply(key);
        self.send_internal_with(Some(seq), reply, socket);
    }

    fn listen_reply(&mut self, key: &str) -> (u64, ClusterBody) {
        let mut message = self.recv_cluster();
        if message.body == ClusterBody::Online {
            message = self.recv_cluster();
        }
        assert!(matches!(message.body, ClusterBody::QueryServer(_)), "{message:?}");
        let reply = ListenReply { errno: None, key: key.into(), data: Value::Null, sockname: None };
        (message.seq, ClusterBody::ListenReply(Box::new(reply)))
    }

    /// Hands a connection out, and gives the client's end of it and the `seq`.
    pub(crate) fn connect(&mut self, key: &str) -> (UnixStream, u64) {
        let (client, server) = UnixStream::pair().unwrap();
        client.set_read_timeout(Some(LIMIT)).unwrap();
        self.send_internal_with(
            None,
            ClusterBody::NewConn { key: key.into() },
            OwnedFd::from(server),
        );
        (client, self.seq)
    }
}

/// Whether something can be read within that time.
pub(crate) fn readable(fd: impl AsFd, within: Duration) -> bool {
    let within = Timespec::try_from(within).unwrap();
    let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)];
    poll(&mut fds, Some(&within)).unwrap() > 0
}
