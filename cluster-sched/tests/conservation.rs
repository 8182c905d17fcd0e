//! Each connection that arrived ends in exactly one `Done` or `Shed`, and all that is promised on the
//! way holds, whatever the inputs: the books in `support/ops.rs` agree with the scheduler's.

#[path = "support/ops.rs"]
mod ops;

use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn each_connection_ends_exactly_once(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        ops::run(&bytes);
    }
}

/// Random bytes must not pass the interesting parts by.
#[test]
fn the_bytes_reach_every_kind_of_end() {
    let mut state = 1u32;
    let mut totals = [0; 6];
    for _ in 0..200 {
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(600)
        .collect();
        let stats = ops::run(&bytes).stats;
        let counts = [
            stats.done,
            stats.refusals,
            stats.orphaned,
            stats.shed_full,
            stats.shed_refused,
            stats.shed_closed,
        ];
        for (total, count) in totals.iter_mut().zip(counts) {
            *total += count;
        }
    }
    assert!(totals.iter().all(|&total| total > 100), "{totals:?}");
}
