//! Makes the event store anew from the outcome log.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;

use bytes::Bytes;
use detektor_backends::bucket::{Bucket, Listed};
use detektor_backends::store::EventStore;
use detektor_contract::{CameraId, EpochRecord, ObjectKey, Outcome};
use futures::stream::TryChunksError;
use futures::{Stream, StreamExt, TryStreamExt};

use crate::advance::{self, Holes};
use crate::error::{Doing, MergeError};
use crate::log;

/// Objects read ahead.
const READ_AHEAD: usize = 16;
/// Epochs restored in one transaction.
const EPOCHS_AT_ONCE: usize = 64;

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
    /// Objects that hold lines which cannot be read (their other lines count), and records of epochs that cannot.
    pub damaged: Vec<ObjectKey>,
}

/// Empties the event store and fills it from the bucket: the same events and ledger, the same epochs for files, and readers
/// are told nothing but to begin anew. Segments that have outcomes count as published. Nothing else may merge meanwhile.
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
    let mut objects = pin!(objects(bucket, ObjectKey::LOG));
    while let Some((key, body)) = objects.try_next().await? {
        let lines: Vec<Result<Outcome, _>> = log::outcomes(&body).collect();
        if lines.iter().any(Result::is_err) {
            tracing::warn!(%key, "a log object holds lines that cannot be read");
            found.damaged.push(key);
        }
        let outcomes: Vec<Outcome> = lines.into_iter().flatten().collect();
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
    store.end_reindex().await.doing("ending a reindex")?;
    Ok(found)
}

/// Every object below a prefix.
fn objects(bucket: &dyn Bucket, prefix: &str) -> impl Stream<Item = Result<(ObjectKey, Bytes), MergeError>> {
    let get = move |listed: Listed| async move {
        let body = bucket.get(&listed.key).await.doing("reading the bucket")?;
        Ok((listed.key, body))
    };
    let listed = bucket.list(prefix).map(|listed| listed.doing("listing the bucket"));
    listed.map_ok(get).try_buffered(READ_AHEAD)
}

/// Gives the store back what its epochs are.
async fn epochs(store: &dyn EventStore, bucket: &dyn Bucket, found: &mut Reindexed) -> Result<(), MergeError> {
    let mut chunks = pin!(objects(bucket, ObjectKey::EPOCHS).try_chunks(EPOCHS_AT_ONCE));
    while let Some(chunk) = chunks.try_next().await.map_err(|TryChunksError(_, error)| error)? {
        let mut records = Vec::with_capacity(chunk.len());
        for (key, body) in chunk {
            match EpochRecord::from_json(&body) {
                Ok(record) if record.key() == key => records.push(record),
                // Its content gets another epoch when it is next seen, above all that are known.
                Ok(_) | Err(_) => {
                    tracing::warn!(%key, "an epoch's record cannot be read");
                    found.damaged.push(key);
                }
            }
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
    for outcome in by_camera.into_values().flatten() {
        tx.put(outcome).await.doing("recording an outcome")?;
    }
    tx.commit().await.doing("committing a merge")
}

async fn fold(store: &dyn EventStore, camera: &CameraId) -> Result<(), MergeError> {
    loop {
        let mut tx = store.begin_merge(std::slice::from_ref(camera)).await.doing("beginning a merge")?;
        let step = advance::fold(store, &mut *tx, camera, None, Holes::Pass, false).await?;
        tx.commit().await.doing("committing a merge")?;
        if !step.more {
            return Ok(());
        }
    }
}
