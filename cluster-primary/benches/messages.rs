//! What a user's message costs the primary, next to what it costs a bare channel: `cargo bench -p cluster-primary`.
//!
//! Both read the same bytes from a socket pair, and write the same bytes to one, system calls included. The difference
//! is the primary's: its loop, its machine, and the events that it returns.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use cluster_ipc::{Channel, ChannelConfig, Recv};
use cluster_primary::proto::Message;
use cluster_primary::{Event, Primary, Settings, WorkerId};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Messages that are there at once.
const MESSAGES: usize = 64;
const TEXT: &str = "{\"cmd\":\"notifyRequest\",\"n\":4711}";

/// As a primary sets its channels up.
fn channel() -> (Channel, UnixStream) {
    let config = ChannelConfig::default().short_reads(true).encoded(true);
    let (channel, theirs) = Channel::pair(config).expect("a socket pair");
    (channel, theirs.into())
}

/// A primary with one worker, which is the other end of a socket pair.
fn primary() -> (Primary, WorkerId, UnixStream) {
    let mut primary = Primary::new(Settings::new("app")).expect("a poll");
    let (worker, theirs) = primary.fuzz_worker().expect("a socket pair");
    while primary.ready_event().is_some() {}
    (primary, worker, theirs.into())
}

fn wait_for_messages(primary: &mut Primary) {
    let mut count = 0;
    while count < MESSAGES {
        while let Some(event) = primary.ready_event() {
            assert!(matches!(event, Event::Message { .. }), "{event:?}");
            count += 1;
        }
        if count < MESSAGES {
            primary.wait(Some(Duration::from_secs(1))).expect("a poll");
        }
    }
}

fn receive(c: &mut Criterion) {
    let lines = format!("{TEXT}\n").repeat(MESSAGES);
    let mut group = c.benchmark_group("receive");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    let (mut ours, mut theirs) = channel();
    group.bench_function("channel", |bench| {
        bench.iter(|| {
            theirs.write_all(lines.as_bytes()).expect("there is room");
            let mut count = 0;
            while let Recv::Message(_) = ours.recv().expect("a sound stream") {
                count += 1;
            }
            assert_eq!(count, MESSAGES);
        });
    });
    let (mut primary, _, mut theirs) = primary();
    group.bench_function("primary", |bench| {
        bench.iter(|| {
            theirs.write_all(lines.as_bytes()).expect("there is room");
            wait_for_messages(&mut primary);
        });
    });
    group.finish();
}

fn send(c: &mut Criterion) {
    let message = || cluster_primary::Value::from("a short message to a worker");
    let mut buffer = vec![0; 64 << 10];
    let mut group = c.benchmark_group("send");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    let (mut ours, mut theirs) = channel();
    group.bench_function("channel", |bench| {
        bench.iter(|| {
            for _ in 0..MESSAGES {
                ours.send(&Message::User(message()), None).expect("there is room");
            }
            ours.flush().expect("a sound socket");
            theirs.read(&mut buffer).expect("it was written")
        });
    });
    let (mut primary, worker, mut theirs) = primary();
    group.bench_function("primary", |bench| {
        bench.iter(|| {
            for _ in 0..MESSAGES {
                primary.send(worker, message()).expect("there is room");
            }
            primary.flush_sends();
            let mut read = 0;
            // The first one is written at once.
            while read < MESSAGES * 30 {
                read += theirs.read(&mut buffer).expect("it was written");
            }
        });
    });
    group.finish();
}

criterion_group!(benches, receive, send);
criterion_main!(benches);
