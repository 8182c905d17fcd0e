//! The front-end for tokio against a primary in the same process.

#[path = "support/primary.rs"]
#[expect(dead_code, reason = "the blocking tests use the rest")]
mod primary;

use std::future::Future;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use cluster_proto::{ClusterBody, Exchange, Message, NoAnswer, SocketList, Value};
use cluster_worker::tokio::{TcpListener, Worker};
use cluster_worker::{ListenOptions, Options, Pressure, RecvError, RequestError};
use futures_util::{SinkExt, StreamExt};
use primary::{LIMIT, Primary};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn start() -> (Primary, Worker) {
    let (primary, fd) = Primary::new();
    (primary, Options::new().exit_when_orphaned(false).tokio(1, fd).unwrap())
}

fn start_waiting(first_word: Duration) -> (Primary, Worker) {
    let (primary, fd) = Primary::new();
    let options = Options::new().exit_when_orphaned(false).first_word(first_word);
    (primary, options.tokio(1, fd).unwrap())
}

/// What hangs fails.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("in time")
}

/// Has the primary do something that waits, while the worker goes on.
async fn meanwhile<T: Send + 'static>(
    mut primary: Primary,
    act: impl FnOnce(&mut Primary) -> T + Send + 'static,
) -> (Primary, T) {
    let acted = tokio::task::spawn_blocking(move || {
        let result = act(&mut primary);
        (primary, result)
    });
    acted.await.unwrap()
}

/// A listener of the primary's that hands over.
async fn listen(
    primary: Primary,
    worker: &Worker,
) -> (Primary, cluster_worker::tokio::UnixListener) {
    let opening = tokio::spawn({
        let worker = worker.clone();
        async move { worker.listen_unix("/key").await }
    });
    let (primary, ()) = meanwhile(primary, |primary| primary.open("key")).await;
    (primary, soon(opening).await.unwrap().unwrap())
}

/// One that the primary lends.
async fn lend(
    primary: Primary,
    worker: &Worker,
    options: ListenOptions,
) -> (Primary, TcpListener, SocketAddr) {
    let lent = StdListener::bind("127.0.0.1:0").unwrap();
    lend_that(primary, worker, options, lent).await
}

async fn lend_that(
    primary: Primary,
    worker: &Worker,
    options: ListenOptions,
    lent: StdListener,
) -> (Primary, TcpListener, SocketAddr) {
    let address = lent.local_addr().unwrap();
    let opening = tokio::spawn({
        let worker = worker.clone();
        async move { worker.listen(options).await }
    });
    let (primary, ()) = meanwhile(primary, move |primary| {
        primary.lend("key", OwnedFd::from(lent));
        assert!(matches!(primary.recv_cluster().body, ClusterBody::Listening(_)));
    })
    .await;
    (primary, soon(opening).await.unwrap().unwrap(), address)
}

#[tokio::test]
async fn connections_that_are_handed_over_are_accepted_and_read_and_written() {
    let (primary, worker) = start();
    let (primary, listener) = listen(primary, &worker).await;
    let (primary, (mut client, seq)) = meanwhile(primary, |primary| primary.connect("key")).await;
    let mut stream = soon(listener.accept()).await.unwrap();
    let (_primary, answer) = meanwhile(primary, Primary::recv_cluster).await;
    assert_eq!((answer.ack, answer.body), (Some(seq), ClusterBody::Accepted(true)));
    client.write_all(b"ping").unwrap();
    let mut said = [0; 4];
    soon(stream.read_exact(&mut said)).await.unwrap();
    stream.write_all(b"pong").await.unwrap();
    client.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"pong");
}

#[tokio::test]
async fn a_lent_listener_is_waited_for_by_the_runtime() {
    let (primary, worker) = start();
    let (_primary, listener, address) = lend(primary, &worker, "127.0.0.1:0".into()).await;
    assert_eq!(listener.local_addr().unwrap(), address);
    for _ in 0..3 {
        // One that comes while a task waits, and two that come before.
        let (accepted, client) =
            tokio::join!(soon(listener.accept()), tokio::net::TcpStream::connect(address));
        let (client, (mut stream, peer)) = (client.unwrap(), accepted.unwrap());
        assert_eq!(peer, client.local_addr().unwrap());
        let two = [(); 2].map(|()| StdStream::connect(address).unwrap());
        for client in &two {
            let (_stream, peer) = soon(listener.accept()).await.unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
        }
        stream.write_all(b"x").await.unwrap();
    }
}

/// Of several tasks each accepts, and one that is dropped takes none along.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_accept_and_give_up() {
    let (primary, worker) = start();
    let (_primary, listener, address) = lend(primary, &worker, "127.0.0.1:0".into()).await;
    let listener = std::sync::Arc::new(listener);
    let clients = thread::spawn(move || {
        let ask = |_| {
            let mut stream = StdStream::connect(address).unwrap();
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            let mut said = String::new();
            stream.read_to_string(&mut said).unwrap();
            said
        };
        (0..400).map(ask).collect::<Vec<_>>()
    });
    let tasks = (0..4).map(|nth| {
        let listener = std::sync::Arc::clone(&listener);
        tokio::spawn(async move {
            loop {
                // A moment, by turns none at all.
                let patience = std::time::Duration::from_micros(nth * 50);
                let Ok(accepted) = tokio::time::timeout(patience, listener.accept()).await else {
                    tokio::task::yield_now().await;
                    continue;
                };
                accepted.unwrap().0.write_all(b"served").await.unwrap();
            }
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let served = tokio::task::spawn_blocking(move || clients.join().unwrap()).await.unwrap();
    assert!(served.iter().all(|said| said == "served"));
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn who_has_as_many_connections_as_it_may_accepts_when_one_ends() {
    let (primary, worker) = start();
    let options = ListenOptions::from("127.0.0.1:0").max_connections(1);
    let (_primary, listener, address) = lend(primary, &worker, options).await;
    let _clients = [(); 2].map(|()| StdStream::connect(address).unwrap());
    let (first, _) = soon(listener.accept()).await.unwrap();
    let mut second = pin!(listener.accept());
    let pending = |poll: Poll<_>| assert!(poll.is_pending());
    for _ in 0..3 {
        pending(second.as_mut().poll(&mut Context::from_waker(Waker::noop())));
        tokio::task::yield_now().await;
    }
    drop(first);
    soon(second).await.unwrap();
}

#[tokio::test]
async fn a_disconnect_waits_for_tracked_connections_and_ends_accept() {
    let (primary, worker) = start();
    let (primary, listener) = listen(primary, &worker).await;
    let (primary, _client) = meanwhile(primary, |primary| primary.connect("key")).await;
    let stream = soon(listener.accept()).await.unwrap();
    let goes = tokio::spawn({
        let worker = worker.clone();
        async move { worker.shutdown().await }
    });
    let accepting = tokio::spawn(async move { listener.accept().await.map(drop) });
    let (primary, ()) = meanwhile(primary, |primary| {
        assert!(matches!(primary.recv_cluster().body, ClusterBody::Accepted(true)));
        primary.send_internal(None, ClusterBody::Disconnect);
    })
    .await;
    soon(goes).await.unwrap();
    assert!(worker.is_connected() && !accepting.is_finished(), "a connection is open");
    drop(stream);
    let hangs_up = meanwhile(primary, |primary| {
        assert!(matches!(primary.recv_cluster().body, ClusterBody::Close { .. }));
        assert!(primary.recv().is_none(), "it hangs up");
    });
    tokio::join!(soon(worker.disconnected()), soon(hangs_up));
    let error = soon(accepting).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
    assert_eq!(worker.exited_after_disconnect(), Some(true));
}

/// What others accept meanwhile is not waited for forever.
#[tokio::test]
async fn who_was_full_waits_again_for_what_comes() {
    let (primary, worker) = start();
    let lent = StdListener::bind("127.0.0.1:0").unwrap();
    lent.set_nonblocking(true).unwrap();
    let other = lent.try_clone().unwrap();
    let options = ListenOptions::from("127.0.0.1:0").max_connections(1);
    let (_primary, listener, address) = lend_that(primary, &worker, options, lent).await;
    let _clients = [(); 2].map(|()| StdStream::connect(address).unwrap());
    let (first, _) = soon(listener.accept()).await.unwrap();
    let mut second = pin!(listener.accept());
    for _ in 0..3 {
        let polled = second.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending(), "it has one");
        tokio::task::yield_now().await;
    }
    // Another worker takes what waits, then there is room here, and then a client comes.
    drop(other.accept().unwrap());
    let accepts = async {
        let accepted = soon(second).await;
        drop(accepted.unwrap());
    };
    let comes = async {
        drop(first);
        tokio::task::yield_now().await;
        tokio::net::TcpStream::connect(address).await.unwrap()
    };
    let ((), _client) = tokio::join!(accepts, comes);
}

/// Of its own will it tells the primary, which acknowledges it.
#[tokio::test]
async fn a_worker_leaves_of_its_own_will() {
    let (primary, worker) = start();
    let told = meanwhile(primary, |primary| {
        assert_eq!(primary.recv_cluster().body, ClusterBody::Online);
        let goes = primary.recv_cluster();
        assert_eq!(goes.body, ClusterBody::ExitedAfterDisconnect);
        primary.send_internal(Some(goes.seq), ClusterBody::Ack);
        assert!(primary.recv().is_none(), "it hangs up");
    });
    tokio::join!(soon(worker.disconnect()), soon(told), soon(worker.shutdown()));
    assert_eq!(worker.exited_after_disconnect(), Some(true));
}

/// While connections are finished no client can connect any more, and nothing spins.
#[tokio::test]
async fn a_disconnect_closes_a_lent_listener_at_once() {
    let (primary, worker) = start();
    let (primary, listener, address) = lend(primary, &worker, "127.0.0.1:0".into()).await;
    let _client = StdStream::connect(address).unwrap();
    let (stream, _) = soon(listener.accept()).await.unwrap();
    let accepting = tokio::spawn(async move { listener.accept().await.map(drop) });
    let (primary, ()) = meanwhile(primary, |primary| {
        primary.send_internal(None, ClusterBody::Disconnect);
    })
    .await;
    soon(worker.shutdown()).await;
    let refused = async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    soon(refused).await;
    assert!(!accepting.is_finished(), "a connection is open");
    drop(stream);
    let hangs_up = meanwhile(primary, |primary| {
        assert!(matches!(primary.recv_cluster().body, ClusterBody::Close { .. }));
        assert!(primary.recv().is_none(), "it hangs up");
    });
    tokio::join!(soon(worker.disconnected()), soon(hangs_up));
    assert!(soon(accepting).await.unwrap().is_err());
}

#[tokio::test]
async fn messages_come_as_a_stream_and_go_by_a_sink() {
    let (primary, worker) = start();
    let mut messages = worker.messages();
    let (primary, ()) = meanwhile(primary, |primary| {
        // As many as a socket holds, for nothing is flushed here later.
        for n in 0..200 {
            primary.send_user(n);
        }
    })
    .await;
    for n in 0..200u64 {
        let received = soon(messages.next()).await.unwrap().unwrap();
        assert_eq!(received.message.as_u64(), Some(n));
    }
    // More than a channel holds, so that the sink has to wait.
    let text = "x".repeat(100);
    let reads = meanwhile(primary, |primary| {
        assert_eq!(primary.recv_cluster().body, ClusterBody::Online);
        (0..20_000).all(|_| primary.recv().is_some())
    });
    let sends = async {
        let mut sender = worker.sender();
        for _ in 0..20_000 {
            sender.feed(text.as_str()).await.unwrap();
        }
        SinkExt::<&str>::flush(&mut sender).await.unwrap();
    };
    let ((primary, all), ()) = tokio::join!(soon(reads), soon(sends));
    assert!(all);
    // The stream ends with the channel.
    drop(primary);
    assert!(soon(messages.next()).await.is_none());
    assert_eq!(worker.exited_after_disconnect(), Some(false));
}

#[tokio::test]
async fn a_flush_that_writes_at_once_is_done_at_once() {
    let (primary, worker) = start();
    let mut sender = worker.sender();
    soon(sender.send("by the sink")).await.unwrap();
    soon(sender.feed("by another's flush")).await.unwrap();
    soon(worker.flush()).await;
    let (_primary, ()) = meanwhile(primary, |primary| {
        assert_eq!(primary.recv_cluster().body, ClusterBody::Online);
        for said in ["by the sink", "by another's flush"] {
            assert_eq!(primary.recv(), Some(Message::User(said.into())));
        }
    })
    .await;
}

#[tokio::test]
async fn who_sends_too_much_is_told_and_can_wait() {
    let (primary, worker) = start();
    let text = "x".repeat(1000);
    let mut sent = 1;
    while worker.send(text.as_str()).unwrap() != Pressure::High {
        sent += 1;
    }
    let reads = meanwhile(primary, move |primary| {
        assert_eq!(primary.recv_cluster().body, ClusterBody::Online);
        (0..sent).all(|_| primary.recv().is_some())
    });
    let ((_primary, all), ()) = tokio::join!(soon(reads), soon(worker.flush()));
    assert!(all);
}

#[tokio::test]
async fn a_listen_that_is_refused_is_an_error_and_one_that_is_dropped_is_closed() {
    let (primary, worker) = start();
    let refused = tokio::spawn({
        let worker = worker.clone();
        async move { worker.listen("127.0.0.1:1").await.map(drop) }
    });
    let (primary, ()) = meanwhile(primary, |primary| primary.refuse_listen(98)).await;
    assert_eq!(soon(refused).await.unwrap().unwrap_err().errno(), Some(98));
    // No task waits for the answer any more: the server is closed when it comes.
    drop(tokio::time::timeout(std::time::Duration::ZERO, worker.listen_unix("/key")).await);
    let (_primary, closes) = meanwhile(primary, |primary| {
        primary.answer_listen("key");
        std::iter::repeat_with(|| primary.recv_cluster().body)
            .find(|body| !matches!(body, ClusterBody::Listening(_)))
    })
    .await;
    assert!(matches!(closes, Some(ClusterBody::Close { .. })), "{closes:?}");
}

#[tokio::test]
async fn without_a_primary_a_listener_is_one_as_any_other() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut client = StdStream::connect(address).unwrap();
    let (mut stream, peer) = soon(listener.accept()).await.unwrap();
    assert_eq!(peer, client.local_addr().unwrap());
    stream.write_all(b"alone").await.unwrap();
    drop(stream);
    let mut said = String::new();
    client.read_to_string(&mut said).unwrap();
    assert_eq!(said, "alone");
    assert!(cluster_worker::tokio::worker().unwrap().is_none());
    cluster_worker::tokio::disconnect().await;
}

/// The primary's next request, or what the worker answers to one.
fn exchanged(primary: &mut Primary) -> Exchange {
    loop {
        match primary.recv() {
            Some(Message::User(value)) => return Exchange::of(value),
            Some(Message::Cluster(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn requests_are_awaited_and_one_that_is_given_up_is_forgotten() {
    let (primary, worker) = start();
    let given_up = worker.request::<u8>("never mind", LIMIT);
    tokio::time::timeout(Duration::from_millis(10), given_up).await.expect_err("no answer comes");
    let overdue = worker.request::<u8>("is there an answer?", Duration::from_millis(10)).await;
    assert!(matches!(overdue, Err(RequestError::NoAnswer(NoAnswer::TimedOut { .. }))));
    let asking = tokio::spawn({
        let worker = worker.clone();
        async move { worker.request::<(u8, String)>(&("name of", 7), LIMIT).await }
    });
    let (primary, ()) = meanwhile(primary, |primary| {
        let mut bodies = Vec::new();
        for _ in 0..3 {
            let Exchange::Request { id, body } = exchanged(primary) else { panic!("it asks") };
            bodies.push(body.clone());
            let answer = Ok(Value::encode(&(7, "Ada")).unwrap());
            primary.send_user(Exchange::Response { id, answer }.into_message());
        }
        assert_eq!(bodies[2][0].as_str(), Some("name of"));
        primary.send_user(Exchange::Request { id: 5, body: "you?".into() }.into_message());
    })
    .await;
    assert_eq!(soon(asking).await.unwrap().unwrap(), (7, "Ada".into()));
    // What comes too late is no message either: this is the next.
    let received = soon(worker.recv()).await.unwrap().unwrap();
    assert_eq!(received.decode::<String>().unwrap(), "you?");
    received.request.expect("it asks").answer(Some("me")).unwrap();
    let (primary, said) = meanwhile(primary, exchanged).await;
    assert_eq!(said, Exchange::Response { id: 5, answer: Ok("me".into()) });
    let asking = tokio::spawn(async move { worker.request::<u8>("last", LIMIT).await });
    meanwhile(primary, |primary| drop(exchanged(primary))).await;
    let lost = soon(asking).await.unwrap();
    assert!(matches!(lost, Err(RequestError::NoAnswer(NoAnswer::Disconnected))), "{lost:?}");
}

#[tokio::test]
async fn types_are_sent_and_received() {
    let (mut primary, worker) = start();
    worker.sender().send(&("typed", 1)).await.unwrap();
    assert_eq!(exchanged(&mut primary), Exchange::Message(Value::encode(&("typed", 1)).unwrap()));
    primary.send_user("text");
    primary.send_user(8);
    assert!(matches!(soon(worker.recv_as::<u8>()).await, Err(RecvError::Type { .. })));
    assert_eq!(soon(worker.recv_as::<u8>()).await.unwrap(), Some(8));
}

#[tokio::test]
async fn a_shutdown_waits_for_the_first_word_of_who_has_connected() {
    let (primary, worker) = start_waiting(LIMIT);
    let (primary, listener) = listen(primary, &worker).await;
    let (primary, (mut client, _)) = meanwhile(primary, |primary| primary.connect("key")).await;
    let mut stream = soon(listener.accept()).await.unwrap();
    worker.start_disconnect();
    let mut shutdown = Box::pin(worker.shutdown());
    let mut waits = || shutdown.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending();
    assert!(waits(), "the client has said nothing");
    client.write_all(b"ping").unwrap();
    soon(stream.read_exact(&mut [0; 4])).await.unwrap();
    assert!(waits(), "and nothing was answered");
    stream.write_all(b"pong").await.unwrap();
    soon(shutdown).await;
    // The connection is open still: what is under way is the server's affair.
    client.write_all(b"more").unwrap();
    soon(stream.read_exact(&mut [0; 4])).await.unwrap();
    drop(primary);
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_ever_for_who_says_nothing() {
    let (primary, worker) = start_waiting(Duration::from_millis(50));
    let (primary, listener) = listen(primary, &worker).await;
    let (_primary, (_client, _)) = meanwhile(primary, |primary| primary.connect("key")).await;
    let _stream = soon(listener.accept()).await.unwrap();
    worker.start_disconnect();
    // Also of a task that waits again each time.
    soon(async {
        while tokio::time::timeout(Duration::from_millis(10), worker.shutdown()).await.is_err() {}
    })
    .await;
}

#[tokio::test]
async fn counts_of_connections_that_were_sent_away_are_awaited() {
    let (primary, worker) = start();
    let counting = tokio::spawn({
        let worker = worker.clone();
        async move { (worker.count_sockets("key").await, worker.await_sockets("key").await) }
    });
    let (primary, ()) = meanwhile(primary, |primary| {
        let said = |primary: &mut Primary| loop {
            if let Some(Message::SocketList(said)) = primary.recv() {
                return said;
            }
        };
        let key = || "key".to_owned();
        assert_eq!(said(primary), SocketList::GetCount { key: key() });
        let count = Message::SocketList(SocketList::Count { key: key(), count: 3 });
        primary.channel.send(&count, None).unwrap();
        primary.channel.flush().unwrap();
        assert_eq!(said(primary), SocketList::NotifyClose { key: key() });
        let closed = Message::SocketList(SocketList::AllClosed { key: key() });
        primary.channel.send(&closed, None).unwrap();
        primary.channel.flush().unwrap();
    })
    .await;
    assert_eq!(soon(counting).await.unwrap(), (Ok(Some(3)), Ok(true)));
    let unanswered = tokio::spawn(async move { worker.count_sockets("key").await });
    meanwhile(primary, |primary| drop(primary.recv())).await;
    assert_eq!(soon(unanswered).await.unwrap(), Ok(None), "the primary has gone");
}

/// A server that takes a listener of the standard library's accepts by itself; what is handed over all the same is refused.
#[tokio::test]
async fn a_lent_socket_is_given_to_servers_that_accept_by_themselves() {
    let (primary, worker) = start();
    let (primary, listener, address) = lend(primary, &worker, "127.0.0.1:0".into()).await;
    let listener = tokio::net::TcpListener::from_std(listener.into_std().unwrap()).unwrap();
    for _ in 0..3 {
        let (accepted, client) =
            tokio::join!(soon(listener.accept()), tokio::net::TcpStream::connect(address));
        assert_eq!(accepted.unwrap().1, client.unwrap().local_addr().unwrap());
    }
    let (primary, (_client, seq)) = meanwhile(primary, |primary| primary.connect("key")).await;
    let (_primary, answer) = meanwhile(primary, Primary::recv_cluster).await;
    assert_eq!((answer.ack, answer.body), (Some(seq), ClusterBody::Accepted(false)));
    assert!(worker.is_connected());
}

#[tokio::test]
async fn without_a_socket_there_is_none_to_give() {
    let (primary, worker) = start();
    let opening = tokio::spawn({
        let worker = worker.clone();
        async move { worker.listen("127.0.0.1:0").await }
    });
    let (_primary, ()) = meanwhile(primary, |primary| primary.open("key")).await;
    let error = soon(opening).await.unwrap().unwrap().into_std().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
    assert!(error.to_string().contains("--placement shared"), "{error}");
}
