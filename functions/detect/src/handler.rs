//! The function: segment jobs in, outcomes out. It knows no queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use detektor_backends::bucket::{Bucket, BucketError};
use detektor_backends::queue::Message;
use detektor_contract::names::{HEADER_LOOKED, Work};
use detektor_contract::{
    Fate, KeepVideo, KeptVideo, Marker, MediaInfo, ObjectKey, Outcome, OutcomeBody, Payload, SegmentJob, SegmentResult,
    ShedReason, SnapshotRef, wire,
};
use detektor_runtime::blocking::{StartError, Workers};
use detektor_runtime::task::BoxError;
use detektor_runtime::{Batch, Handler, HandlerError, Invocation, Output, Progress, Reply, handler_fn, unix_us};
use futures::future::{join_all, try_join_all};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::error::DetectError;
use crate::worker::{Call, Looked, Worker};

/// Waits on the surroundings end so long before the host's, so that they are not taken for the segment's fault.
const MARGIN: Duration = Duration::from_secs(1);

/// How the function works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetectConfig {
    /// Threads that decode and look: as many segments are worked on at once.
    pub workers: usize,
}

impl Default for DetectConfig {
    fn default() -> Self {
        Self { workers: std::thread::available_parallelism().map_or(1, usize::from) }
    }
}

/// The detect function. Cheap to clone; clones share the workers.
#[derive(Clone)]
pub struct Detect {
    workers: Workers<Task, Result<(Looked, Duration), DetectError>>,
    /// Signs that any worker gave that it gets on.
    signs: Arc<AtomicU64>,
    bucket: Arc<dyn Bucket>,
}

/// A segment on its way to a worker.
struct Task {
    job: Arc<SegmentJob>,
    video: Bytes,
    begun: Arc<AtomicBool>,
    call: Call,
}

impl Detect {
    /// Starts the workers; `build` makes each one's state, and makes it anew after a panic.
    ///
    /// # Errors
    /// Where a thread or a worker's state cannot be had.
    pub async fn start<B>(config: &DetectConfig, bucket: Arc<dyn Bucket>, build: B) -> Result<Self, StartError>
    where
        B: Fn() -> Result<Worker, BoxError> + Send + Sync + 'static,
    {
        let work = |worker: &mut Worker, task: Task| {
            task.begun.store(true, Ordering::Relaxed);
            let begun = Instant::now();
            let looked = worker.look(&task.job, &task.video, &task.call)?;
            Ok((looked, begun.elapsed()))
        };
        let workers = Workers::start("detect", config.workers, config.workers, move |_| build(), work).await?;
        Ok(Self { workers, signs: Arc::default(), bucket })
    }

    /// The function as a handler. The segments of a batch are looked at side by side.
    pub fn handler(&self) -> impl Handler {
        let detect = self.clone();
        handler_fn(move |Batch(invocations)| {
            let detect = detect.clone();
            async move { Ok(Reply(join_all(invocations.into_iter().map(|one| detect.invoke(one))).await)) }
        })
    }

    /// Ends the workers once they are through with what they have.
    pub async fn shutdown(&self) {
        self.workers.shutdown().await;
    }

    async fn invoke(&self, invocation: Invocation) -> Result<Vec<Output>, HandlerError> {
        let job = Arc::new(wire::decode_job(&invocation.message.body).map_err(DetectError::from)?);
        if job.is_stale(unix_us()) {
            return Ok(vec![output(&job, shed(&job))]);
        }
        let progress = &invocation.progress;
        let video = self.video(&job, progress).await?;
        let (looked, took) = self.look(&job, &video, progress).await?;
        let result = self.store(&job, video, looked, progress).await?;
        let mut output = output(&job, OutcomeBody::Result(result));
        output.message.headers.insert(HEADER_LOOKED.to_owned(), took.as_micros().to_string());
        Ok(vec![output])
    }

    async fn video(&self, job: &SegmentJob, progress: &Progress) -> Result<Bytes, DetectError> {
        match &job.payload {
            Payload::Inline { video, .. } => Ok(video.clone()),
            Payload::Object { key, .. } => within(progress, "the segment's video", self.bucket.get(key)).await,
        }
    }

    /// What a worker saw, and how long it looked.
    async fn look(
        &self,
        job: &Arc<SegmentJob>,
        video: &Bytes,
        progress: &Progress,
    ) -> Result<(Looked, Duration), HandlerError> {
        let stop = CancellationToken::new();
        // Whoever gives up on this call stops the worker too.
        let _stops = stop.clone().drop_guard();
        let begun = Arc::new(AtomicBool::new(false));
        let (ours, any) = (progress.clone(), Arc::clone(&self.signs));
        let heard = move || {
            any.fetch_add(1, Ordering::Relaxed);
            ours.made();
        };
        let call = Call::new(stop, heard);
        let task = Task { job: Arc::clone(job), video: video.clone(), begun: Arc::clone(&begun), call };
        let mut submitted = std::pin::pin!(self.workers.submit(task));
        let mut signs = self.signs.load(Ordering::Relaxed);
        loop {
            if let Ok(result) = timeout_at(waits_end(progress), &mut submitted).await {
                return Ok(result??);
            }
            if begun.load(Ordering::Relaxed) {
                // From here on the host judges: a segment that hangs its worker is at fault itself.
                return Ok(submitted.await??);
            }
            // Nobody has begun it. That is no fault of anybody's while the workers get on with what is before it.
            let before = std::mem::replace(&mut signs, self.signs.load(Ordering::Relaxed));
            if signs == before {
                return Err(DetectError::NoWorker.into());
            }
            progress.made();
        }
    }

    /// Stores what is to be kept. All of it is durable before the outcome names it.
    async fn store(
        &self,
        job: &SegmentJob,
        video: Bytes,
        looked: Looked,
        progress: &Progress,
    ) -> Result<SegmentResult, DetectError> {
        let Looked { frames, snapshots, engine } = looked;
        let puts = snapshots.into_iter().map(|(frame, jpeg)| async move {
            let key = ObjectKey::snapshot(&job.id, frame);
            within(progress, "a snapshot", self.bucket.put(&key, jpeg)).await?;
            Ok::<_, DetectError>(SnapshotRef { frame, key })
        });
        let snapshots = try_join_all(puts).await?;
        let reported = |fate: &Fate| matches!(fate, Fate::Detected(seen) if seen.iter().any(|d| d.score >= job.rules.report_score));
        let keep = match job.policy.keep_video {
            KeepVideo::All => true,
            KeepVideo::Events => frames.iter().any(|frame| reported(&frame.fate)),
            KeepVideo::None => false,
        };
        let mut kept = None;
        if keep {
            let key = ObjectKey::video(&job.id);
            within(progress, "the segment's video", self.bucket.put(&key, video)).await?;
            let MediaInfo { pre_roll, post_roll, ref hidden, .. } = job.media;
            kept = Some(KeptVideo { key, pre_roll, post_roll, hidden: hidden.clone() });
        }
        Ok(SegmentResult {
            span: job.span,
            seam: job.seam,
            rules: job.rules,
            picture: [job.media.width, job.media.height],
            engine,
            frames,
            snapshots,
            video: kept,
        })
    }
}

fn output(job: &SegmentJob, body: OutcomeBody) -> Output {
    let outcome = Outcome { id: job.id.clone(), generation: job.generation, body };
    let message = Message { body: wire::encode_outcome(&outcome), headers: Default::default() };
    Output { work: Work::Merge, message }
}

fn shed(job: &SegmentJob) -> OutcomeBody {
    OutcomeBody::Marker(Marker::Shed { span: job.span, seam: job.seam, reason: ShedReason::Stale })
}

/// When waiting for the surroundings ends.
fn waits_end(progress: &Progress) -> Instant {
    let deadline = progress.deadline();
    deadline.checked_sub(MARGIN).unwrap_or(deadline)
}

/// A call to the bucket that ends in time.
async fn within<T>(
    progress: &Progress,
    what: &'static str,
    call: impl Future<Output = Result<T, BucketError>>,
) -> Result<T, DetectError> {
    let late = || BucketError::Unavailable { context: "no answer before the deadline".to_owned(), source: None };
    let answer = timeout_at(waits_end(progress), call).await.unwrap_or_else(|_| Err(late()));
    progress.made();
    answer.map_err(|source| DetectError::Bucket { what, source })
}

#[cfg(test)]
mod tests;
