//! Takes outcomes in batches.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use detektor_backends::bucket::Bucket;
use detektor_backends::store::EventStore;
use detektor_contract::wire::{WireError, decode_outcome};
use detektor_contract::{CameraId, Outcome, Position};
use detektor_runtime::metrics::MetricsError;
use detektor_runtime::retry::{Policy, RetryError, retry};
use detektor_runtime::{Batch, Handler, HandlerError, Invocation, Metrics, Reply, handler_fn, unix_us};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::advance::{self, Holes, Step};
use crate::error::{Doing, MergeError};
use crate::latency::{Latencies, Stamps, Stopwatch};
use crate::log;
use crate::numbers::Numbers;

/// Left of a batch's deadline when merge gives up waiting, so that it is merge that says so.
const MARGIN: Duration = Duration::from_secs(1);
/// How often to look for cameras that have waited too long.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The time in Unix microseconds.
pub type Now = Arc<dyn Fn() -> i64 + Send + Sync>;

/// How merge works.
#[derive(Clone)]
pub struct MergeConfig {
    /// How long to wait for a missing outcome before the camera goes on without it.
    pub hole_wait: Duration,
    /// The clock. It decides when waiting ends, and nothing else.
    pub now: Now,
}

impl Default for MergeConfig {
    fn default() -> Self {
        Self { hole_wait: Duration::from_secs(10), now: Arc::new(unix_us) }
    }
}

/// The merge function.
pub struct Merge {
    store: Arc<dyn EventStore>,
    bucket: Arc<dyn Bucket>,
    config: MergeConfig,
    numbers: Numbers,
    stopwatch: Mutex<Stopwatch>,
}

impl Merge {
    /// Merges into `store`, and logs to `bucket`.
    pub fn new(
        store: Arc<dyn EventStore>,
        bucket: Arc<dyn Bucket>,
        config: MergeConfig,
        metrics: &Metrics,
    ) -> Result<Self, MetricsError> {
        let numbers = Numbers::new(metrics)?;
        Ok(Self { store, bucket, config, numbers, stopwatch: Mutex::default() })
    }

    /// What a host runs on the merge queues.
    pub fn handler(self: Arc<Self>) -> impl Handler {
        handler_fn(move |batch| {
            let merge = Arc::clone(&self);
            async move { merge.batch(batch).await }
        })
    }

    async fn batch(&self, Batch(invocations): Batch) -> Result<Reply, HandlerError> {
        let deadline = invocations.iter().map(Invocation::deadline).min();
        let merging = (self.config.now)();
        let read: Vec<Result<(Outcome, Stamps), WireError>> = invocations
            .iter()
            .map(|invocation| {
                let outcome = decode_outcome(&invocation.message.body)?;
                Ok((outcome, Stamps::of(&invocation.message.headers, merging)))
            })
            .collect();
        let good: Vec<&(Outcome, Stamps)> = read.iter().flatten().collect();
        within(deadline, self.merge(&good)).await?;
        Ok(Reply(read.into_iter().map(|item| item.map(|_| Vec::new()).map_err(HandlerError::from)).collect()))
    }

    async fn merge(&self, outcomes: &[&(Outcome, Stamps)]) -> Result<(), MergeError> {
        if outcomes.is_empty() {
            return Ok(());
        }
        let (key, body) = log::object(outcomes.iter().map(|(outcome, _)| outcome));
        self.bucket.put(&key, body).await.doing("writing the outcome log")?;

        let mut by_camera: BTreeMap<&CameraId, Vec<&Outcome>> = BTreeMap::new();
        for (outcome, _) in outcomes {
            by_camera.entry(&outcome.id.camera).or_default().push(outcome);
        }
        let cameras: Vec<CameraId> = by_camera.keys().map(|camera| (*camera).clone()).collect();
        let mut tx = self.store.begin_merge(&cameras).await.doing("beginning a merge")?;
        let mut puts = Vec::with_capacity(outcomes.len());
        let mut steps = Vec::with_capacity(cameras.len());
        for (camera, outcomes) in by_camera {
            let changed = advance::put(&mut *tx, camera, &outcomes, |put| puts.push(put)).await?;
            let step = advance::fold(&mut *tx, camera, changed, self.holes(), true).await?;
            steps.push((camera, step));
        }
        tx.commit().await.doing("committing a merge")?;

        puts.iter().for_each(|put| self.numbers.count_put(put));
        for (camera, step) in &steps {
            self.stopwatch().forget(camera, step.before);
        }
        for (outcome, stamps) in outcomes {
            self.stopwatch().start(&outcome.id.camera, outcome.id.position(), *stamps);
        }
        for (camera, step) in steps {
            self.done(camera, &step);
            if step.more {
                self.advance(camera).await?;
            }
        }
        Ok(())
    }

    /// Sweeps every second until shutdown, whatever fails meanwhile. One in a deployment is enough; more do no harm.
    pub async fn sweeps(&self, shutdown: CancellationToken) -> Result<(), MergeError> {
        loop {
            match retry("going on without missing outcomes", &Policy::default(), &shutdown, || self.sweep()).await {
                Ok(_) => {}
                Err(RetryError::Cancelled) => return Ok(()),
                Err(RetryError::Failed(error)) => return Err(error),
            }
            if shutdown.run_until_cancelled(sleep(SWEEP_EVERY)).await.is_none() {
                return Ok(());
            }
        }
    }

    /// Goes on without what has been missing for too long, on cameras of which nothing new comes: where it does, merging it
    /// does the same. Answers how many cameras waited too long.
    pub async fn sweep(&self) -> Result<usize, MergeError> {
        let Holes::Wait { now, patience } = self.holes() else { return Ok(0) };
        let before = now.saturating_sub(patience);
        let waiting = self.store.waiting_cameras(before, now).await.doing("looking for cameras that wait")?;
        for camera in &waiting {
            self.advance(camera).await?;
        }
        Ok(waiting.len())
    }

    /// Folds what is there of a camera, in as many transactions as it takes.
    async fn advance(&self, camera: &CameraId) -> Result<(), MergeError> {
        loop {
            let mut tx = self.store.begin_merge(std::slice::from_ref(camera)).await.doing("beginning a merge")?;
            let step = advance::fold(&mut *tx, camera, None, self.holes(), true).await?;
            tx.commit().await.doing("committing a merge")?;
            self.stopwatch().forget(camera, step.before);
            self.done(camera, &step);
            if !step.more {
                return Ok(());
            }
        }
    }

    /// How long this process's segments took until their events could be read.
    pub fn latencies(&self) -> Latencies {
        self.stopwatch().latencies()
    }

    fn holes(&self) -> Holes {
        let patience = i64::try_from(self.config.hole_wait.as_micros()).unwrap_or(i64::MAX);
        Holes::Wait { now: (self.config.now)(), patience }
    }

    fn done(&self, camera: &CameraId, step: &Step) {
        self.numbers.count_step(step);
        if step.passed > 0 {
            tracing::warn!(%camera, holes = step.passed, "going on without outcomes that are missing");
        }
        let Some(frontier): Option<Position> = step.frontier else { return };
        for way in self.stopwatch().stop(camera, frontier, (self.config.now)()) {
            self.numbers.observe(&way);
        }
    }

    /// It measures; a panic while it was held spoils no more than that.
    fn stopwatch(&self) -> std::sync::MutexGuard<'_, Stopwatch> {
        self.stopwatch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for `work` until shortly before the deadline.
pub(crate) async fn within<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = Result<T, MergeError>>,
) -> Result<T, MergeError> {
    match deadline {
        None => work.await,
        Some(deadline) => {
            let end = deadline.checked_sub(MARGIN).unwrap_or(deadline);
            timeout_at(end, work).await.unwrap_or(Err(MergeError::Deadline))
        }
    }
}
