//! Threads to which the system delivers no signals: those are for the program's own threads.

use std::io;
use std::thread::JoinHandle;

use nix::sys::signal::{SigSet, SigmaskHow, Signal};

/// Starts a thread with all signals blocked, except those that a fault of its own raises.
///
/// A signal to a process goes to any thread that does not block it. A program that holds its signals back while
/// it is [replaced](crate::upgrade) blocks them in its own threads, and would lose one that goes to another.
///
/// # Errors
/// If the system starts no thread.
pub fn spawn_without_signals<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let mut blocked = SigSet::all();
    for raised in [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGABRT]
    {
        blocked.remove(raised);
    }
    // A thread begins with the mask of the one that starts it.
    let before = blocked.thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(body);
    let _ = before.thread_set_mask();
    started
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn the_thread_blocks_signals_and_the_one_that_starts_it_does_not() {
        let before = SigSet::thread_get_mask().expect("it has one");
        let (sender, receiver) = mpsc::channel();
        let body = move || sender.send(SigSet::thread_get_mask()).expect("it is awaited");
        spawn_without_signals("quiet", body).expect("there is room");
        let mask = receiver.recv().expect("it runs").expect("it has one");
        assert!(mask.contains(Signal::SIGTERM) && mask.contains(Signal::SIGCHLD));
        assert!(!mask.contains(Signal::SIGSEGV));
        assert_eq!(SigSet::thread_get_mask().expect("it has one"), before);
    }
}
