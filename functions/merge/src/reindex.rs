//! Makes the event store anew from the outcome log.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;

use bytes::Bytes;
use detektor_backends::bucket::{Bucket, BucketError, Listed};
use detektor_backends::store::{EventCursor, EventFilter, EventStore, Order};
use detektor_contract::{CameraId, EpochRecord, Event, EventId, EventState, ObjectKey, Outcome};
use futures::stream::{self, TryChunksError};
use futures::{Stream, StreamExt, TryStreamExt};

use crate::advance::{self, Holes};
use crate::error::{Doing, MergeError};
use crate::{log, objects};

/// Objects read ahead.
const READ_AHEAD: usize = 16;
/// Epochs restored in one transaction.
const EPOCHS_AT_ONCE: usize = 64;
/// Events read at a time.
const EVENTS_AT_ONCE: u32 = 256;

/// What a reindex found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reindexed {
    /// Log objects read.
    pub objects: u64,
    /// Outcomes in them, repetitions included.
    pub outcomes: u64,
    /// Cameras that they speak of.
    pub cameras: u64,
    /// Epochs whose meaning the bucket knows.
    pub epochs: u64,
    /// Event objects that were missing, not as the event says, or of no event.
    pub corrected: u64,
    /// Objects that cannot be read as a whole.
    pub damaged: Vec<Damaged>,
}

/// An object of which something cannot be read. It costs that, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// Which object.
    pub key: ObjectKey,
    /// How many outcomes, or records of an epoch, are lost with it.
    pub lost: u64,
    /// What is wrong with the first of them.
    pub error: String,
}

/// Empties the event store and fills it from the bucket: the same events and ledger, the same epochs for files, and readers
/// are told nothing but to begin anew. What was pruned from the store stays so: each camera is folded from its floor on. Segments that have outcomes count as published, and events have their objects.
/// What cannot be read costs itself and nothing else. Nothing else may merge meanwhile.
/// Until it is through the store says that a reindex is pending ([`EventStore::reindex_pending`]); one that broke off is
/// simply run again. `progress` is called after every object.
pub async fn reindex(
    store: &dyn EventStore,
    bucket: &dyn Bucket,
    mut progress: impl FnMut(&Reindexed),
) -> Result<Reindexed, MergeError> {
    store.begin_reindex().await.doing("beginning a reindex")?;
    let mut found = Reindexed::default();
    epochs(store, bucket, &mut found).await?;
    let mut cameras: BTreeSet<CameraId> = BTreeSet::new();
    let mut logged = pin!(every_object(bucket, ObjectKey::LOG));
    while let Some((key, body)) = logged.try_next().await? {
        let mut outcomes = Vec::new();
        let mut errors = Vec::new();
        for line in log::outcomes(&body) {
            match line {
                Ok(outcome) => outcomes.push(outcome),
                Err(error) => errors.push(error),
            }
        }
        if let Some(error) = errors.first() {
            found.damaged.push(Damaged { key, lost: errors.len() as u64, error: error.to_string() });
        }
        put(store, &outcomes).await?;
        cameras.extend(outcomes.iter().map(|outcome| outcome.id.camera.clone()));
        found.objects += 1;
        found.outcomes += outcomes.len() as u64;
        found.cameras = cameras.len() as u64;
        progress(&found);
    }
    for camera in &cameras {
        fold(store, camera).await?;
    }
    found.corrected = correct_objects(store, bucket).await?;
    store.end_reindex().await.doing("ending a reindex")?;
    Ok(found)
}

/// Every object below a prefix.
fn every_object(bucket: &dyn Bucket, prefix: &str) -> impl Stream<Item = Result<(ObjectKey, Bytes), MergeError>> {
    let get = move |listed: Listed| async move {
        let body = bucket.get(&listed.key).await.doing("reading the bucket")?;
        Ok((listed.key, body))
    };
    let listed = bucket.list(prefix).map(|listed| listed.doing("listing the bucket"));
    listed.map_ok(get).try_buffered(READ_AHEAD)
}

/// Gives the store back what its epochs are.
async fn epochs(store: &dyn EventStore, bucket: &dyn Bucket, found: &mut Reindexed) -> Result<(), MergeError> {
    let mut chunks = pin!(every_object(bucket, ObjectKey::EPOCHS).try_chunks(EPOCHS_AT_ONCE));
    while let Some(chunk) = chunks.try_next().await.map_err(|TryChunksError(_, error)| error)? {
        let mut records = Vec::with_capacity(chunk.len());
        for (key, body) in chunk {
            // Where it cannot be read, its content gets another epoch when it is next seen, above all that are known.
            let error = match EpochRecord::from_json(&body) {
                Ok(record) if record.key() == key => {
                    records.push(record);
                    continue;
                }
                Ok(record) => format!("it is the record of {}", record.key()),
                Err(error) => error.to_string(),
            };
            found.damaged.push(Damaged { key, lost: 1, error });
        }
        store.restore_epochs(&records).await.doing("restoring epochs")?;
        found.epochs += records.len() as u64;
    }
    Ok(())
}

async fn put(store: &dyn EventStore, outcomes: &[Outcome]) -> Result<(), MergeError> {
    let mut by_camera: BTreeMap<&CameraId, Vec<&Outcome>> = BTreeMap::new();
    for outcome in outcomes {
        by_camera.entry(&outcome.id.camera).or_default().push(outcome);
    }
    let cameras: Vec<CameraId> = by_camera.keys().map(|camera| (*camera).clone()).collect();
    let mut tx = store.begin_merge(&cameras).await.doing("beginning a merge")?;
    let outcomes: Vec<&Outcome> = by_camera.into_values().flatten().collect();
    tx.put_all(&outcomes).await.doing("recording outcomes")?;
    tx.commit().await.doing("committing a merge")
}

async fn fold(store: &dyn EventStore, camera: &CameraId) -> Result<(), MergeError> {
    loop {
        let mut tx = store.begin_merge(std::slice::from_ref(camera)).await.doing("beginning a merge")?;
        let step = advance::fold(&mut *tx, camera, None, Holes::Pass, false).await?;
        tx.commit().await.doing("committing a merge")?;
        if !step.more {
            return Ok(());
        }
    }
}

/// Makes the events' objects what the events say, where they are not: the outbox that knew what was pending may be gone.
/// Answers how many that were. What is as it should be is not written again, for who listens to the bucket would hear of it.
async fn correct_objects(store: &dyn EventStore, bucket: &dyn Bucket) -> Result<u64, MergeError> {
    let mut corrected = 0;
    let mut after: Option<EventCursor> = None;
    let all = EventFilter::default();
    loop {
        let page =
            store.events(&all, Order::Ascending, after.as_ref(), EVENTS_AT_ONCE).await.doing("reading events")?;
        let written: Vec<_> = page.iter().map(|stored| write_object(bucket, &stored.event)).collect();
        let written: Vec<bool> = stream::iter(written).buffered(READ_AHEAD).try_collect().await?;
        corrected += written.into_iter().filter(|written| *written).count() as u64;
        match page.last() {
            Some(last) if page.len() == EVENTS_AT_ONCE as usize => {
                after = Some(EventCursor { start: last.event.start, id: last.event.id.clone() });
            }
            Some(_) | None => break,
        }
    }
    let floors = store.floors().await.doing("reading floors")?;
    let pruned = |id: &EventId| {
        let first = id.first_segment();
        first.is_some_and(|first| floors.get(&first.camera).is_some_and(|floor| first.position() <= *floor))
    };
    let mut listed = pin!(bucket.list(ObjectKey::EVENTS));
    while let Some(Listed { key, .. }) = listed.try_next().await.doing("listing the bucket")? {
        let Some(id) = key.event_id() else { continue };
        let event = store.event(&id).await.doing("reading an event")?;
        // What is no longer in the store for its age still is in the bucket.
        if event.is_none() && pruned(&id) {
            continue;
        }
        let belongs = event.is_some_and(|stored| is_over(&stored.event) && ObjectKey::event(&stored.event) == key);
        if !belongs {
            bucket.delete(&key).await.doing("removing an event's object")?;
            corrected += 1;
        }
    }
    Ok(corrected)
}

fn is_over(event: &Event) -> bool {
    matches!(event.state, EventState::Closed(_))
}

/// Whether the object of an event that is over had to be written.
async fn write_object(bucket: &dyn Bucket, event: &Event) -> Result<bool, MergeError> {
    if !is_over(event) {
        return Ok(false);
    }
    let (key, body) = (ObjectKey::event(event), objects::body(event));
    match bucket.get(&key).await {
        Ok(there) if there == body => return Ok(false),
        Ok(_) | Err(BucketError::NotFound(_)) => {}
        Err(error) => return Err(error).doing("reading an event's object"),
    }
    bucket.put(&key, body).await.doing("writing an event's object")?;
    Ok(true)
}
