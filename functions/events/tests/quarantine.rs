//! What failed for good, and trying it again.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::http::{Method, StatusCode};
use common::Bed;
use common::quarantine::{porch, queued};
use detektor_backends::queue::QueueError;
use detektor_contract::SegmentJob;
use detektor_contract::names::{Queue, Work};
use detektor_contract::wire::decode_job;
use detektor_events::{Api, Behind, Options, router};
use detektor_runtime::metrics::Metrics;
use detektor_runtime::role::OpenQueues;
use tower::ServiceExt;

#[tokio::test]
async fn what_failed_for_good_is_listed() {
    let bed = Bed::new().await;
    assert_eq!(bed.get("/v1/quarantine").await.json()["segments"], serde_json::json!([]));
    porch(&bed).await;
    insta::assert_json_snapshot!("quarantine", bed.get("/v1/quarantine").await.json());
    let one = bed.get("/v1/quarantine?limit=1&camera=porch").await.json();
    assert_eq!((one["segments"].as_array().unwrap().len(), &one["truncated"]), (1, &true.into()));
    assert_eq!(bed.get("/v1/quarantine?camera=gate").await.json()["segments"], serde_json::json!([]));
    assert_eq!(bed.get("/v1/quarantine?limit=0&camera=..&x=1").await.json()["errors"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_replay_queues_the_next_generation_where_the_camera_is_placed() {
    let bed = Bed::new().await;
    let (_, [kept, gone]) = porch(&bed).await;
    let path = |job: &SegmentJob| format!("/v1/quarantine/{}/replay", job.id);
    for _ in 0..2 {
        let answer = bed.send(Method::POST, &path(&kept), &[]).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", String::from_utf8_lossy(&answer.body));
        insta::assert_json_snapshot!("requeued", answer.json());
    }
    // To ask twice queues the same twice.
    assert_eq!(queued(&bed).await, 2);
    let consumer = bed.queues.consume(&[Queue::Work(Work::Detect, 0)], 2).await.unwrap();
    for _ in 0..2 {
        let delivery = consumer.receive().await.unwrap();
        assert_eq!(decode_job(&delivery.message.body).unwrap(), SegmentJob { generation: 1, ..kept.clone() });
    }
    let lost = bed.send(Method::POST, &path(&gone), &[]).await;
    assert_eq!(lost.status, StatusCode::CONFLICT);
    insta::assert_json_snapshot!("cannot_be_replayed", lost.json());
}

#[tokio::test]
async fn only_what_is_in_quarantine_is_replayed_and_only_by_an_admin() {
    let bed = Bed::with_tokens("look", "rule").await;
    let (_, [kept, _]) = porch(&bed).await;
    let path = format!("/v1/quarantine/{}/replay", kept.id);
    for (token, status) in [("look", 403), ("wrong", 401)] {
        let bearer = format!("Bearer {token}");
        assert_eq!(bed.send(Method::POST, &path, &[("authorization", &bearer)]).await.status.as_u16(), status);
    }
    assert_eq!(bed.send(Method::POST, &path, &[]).await.status, StatusCode::UNAUTHORIZED);
    let admin = [("authorization", "Bearer rule")];
    for (segment, status) in [
        ("porch/1/0", 404),
        ("porch/1/999", 404),
        ("nobody/1/2", 404),
        ("porch/x/2", 422),
        ("porch/1/-1", 422),
        ("porch/1/99999999999999999999", 422),
        ("%2e%2e/1/2", 422),
        ("detect.00/1/2", 422),
        ("%27%20OR%201=1/1/2", 422),
        ("porch%00/1/2", 422),
        ("porch%2f1/1/2", 422),
    ] {
        let answer = bed.send(Method::POST, &format!("/v1/quarantine/{segment}/replay"), &admin).await;
        assert_eq!(answer.status.as_u16(), status, "{segment}: {}", String::from_utf8_lossy(&answer.body));
    }
    assert_eq!(queued(&bed).await, 0);
    assert_eq!(bed.send(Method::POST, &path, &admin).await.status, StatusCode::ACCEPTED);
    assert_eq!(queued(&bed).await, 1);
}

#[tokio::test]
async fn a_broker_that_is_away_is_said_to_be_away_and_asked_again_the_next_time() {
    let bed = Bed::new().await;
    let (_, [kept, _]) = porch(&bed).await;
    let (queues, tries) = (bed.queues.clone(), Arc::new(AtomicU32::new(0)));
    let counted = Arc::clone(&tries);
    let open: OpenQueues = Arc::new(move || {
        let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        let away = QueueError::Unavailable { context: "connecting".to_owned(), source: None };
        Box::pin(std::future::ready(if first { Err(away) } else { Ok(queues.clone()) }))
    });
    let behind =
        Behind { store: bed.store.clone(), bucket: bed.bucket.clone(), coordination: None, queues: Some(open) };
    let api = Api::new(behind, Options::default(), &Metrics::new(), bed.shutdown.clone()).unwrap();
    let ask = |path: String| {
        let request = axum::http::Request::post(path).body(axum::body::Body::empty()).unwrap();
        router(api.clone()).oneshot(request)
    };
    let path = format!("/v1/quarantine/{}/replay", kept.id);
    for expected in [503, 202, 202] {
        assert_eq!(ask(path.clone()).await.unwrap().status().as_u16(), expected);
    }
    assert_eq!(tries.load(Ordering::SeqCst), 2, "opened once, and kept");
}
