//! Messages that are types, and requests both ways, on tokio, in one program that is primary and worker: workers
//! fetch jobs from the primary, which has one of them sum up at the end.
//!
//! ```sh
//! cargo run --release --package cluster-examples --example requests
//! ```

use std::collections::VecDeque;
use std::error::Error;
use std::time::Duration;

use cluster_primary::tokio::AsyncPrimary;
use cluster_primary::{Event, Primary, Settings};
use cluster_worker::tokio::Worker;
use serde::{Deserialize, Serialize};

/// What a worker asks the primary; an `Option<Job>` answers it.
#[derive(Debug, Serialize, Deserialize)]
struct NextJob {
    /// Of the job before.
    square: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Job {
    number: u64,
}

/// What the primary asks a worker; a `u64` answers it.
#[derive(Debug, Serialize, Deserialize)]
struct Sum {
    of: Vec<u64>,
}

const WORKERS: usize = 2;
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    match Worker::from_env()? {
        Some(worker) => work(&worker).await,
        None => lead().await,
    }
}

async fn work(worker: &Worker) -> Result<(), Box<dyn Error>> {
    let mut square = None;
    while let Some(job) = worker.request::<Option<Job>>(&NextJob { square }, PATIENCE).await? {
        square = Some(job.number * job.number);
    }
    // Nothing is left to do but to answer, until the primary disconnects.
    while let Some(received) = worker.recv().await? {
        let sum = received.decode::<Sum>().map(|sum| sum.of.iter().sum::<u64>());
        let Some(request) = received.request else { continue };
        match sum {
            Ok(sum) => request.answer(sum)?,
            // It hears why, and need not wait.
            Err(error) => request.refuse(error.to_string())?,
        };
    }
    worker.disconnect().await;
    Ok(())
}

async fn lead() -> Result<(), Box<dyn Error>> {
    let mut primary = AsyncPrimary::new(Primary::new(Settings::default())?)?;
    for _ in 0..WORKERS {
        primary.fork()?;
    }
    let mut jobs: VecDeque<_> = (1..=10).map(|number| Job { number }).collect();
    let (mut squares, mut idle) = (Vec::new(), 0);
    while let Some(event) = primary.next_event().await? {
        match event {
            Event::Request { worker, request, body, .. } => match body.decode::<NextJob>() {
                Ok(NextJob { square }) => {
                    squares.extend(square);
                    let job = jobs.pop_front();
                    idle += usize::from(job.is_none());
                    primary.answer(request, &job)?;
                    // All squares are here then, and no worker will ask for another job.
                    if idle == WORKERS {
                        primary.request(
                            worker,
                            &Sum { of: std::mem::take(&mut squares) },
                            PATIENCE,
                        )?;
                    }
                }
                Err(error) => drop(primary.refuse(request, error.to_string())?),
            },
            // The answer, or why there is none: it was refused, took too long, or the worker has gone.
            Event::Answered { worker, answer, .. } => {
                println!("worker {worker} has summed up: {}", answer?.decode::<u64>()?);
                primary.disconnect();
            }
            Event::Exit { worker, status, exited_after_disconnect: false, .. } => {
                return Err(format!("worker {worker} died ({status})").into());
            }
            _ => {}
        }
    }
    Ok(())
}
