//! Stops every process of its user that appears.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, getuid, kill_process};

use crate::Outcome;
use crate::asking::Asking;
use crate::channel::RawChannel;

/// How often it asks for a socket itself, meanwhile.
const LISTENS: usize = 3;

/// Begins when the file that is named exists.
pub(crate) fn stop_all(channel: RawChannel, begin: &str) -> Outcome {
    while !fs::exists(begin)? {
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut known: BTreeSet<i32> = processes().collect();
    println!("stops what comes");
    std::thread::spawn(move || {
        let own = getuid().as_raw();
        loop {
            for process in processes() {
                if !known.contains(&process) && user(process) == Some(own) {
                    let pid = Pid::from_raw(process);
                    if pid.is_some_and(|pid| kill_process(pid, Signal::STOP).is_ok()) {
                        known.insert(process);
                        println!("stopped {process}");
                    }
                }
            }
        }
    });
    let mut asking = Asking::new(channel)?;
    for _ in 0..LISTENS {
        // At an address of its own: it would get connections that are meant for the other.
        match asking.listen("udp:0")? {
            Ok(_) => println!("has a socket"),
            Err(errno) => println!("refused: {errno}"),
        }
    }
    println!("asked for sockets");
    asking.until_the_end()
}

fn processes() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Whose a process is. (Of one that cannot be traced the owner of its files is root.)
fn user(process: i32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().next()?.parse().ok()
}
