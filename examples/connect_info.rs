//! An axum server whose handlers see the client's address. axum knows how to get it from its own listeners only, and from
//! any listener behind `tap_io`:
//!
//! ```sh
//! cargo build --release --package cluster-examples --example connect_info
//! cargo run --release -p cluster-cli -- run target/release/examples/connect_info 127.0.0.1:8000
//! ```

use std::error::Error;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use axum::serve::ListenerExt;
use cluster_worker::tokio::{self as cluster, TcpListener}; // instead of tokio::net::TcpListener

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8000".into());
    let hello = |ConnectInfo(client): ConnectInfo<SocketAddr>| async move { format!("{client}\n") };
    let app = Router::new().route("/", get(hello));
    let listener = TcpListener::bind(&address).await?.tap_io(|_| {});
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(cluster::shutdown())
        .await?;
    cluster::disconnect().await;
    Ok(())
}
