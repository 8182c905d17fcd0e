//! The message-counting example of Node's cluster page: workers tell the primary of each request,
//! and the primary says every second how many there were.
//!
//! ```console
//! $ cargo run -p cluster-primary --example count_messages
//! numReqs = 0
//! ```

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cluster_primary::{Event, Object, Primary, Settings};
use cluster_worker::Worker;

fn main() -> Result<(), Box<dyn Error>> {
    match Worker::from_env()? {
        None => primary(),
        Some(worker) => serve(&worker),
    }
}

fn primary() -> Result<(), Box<dyn Error>> {
    let mut primary = Primary::new(Settings::default())?;
    for _ in 0..std::thread::available_parallelism()?.get() {
        primary.fork()?;
    }

    // Keep track of http requests.
    let num_reqs = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&num_reqs);
    std::thread::spawn(move || {
        loop {
            println!("numReqs = {}", seen.load(Ordering::Relaxed));
            std::thread::sleep(Duration::from_secs(1));
        }
    });

    while let Some(event) = primary.next_event()? {
        match event {
            Event::Message { message, .. } if message.value()?["cmd"] == "notifyRequest".into() => {
                num_reqs.fetch_add(1, Ordering::Relaxed);
            }
            Event::Listening { address, .. } => println!("listening on {address}"),
            _ => {}
        }
    }
    Ok(())
}

fn serve(worker: &Worker) -> Result<(), Box<dyn Error>> {
    let port = std::env::args().nth(1).map_or(Ok(8000), |port| port.parse())?;
    let listener = worker.listen(("127.0.0.1", port))?;
    while let Some(connection) = listener.accept_tracked()? {
        let worker = worker.clone();
        std::thread::spawn(move || {
            answer(&connection)?;
            // Notify the primary about the request.
            worker.send(Object::new().with("cmd", "notifyRequest")).map_err(std::io::Error::other)
        });
    }
    Ok(())
}

fn answer(mut connection: &TcpStream) -> std::io::Result<()> {
    let mut line = String::new();
    let mut reader = BufReader::new(connection);
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    connection.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close\r\n\r\nhello world\n",
    )
}
