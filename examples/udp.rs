//! A UDP server: all workers receive from one socket, and each datagram goes to one of them. Run it under
//! `cluster run`, and send it something:
//!
//! ```sh
//! cargo build --release --package cluster-examples --example udp
//! cargo run --release -p cluster-cli -- run target/release/examples/udp 127.0.0.1:8000
//! ```
//!
//! (There is no connection to stick to: what must reach the same worker twice is not for UDP in a cluster.)

use std::error::Error;

use cluster_worker::tokio as cluster;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8000".into());
    let worker = cluster::worker()?.ok_or("run it by `cluster run`")?;
    let socket = worker.bind_udp(address.as_str()).await?;
    let mut datagram = [0; 65_536];
    loop {
        tokio::select! {
            received = socket.recv_from(&mut datagram) => {
                let (length, client) = received?;
                let said = String::from_utf8_lossy(&datagram[..length]);
                let answer = format!("worker {} heard {}\n", worker.id(), said.trim_end());
                socket.send_to(answer.as_bytes(), client).await?;
            }
            // A datagram has no end to wait for: leave the socket to the others.
            () = cluster::shutdown() => break,
        }
    }
    drop(socket);
    cluster::disconnect().await;
    Ok(())
}
