//! Chaos on the real servers, for a short while: what `just chaos` does at length.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

const ROUNDS: &str = "20";
const SEED: &str = "7";

/// A script of this folder.
fn python(script: &str) -> Command {
    let mut command = Command::new("python3");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/chaos").join(script);
    command.env("PYTHONDONTWRITEBYTECODE", "1").arg(path).stdin(Stdio::null());
    command
}

#[test]
fn what_chaos_looks_for_it_would_see() {
    let output = python("test_checks.py").output().expect("python3 is needed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn twenty_rounds_of_chaos_lose_double_and_tell_nothing() {
    let output = python("chaos.py")
        .args([
            env!("CARGO_BIN_EXE_detektor"),
            "--footage",
            concat!(env!("CARGO_MANIFEST_DIR"), "/samples/driveway.mov"),
        ])
        .args(["--rounds", ROUNDS, "--seed", SEED, "--loops", "1", "--pause", "1.5", "--timeout", "600"])
        .output()
        .expect("python3 is needed");
    let (summary, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // Seed, schedule, what is wrong, and where the logs are.
    assert!(output.status.success(), "{told}\n{summary}");
    println!("{summary}");
    let summary: Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["rounds"].to_string(), ROUNDS, "{summary}");
    for none in ["lost", "doubled", "secrets_found", "wrong"] {
        assert_eq!(summary[none], 0, "{summary}");
    }
}
