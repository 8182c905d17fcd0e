//! Workers' standard output and errors, where the primary reads them.

use std::io;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;

use mio::Interest;
use mio::unix::SourceFd;

use super::base::Primary;
use super::tokens::Source;
use crate::id::WorkerId;
use crate::machine::Input;

/// Bytes read from one pipe before the other sources get a turn.
pub(super) const PIPE_CHUNK: usize = 64 << 10;

/// Chunks read from each pipe of a worker that has ended: a pipe can be made to hold a
/// megabyte, and another process that inherited it may write without end.
pub(super) const LAST_CHUNKS: usize = 16;

impl Primary {
    /// Takes the primary's end of a worker's pipe.
    pub(super) fn add_pipe(&mut self, worker: WorkerId, fd: u32, pipe: OwnedFd) -> io::Result<()> {
        // Nothing is written to descriptor 0; the primary keeps its end open so that the worker reads no end of file.
        if fd != 0 {
            let source = Source::Pipe(worker, fd);
            let token = self.tokens.token(source);
            let interest = Interest::READABLE;
            self.registry().register(&mut SourceFd(&pipe.as_raw_fd()), token, interest)?;
            self.pending.insert(source);
        }
        if let Some(child) = self.child_mut(worker) {
            child.pipes.insert(fd, pipe.into());
        }
        Ok(())
    }

    /// Reads from a worker's pipe. Returns whether there may be more.
    pub(super) fn read_pipe(&mut self, worker: WorkerId, fd: u32) -> bool {
        let child = self.children.get_mut(&worker);
        let pipe = child.and_then(|c| c.pipes.get_mut(&fd));
        let pipe = pipe.or_else(|| self.trees.pipe(worker, fd));
        let Some(pipe) = pipe.filter(|_| fd != 0) else { return false };
        let mut data = vec![0; PIPE_CHUNK];
        match pipe.read(&mut data) {
            Ok(0) => {
                self.close_pipe(worker, fd);
                false
            }
            Ok(length) => {
                data.truncate(length);
                self.tell(Input::Stdio { worker, fd, data });
                true
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
            Err(_) => {
                self.close_pipe(worker, fd);
                false
            }
        }
    }

    /// Reads what is left in the pipe of a worker that has ended, up to a limit.
    pub(super) fn read_last(&mut self, worker: WorkerId, fd: u32) {
        let mut chunks = LAST_CHUNKS;
        while chunks > 0 && self.read_pipe(worker, fd) {
            chunks -= 1;
        }
        // More may come if another process still writes to it.
        self.pending.insert(Source::Pipe(worker, fd));
    }

    pub(super) fn close_pipe(&mut self, worker: WorkerId, fd: u32) {
        let pipe = self.child_mut(worker).and_then(|c| c.pipes.remove(&fd));
        if let Some(pipe) = pipe.or_else(|| self.trees.take_pipe(worker, fd)) {
            let _ = self.registry().deregister(&mut SourceFd(&pipe.as_raw_fd()));
            self.tokens.forget(Source::Pipe(worker, fd));
        }
    }
}
