//! Questions to file systems, which may not answer.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// How long the loop waits for an answer.
const PATIENCE: Duration = Duration::from_millis(100);
/// So many threads may wait for file systems that do not answer; more questions are not asked then.
const MOST: usize = 4;

static WAITING: AtomicUsize = AtomicUsize::new(0);

/// The answer to a question about files, asked in a thread of its own; `None` if it does not come in
/// time: a network file system may be gone, and the loop must not wait for that.
pub(super) fn ask<T: Send + 'static>(question: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    if WAITING.fetch_add(1, Ordering::AcqRel) >= MOST {
        WAITING.fetch_sub(1, Ordering::AcqRel);
        return None;
    }
    let (sender, receiver) = mpsc::sync_channel(1);
    let thread = super::thread::spawn_without_signals("file system", move || {
        let answer = question();
        WAITING.fetch_sub(1, Ordering::AcqRel);
        // Too late, perhaps.
        let _ = sender.send(answer);
    });
    if thread.is_err() {
        WAITING.fetch_sub(1, Ordering::AcqRel);
        return None;
    }
    receiver.recv_timeout(PATIENCE).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};

    use super::*;

    #[test]
    fn what_does_not_answer_is_not_waited_for_and_not_asked_without_end() {
        assert_eq!(ask(|| 7), Some(7));
        let gate = Arc::new(Barrier::new(MOST + 1));
        for _ in 0..MOST {
            let gate = Arc::clone(&gate);
            assert_eq!(ask(move || gate.wait().is_leader()), None);
        }
        assert_eq!(ask(|| 7), None, "there are enough that wait");
        gate.wait();
        while WAITING.load(Ordering::Acquire) > 0 {
            std::thread::yield_now();
        }
        assert_eq!(ask(|| 7), Some(7));
    }
}
