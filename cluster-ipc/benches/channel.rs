//! What a message costs, from `send` in one channel to `recv` out of the other, system calls
//! included: `cargo bench -p cluster-ipc`.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use cluster_ipc::proto::{ClusterBody, HandleKind, Message};
use cluster_ipc::{Channel, ChannelConfig, Outgoing, Recv, Wire};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const WIRES: [(&str, Wire); 2] = [("json", Wire::Json), ("postcard", Wire::Postcard)];

fn channels(wire: Wire, window: usize) -> (Channel, Channel) {
    let config = ChannelConfig::default().wire(wire).gate_window(window);
    let (a, b) = Channel::pair(config.clone()).expect("a socket pair");
    (a, Channel::from_fd(b, config).expect("a stream socket"))
}

/// Reads all that is there, and writes the answers to it.
fn receive(channel: &mut Channel) -> usize {
    let mut count = 0;
    while let Recv::Message(_) = channel.recv().expect("a sound stream") {
        count += 1;
    }
    channel.flush().expect("a sound socket");
    count
}

fn newconn() -> Message {
    let key = "127.0.0.1:8000:4:undefined:0".into();
    Message::cluster(4711, None, ClusterBody::NewConn { key })
}

fn connections(c: &mut Criterion) {
    let mut group = c.benchmark_group("newconn");
    let message = newconn();
    let fd: Arc<OwnedFd> = Arc::new(std::fs::File::open("/dev/null").expect("/dev/null").into());
    for (name, wire) in WIRES {
        let (mut a, mut b) = channels(wire, 1);
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("without_descriptor", name), |bench| {
            bench.iter(|| {
                a.send(&message, None).expect("room");
                a.flush().expect("a sound socket");
                assert_eq!(receive(&mut b), 1);
            });
        });
        // One round trip each: the receiver's ACK is read too.
        group.bench_function(BenchmarkId::new("with_descriptor", name), |bench| {
            bench.iter(|| {
                a.send(&message, Some(Outgoing::new(HandleKind::NetNative, fd.clone())))
                    .expect("room");
                a.flush().expect("a sound socket");
                assert_eq!(receive(&mut b), 1);
                receive(&mut a);
                assert!(a.is_idle());
            });
        });
        let (mut a, mut b) = channels(wire, 16);
        group.throughput(Throughput::Elements(16));
        group.bench_function(BenchmarkId::new("with_descriptor_window_16", name), |bench| {
            bench.iter(|| {
                for _ in 0..16 {
                    a.send(&message, Some(Outgoing::new(HandleKind::NetNative, fd.clone())))
                        .expect("room");
                }
                a.flush().expect("a sound socket");
                assert_eq!(receive(&mut b), 16);
                receive(&mut a);
                assert!(a.is_idle());
            });
        });
    }
    group.finish();
}

fn bursts(c: &mut Criterion) {
    const BURST: usize = 256;
    let mut group = c.benchmark_group("user_64_bytes");
    group.throughput(Throughput::Elements(BURST as u64));
    let message = Message::User("x".repeat(61).into());
    let ways = WIRES.iter().flat_map(|(name, wire)| {
        [("burst_of_256", *name, *wire, false), ("burst_of_256_encoded", *name, *wire, true)]
    });
    for (way, name, wire, encoded) in ways {
        let (mut a, mut b) = channels(wire, 1);
        if encoded {
            b.receive_encoded();
        }
        group.bench_function(BenchmarkId::new(way, name), |bench| {
            bench.iter(|| {
                for _ in 0..BURST {
                    a.send(&message, None).expect("room");
                }
                a.flush().expect("a sound socket");
                assert_eq!(receive(&mut b), BURST);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, connections, bursts);
criterion_main!(benches);
