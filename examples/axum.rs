//! An axum server. Alone it is one as any other; under `cluster run` it is a worker:
//!
//! ```sh
//! cargo build --release --package cluster-examples --example axum
//! cargo run --release -p cluster-cli -- run target/release/examples/axum 127.0.0.1:8000
//! ```

use std::error::Error;
use std::process;

use axum::Router;
use axum::routing::get;
use cluster_worker::tokio::{self as cluster, TcpListener}; // instead of tokio::net::TcpListener

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8000".into());
    let hello = || async { format!("process {}\n", process::id()) };
    let app = Router::new().route("/", get(hello));
    let listener = TcpListener::bind(&address).await?;
    axum::serve(listener, app)
        .with_graceful_shutdown(cluster::shutdown()) // when the cluster says so
        .await?;
    // The connections are finished. Lest the process go while its primary speaks to it:
    cluster::disconnect().await;
    Ok(())
}
