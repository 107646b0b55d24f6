//! History that was pruned: what is kept is as if nothing had gone.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use detektor_backends::store::{CameraUpdate, Pruned, StoredFloor};
use detektor_contract::fold::{Projection, project};
use detektor_contract::*;
use detektor_merge::{EventObjects, Horizon, InFlight, Merge, MergeError, PruneReport, prune, reindex};
use detektor_runtime::Metrics;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use support::footage::{Footage, seen};
use support::{World, camera, merge};

/// A car that is always there, and perhaps somebody who walks by.
fn scene(walks: bool) -> impl Fn(f32) -> Vec<Detection> {
    move |t| {
        let car = seen("car", 0.9, [1_200.0, 600.0, 300.0, 200.0]);
        let person = seen("person", 0.8, [100.0 + 100.0 * t, 400.0, 80.0, 200.0]);
        if walks { vec![car, person] } else { vec![car] }
    }
}

/// A few minutes of people, a lost camera, a take-over that cuts into the old epoch, and an end.
fn record(clock: Clock) -> Vec<Outcome> {
    let mut footage = if clock == Clock::Unix { Footage::live() } else { Footage::file() };
    for _ in 0..3 {
        footage.looks(4.0, scene(true)).looks(3.0, scene(false)).quiet(30);
    }
    let from = footage.now;
    footage.now = from.plus(20_000_000);
    let until = footage.now;
    footage.gap(from, Some(until)).looks(4.0, scene(true)).quiet(10);
    let at = footage.now.plus(-600_000);
    footage.next_epoch(Some(Seam { at, key_frame: None }));
    footage.now = at;
    for _ in 0..2 {
        footage.looks(4.0, scene(true)).looks(3.0, scene(false)).quiet(30);
    }
    footage.looks(1.0, scene(false)).end(EndReason::Stopped);
    footage.outcomes
}

fn end_of(outcome: &Outcome) -> TimeUs {
    outcome.span().map_or(TimeUs(0), |span| span.end)
}

impl World {
    async fn sweep_all(&self, function: &Merge) {
        loop {
            self.pass(Duration::from_secs(10));
            if function.sweep().await.unwrap() == 0 {
                return;
            }
        }
    }

    async fn write_objects(&self) {
        let objects = EventObjects::new(self.store(), self.bucket());
        while objects.relay().await.unwrap() > 0 {}
    }

    async fn prune(&self, horizon: Horizon) -> PruneReport {
        let dry = prune(&*self.store(), horizon, None, true).await.unwrap();
        let done = prune(&*self.store(), horizon, None, false).await.unwrap();
        assert_eq!(dry, done, "a dry run says what would go");
        done
    }

    async fn floor(&self) -> Option<Position> {
        self.store().floors().await.unwrap().remove(&camera())
    }

    /// Whether the store says what the set says, but for events that were over at the floor.
    async fn agrees_above(&self, floor: Position, set: &[Outcome], expected: &Projection) {
        let below = project(&camera(), set.iter().filter(|outcome| outcome.id.position() <= floor));
        let over = |id: &EventId| below.events.get(id).is_some_and(|event| event.state != EventState::Open);
        let kept: BTreeMap<EventId, Event> =
            expected.events.iter().filter(|(id, _)| !over(id)).map(|(id, event)| (id.clone(), event.clone())).collect();
        assert_eq!(self.head().await, expected.fold);
        assert_eq!(self.ledger().await, *expected.fold.ledger());
        assert_eq!(self.events().await, kept);
    }
}

/// The whole record merged, its objects written, and pruned of what is older than 40 s.
async fn pruned() -> (World, Vec<Outcome>, Position) {
    let (world, record) = (World::new().await, record(Clock::Unix));
    reindex(&*world.store(), &*world.bucket(), |_| {}).await.unwrap();
    let function = world.merge();
    merge(&function, &record).await.unwrap();
    world.sweep_all(&function).await;
    world.write_objects().await;
    let last = record.iter().map(end_of).max().unwrap();
    let report = world.prune(Horizon::Before(last.plus(-40_000_000))).await;
    let floor = world.floor().await.unwrap();
    assert_eq!(floor, Position { epoch: Epoch(2), sequence: 32 });
    let rows = report.rows();
    assert!(rows.events >= 4 && rows.objects == rows.events && rows.gaps == 1, "{rows:?}");
    assert_eq!(rows.outcomes, record.iter().filter(|outcome| outcome.id.position() <= floor).count() as u64);
    assert_eq!(report.cameras.get(&camera()), Some(&(floor, rows)));
    (world, record, floor)
}

#[tokio::test]
async fn the_ledger_keeps_the_sums_of_what_is_gone() {
    let (world, record, floor) = pruned().await;
    let expected = project(&camera(), &record);
    world.agrees_above(floor, &record, &expected).await;
    let ledger = world.ledger().await;
    assert!(ledger.closes() && ledger.captured > 900, "{ledger:?}");
    let again = prune(&*world.store(), Horizon::Before(TimeUs(i64::MAX)), None, true).await.unwrap();
    assert!(again.rows().outcomes > 0, "there is more to prune, once it is old");
    world.prune(Horizon::All).await;
    world.write_objects().await;
    world.prune(Horizon::All).await;
    assert!(world.store().outcomes(&camera(), Position::default(), 9).await.unwrap().is_empty());
    assert!(world.events().await.is_empty());
    assert_eq!(world.ledger().await, ledger);
}

#[tokio::test]
async fn all_that_is_settled_ends_before_what_is_missing_yet() {
    let (world, record) = (World::new().await, record(Clock::Unix));
    let function = world.merge();
    let (late, there): (Vec<Outcome>, Vec<Outcome>) =
        record.iter().cloned().partition(|outcome| outcome.id.position() == Position { epoch: Epoch(2), sequence: 20 });
    merge(&function, &there).await.unwrap();
    world.sweep_all(&function).await;
    world.write_objects().await;
    assert_eq!((late.len(), world.ledger().await.holes), (1, 1));
    world.prune(Horizon::All).await;
    assert!(world.floor().await < Some(late[0].id.position()));

    merge(&function, &late).await.unwrap();
    world.sweep_all(&function).await;
    assert_eq!(world.ledger().await, *project(&camera(), &record).fold.ledger());
    assert!(world.ledger().await.closes());
}

#[tokio::test]
async fn what_comes_late_for_pruned_history_is_acked_and_changes_nothing() {
    let (world, record, floor) = pruned().await;
    let metrics = Metrics::new();
    let function = std::sync::Arc::new(Merge::new(world.store(), world.bucket(), world.config(), &metrics).unwrap());
    let before = (world.listed().await, world.head().await, world.store().feed_head().await.unwrap());
    // The same again, and what would win over it.
    let below: Vec<Outcome> = record.iter().filter(|outcome| outcome.id.position() <= floor).cloned().collect();
    let better: Vec<Outcome> = below.iter().map(|o| Outcome { generation: 7, ..o.clone() }).collect();
    merge(&function, &below).await.unwrap();
    merge(&function, &better).await.unwrap();
    assert_eq!((world.listed().await, world.head().await, world.store().feed_head().await.unwrap()), before);
    let counted = format!("detektor_merge_recorded_outcomes_total{{result=\"pruned\"}} {}", 2 * below.len());
    assert!(metrics.text().contains(&counted), "{}", metrics.text());

    // Whereas what comes late for what is kept refolds from the floor on.
    let late = record.iter().find(|o| o.id.position() > floor && o.span().is_some()).unwrap();
    let span = *late.span().unwrap();
    let shed = Marker::Shed { span, seam: None, reason: ShedReason::Stale };
    let shed = Outcome { id: late.id.clone(), generation: 1, body: OutcomeBody::Marker(shed) };
    merge(&function, std::slice::from_ref(&shed)).await.unwrap();
    let set: Vec<Outcome> = record.iter().cloned().chain([shed]).collect();
    world.agrees_above(floor, &set, &project(&camera(), &set)).await;
}

#[tokio::test]
async fn a_reindex_begins_at_the_floor_and_leaves_the_objects_of_what_was_pruned() {
    let (world, record, floor) = pruned().await;
    let (before, objects) = (world.listed().await, world.keys(ObjectKey::EVENTS).await);
    let stray = ObjectKey::parse("events/gate/2026-11-24/gate.2.70.0.9.json").unwrap();
    world.bucket().put(&stray, Bytes::from_static(b"{}")).await.unwrap();
    let found = reindex(&*world.store(), &*world.bucket(), |_| {}).await.unwrap();
    assert_eq!(found.corrected, 1, "only what is of no event, above the floor");
    assert_eq!((world.listed().await, world.keys(ObjectKey::EVENTS).await), (before, objects));
    world.agrees_above(floor, &record, &project(&camera(), &record)).await;
    assert_eq!(world.floor().await, Some(floor));
}

#[tokio::test]
async fn without_its_database_a_bucket_gives_back_what_was_pruned() {
    let (world, record, _) = pruned().await;
    let fresh = World::new().await;
    reindex(&*fresh.store(), &*world.bucket(), |_| {}).await.unwrap();
    fresh.agrees_with(&project(&camera(), &record)).await;
}

#[tokio::test]
async fn another_release_goes_on_with_the_ledger() {
    let (world, record, floor) = pruned().await;
    let expected = project(&camera(), &record);
    // Another layout: neither head, checkpoints nor the floor's state can be read.
    let mut tx = world.store().begin_merge(&[camera()]).await.unwrap();
    let stored = tx.floor(&camera()).await.unwrap().unwrap();
    tx.raise_floor(&camera(), &StoredFloor { state: vec![0, 1, 2], ..stored }).await.unwrap();
    let head = world.store().frontier(&camera()).await.unwrap();
    let info = world.store().cameras().await.unwrap().remove(0);
    let update = CameraUpdate {
        camera: camera(),
        head: vec![0],
        frontier: head,
        ledger: info.ledger,
        merged_until: info.merged_until,
        waiting: None,
        refolded_from: Some(None),
        checkpoints: Vec::new(),
        changes: Vec::new(),
        gaps: Vec::new(),
    };
    tx.update(update, false).await.unwrap();
    tx.commit().await.unwrap();
    let function = world.merge();
    let mut more = Footage::live();
    (more.epoch, more.now) = (Epoch(3), record.iter().map(end_of).max().unwrap());
    more.looks(1.0, |_| vec![]).end(EndReason::Stopped);
    merge(&function, &more.outcomes).await.unwrap();
    let ledger = world.ledger().await;
    assert!(ledger.closes(), "{ledger:?}");
    assert_eq!(ledger.captured, expected.fold.ledger().captured + 5);
    // The car, which stood there at the floor, is one that came after it; nothing is open that nobody sees.
    let events = world.events().await;
    assert!(events.values().all(|event| event.state != EventState::Open));
    assert!(events.values().all(|event| event.first_segment.position() > floor), "{events:?}");
    assert_eq!(events.values().filter(|event| event.label.as_str() == "car").count(), 1);
}

#[tokio::test]
async fn media_has_no_age_and_goes_only_by_name() -> Result<(), MergeError> {
    let (world, record) = (World::new().await, record(Clock::Media));
    reindex(&*world.store(), &*world.bucket(), |_| {}).await?;
    let function = world.merge();
    merge(&function, &record).await.unwrap();
    world.sweep_all(&function).await;
    world.write_objects().await;
    let report = world.prune(Horizon::Before(TimeUs(i64::MAX))).await;
    assert_eq!((report.rows(), report.ageless), (Pruned::default(), vec![camera()]));
    let other = CameraId::new("other").unwrap();
    let report = prune(&*world.store(), Horizon::All, Some(&other), false).await?;
    assert_eq!(report, PruneReport::default());
    let report = prune(&*world.store(), Horizon::All, Some(&camera()), false).await?;
    assert_eq!((report.rows().outcomes, report.feed), (record.len() as u64, 0));
    assert_eq!(world.ledger().await, *project(&camera(), &record).fold.ledger());
    Ok(())
}

#[tokio::test]
async fn nothing_is_pruned_before_a_reindex_is_through() {
    let world = World::new().await;
    let function = world.merge();
    merge(&function, &record(Clock::Unix)).await.unwrap();
    assert!(world.store().reindex_pending().await.unwrap());
    assert_eq!(world.prune(Horizon::All).await, PruneReport::default());
    assert_eq!(world.floor().await, None);
}

#[tokio::test]
async fn the_video_of_a_pruned_job_goes() {
    let (world, record, floor) = pruned().await;
    let at = |position: Position| {
        let outcome = record.iter().find(|outcome| outcome.id.position() == position).unwrap();
        ObjectKey::in_flight(&outcome.id)
    };
    let beyond = SegmentId { camera: camera(), epoch: Epoch(9), sequence: 0 };
    let keys = [at(floor), ObjectKey::in_flight(&beyond)];
    for key in &keys {
        world.bucket().put(key, Bytes::from_static(b"video")).await.unwrap();
    }
    let through = InFlight::new(world.store(), world.bucket()).through().await.unwrap();
    assert_eq!(through.into_iter().collect::<Vec<_>>(), keys[..1]);
}

async fn check(order: &[usize], cut: usize, lag_s: i64, batch: usize) {
    let (world, record) = (World::new().await, record(Clock::Unix));
    reindex(&*world.store(), &*world.bucket(), |_| {}).await.unwrap();
    let function = world.merge();
    let early: Vec<Outcome> = order.iter().filter(|n| **n < cut).map(|n| record[*n].clone()).collect();
    for some in early.chunks(batch) {
        merge(&function, some).await.unwrap();
    }
    world.sweep_all(&function).await;
    world.write_objects().await;
    let last = record[..cut].iter().map(end_of).max().unwrap();
    world.prune(Horizon::Before(last.plus(-lag_s * 1_000_000))).await;
    let floor = world.floor().await;
    // All that is to come, and once more what came.
    let all: Vec<Outcome> = order.iter().map(|n| record[*n].clone()).collect();
    for some in all.chunks(batch) {
        merge(&function, some).await.unwrap();
        // Merge runs ahead, and refolds: near the floor, from it.
        world.pass(Duration::from_secs(4));
        function.sweep().await.unwrap();
    }
    world.sweep_all(&function).await;
    let expected = project(&camera(), &record);
    match floor {
        Some(floor) => world.agrees_above(floor, &record, &expected).await,
        None => world.agrees_with(&expected).await,
    }
    let before = world.listed().await;
    reindex(&*world.store(), &*world.bucket(), |_| {}).await.unwrap();
    assert_eq!(
        world.listed().await.iter().map(|e| &e.event).collect::<Vec<_>>(),
        before.iter().map(|e| &e.event).collect::<Vec<_>>()
    );
    assert_eq!(world.head().await, expected.fold);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 16, rng_seed: RngSeed::Fixed(65), failure_persistence: None, max_shrink_iters: 20,
        ..ProptestConfig::default()
    })]

    /// Whatever is pruned whenever: as long as nothing that comes speaks of what is older than the horizon, what is kept is
    /// what the whole set says.
    #[test]
    fn what_is_kept_is_what_the_set_says(
        (order, cut) in Just((0..record(Clock::Unix).len()).collect::<Vec<_>>()).prop_shuffle()
            .prop_flat_map(|order| { let n = order.len(); (Just(order), 1..=n) }),
        lag_s in 5i64..60,
        batch in 1usize..40,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(&order, cut, lag_s, batch));
    }
}
