//! An echo server that is a worker: under a Node.js primary, or any other that speaks its protocol.
//!
//! ```text
//! cargo build -p cluster-worker --example greeter
//! node cluster-worker/examples/primary.cjs target/debug/examples/greeter
//! ```

use std::error::Error;
use std::io;
use std::thread;

use cluster_worker::{Object, Worker};

fn main() -> Result<(), Box<dyn Error>> {
    let Some(worker) = Worker::from_env()? else {
        eprintln!("No primary has started me. See the first lines of my source.");
        return Ok(());
    };
    let listener = worker.listen("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    worker.send(Object::new().with("worker", worker.id()).with("port", port))?;

    // Ends when the worker is disconnected, by the primary or in this process, and the connections
    // that were open by then have ended.
    while let Some(connection) = listener.accept_tracked()? {
        thread::spawn(move || {
            let mut stream = &*connection;
            io::copy(&mut { stream }, &mut stream)
        });
    }
    Ok(())
}
