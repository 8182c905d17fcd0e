//! A worker that does what its primary's messages say, and answers each with one: the Rust half of
//! the tests of descriptors, of ways to listen, and of structured clones.
//!
//! `{"do": "listen", "host": …, "port": …}` listens; `{"do": "serve"}` with a listener beside it
//! serves that, and so on: see [`obey`].

use std::collections::HashMap;
use std::error::Error;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread;

use cluster_worker::{
    AnySocket, Counted, ListenError, ListenOptions, Listener, Object, Outgoing, Received,
    RecvError, UdpOptions, UnixOptions, Value, Worker,
};

use rustix::event::{PollFd, PollFlags, poll};

type Answer = Result<Option<Value>, Box<dyn Error>>;

fn main() -> Result<(), Box<dyn Error>> {
    let Some(worker) = Worker::from_env()? else {
        return Err("a primary starts this program".into());
    };
    let mut doer = Doer { worker, servers: HashMap::new(), held: Vec::new() };
    loop {
        let received = match doer.worker.recv_message() {
            Ok(Some(received)) => received,
            Ok(None) => break,
            Err(RecvError::Lost { messages }) => {
                doer.worker.send(Object::new().with("lost", messages))?;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(answer) = obey(&mut doer, received)? {
            // One that is to disconnect has nothing more to say.
            let _ = doer.worker.send(answer);
        }
    }
    Ok(())
}

struct Doer {
    worker: Worker,
    /// How to close what listens, by the name that the primary gave it.
    servers: HashMap<String, Box<dyn Fn()>>,
    /// Connections that are kept.
    held: Vec<(AnySocket, Option<Counted>)>,
}

fn obey(doer: &mut Doer, received: Received) -> Answer {
    let Received { message: order, handle, .. } = received;
    let worker = doer.worker.clone();
    let socket = handle.map(cluster_worker::MessageHandle::socket);
    let text = |name: &str| order[name].as_str().unwrap_or_default().to_owned();
    let number = |name: &str| order[name].as_u64().unwrap_or_default();
    let is = |name: &str| order[name].as_bool().unwrap_or_default();
    Ok(Some(match (order["do"].as_str().unwrap_or_default(), socket) {
        ("listen", _) => {
            let port = u16::try_from(number("port"))?;
            let mut options = ListenOptions::new()
                .port(port)
                .ipv6_only(is("ipv6Only"))
                .exclusive(is("exclusive"))
                .reuse_port(is("reusePort"))
                .data(order["data"].clone());
            if let Some(host) = order["host"].as_str() {
                options = options.host(host);
            }
            if let Some(fd) = order["fd"].as_u64() {
                options = options.primary_fd(u32::try_from(fd)?);
            }
            let listener = worker.listen(options);
            let told = |l: &Listener<_>| {
                let port = l.local_addr().map_or(0, |a| a.port());
                Object::new().with("port", port).with("data", l.data())
            };
            serving(doer, text("id"), listener, told)
        }
        ("listenUnix", _) => {
            let options = UnixOptions::new(text("path"))
                .readable_all(is("readableAll"))
                .writable_all(is("writableAll"))
                .exclusive(is("exclusive"));
            let listener = worker.listen_unix(options);
            serving(doer, text("id"), listener, |l| Object::new().with("path", l.path().to_str()))
        }
        ("bind", _) => {
            let new = if text("type") == "udp6" { UdpOptions::v6() } else { UdpOptions::new() };
            let options = new
                .port(u16::try_from(number("port"))?)
                .reuse_addr(is("reuseAddr"))
                .reuse_port(is("reusePort"))
                .exclusive(is("exclusive"));
            let options =
                order["host"].as_str().map_or(options.clone(), |host| options.clone().host(host));
            match worker.bind_udp(options) {
                Ok(socket) => {
                    let port = socket.local_addr()?.port();
                    let socket = Arc::new(socket);
                    let closing = Arc::clone(&socket);
                    doer.servers.insert(text("id"), Box::new(move || closing.close()));
                    let id = worker.id();
                    thread::spawn(move || {
                        let mut buf = [0; 100];
                        while let Ok(Some((_, from))) = socket.recv_from(&mut buf) {
                            let _ = socket.send_to(id.to_string().as_bytes(), from);
                        }
                    });
                    Object::new().with("port", port).into()
                }
                Err(error) => failed(&error),
            }
        }
        ("listenOn", _) => {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let listener = worker.listen_on(listener);
            let told = |l: &Listener<_>| {
                Object::new().with("port", l.local_addr().map_or(0, |a| a.port()))
            };
            serving(doer, text("id"), listener, told)
        }
        ("close", _) => {
            if let Some(close) = doer.servers.remove(&text("id")) {
                close();
            }
            Object::new().with("closed", order["id"].clone()).into()
        }

        // What came beside the message, used.
        ("serve", Some((AnySocket::TcpListener(listener), _))) => {
            let listener = worker.listen_on(listener);
            serving(doer, text("id"), listener, |_| Object::new().with("serving", "tcp"))
        }
        ("serve", Some((AnySocket::UnixListener(listener), _))) => {
            let listener = worker.listen_on_unix(listener);
            serving(doer, text("id"), listener, |_| Object::new().with("serving", "unix"))
        }
        ("answer", Some((socket, _))) => {
            // A few bytes always fit into a fresh socket's buffer.
            match socket {
                AnySocket::TcpStream(mut stream) => stream.write_all(b"answered\n")?,
                AnySocket::UnixStream(mut stream) => stream.write_all(b"answered\n")?,
                other => return Err(format!("{other:?} is no connection").into()),
            }
            return Ok(None);
        }
        ("receive", Some((AnySocket::UdpSocket(socket), _))) => {
            // Its mode is the primary's too, as long as that holds it: to make it block here would
            // make it block there.
            thread::spawn(move || {
                let mut buf = [0; 100];
                while poll(&mut [PollFd::new(&socket, PollFlags::IN)], None).is_ok() {
                    let Ok((length, from)) = socket.recv_from(&mut buf) else { continue };
                    let heard = [b"heard ", &buf[..length]].concat();
                    let _ = socket.send_to(&heard, from);
                }
            });
            "receiving".into()
        }
        ("keep", Some(kept)) => {
            doer.held.push(kept);
            "kept".into()
        }
        ("drop", _) => {
            drop(doer.held.pop());
            "dropped".into()
        }
        ("take", Some((socket, _))) => {
            drop(socket);
            let length = order["payload"].as_str().map_or(0, str::len) as u64;
            Object::new().with("took", order["n"].clone()).with("length", length).into()
        }

        // What is sent.
        ("sendServer", _) => {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let port = listener.local_addr()?.port();
            return sent(worker.send_handle(Object::new().with("port", port), listener)?);
        }
        ("sendUnixServer", _) => {
            let listener = UnixListener::bind(text("path"))?;
            return sent(worker.send_handle("a listener", listener)?);
        }
        ("sendDatagrams", _) => {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            let port = socket.local_addr()?.port();
            return sent(worker.send_handle(Object::new().with("port", port), socket)?);
        }
        ("sendSocket", _) => {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            worker.send(Object::new().with("port", listener.local_addr()?.port()))?;
            let (stream, _) = listener.accept()?;
            if is("keepOpen") {
                let mut kept = stream.try_clone()?;
                worker.send_handle("a connection", Outgoing::from(stream).keep_open())?;
                kept.write_all(b"and from here\n")?;
            } else {
                let outgoing = Outgoing::from(stream).key("4:127.0.0.1:80");
                worker.send_handle("a connection", outgoing)?;
            }
            return Ok(None);
        }
        ("countSockets", _) => {
            Object::new().with("count", worker.count_sockets("4:127.0.0.1:80")?).into()
        }
        ("awaitSockets", _) => {
            Object::new().with("closed", worker.await_sockets("4:127.0.0.1:80")?).into()
        }
        ("exchange", _) => {
            let payload = "x".repeat(usize::try_from(number("size"))?);
            for n in 0..number("count") {
                let (near, far) = UnixStream::pair()?;
                doer.held.push((AnySocket::UnixStream(near), None));
                let message = Object::new().with("n", n).with("payload", payload.as_str());
                worker.send_handle(message, far)?;
            }
            return Ok(None);
        }

        ("disconnect", _) => {
            worker.start_disconnect();
            return Ok(None);
        }
        ("closeChannel", _) => {
            worker.close_channel();
            return Ok(None);
        }
        ("kill", _) => worker.kill(),
        ("print", _) => {
            println!("{}", text("text"));
            "printed".into()
        }
        ("fds", _) => {
            let fds = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
            Object::new().with("fds", fds as u64).into()
        }
        _ => Object::new().with("echo", order).into(),
    }))
}

fn sent<T>(_: T) -> Answer {
    Ok(None)
}

fn failed(error: &ListenError) -> Value {
    Object::new().with("error", error.to_string()).with("errno", error.errno()).into()
}

/// Serves in the background: a client is told the worker's id, and hung up on.
fn serving<S>(
    doer: &mut Doer,
    id: String,
    listener: Result<Listener<S>, ListenError>,
    told: impl FnOnce(&Listener<S>) -> Object,
) -> Value
where
    S: From<OwnedFd> + Read + Write + Send + 'static,
{
    let listener = match listener {
        Ok(listener) => Arc::new(listener),
        Err(error) => return failed(&error),
    };
    let told = told(&listener);
    let closing = Arc::clone(&listener);
    doer.servers.insert(id, Box::new(move || closing.close()));
    let worker = doer.worker.id();
    thread::spawn(move || {
        while let Ok(Some(mut connection)) = listener.accept_tracked() {
            // A client that hangs up early is its own affair.
            let _ = writeln!(connection, "{worker}");
        }
    });
    told.into()
}
