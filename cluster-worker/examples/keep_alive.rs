//! An HTTP server that keeps connections open, and loses no request when it is replaced.
//!
//! ```console
//! $ cargo build --release -p cluster-worker --example keep_alive
//! $ cluster run target/release/examples/keep_alive 127.0.0.1:8000 &     # or a path: /run/app.sock
//! $ cluster reload
//! ```
//!
//! When it is told to disconnect, it closes connections that are idle, answers on those that are not
//! with `Connection: close`, and waits for the first request of those that have not asked yet. (A client
//! may send a request just when an idle connection closes. HTTP leaves it to the client to try again
//! then, as no byte of an answer has come.)

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use cluster_worker::{Tracked, UnixOptions, Worker};

/// What is done with a TCP and a Unix-domain connection alike.
trait Connection: Send + Sync + 'static {
    fn duplicate(&self) -> io::Result<Box<dyn Connection>>;
    /// Nothing more is read from it.
    fn shut(&self, how: Shutdown);
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize>;
    fn answer(&self, bytes: &[u8]) -> io::Result<()>;
}

macro_rules! connection {
    ($stream:ty) => {
        impl Connection for $stream {
            fn duplicate(&self) -> io::Result<Box<dyn Connection>> {
                Ok(Box::new(self.try_clone()?))
            }
            fn shut(&self, how: Shutdown) {
                let _ = self.shutdown(how);
            }
            fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
                (&mut &*self).read(buffer)
            }
            fn answer(&self, bytes: &[u8]) -> io::Result<()> {
                (&mut &*self).write_all(bytes)
            }
        }
    };
}
connection!(std::net::TcpStream);
connection!(std::os::unix::net::UnixStream);

/// Connections that wait for their next request; none any more once all is to end.
#[derive(Clone, Default)]
struct Idle(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    ending: bool,
    last: u64,
    idle: BTreeMap<u64, Box<dyn Connection>>,
}

impl Idle {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All is to end.
    fn end(&self) {
        let mut state = self.state();
        state.ending = true;
        for connection in std::mem::take(&mut state.idle).into_values() {
            // What has arrived by now is still read.
            connection.shut(Shutdown::Read);
        }
    }

    /// The connection waits; `None` if it is to close instead.
    fn enter(&self, connection: &dyn Connection) -> Option<u64> {
        let mut state = self.state();
        if state.ending {
            return None;
        }
        state.last += 1;
        let number = state.last;
        state.idle.insert(number, connection.duplicate().ok()?);
        Some(number)
    }

    fn leave(&self, number: u64) {
        self.state().idle.remove(&number);
    }

    fn is_ending(&self) -> bool {
        self.state().ending
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let worker = Worker::from_env()?.ok_or("start me by `cluster run`")?;
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".into());
    let idle = Idle::default();
    let ender = (worker.clone(), idle.clone());
    thread::spawn(move || {
        let (worker, idle) = ender;
        let _ = worker.wait_disconnecting();
        idle.end();
    });
    if Path::new(&address).is_absolute() {
        let listener = worker.listen_unix(UnixOptions::from(address.as_str()))?;
        while let Some(connection) = listener.accept_tracked()? {
            let idle = idle.clone();
            thread::spawn(move || serve(&connection, &idle));
        }
    } else {
        let listener = worker.listen(address.as_str())?;
        while let Some(connection) = listener.accept_tracked()? {
            let idle = idle.clone();
            thread::spawn(move || serve(&connection, &idle));
        }
    }
    Ok(())
}

/// Answers requests until either side has enough.
fn serve<C: Connection>(connection: &Tracked<C>, idle: &Idle) -> io::Result<()> {
    let connection: &C = connection;
    let body = format!("{}\n", std::process::id());
    let mut request = Vec::new();
    let mut waiting = None;
    loop {
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            let mut buffer = [0; 1024];
            let length = connection.receive(&mut buffer)?;
            if length == 0 || request.len() > 64 << 10 {
                return Ok(());
            }
            request.extend_from_slice(&buffer[..length]);
        }
        if let Some(number) = waiting.take() {
            idle.leave(number);
        }
        let head = String::from_utf8_lossy(&request).to_ascii_lowercase();
        let close =
            idle.is_ending() || head.contains("connection: close") || head.contains("http/1.0");
        request.clear();
        let connected = if close { "close" } else { "keep-alive" };
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
             Connection: {connected}\r\n\r\n{body}",
            body.len()
        );
        if !close {
            // Before the answer: the client may ask again as soon as it has it.
            waiting = idle.enter(connection);
        }
        connection.answer(answer.as_bytes())?;
        if close || waiting.is_none() {
            connection.shut(Shutdown::Write);
            return Ok(());
        }
    }
}
