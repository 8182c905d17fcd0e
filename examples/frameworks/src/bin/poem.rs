//! A poem server that is a worker. It accepts by itself, so the workers share one socket:
//!
//! ```sh
//! cargo build --release --manifest-path examples/frameworks/Cargo.toml --bin poem
//! cargo run --release -p cluster-cli -- run --placement shared examples/frameworks/target/release/poem 127.0.0.1:8000
//! ```

use std::io;
use std::process;

use cluster_worker::tokio::{self as cluster, TcpListener};
use poem::listener::TcpAcceptor;
use poem::{Route, Server, get, handler};

#[handler]
fn hello() -> String {
    format!("process {}\n", process::id())
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8000".into());
    let listener = TcpListener::bind(&address).await?.into_std()?;
    let app = Route::new().at("/", get(hello));
    Server::new_with_acceptor(TcpAcceptor::from_std(listener)?)
        .run_with_graceful_shutdown(app, cluster::shutdown(), None) // when the cluster says so
        .await?;
    cluster::disconnect().await;
    Ok(())
}
