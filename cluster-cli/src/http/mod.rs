//! How a cluster is, over HTTP: for probes, for Prometheus, and for people with a browser.
//!
//! ```text
//!  client ──► thread: hyper ── asks ──► bell ──► the primary's loop
//!  client ◄── answer ◄──────── status ◄───────── publish(status)
//! ```
//!
//! The server has a thread of its own and shares nothing with the primary but one cell: a thread that asks
//! rings a bell, which is a descriptor in the primary's wait, and the loop answers within its turn
//! with the JSON that the control API's `status` returns. However slow, many or hostile clients are,
//! the loop writes one text for all clients that asked meanwhile, and waits for none of them. That it does answer
//! is what `/healthz` tells.
//!
//! The loop's part:
//!
//! ```text
//! let server = HttpServer::start(address.bind()?, allowed_hosts)?;
//! let bell = primary.watch(server.bell().as_raw_fd())?;
//! loop {
//!     if primary.take_ready(bell) && server.asked() {
//!         server.publish(status_as_json());
//!     }
//!     …
//! }
//! ```
//!
//! A state that has just changed may be published unasked as well.

mod answer;
mod metrics;
mod page;
mod published;
mod serve;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use cluster_primary::embed::spawn_without_signals;
use tokio::sync::watch;

use crate::config::{AllowedHost, Hosts};
use published::{Bell, Published};

/// The HTTP server of one primary.
pub(crate) struct HttpServer {
    /// The listening socket once more: it outlives the thread, to be handed on.
    listener: TcpListener,
    published: Arc<Published>,
    bell: Bell,
    end: watch::Sender<bool>,
    ended: mpsc::Receiver<()>,
}

impl HttpServer {
    /// Serves on that socket, in a thread of its own. Beside IP addresses and `localhost` the server
    /// answers to those names.
    ///
    /// # Errors
    /// If there are no descriptors, or no threads, for it.
    pub(crate) fn start(
        listener: TcpListener,
        names: impl IntoIterator<Item = AllowedHost>,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let theirs = listener.try_clone()?;
        let (published, bell) = published::cell()?;
        let published = Arc::new(published);
        let (end, ending) = watch::channel(false);
        let (over, ended) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared =
            Arc::new(serve::Shared { published: published.clone(), hosts: Hosts::new(names) });
        spawn_without_signals("http", move || {
            // A socket that cannot be served is like one that is not served: probes notice.
            let _ = runtime.block_on(serve::serve(theirs, shared, ending));
            drop(runtime);
            let _ = over.send(());
        })?;
        Ok(Self { listener, published, bell, end, ended })
    }

    /// How often accepting clients paused since the last call, because descriptors or memory ran out, and the
    /// system's last error.
    pub(crate) fn take_accept_pauses(&self) -> Option<(u64, io::Error)> {
        self.published.take_pauses()
    }

    /// Where it listens.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Readable when a client asks: [`asked`](Self::asked) is to be called then.
    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Whether a client has asked since the last call. What is [published](Self::publish) next is
    /// their answer.
    pub(crate) fn asked(&mut self) -> bool {
        self.published.take_asks(&mut self.bell)
    }

    /// Says how the cluster is: what the control API's `status` returns, as JSON.
    pub(crate) fn publish(&self, status: String) {
        self.published.publish(status);
    }

    /// Ends it: no more clients are taken, those that ask get what was published last, and as long
    /// as that the caller waits for them. The socket stays open, and the kernel queues clients
    /// there: for a successor to [start](Self::start) with.
    pub(crate) fn finish(self, patience: Duration) -> OwnedFd {
        self.published.close();
        let _ = self.end.send(true);
        let _ = self.ended.recv_timeout(patience);
        self.listener.into()
    }
}

/// The listening socket.
impl AsFd for HttpServer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}
