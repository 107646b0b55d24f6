//! A handler written for AWS's S3 events hears of what the roles put into the bucket, where the store tells nobody.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use aws_lambda_events::event::s3::S3Event;
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::routing::post;
use detektor_backends::bucket::Bucket;
use detektor_backends::s3::S3Bucket;
use detektor_contract::ObjectKey;
use support::deployment::Deployment;
use support::piece;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

const PATIENCE: Duration = Duration::from_secs(240);
const TOKEN: &str = "a-handler-s-token";

/// The published library's own type reads the body; what it cannot read is answered with 422, and the test hears nothing.
async fn handle(State(heard): State<UnboundedSender<S3Event>>, headers: HeaderMap, Json(event): Json<S3Event>) {
    assert_eq!(headers[AUTHORIZATION], format!("Bearer {TOKEN}"));
    // The test may have heard enough.
    _ = heard.send(event);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_for_s3_events_hears_of_snapshots_and_events() {
    let (sender, mut heard) = unbounded_channel();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let handler = axum::Router::new().route("/", post(handle)).with_state(sender);
    tokio::spawn(async move { axum::serve(listener, handler).await });

    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, TOKEN).unwrap();
    let many = Deployment::new(dir.path()).await;
    let tells = ["--s3-notify-url", &url, "--s3-notify-token-file", token.to_str().unwrap()];
    let balancer = [&["--interval-ms", "200"][..], &tells].concat();
    let detect = [&["--workers", "1"][..], &tells].concat();
    let _roles = [
        many.role("balancer", &balancer, dir.path()),
        many.role("dispatcher", &["--name", "one"], dir.path()),
        many.role("merge", &tells, dir.path()),
        many.role("detect", &detect, dir.path()),
    ];
    // A car comes, and is gone again.
    many.wants("gate", &piece(dir.path(), 4.0, 28.0), dir.path());

    let bucket = S3Bucket::new(&many.s3).await.unwrap();
    let mut kinds = BTreeSet::new();
    while kinds.len() < 2 {
        let event = tokio::time::timeout(PATIENCE, heard.recv()).await.expect("nobody tells of it").unwrap();
        for record in event.records {
            assert_eq!(record.event_name.as_deref(), Some("ObjectCreated:Put"));
            assert_eq!(record.s3.bucket.name.as_deref(), Some(&*many.s3.bucket));
            // What a handler does: it takes the key's encoding off, and reads the object.
            let encoded = record.s3.object.key.unwrap();
            let key =
                percent_encoding::percent_decode_str(&encoded.replace('+', " ")).decode_utf8().unwrap().into_owned();
            let key = ObjectKey::parse(&key).unwrap();
            let body = bucket.get(&key).await.unwrap();
            assert_eq!(record.s3.object.size, Some(body.len() as i64), "{key}");
            let kind = key.as_str().split('/').next().unwrap().to_owned();
            assert!(["snapshots", "events"].contains(&&*kind), "{key}");
            kinds.insert(kind);
        }
    }
}
