//! A hyper server, which finishes what it has begun when the cluster says so. Alone it is a server as any
//! other; under `cluster run` it is a worker:
//!
//! ```sh
//! cargo build --release --package cluster-examples --example hyper
//! cargo run --release -p cluster-cli -- run target/release/examples/hyper 127.0.0.1:8000
//! ```

use std::convert::Infallible;
use std::error::Error;
use std::process;
use std::time::Duration;

use cluster_worker::tokio::{self as cluster, TcpListener}; // instead of tokio::net::TcpListener
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;

async fn hello(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(format!("process {}\n", process::id()).into()))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8000".into());
    let listener = TcpListener::bind(&address).await?;
    let graceful = GracefulShutdown::new();
    loop {
        tokio::select! {
            // First: in the end nothing more is accepted.
            biased;
            () = cluster::shutdown() => break,
            accepted = listener.accept() => {
                // The worker waits for this connection before it leaves.
                let (connection, _client) = match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        // No descriptor is left, say: others may accept meanwhile.
                        eprintln!("a connection was not accepted: {error}");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                };
                let io = TokioIo::new(connection);
                let serving = http1::Builder::new().serve_connection(io, service_fn(hello));
                // A client that hangs up early is its own affair.
                let serving = graceful.watch(serving);
                tokio::spawn(async move { drop(serving.await) });
            }
        }
    }
    // Connections on which nothing is under way are closed, the others when their answer is written.
    graceful.shutdown().await;
    drop(listener);
    // Lest the process go while its primary speaks to it:
    cluster::disconnect().await;
    Ok(())
}
