//! Clips: real footage in, a file that plays out, in any range.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use axum::http::{Method, StatusCode};
use common::footage::{self, tool};
use common::scene::{Scene, object};
use common::{Answer, Bed};
use detektor_contract::{EndReason, ObjectKey, OutcomeBody};

const CLIP: &str = "/v1/events/gate.1.6.24.0/clip";

/// The driveway's footage, in which the car is seen from 6.8 s to 27.4 s; every segment is kept.
async fn driveway() -> (Bed, Scene) {
    let bed = Bed::new().await;
    let mut scene = Scene::footage("gate");
    for (second, (_, video)) in footage::segments().into_iter().enumerate().take(32) {
        let id = scene.next();
        scene.look(true, |s| {
            let seen = footage::car(s).map(|place| object("car", footage::sure(s), place));
            // Something hardly seen, so that the video is kept before the car comes and after it has gone.
            let noise = (3..30).contains(&second).then(|| object("bird", 0.11, [5.0, 5.0, 9.0, 9.0]));
            seen.into_iter().chain(noise).collect()
        });
        bed.bucket.put(&ObjectKey::video(&id), video).await.unwrap();
    }
    scene.end(EndReason::EndOfFile);
    bed.settle(&scene.camera, &scene.outcomes).await;
    (bed, scene)
}

async fn range(bed: &Bed, range: &str) -> Answer {
    bed.send(Method::GET, CLIP, &[("range", range)]).await
}

/// Plays it: how many pictures come out, and when the last one is shown after the first, in seconds.
fn play(file: &[u8]) -> (usize, f64) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clip.mp4");
    std::fs::write(&path, file).unwrap();
    let name = path.to_str().unwrap();
    let fields = ["-show_entries", "frame=pts_time", "-of", "csv=p=0"];
    let frames = tool("ffprobe", &[&["-v", "error", "-select_streams", "v"][..], &fields, &[name]].concat());
    let frames = String::from_utf8(frames).unwrap();
    let times: Vec<f64> = frames.lines().map(|line| line.trim_end_matches(',').parse().unwrap()).collect();
    assert!(times.is_sorted());
    let complaints = tool("ffmpeg", &["-v", "warning", "-i", name, "-f", "null", "-"]);
    assert!(complaints.is_empty());
    (times.len(), times[times.len() - 1] - times[0])
}

#[tokio::test]
async fn a_clip_plays_from_shortly_before_to_shortly_after() {
    let (bed, _) = driveway().await;
    let whole = bed.get(CLIP).await;
    assert_eq!(whole.status, StatusCode::OK, "{}", String::from_utf8_lossy(&whole.body));
    assert_eq!(whole.header("content-type"), "video/mp4");
    assert_eq!(whole.header("content-length"), whole.body.len().to_string());
    assert_eq!(whole.header("content-disposition"), "inline; filename=\"gate.1.6.24.0.mp4\"");
    let place = |name: &[u8]| whole.body.windows(4).position(|w| w == name).unwrap();
    assert!(place(b"moov") < place(b"mdat"), "a player must not have to read to the end first");
    // The car is there from 6.8 s to 27.4 s: segments 3 to 29 are 27 s of 30 pictures each, some of them 29 or 31.
    let (pictures, seconds) = play(&whole.body);
    assert_eq!(pictures, 27 * 30);
    assert!((26.8..27.2).contains(&seconds), "{seconds} s");
    let sent = format!("detektor_events_sent_clip_bytes_total {}", whole.body.len());
    assert!(bed.metrics.text().contains(&sent));
}

#[tokio::test]
async fn ranges_are_pieces_of_the_whole() {
    let (bed, _) = driveway().await;
    let whole = bed.get(CLIP).await;
    let total = whole.body.len();
    let mut joined = Vec::new();
    for start in (0..total).step_by(300_001) {
        let end = (start + 300_000).min(total - 1);
        let answer = range(&bed, &format!("bytes={start}-{end}")).await;
        assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
        assert_eq!(answer.header("content-range"), format!("bytes {start}-{end}/{total}"));
        assert_eq!(answer.header("content-length"), (end - start + 1).to_string());
        joined.extend_from_slice(&answer.body);
    }
    assert!(joined == whole.body);
    assert!(range(&bed, "bytes=-1000").await.body == whole.body[total - 1000..]);
    assert!(range(&bed, &format!("bytes={}-", total - 7)).await.body == whole.body[total - 7..]);

    let behind = range(&bed, &format!("bytes={total}-")).await;
    assert_eq!(behind.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(behind.header("content-range"), format!("bytes */{total}"));
    assert_eq!(behind.header("content-type"), "application/problem+json");

    let head = bed.send(Method::HEAD, CLIP, &[("range", "bytes=0-99")]).await;
    assert_eq!((head.status, head.body.len(), head.header("content-length")), (StatusCode::PARTIAL_CONTENT, 0, "100"));
    let head = bed.send(Method::HEAD, CLIP, &[]).await;
    assert_eq!((head.status, head.header("accept-ranges")), (StatusCode::OK, "bytes"));
    assert_eq!(head.header("content-length"), total.to_string());

    let tag = whole.header("etag");
    let unchanged = bed.send(Method::GET, CLIP, &[("if-none-match", tag)]).await;
    assert_eq!((unchanged.status, unchanged.body.len()), (StatusCode::NOT_MODIFIED, 0));
    let same = bed.send(Method::GET, CLIP, &[("range", "bytes=0-9"), ("if-range", tag)]).await;
    assert_eq!((same.status, same.body.len()), (StatusCode::PARTIAL_CONTENT, 10));
    let other = bed.send(Method::GET, CLIP, &[("range", "bytes=0-9"), ("if-range", "\"other\"")]).await;
    assert_eq!((other.status, other.body.len()), (StatusCode::OK, total));
}

#[tokio::test]
async fn what_is_not_kept_any_more_is_left_out() {
    let (bed, scene) = driveway().await;
    let before = bed.get(CLIP).await;
    let keys: Vec<ObjectKey> = scene.outcomes.iter().map(|outcome| ObjectKey::video(&outcome.id)).collect();
    bed.bucket.delete(&keys[10]).await.unwrap();
    bed.bucket.put(&keys[12], "not a segment".into()).await.unwrap();
    let after = bed.get(CLIP).await;
    assert_ne!(before.header("etag"), after.header("etag"));
    // The others stay where they were in time.
    let (pictures, seconds) = play(&after.body);
    assert_eq!(pictures, 25 * 30);
    assert!((26.8..27.2).contains(&seconds), "{seconds} s");
    for key in &keys {
        bed.bucket.delete(key).await.unwrap();
    }
    let gone = bed.get(CLIP).await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
    assert_eq!(gone.json()["detail"], "no video of gate.1.6.24.0 is kept");
}

#[tokio::test]
async fn a_segment_that_is_cut_short_breaks_the_answer_off() {
    let (bed, scene) = driveway().await;
    let OutcomeBody::Result(result) = &scene.outcomes[8].body else { panic!("no result") };
    let key = &result.video.as_ref().unwrap().key;
    let whole = bed.bucket.get(key).await.unwrap();
    bed.bucket.put(key, whole.slice(..whole.len() - 100)).await.unwrap();
    let request = axum::http::Request::get(CLIP).body(axum::body::Body::empty()).unwrap();
    let response = tower::ServiceExt::oneshot(bed.router(), request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(axum::body::to_bytes(response.into_body(), usize::MAX).await.is_err());
}
