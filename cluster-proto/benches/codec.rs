//! What it costs to write, to find and to read a message.
#![allow(missing_docs, reason = "criterion's macros make functions")]

use std::hint::black_box;

use bytes::Bytes;
use cluster_proto::{
    Advanced, ClusterBody, Codec, Deframer, Encoding, FrameReader, HandleKind, Json, Message,
    Object, Postcard, ServerKey,
};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn messages() -> [(&'static str, Message); 4] {
    let key = ServerKey::from("127.0.0.1:8080:4:undefined");
    let user = |length: usize| Message::User(Object::new().with("text", "x".repeat(length)).into());
    [
        (
            "newconn",
            Message::cluster(123_456, None, ClusterBody::NewConn { key })
                .with_handle(HandleKind::NetNative),
        ),
        ("accepted", Message::cluster(123_457, Some(123_456), ClusterBody::Accepted(true))),
        ("user-64B", user(64 - r#"{"text":""}"#.len())),
        ("user-1MiB", user((1 << 20) - r#"{"text":""}"#.len())),
    ]
}

fn codecs() -> [(&'static str, &'static dyn Codec); 3] {
    [("json", &Json), ("advanced", &Advanced), ("postcard", &Postcard)]
}

fn frame(codec: &dyn Codec, message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    codec.encode(message, &mut out).unwrap();
    out
}

/// The one frame of a stream.
fn payload(codec: &dyn Codec, stream: &[u8]) -> Vec<u8> {
    let mut deframer = Deframer::new(codec.framing());
    deframer.extend(stream);
    deframer.next_frame().unwrap().unwrap().payload.to_vec()
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    for (encoding, codec) in codecs() {
        for (name, message) in messages() {
            let mut out = frame(codec, &message);
            group.throughput(Throughput::Bytes(out.len() as u64));
            group.bench_function(BenchmarkId::new(encoding, name), |b| {
                b.iter(|| {
                    out.clear();
                    codec.encode(black_box(&message), &mut out).unwrap();
                });
            });
        }
    }
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    for (encoding, codec) in codecs() {
        for (name, message) in messages() {
            let frame = frame(codec, &message);
            let payload = payload(codec, &frame);
            group.throughput(Throughput::Bytes(frame.len() as u64));
            group.bench_function(BenchmarkId::new(encoding, name), |b| {
                b.iter(|| codec.decode(black_box(&payload)).unwrap());
            });
        }
    }
}

/// As `decode`, by what leaves users' messages as they came.
fn read(c: &mut Criterion) {
    let mut group = c.benchmark_group("read");
    let encodings = [Encoding::Json, Encoding::Advanced, Encoding::Postcard];
    for ((name_of_encoding, codec), encoding) in codecs().into_iter().zip(encodings) {
        for (name, message) in messages() {
            let frame = frame(codec, &message);
            let payload = Bytes::from(payload(codec, &frame));
            let mut reader = FrameReader::new(encoding);
            group.throughput(Throughput::Bytes(frame.len() as u64));
            group.bench_function(BenchmarkId::new(name_of_encoding, name), |b| {
                b.iter(|| match reader.at_once(black_box(&payload)) {
                    Some(message) => message,
                    None => reader.finish(payload.clone()).unwrap(),
                });
            });
        }
    }
}

/// A stream of many small frames or few large ones, in reads of 64 KiB as `cluster-ipc` makes them.
fn deframe(c: &mut Criterion) {
    let mut group = c.benchmark_group("deframe");
    for (encoding, codec) in codecs() {
        for (name, message) in messages() {
            let one = frame(codec, &message);
            let stream = one.repeat((1_usize << 20).div_ceil(one.len()));
            group.throughput(Throughput::Bytes(stream.len() as u64));
            group.bench_function(BenchmarkId::new(encoding, name), |b| {
                b.iter_batched_ref(
                    || Deframer::new(codec.framing()),
                    |deframer| {
                        for piece in stream.chunks(64 << 10) {
                            deframer.extend(piece);
                            while let Some(frame) = deframer.next_frame().unwrap() {
                                black_box(frame);
                            }
                        }
                    },
                    BatchSize::SmallInput,
                );
            });
        }
    }
}

criterion_group!(benches, encode, decode, read, deframe);
criterion_main!(benches);
