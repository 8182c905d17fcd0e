//! Checks that the tests exist that `ARCHITECTURE.md`, `docs/invariants.md` and
//! `docs/node-cluster.md` name.

use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is in the workspace")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_tests_that_the_pages_name_exist() {
    for (page, at_least) in [("ARCHITECTURE.md", 10), ("docs/invariants.md", 80)] {
        let text = read(page);
        let named: Vec<_> =
            text.split('`').filter(|s| s.contains("/tests/") && s.ends_with(".rs")).collect();
        assert!(named.len() > at_least, "{page}: {named:?}");
        for name in named {
            assert!(root().join(name).is_file(), "{page} names {name}, which does not exist");
        }
    }
}

/// `primary/verbs::messages_go_both_ways` is a function in `cluster-primary/tests/verbs.rs`,
/// `compat/rotation` a scenario.
fn exists(name: &str) -> Option<bool> {
    if let Some(scenario) = name.strip_prefix("compat/") {
        return Some(read("docs/compat.md").contains(&format!("| {scenario} |")));
    }
    let (file, test) = name.split_once("::")?;
    let (of, file) = file.split_once('/')?;
    let path = format!("cluster-{of}/tests/{file}.rs");
    let text = std::fs::read_to_string(root().join(path)).unwrap_or_default();
    Some(is_run(&text, test))
}

/// Whether that function is a test, which every run of the tests runs.
fn is_run(text: &str, test: &str) -> bool {
    let Some(at) = text.find(&format!("fn {test}(")) else { return false };
    // What stands above it up to the end of what comes before.
    let above = text[..at].trim_end_matches(' ').lines().rev().map(str::trim_start);
    let mut above = above.take_while(|line| line.starts_with(['#', '/']));
    above.clone().any(|line| line == "#[test]") && !above.any(|line| line.starts_with("#[ignore"))
}

#[test]
fn only_tests_that_are_run_count() {
    for (attributes, counts) in [
        ("#[test]\n", true),
        ("/// Why.\n#[test]\n#[cfg(unix)]\n", true),
        // Within a macro of proptest's.
        ("    #[test]\n    ", true),
        ("    #[test]\n    #[ignore]\n    ", false),
        ("", false),
        ("#[test]\n#[ignore = \"later\"]\n", false),
        ("#[ignore]\n#[test]\n", false),
        ("#[test]\nfn before() {}\n\n", false),
    ] {
        let text = format!("#[test]\nfn first() {{}}\n\n{attributes}fn named() {{}}\n");
        assert_eq!(is_run(&text, "named"), counts, "{attributes:?}");
    }
    assert!(!is_run("#[test]\nfn other() {}\n", "named"));
}

#[test]
fn each_row_of_what_node_has_names_a_test_that_exists() {
    let text = read("docs/node-cluster.md");
    let mut rows = 0;
    let lines: Vec<&str> = text.lines().collect();
    for (line, next) in lines.iter().zip(lines.iter().skip(1).chain([&""])) {
        let heads = next.starts_with("| ---") || line.starts_with("| ---");
        if !line.starts_with('|') || heads {
            continue;
        }
        rows += 1;
        let named: Vec<_> =
            line.split('`').filter_map(|name| Some((name, exists(name)?))).collect();
        for (name, exists) in &named {
            assert!(exists, "docs/node-cluster.md names {name}, which is not there");
        }
        assert!(!named.is_empty() || line.contains("Windows only"), "no test is named in {line}");
    }
    assert!(rows > 80, "{rows} rows");
}

/// Without the feature `tokio` there is no dependency on tokio.
#[test]
fn there_is_no_tokio_without_its_feature() {
    let without = [("", false), ("tokio", true)];
    let packages = [
        ("cluster-ipc", &without[..]),
        ("cluster-worker", &without),
        ("cluster-primary", &without),
        ("cluster-supervisor", &[("", false), ("driver", false), ("tokio", true)]),
        ("cluster-control", &[("", false)]),
    ];
    for (package, features) in packages {
        for &(feature, wanted) in features {
            let mut tree =
                crate::step::cargo(["tree", "--offline", "--edges", "normal", "--prefix"]);
            tree.args(["none", "--package", package, "--features", feature]);
            let tree = tree.output().expect("cargo tree");
            assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
            let tree = String::from_utf8(tree.stdout).expect("names");
            let has = tree.lines().any(|line| line.starts_with("tokio "));
            assert_eq!(has, wanted, "{package} with {feature:?}");
        }
    }
}
