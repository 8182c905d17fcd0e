//! Writes to a descriptor that another process reads, without waiting for it.
//!
//! The reader of the cluster's output may stop reading; the primary must not stop for that, as every
//! connection passes through it. So what is to be written waits in a queue, which a thread writes as fast
//! as the reader takes it. Lines that find the queue full (1 MiB) are dropped and counted; a line in their
//! place says how many, at most once a minute. Readers that cannot lose a line use `--json`,
//! or have the workers' output go its own way (`--output inherit`); those are waited for.
//!
//! If the system cannot take more (the disk is full), what waits is kept, and written once there is space.

use std::io::{self, IsTerminal};
use std::mem;
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cluster_primary::embed::spawn_without_signals;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tracing::warn;

/// Bytes that may wait.
const ROOM: usize = 1 << 20;

/// How long until it is tried again to write where that failed; and when all is to end.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_AT_THE_END: Duration = Duration::from_millis(50);

/// How long nothing is said of dropped lines, or of failed writes, once that was said.
pub(super) const AT_MOST_EVERY: Duration = Duration::from_secs(60);

/// What writes a line about lines that were dropped, its end included.
pub(super) type Notice = fn(&str) -> String;

/// A queue of whole lines, and a thread that writes them.
pub(crate) struct Sink {
    /// What it writes to, in words.
    name: &'static str,
    notice: Notice,
    queue: Mutex<Queue>,
    /// There is something to write, or it is to be finished.
    filled: Condvar,
    /// There is nothing to write.
    emptied: Condvar,
}

#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    /// Lines that found no room since it was last said.
    dropped: u64,
    /// Why it was full, if that was not the reader.
    failure: Option<Errno>,
    /// The thread has taken something that is not written yet.
    writing: bool,
    /// All is to be written now.
    finishing: bool,
    /// The reader has gone.
    broken: bool,
}

impl Queue {
    fn is_idle(&self) -> bool {
        !self.writing && self.bytes.is_empty() && self.dropped == 0
    }
}

impl Sink {
    /// Starts the thread that writes to `to`.
    pub(super) fn start(
        to: impl AsFd + Send + 'static,
        name: &'static str,
        notice: Notice,
    ) -> Arc<Self> {
        let sink = Arc::new(Self {
            name,
            notice,
            queue: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
        });
        let theirs = Arc::clone(&sink);
        // It has no end of its own: what it writes to may never take any more.
        if spawn_without_signals("log", move || theirs.write_to(&to)).is_err() {
            sink.lock().broken = true;
        }
        sink
    }

    /// Has a line written, its end included; or drops it.
    pub(crate) fn push(&self, line: &[u8]) {
        let mut queue = self.lock();
        if queue.broken {
            return;
        }
        if queue.bytes.len() + line.len() > ROOM {
            queue.dropped += 1;
        } else {
            queue.bytes.extend_from_slice(line);
        }
        drop(queue);
        self.filled.notify_one();
    }

    /// Waits until all is written, but not longer than that; whether it is.
    pub(crate) fn finish(&self, patience: Duration) -> bool {
        let mut queue = self.lock();
        queue.finishing = true;
        self.filled.notify_one();
        let busy = |queue: &mut Queue| !queue.broken && !queue.is_idle();
        let waited = self.emptied.wait_timeout_while(queue, patience, busy);
        let (mut queue, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.finishing = false;
        !waited.timed_out()
    }

    fn write_to(&self, to: &impl AsFd) {
        // When lines that were dropped may be spoken of, and failed writes.
        let (mut notice_at, mut failure_at) = (None, None);
        loop {
            let mut bytes = self.take(&mut notice_at);
            while !bytes.is_empty() {
                match write_all(to, &bytes) {
                    Ok(()) => bytes.clear(),
                    Err((written, error)) if may_pass(to, error) => {
                        bytes.drain(..written);
                        self.pause(error, &mut failure_at);
                    }
                    Err(_) => {
                        *self.lock() = Queue { broken: true, ..Queue::default() };
                        self.emptied.notify_all();
                        return;
                    }
                }
            }
            let mut queue = self.lock();
            queue.writing = false;
            if queue.is_idle() {
                self.emptied.notify_all();
            }
        }
    }

    /// Waits for something to write.
    fn take(&self, notice_at: &mut Option<Instant>) -> Vec<u8> {
        let mut queue = self.lock();
        let dropped = loop {
            let left = notice_at.map(|at| at.saturating_duration_since(now()));
            let left = left.filter(|left| !left.is_zero() && !queue.finishing);
            match (queue.dropped > 0, left) {
                (true, None) => break mem::take(&mut queue.dropped),
                _ if !queue.bytes.is_empty() => break 0,
                (true, Some(left)) => {
                    let waited = self.filled.wait_timeout(queue, left);
                    queue = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                (false, _) => {
                    queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
                }
            }
        };
        let mut bytes = mem::take(&mut queue.bytes);
        queue.writing = true;
        if dropped > 0 {
            let notice = (self.notice)(&lost(dropped, queue.failure.take()));
            bytes.extend_from_slice(notice.as_bytes());
            *notice_at = Some(now() + AT_MOST_EVERY);
        }
        bytes
    }

    /// Writing failed, and may succeed later.
    fn pause(&self, error: Errno, failure_at: &mut Option<Instant>) {
        if failure_at.is_none_or(|at| at <= now()) {
            *failure_at = Some(now() + AT_MOST_EVERY);
            // It may go to this very place: then it is written with the rest.
            warn!("cannot write to {}: {error}; retrying every second", self.name);
        }
        let mut queue = self.lock();
        queue.failure = Some(error);
        let pause = if queue.finishing { RETRY_AT_THE_END } else { RETRY };
        let until = now() + pause;
        let waits = |queue: &mut Queue| pause == RETRY_AT_THE_END || !queue.finishing;
        let left = until.saturating_duration_since(now());
        drop(self.filled.wait_timeout_while(queue, left, waits));
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::disallowed_methods, reason = "this thread is a driver")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// So many lines are lost.
pub(super) fn lost(lines: u64, failure: Option<Errno>) -> String {
    let were = if lines == 1 { "line was" } else { "lines were" };
    match failure {
        Some(error) => format!("{lines} {were} dropped: {error}"),
        None => format!("{lines} {were} dropped: nothing read them in time"),
    }
}

/// Whether it may be possible later to write there.
pub(super) fn may_pass(to: &impl AsFd, error: Errno) -> bool {
    match error {
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG | Errno::NOMEM | Errno::NOBUFS => true,
        // Of a terminal it says that there is none any more.
        Errno::IO => !to.as_fd().is_terminal(),
        _ => false,
    }
}

/// Writes all of it, also where a worker that shares the descriptor made it one that does not block.
/// If that fails, so much was written.
pub(super) fn write_all(to: &impl AsFd, bytes: &[u8]) -> Result<(), (usize, Errno)> {
    let mut written = 0;
    while written < bytes.len() {
        match rustix::io::write(to, &bytes[written..]) {
            Ok(0) => return Err((written, Errno::IO)),
            Ok(length) => written += length,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut writable = [PollFd::new(to, PollFlags::OUT)];
                match poll(&mut writable, None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err((written, error)),
                }
            }
            Err(error) => return Err((written, error)),
        }
    }
    Ok(())
}

/// Puts what is written at once into a sink, as one line.
pub(super) struct Writer(Arc<Sink>);

impl Writer {
    pub(super) fn new(sink: Arc<Sink>) -> Self {
        Self(sink)
    }
}

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{BufRead, BufReader, Read};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn start(to: impl AsFd + Send + 'static) -> Arc<Sink> {
        Sink::start(to, "a test", |what| format!("notice: {what}\n"))
    }

    #[test]
    fn what_is_pushed_is_written_in_order() {
        let (mut read, write) = io::pipe().unwrap();
        let sink = start(write);
        for number in 0..100 {
            sink.push(format!("line {number}\n").as_bytes());
        }
        assert!(sink.finish(LONG));
        let mut text = vec![0; "line 0\n".len() * 10 + "line 10\n".len() * 90];
        read.read_exact(&mut text).unwrap();
        let wanted: String = (0..100).map(|number| format!("line {number}\n")).collect();
        assert_eq!(String::from_utf8(text).unwrap(), wanted);
    }

    #[test]
    fn a_reader_that_does_not_read_is_not_waited_for_and_what_is_dropped_is_counted() {
        let (read, write) = io::pipe().unwrap();
        // As a worker's Node.js makes it.
        rustix::io::ioctl_fionbio(&write, true).unwrap();
        let sink = start(write);
        let line = [&[b'a'; 1023][..], b"\n"].concat();
        let flood = || (0..4096).for_each(|_| sink.push(&line));
        flood();
        assert!(!sink.finish(Duration::ZERO));
        let reader = std::thread::spawn(move || {
            let (mut whole, mut dropped, mut notices) = (0, 0, 0);
            for line in BufReader::new(read).lines().map_while(Result::ok) {
                if line == "the end" {
                    break;
                }
                match line.strip_prefix("notice: ") {
                    Some(notice) => {
                        let why = " lines were dropped: nothing read them in time";
                        let count = notice.strip_suffix(why).expect(notice);
                        dropped += count.parse::<u64>().unwrap();
                        notices += 1;
                    }
                    None => {
                        assert_eq!(line.len(), 1023);
                        whole += 1;
                    }
                }
            }
            (whole, dropped, notices)
        });
        assert!(sink.finish(LONG));
        // What is dropped soon after that is counted, and told at the end.
        flood();
        assert!(sink.finish(LONG));
        sink.push(b"the end\n");
        let (whole, dropped, notices) = reader.join().unwrap();
        assert_eq!(whole + dropped, 2 * 4096);
        assert!(whole >= 1024 && dropped > 1000, "{whole} {dropped}");
        assert!((1..=3).contains(&notices), "{notices}");
    }

    #[test]
    fn when_the_reader_is_gone_all_is_in_vain_and_nothing_waits() {
        let (read, write) = io::pipe().unwrap();
        let sink = start(write);
        drop(read);
        sink.push(b"to no reader\n");
        assert!(sink.finish(LONG));
        assert!(sink.lock().broken);
        for _ in 0..10_000 {
            sink.push(&[b'a'; 1024]);
        }
        assert!(sink.lock().bytes.is_empty());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_does_not_break_it() {
        let sink = start(File::options().write(true).open("/dev/full").unwrap());
        sink.push(b"no space\n");
        assert!(!sink.finish(Duration::from_millis(1)));
        assert!(!sink.lock().broken);
        let line = [b'a'; 1024];
        (0..2 * ROOM / line.len()).for_each(|_| sink.push(&line));
        let queue = sink.lock();
        assert!(queue.dropped > 0 && queue.bytes.len() <= ROOM);
    }
}
