//! Makes the event store anew from the outcome log.

use std::collections::{BTreeMap, BTreeSet};

use detektor_backends::bucket::Bucket;
use detektor_backends::store::EventStore;
use detektor_contract::{CameraId, ObjectKey, Outcome};
use futures::{StreamExt, TryStreamExt};

use crate::advance::{self, Holes};
use crate::error::{Doing, MergeError};
use crate::log;

/// Objects read ahead.
const READ_AHEAD: usize = 16;

/// What a reindex found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reindexed {
    /// Log objects read.
    pub objects: u64,
    /// Outcomes in them, repetitions included.
    pub outcomes: u64,
    /// Cameras that they speak of.
    pub cameras: u64,
    /// Objects that hold lines which cannot be read. Their other lines count.
    pub damaged: Vec<ObjectKey>,
}

/// Empties the event store and fills it from the outcome log: the same events and ledger, and readers are told nothing but
/// to begin anew. Nothing else may merge meanwhile. If it breaks off, it has to be run again. `progress` is called after
/// every object.
pub async fn reindex(
    store: &dyn EventStore,
    bucket: &dyn Bucket,
    mut progress: impl FnMut(&Reindexed),
) -> Result<Reindexed, MergeError> {
    store.begin_reindex().await.doing("beginning a reindex")?;
    let mut found = Reindexed::default();
    let mut cameras: BTreeSet<CameraId> = BTreeSet::new();
    let get = |listed: detektor_backends::bucket::Listed| async move {
        let body = bucket.get(&listed.key).await.doing("reading the outcome log")?;
        Ok((listed.key, body))
    };
    let listed = bucket.list(ObjectKey::LOG).map(|listed| listed.doing("listing the outcome log"));
    let mut objects = listed.map_ok(get).try_buffered(READ_AHEAD);
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
    Ok(found)
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
