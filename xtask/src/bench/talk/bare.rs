//! Two processes that do nothing but write and read: what the system itself takes for a message
//! there and back.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use serde_json::json;

use super::{SMALL, Stopwatch};
use crate::step;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long the measurement takes
    millis: u64,
    /// Be the other end, on descriptor 0
    #[arg(long)]
    echo: bool,
}

pub(crate) fn run(args: &Args) -> io::Result<ExitCode> {
    let time = Duration::from_millis(args.millis);
    if args.echo {
        return echo();
    }
    let (mut ours, theirs) = UnixStream::pair()?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["bench-talk-bare", "0", "--echo"])
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()?;
    there_and_back(&mut ours, time / 4)?; // warms up
    let rate = there_and_back(&mut ours, time)?;
    println!("{}", json!({ "small inTurn": rate }));
    drop(ours);
    child.wait()?;
    Ok(ExitCode::SUCCESS)
}

fn there_and_back(peer: &mut UnixStream, time: Duration) -> io::Result<f64> {
    let mut message = [b'x'; SMALL];
    let start = step::now();
    let (mut watch, mut n) = (Stopwatch::new(time, SMALL), 0);
    while !watch.is_over() {
        peer.write_all(&message)?;
        peer.read_exact(&mut message)?;
        n += 1;
    }
    Ok(f64::from(n) / start.elapsed().as_secs_f64())
}

fn echo() -> io::Result<ExitCode> {
    let mut peer = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut message = [0; SMALL];
    while peer.read_exact(&mut message).is_ok() {
        peer.write_all(&message)?;
    }
    Ok(ExitCode::SUCCESS)
}
