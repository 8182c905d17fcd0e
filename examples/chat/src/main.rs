//! A WebSocket chat over all workers. One program is the primary and its workers; a client that comes again meets the
//! worker that it met before (policy `sticky`); what one says goes from its worker to the primary, from there
//! to all workers, and from each to its clients.
//!
//! ```sh
//! cargo run --release --package example-chat -- 127.0.0.1:8000
//! ```
//!
//! Then open http://127.0.0.1:8000 in two browsers, or in two terminals
//! `cargo run --release --package example-chat -- client 127.0.0.1:8000 Ada`. (Behind the name, 127.0.0.2 say: as from
//! another machine, and so maybe to another worker.)

mod client;
mod primary;
mod said;
mod worker;

use std::env;
use std::error::Error;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match (arguments.as_slice(), cluster_worker::tokio::worker()?) {
        ([address], Some(worker)) => worker::run(worker, address).await,
        ([_address], None) => primary::run().await,
        (["client", address, who], None) => client::run(address, who, None).await,
        (["client", address, who, from], None) => client::run(address, who, Some(from)).await,
        _ => Err("say: example-chat ADDRESS, or example-chat client ADDRESS NAME [FROM]".into()),
    }
}
