//! The merge function over the embedded backends.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use detektor_backends::failing::{FailingBucket, FailingStore};
use detektor_backends::queue::Message;
use detektor_backends::store::CameraUpdate;
use detektor_contract::fold::{Seams, project};
use detektor_contract::*;
use detektor_merge::{EventObjects, reindex};
use detektor_runtime::HandlerError;
use support::footage::{Footage, seen};
use support::{World, call, camera, merge, message};

fn person(t: f32) -> Vec<Detection> {
    vec![seen("person", 0.8, [100.0 + 100.0 * t, 400.0, 80.0, 200.0])]
}

/// Two people, a lost camera, a take-over that cuts into the old epoch, and an end: 15 outcomes.
fn record() -> Vec<Outcome> {
    let mut footage = Footage::live();
    footage.looks(3.0, person).looks(3.0, |_| vec![]).looks(2.0, |t| person(t + 5.0));
    let from = footage.now;
    footage.now = from.plus(5_000_000);
    let until = footage.now;
    footage.gap(from, Some(until)).looks(2.0, |t| person(t + 7.0));
    let at = footage.now.plus(-600_000);
    footage.next_epoch(Some(Seam { at, key_frame: None }));
    footage.now = at;
    footage.looks(2.0, |t| person(t + 8.4)).end(EndReason::Stopped);
    footage.outcomes
}

#[tokio::test]
async fn a_record_becomes_events_and_ledger() {
    let world = World::new().await;
    let (function, record) = (world.merge(), record());
    for outcome in &record {
        merge(&function, std::slice::from_ref(outcome)).await.unwrap();
    }
    // Nothing says that the first epoch is over; then it takes some patience.
    assert_eq!(world.frontier().await.unwrap().epoch, Epoch(1));
    assert_eq!(function.sweep().await.unwrap(), 0);
    world.pass(Duration::from_secs(10));
    assert_eq!(function.sweep().await.unwrap(), 1);
    world.agrees_with(&project(&camera(), &record)).await;
    assert!(world.ledger().await.closes());
    assert_eq!(world.events().await.len(), 2);
    assert_eq!(function.sweep().await.unwrap(), 0);
}

#[tokio::test]
async fn a_hole_is_waited_for_and_a_late_outcome_is_as_if_it_had_been_there() {
    let world = World::new().await;
    let (function, record) = (world.merge(), record());
    let late = record[1].clone();
    let others: Vec<Outcome> = record.iter().filter(|o| o.id != late.id).cloned().collect();
    merge(&function, &others).await.unwrap();
    assert_eq!(world.frontier().await.unwrap().sequence, 0);
    world.pass(Duration::from_millis(9_999));
    assert_eq!(function.sweep().await.unwrap(), 0);
    world.pass(Duration::from_millis(1));
    assert_eq!(function.sweep().await.unwrap(), 1);
    assert_eq!(world.ledger().await.holes, 1);
    let early: Vec<_> = world.listed().await;
    assert_eq!(early.len(), 2);

    merge(&function, &[late]).await.unwrap();
    world.pass(Duration::from_secs(10));
    function.sweep().await.unwrap();
    world.agrees_with(&project(&camera(), &record)).await;
    let revised = world.listed().await;
    assert!(revised[0].revision > early[0].revision, "readers are told");
}

#[tokio::test]
async fn holes_that_something_has_waited_behind_for_long_are_passed_together() {
    let world = World::new().await;
    let function = world.merge();
    let mut footage = Footage::file();
    footage.quiet(20);
    let of = |sequences: &[usize]| sequences.iter().map(|n| footage.outcomes[*n].clone()).collect::<Vec<_>>();
    let at = async || world.frontier().await.map(|at| at.sequence);
    // Missing: 1, 3, 5. What comes later is behind 9, and before 7.
    merge(&function, &of(&[0, 2, 7])).await.unwrap();
    world.pass(Duration::from_secs(6));
    merge(&function, &of(&[4, 6, 10])).await.unwrap();
    assert_eq!(at().await, Some(0));
    // That the first hole closes is no reason for 7 to wait any longer.
    world.pass(Duration::from_secs(3));
    merge(&function, &of(&[1])).await.unwrap();
    assert_eq!(at().await, Some(2));
    world.pass(Duration::from_millis(999));
    assert_eq!(function.sweep().await.unwrap(), 0);
    world.pass(Duration::from_millis(1));
    assert_eq!(function.sweep().await.unwrap(), 1);
    assert_eq!((at().await, world.ledger().await.holes), (Some(7), 2));
    // 10 begins to wait when 7 is through.
    world.pass(Duration::from_millis(9_999));
    assert_eq!((function.sweep().await.unwrap(), at().await), (0, Some(7)));
    world.pass(Duration::from_millis(1));
    assert_eq!((function.sweep().await.unwrap(), at().await), (1, Some(10)));
    merge(&function, &footage.outcomes).await.unwrap();
    world.agrees_with(&footage.project()).await;
}

#[tokio::test]
async fn a_clock_that_ran_ahead_costs_one_patience() {
    let world = World::new().await;
    let (function, record) = (world.merge(), record());
    let others: Vec<Outcome> = record.iter().filter(|o| o.id != record[1].id).cloned().collect();
    // The host that saw the hole first was an hour ahead.
    let right = world.clock.load(Ordering::Relaxed);
    world.pass(Duration::from_secs(3_600));
    merge(&function, &others).await.unwrap();
    world.clock.store(right, Ordering::Relaxed);
    assert_eq!((function.sweep().await.unwrap(), world.ledger().await.holes), (1, 0));
    world.pass(Duration::from_millis(9_999));
    assert_eq!(function.sweep().await.unwrap(), 0, "it waits since the sweep");
    world.pass(Duration::from_millis(1));
    assert_eq!((function.sweep().await.unwrap(), world.ledger().await.holes), (1, 1));
}

#[tokio::test]
async fn a_message_that_cannot_be_read_costs_only_itself() {
    let world = World::new().await;
    let record = record();
    let rubbish = Message { body: Bytes::from_static(b"rubbish"), ..Message::default() };
    let messages = vec![message(&record[0]), rubbish, message(&record[1])];
    let reply = call(world.merge().handler(), messages).await.unwrap();
    let [Ok(_), Err(HandlerError { fault: Fault::Permanent, error }), Ok(_)] = &reply.0[..] else {
        panic!("{reply:?}")
    };
    assert_eq!(error, "not a Detektor message (7 bytes)");
    assert_eq!(world.frontier().await.unwrap().sequence, 1);
}

#[tokio::test]
async fn a_batch_that_breaks_off_anywhere_is_done_again() {
    let record = record();
    let expected = project(&camera(), &record);
    // The second batch makes the first one's run-ahead late; each batch has an outcome of the one before.
    let batches: [&[Outcome]; 3] = [&record[3..9], &record[0..4], &record[8..]];
    let mut step = 0;
    loop {
        let world = World::new().await;
        let plan = support::break_off(step);
        let store = FailingStore::new(world.store(), Arc::clone(&plan));
        let function = world.merge_over(store, FailingBucket::new(world.bucket(), Arc::clone(&plan)));
        for batch in batches {
            if let Err(error) = merge(&function, batch).await {
                assert_eq!(error.fault, Fault::Transient, "{error}");
                merge(&function, batch).await.unwrap();
            }
            world.pass(Duration::from_secs(10));
            if function.sweep().await.is_err() {
                function.sweep().await.unwrap();
            }
        }
        world.agrees_with(&expected).await;
        if !support::broke_off(&plan, step) {
            break;
        }
        step += 1;
    }
    assert!(step > 60, "only {step} steps were tried");
}

#[tokio::test]
async fn reindex_gives_the_same_and_tells_nothing() {
    let world = World::new().await;
    let (function, record) = (world.merge(), record());
    // Late, repeated, and once more as a batch of their own.
    merge(&function, &record[4..]).await.unwrap();
    world.pass(Duration::from_secs(10));
    merge(&function, &record[..5]).await.unwrap();
    function.sweep().await.unwrap();
    merge(&function, &record[2..7]).await.unwrap();
    world.pass(Duration::from_secs(10));
    function.sweep().await.unwrap();
    let (events, ledger, head) = (world.events().await, world.ledger().await, world.head().await);
    let before = world.store().feed_head().await.unwrap();

    let found = reindex(&*world.store(), &*world.bucket(), |_| {}).await.unwrap();
    assert_eq!((found.objects, found.cameras, found.damaged.len()), (3, 1, 0));
    assert_eq!(found.outcomes as usize, record.len() + 1 + 5);
    assert_eq!((world.events().await, world.ledger().await, world.head().await), (events, ledger, head));
    let after = world.store().feed_head().await.unwrap();
    assert!(after.generation > before.generation && after.position == 0, "{after:?}");

    // It goes on from there.
    merge(&function, &record).await.unwrap();
    world.agrees_with(&project(&camera(), &record)).await;
    assert_eq!(world.store().feed_head().await.unwrap(), after);
}

#[tokio::test]
async fn damaged_log_objects_are_named_and_the_rest_counts() {
    let world = World::new().await;
    let (function, record) = (world.merge(), record());
    for outcome in &record {
        merge(&function, std::slice::from_ref(outcome)).await.unwrap();
    }
    let key = world.keys(ObjectKey::LOG).await.remove(3);
    let lost: Outcome = serde_json::from_slice(&world.bucket().get(&key).await.unwrap()).unwrap();
    world.bucket().put(&key, Bytes::from_static(b"{\"id\":")).await.unwrap();
    let mut seen = 0;
    let found = reindex(&*world.store(), &*world.bucket(), |_| seen += 1).await.unwrap();
    let damaged: Vec<_> = found.damaged.into_iter().map(|damaged| (damaged.key, damaged.lost)).collect();
    assert_eq!((damaged, seen), (vec![(key, 1)], record.len()));
    world.agrees_with(&project(&camera(), record.iter().filter(|outcome| **outcome != lost))).await;
}

#[tokio::test]
async fn a_state_of_another_release_is_folded_again() {
    let world = World::new().await;
    let (function, record) = (world.merge(), record());
    merge(&function, &record[..6]).await.unwrap();
    let before = world.listed().await;
    let mut tx = world.store().begin_merge(&[camera()]).await.unwrap();
    let rubbish = CameraUpdate {
        camera: camera(),
        head: vec![255, 1, 2],
        frontier: Some(record[5].id.position()),
        ledger: Ledger::default(),
        merged_until: None,
        waiting: None,
        refolded_from: None,
        checkpoints: vec![(record[0].id.position(), vec![255])],
        changes: Vec::new(),
        gaps: Vec::new(),
    };
    tx.update(rubbish, true).await.unwrap();
    tx.commit().await.unwrap();
    merge(&function, &record[5..6]).await.unwrap();
    assert_eq!(world.listed().await, before, "the same events, and nobody was told otherwise");
    world.agrees_with(&project(&camera(), &record[..6])).await;
}

#[tokio::test]
async fn a_long_record_is_folded_in_turns() {
    let world = World::new().await;
    let function = world.merge();
    let mut footage = Footage::file();
    footage.quiet(2_200).looks(2.0, person).end(EndReason::EndOfFile);
    // Everything waits for the first one.
    for batch in footage.outcomes[1..].chunks(500) {
        merge(&function, batch).await.unwrap();
    }
    assert_eq!(world.frontier().await, None);
    merge(&function, &footage.outcomes[..1]).await.unwrap();
    world.agrees_with(&footage.project()).await;
}

#[tokio::test]
async fn several_cameras_share_a_batch() {
    let world = World::new().await;
    let function = world.merge();
    let mut batch = record();
    let mut others = record();
    others.iter_mut().for_each(|outcome| outcome.id.camera = CameraId::new("yard").unwrap());
    batch.extend(others.clone());
    merge(&function, &batch).await.unwrap();
    world.pass(Duration::from_secs(10));
    assert_eq!(function.sweep().await.unwrap(), 2);
    let events = world.events().await;
    assert_eq!(events.len(), 4);
    let yard = project(&CameraId::new("yard").unwrap(), &others);
    assert!(yard.events.iter().all(|(id, event)| events.get(id) == Some(event)));
}

#[tokio::test]
async fn closed_events_are_objects_and_withdrawn_ones_are_not() {
    let world = World::new().await;
    let function = world.merge();
    let objects = EventObjects::new(world.store(), world.bucket());
    let mut footage = Footage::live();
    // What comes late shows that one person was two looks earlier: the event changes its name.
    footage.looks(3.0, person).looks(4.0, |_| vec![]);
    let late = footage.outcomes[0].clone();
    merge(&function, &footage.outcomes[1..]).await.unwrap();
    world.pass(Duration::from_secs(10));
    function.sweep().await.unwrap();
    while objects.relay().await.unwrap() > 0 {}
    let before = world.keys(ObjectKey::EVENTS).await;
    let [event] = world.listed().await.try_into().unwrap();
    assert_eq!(before, [ObjectKey::event(&event.event)]);
    let body = world.bucket().get(&before[0]).await.unwrap();
    assert_eq!(serde_json::from_slice::<Event>(&body).unwrap(), event.event);

    merge(&function, &[late]).await.unwrap();
    while objects.relay().await.unwrap() > 0 {}
    let [event] = world.listed().await.try_into().unwrap();
    let after = world.keys(ObjectKey::EVENTS).await;
    assert_eq!(after, [ObjectKey::event(&event.event)]);
    assert_ne!(after, before);
}

#[tokio::test]
async fn latency_is_taken_when_events_can_be_read() {
    let world = World::new().await;
    let (function, record) = (world.merge(), record());
    let stamped = |outcome: &Outcome| {
        let mut message = message(outcome);
        message.headers.insert(names::HEADER_CLOSED_AT.to_owned(), "400000".to_owned());
        message.headers.insert(names::HEADER_CAPTURED_AT.to_owned(), "no number".to_owned());
        message
    };
    call(Arc::clone(&function).handler(), vec![stamped(&record[1])]).await.unwrap();
    assert_eq!(function.latencies().segments, 0);
    world.pass(Duration::from_secs(1));
    call(Arc::clone(&function).handler(), vec![stamped(&record[0])]).await.unwrap();
    let latencies = function.latencies();
    assert_eq!(latencies.segments, 2);
    assert!((1_600.0..1_700.0).contains(&latencies.from_closed.p50_ms), "{latencies:?}");
    assert_eq!(latencies.from_captured.p99_ms, 0.0);
}

#[test]
fn a_records_seam_is_its_epochs_first() {
    let record = record();
    let seams: Seams = record.iter().filter_map(|o| Some((o.id.epoch, o.seam()?))).collect();
    assert!(seams.limit(Epoch(1)).at.is_some() && seams.limit(Epoch(2)).at.is_none());
}
