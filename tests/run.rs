//! The main job: real footage becomes events, once, whatever happens on the way.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::process::Stdio;
use std::time::{Duration, Instant};

use support::{accounted, detektor, driveway, frames, lines, piece, read, run, summary};

#[test]
fn a_car_comes_and_goes_in_the_driveway() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let output = run(&data, &[format!("driveway={}", driveway().display())], &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary = summary(&output);
    let camera = &summary["cameras"]["driveway"];
    assert_eq!(accounted(camera), frames(&driveway()));
    assert_eq!(camera["error"], serde_json::Value::Null);

    let events = lines("events", &data);
    assert_eq!(summary["events"], events.len());
    let cars: Vec<_> = events.iter().filter(|event| event["label"] == "car").collect();
    assert_eq!(cars.len(), 1, "one car comes and goes: {events:#?}");
    let (start, end) = (cars[0]["start_s"].as_f64().unwrap(), cars[0]["end_s"].as_f64().unwrap());
    assert!((2.0..12.0).contains(&start) && (20.0..40.0).contains(&end), "{start} to {end}");

    // A second run over the same directory has nothing to do and says the same.
    let before = ["events", "detections", "ledger"].map(|kind| read(kind, &data));
    let again = run(&data, &[format!("driveway={}", driveway().display())], &[]);
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(["events", "detections", "ledger"].map(|kind| read(kind, &data)), before);
}

#[test]
fn a_killed_run_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let camera = [format!("gate={}", piece(dir.path(), 0.0, 12.0).display())];
    let (calm, killed) = (dir.path().join("calm"), dir.path().join("killed"));
    assert!(run(&calm, &camera, &[]).status.success());
    for life_ms in [300, 700, 1100, 1500, 1900, 2300] {
        let mut command = detektor(&["run", "--until-done", "--listen", "127.0.0.1:0", "--data-dir"]);
        command.arg(&killed).args(["--camera", &camera[0]]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(life_ms));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(run(&killed, &camera, &[]).status.success());
    for kind in ["events", "detections", "ledger"] {
        assert_eq!(read(kind, &killed), read(kind, &calm), "{kind}");
    }

    for file in ["detektor.db", "detektor.db-wal", "detektor.db-shm"] {
        _ = std::fs::remove_file(killed.join(file));
    }
    let reindex = detektor(&["reindex", "--data-dir"]).arg(&killed).output().unwrap();
    assert!(reindex.status.success(), "{}", String::from_utf8_lossy(&reindex.stderr));
    for kind in ["events", "detections", "ledger"] {
        assert_eq!(read(kind, &killed), read(kind, &calm), "{kind} after the reindex");
    }
}

#[test]
fn sigterm_drains_and_ends_well() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut command = detektor(&["run", "--listen", "127.0.0.1:0", "--data-dir"]);
    command.arg(&data).arg("--camera").arg(format!("gate={}", driveway().display()));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) && !data.join("bucket/log").exists() {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(data.join("bucket/log").exists(), "nothing was merged within a minute");
    let terminated = std::process::Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(terminated.success());
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}");
}
