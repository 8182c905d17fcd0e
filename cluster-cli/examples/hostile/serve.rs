//! The well-behaved worker beside the hostile one.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use cluster_worker::Worker;

use crate::Outcome;

/// Answers each request with the worker's id, on a connection of its own.
pub(crate) fn http(address: &str) -> Outcome {
    let worker = Worker::from_env()?.ok_or("start it by `cluster run`")?;
    let listener = worker.listen(address)?;
    // Where `--ready notify` asks for it.
    sd_notify::notify(&[sd_notify::NotifyState::Ready])?;
    while let Some(connection) = listener.accept_tracked()? {
        let id = worker.id();
        std::thread::spawn(move || {
            if let Err(error) = answer(&connection, &format!("worker {id}\n")) {
                eprintln!("a connection failed: {error}");
            }
        });
    }
    Ok(())
}

fn answer(mut connection: &TcpStream, body: &str) -> io::Result<()> {
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(connection);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let length = body.len();
    write!(
        connection,
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}
