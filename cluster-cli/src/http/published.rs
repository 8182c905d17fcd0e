//! The cell between the primary's loop and the server's thread.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// How long the loop may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was published so lately is not asked for again: however often clients ask, the loop has
/// something else to do.
const FRESH: Duration = Duration::from_millis(20);

/// The cluster's status, as the primary published it.
pub(super) struct Published {
    asks: Mutex<Asks>,
    answer: watch::Sender<Answer>,
    /// How often accepting paused since the loop last asked, and why the last time.
    pauses: Mutex<Option<(u64, io::Error)>>,
}

/// The latest request and the latest answer, by number.
struct Asks {
    /// The last that asked.
    last: u64,
    /// The last of which the loop knows: what it says next is said to those up to here.
    taken: u64,
    rope: UnixStream,
}

#[derive(Clone, Default)]
struct Answer {
    /// The last that it is an answer for.
    to: u64,
    said: Option<(Arc<str>, Instant)>,
}

/// The loop's end, readable when a client asks.
pub(super) struct Bell(UnixStream);

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A cell of which nothing is known yet.
pub(super) fn cell() -> io::Result<(Published, Bell)> {
    let (bell, rope) = UnixStream::pair()?;
    bell.set_nonblocking(true)?;
    rope.set_nonblocking(true)?;
    let asks = Mutex::new(Asks { last: 0, taken: 0, rope });
    let (answer, _) = watch::channel(Answer::default());
    Ok((Published { asks, answer, pauses: Mutex::default() }, Bell(bell)))
}

impl Published {
    /// How the cluster is now, as the loop says it. None if it does not answer.
    pub(super) async fn fresh(&self) -> Option<Arc<str>> {
        if let Some((status, at)) = &self.answer.borrow().said
            && at.elapsed() < FRESH
        {
            return Some(status.clone());
        }
        let mut answers = self.answer.subscribe();
        let number = self.ask();
        let answered = timeout(PATIENCE, answers.wait_for(|answer| answer.to >= number)).await;
        let answer = answered.ok()?.ok()?;
        answer.said.as_ref().map(|(status, _)| status.clone())
    }

    /// Accepting clients pauses, for that reason: the loop is told.
    pub(super) fn paused(&self, error: io::Error) {
        let mut pauses = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        let before = pauses.take().map_or(0, |(count, _)| count);
        *pauses = Some((before + 1, error));
        drop(pauses);
        let mut asks = self.asks.lock().unwrap_or_else(PoisonError::into_inner);
        // A full pipe is readable already.
        let _ = asks.rope.write(&[1]);
    }

    /// The loop: how often accepting paused since it last asked, and why the last time.
    pub(super) fn take_pauses(&self) -> Option<(u64, io::Error)> {
        self.pauses.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn ask(&self) -> u64 {
        let mut asks = self.asks.lock().unwrap_or_else(PoisonError::into_inner);
        // Once is enough, until it is heard.
        if asks.last == asks.taken {
            // A full pipe is readable already.
            let _ = asks.rope.write(&[1]);
        }
        asks.last += 1;
        asks.last
    }

    /// The loop: whether a client asks. A client that asks later waits for the answer after the next.
    pub(super) fn take_asks(&self, bell: &mut Bell) -> bool {
        // The bell is silenced before the asks are taken: one that comes in between rings for
        // nothing, instead of not at all.
        let mut asks = self.asks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rings = [0; 64];
        while let Ok(1..) = bell.0.read(&mut rings) {}
        let any = asks.taken != asks.last;
        asks.taken = asks.last;
        any
    }

    /// The loop: how the cluster is.
    pub(super) fn publish(&self, status: String) {
        let taken = self.asks.lock().unwrap_or_else(PoisonError::into_inner).taken;
        let said = Some((status.into(), now()));
        self.answer.send_modify(|answer| {
            answer.to = answer.to.max(taken);
            answer.said = said;
        });
    }

    /// There will be no more answers than the last.
    pub(super) fn close(&self) {
        self.answer.send_modify(|answer| answer.to = u64::MAX);
    }
}

fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    }

    fn rings(bell: &Bell) -> bool {
        use rustix::event::{PollFd, PollFlags, poll};
        let mut fds = [PollFd::new(bell, PollFlags::IN)];
        poll(&mut fds, Some(&rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0
    }

    #[test]
    fn many_that_ask_get_one_answer() {
        let (cell, mut bell) = cell().unwrap();
        assert!(!cell.take_asks(&mut bell) && !rings(&bell));
        let numbers: Vec<_> = (0..1000).map(|_| cell.ask()).collect();
        assert!(rings(&bell));
        assert!(cell.take_asks(&mut bell));
        assert!(!rings(&bell) && !cell.take_asks(&mut bell));
        cell.publish("{}".into());
        assert_eq!(cell.answer.borrow().to, *numbers.last().unwrap());
    }

    #[test]
    fn who_asks_while_the_answer_is_written_waits_for_the_next() {
        let (cell, mut bell) = cell().unwrap();
        let early = cell.ask();
        assert!(cell.take_asks(&mut bell));
        let late = cell.ask();
        cell.publish("old".into());
        assert!(cell.answer.borrow().to >= early);
        assert!(cell.answer.borrow().to < late);
        assert!(rings(&bell));
        assert!(cell.take_asks(&mut bell));
        cell.publish("new".into());
        assert!(cell.answer.borrow().to >= late);
    }

    #[test]
    fn what_is_fresh_is_not_asked_for_again() {
        let (cell, mut bell) = cell().unwrap();
        cell.publish("unasked".into());
        runtime().block_on(async {
            // By then it may be stale already, on a machine that is busy; but not every time.
            for _ in 0..1000 {
                cell.publish("fresh".into());
                let fresh = cell.fresh();
                let Ok(status) = timeout(Duration::from_millis(5), fresh).await else { continue };
                assert_eq!(status.as_deref(), Some("fresh"));
                return;
            }
            panic!("it is never fresh");
        });
        cell.take_asks(&mut bell);
    }

    #[test]
    fn a_loop_that_does_not_answer_is_waited_for_in_vain() {
        let (cell, bell) = cell().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            // Two seconds by the test's own clock would do; by tokio's they are real.
            assert_eq!(cell.fresh().await, None);
        });
        assert!(rings(&bell));
    }

    #[test]
    fn at_the_end_all_clients_get_the_last_answer() {
        let (cell, _bell) = cell().unwrap();
        cell.close();
        assert_eq!(runtime().block_on(cell.fresh()), None);
        cell.publish("last".into());
        cell.close();
        assert_eq!(runtime().block_on(cell.fresh()).as_deref(), Some("last"));
    }
}
