//! Other processes, and ports for them.

use std::io::{self, Read};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::interrupt;
use crate::step;

/// How often it is looked whether a process has ended.
const PAUSE: Duration = Duration::from_millis(5);

/// A port that is free at the moment.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("0.0.0.0:0")?.local_addr()?.port())
}

/// What a program prints that ends by itself.
///
/// # Errors
/// If it does not succeed, or not in time; it is killed then.
pub(crate) fn printed(command: &mut Command, patience: Duration) -> io::Result<Vec<u8>> {
    /// Kills it, unless it has been waited for.
    struct Guard(Child);
    impl Drop for Guard {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = Guard(spawned.map_err(|error| step::not_started(command, &error))?);
    let mut stdout = child.0.stdout.take().expect("stdout is piped above");
    let reader = thread::spawn(move || {
        let mut text = Vec::new();
        stdout.read_to_end(&mut text).map(|_| text)
    });
    let deadline = step::now() + patience;
    let status = loop {
        interrupt::check()?;
        match child.0.try_wait()? {
            Some(status) => break status,
            None if step::now() > deadline => {
                return Err(io::Error::other(format!("it does not end in {patience:?}")));
            }
            None => thread::sleep(PAUSE),
        }
    };
    if !status.success() {
        return Err(io::Error::other(format!("it ended with {status}")));
    }
    reader.join().map_err(|_| io::Error::other("its output could not be read"))?
}

fn pid(id: u32) -> Option<Pid> {
    Pid::from_raw(id.try_into().ok()?)
}

/// Whether it runs. One that has ended and waits to be reaped by a stranger does not.
pub(crate) fn is_there(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    pid(id).is_some_and(|pid| test_kill_process(pid).is_ok()) && state != Some('Z')
}

pub(crate) fn signal(id: u32, signal: Signal) {
    if let Some(pid) = pid(id) {
        let _ = kill_process(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_prints_is_had_and_one_that_hangs_is_ended() {
        let shell = |script: &str, patience| {
            printed(Command::new("sh").args(["-c", script]), Duration::from_millis(patience))
        };
        assert_eq!(shell("echo a", 60_000).unwrap(), b"a\n");
        assert!(shell("exit 3", 60_000).unwrap_err().to_string().contains('3'));
        assert!(shell("exec sleep 600", 20).unwrap_err().to_string().contains("does not end"));
    }
}
