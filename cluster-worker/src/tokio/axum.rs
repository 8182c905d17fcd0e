//! `axum::serve` takes these listeners (feature `axum`).
//!
//! Give it `with_graceful_shutdown(shutdown())`: without it serves forever, also when nothing comes any
//! more. Where handlers want the client's address, `listener.tap_io(|_| {})` is what
//! `into_make_service_with_connect_info::<SocketAddr>()` takes: axum implements `Connected` for its own listeners and for
//! those, and the implementation for another type would have to be in axum.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::serve;
use tokio::net::{TcpStream, UnixStream};

use super::listener::{TcpListener, UnixListener};
use crate::tracked::Tracked;

/// How long it is until the next attempt when there was no descriptor or memory for a connection.
const PAUSE: Duration = Duration::from_secs(1);

/// What to do about an attempt that failed: there is nothing to come once the worker is disconnected.
async fn pause(error: &io::Error) {
    match error.kind() {
        io::ErrorKind::NotConnected => std::future::pending().await,
        _ => tokio::time::sleep(PAUSE).await,
    }
}

impl serve::Listener for TcpListener {
    type Io = Tracked<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            match TcpListener::accept(self).await {
                Ok(accepted) => return accepted,
                Err(error) => pause(&error).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        TcpListener::local_addr(self)
    }
}

impl serve::Listener for UnixListener {
    type Io = Tracked<UnixStream>;
    /// The path of the listener: its clients have none.
    type Addr = PathBuf;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            match UnixListener::accept(self).await {
                Ok(stream) => return (stream, self.path()),
                Err(error) => pause(&error).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<PathBuf> {
        Ok(self.path())
    }
}
