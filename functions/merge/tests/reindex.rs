//! The event store made anew from the bucket.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use bytes::Bytes;
use detektor_backends::embedded::{Embedded, Options};
use detektor_backends::epochs;
use detektor_backends::failing::{FailingBucket, FailingStore};
use detektor_backends::store::EpochRequest;
use detektor_contract::fold::project;
use detektor_contract::*;
use detektor_merge::{Reindexed, reindex};
use support::footage::{Footage, seen};
use support::{World, camera, merge};

/// A person who walks, somewhere in a record of `seconds` seconds, in an epoch.
fn record(epoch: Epoch, seconds: u32) -> Vec<Outcome> {
    let mut footage = Footage::file();
    let walk = |t: f32| vec![seen("person", 0.8, [100.0 + 100.0 * t, 400.0, 80.0, 200.0])];
    footage.looks(2.0, walk).looks(4.0, |_| vec![]);
    footage.quiet(seconds).end(EndReason::EndOfFile);
    footage
        .outcomes
        .into_iter()
        .map(|mut outcome| {
            outcome.id.epoch = epoch;
            outcome
        })
        .collect()
}

fn file(content: &[u8], pass: u64) -> EpochRequest {
    EpochRequest::Replayable { content: Digest::of(content), pass }
}

impl World {
    async fn begin(&self, request: EpochRequest) -> Epoch {
        epochs::begin(&*self.store(), &*self.bucket(), &camera(), request).await.unwrap()
    }

    async fn reindex(&self) -> Reindexed {
        reindex(&*self.store(), &*self.bucket(), |_| {}).await.unwrap()
    }

    /// The same bucket, and no database.
    async fn without_database(self) -> Self {
        let Self { dir, embedded, clock } = self;
        embedded.close().await;
        for name in ["detektor.db", "detektor.db-wal", "detektor.db-shm"] {
            match std::fs::remove_file(dir.path().join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
                Ok(()) | Err(_) => {}
            }
        }
        let embedded = Embedded::open(dir.path(), Options::default()).await.unwrap();
        Self { dir, embedded, clock }
    }
}

/// Two contents of one camera, one after the other; the second is still under way.
async fn two_contents() -> (World, Vec<Outcome>) {
    let world = World::new().await;
    world.reindex().await;
    let function = world.merge();
    let mut all = Vec::new();
    for (content, expected) in [(b"first", 1), (b"other", 2)] {
        let epoch = world.begin(file(content, 0)).await;
        assert_eq!(epoch, Epoch(expected));
        all.extend(record(epoch, 3));
    }
    all.truncate(all.len() - 2);
    for batch in all.chunks(4) {
        merge(&function, batch).await.unwrap();
    }
    world.agrees_with(&project(&camera(), &all)).await;
    (world, all)
}

#[tokio::test]
async fn contents_keep_their_epochs_without_a_database() {
    let (world, all) = two_contents().await;
    let events = world.listed().await;
    let world = world.without_database().await;
    assert!(world.store().reindex_pending().await.unwrap());
    let found = world.reindex().await;
    assert_eq!((found.epochs, found.damaged.len()), (2, 0));
    assert!(!world.store().reindex_pending().await.unwrap());
    world.agrees_with(&project(&camera(), &all)).await;
    assert_eq!(world.listed().await.len(), events.len());
    assert_eq!(world.begin(file(b"other", 0)).await, Epoch(2));
    assert_eq!(world.begin(file(b"first", 0)).await, Epoch(1));
    // What is published is not published again; the rest is.
    let published = async |epoch| world.store().published(&camera(), Epoch(epoch)).await.unwrap() as usize;
    let of = |epoch| all.iter().filter(|outcome| outcome.id.epoch == Epoch(epoch)).count();
    assert_eq!((published(1).await, published(2).await), (of(1), of(2)));
    assert!(of(1) == of(2) + 2);
    // A third content, and the next pass of one that is not the last.
    assert_eq!(world.begin(file(b"third", 0)).await, Epoch(3));
    assert_eq!(world.begin(file(b"first", 1)).await, Epoch(5));
}

#[tokio::test]
async fn an_epoch_whose_record_is_damaged_is_nobody_elses() {
    let (world, all) = two_contents().await;
    let key = ObjectKey::epoch(&camera(), Epoch(2));
    world.bucket().put(&key, Bytes::from_static(b"{\"version\":1}")).await.unwrap();
    // Nor is one believed that lies where another belongs.
    let (there, elsewhere) = (ObjectKey::epoch(&camera(), Epoch(1)), ObjectKey::epoch(&camera(), Epoch(9)));
    let copy = world.bucket().get(&there).await.unwrap();
    world.bucket().put(&elsewhere, copy).await.unwrap();
    let world = world.without_database().await;
    let found = world.reindex().await;
    let damaged: Vec<_> = found.damaged.into_iter().map(|damaged| (damaged.key, damaged.lost)).collect();
    assert_eq!((found.epochs, damaged), (1, vec![(key, 1), (elsewhere, 1)]));
    world.agrees_with(&project(&camera(), &all)).await;
    assert_eq!(world.begin(file(b"other", 0)).await, Epoch(3));
    assert_eq!(world.begin(file(b"first", 0)).await, Epoch(1));
}

#[tokio::test]
async fn an_outcome_that_cannot_be_used_costs_itself_only() {
    let (world, mut all) = two_contents().await;
    let log = world.keys(ObjectKey::LOG).await;
    let body = world.bucket().get(&log[0]).await.unwrap();
    let mut lines: Vec<String> = String::from_utf8(body.to_vec()).unwrap().lines().map(str::to_owned).collect();
    let lost: Outcome = serde_json::from_str(&lines[1]).unwrap();
    let number = |name: &str, n: u64| format!("\"{name}\":{n}");
    lines[1] = lines[1].replace(&number("epoch", lost.id.epoch.0), &number("epoch", 1 << 63));
    lines.push(lines[0].replace("\"sequence\":", "\"sequence\":98765432109876543"));
    lines.push("{".to_owned());
    let damaged = ObjectKey::log(Digest::of(b"damaged"));
    world.bucket().delete(&log[0]).await.unwrap();
    world.bucket().put(&damaged, lines.join("\n").into()).await.unwrap();

    let world = world.without_database().await;
    let found = world.reindex().await;
    assert_eq!(found.damaged.len(), 1, "{:?}", found.damaged);
    assert_eq!((&found.damaged[0].key, found.damaged[0].lost), (&damaged, 3));
    assert!(found.damaged[0].error.contains("9223372036854775808"), "{:?}", found.damaged);
    assert!(!world.store().reindex_pending().await.unwrap());
    all.retain(|outcome| outcome.id != lost.id);
    world.agrees_with(&project(&camera(), &all)).await;
}

/// The events' objects and what they hold.
async fn event_objects(world: &World) -> Vec<(ObjectKey, Bytes)> {
    let mut objects = Vec::new();
    for key in world.keys(ObjectKey::EVENTS).await {
        let body = world.bucket().get(&key).await.unwrap();
        objects.push((key, body));
    }
    objects
}

#[tokio::test]
async fn every_event_has_its_object_after_a_reindex_whatever_was_pending() {
    let (world, _) = two_contents().await;
    // Nothing was relayed before the database went.
    assert_eq!(event_objects(&world).await, []);
    let world = world.without_database().await;
    let closed: Vec<Event> = {
        let found = world.reindex().await;
        let events = world.listed().await.into_iter().map(|stored| stored.event);
        let closed: Vec<Event> = events.filter(|event| matches!(event.state, EventState::Closed(_))).collect();
        assert_eq!(found.corrected, closed.len() as u64);
        closed
    };
    let objects = event_objects(&world).await;
    let read: Vec<Event> = objects.iter().map(|(_, body)| serde_json::from_slice(body).unwrap()).collect();
    assert!(!closed.is_empty() && read.len() == closed.len());
    assert!(closed.iter().all(|event| read.contains(event)));

    // One is of an older revision, one of an event that there is not; what is nobody's stays.
    let (key, body) = &objects[0];
    let mut older = read[0].clone();
    older.looks += 1;
    world.bucket().put(key, serde_json::to_vec(&older).unwrap().into()).await.unwrap();
    let gone = ObjectKey::parse("events/gate/media/gate.1.99.0.0.json").unwrap();
    let notes = ObjectKey::parse("events/notes").unwrap();
    for stray in [&gone, &notes] {
        world.bucket().put(stray, Bytes::from_static(b"{}")).await.unwrap();
    }
    let world = world.without_database().await;
    assert_eq!(world.reindex().await.corrected, 2);
    assert_eq!(world.bucket().get(key).await.unwrap(), body);
    assert_eq!(world.keys(ObjectKey::EVENTS).await.len(), objects.len() + 1);
    // What is as it should be is not written again.
    assert_eq!(world.reindex().await.corrected, 0);
}

#[tokio::test]
async fn a_reindex_that_breaks_off_anywhere_is_run_again() {
    let (world, all) = two_contents().await;
    let expected = project(&camera(), &all);
    let listed = world.listed().await;
    let mut step = 0;
    loop {
        let plan = support::break_off(step);
        let store = FailingStore::new(world.store(), Arc::clone(&plan));
        let bucket = FailingBucket::new(world.bucket(), Arc::clone(&plan));
        let result = reindex(&*store, &*bucket, |_| {}).await;
        assert_eq!(result.is_err(), support::broke_off(&plan, step));
        let pending = world.store().reindex_pending().await.unwrap();
        let Err(error) = result else {
            assert!(!pending);
            break;
        };
        assert_eq!(error.fault(), Fault::Transient);
        // Only before the first step and behind the last one is the store whole.
        assert!(pending || world.events().await == expected.events, "step {step}");
        world.reindex().await;
        assert!(!world.store().reindex_pending().await.unwrap());
        world.agrees_with(&expected).await;
        assert_eq!(world.listed().await, listed, "with the same revisions");
        step += 1;
    }
    assert!(step > 40, "only {step} steps were tried");
}
