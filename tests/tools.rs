//! The tools that read, mend and check.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::path::Path;
use std::process::Output;

use support::{detektor, driveway};

fn tool(args: &[&str], data: &Path) -> Output {
    let output = detektor(args).arg("--data-dir").arg(data).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// An outcome.
const END: &str = r#"{"id":{"camera":"gate","epoch":1,"sequence":0},"generation":0,"body":{"kind":"marker","marker":"end_of_epoch","frames":0,"at":0,"reason":"stopped"}}"#;

/// Writes an outcome log of these lines into a data directory.
fn log(data: &Path, lines: &[&str]) {
    let log = data.join("bucket/log/aa");
    std::fs::create_dir_all(&log).unwrap();
    std::fs::write(log.join("aa.json"), lines.join("\n")).unwrap();
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_store_that_is_yet_to_be_made_is_not_taken_for_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    // Makes a database and no more.
    tool(&["replay"], dir.path());
    for kind in ["events", "detections", "ledger"] {
        let output = tool(&[kind, "--json"], dir.path());
        assert!(said(&output).contains("this is not all") && output.stdout.is_empty(), "{}", said(&output));
    }
    tool(&["reindex"], dir.path());
    assert_eq!(said(&tool(&["events"], dir.path())), "");
}

#[test]
fn a_reindex_names_what_it_cannot_read_and_does_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    tool(&["replay"], dir.path());
    log(dir.path(), &[END, &END.replace("\"epoch\":1", "\"epoch\":9223372036854775808"), "{"]);
    let output = tool(&["reindex"], dir.path());
    assert!(said(&output).contains("log/aa/aa.json: 2 in it cannot be read"), "{}", said(&output));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("1 outcomes of 1 cameras"), "{output:?}");
}

#[test]
fn doctor_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let camera = format!("driveway={}", driveway().display());
    let output = tool(&["doctor", "--listen", "127.0.0.1:0", "--camera", &camera], &dir.path().join("a/b"));
    assert!(!String::from_utf8_lossy(&output.stdout).contains("FAIL"), "{output:?}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_prune_says_what_goes_and_the_ledger_stays() {
    let dir = tempfile::tempdir().unwrap();
    tool(&["replay"], dir.path());
    log(dir.path(), &[END]);
    let prune = |arguments: &[&str]| {
        let output = detektor(&["prune"]).args(arguments).arg("--data-dir").arg(dir.path()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout.clone()).unwrap(), said(&output))
    };
    let all = ["--all", "--camera", "gate", "--json"];
    let (code, _, why) = prune(&all);
    assert!(code == Some(1) && why.contains("detektor reindex"), "{why}");
    tool(&["reindex"], dir.path());
    let ledger = tool(&["ledger", "--json"], dir.path()).stdout;
    let rows = |stdout: &str| serde_json::from_str::<serde_json::Value>(stdout).unwrap()["rows"]["outcomes"].as_u64();
    let (code, dry, _) = prune(&["--all", "--camera", "gate", "--dry-run", "--json"]);
    assert_eq!((code, rows(&dry)), (Some(0), Some(1)), "{dry}");
    let (_, young, _) = prune(&["--older-than", "30d"]);
    assert!(young.contains("removed: 0 outcomes"), "{young}");
    let (_, done, _) = prune(&all);
    assert_eq!(rows(&done), Some(1), "{done}");
    assert_eq!(rows(&prune(&all).1), Some(0));
    assert_eq!(tool(&["ledger", "--json"], dir.path()).stdout, ledger);
    let (code, _, why) = prune(&["--all", "--camera", "nobody"]);
    assert!(code == Some(1) && why.contains("no camera nobody"), "{why}");
    for wrong in [&["--all"][..], &[], &["--older-than", "3"], &["--older-than", "30d", "--all", "--camera", "gate"]] {
        assert_eq!(prune(wrong).0, Some(2), "{wrong:?}");
    }
}
