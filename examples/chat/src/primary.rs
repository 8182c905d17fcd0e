//! The primary: keeps two workers, and tells all what one says.

use std::collections::BTreeSet;
use std::error::Error;

use cluster_primary::tokio::AsyncPrimary;
use cluster_primary::{Event, Placement, PolicyName, Primary, Settings};
use tokio::signal::unix::{SignalKind, signal};

use crate::said::Said;

pub(crate) async fn run() -> Result<(), Box<dyn Error>> {
    // Workers run this same program, with the same arguments.
    let mut settings = Settings::default();
    settings.placement = Placement::Handoff;
    settings.policy = PolicyName::Sticky;
    let mut primary = AsyncPrimary::new(Primary::new(settings)?)?;
    for _ in 0..2 {
        primary.fork()?;
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut served = BTreeSet::new();
    loop {
        let event = tokio::select! {
            event = primary.next_event() => event?,
            _ = tokio::signal::ctrl_c() => { primary.disconnect(); continue }
            _ = terminate.recv() => { primary.disconnect(); continue }
        };
        match event {
            Some(Event::Fork { worker, pid, .. }) => {
                eprintln!("worker {worker} (pid {pid}) started");
            }
            Some(Event::Listening { worker, address, .. }) => {
                served.insert(worker);
                eprintln!("worker {worker} listens on {address}");
            }
            Some(Event::ListenFailed { address, error, .. }) => {
                return Err(format!("cannot listen on {address}: {error}").into());
            }
            Some(Event::Message { worker, message, .. }) => match message.decode::<Said>() {
                Ok(said) => {
                    for (worker, error) in primary.broadcast(&said)?.failed {
                        eprintln!("worker {worker} did not hear it: {error}");
                    }
                }
                Err(error) => eprintln!("worker {worker} sends what is no message: {error}"),
            },
            Some(Event::Exit { worker, status, exited_after_disconnect: false, .. }) => {
                eprintln!("worker {worker} died ({status})");
                if !served.remove(&worker) {
                    return Err("it never listened: another would do no better".into());
                }
                primary.fork()?;
            }
            Some(_) => {}
            None => return Ok(()),
        }
    }
}
