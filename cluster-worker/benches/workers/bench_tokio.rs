//! The counterpart of `bench_http` on tokio, for `cargo xtask bench`: an HTTP server with one thread, which
//! answers every request alike and closes. With `--port` it is no worker: the same program on tokio's own listener,
//! which shares its port by `SO_REUSEPORT`, and which ends when its standard input does.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::{env, io, process, thread};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpSocket;

/// As Node's.
const BACKLOG: u32 = 511;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let words = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\
         Connection: close\r\n\r\n{:>11}\n",
        process::id()
    );
    // For all connections, as long as there are any.
    let words: &'static [u8] = words.leak().as_bytes();
    let arguments: Vec<_> = env::args().skip(1).collect();
    if let [option, port] = &arguments[..]
        && option == "--port"
    {
        return alone(port.parse()?, words).await;
    }
    let worker = cluster_worker::tokio::worker()?.ok_or("a primary must start this program")?;
    let listener = worker.listen("0.0.0.0:0").await?;
    loop {
        tokio::select! {
            biased;
            () = worker.shutdown() => break,
            accepted = listener.accept() => {
                let (stream, _client) = accepted?;
                tokio::spawn(answer(stream, words));
            }
        }
    }
    drop(listener);
    worker.disconnect().await;
    Ok(())
}

async fn alone(port: u16, words: &'static [u8]) -> Result<(), Box<dyn Error>> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseport(true)?;
    socket.bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())?;
    let listener = socket.listen(BACKLOG)?;
    // As the bench's primary says it of others.
    let line = format!("{{\"type\":\"listening\",\"address\":{{\"port\":{port}}}}}\n");
    io::stdout().write_all(line.as_bytes())?;
    thread::spawn(|| {
        let _ = io::stdin().read(&mut [0]);
        process::exit(0);
    });
    loop {
        let (stream, _client) = listener.accept().await?;
        tokio::spawn(answer(stream, words));
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, words: &[u8]) {
    // A client that leaves early, or does not read, affects no other.
    if stream.read(&mut [0; 1024]).await.is_ok_and(|asked| asked > 0)
        && stream.write_all(words).await.is_ok()
    {
        // As HTTP servers do that close.
        let _ = stream.shutdown().await;
    }
}
