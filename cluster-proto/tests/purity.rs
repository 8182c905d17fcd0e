//! The pure crates are pure: they do no I/O because they depend on nothing that could.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// All that may be in the finished program, each without an operating system. (`embedded-io` is not
/// even built, but named for a feature of postcard's that is off.)
const ALLOWED: [&str; 11] = [
    "base64",
    "bytes",
    "cobs",
    "embedded-io",
    "itoa",
    "memchr",
    "postcard",
    "serde",
    "serde_core",
    "serde_json",
    "zmij",
];

/// What runs while compiling only, or (`thiserror`) brings nothing but such.
const BUILD_TIME: [&str; 7] =
    ["proc-macro2", "quote", "serde_derive", "syn", "thiserror", "thiserror-impl", "unicode-ident"];

const PURE: [&str; 3] = ["cluster-proto", "cluster-sched", "cluster-supervisor"];

/// What the features `driver` and `tokio` of cluster-supervisor bring, which are not pure: it is optional.
const OF_DRIVERS: [&str; 3] = ["cluster-primary", "parking_lot", "tokio"];

fn cargo(args: &[&str]) -> Vec<u8> {
    let mut cargo = Command::new(env!("CARGO"));
    let output = cargo.args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn metadata() -> Value {
    // Of this platform alone: what others need was never downloaded.
    let version = String::from_utf8(cargo(&["-vV"])).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let metadata = ["metadata", "--format-version=1", "--offline", "--filter-platform", host];
    serde_json::from_slice(&cargo(&metadata)).unwrap()
}

/// The names of what `package` is built from, itself included; nothing where it is not there (the
/// published package stands alone).
fn normal_dependencies(metadata: &Value, package: &str) -> BTreeSet<String> {
    let mut names = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        names.insert(package["id"].as_str().unwrap(), package["name"].as_str().unwrap());
    }
    let mut needs = BTreeMap::new();
    for node in metadata["resolve"]["nodes"].as_array().unwrap() {
        let normal = node["deps"].as_array().unwrap().iter().filter(|dep| {
            let kinds = dep["dep_kinds"].as_array().unwrap();
            kinds.iter().any(|kind| kind["kind"].is_null())
        });
        let normal: Vec<&str> = normal.map(|dep| dep["pkg"].as_str().unwrap()).collect();
        needs.insert(node["id"].as_str().unwrap(), normal);
    }
    let root = names.iter().find(|(_, name)| **name == package).map(|(id, _)| *id);
    let (mut seen, mut next) = (BTreeSet::new(), Vec::from_iter(root));
    while let Some(id) = next.pop() {
        let of_driver = |other: &&&str| {
            names[id] == "cluster-supervisor" && OF_DRIVERS.contains(&names[**other])
        };
        if seen.insert(names[id].to_owned()) {
            next.extend(needs[id].iter().filter(|other| !of_driver(other)));
        }
    }
    seen
}

#[test]
fn the_pure_crates_depend_on_no_operating_system() {
    let metadata = metadata();
    for pure in PURE {
        let found = normal_dependencies(&metadata, pure);
        let known =
            |name: &str| name == pure || ALLOWED.contains(&name) || BUILD_TIME.contains(&name);
        let strange: Vec<_> = found.iter().filter(|name| !known(name)).collect();
        assert!(strange.is_empty(), "{pure} depends on {strange:?}");
    }
    // That this sees dependencies at all, and their dependencies.
    let found = normal_dependencies(&metadata, "cluster-proto");
    assert!(found.is_superset(&["serde_core".into(), "cobs".into()].into()), "{found:?}");
}

/// Whatever a crate is asked to bring, its default or `std` feature may not come with it.
#[test]
fn the_pure_crates_ask_for_nothing_of_std() {
    let metadata = metadata();
    for package in metadata["packages"].as_array().unwrap() {
        if !PURE.contains(&package["name"].as_str().unwrap()) {
            continue;
        }
        for dependency in package["dependencies"].as_array().unwrap() {
            if !dependency["kind"].is_null() {
                continue;
            }
            if package["name"] == "cluster-supervisor"
                && OF_DRIVERS.contains(&dependency["name"].as_str().unwrap())
            {
                assert_eq!(dependency["optional"], true, "{dependency}");
                continue;
            }
            let features = dependency["features"].as_array().unwrap();
            assert_eq!(dependency["uses_default_features"], false, "{dependency}");
            assert!(features.iter().all(|f| !f.as_str().unwrap().contains("std")), "{dependency}");
        }
    }
}

#[test]
fn the_pure_crates_say_so_themselves() {
    for pure in PURE {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(pure);
        if !root.exists() {
            continue; // As above.
        }
        let text = std::fs::read_to_string(root.join("src/lib.rs")).unwrap();
        for attribute in ["#![no_std]", "#![forbid(unsafe_code)]"] {
            assert!(text.lines().any(|line| line == attribute), "{pure} lacks {attribute}");
        }
        let shipped = text.replace("#[cfg(test)]\nextern crate std;", "");
        let of_driver = "#[cfg(any(test, feature = \"driver\"))]\n#[macro_use]\nextern crate std;";
        let shipped = shipped.replace(of_driver, "");
        assert!(!shipped.contains("extern crate std"), "{pure} takes std after all");
    }
}
