//! Removes the video of jobs that are through.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use detektor_backends::bucket::Bucket;
use detektor_backends::store::EventStore;
use detektor_contract::{CameraId, ObjectKey, OutcomeBody, Position, SegmentId};
use detektor_runtime::retry::{Policy, RetryError, retry};
use futures::TryStreamExt;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::error::{Doing, MergeError};

/// Time between two sweeps. A job whose ack was lost is delivered again within it, and still finds its video.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Removes objects that jobs too large for their messages travelled in, once their segments have outcomes. Those of failed
/// segments stay: a replay needs them.
pub struct InFlight {
    store: Arc<dyn EventStore>,
    bucket: Arc<dyn Bucket>,
}

impl InFlight {
    /// What `store` has outcomes of leaves `bucket`.
    pub fn new(store: Arc<dyn EventStore>, bucket: Arc<dyn Bucket>) -> Self {
        Self { store, bucket }
    }

    /// The objects whose segments are through.
    pub async fn through(&self) -> Result<BTreeSet<ObjectKey>, MergeError> {
        let floors = self.store.floors().await.doing("reading floors")?;
        let mut listed = self.bucket.list(ObjectKey::IN_FLIGHT);
        let mut through = BTreeSet::new();
        while let Some(object) = listed.try_next().await.doing("listing jobs' videos")? {
            let Some(segment) = object.key.segment_in_flight() else { continue };
            if self.is_through(&segment, &floors).await? {
                through.insert(object.key);
            }
        }
        Ok(through)
    }

    async fn is_through(&self, segment: &SegmentId, floors: &BTreeMap<CameraId, Position>) -> Result<bool, MergeError> {
        // What was pruned has no use for an outcome any more, not even a replay's.
        if floors.get(&segment.camera).is_some_and(|floor| segment.position() <= *floor) {
            return Ok(true);
        }
        let outcomes = self.store.outcomes(&segment.camera, segment.position(), 1).await.doing("reading an outcome")?;
        let outcome = outcomes.first().filter(|outcome| outcome.id == *segment);
        Ok(outcome.is_some_and(|outcome| !matches!(outcome.body, OutcomeBody::Tombstone(_))))
    }

    /// Removes them.
    pub async fn remove<'a>(&self, keys: impl IntoIterator<Item = &'a ObjectKey>) -> Result<(), MergeError> {
        for key in keys {
            self.bucket.delete(key).await.doing("removing a job's video")?;
        }
        Ok(())
    }

    /// Sweeps until shutdown, whatever fails meanwhile. What was through a sweep ago is removed. One in a deployment is
    /// enough; more do no harm.
    pub async fn run(&self, shutdown: CancellationToken) -> Result<(), MergeError> {
        let mut before = BTreeSet::new();
        while shutdown.run_until_cancelled(sleep(SWEEP_EVERY)).await.is_some() {
            let sweep = || async {
                let now = self.through().await?;
                self.remove(now.intersection(&before)).await?;
                Ok(now)
            };
            match retry("removing jobs' videos", &Policy::default(), &shutdown, sweep).await {
                Ok(now) => before = now,
                Err(RetryError::Cancelled) => return Ok(()),
                Err(RetryError::Failed(error)) => return Err(error),
            }
        }
        Ok(())
    }
}
