//! Memory follows what was received, not what was claimed. One test, since it counts every
//! allocation of the process.

use cluster_proto::{Advanced, Codec, Deframer, Framing, Json, Postcard};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// The most that `work` held at a time, in bytes.
fn peak(work: impl FnOnce()) -> usize {
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    work();
    ALLOCATOR.peak_usage() - before
}

const MIB: usize = 1 << 20;

#[test]
fn memory_follows_what_was_received() {
    // Four bytes that claim 64 MiB, and a little of it.
    let held = peak(|| {
        let mut deframer = Deframer::new(Framing::Length);
        deframer.extend(&(64_u32 << 20).to_be_bytes());
        deframer.extend(&[0; 1000]);
        assert_eq!(deframer.next_frame(), Ok(None));
    });
    assert!(held < 10_000, "{held}");

    // What comes after an error.
    let held = peak(|| {
        let mut deframer = Deframer::new(Framing::Line).max_frame(1000);
        for _ in 0..10_000 {
            deframer.extend(&[b'x'; 1024]);
            let _ = deframer.next_frame();
        }
        assert!(deframer.next_frame().is_err());
    });
    assert!(held < 10_000, "{held}");

    // Small frames without end.
    let held = peak(|| {
        let mut deframer = Deframer::new(Framing::Line);
        for _ in 0..10_000 {
            deframer.extend(b"{\"a\":1}\n{\"b\":2}\n{\"c");
            deframer.extend(b"\":3}\n");
            while deframer.next_frame().unwrap().is_some() {}
        }
    });
    assert!(held < 10_000, "{held}");

    // Lengths that lie: of a string, an array, an object, and arrays of arrays.
    let huge = [0xff, 0xff, 0xff, 0xff, 0x0f];
    let nested = [&[0, 5][..], &[6, 0xff, 0x7f].repeat(127), &[6], &huge].concat();
    for lie in [
        [&[0, 5, 5][..], &huge].concat(),
        [&[0, 5, 6][..], &huge].concat(),
        [&[0, 5, 7][..], &huge].concat(),
        nested,
    ] {
        let held = peak(|| assert!(Postcard.decode(&lie).is_err()));
        assert!(held < 16 * MIB, "{} bytes hold {held}", lie.len());
    }

    // A mebibyte of the values that cost most for their length.
    for unit in ["0,", "[],", "[0],", "{},", "{\"\":0},", "\"\",", "[[0]],"] {
        let text = format!("[{}0]", unit.repeat(MIB / unit.len()));
        let held = peak(|| drop(Json.decode(text.as_bytes()).unwrap()));
        println!("{unit}: {}", held / text.len());
        assert!(held < BOUND * text.len(), "{unit}: {} bytes hold {held}", text.len());
    }

    // The same in structured clones, where a single byte may stand for a value.
    for lie in [
        &b"\xff\x0fA\xff\xff\xff\x7f"[..],
        b"\xff\x0f\"\xff\xff\xff\x7f",
        b"\xff\x0fB\xff\xff\xff\x7f",
    ] {
        let held = peak(|| assert!(Advanced.decode(lie).is_err()));
        assert!(held < 10_000, "{lie:?} hold {held}");
    }
    for unit in [
        &b"0"[..],
        b"_",
        b"y",
        b"\"\0",
        b"o{\0",
        b"A\0$\0\0",
        b";:\0",
        b"r.",
        b"B\0",
        b"\\\0\x0a\0",
    ] {
        let count = MIB / unit.len();
        let mut payload = b"\xff\x0f'".to_vec();
        payload.extend(unit.repeat(count));
        payload.push(b',');
        for shift in [0, 7, 14, 21] {
            payload.push((count >> shift) as u8 & 0x7f | if shift < 21 { 0x80 } else { 0 });
        }
        let held = peak(|| drop(Advanced.decode(&payload).unwrap()));
        println!("{}: {}", unit.escape_ascii(), held / payload.len());
        assert!(held < 3 * BOUND * payload.len(), "{unit:?}: {} bytes hold {held}", payload.len());
    }
}

/// A byte of a message takes at most that many bytes of memory, while a long array grows by
/// doubling. Who sets a channel's limit should know.
const BOUND: usize = 64;
