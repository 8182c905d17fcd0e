//! The server's thread: connections, within bounds.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::answer::{self, Answer, Asked};
use super::published::Published;
use crate::config::Hosts;

/// Connections at a time. When there are more the oldest is dropped: an honest client needs none for
/// long, and dishonest ones cannot keep the others out.
const MAX_CONNECTIONS: usize = 128;
const FEWEST_CONNECTIONS: usize = 8;

/// How long a client may take to send a request's head, and to send another one.
const HEAD: Duration = Duration::from_secs(10);

/// How large a request's head may be, in bytes, and how many headers it may have.
const MAX_HEAD: usize = 16 << 10;
const MAX_HEADERS: usize = 64;

/// How long a connection may be used.
const LIFE: Duration = Duration::from_secs(300);

/// How long an answer that is under way may take once a connection has to end.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How long it rests when there are no descriptors for clients.
const REST: Duration = Duration::from_millis(100);

/// What connections share.
pub(super) struct Shared {
    pub(super) published: Arc<Published>,
    pub(super) hosts: Hosts,
}

/// Serves until it is told to end.
pub(super) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut end: watch::Receiver<bool>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let ending = end.clone();
    let mut connections = JoinSet::new();
    let mut by_age: VecDeque<AbortHandle> = VecDeque::new();
    let most = most_connections();
    let mut spare = Spare::default();
    spare.put_back(None);
    loop {
        tokio::select! {
            _ = end.wait_for(|end| *end) => break,
            Some(over) = connections.join_next() => {
                by_age.retain(|handle| !handle.is_finished());
                spare.put_back(over.ok().flatten());
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    if by_age.len() >= most && let Some(oldest) = by_age.pop_front() {
                        oldest.abort();
                    }
                    let shared = shared.clone();
                    by_age.push_back(if spare.is_given() {
                        connections.spawn(connection_with_spare(stream, shared))
                    } else {
                        let connection = connection(stream, shared, ending.clone());
                        connections.spawn(async {
                            connection.await;
                            None
                        })
                    });
                }
                Err(error) if is_the_clients(&error) => {}
                // Of all times now is when probes have to hear how it is.
                Err(_) if spare.give() => {}
                Err(error) => {
                    shared.published.paused(error);
                    sleep(REST).await;
                    spare.put_back(None);
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    Ok(())
}

/// How many connections there may be at a time: few where the process may have few descriptors.
fn most_connections() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let share =
        limit.map_or(MAX_CONNECTIONS, |limit| usize::try_from(limit / 16).unwrap_or(usize::MAX));
    share.clamp(FEWEST_CONNECTIONS, MAX_CONNECTIONS)
}

/// A descriptor that is given up for a client where the process has no other left.
#[derive(Default)]
struct Spare(Option<OwnedFd>);

impl Spare {
    /// Puts it back, or takes another one if there is none and one can be had.
    fn put_back(&mut self, spare: Option<OwnedFd>) {
        if self.0.is_none() {
            self.0 = spare.or_else(|| File::open("/dev/null").ok().map(OwnedFd::from));
        }
    }

    fn is_given(&self) -> bool {
        self.0.is_none()
    }

    /// Gives it up; whether there was one.
    fn give(&mut self) -> bool {
        self.0.take().is_some()
    }
}

/// Whether it only means that a client has gone.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, mut end: watch::Receiver<bool>) {
    // Without it answers are only slower.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(answer(&request, &shared).await.into_response()) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        // A client that breaks off, or sends nonsense, affects no other client.
        _over = connection.as_mut() => return,
        _ = end.wait_for(|end| *end) => {}
        () = sleep(LIFE) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(LAST_WORDS, connection).await;
}

/// A connection that has taken the spare descriptor: one answer, and the descriptor comes back. It is free at no
/// time, as others in this process wait for one.
async fn connection_with_spare(stream: TcpStream, shared: Arc<Shared>) -> Option<OwnedFd> {
    let service = service_fn(|request| {
        let shared = shared.clone();
        Box::pin(
            async move { Ok::<_, Infallible>(answer(&request, &shared).await.into_response()) },
        )
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .header_read_timeout(HEAD)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let served = poll_fn(|context| connection.poll_without_shutdown(context));
    let _ = timeout(HEAD + LAST_WORDS, served).await;
    let mut taken = OwnedFd::from(connection.into_parts().io.into_inner().into_std().ok()?);
    let _ = rustix::net::shutdown(&taken, rustix::net::Shutdown::Both);
    // Any open file will do, and standard error is one that stays.
    replace(&mut taken, io::stderr().as_fd()).ok()?;
    Some(taken)
}

/// Closes what `taken` is, and makes it another name of `other` in the same moment.
fn replace(taken: &mut OwnedFd, other: BorrowedFd<'_>) -> rustix::io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        rustix::io::dup3(other, taken, rustix::io::DupFlags::CLOEXEC)
    }
    #[cfg(not(target_os = "linux"))]
    {
        rustix::io::dup2(other, taken)?;
        rustix::io::fcntl_setfd(taken, rustix::io::FdFlags::CLOEXEC)
    }
}

async fn answer(request: &Request<Incoming>, shared: &Shared) -> Answer {
    let may_be_silent = request.version() == Version::HTTP_10;
    if let Err(stranger) = shared.hosts.check(request.uri(), request.headers(), may_be_silent) {
        return Answer::stranger(stranger);
    }
    match answer::asked(request.method(), request.uri().path()) {
        Ok(Asked::Page) => Answer::page(),
        Ok(Asked::Status(view)) => {
            let status = shared.published.fresh().await;
            answer::told(view, status.as_deref())
        }
        Err(refused) => refused,
    }
}
