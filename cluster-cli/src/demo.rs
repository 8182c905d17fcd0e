//! The server that runs where no program is named: it says which worker answers.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;

use cluster_worker::Worker;

/// A client that says nothing for so long is not waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves until the primary disconnects this worker.
pub(crate) fn serve(address: &str) -> ExitCode {
    match try_serve(address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn try_serve(address: &str) -> Result<(), Box<dyn std::error::Error>> {
    let worker =
        Worker::from_env()?.ok_or("this is the demo's worker; start it by `cluster run`")?;
    let listener = worker.listen(address)?;
    while let Some(connection) = listener.accept_tracked()? {
        let worker = worker.clone();
        std::thread::spawn(move || {
            // A client that closes its connection early affects no other client.
            let _ = answer(&worker, &connection);
        });
    }
    Ok(())
}

/// Answers one request, whatever it asks.
fn answer(worker: &Worker, connection: &TcpStream) -> io::Result<()> {
    connection.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(connection);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let body = format!("hello from worker {} (pid {})\n", worker.id(), std::process::id());
    let mut writer = connection;
    write!(
        writer,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
