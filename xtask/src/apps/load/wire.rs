//! A TCP connection and the bytes received on it.

use std::io::{self, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// A server that is silent for this long has lost a request.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a refusal of what was sent may take on loopback.
const REFUSAL: Duration = Duration::from_millis(50);

/// How often a waiting client checks whether it is over.
const SLICE: Duration = Duration::from_millis(50);

pub(super) struct Wire {
    stream: TcpStream,
    pub(super) buffer: Vec<u8>,
}

impl Wire {
    pub(super) fn connect(address: SocketAddrV4) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Sends bytes. An error shows when the response is read: the server may have answered and closed before
    /// it read everything.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Reads more.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] at the end.
    pub(super) fn fill(&mut self) -> io::Result<()> {
        let mut chunk = [0; 4096];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => {
                    self.buffer.extend_from_slice(&chunk[..length]);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the server closed the connection without having read what was sent last. Its kernel then
    /// refuses the data (RST); after an end without a refusal, the server had read the request.
    pub(super) fn was_not_read(&self, error: &io::Error) -> bool {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => true,
            io::ErrorKind::UnexpectedEof => {
                thread::sleep(REFUSAL);
                matches!(self.stream.take_error(), Ok(Some(_)))
            }
            _ => false,
        }
    }

    /// Waits for more bytes.
    ///
    /// # Errors
    /// At the end of the connection, or if `over` is set and nothing more has come.
    pub(super) fn wait(&mut self, over: &AtomicBool) -> io::Result<()> {
        self.stream.set_read_timeout(Some(SLICE))?;
        loop {
            // Loaded first, so that everything that came before it was set is read.
            let was_over = over.load(Ordering::Relaxed);
            match self.fill() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !was_over => {}
                outcome => return outcome,
            }
        }
    }
}
