//! The stream of changes: nothing missed, nothing twice, whatever breaks.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::http::{Request, StatusCode};
use common::scene::{Scene, object};
use common::{Bed, settle};
use detektor_backends::store::{EventStore, Feed, FeedPosition};
use detektor_contract::Outcome;
use detektor_events::Options;
use futures::StreamExt;
use proptest::prelude::*;
use tower::ServiceExt;

/// One message as a browser would hand it out; comments and ids without data included.
#[derive(Clone, Debug, Default, PartialEq)]
struct Message {
    id: String,
    kind: String,
    data: String,
    comment: bool,
}

/// A connection.
struct Client {
    body: BodyDataStream,
    text: String,
}

impl Client {
    async fn open(router: Router, query: &str, last: Option<&str>) -> Self {
        let mut request = Request::get(format!("/v1/events/stream?{query}"));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// The next message; none when the stream has ended.
    async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some((message, rest)) = self.text.split_once("\n\n") {
                let parsed = parse(message);
                self.text = rest.to_owned();
                return Some(parsed);
            }
            let chunk = tokio::time::timeout(Duration::from_secs(20), self.body.next()).await.expect("a message");
            self.text.push_str(std::str::from_utf8(&chunk?.unwrap()).unwrap());
        }
    }

    /// The next message with data.
    async fn next_told(&mut self) -> Message {
        loop {
            let message = self.next().await.expect("the stream goes on");
            if !message.data.is_empty() {
                return message;
            }
        }
    }
}

fn parse(text: &str) -> Message {
    let mut message = Message::default();
    for line in text.lines() {
        let (field, value) = line.split_once(':').unwrap();
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => message.comment = true,
            "id" => message.id = value.to_owned(),
            "event" => message.kind = value.to_owned(),
            "data" => message.data.push_str(value),
            "retry" => {}
            other => panic!("unexpected field {other}"),
        }
    }
    message
}

/// A car that comes and goes again and again: every visit opens an event and closes it.
fn visits(camera: &str, count: usize) -> Scene {
    let mut scene = Scene::footage(camera);
    for _ in 0..count {
        scene.look(false, |_| vec![object("car", 0.8, [100.0, 100.0, 80.0, 60.0])]);
        for _ in 0..3 {
            scene.look(false, |_| Vec::new());
        }
    }
    scene
}

async fn told(store: &dyn EventStore) -> Vec<String> {
    let head = store.feed_head().await.unwrap();
    let begin = FeedPosition { position: 0, ..head };
    let Feed::Entries(entries) = store.feed(begin, 10_000).await.unwrap() else { panic!("a reset") };
    entries.iter().map(|entry| format!("{}:{}", entry.at.generation, entry.at.position)).collect()
}

/// Reads with connections that break after so many messages each, while outcomes are being settled.
async fn read_while_written(breaks: Vec<usize>) {
    let bed = Bed::new().await;
    let generation = bed.store.feed_head().await.unwrap().generation;
    let (gate, yard) = (visits("gate", 6), visits("yard", 6));
    let store = bed.store.clone();
    let outcomes: Vec<Outcome> =
        gate.outcomes.iter().zip(&yard.outcomes).flat_map(|(a, b)| [a.clone(), b.clone()]).collect();
    let writer = tokio::spawn(async move {
        for outcome in outcomes {
            settle(store.as_ref(), &outcome.id.camera.clone(), &[outcome]).await;
            tokio::task::yield_now().await;
        }
    });

    let mut seen = Vec::new();
    let mut last = format!("{generation}:0");
    let mut breaks = breaks.into_iter().cycle();
    let mut client = Client::open(bed.router(), "", Some(&last)).await;
    let mut until_break = breaks.next().unwrap();
    // How much comes is known only when all is written, so a short silence asks whether that was all.
    while !(writer.is_finished() && told(bed.store.as_ref()).await.len() == seen.len()) {
        if until_break == 0 {
            until_break = breaks.next().unwrap();
            client = Client::open(bed.router(), "", Some(&last)).await;
        }
        let Ok(message) = tokio::time::timeout(Duration::from_millis(50), client.next_told()).await else { continue };
        last.clone_from(&message.id);
        seen.push(message.id);
        until_break -= 1;
    }
    writer.await.unwrap();
    assert_eq!(seen, told(bed.store.as_ref()).await);
    assert!(seen.len() >= 20, "{} changes", seen.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_reader_that_resumes_sees_everything_once_and_in_order(breaks in prop::collection::vec(1usize..6, 1..8)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(read_while_written(breaks));
    }
}

#[tokio::test]
async fn a_stream_begins_now_and_says_where() {
    let bed = Bed::new().await;
    let scene = visits("gate", 2);
    bed.settle(&scene.camera, &scene.outcomes[..4]).await;
    let head = told(bed.store.as_ref()).await.last().unwrap().clone();

    let mut client = Client::open(bed.router(), "", None).await;
    let first = client.next().await.unwrap();
    assert_eq!((first.id.as_str(), first.data.as_str()), (head.as_str(), ""));
    bed.settle(&scene.camera, &scene.outcomes[4..]).await;
    let opened = client.next_told().await;
    assert_eq!(opened.kind, "opened");
    let data: serde_json::Value = serde_json::from_str(&opened.data).unwrap();
    assert_eq!((&data["change"], &data["event"]["camera"]), (&"opened".into(), &"gate".into()));
    assert_eq!(data["event"]["revision"], 1);
    let told: Vec<String> = told(bed.store.as_ref()).await;
    assert!(told.contains(&opened.id) && opened.id != head);
}

#[tokio::test]
async fn filters_and_heartbeats_move_the_place_on() {
    let options = Options { heartbeat: Duration::from_millis(80), ..Options::default() };
    let bed = Bed::with(options).await;
    let mut client = Client::open(bed.router(), "camera=yard&label=car", None).await;
    client.next().await.unwrap();
    let (gate, yard) = (visits("gate", 2), visits("yard", 1));
    bed.settle(&gate.camera, &gate.outcomes).await;
    let passed = told(bed.store.as_ref()).await.last().unwrap().clone();
    loop {
        let beat = client.next().await.unwrap();
        assert!(beat.comment && beat.data.is_empty());
        if beat.id == passed {
            break;
        }
    }
    bed.settle(&yard.camera, &yard.outcomes).await;
    let message = client.next_told().await;
    assert!(message.data.contains("\"camera\":\"yard\""));
}

#[tokio::test]
async fn a_place_of_another_generation_is_reset() {
    let bed = Bed::new().await;
    let scene = visits("gate", 2);
    bed.settle(&scene.camera, &scene.outcomes[..4]).await;
    let head = bed.store.feed_head().await.unwrap();
    let ahead = format!("{}:{}", head.generation, head.position + 100);
    for old in [format!("{}:1", head.generation.wrapping_sub(1)), ahead] {
        let mut client = Client::open(bed.router(), "", Some(&old)).await;
        let reset = client.next_told().await;
        assert_eq!(reset.kind, "reset");
        assert_eq!(reset.id, format!("{}:{}", head.generation, head.position));
        assert_eq!(reset.data, format!("{{\"stream_from\":\"{}\"}}", reset.id));
    }

    let mut client = Client::open(bed.router(), "", None).await;
    client.next().await.unwrap();
    bed.store.begin_reindex().await.unwrap();
    assert_eq!(client.next_told().await.kind, "reset");
    bed.settle(&scene.camera, &scene.outcomes).await;
    assert_eq!(client.next_told().await.kind, "opened");
}

#[tokio::test]
async fn streams_end_at_shutdown_and_are_counted() {
    let bed = Bed::new().await;
    let mut client = Client::open(bed.router(), "", None).await;
    client.next().await.unwrap();
    assert!(bed.metrics.text().contains("detektor_events_open_streams 1"));
    bed.shutdown.cancel();
    while let Some(message) = client.next().await {
        assert!(message.data.is_empty());
    }
    drop(client);
    assert!(bed.metrics.text().contains("detektor_events_open_streams 0"));
}

#[tokio::test]
async fn the_list_says_where_its_stream_goes_on() {
    let bed = Bed::new().await;
    let scene = visits("gate", 3);
    bed.settle(&scene.camera, &scene.outcomes[..4]).await;
    let page = bed.get("/v1/events").await.json();
    bed.settle(&scene.camera, &scene.outcomes[4..]).await;
    let from = page["stream_from"].as_str().unwrap();
    let mut client = Client::open(bed.router(), &format!("last_event_id={from}"), None).await;
    let after: Vec<String> = told(bed.store.as_ref()).await.into_iter().skip_while(|id| id != from).skip(1).collect();
    for id in after {
        assert_eq!(client.next_told().await.id, id);
    }
}
