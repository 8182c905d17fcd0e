//! Writes to a descriptor that somebody else reads, without waiting for them.
//!
//! Whoever reads the cluster's output may stop reading; the primary must not stop for that, as every
//! connection passes through it. So what is to be written waits in a queue, of which a thread writes
//! as fast as it is read. What finds the queue full (1 MiB) is dropped, line by line, and when there
//! is room again a line in its place says how many were. Whoever cannot lose a line reads `--json`,
//! or has the workers' output go its own way (`--output inherit`); those are waited for.

use std::io;
use std::mem;
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Bytes that may wait.
const ROOM: usize = 1 << 20;

/// A queue of whole lines, and a thread that writes them.
pub(crate) struct Sink {
    queue: Mutex<Queue>,
    /// There is something to write.
    filled: Condvar,
    /// There is nothing to write.
    emptied: Condvar,
}

#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    /// Lines that found no room since it was last said.
    dropped: u64,
    /// The thread has taken something that is not written yet.
    writing: bool,
    /// Nobody will read any more.
    broken: bool,
}

impl Queue {
    fn is_idle(&self) -> bool {
        !self.writing && self.bytes.is_empty() && self.dropped == 0
    }
}

impl Sink {
    /// Starts the thread that writes to `to`.
    pub(crate) fn start(to: impl AsFd + Send + 'static) -> Arc<Self> {
        let sink = Arc::new(Self {
            queue: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
        });
        let theirs = Arc::clone(&sink);
        // It has no end of its own: what it writes to may never take any more.
        let thread = std::thread::Builder::new().name("log".into());
        if thread.spawn(move || theirs.write_to(&to)).is_err() {
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
        // While something was dropped that is not said yet, what comes after it waits its turn.
        if queue.dropped > 0 || queue.bytes.len() + line.len() > ROOM {
            queue.dropped += 1;
        } else {
            queue.bytes.extend_from_slice(line);
        }
        drop(queue);
        self.filled.notify_one();
    }

    /// Waits until all is written, but not longer than that; whether it is.
    pub(crate) fn finish(&self, patience: Duration) -> bool {
        let queue = self.lock();
        let busy = |queue: &mut Queue| !queue.broken && !queue.is_idle();
        let waited = self.emptied.wait_timeout_while(queue, patience, busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn write_to(&self, to: &impl AsFd) {
        loop {
            let mut queue = self.lock();
            while queue.bytes.is_empty() && queue.dropped == 0 {
                queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            let mut bytes = mem::take(&mut queue.bytes);
            // They came after all that is in the queue.
            let dropped = mem::take(&mut queue.dropped);
            queue.writing = true;
            drop(queue);
            if dropped > 0 {
                let lines = if dropped == 1 { "line was" } else { "lines were" };
                let notice = format!("cluster: warning: {dropped} {lines} dropped: nobody read\n");
                bytes.extend_from_slice(notice.as_bytes());
            }
            let written = write_all(to, &bytes);
            let mut queue = self.lock();
            queue.writing = false;
            if written.is_err() {
                *queue = Queue { broken: true, ..Queue::default() };
                self.emptied.notify_all();
                return;
            }
            if queue.is_idle() {
                self.emptied.notify_all();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes all of it, also where a worker that shares the descriptor made it one that does not block.
fn write_all(to: &impl AsFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(0) => return Err(Errno::IO),
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut writable = [PollFd::new(to, PollFlags::OUT)];
                match poll(&mut writable, None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error),
                }
            }
            Err(error) => return Err(error),
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
    use std::io::{BufRead, BufReader, Read};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_is_pushed_is_written_in_order() {
        let (mut read, write) = io::pipe().unwrap();
        let sink = Sink::start(write);
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
    fn nobody_waits_for_who_does_not_read_and_what_is_dropped_is_counted() {
        let (read, write) = io::pipe().unwrap();
        // As a worker's Node.js makes it.
        rustix::io::ioctl_fionbio(&write, true).unwrap();
        let sink = Sink::start(write);
        let line = [&[b'a'; 1023][..], b"\n"].concat();
        let pushed: u64 = 4096;
        for _ in 0..pushed {
            sink.push(&line);
        }
        assert!(!sink.finish(Duration::ZERO));
        let reader = std::thread::spawn(move || {
            let mut whole = 0;
            let mut dropped = 0;
            for line in BufReader::new(read).lines().map_while(Result::ok) {
                if line == "the end" {
                    break;
                }
                match line.strip_prefix("cluster: warning: ") {
                    Some(notice) => {
                        assert!(notice.ends_with(" dropped: nobody read"), "{notice}");
                        dropped += notice.split(' ').next().unwrap().parse::<u64>().unwrap();
                    }
                    None => {
                        assert_eq!(line.len(), 1023);
                        whole += 1;
                    }
                }
            }
            (whole, dropped)
        });
        assert!(sink.finish(LONG));
        sink.push(b"the end\n");
        let (whole, dropped) = reader.join().unwrap();
        assert_eq!(whole + dropped, pushed);
        assert!(whole >= 1024 && dropped > 1000, "{whole} {dropped}");
    }

    #[test]
    fn when_the_reader_is_gone_all_is_in_vain_and_nothing_waits() {
        let (read, write) = io::pipe().unwrap();
        let sink = Sink::start(write);
        drop(read);
        sink.push(b"to nobody\n");
        assert!(sink.finish(LONG));
        assert!(sink.lock().broken);
        for _ in 0..10_000 {
            sink.push(&[b'a'; 1024]);
        }
        assert!(sink.lock().bytes.is_empty());
    }
}
