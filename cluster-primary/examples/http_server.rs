//! The first example of Node's cluster page, as one Rust program that is both primary and worker:
//! the workers share port 8000 (or the one that is given).
//!
//! ```console
//! $ cargo run -p cluster-primary --example http_server
//! Primary 3596 is running
//! Worker 4324 started
//! ```

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process;

use cluster_primary::{Event, Primary, Settings};
use cluster_worker::Worker;

fn main() -> Result<(), Box<dyn Error>> {
    match Worker::from_env()? {
        None => primary(),
        Some(worker) => serve(&worker),
    }
}

fn primary() -> Result<(), Box<dyn Error>> {
    println!("Primary {} is running", process::id());

    // Fork workers: this program again, with the same arguments.
    let mut primary = Primary::new(Settings::default())?;
    for _ in 0..std::thread::available_parallelism()?.get() {
        primary.fork()?;
    }
    while let Some(event) = primary.next_event()? {
        match event {
            Event::Listening { address, .. } => println!("listening on {address}"),
            Event::Exit { worker, status, .. } => println!("worker {worker} died ({status})"),
            _ => {}
        }
    }
    Ok(())
}

fn serve(worker: &Worker) -> Result<(), Box<dyn Error>> {
    let port = std::env::args().nth(1).map_or(Ok(8000), |port| port.parse())?;
    // Workers can share any TCP connection. In this case it is an HTTP server.
    let listener = worker.listen(("127.0.0.1", port))?;
    println!("Worker {} started", process::id());
    while let Some(connection) = listener.accept_tracked()? {
        std::thread::spawn(move || answer(&connection));
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
