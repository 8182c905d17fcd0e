//! The server's thread: connections, within bounds.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
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
use super::hosts::Hosts;
use super::published::Published;

/// Connections at a time. When there are more the oldest is dropped: an honest client needs none for
/// long, and dishonest ones cannot keep the others out.
const MAX_CONNECTIONS: usize = 128;

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
    loop {
        tokio::select! {
            _ = end.wait_for(|end| *end) => break,
            Some(_over) = connections.join_next() => by_age.retain(|handle| !handle.is_finished()),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    if by_age.len() >= MAX_CONNECTIONS && let Some(oldest) = by_age.pop_front() {
                        oldest.abort();
                    }
                    let connection = connection(stream, shared.clone(), ending.clone());
                    by_age.push_back(connections.spawn(connection));
                }
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    shared.published.paused(error);
                    sleep(REST).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    Ok(())
}

/// Whether it only means that a client has gone.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, mut end: watch::Receiver<bool>) {
    // Without it answers are only slower.
    let _slower = stream.set_nodelay(true);
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
        // A client that breaks off, or talks nonsense, harms nobody.
        _over = connection.as_mut() => return,
        _ = end.wait_for(|end| *end) => {}
        () = sleep(LIFE) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _late = timeout(LAST_WORDS, connection).await;
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
