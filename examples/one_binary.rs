//! One program that is primary and worker: the primary keeps one worker on each CPU, replaces those that
//! die, after pauses that grow where that is of no use, and gives up where nothing helps. `kill -HUP` replaces
//! all without losing a request, Ctrl-C and `kill` let every connection finish.
//!
//! ```sh
//! cargo run --release --package cluster-examples --example one_binary -- 127.0.0.1:8000
//! ```

use std::error::Error;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::{env, thread};

use cluster_primary::{Event, Primary, Settings};
use cluster_supervisor::driver::{ClusterEvent, Config, Notice, Outcome, Supervised};
use cluster_worker::Worker;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    match Worker::from_env()? {
        Some(worker) => work(&worker).map(|()| ExitCode::SUCCESS),
        None => keep(),
    }
}

fn work(worker: &Worker) -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8000".into());
    let listener = worker.listen(address.as_str())?;
    let body = format!("worker {}\n", worker.id());
    // Until the worker is to leave. Those that are tracked are waited for.
    while let Some(mut connection) = listener.accept_tracked()? {
        let body = body.clone();
        thread::spawn(move || {
            let mut request = [0; 4096];
            if connection.read(&mut request).is_ok_and(|length| length > 0) {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}", body.len());
                let answer = format!("{head}\r\nConnection: close\r\n\r\n{body}");
                // A client that has gone is its own affair.
                let _ = connection.write_all(answer.as_bytes());
            }
        });
    }
    Ok(())
}

/// What a signal asks for.
enum Asks {
    Reload,
    End,
}

/// A descriptor that becomes readable when that signal comes.
fn told(signal: i32) -> std::io::Result<UnixStream> {
    let (told, tell) = UnixStream::pair()?;
    told.set_nonblocking(true)?;
    pipe::register(signal, tell)?;
    Ok(told)
}

fn keep() -> Result<ExitCode, Box<dyn Error>> {
    // Workers run this same program, with the same arguments. (A Ctrl-C is the primary's alone: they have
    // process groups of their own.)
    let mut settings = Settings::default();
    // While a worker is replaced its clients wait, and are not refused.
    settings.keep_listeners = true;
    let mut primary = Primary::new(settings)?;
    let mut signals = Vec::new();
    for (signal, asks) in [(SIGHUP, Asks::Reload), (SIGTERM, Asks::End), (SIGINT, Asks::End)] {
        let told = told(signal)?;
        signals.push((primary.watch(told.as_raw_fd())?, told, asks));
    }
    let workers = thread::available_parallelism()?.get().try_into()?;
    let mut cluster = Supervised::new(primary, Config::new(workers));
    loop {
        while let Some(happening) = cluster.ready() {
            log(happening);
        }
        match cluster.outcome() {
            None => {}
            Some(Outcome::AsAsked) => return Ok(ExitCode::SUCCESS),
            Some(outcome) => return Err(format!("the cluster ended: {outcome:?}").into()),
        }
        for (watch, told, asks) in &signals {
            if cluster.primary_mut().take_ready(*watch) {
                // Until it would block, or a next one would not be seen.
                while (&*told).read(&mut [0; 64]).is_ok_and(|length| length > 0) {}
                match asks {
                    Asks::Reload => cluster.reload(),
                    Asks::End => cluster.end(),
                }
            }
        }
        cluster.wait(None)?;
    }
}

fn log(happening: ClusterEvent) {
    match happening {
        ClusterEvent::Event(Event::Fork { worker, pid, .. }) => {
            eprintln!("worker {worker} (pid {pid}) started");
        }
        ClusterEvent::Event(Event::Listening { worker, address, .. }) => {
            eprintln!("worker {worker} listens on {address}");
        }
        ClusterEvent::Event(Event::ListenFailed { worker, address, error, .. }) => {
            eprintln!("worker {worker} cannot listen on {address}: {error}");
        }
        ClusterEvent::Notice(Notice::Replacing { death, pause }) => {
            eprintln!(
                "a worker in slot {} failed: {}; another in {pause:?}",
                death.slot, death.failure
            );
        }
        ClusterEvent::Notice(Notice::Reloaded { replaced, .. }) => {
            eprintln!("reloaded: {replaced} workers replaced");
        }
        _ => {}
    }
}
