//! Which cameras are wanted, by the admin API.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use axum::http::{Method, StatusCode};
use common::{Answer, Bed};
use detektor_events::{Api, Behind, Options, router};
use detektor_runtime::camera::parse_spec;
use detektor_runtime::metrics::Metrics;
use serde_json::{Value, json};
use tower::ServiceExt;

const JSON: (&str, &str) = ("content-type", "application/json");
const GATE: &str = "/v1/admin/cameras/gate";

async fn put(bed: &Bed, path: &str, condition: Option<(&str, &str)>, spec: &Value) -> Answer {
    let headers: Vec<(&str, &str)> = [JSON].into_iter().chain(condition).collect();
    bed.send_body(Method::PUT, path, &headers, &spec.to_string()).await
}

fn status(answer: &Answer) -> u16 {
    answer.status.as_u16()
}

#[tokio::test]
async fn a_camera_is_put_read_changed_and_removed() {
    let bed = Bed::new().await;
    let spec = json!({ "url": "rtsp://192.0.2.7/stream", "user": "viewer", "password_file": "/run/secrets/gate",
                       "detect": { "fps": 2, "masks": [[0, 0, 1, 0.1]] }, "sessions": 1 });
    let new = put(&bed, GATE, None, &spec).await;
    assert_eq!(status(&new), 201);
    let seen = new.header("etag").to_owned();
    // As a dispatcher reads it.
    let wanted = bed.coordination.wanted().await.unwrap();
    assert_eq!((wanted.len(), wanted[0].id.as_str()), (1, "gate"));
    assert_eq!(parse_spec(&wanted[0].spec).unwrap().sessions, Some(1));
    let read = bed.get(GATE).await;
    assert_eq!((status(&read), read.header("etag")), (200, seen.as_str()));
    assert_eq!(read.json(), new.json());
    assert_eq!(read.header("cache-control"), "no-store");

    // What was read can be sent back, changed.
    let mut changed = read.json();
    changed["detect"]["fps"] = json!("all");
    let answer = put(&bed, GATE, Some(("if-match", &seen)), &changed).await;
    assert_eq!((status(&answer), answer.json()), (200, changed.clone()));
    assert_ne!(answer.header("etag"), seen);
    // The same once more changes nothing.
    let again = put(&bed, GATE, Some(("if-match", answer.header("etag"))), &changed).await;
    assert_eq!((status(&again), again.header("etag")), (200, answer.header("etag")));

    put(&bed, "/v1/admin/cameras/yard", None, &json!({ "url": "yard.mp4", "loop": "forever" })).await;
    let mut all = bed.get("/v1/admin/cameras").await.json();
    for camera in all["cameras"].as_array_mut().unwrap() {
        camera["revision"] = "a number".into();
    }
    insta::assert_json_snapshot!("wanted", all);

    let gone = bed.send(Method::DELETE, GATE, &[("if-match", again.header("etag"))]).await;
    assert_eq!((status(&gone), gone.body.len()), (204, 0));
    assert_eq!(status(&bed.get(GATE).await), 404);
    assert_eq!(bed.coordination.wanted().await.unwrap().len(), 1);
    assert_eq!(status(&bed.send(Method::DELETE, GATE, &[("if-match", "*")]).await), 404);
}

#[tokio::test]
async fn two_admins_do_not_overwrite_each_other() {
    let bed = Bed::new().await;
    let first = put(&bed, GATE, None, &json!({ "url": "one.mp4" })).await.header("etag").to_owned();
    let second = put(&bed, GATE, Some(("if-match", &first)), &json!({ "url": "two.mp4" })).await;
    let second = second.header("etag").to_owned();

    let late = put(&bed, GATE, Some(("if-match", &first)), &json!({ "url": "three.mp4" })).await;
    assert_eq!((status(&late), late.header("etag")), (412, second.as_str()));
    insta::assert_json_snapshot!("changed_meanwhile", late.json());
    let blind = put(&bed, GATE, None, &json!({ "url": "three.mp4" })).await;
    assert_eq!(status(&blind), 428);
    insta::assert_json_snapshot!("unconditional", blind.json());
    assert_eq!(status(&put(&bed, GATE, Some(("if-none-match", "*")), &json!({ "url": "x" })).await), 412);
    assert_eq!(status(&bed.send(Method::DELETE, GATE, &[]).await), 428);
    assert_eq!(status(&bed.send(Method::DELETE, GATE, &[("if-match", &first)]).await), 412);
    assert_eq!(bed.get(GATE).await.json()["url"], "two.mp4");

    // In so many words, it goes.
    assert_eq!(status(&put(&bed, GATE, Some(("if-match", "*")), &json!({ "url": "four.mp4" })).await), 200);
    assert_eq!(status(&put(&bed, "/v1/admin/cameras/new", Some(("if-match", "*")), &json!({ "url": "x" })).await), 412);
    for condition in [("if-match", "17"), ("if-match", "\"x\""), ("if-match", "W/\"1\""), ("if-none-match", "\"1\"")] {
        assert_eq!(status(&put(&bed, GATE, Some(condition), &json!({ "url": "x" })).await), 422, "{condition:?}");
    }
    let both = [JSON, ("if-match", "*"), ("if-none-match", "*")];
    assert_eq!(status(&bed.send_body(Method::PUT, GATE, &both, "{}").await), 422);
    let none = bed.send(Method::DELETE, GATE, &[("if-none-match", "*")]).await;
    assert_eq!(status(&none), 422);
}

#[tokio::test]
async fn every_mistake_is_named_and_no_secret_repeated() {
    let bed = Bed::new().await;
    let spec = json!({ "name": "yard", "url": "rtsp://viewer:sesame@192.0.2.7/stream", "user": "viewer", "password": "sesame",
                       "detect": { "fps": 0, "fsp": 1 }, "events": { "open_score": 2 }, "sessions": 0 });
    let answer = put(&bed, GATE, None, &spec).await;
    assert_eq!((status(&answer), answer.header("content-type")), (422, "application/problem+json"));
    insta::assert_json_snapshot!("spec_mistakes", answer.json());
    assert!(!String::from_utf8_lossy(&answer.body).contains("sesame"));
    for body in ["", "{", "[]", "null", "{\"url\": null}", "\"x\""] {
        let answer = bed.send_body(Method::PUT, GATE, &[JSON], body).await;
        assert_eq!((status(&answer), &answer.json()["errors"][0]["parameter"]), (422, &json!("camera")), "{body}");
    }
    let yaml = bed.send_body(Method::PUT, GATE, &[("content-type", "application/yaml")], "url: x").await;
    assert_eq!(status(&yaml), 415);
    let large = bed.send_body(Method::PUT, GATE, &[JSON], &" ".repeat(70_000)).await;
    assert_eq!(status(&large), 413);
    assert_eq!(bed.coordination.wanted().await.unwrap(), []);
}

/// Every byte as `%xx`.
fn encoded(name: &str) -> String {
    name.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

#[tokio::test]
async fn a_name_steers_nothing() {
    let bed = Bed::new().await;
    put(&bed, GATE, None, &json!({ "url": "x.mp4" })).await;
    let before = bed.coordination.wanted().await.unwrap();
    let long = "x".repeat(300);
    let names = [
        "'; DROP TABLE wanted_cameras; --",
        "gate' OR '1'='1",
        "\"",
        "../gate",
        "..",
        ".",
        "%2e%2e",
        "a\0b",
        "gate\0",
        "a/b",
        "a\\b",
        "a\r\nx: y",
        "detect.00",
        "amq.topic",
        "*",
        "#",
        "-gate",
        "_gate",
        "gäte",
        " gate",
        "$1",
        &long,
    ];
    for name in names {
        let at = |base: &str, rest: &str| format!("{base}/{}{rest}", encoded(name));
        let wanted = at("/v1/admin/cameras", "");
        let answers = [
            put(&bed, &wanted, None, &json!({ "url": "x.mp4" })).await,
            put(&bed, GATE, Some(("if-match", "*")), &json!({ "url": "x.mp4", "name": name })).await,
            bed.get(&wanted).await,
            bed.send(Method::DELETE, &wanted, &[("if-match", "*")]).await,
            bed.get(&at("/v1/cameras", "")).await,
            bed.get(&at("/v1/cameras", "/ledger")).await,
            bed.get(&at("/v1/cameras", "/timeline")).await,
            bed.get(&format!("/v1/events?camera={}", encoded(name))).await,
            bed.get(&at("/v1/events", "/clip")).await,
        ];
        for answer in answers {
            assert_eq!(status(&answer), 422, "{name:?}: {}", String::from_utf8_lossy(&answer.body));
        }
    }
    for raw in [
        "/v1/admin/cameras/../cameras/gate",
        "/v1/admin/cameras/gate/../../x",
        "/v1/admin/cameras/",
        "//v1/admin/cameras",
    ] {
        assert_eq!(status(&bed.get(raw).await), 404, "{raw}");
    }
    assert_eq!(bed.coordination.wanted().await.unwrap(), before);
    // What looks like something to a database, and is a name.
    for name in ["null", "select", "a--b", "0x1", "1e5", "true"] {
        let path = format!("/v1/admin/cameras/{name}");
        assert_eq!(status(&put(&bed, &path, None, &json!({ "url": "x.mp4" })).await), 201, "{name}");
        assert_eq!(bed.get(&path).await.json()["name"], name);
    }
}

#[tokio::test]
async fn where_the_configuration_names_the_cameras_there_is_nothing_to_change() {
    let bed = Bed::new().await;
    let behind = Behind { store: bed.store.clone(), bucket: bed.bucket.clone(), coordination: None, queues: None };
    let api = Api::new(behind, Options::default(), &Metrics::new(), bed.shutdown.clone()).unwrap();
    let request = axum::http::Request::get("/v1/admin/cameras").body(axum::body::Body::empty()).unwrap();
    let response = router(api).oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    assert!(String::from_utf8_lossy(&body).contains("its configuration names"));
}
