//! An actix-web server that is a worker. It accepts by itself, so the workers share one socket:
//!
//! ```sh
//! cargo build --release --manifest-path examples/frameworks/Cargo.toml --bin actix
//! cargo run --release -p cluster-cli -- run --placement shared examples/frameworks/target/release/actix 127.0.0.1:8000
//! ```

use std::io;
use std::process;

use actix_web::{App, HttpServer, Responder, get, rt};
use cluster_worker::tokio::{self as cluster, TcpListener};

#[get("/")]
async fn hello() -> impl Responder {
    format!("process {}\n", process::id())
}

#[actix_web::main]
async fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8000".into());
    let listener = TcpListener::bind(&address).await?.into_std()?; // instead of .bind(&address)
    let server = HttpServer::new(|| App::new().service(hello))
        .listen(listener)?
        .shutdown_timeout(60) // the cluster's grace period is what counts
        .run();
    let handle = server.handle();
    rt::spawn(async move {
        cluster::shutdown().await; // when the cluster says so
        handle.stop(true).await;
    });
    server.await?;
    cluster::disconnect().await;
    Ok(())
}
