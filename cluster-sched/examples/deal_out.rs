//! The scheduler without a cluster: three threads are the workers, numbers are the connections.
//!
//! `cargo run -p cluster-sched --example deal_out`

use cluster_sched::{Config, Input, Mono, Output, PolicyName, Scheduler};
use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name: PolicyName = std::env::args().nth(1).as_deref().unwrap_or("rr").parse()?;
    let mut scheduler = Scheduler::new(name.build(42), Config::default().window(2));

    let (answers, inbox) = mpsc::channel();
    let mut workers = BTreeMap::new();
    for worker in 1..=3u32 {
        let (jobs, job) = mpsc::channel::<u32>();
        let answers = answers.clone();
        std::thread::spawn(move || {
            for conn in job {
                std::thread::sleep(Duration::from_millis(u64::from(worker)));
                // Worker 3 does not like multiples of four.
                let accepted = worker != 3 || conn % 4 != 0;
                if answers.send((worker, conn, accepted)).is_err() {
                    return;
                }
            }
        });
        workers.insert(worker, jobs);
        scheduler.handle_input(Mono::ZERO, Input::Join { worker, slot: worker })?;
    }
    for conn in 1..=20 {
        scheduler.handle_input(Mono::ZERO, Input::Arrive { conn, client: None })?;
    }

    loop {
        while let Some(output) = scheduler.poll_output() {
            println!("{output:?}");
            if let Output::Assign { conn, worker } = output {
                workers[&worker].send(conn)?;
            }
        }
        if scheduler.is_idle() {
            break;
        }
        let (worker, conn, accepted) = inbox.recv()?;
        let input = match accepted {
            true => Input::Accepted { worker, conn },
            false => Input::Refused { worker, conn },
        };
        // Two workers always accept, so nothing is ever parked, and the time does not matter.
        scheduler.handle_input(Mono::ZERO, input)?;
    }
    println!("{:?}", scheduler.stats());
    Ok(())
}
