//! What an actor makes to send it away, and what it does with what it is sent.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::thread;

use cluster_primary::{AnySocket, Outgoing};
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::{Value, json};

pub(super) struct Sockets {
    /// Whom clients of a descriptor are told that it was passed to.
    name: String,
    made: HashMap<String, Made>,
}

enum Made {
    Listener(TcpListener),
    Udp(UdpSocket),
    /// It awaits the connection that is to be sent.
    Awaiting(TcpListener),
    AwaitingUnix(UnixListener),
    /// A connection that was sent away and kept.
    Kept(AnySocket),
}

impl Sockets {
    pub(super) fn new(name: String) -> Self {
        Self { name, made: HashMap::new() }
    }

    /// Makes something to send later.
    pub(super) fn make(&mut self, order: &Value) -> io::Result<Value> {
        let (made, at) = match (order["kind"].as_str(), order["path"].as_str()) {
            (Some("connection"), Some(path)) => {
                (Made::AwaitingUnix(UnixListener::bind(path)?), json!({ "path": path }))
            }
            (Some("udp"), _) => {
                let socket = UdpSocket::bind("127.0.0.1:0")?;
                let port = socket.local_addr()?.port();
                (Made::Udp(socket), json!({ "port": port }))
            }
            (kind, _) => {
                let listener = TcpListener::bind("127.0.0.1:0")?;
                let at = json!({ "port": listener.local_addr()?.port() });
                let awaits = kind == Some("connection");
                (if awaits { Made::Awaiting(listener) } else { Made::Listener(listener) }, at)
            }
        };
        self.made.insert(id(order), made);
        Ok(at)
    }

    /// What was made, to be sent.
    pub(super) fn take(&mut self, order: &Value) -> io::Result<Outgoing<OwnedFd>> {
        let id = id(order);
        let made = self.made.remove(&id).ok_or_else(|| io::Error::other("it was not made"))?;
        let keep = order["keepOpen"] == json!(true);
        let (sent, kept) = match made {
            Made::Listener(listener) => (listener.into(), None),
            Made::Udp(socket) => (socket.into(), None),
            Made::Awaiting(listener) => {
                let stream = listener.accept()?.0;
                let kept = stream.try_clone()?;
                (Outgoing::from(stream), Some(AnySocket::TcpStream(kept)))
            }
            Made::AwaitingUnix(listener) => {
                let stream = listener.accept()?.0;
                let kept = stream.try_clone()?;
                (Outgoing::from(stream), Some(AnySocket::UnixStream(kept)))
            }
            Made::Kept(_) => return Err(io::Error::other("it was sent before")),
        };
        if let Some(kept) = kept.filter(|_| keep) {
            self.made.insert(id, Made::Kept(kept));
        }
        Ok(sent)
    }

    /// Writes to a connection that was sent away and kept.
    pub(super) fn send(&mut self, order: &Value) {
        if let Some(Made::Kept(socket)) = self.made.remove(&id(order)) {
            write_to(socket, &format!("kept by {}\n", self.name));
        }
    }

    /// Uses a descriptor that came beside a message, and says what it is.
    pub(super) fn receive(&self, socket: AnySocket) -> &'static str {
        let words = format!("passed to {}\n", self.name);
        match socket {
            AnySocket::TcpListener(listener) => {
                thread::spawn(move || {
                    while wait(&listener) {
                        if let Ok((stream, _)) = listener.accept() {
                            write_to(AnySocket::TcpStream(stream), &words);
                        }
                    }
                });
                "listener"
            }
            AnySocket::UdpSocket(socket) => {
                thread::spawn(move || {
                    let mut buf = [0; 100];
                    while wait(&socket) {
                        if let Ok((_, from)) = socket.recv_from(&mut buf) {
                            let _ = socket.send_to(words.as_bytes(), from);
                        }
                    }
                });
                "udp"
            }
            connection => {
                write_to(connection, &words);
                "connection"
            }
        }
    }
}

fn id(order: &Value) -> String {
    order["id"].as_str().unwrap_or_default().to_owned()
}

/// Node's sockets do not block, and to change that would change it for Node too.
fn wait(socket: &impl std::os::fd::AsFd) -> bool {
    poll(&mut [PollFd::new(socket, PollFlags::IN)], None).is_ok()
}

/// A few bytes always fit into a fresh socket's buffer. It is closed without a shutdown, which would
/// be shared.
fn write_to(socket: AnySocket, words: &str) {
    let _ = match socket {
        AnySocket::TcpStream(mut stream) => stream.write_all(words.as_bytes()),
        AnySocket::UnixStream(mut stream) => stream.write_all(words.as_bytes()),
        other => panic!("{other:?} is no connection"),
    };
}
