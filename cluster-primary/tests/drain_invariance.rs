//! How often the machine's outputs are drained changes nothing.

#[path = "support/ops/mod.rs"]
mod ops;

use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn how_often_one_drains_changes_nothing(
        bytes in proptest::collection::vec(any::<u8>(), 1..600),
        drains in proptest::collection::vec(any::<bool>(), 1..50),
    ) {
        let report = ops::run(&bytes);
        prop_assert_eq!(&ops::replay(&report, || false), &report.outputs);
        let mut drains = drains.into_iter().cycle();
        let sometimes = ops::replay(&report, || drains.next().unwrap_or(true));
        prop_assert_eq!(&sometimes, &report.outputs);
    }
}
