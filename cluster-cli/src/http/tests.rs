//! The server with real clients, well and ill behaved.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

use super::HttpServer;
use crate::config::HttpAddress;
use crate::status::tests::FULL;

/// So long a test waits before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A primary's loop: it answers when the bell rings.
struct Loop {
    address: SocketAddr,
    status: Arc<Mutex<String>>,
    answers: Arc<AtomicUsize>,
    /// The loop is busy with something else, forever.
    busy: Arc<AtomicBool>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<HttpServer>>,
}

impl Loop {
    fn start() -> Self {
        Self::on("0".parse::<HttpAddress>().unwrap().bind().unwrap())
    }

    fn on(listener: TcpListener) -> Self {
        let mut server = HttpServer::start(listener, ["app.internal".parse().unwrap()]).unwrap();
        let address = server.local_addr().unwrap();
        let status = Arc::new(Mutex::new(FULL.to_owned()));
        let (answers, busy, end) =
            <(Arc<AtomicUsize>, Arc<AtomicBool>, Arc<AtomicBool>)>::default();
        let thread = thread::spawn({
            let (status, answers, busy, end) =
                (status.clone(), answers.clone(), busy.clone(), end.clone());
            move || {
                while !end.load(Ordering::Acquire) {
                    let mut fds = [PollFd::from_borrowed_fd(server.bell(), PollFlags::IN)];
                    let _ = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 5_000_000 }));
                    if !busy.load(Ordering::Acquire) && server.asked() {
                        server.publish(status.lock().unwrap().clone());
                        answers.fetch_add(1, Ordering::AcqRel);
                    }
                }
                server
            }
        });
        Self { address, status, answers, busy, end, thread: Some(thread) }
    }

    fn stop(&mut self) -> HttpServer {
        self.end.store(true, Ordering::Release);
        self.thread.take().unwrap().join().unwrap()
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// What is answered to these bytes, up to the end of the connection.
    fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // It may have heard enough before it has heard all.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
    }

    fn ask(&self, request: &str) -> (u16, String) {
        let answer = self.exchange(request.as_bytes());
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
        (code(head), body.to_owned())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Release);
    }
}

fn code(head: &str) -> u16 {
    head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{head:?}"))
}

#[test]
fn what_there_is() {
    let cluster = Loop::start();
    assert_eq!(cluster.get("/healthz"), (200, "ok\n".into()));
    assert_eq!(cluster.get("/readyz"), (200, "ready\n".into()));
    assert_eq!(cluster.get("/status"), (200, FULL.into()));
    let (code, metrics) = cluster.get("/metrics?x=y");
    assert!(code == 200 && metrics.contains("\ncluster_ready 1\n"), "{metrics}");
    let (code, page) = cluster.get("/");
    assert!(code == 200 && page.starts_with("<!doctype html>"), "{page}");
    assert_eq!(cluster.get("/favicon.ico").0, 404);
    assert_eq!(cluster.ask("POST /status HTTP/1.0\r\n\r\n").0, 405);
    assert_eq!(cluster.ask("HEAD /status HTTP/1.0\r\n\r\n"), (200, String::new()));
}

#[test]
fn every_answer_guards_itself() {
    let cluster = Loop::start();
    for path in ["/", "/status", "/metrics", "/healthz", "/nothing"] {
        let answer = cluster.exchange(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes());
        let head = answer.split_once("\r\n\r\n").unwrap().0.to_ascii_lowercase();
        for header in [
            "content-security-policy: default-src 'none'",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
            "cross-origin-resource-policy: same-origin",
            "frame-ancestors 'none'",
        ] {
            assert!(head.contains(header), "{path}: {header} in {head}");
        }
        assert!(!head.contains("access-control"), "{head}");
    }
}

#[test]
fn readiness_turns_when_the_cluster_does() {
    let cluster = Loop::start();
    assert_eq!(cluster.get("/readyz").0, 200);
    *cluster.status.lock().unwrap() = r#"{"state":"draining","ready":false}"#.into();
    // For a moment what was said last is good enough.
    let mut answer = cluster.get("/readyz");
    while answer.0 == 200 {
        answer = cluster.get("/readyz");
    }
    assert_eq!(answer, (503, "draining: serving until the delay is over\n".into()));
    assert_eq!(cluster.get("/healthz").0, 200);
}

#[test]
fn a_primary_that_does_not_answer_is_not_healthy_until_it_does() {
    let cluster = Loop::start();
    cluster.busy.store(true, Ordering::Release);
    let silent = (503, "the primary does not answer\n".to_owned());
    thread::scope(|scope| {
        for path in ["/healthz", "/readyz", "/metrics", "/status"] {
            scope.spawn(|| assert_eq!(cluster.get(path), silent));
        }
    });
    // The page is served without the loop.
    assert_eq!(cluster.get("/").0, 200);
    cluster.busy.store(false, Ordering::Release);
    assert_eq!(cluster.get("/healthz").0, 200);
}

#[test]
fn a_stranger_name_is_not_answered_to() {
    let cluster = Loop::start();
    let host = |host: &str| {
        cluster.ask(&format!("GET /status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).0
    };
    assert_eq!(host("127.0.0.1:9100"), 200);
    assert_eq!(host("[::1]:9100"), 200);
    assert_eq!(host("app.internal:9100"), 200);
    assert_eq!(host("evil.example"), 403);
    assert_eq!(host("localhost.evil.example:9100"), 403);
    let none = cluster.ask("GET /status HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert_eq!(none.0, 400);
    let target =
        "GET http://evil.example/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(cluster.ask(target).0, 403);
}

#[test]
fn a_connection_is_used_again() {
    let cluster = Loop::start();
    let mut lines = BufReader::new(cluster.connect());
    for _ in 0..10 {
        lines.get_mut().write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(lines.read_line(&mut head).unwrap(), 0, "{head:?}");
        }
        assert_eq!(code(&head), 200);
        let mut body = [0; 3];
        lines.read_exact(&mut body).unwrap();
        assert_eq!(&body, b"ok\n");
    }
}

#[test]
fn many_that_ask_at_once_cost_the_primary_few_answers() {
    let cluster = Loop::start();
    let before = cluster.answers.load(Ordering::Acquire);
    thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                for _ in 0..20 {
                    assert_eq!(cluster.get("/status").0, 200);
                }
            });
        }
    });
    let answers = cluster.answers.load(Ordering::Acquire) - before;
    assert!((1..320).contains(&answers), "{answers} for 640 requests");
}

#[test]
fn garbage_is_refused() {
    let cluster = Loop::start();
    let mut noise = vec![0u8; 100_000];
    let mut seed = 1u32;
    for byte in &mut noise {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (seed >> 24) as u8;
    }
    let huge_path = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(100_000));
    let huge_header =
        format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "a".repeat(100_000));
    let many_headers =
        format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: y\r\n".repeat(1000));
    for bytes in [
        &noise[..],
        b"\r\n\r\n\r\n",
        b"\0",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        huge_path.as_bytes(),
        huge_header.as_bytes(),
        many_headers.as_bytes(),
    ] {
        let mut stream = cluster.connect();
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        let is_refused = answer.is_empty() || (400..600).contains(&code(&answer));
        assert!(
            is_refused,
            "{answer:?} to {:?}",
            String::from_utf8_lossy(&bytes[..bytes.len().min(40)])
        );
        assert_eq!(cluster.get("/healthz").0, 200);
    }
}

#[test]
fn an_unexpected_body_is_not_waited_for() {
    let cluster = Loop::start();
    let mut stream = cluster.connect();
    stream
        .write_all(
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999999\r\n\r\n",
        )
        .unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[test]
fn however_many_are_silent_others_are_served() {
    let cluster = Loop::start();
    let mut silent = Vec::new();
    for n in 0..400 {
        let mut stream = cluster.connect();
        match n % 3 {
            0 => {}
            1 => stream.write_all(b"GET /status HT").unwrap(),
            // It asks, and does not read.
            _ => stream
                .write_all(&b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(20))
                .unwrap_or_default(),
        }
        silent.push(stream);
        if n % 100 == 99 {
            assert_eq!(cluster.get("/healthz").0, 200, "after {n}");
        }
    }
    // The oldest had to make room, instead of the newest being refused.
    let mut first = &silent[0];
    let end = first.read(&mut [0; 1]);
    assert!(matches!(&end, Ok(0)) || end.as_ref().is_err_and(is_reset), "{end:?}");
}

fn is_reset(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionReset
}

#[test]
fn it_ends_and_its_successor_takes_over_the_socket() {
    let mut cluster = Loop::start();
    assert_eq!(cluster.get("/status").0, 200);
    let idle = cluster.connect();
    let server = cluster.stop();
    let socket = server.finish(PATIENCE);
    // A client that connects now is queued.
    let mut early = cluster.connect();
    early.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!((&idle).read(&mut [0; 1]).unwrap_or_default(), 0, "idle connections are closed");
    let successor = Loop::on(socket.into());
    assert_eq!(successor.address, cluster.address);
    let mut answer = String::new();
    early.read_to_string(&mut answer).unwrap();
    assert_eq!(code(&answer), 200);
}

#[test]
fn who_asks_at_the_end_gets_what_was_said_last() {
    let mut cluster = Loop::start();
    cluster.busy.store(true, Ordering::Release);
    let mut waits = cluster.connect();
    waits.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").unwrap();
    let server = cluster.stop();
    // It has asked when the bell rings.
    poll(&mut [PollFd::from_borrowed_fd(server.bell(), PollFlags::IN)], None).unwrap();
    server.publish(r#"{"state":"stopping"}"#.into());
    let socket = server.finish(PATIENCE);
    let mut answer = String::new();
    waits.read_to_string(&mut answer).unwrap();
    assert_eq!(code(&answer), 503);
    assert!(answer.ends_with("\r\n\r\nstopping\n"), "{answer}");
    drop(socket);
}
