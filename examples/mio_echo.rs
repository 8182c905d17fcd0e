//! An echo server on a bare mio loop: the worker is a source of events among others. Run it under
//! `cluster run`, and talk to it with `nc`:
//!
//! ```sh
//! cargo build --release --package cluster-examples --example mio_echo
//! cargo run --release -p cluster-cli -- run target/release/examples/mio_echo 127.0.0.1:8000
//! ```

use std::collections::HashMap;
use std::error::Error;
use std::io::{self, Read, Write};

use cluster_worker::Tracked;
use cluster_worker::event::{Event, EventedWorker, Stream};
use mio::{Events, Interest, Poll, Token};

const WORKER: Token = Token(0);

/// So much is read ahead of a client that does not take its echo.
const MOST_WAITING: usize = 64 << 10;

struct Connection {
    /// As long as it is held the worker waits for it when it is to leave.
    stream: Tracked<Stream>,
    waiting: Vec<u8>,
}

impl Connection {
    /// Reads and writes as far as that goes; whether there is more to come.
    fn advance(&mut self) -> io::Result<bool> {
        let mut chunk = [0; 16 << 10];
        loop {
            while !self.waiting.is_empty() {
                match self.stream.write(&self.waiting) {
                    Ok(written) => drop(self.waiting.drain(..written)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            if self.waiting.len() >= MOST_WAITING {
                return Ok(true);
            }
            match self.stream.read(&mut chunk) {
                // What it has not taken of its echo it does not want.
                Ok(0) => return Ok(false),
                Ok(length) => self.waiting.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8000".into());
    let mut worker = EventedWorker::from_env()?.ok_or("run it by `cluster run`")?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut worker, WORKER, Interest::READABLE)?;
    worker.listen(address.as_str())?;

    let mut connections = HashMap::new();
    let mut last = WORKER;
    let mut events = Events::with_capacity(256);
    loop {
        while let Some(event) = worker.next_event() {
            match event {
                Event::Connection { mut stream, .. } => {
                    last = Token(last.0 + 1);
                    let both = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut *stream, last, both)?;
                    connections.insert(last, Connection { stream, waiting: Vec::new() });
                }
                Event::ListenFailed { error, .. } => return Err(error.into()),
                // The primary wants this worker to leave, and waits for its connections. A server whose
                // clients stay forever would close those that are idle here: it is told by `Closed`.
                Event::Disconnected => return Ok(()),
                _ => {}
            }
        }
        match poll.poll(&mut events, worker.timeout()) {
            // The process was stopped and continued.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            if event.token() == WORKER {
                worker.process()?;
            } else if let Some(connection) = connections.get_mut(&event.token()) {
                let goes_on = connection.advance().unwrap_or(false);
                if !goes_on {
                    connections.remove(&event.token());
                }
            }
        }
    }
}
