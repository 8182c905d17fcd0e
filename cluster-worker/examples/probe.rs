//! A worker that does what its primary tells it: the tests' counterpart of the Node primaries in
//! `tests/js`.
//!
//! The first argument after the script's name is a way to serve (`tcp`, `unix`, `udp`, `evented`,
//! or `idle`), the second an address. Messages `{"do": "disconnect"}` and the like drive it; all
//! others are echoed.

use std::error::Error;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use cluster_worker::event::{Event, EventedWorker, Stream};
use cluster_worker::{
    ListenError, ListenOptions, Listener, Object, Received, Tracked, UnixOptions, Value, Worker,
};
use mio::{Events, Interest, Poll, Token};

fn main() -> Result<(), Box<dyn Error>> {
    assert!(cluster_worker::is_worker(), "a primary starts this program");
    let mut arguments = std::env::args().skip(2);
    let way = arguments.next().unwrap_or_default();
    let address = arguments.next().unwrap_or_default();
    if way == "evented" {
        return evented(&address);
    }
    let worker = Worker::from_env()?.expect("a primary started this program");
    assert!(std::env::var_os("NODE_UNIQUE_ID").is_none(), "children would be taken for workers");
    assert!(cluster_worker::is_worker());
    let talk = {
        let worker = worker.clone();
        move || talk(&worker)
    };
    match way.as_str() {
        "tcp" => match worker.listen(tcp(&address)) {
            Ok(listener) => {
                worker.send(Object::new().with("port", listener.local_addr()?.port()))?;
                thread::spawn(talk);
                serve(&worker, listener)?;
            }
            Err(error) => refused(&worker, &error)?,
        },
        "unix" => match worker.listen_unix(UnixOptions::new(&address).writable_all(true)) {
            Ok(listener) => {
                worker.send(Object::new().with("path", listener.path().to_str()))?;
                thread::spawn(talk);
                serve(&worker, listener)?;
            }
            Err(error) => refused(&worker, &error)?,
        },
        "udp" => match worker.bind_udp(address.as_str()) {
            Ok(socket) => {
                worker.send(Object::new().with("port", socket.local_addr()?.port()))?;
                thread::spawn(talk);
                let mut buf = [0; 2048];
                while let Some((n, from)) = socket.recv_from(&mut buf)? {
                    let answer = format!("{} {}", worker.id(), String::from_utf8_lossy(&buf[..n]));
                    socket.send_to(answer.as_bytes(), from)?;
                }
            }
            Err(error) => refused(&worker, &error)?,
        },
        _ => {
            worker.send("idle")?;
            talk();
        }
    }
    Ok(())
}

fn tcp(address: &str) -> ListenOptions {
    match address.strip_prefix("max1:") {
        Some(address) => ListenOptions::from(address).max_connections(1),
        None => ListenOptions::from(address),
    }
}

fn refused(worker: &Worker, error: &ListenError) -> Result<(), Box<dyn Error>> {
    let report = Object::new().with("error", error.to_string()).with("errno", error.errno());
    worker.send(report)?;
    worker.disconnect()?;
    Ok(())
}

/// Answers from several threads, each of which accepts.
fn serve<S>(worker: &Worker, listener: Listener<S>) -> Result<(), Box<dyn Error>>
where
    S: From<std::os::fd::OwnedFd> + Read + Write + Send + 'static,
{
    let listener = Arc::new(listener);
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let (listener, id) = (Arc::clone(&listener), worker.id());
            thread::spawn(move || -> io::Result<()> {
                while let Some(connection) = listener.accept_tracked()? {
                    // A client that hangs up early is its own affair.
                    let _ = answer(connection, id);
                }
                Ok(())
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no panic")?;
    }
    Ok(())
}

fn answer<S: Read + Write>(mut connection: Tracked<S>, id: u32) -> io::Result<()> {
    let mut request = Vec::new();
    let mut buf = [0; 512];
    while !request.ends_with(b"\r\n\r\n") {
        match connection.read(&mut buf)? {
            0 => return Ok(()),
            n => request.extend_from_slice(&buf[..n]),
        }
    }
    connection.write_all(response(id).as_bytes())
}

fn response(id: u32) -> String {
    let body = format!("worker {id}\n");
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

fn talk(worker: &Worker) {
    while let Some(received) = worker.recv_message().expect("the channel works") {
        let Received { message, request, .. } = received;
        if let Some(request) = request {
            request.answer(message).expect("the channel takes it");
            continue;
        }
        match message["do"].as_str() {
            Some("ask") => {
                let answer = worker.request::<String>(&("who is", 7), Duration::from_secs(30));
                let heard = answer.unwrap_or_else(|error| error.to_string());
                // It may have gone meanwhile.
                let _ = worker.send(Object::new().with("heard", heard));
            }
            Some("disconnect") => worker.start_disconnect(),
            Some("kill") => worker.kill(),
            Some("panic") => panic!("as told"),
            Some("exit") => std::process::exit(7),
            _ => {
                let sent = worker.send(Object::new().with("echo", message));
                sent.expect("the channel takes it");
            }
        }
    }
}

const WORKER: Token = Token(usize::MAX);

fn evented(address: &str) -> Result<(), Box<dyn Error>> {
    let mut worker = EventedWorker::from_env()?.expect("a primary started this program");
    let mut poll = Poll::new()?;
    poll.registry().register(&mut worker, WORKER, Interest::READABLE)?;
    worker.listen(address)?;
    let mut events = Events::with_capacity(64);
    let mut connections: Vec<Option<(Tracked<Stream>, Vec<u8>)>> = Vec::new();
    loop {
        while let Some(event) = worker.next_event() {
            match event {
                Event::Listening { local, .. } => {
                    let port = local.map(|local| local.port());
                    worker.send(Object::new().with("port", port))?;
                }
                Event::ListenFailed { error, .. } => {
                    let report = Object::new().with("error", error.to_string());
                    worker.send(report.with("errno", error.errno()))?;
                    worker.disconnect();
                }
                Event::Connection { mut stream, .. } => {
                    let token = Token(connections.len());
                    poll.registry().register(&mut *stream, token, Interest::READABLE)?;
                    connections.push(Some((stream, Vec::new())));
                }
                Event::Message(Received { message, .. }) => match message["do"].as_str() {
                    Some("disconnect") => worker.disconnect(),
                    Some("kill") => worker.kill(),
                    _ => drop(worker.send(Value::from(Object::new().with("echo", message)))?),
                },
                Event::Disconnected => return Ok(()),
                _ => {}
            }
        }
        poll.poll(&mut events, worker.timeout())?;
        for event in &events {
            if event.token() == WORKER {
                worker.process()?;
            } else {
                let place = &mut connections[event.token().0];
                if place
                    .as_mut()
                    .is_some_and(|(stream, request)| advance(stream, request, worker.id()))
                {
                    *place = None;
                }
            }
        }
    }
}

/// Reads what has come, answers if that is all; whether the connection is done.
fn advance(stream: &mut Stream, request: &mut Vec<u8>, id: u32) -> bool {
    let mut buf = [0; 512];
    loop {
        match stream.read(&mut buf) {
            Ok(0) => return true,
            Ok(n) => request.extend_from_slice(&buf[..n]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(_) => return true,
        }
    }
    if !request.ends_with(b"\r\n\r\n") {
        return false;
    }
    // A hundred bytes always fit into a fresh socket's buffer, unless the client is gone.
    let _ = stream.write_all(response(id).as_bytes());
    true
}
