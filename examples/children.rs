//! A worker that starts other programs: each request is answered with what a program prints. Node and other programs that
//! know `node:cluster` do not take themselves for workers, as the variables by which a worker knows that it is one are no
//! longer in the environment when `main` begins.
//!
//! ```sh
//! cargo build --release --package cluster-examples --example children
//! cargo run --release -p cluster-cli -- run target/release/examples/children 127.0.0.1:8000 node -p 'cluster.isPrimary'
//! ```

use std::error::Error;
use std::io;
use std::process::Output;

use cluster_worker::tokio::{self as cluster, TcpListener}; // instead of tokio::net::TcpListener
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8000".into());
    let mut command: Vec<String> = arguments.collect();
    if command.is_empty() {
        command = vec!["date".into()];
    }
    let listener = TcpListener::bind(&address).await?;
    loop {
        tokio::select! {
            biased; // in the end nothing more is accepted
            () = cluster::shutdown() => break,
            accepted = listener.accept() => {
                let (connection, _client) = accepted?;
                let command = command.clone();
                tokio::spawn(async move {
                    if let Err(error) = answer(connection, command).await {
                        eprintln!("a client has gone: {error}");
                    }
                });
            }
        }
    }
    drop(listener);
    cluster::disconnect().await;
    Ok(())
}

async fn answer(
    mut connection: impl AsyncRead + AsyncWrite + Unpin,
    command: Vec<String>,
) -> io::Result<()> {
    // Enough for a request without a body.
    let mut request = [0; 4096];
    if connection.read(&mut request).await? == 0 {
        return Ok(());
    }
    // By tokio, or by the standard library: where `/std` is asked for.
    let output = if request.starts_with(b"GET /std ") {
        let run = move || std::process::Command::new(&command[0]).args(&command[1..]).output();
        tokio::task::spawn_blocking(run).await?
    } else {
        tokio::process::Command::new(&command[0]).args(&command[1..]).output().await
    };
    let body = match output {
        Ok(Output { status, stdout, stderr }) => {
            let [stdout, stderr] =
                [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
            format!("{stdout}{stderr}{status}\n")
        }
        Err(error) => format!("cannot be started: {error}\n"),
    };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}", body.len());
    connection.write_all(format!("{head}\r\nConnection: close\r\n\r\n{body}").as_bytes()).await
}
