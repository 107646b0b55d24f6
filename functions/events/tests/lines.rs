//! What the command line prints: everything, in a fixed order, the same every time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::Bed;
use common::scene::{Scene, object};
use detektor_contract::{CameraId, EndReason, GapCause};
use detektor_events::lines::{self, Lines};
use futures::TryStreamExt;
use serde::Serialize;
use serde_json::Value;

async fn printed<T: Serialize>(lines: Lines<T>) -> Vec<Value> {
    lines.map_ok(|line| serde_json::to_value(line).unwrap()).try_collect().await.unwrap()
}

fn key(line: &Value, fields: &[&str]) -> Vec<String> {
    fields
        .iter()
        .map(|field| line[*field].as_f64().map_or(line[*field].to_string(), |n| format!("{n:020.6}")))
        .collect()
}

/// Three cameras, settled in an order of their own; more than a page of events and of outcomes.
async fn seeded() -> Bed {
    let bed = Bed::new().await;
    for (camera, visits) in [("yard", 3), ("door", 130), ("gate", 2)] {
        let mut scene = Scene::footage(camera);
        for visit in 0..visits {
            // Two at a time, so that starts are equal; from the 100th visit on many more.
            let many = if visit >= 100 { 16 } else { 2 };
            scene.look(false, |_| (0..many).map(|i| object("car", 0.8, [i as f32 * 40.0, 50.0, 30.0, 30.0])).collect());
            scene.quiet(1);
            (0..3).for_each(|_| scene.look(false, |_| Vec::new()));
        }
        scene.end(EndReason::EndOfFile);
        bed.settle(&scene.camera, &scene.outcomes).await;
    }
    bed
}

#[tokio::test]
async fn events_come_by_camera_start_and_id_and_all_of_them() {
    let bed = seeded().await;
    let events = printed(lines::events(bed.store.clone(), None)).await;
    let keys: Vec<_> = events.iter().map(|line| key(line, &["camera", "start_s", "id"])).collect();
    assert!(keys.is_sorted());
    assert_eq!(events.len(), 3 * 2 + 100 * 2 + 30 * 16 + 2 * 2);
    assert!(events.iter().all(|event| event.get("revision").is_none()));
    let gate = printed(lines::events(bed.store.clone(), Some(CameraId::new("gate").unwrap()))).await;
    assert_eq!(gate.len(), 4);
    insta::assert_json_snapshot!("event_line", gate[0]);
}

#[tokio::test]
async fn detections_come_for_every_look_with_or_without_objects() {
    let bed = seeded().await;
    let all = printed(lines::detections(bed.store.clone(), None)).await;
    let keys: Vec<_> = all.iter().map(|line| key(line, &["camera", "epoch", "frame"])).collect();
    assert!(keys.is_sorted());
    assert_eq!(all.len(), 135 * 4 * 5);
    assert_eq!(all.iter().filter(|line| line["objects"] == Value::Array(vec![])).count(), 135 * 3 * 5);
    let gate = printed(lines::detections(bed.store.clone(), Some(CameraId::new("gate").unwrap()))).await;
    insta::assert_json_snapshot!("detection_lines", gate[..2]);
    let frames: Vec<u64> = gate.iter().map(|line| line["frame"].as_u64().unwrap()).take(6).collect();
    assert_eq!(frames, [0, 6, 12, 18, 24, 60]);
}

#[tokio::test]
async fn superseded_frames_are_left_out() {
    let bed = Bed::new().await;
    let mut scene = Scene::live("gate", 1_764_000_000);
    (0..10).for_each(|_| scene.look(false, |_| vec![object("car", 0.8, [0.0, 0.0, 50.0, 50.0])]));
    scene.take_over(4);
    (0..10).for_each(|_| scene.look(false, |_| vec![object("car", 0.8, [0.0, 0.0, 50.0, 50.0])]));
    bed.settle(&scene.camera, &scene.outcomes).await;
    let lines = printed(lines::detections(bed.store.clone(), None)).await;
    let times: Vec<f64> = lines.iter().map(|line| line["time_s"].as_f64().unwrap()).collect();
    assert!(times.is_sorted_by(|a, b| a < b), "no moment twice");
    assert_eq!(lines.len(), (6 + 10) * 5);
    assert_eq!(lines.iter().filter(|line| line["epoch"] == 1_764_000_000_000_u64).count(), 6 * 5);
    let ledger = &printed(lines::ledgers(bed.store.clone(), None)).await[0];
    assert_eq!((&ledger["detected"], &ledger["skipped"]["superseded"]), (&80.into(), &120.into()));
}

#[tokio::test]
async fn ledgers_list_every_gap_once() {
    let bed = Bed::new().await;
    let mut scene = Scene::live("gate", 1_764_000_000);
    for _ in 0..600 {
        scene.long_quiet(60);
        scene.gap(5, GapCause::Silent);
    }
    scene.long_quiet(60);
    scene.lost(GapCause::Disconnected);
    bed.settle(&scene.camera, &scene.outcomes).await;
    let ledgers = printed(lines::ledgers(bed.store.clone(), None)).await;
    let gaps = ledgers[0]["gaps"].as_array().unwrap();
    assert_eq!((gaps.len(), &ledgers[0]["closes"]), (601, &true.into()));
    assert!(gaps[..600].iter().all(|gap| gap["until_s"].as_f64().unwrap() - gap["from_s"].as_f64().unwrap() == 5.0));
    assert_eq!(gaps[600]["until_s"], Value::Null);
}
