//! What the API answers, body by body.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use axum::http::{Method, StatusCode};
use bytes::Bytes;
use common::Bed;
use common::scene::{Scene, object};
use detektor_backends::store::CameraState;
use detektor_contract::{EndReason, GapCause, ObjectKey};
use serde_json::Value;

/// Two cameras: footage in which a car passes and a person comes, and a live one with a gap and a parked car.
async fn seeded() -> Bed {
    let bed = Bed::new().await;
    let mut yard = Scene::footage("yard");
    yard.quiet(2);
    for second in 2..6 {
        yard.look(true, move |s| match second {
            2..=4 => vec![object("car", 0.8, [100.0 + 60.0 * (s as f32 - 2.0), 200.0, 120.0, 80.0])],
            _ => Vec::new(),
        });
    }
    yard.poison();
    for _ in 0..3 {
        yard.look(false, |s| vec![object("person", 0.6125, [300.5, 100.0 + s as f32, 40.0, 90.0])]);
    }
    yard.end(EndReason::EndOfFile);

    let mut gate = Scene::live("gate", 1_764_000_000);
    gate.undecodable(12);
    for _ in 0..3 {
        gate.look(true, |_| vec![object("car", 0.9, [10.0, 20.0, 200.0, 100.0])]);
    }
    gate.gap(90, GapCause::Disconnected);
    for _ in 0..3 {
        gate.look(true, |_| vec![object("car", 0.7, [10.0, 20.0, 200.0, 100.0])]);
    }

    for (scene, url) in [(&yard, "file:yard.mp4"), (&gate, "rtsp://gate.local/main")] {
        bed.store.register_camera(&scene.camera, url).await.unwrap();
        bed.settle(&scene.camera, &scene.outcomes).await;
    }
    bed.store.set_camera_state(&yard.camera, &CameraState::Ended).await.unwrap();
    bed.store.set_camera_state(&gate.camera, &CameraState::Running).await.unwrap();
    bed
}

async fn body(bed: &Bed, path: &str) -> Value {
    let answer = bed.get(path).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", String::from_utf8_lossy(&answer.body));
    assert_eq!(answer.header("content-type"), "application/json");
    answer.json()
}

fn ids(page: &Value) -> Vec<&str> {
    page["events"].as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn cameras_and_ledgers() {
    let bed = seeded().await;
    insta::assert_json_snapshot!("cameras", body(&bed, "/v1/cameras").await);
    insta::assert_json_snapshot!("camera", body(&bed, "/v1/cameras/gate").await);
    insta::assert_json_snapshot!("ledger_yard", body(&bed, "/v1/cameras/yard/ledger").await);
    insta::assert_json_snapshot!("ledger_gate", body(&bed, "/v1/cameras/gate/ledger").await);
    insta::assert_json_snapshot!("timeline_gate", body(&bed, "/v1/cameras/gate/timeline").await);
    insta::assert_json_snapshot!("timeline_yard", body(&bed, "/v1/cameras/yard/timeline?from=5&until=9.5").await);
}

#[tokio::test]
async fn events_and_detections() {
    let bed = seeded().await;
    let mut all = body(&bed, "/v1/events").await;
    // The one thing that differs from store to store.
    all["stream_from"] = "generation:position".into();
    insta::assert_json_snapshot!("events", all);
    let id = all["events"][0]["id"].as_str().unwrap();
    assert_eq!(body(&bed, &format!("/v1/events/{id}")).await, all["events"][0]);
    insta::assert_json_snapshot!("detections", body(&bed, "/v1/cameras/yard/detections?from=2.5&until=3.2").await);
}

#[tokio::test]
async fn filters_leave_out_what_they_say() {
    let bed = seeded().await;
    let all = body(&bed, "/v1/events?order=asc").await;
    let count = |query: &'static str| {
        let bed = &bed;
        async move { body(bed, &format!("/v1/events?{query}")).await["events"].as_array().unwrap().len() }
    };
    let total = all["events"].as_array().unwrap().len();
    assert_eq!(total, 4);
    assert_eq!(count("camera=yard").await, 2);
    assert_eq!(count("camera=nobody").await, 0);
    assert_eq!(count("label=car").await, 3);
    assert_eq!(count("label=car&label=person").await, 4);
    assert_eq!(count("min_score=0.8").await, 2);
    assert_eq!(count("camera=gate&from=1764000060").await, 1);
    assert_eq!(count("camera=gate&until=1764000060").await, 1);
    assert_eq!(count("until=100").await, 2);
    let newest = body(&bed, "/v1/events?order=desc").await;
    assert_eq!(ids(&all), ids(&newest).into_iter().rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn pages_hold_every_event_and_every_frame_once() {
    let bed = seeded().await;
    let all = body(&bed, "/v1/events").await;
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = body(&bed, &format!("/v1/events?limit=1&cursor={cursor}")).await;
        seen.extend(ids(&page).into_iter().map(str::to_owned));
        match page["next"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, ids(&all));

    let all = body(&bed, "/v1/cameras/yard/detections?limit=2000").await;
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = body(&bed, &format!("/v1/cameras/yard/detections?limit=7&cursor={cursor}")).await;
        seen.extend(page["detections"].as_array().unwrap().clone());
        match page["next"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(Value::from(seen), all["detections"]);
    assert_eq!(all["detections"].as_array().unwrap().len(), 7 * 5);
}

#[tokio::test]
async fn a_snapshot_is_the_object_and_caches_can_ask_for_it() {
    let bed = seeded().await;
    let id = "gate.1764000000000.1.0.0";
    let event = body(&bed, &format!("/v1/events/{id}")).await;
    let path = event["snapshot_url"].as_str().unwrap().to_owned();
    let missing = bed.get(&path).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert_eq!(missing.json()["detail"], "it is not kept any more");

    let stored = bed.store.event(&id.parse().unwrap()).await.unwrap().unwrap();
    let key: ObjectKey = stored.event.best.snapshot.unwrap();
    bed.bucket.put(&key, Bytes::from_static(b"\xff\xd8picture")).await.unwrap();
    let found = bed.get(&path).await;
    assert_eq!((found.status, &found.body[..]), (StatusCode::OK, &b"\xff\xd8picture"[..]));
    assert_eq!(found.header("content-type"), "image/jpeg");
    assert_eq!(found.header("cache-control"), "private, no-cache");
    let again = bed.send(Method::GET, &path, &[("if-none-match", found.header("etag"))]).await;
    assert_eq!((again.status, again.body.len()), (StatusCode::NOT_MODIFIED, 0));
    let head = bed.send(Method::HEAD, &path, &[]).await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));

    let person = bed.get("/v1/events?label=person").await.json()["events"][0].clone();
    assert_eq!(person["snapshot_url"], Value::Null);
    let none = bed.get(&format!("/v1/events/{}/snapshot", person["id"].as_str().unwrap())).await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_description_names_every_path() {
    let bed = Bed::new().await;
    let document = body(&bed, "/v1/openapi.json").await;
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    insta::assert_json_snapshot!("openapi_paths", paths);
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(document.pointer(reference).is_some(), "{reference}");
    }
    for path in paths.into_iter().filter(|path| *path != "/v1/events/stream") {
        let answer = bed.get(&path.replace("{id}", "gate.1.2.3.4")).await;
        assert_ne!(answer.json()["detail"], "there is nothing at this path", "{path}");
    }
}

#[tokio::test]
async fn readiness_follows_the_store() {
    let bed = Bed::new().await;
    let health = detektor_runtime::http::Health::new();
    let check = health.check("events");
    assert!(!health.is_ready());
    let (api, shutdown) = (bed.api.clone(), bed.shutdown.clone());
    let watch = tokio::spawn(async move { api.watch(&check).await });
    while !health.is_ready() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    shutdown.cancel();
    watch.await.unwrap();
}
