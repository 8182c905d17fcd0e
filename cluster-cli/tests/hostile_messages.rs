//! A worker that sends messages which take gigabytes and seconds when they are decoded: the primary keeps
//! the bytes, other workers are served meanwhile, and each message is an event or an error.

#[path = "support/client.rs"]
mod client;
#[path = "support/hostile.rs"]
mod hostile;
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use client::Client;
use hostile::{MAX_RSS_KIB, UnderAttack, peak_rss_kib};
use serde_json::json;
use support::{Folder, eventually};

/// The attack, with messages that the primary takes, one after the other.
fn taken(options: &[&str], shape: &str) {
    let trial = UnderAttack::start(options, "messages", &[shape, "3"]);
    trial.cluster.out.wait_for(1, |line| line.ends_with("all is sent"));
    trial.answered(10);
    let cluster = trial.survived();
    let lost = cluster.err.all().into_iter().filter(|line| line.contains("its channel was closed"));
    assert_eq!(lost.collect::<Vec<_>>(), Vec::<String>::new());
    cluster.end();
}

/// The attack, with messages at which the primary closes the channel, and says why. The worker is replaced,
/// and sends another one.
fn refused(options: &[&str], shape: &str, reason: &str) {
    let trial = UnderAttack::start(options, "messages", &[shape, "3"]);
    let closed = |line: &str| line.contains("its channel was closed") && line.contains(reason);
    trial.cluster.err.wait_for(2, closed);
    trial.answered(10);
    trial.survived().end();
}

/// Errors that it causes without end do not fill the log, and none is lost from the count.
#[test]
fn errors_of_one_kind_are_logged_fewer_and_fewer() {
    let trial = UnderAttack::start(&[], "acks", &["5000"]);
    trial.cluster.out.wait_for(1, |line| line.ends_with("all is sent"));
    // The 4,096th is the last that is logged.
    let stray = |line: &str| line.contains("which was not sent to it");
    let lines = trial.cluster.err.wait_for(17, stray);
    trial.answered(10);
    assert!(lines[8].contains("7 more of this kind before it were not logged"), "{lines:?}");
    assert!(lines[16].contains("2047 more of this kind before it were not logged"), "{lines:?}");
    let cluster = trial.survived();
    assert_eq!(cluster.err.all().iter().filter(|line| stray(line)).count(), 17);
    cluster.signal(rustix::process::Signal::TERM);
    let told =
        |line: &str| line.contains("904 more errors of the kind ERR_IPC_STRAY_ACK were not logged");
    cluster.err.wait_for(1, told);
    let mut cluster = cluster;
    assert!(cluster.wait().code().is_some());
}

#[test]
fn many_small_values() {
    taken(&[], "zeros");
}

#[test]
fn a_text_of_escapes() {
    taken(&[], "escapes");
}

#[test]
fn many_names() {
    taken(&[], "names");
}

#[test]
fn a_number_of_millions_of_digits() {
    taken(&[], "digits");
}

#[test]
fn values_of_a_structured_clone() {
    for shape in ["advanced-set", "advanced-map", "advanced-objects", "advanced-array"] {
        taken(&["--serialization", "advanced"], shape);
    }
}

/// The primary does not wait for a descriptor that does not come, however long the message is that announces it.
#[test]
fn a_message_beside_a_descriptor() {
    taken(&[], "handle");
}

#[test]
fn nesting_costs_the_message_and_not_the_channel() {
    let trial = UnderAttack::start(&[], "messages", &["nesting", "3"]);
    trial.cluster.err.wait_for(3, |line| line.contains("nests deeper than 127 levels"));
    trial.cluster.out.wait_for(1, |line| line.ends_with("all is sent"));
    trial.answered(10);
    trial.survived().end();
}

#[test]
fn what_is_broken_at_its_end() {
    refused(&[], "broken", "the frame is not JSON: expected `,` or `]` at byte 65011714");
}

#[test]
fn messages_of_the_protocols_own() {
    for shape in ["listen", "internal"] {
        refused(&[], shape, "a message of the protocol's own has");
    }
    refused(&["--serialization", "advanced"], "advanced-internal", "of the protocol's own has");
}

/// The hostile worker: the second one, of slot 1.
const HOSTILE: u32 = 2;

/// What it waits for.
const BEGIN: &str = "begin the attack";

/// A client that hears messages, and has the worker begin.
fn listening(socket: &Path) -> Client {
    let mut client = Client::connect(socket);
    client.call("subscribe", json!({"events": ["message"]}));
    client.call("send", json!({"worker": HOSTILE, "message": BEGIN}));
    client
}

fn with_control<'a>(path: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let path = path.to_str().expect("a text");
    [&["--control", path], more].concat()
}

/// A client hears the message as it was sent: a line as long as that.
#[test]
fn a_client_is_sent_what_came() {
    let folder = Folder::new("long-messages");
    let socket = folder.0.join("s");
    for (shape, message) in
        [("zeros", "[0,0,"), ("request", "{\"cmd\":\"CLUSTER_REQUEST\",\"id\":1,\"body\":[0,0,")]
    {
        let options = with_control(&socket, &[]);
        let trial = UnderAttack::start(&options, "messages", &[shape, "2", BEGIN]);
        let mut client = listening(&socket);
        let mut heard = 0;
        while heard < 2 {
            let mut line = Vec::new();
            client.lines.read_until(b'\n', &mut line).expect("it is written");
            let head = format!(
                r#"{{"jsonrpc":"2.0","method":"event","params":{{"type":"message","worker":{HOSTILE},"message":{message}"#
            );
            assert!(
                line.starts_with(head.as_bytes()),
                "{:?}",
                String::from_utf8_lossy(&line[..200])
            );
            assert!(line.ends_with(if shape == "zeros" { b"0]}}\n" } else { b"]}}}\n" }));
            assert!(line.len() > 62 << 20);
            heard += 1;
        }
        drop(client);
        trial.cluster.out.wait_for(1, |line| line.ends_with("all is sent"));
        trial.answered(5);
        trial.survived().end();
    }
}

/// What would have to be converted is an error in its place, for clients that wait for messages.
#[test]
fn a_client_is_told_what_is_not_converted() {
    let folder = Folder::new("not-converted");
    let socket = folder.0.join("s");
    let options = with_control(&socket, &["--serialization", "advanced"]);
    let trial = UnderAttack::start(&options, "messages", &["advanced-set", "1", BEGIN]);
    let mut client = listening(&socket);
    let error = client.until("error");
    assert_eq!(error["code"], "ERR_IPC_TOO_LARGE", "{error}");
    assert_eq!(error["worker"], HOSTILE, "{error}");
    trial.answered(5);
    trial.survived().end();
}

/// A request with no one to answer it is refused at once, however long it is.
#[test]
fn a_long_request_is_refused_as_others_are() {
    taken(&[], "request");
}

/// Lines that clients have begun count together: the longest is given up, and others go on.
#[test]
fn unfinished_lines_of_many_clients() {
    const EACH: usize = 2 << 20;
    let folder = Folder::new("unfinished");
    let socket = folder.0.join("s");
    let trial = UnderAttack::start(&with_control(&socket, &[]), "silent", &[]);
    let mut first = Client::connect(&socket);
    first.call("version", json!({}));
    let piece = vec![b'x'; EACH];
    let mut clients = Vec::new();
    for _ in 0..150 {
        let mut client = UnixStream::connect(&socket).expect("it listens");
        client.set_read_timeout(Some(support::PATIENCE)).expect("a socket");
        client.write_all(&piece).expect("it reads");
        clients.push(client);
    }
    // 72 MiB are kept, of 300.
    let mut given_up = 0;
    for client in &mut clients {
        client.set_nonblocking(true).expect("a socket");
        let mut answer = String::new();
        let _ = BufReader::new(client.try_clone().expect("a descriptor")).read_line(&mut answer);
        if !answer.is_empty() {
            assert!(
                answer.contains("\"code\":-32700") && answer.contains("unfinished lines"),
                "{answer}"
            );
            given_up += 1;
        }
    }
    assert!(given_up >= 100, "{given_up} lines of {} were given up", clients.len());
    // A client that was given up continues after the end of its line; the others are not disturbed.
    first.call("version", json!({}));
    for at in [0, 149] {
        let client = &mut clients[at];
        client.set_nonblocking(false).expect("a socket");
        client
            .write_all(b"\n{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"version\"}\n")
            .expect("it reads");
        let mut lines = BufReader::new(client).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.starts_with(r#"{"jsonrpc":"2.0","id":7,"result":"#)));
    }
    trial.answered(5);
    let peak = peak_rss_kib(trial.cluster.pid());
    assert!(peak < MAX_RSS_KIB, "the primary took {peak} KiB of memory");
    drop(clients);
    trial.survived().end();
}

/// A long line is taken while others are being written. (It takes up to four times its length while it is
/// parsed, and clients are trusted: the longest one, of 64 MiB, takes more than a worker may.)
#[test]
fn a_long_line_of_a_client_is_taken() {
    let folder = Folder::new("long-line");
    let socket = folder.0.join("s");
    let trial = UnderAttack::start(&with_control(&socket, &[]), "silent", &[]);
    let mut others: Vec<_> =
        (0..20).map(|_| UnixStream::connect(&socket).expect("it listens")).collect();
    for other in &mut others {
        other.write_all(&[b'x'; 64 << 10]).expect("it reads");
    }
    let mut client = Client::connect(&socket);
    let long = "x".repeat(40 << 20);
    let (code, _) = client.fails("send", json!({"worker": 99, "message": long}));
    assert_eq!(code, -32000, "it was read, and there is no such worker");
    // Of values there may be fewer.
    let (code, _) = client.fails("send", json!({"worker": 99, "message": vec![0; 3 << 20]}));
    assert_eq!(code, -32700);
    let mut rest = String::new();
    others[0].set_nonblocking(true).expect("a socket");
    let _ = others[0].read_to_string(&mut rest);
    assert_eq!(rest, "", "it was not given up");
    trial.answered(5);
    trial.survived().end();
}

#[test]
fn a_stream_without_end_costs_others_nothing() {
    let trial = UnderAttack::start(&[], "messages", &["zeros", "1000"]);
    eventually("it sends", || (peak_rss_kib(trial.cluster.pid()) > 40 << 10).then_some(()));
    trial.answered(100);
    drop(trial.survived());
}
