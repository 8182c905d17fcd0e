//! Holds `ARCHITECTURE.md` to the files that it names.

use std::path::Path;

#[test]
fn the_tests_that_it_names_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is in the workspace");
    let text = std::fs::read_to_string(root.join("ARCHITECTURE.md")).expect("it is there");
    let named: Vec<_> =
        text.split('`').filter(|s| s.contains("/tests/") && s.ends_with(".rs")).collect();
    assert!(named.len() > 20, "{named:?}");
    for name in named {
        assert!(root.join(name).is_file(), "ARCHITECTURE.md names {name}, which is not there");
    }
}
