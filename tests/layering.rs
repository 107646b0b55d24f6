//! Dependencies point one way: contract <- media, backends <- runtime <- functions, dispatcher <- detektor.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};

/// What each part may depend on within the workspace. A part that is missing here fails the test.
const ALLOWED: &[(&str, &[&str])] = &[
    ("detektor-contract", &[]),
    ("detektor-media", &["detektor-contract"]),
    ("detektor-backends", &["detektor-contract"]),
    ("detektor-runtime", &["detektor-contract", "detektor-backends"]),
    ("detektor-dispatcher", &["detektor-contract", "detektor-media", "detektor-backends", "detektor-runtime"]),
    ("detektor-detect", &["detektor-contract", "detektor-media", "detektor-backends", "detektor-runtime"]),
    ("detektor-merge", &["detektor-contract", "detektor-backends", "detektor-runtime"]),
    ("detektor-events", &["detektor-contract", "detektor-media", "detektor-backends", "detektor-runtime"]),
    (
        "detektor",
        &[
            "detektor-contract",
            "detektor-media",
            "detektor-backends",
            "detektor-runtime",
            "detektor-dispatcher",
            "detektor-detect",
            "detektor-merge",
            "detektor-events",
        ],
    ),
    // It ships with nothing.
    (
        "detektor-sim",
        &["detektor-contract", "detektor-backends", "detektor-runtime", "detektor-dispatcher", "detektor-merge"],
    ),
];

fn metadata() -> cargo_metadata::Metadata {
    cargo_metadata::MetadataCommand::new().no_deps().exec().expect("cargo metadata")
}

#[test]
fn dependencies_point_one_way() {
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        ALLOWED.iter().map(|(name, below)| (*name, below.iter().copied().collect())).collect();
    let metadata = metadata();
    let members: BTreeSet<&str> = metadata.packages.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(members, allowed.keys().copied().collect(), "every workspace member has a place in the layering");
    for package in &metadata.packages {
        let name = package.name.as_str();
        // Development dependencies do not ship, and may look sideways.
        let normal = package.dependencies.iter().filter(|d| d.kind == cargo_metadata::DependencyKind::Normal);
        for dependency in normal.map(|d| d.name.as_str()).filter(|d| members.contains(d)) {
            assert!(allowed[name].contains(dependency), "{name} must not depend on {dependency}");
        }
    }
}

#[test]
fn the_contract_does_no_io() {
    let metadata = metadata();
    let contract = metadata.packages.iter().find(|p| p.name.as_str() == "detektor-contract").unwrap();
    for banned in ["tokio", "sqlx", "axum", "rand", "jiff", "async-trait", "futures"] {
        let used = contract.dependencies.iter().any(|d| d.name == banned);
        assert!(!used, "detektor-contract is pure and must not depend on {banned}");
    }
}

#[test]
fn every_crate_inherits_the_lints() {
    for package in &metadata().packages {
        let manifest = std::fs::read_to_string(&package.manifest_path).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{} does not inherit the lints", package.name);
    }
}
