//! A worker that serves one client after the other, and blocks when one says so, until a file is
//! there: for tests.

use std::error::Error;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;
use std::{env, thread};

use cluster_worker::Worker;

fn main() -> Result<(), Box<dyn Error>> {
    let Some(worker) = Worker::from_env()? else {
        return Err("a primary starts this program".into());
    };
    let release = env::var("RELEASE")?;
    let listener = worker.listen("127.0.0.1:0")?;
    while let Some(mut connection) = listener.accept()? {
        let mut order = [0; 1];
        // A client that hangs up early is its own affair.
        if connection.read_exact(&mut order).is_err() {
            continue;
        }
        if order == *b"b" {
            let _gone = writeln!(connection, "{}", worker.id());
            while !Path::new(&release).exists() {
                thread::sleep(Duration::from_millis(5));
            }
        }
        let _gone = writeln!(connection, "{}", worker.id());
    }
    Ok(())
}
