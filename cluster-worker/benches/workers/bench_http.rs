//! A lean HTTP server with one thread, for `cargo xtask bench`: what a connection costs, and little
//! else. It answers every request alike, with its process id, and closes. `BENCH_MAX_CONNECTIONS` in its
//! environment has it refuse those beyond that number.
//!
//! ```console
//! $ cluster run target/release/examples/bench_http
//! ```

use std::error::Error;
use std::io::{ErrorKind, Read, Write};

use cluster_worker::event::{Event, EventedWorker, Stream};
use cluster_worker::{ListenOptions, Tracked};
use mio::{Events, Interest, Poll, Token};

const WORKER: Token = Token(usize::MAX);

fn main() -> Result<(), Box<dyn Error>> {
    let mut worker = EventedWorker::from_env()?.ok_or("a primary must start this program")?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut worker, WORKER, Interest::READABLE)?;
    let mut options = ListenOptions::from("0.0.0.0:0");
    if let Ok(most) = std::env::var("BENCH_MAX_CONNECTIONS") {
        options = options.max_connections(most.parse()?);
    }
    worker.listen(options)?;
    let words = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\
         Connection: close\r\n\r\n{:>11}\n",
        std::process::id()
    );
    let answer = |stream: &mut Tracked<Stream>| answer(stream, words.as_bytes());
    let mut events = Events::with_capacity(256);
    // Those that have not asked yet, by token.
    let mut waiting: Vec<Option<Tracked<Stream>>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    loop {
        while let Some(event) = worker.next_event() {
            match event {
                Event::Connection { mut stream, .. } => {
                    // Most have asked before they come.
                    if answer(&mut stream) {
                        continue;
                    }
                    let index = free.pop().unwrap_or(waiting.len());
                    poll.registry().register(&mut *stream, Token(index), Interest::READABLE)?;
                    if index == waiting.len() {
                        waiting.push(Some(stream));
                    } else {
                        waiting[index] = Some(stream);
                    }
                }
                Event::ListenFailed { error, .. } => return Err(error.into()),
                Event::Disconnected => return Ok(()),
                _ => {}
            }
        }
        match poll.poll(&mut events, worker.timeout()) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            outcome => outcome?,
        }
        for event in &events {
            let Token(index) = event.token();
            match waiting.get_mut(index) {
                Some(slot) => {
                    if slot.as_mut().is_some_and(answer) {
                        *slot = None;
                        free.push(index);
                    }
                }
                None => worker.process()?,
            }
        }
    }
}

/// Answers once something is asked; whether the connection is done with.
fn answer(stream: &mut Tracked<Stream>, words: &[u8]) -> bool {
    match stream.read(&mut [0; 1024]) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
        // A client that leaves early, or does not read, affects no other.
        Ok(asked) if asked > 0 => {
            let _ = stream.write(words);
            // As HTTP servers do that close: the client need not wait for other processes that hold the
            // connection, such as a primary that is about to let go of it.
            let _ = rustix::net::shutdown(&**stream, rustix::net::Shutdown::Write);
        }
        _ => {}
    }
    true
}
