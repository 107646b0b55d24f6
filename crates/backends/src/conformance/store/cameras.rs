//! Cameras, epochs and published segments.

use detektor_contract::{Digest, Epoch};

use super::merge;
use crate::conformance::Bench;
use crate::conformance::samples::{at, camera, update};
use crate::store::{CameraState, EpochRequest, EventStore};

pub async fn cameras_are_listed_in_order(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    assert!(store.cameras().await.unwrap().is_empty());
    let lost = CameraState::Lost { error: "refused".to_owned() };
    for (name, state) in [("b", CameraState::Running), ("a", lost.clone()), ("C", CameraState::Ended)] {
        store.register_camera(&camera(name), &format!("rtsp://{name}/")).await.unwrap();
        store.set_camera_state(&camera(name), &CameraState::Connecting).await.unwrap();
        store.set_camera_state(&camera(name), &state).await.unwrap();
    }
    store.register_camera(&camera("b"), "rtsp://moved/").await.unwrap();
    let cameras = store.cameras().await.unwrap();
    let seen: Vec<_> = cameras.iter().map(|c| (c.id.as_str(), c.url.as_str(), c.state.clone())).collect();
    let expected = [
        ("C", "rtsp://C/", CameraState::Ended),
        ("a", "rtsp://a/", lost),
        ("b", "rtsp://moved/", CameraState::Running),
    ];
    assert_eq!(seen, expected);
    assert!(cameras.iter().all(|c| c.ledger == Default::default() && c.merged_until.is_none()));
    store.ping().await.unwrap();
}

pub async fn a_camera_that_only_merge_knows_is_listed(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    merge(&store, &[], update(&camera("a"), at(1, 3)), true).await;
    let cameras = store.cameras().await.unwrap();
    assert_eq!((cameras[0].id.as_str(), &cameras[0].state), ("a", &CameraState::Stopped));
    assert_eq!(cameras[0].ledger.captured, 8);
    store.register_camera(&camera("a"), "file:a.mp4").await.unwrap();
    let cameras = store.cameras().await.unwrap();
    assert_eq!((cameras[0].url.as_str(), cameras[0].ledger.captured), ("file:a.mp4", 8));
}

async fn replay(store: &dyn EventStore, content: &str, pass: u64) -> u64 {
    let request = EpochRequest::Replayable { content: Digest::of(content.as_bytes()), pass };
    store.begin_epoch(&camera("a"), request).await.unwrap().0
}

pub async fn a_content_keeps_its_epochs(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    for _ in 0..2 {
        for pass in [0, 1, 4, 2] {
            assert_eq!(replay(&*store, "x", pass).await, 1 + pass);
        }
    }
    let request = EpochRequest::Replayable { content: Digest::of(b"x"), pass: 0 };
    assert_eq!(store.begin_epoch(&camera("another"), request).await.unwrap(), Epoch(1));
}

pub async fn another_content_begins_above_all_epochs(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    assert_eq!(replay(&*store, "x", 0).await, 1);
    assert_eq!(replay(&*store, "x", 1).await, 2);
    assert_eq!(replay(&*store, "y", 0).await, 3);
    assert_eq!(replay(&*store, "y", 1).await, 4);
    // What was given stays; what is new goes on above.
    assert_eq!(replay(&*store, "x", 1).await, 2);
    let next = replay(&*store, "x", 2).await;
    assert!(next > 4, "{next}");
    assert_eq!(replay(&*store, "x", 3).await, next + 1);
    let last = replay(&*store, "y", 2).await;
    assert!(last > next + 1, "{last}");
    let live = store.begin_epoch(&camera("a"), EpochRequest::Live { now_ms: 1_000 }).await.unwrap();
    assert_eq!(replay(&*store, "z", 0).await, live.0 + 1);
}

pub async fn live_epochs_exceed_time_and_all_before(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let live = |now_ms| {
        let store = bench.backend();
        async move { store.begin_epoch(&camera("a"), EpochRequest::Live { now_ms }).await.unwrap().0 }
    };
    let first = live(1_000).await;
    assert!(first > 1_000);
    let second = live(1_000).await;
    assert!(second > first);
    // A clock that went back.
    let third = live(10).await;
    assert!(third > second);
    merge(
        &store,
        &[crate::conformance::samples::result(&camera("a"), at(9_999, 0))],
        update(&camera("a"), at(9_999, 0)),
        true,
    )
    .await;
    // A database that was restored: its outcomes know of an epoch that it does not.
    assert!(live(10).await > 9_999);
    assert!(live(1 << 40).await > 1 << 40);
}

pub async fn epochs_begun_at_once_differ(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let (gate, content) = (camera("gate"), Digest::of(b"x"));
    let live = (0..8).map(|_| store.begin_epoch(&gate, EpochRequest::Live { now_ms: 1_000 }));
    let mut epochs = futures::future::try_join_all(live).await.unwrap();
    epochs.sort_unstable();
    epochs.dedup();
    assert_eq!(epochs.len(), 8);
    // And the same ones are the same.
    let request = EpochRequest::Replayable { content, pass: 0 };
    let same = futures::future::try_join_all((0..8).map(|_| store.begin_epoch(&gate, request))).await.unwrap();
    assert!(same.iter().all(|epoch| *epoch == same[0] && *epoch > epochs[7]), "{same:?}");
}

pub async fn what_is_published_never_falls(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    assert_eq!(store.published(&camera("a"), Epoch(1)).await.unwrap(), 0);
    for (next, expected) in [(3, 3), (2, 3), (7, 7), (0, 7)] {
        store.set_published(&camera("a"), Epoch(1), next).await.unwrap();
        assert_eq!(store.published(&camera("a"), Epoch(1)).await.unwrap(), expected);
    }
    assert_eq!(store.published(&camera("a"), Epoch(2)).await.unwrap(), 0);
    assert_eq!(store.published(&camera("b"), Epoch(1)).await.unwrap(), 0);
}

pub async fn the_dispatchers_part_survives_a_crash(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    store.register_camera(&camera("a"), "file:a.mp4").await.unwrap();
    assert_eq!(replay(&*store, "x", 0).await, 1);
    assert_eq!(replay(&*store, "y", 0).await, 2);
    store.set_published(&camera("a"), Epoch(2), 5).await.unwrap();
    drop(store);
    bench.crash().await;
    let store = bench.backend();
    assert_eq!(store.published(&camera("a"), Epoch(2)).await.unwrap(), 5);
    assert_eq!(replay(&*store, "x", 0).await, 1);
    assert_eq!(replay(&*store, "y", 1).await, 3);
    assert_eq!(store.cameras().await.unwrap()[0].url, "file:a.mp4");
}
