//! A primary with a worker that is blocked for ever, and so does not see its channel close: for tests.
//!
//! `stuck MORTAL [NODE SCRIPT]` prints the worker's process id once the worker has said that it
//! is about to block. If MORTAL is true the worker is to die with the primary. Without a script the
//! worker is this program.

use std::error::Error;

use cluster_primary::{Event, Primary, Settings};
use cluster_worker::Worker;

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(worker) = Worker::from_env()? {
        worker.send("about to block")?;
        worker.flush()?;
        loop {
            std::thread::park();
        }
    }
    let mut args = std::env::args_os().skip(1);
    let mortal = args.next().ok_or(USAGE)?;
    let mut settings = Settings::default();
    settings.args = Vec::new();
    if let Some(node) = args.next() {
        settings.exec_path = Some(node.into());
        settings.exec = args.next().ok_or(USAGE)?.into();
    }
    settings.die_with_primary = mortal == "true";
    let mut primary = Primary::new(settings)?;
    let worker = primary.fork()?;
    while let Some(event) = primary.next_event()? {
        if let Event::Message { .. } = event
            && let Some(state) = primary.worker_state(worker)
        {
            println!("{}", state.pid);
        }
    }
    Ok(())
}

const USAGE: &str = "usage: stuck true|false [NODE SCRIPT]";
