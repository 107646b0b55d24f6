//! Making a store anew from the bucket.

use detektor_contract::{Digest, Epoch, EpochRecord, Outcome};

use super::put;
use crate::conformance::Bench;
use crate::conformance::samples::{at, camera, end, result, tombstone};
use crate::store::{EpochRequest, EventStore};

fn replayable(content: &str, pass: u64) -> EpochRequest {
    EpochRequest::Replayable { content: Digest::of(content.as_bytes()), pass }
}

async fn replay(store: &dyn EventStore, content: &str, pass: u64) -> u64 {
    store.begin_epoch(&camera("a"), replayable(content, pass)).await.unwrap().0
}

fn record(epoch: u64, content: &str, pass: u64) -> EpochRecord {
    EpochRecord { camera: camera("a"), epoch: Epoch(epoch), content: Digest::of(content.as_bytes()), pass }
}

pub async fn a_reindex_is_pending_until_it_ended(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    assert!(store.reindex_pending().await.unwrap(), "nobody has looked into the bucket yet");
    for _ in 0..2 {
        store.begin_reindex().await.unwrap();
        store.end_reindex().await.unwrap();
        assert!(!store.reindex_pending().await.unwrap());
    }
    store.begin_reindex().await.unwrap();
    drop(store);
    bench.crash().await;
    let store = bench.backend();
    assert!(store.reindex_pending().await.unwrap());
    store.begin_reindex().await.unwrap();
    assert!(store.reindex_pending().await.unwrap());
    store.end_reindex().await.unwrap();
    drop(store);
    bench.crash().await;
    assert!(!bench.backend().reindex_pending().await.unwrap());
}

pub async fn restored_epochs_are_given_again(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let records = [record(1, "x", 0), record(2, "x", 1), record(3, "y", 0), record(6, "z", 2)];
    for _ in 0..2 {
        store.restore_epochs(&records).await.unwrap();
    }
    store.restore_epochs(&[]).await.unwrap();
    for record in &records {
        let request = EpochRequest::Replayable { content: record.content, pass: record.pass };
        assert_eq!(store.begin_epoch(&camera("a"), request).await.unwrap(), record.epoch);
    }
    // The content that came last still owns what follows, and what was lost before.
    assert_eq!(replay(&*store, "z", 1).await, 5);
    assert_eq!(replay(&*store, "z", 3).await, 7);
    assert_eq!(replay(&*store, "new", 0).await, 8);
    assert_eq!(store.begin_epoch(&camera("b"), replayable("y", 0)).await.unwrap(), Epoch(1));
    // The bucket is the truth.
    store.restore_epochs(&[record(8, "other", 0)]).await.unwrap();
    assert_eq!(replay(&*store, "other", 0).await, 8);
    assert_eq!(replay(&*store, "new", 0).await, 9);
}

pub async fn an_epoch_exceeds_all_outcomes(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    assert_eq!(replay(&*store, "x", 0).await, 1);
    // Somebody's, and nobody knows what it is.
    put(&store, &[result(&camera("a"), at(2, 0))]).await;
    assert_eq!(replay(&*store, "x", 0).await, 1);
    let next = replay(&*store, "x", 1).await;
    assert!(next > 2, "{next}");
    assert_eq!(replay(&*store, "x", 2).await, next + 1);
    put(&store, &[result(&camera("a"), at(50, 0))]).await;
    assert_eq!(replay(&*store, "y", 0).await, 51);
    assert_eq!(store.begin_epoch(&camera("b"), replayable("y", 0)).await.unwrap(), Epoch(1));
}

pub async fn a_reindex_knows_what_is_published(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let (a, b) = (camera("a"), camera("b"));
    store.set_published(&a, Epoch(3), 9).await.unwrap();
    store.begin_reindex().await.unwrap();
    let outcomes: [&[Outcome]; 2] = [
        &[
            result(&a, at(1, 1)),
            result(&a, at(1, 0)),
            tombstone(&a, at(1, 2), true),
            result(&a, at(1, 4)),
            result(&a, at(1, 5)),
            result(&a, at(2, 1)),
            result(&a, at(3, 0)),
        ],
        &[result(&b, at(1, 0)), end(&b, at(1, 1))],
    ];
    for outcomes in outcomes {
        put(&store, outcomes).await;
    }
    store.end_reindex().await.unwrap();
    let published = async |camera, epoch| store.published(camera, Epoch(epoch)).await.unwrap();
    assert_eq!(published(&a, 1).await, 3);
    assert_eq!(published(&a, 2).await, 0, "the first is missing");
    assert_eq!(published(&a, 3).await, 9, "it never falls");
    assert_eq!(published(&b, 1).await, 2);
}
