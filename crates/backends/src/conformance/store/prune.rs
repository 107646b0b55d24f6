//! Floors, and what lies below them.

use std::sync::Arc;

use detektor_contract::fold::{CameraFold, Seams};
use detektor_contract::{CameraId, Epoch, Event, EventChange, Outcome, Position, TimeUs};

use super::{begin, merge, put};
use crate::columns::now_ms;
use crate::conformance::Bench;
use crate::conformance::samples::{
    SECOND, at, camera, changing, closed, end, event, gap, longer, result, tombstone, update,
};
use crate::store::{
    CameraUpdate, EpochRequest, EventFilter, EventStore, Feed, FeedPosition, Order, Pruned, Put, StoredFloor,
};

/// What a fold of quiet footage up to a place leaves there.
fn floor(camera: &CameraId, until: Position) -> StoredFloor {
    let mut fold = CameraFold::new(camera.clone());
    for sequence in 0..=until.sequence {
        let place = Position { epoch: until.epoch, sequence };
        fold.apply(&result(camera, place), &Seams::default().limit(place.epoch));
    }
    StoredFloor { floor: fold.floor().unwrap(), state: fold.to_bytes() }
}

async fn raise(store: &Arc<dyn EventStore>, camera: &CameraId, until: Position) -> StoredFloor {
    let raised = floor(camera, until);
    let mut tx = begin(store, camera).await;
    tx.raise_floor(camera, &raised).await.unwrap();
    tx.commit().await.unwrap();
    raised
}

async fn prune_all(store: &Arc<dyn EventStore>, camera: &CameraId) -> (Pruned, u32) {
    let (mut all, mut batches) = (Pruned::default(), 0);
    loop {
        let batch = store.prune(camera).await.unwrap();
        if batch.total() == 0 {
            return (all, batches);
        }
        (all, batches) = (all.plus(batch), batches + 1);
    }
}

fn results(camera: &CameraId, epoch: u64, sequences: std::ops::Range<u64>) -> Vec<Outcome> {
    sequences.map(|sequence| result(camera, at(epoch, sequence))).collect()
}

async fn places(store: &Arc<dyn EventStore>, camera: &CameraId) -> Vec<Position> {
    let outcomes = store.outcomes(camera, at(0, 0), 99_999).await.unwrap();
    outcomes.iter().map(|outcome| outcome.id.position()).collect()
}

pub async fn below_a_floor_nothing_is_recorded(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let (gate, other) = (camera("gate"), camera("other"));
    put(&store, &results(&gate, 1, 0..4)).await;
    assert!(store.floors().await.unwrap().is_empty());
    let mut dropped = begin(&store, &gate).await;
    assert_eq!(dropped.floor(&gate).await.unwrap(), None);
    dropped.raise_floor(&gate, &floor(&gate, at(1, 3))).await.unwrap();
    drop(dropped);
    assert_eq!(store.prune(&gate).await.unwrap(), Pruned::default());

    let mut tx = begin(&store, &gate).await;
    let raised = floor(&gate, at(1, 1));
    tx.raise_floor(&gate, &raised).await.unwrap();
    assert_eq!(tx.put(&tombstone(&gate, at(1, 0), true)).await.unwrap(), Put::Pruned);
    tx.commit().await.unwrap();
    drop(store);
    bench.crash().await;
    let store = bench.backend();
    assert_eq!(store.floors().await.unwrap().into_iter().collect::<Vec<_>>(), [(gate.clone(), at(1, 1))]);
    // Pruned or not yet, new, the same or better: below the floor nothing becomes of it.
    for pruned in [false, true] {
        if pruned {
            prune_all(&store, &gate).await;
        }
        let again = Outcome { generation: 9, ..result(&gate, at(1, 1)) };
        let outcomes = [result(&gate, at(1, 0)), again, result(&gate, at(0, 7)), result(&gate, at(1, 2))];
        assert_eq!(put(&store, &outcomes).await, [Put::Pruned, Put::Pruned, Put::Pruned, Put::Ignored]);
    }
    assert_eq!(put(&store, &[result(&gate, at(1, 9))]).await, [Put::New]);
    assert_eq!(put(&store, &[result(&other, at(1, 0))]).await, [Put::New]);
    assert_eq!(places(&store, &gate).await, [at(1, 2), at(1, 3), at(1, 9)]);
    let mut tx = begin(&store, &gate).await;
    assert_eq!(tx.floor(&gate).await.unwrap(), Some(raised));
    assert_eq!(tx.floor(&other).await.unwrap(), None);
    let higher = floor(&gate, at(1, 2));
    tx.raise_floor(&gate, &higher).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(begin(&store, &gate).await.floor(&gate).await.unwrap(), Some(higher));
}

pub async fn old_checkpoints_are_found(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let gate = camera("gate");
    let checkpoints = [at(1, 0), at(1, 1024), at(2, 0)].map(|place| (place, format!("{place:?}").into_bytes()));
    let outcomes = [result(&gate, at(1, 0)), result(&gate, at(1, 1024)), end(&gate, at(2, 0))];
    let saved = CameraUpdate { checkpoints: checkpoints.to_vec(), ..update(&gate, at(2, 0)) };
    merge(&store, &outcomes, saved, true).await;
    let mut tx = begin(&store, &gate).await;
    let mut old = async |ended: i64, before| {
        let found = tx.old_checkpoint(&gate, TimeUs(ended), before).await.unwrap();
        found.map(|(place, state)| (place, state == format!("{place:?}").into_bytes()))
    };
    assert_eq!(old(SECOND - 1, at(9, 0)).await, Some((at(2, 0), true)), "an end lasts no time");
    assert_eq!(old(SECOND - 1, at(2, 0)).await, None);
    assert_eq!(old(SECOND, at(2, 0)).await, Some((at(1, 0), true)));
    assert_eq!(old(1_025 * SECOND - 1, at(2, 0)).await, Some((at(1, 0), true)));
    assert_eq!(old(1_025 * SECOND, at(2, 0)).await, Some((at(1, 1024), true)));
    assert_eq!(old(i64::MAX, at(1, 1024)).await, Some((at(1, 0), true)));
    assert_eq!(old(i64::MAX, at(1, 0)).await, None);
}

pub async fn history_goes_in_batches_and_the_rest_stays(bench: &mut impl Bench<dyn EventStore>) {
    const GONE: u64 = 2_500;
    let store = bench.backend();
    let (gate, other) = (camera("gate"), camera("other"));
    for name in [&gate, &other] {
        put(&store, &results(name, 1, 0..GONE)).await;
        let mut rest = vec![tombstone(name, at(1, GONE), true), gap(name, at(1, GONE + 1), 0, Some(9))];
        rest.extend(results(name, 2, 0..2));
        let over: Vec<EventChange> = (0..1_200).map(|n| EventChange::Closed(closed(&event(name, at(1, n))))).collect();
        let gaps = [at(1, GONE + 1), at(2, 1)].map(|place| {
            let gap = detektor_contract::Gap {
                from: TimeUs(0),
                until: None,
                clock: Default::default(),
                cause: detektor_contract::GapCause::Disconnected,
            };
            (place, gap)
        });
        let checkpoints = [at(1, 0), at(1, 1024), at(2, 0), at(2, 1)].map(|place| (place, vec![1]));
        let first = changing(name, at(1, 1_199), over);
        let first = CameraUpdate { checkpoints: checkpoints.to_vec(), gaps: gaps.to_vec(), ..first };
        merge(&store, &rest, first, true).await;
        let late = vec![EventChange::Closed(closed(&event(name, at(2, 0))))];
        merge(&store, &[], changing(name, at(2, 1), late), true).await;
        loop {
            let pending = store.pending_objects(1_000).await.unwrap();
            if pending.is_empty() {
                break;
            }
            store.objects_done(&pending).await.unwrap();
        }
    }
    let (before, kept) = (places(&store, &other).await, store.tombstones().await.unwrap().len());
    raise(&store, &gate, at(1, GONE + 1)).await;
    let there = store.prunable(&gate, at(1, GONE + 1)).await.unwrap();
    let expected = Pruned { outcomes: GONE + 2, checkpoints: 2, gaps: 1, events: 1_200, objects: 1_200 };
    assert_eq!(there, expected);
    let (pruned, batches) = prune_all(&store, &gate).await;
    assert_eq!(pruned, expected);
    assert!(batches <= 4, "{batches} batches");
    assert_eq!(store.prunable(&gate, at(1, GONE + 1)).await.unwrap(), Pruned::default());

    assert_eq!(places(&store, &gate).await, [at(2, 0), at(2, 1)]);
    assert_eq!((places(&store, &other).await, store.tombstones().await.unwrap().len()), (before, kept - 1));
    let listed = async |name: &CameraId| {
        let only = EventFilter { camera: Some(name.clone()), ..EventFilter::default() };
        store.events(&only, Order::Ascending, None, 9_999).await.unwrap().len()
    };
    assert_eq!((listed(&gate).await, listed(&other).await), (1, 1_201));
    assert_eq!(store.gaps(&gate, None, 9).await.unwrap().len(), 1);
    let mut tx = begin(&store, &gate).await;
    assert_eq!(tx.checkpoint_before(&gate, at(2, 0)).await.unwrap(), None);
    assert!(tx.checkpoint_before(&gate, at(9, 0)).await.unwrap().is_some());
    drop(tx);
    // The sums of what is gone are the camera's still.
    let cameras = store.cameras().await.unwrap();
    assert_eq!(cameras[0].ledger, cameras[1].ledger);
}

pub async fn an_event_that_goes_on_or_waits_is_not_pruned(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let gate = camera("gate");
    let of = |sequence| event(&gate, at(1, sequence));
    let (over, open, gone, young) = (closed(&of(0)), of(1), of(2), closed(&of(3)));
    let tell = async |place, change| {
        merge(&store, &[result(&gate, place)], changing(&gate, place, vec![change]), true).await;
    };
    tell(at(1, 0), EventChange::Closed(over.clone())).await;
    tell(at(1, 1), EventChange::Opened(open.clone())).await;
    tell(at(1, 2), EventChange::Opened(gone.clone())).await;
    tell(at(1, 3), EventChange::Withdrawn(gone.clone())).await;
    tell(at(1, 9), EventChange::Closed(young.clone())).await;
    raise(&store, &gate, at(1, 3)).await;
    // The object of what is over is yet to be written; nobody knows it but the row.
    let (pruned, _) = prune_all(&store, &gate).await;
    assert_eq!((pruned.outcomes, pruned.events, pruned.objects), (4, 1, 0), "the withdrawn one");
    let pending = store.pending_objects(9).await.unwrap();
    assert_eq!(pending.iter().map(|object| &object.event).collect::<Vec<_>>(), [&over.id, &young.id]);
    store.objects_done(&pending).await.unwrap();
    let (pruned, _) = prune_all(&store, &gate).await;
    assert_eq!((pruned.outcomes, pruned.events, pruned.objects), (0, 1, 1));
    let left = async || -> Vec<Event> {
        let all = store.events(&EventFilter::default(), Order::Ascending, None, 9).await.unwrap();
        all.into_iter().map(|stored| stored.event).collect()
    };
    assert_eq!(left().await, [open.clone(), young.clone()]);
    // Once it is over and behind the floor, it goes as well.
    tell(at(1, 10), EventChange::Closed(closed(&longer(&open)))).await;
    store.objects_done(&store.pending_objects(9).await.unwrap()).await.unwrap();
    raise(&store, &gate, at(1, 9)).await;
    prune_all(&store, &gate).await;
    assert_eq!(left().await, [closed(&longer(&open))]);
    raise(&store, &gate, at(1, 10)).await;
    prune_all(&store, &gate).await;
    assert!(left().await.is_empty());
}

pub async fn an_epoch_exceeds_what_was_pruned(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let gate = camera("gate");
    put(&store, &[result(&gate, at(50, 0))]).await;
    raise(&store, &gate, at(50, 0)).await;
    prune_all(&store, &gate).await;
    assert!(places(&store, &gate).await.is_empty());
    let content = detektor_contract::Digest::of(b"x");
    let request = EpochRequest::Replayable { content, pass: 0 };
    assert_eq!(store.begin_epoch(&gate, request).await.unwrap(), Epoch(51));
}

pub async fn a_reindex_stands_on_the_floor(bench: &mut impl Bench<dyn EventStore>) {
    let store = bench.backend();
    let gate = camera("gate");
    let (below, above) = (event(&gate, at(1, 0)), event(&gate, at(1, 5)));
    merge(&store, &results(&gate, 1, 0..3), changing(&gate, at(1, 2), vec![EventChange::Opened(below.clone())]), true)
        .await;
    let over = vec![EventChange::Closed(closed(&above))];
    merge(&store, &results(&gate, 1, 3..6), changing(&gate, at(1, 5), over.clone()), true).await;
    let raised = raise(&store, &gate, at(1, 2)).await;
    prune_all(&store, &gate).await;

    store.begin_reindex().await.unwrap();
    let listed = async || {
        let all = store.events(&EventFilter::default(), Order::Ascending, None, 9).await.unwrap();
        all.into_iter().map(|stored| (stored.event, stored.revision)).collect::<Vec<_>>()
    };
    // What goes on since before the floor is what it was there; nothing comes that would say so again.
    assert_eq!(listed().await, [(below.clone(), 1)]);
    assert_eq!(store.frontier(&gate).await.unwrap(), Some(at(1, 2)));
    let info = store.cameras().await.unwrap().remove(0);
    assert_eq!((&info.ledger, info.merged_until), (raised.floor.ledger(), raised.floor.merged_until()));
    assert!(info.ledger.captured > 0 && info.merged_until.is_some());
    assert_eq!(begin(&store, &gate).await.head(&gate).await.unwrap(), Some(raised.state));
    // The log still has all of it.
    let puts = put(&store, &results(&gate, 1, 0..6)).await;
    assert_eq!(puts, [Put::Pruned, Put::Pruned, Put::Pruned, Put::New, Put::New, Put::New]);
    merge(&store, &[], changing(&gate, at(1, 5), over), false).await;
    store.end_reindex().await.unwrap();
    assert_eq!(listed().await, [(below, 1), (closed(&above), 1)]);
}

pub async fn the_feed_resets_who_comes_from_before_the_prune(bench: &mut impl Bench<dyn EventStore>) {
    const HOUR_MS: i64 = 3_600_000;
    let store = bench.backend();
    let gate = camera("gate");
    let tell = async |sequences: std::ops::Range<u64>| {
        let opened = sequences.map(|n| EventChange::Opened(event(&gate, at(1, n)))).collect();
        merge(&store, &[], changing(&gate, at(1, 0), opened), true).await;
    };
    let start = store.feed_head().await.unwrap();
    tell(0..2_500).await;
    let head = store.feed_head().await.unwrap();
    assert_eq!((store.prunable_feed(now_ms() - HOUR_MS).await.unwrap(), head.position), (0, 2_500));
    assert_eq!(store.prune_feed(now_ms() - HOUR_MS).await.unwrap(), 0);
    assert!(matches!(store.feed(start, 9).await.unwrap(), Feed::Entries(entries) if entries.len() == 9));

    let later = now_ms() + HOUR_MS;
    assert_eq!(store.prunable_feed(later).await.unwrap(), 2_500);
    let mut pruned = 0;
    loop {
        match store.prune_feed(later).await.unwrap() {
            0 => break,
            some => pruned += some,
        }
    }
    assert_eq!((pruned, store.prunable_feed(later).await.unwrap()), (2_500, 0));
    // No place is given twice, and nobody misses anything without being told.
    assert_eq!(store.feed_head().await.unwrap(), head);
    assert_eq!(store.feed(start, 9).await.unwrap(), Feed::Reset(head));
    let almost = FeedPosition { position: head.position - 1, ..head };
    assert_eq!(store.feed(almost, 9).await.unwrap(), Feed::Reset(head));
    assert_eq!(store.feed(head, 9).await.unwrap(), Feed::Entries(Vec::new()));
    tell(3_000..3_002).await;
    let Feed::Entries(entries) = store.feed(head, 9).await.unwrap() else { panic!("a reset") };
    assert_eq!(entries.iter().map(|entry| entry.at.position).collect::<Vec<_>>(), [2_501, 2_502]);
}
