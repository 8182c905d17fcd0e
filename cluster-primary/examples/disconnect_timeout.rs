//! The disconnect example of Node's cluster page: connections that never end keep a worker from
//! leaving, so it is killed when it has not disconnected in time.
//!
//! ```console
//! $ cargo run -p cluster-primary --example disconnect_timeout
//! ```

use std::error::Error;
use std::net::TcpStream;
use std::time::Duration;

use cluster_primary::{Event, Next, Primary, Settings, Signal};
use cluster_worker::Worker;

const PATIENCE: Duration = Duration::from_secs(2);

fn main() -> Result<(), Box<dyn Error>> {
    match Worker::from_env()? {
        None => primary(),
        Some(worker) => serve(&worker),
    }
}

fn primary() -> Result<(), Box<dyn Error>> {
    let mut primary = Primary::new(Settings::default())?;
    let worker = primary.fork()?;

    // A client whose connection never ends.
    let mut endless = None;
    while let Some(event) = primary.next_event()? {
        match event {
            Event::Listening { address, .. } => {
                endless = Some(TcpStream::connect(address.to_string())?);
            }
            // The worker has it.
            Event::Message { message, .. } if message == "connected" => break,
            _ => {}
        }
    }

    primary.send(worker, "shutdown")?;
    primary.disconnect_worker(worker);
    let mut patience = Some(PATIENCE);
    loop {
        let next = match patience {
            Some(patience) => primary.next_event_within(patience)?,
            None => primary.next_event()?.map_or(Next::Over, Next::Event),
        };
        match next {
            Next::TimedOut => {
                println!("worker {worker} has not disconnected: killing it");
                primary.kill(worker, Signal::TERM)?;
                patience = None;
            }
            Next::Over => break,
            Next::Event(Event::Disconnect { .. }) => patience = None,
            Next::Event(Event::Exit { status, .. }) => println!("worker {worker} ended: {status}"),
            Next::Event(_) => {}
        }
    }
    drop(endless);
    Ok(())
}

fn serve(worker: &Worker) -> Result<(), Box<dyn Error>> {
    let listener = worker.listen("127.0.0.1:0")?;
    let talk = worker.clone();
    std::thread::spawn(move || {
        while let Ok(Some(message)) = talk.recv() {
            if message == "shutdown".into() {
                // Here a program would ask its clients to end their connections.
                println!("asked to shut down");
            }
        }
    });
    let mut connections = Vec::new();
    while let Some(connection) = listener.accept_tracked()? {
        // Connections never end, so this does not, either: the disconnect is never done.
        connections.push(connection);
        worker.send("connected")?;
    }
    Ok(())
}
