//! Puts records into the queues, in order, and notes what is confirmed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use detektor_backends::bucket::Bucket;
use detektor_backends::queue::{Message, Queues};
use detektor_backends::store::EventStore;
use detektor_contract::names::{HEADER_CAPTURED_AT, HEADER_CLOSED_AT, Queue, Work};
use detektor_runtime::Trace;
use detektor_runtime::retry::{Policy, RetryError, retry};
use futures::future::try_join_all;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::metrics::Numbers;
use crate::record::Record;

/// Records published in one go.
const BATCH: usize = 8;
/// Records that wait to be published; with what is being published, the most that a camera holds.
const WAITING: usize = 8;
/// How often a full queue is looked at.
const FULL_POLL: Duration = Duration::from_millis(25);

/// Where records go.
#[derive(Clone)]
pub struct Outlets {
    /// Messages.
    pub queues: Arc<dyn Queues>,
    /// Large segments.
    pub bucket: Arc<dyn Bucket>,
    /// What is confirmed.
    pub store: Arc<dyn EventStore>,
}

/// Why a record cannot be taken: publishing was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("publishing has ended")]
pub struct Ended;

/// Publishes one camera's records. [`Publisher::finish`] waits until all are confirmed.
pub struct Publisher {
    records: mpsc::Sender<Record>,
    task: JoinHandle<Result<bool, String>>,
}

/// When to wait, and when to stop.
#[derive(Clone)]
pub struct Discipline {
    /// Wait while so many segments of the partition are ready; none for live sources, which cannot wait.
    pub most_ready: Option<u64>,
    /// Stop waiting for a full queue.
    pub shutdown: CancellationToken,
    /// Give up publishing altogether.
    pub abort: CancellationToken,
}

impl Publisher {
    /// Starts to publish.
    pub fn start(outlets: Outlets, discipline: Discipline, numbers: Numbers) -> Self {
        let (records, waiting) = mpsc::channel(WAITING);
        let work = Task { outlets, discipline, numbers };
        Self { records, task: tokio::spawn(work.run(waiting)) }
    }

    /// Hands a record over; waits while too many wait.
    ///
    /// # Errors
    /// [`Ended`] if publishing was given up.
    pub async fn publish(&self, record: Record) -> Result<(), Ended> {
        self.records.send(record).await.map_err(|_| Ended)
    }

    /// Waits until everything is confirmed; false if shutdown came before.
    ///
    /// # Errors
    /// Why publishing was given up.
    pub async fn finish(self) -> Result<bool, String> {
        drop(self.records);
        self.task.await.unwrap_or_else(|error| Err(format!("publishing died: {error}")))
    }
}

struct Task {
    outlets: Outlets,
    discipline: Discipline,
    numbers: Numbers,
}

/// Publishing was stopped, by shutdown or for good.
enum Stop {
    Shutdown,
    Failed(String),
}

impl Task {
    async fn run(self, mut waiting: mpsc::Receiver<Record>) -> Result<bool, String> {
        let mut batch = Vec::with_capacity(BATCH);
        while waiting.recv_many(&mut batch, BATCH).await > 0 {
            match self.publish(&mut batch).await {
                Ok(()) => {}
                Err(Stop::Shutdown) => return Ok(false),
                Err(Stop::Failed(error)) => return Err(error),
            }
        }
        Ok(true)
    }

    async fn publish(&self, batch: &mut Vec<Record>) -> Result<(), Stop> {
        self.wait_for_room(batch).await?;
        let begun = Instant::now();
        let Outlets { queues, bucket, store } = &self.outlets;
        let camera = batch.first().map(|record| record.id.camera.to_string()).unwrap_or_default();
        let doing = &|what: &str| format!("camera {camera}: {what}");
        let (patience, abort) = (Policy::default(), &self.discipline.abort);
        let objects = batch.iter_mut().filter_map(|record| record.object.take());
        let puts = objects.map(|(key, bytes)| async move {
            let put = || bucket.put(&key, bytes.clone());
            retry(&doing("storing a segment"), &patience, abort, put).await
        });
        try_join_all(puts).await.map_err(stop)?;

        let bytes: usize = batch.iter().map(|record| record.body.len()).sum();
        // A camera's jobs go before its markers: order is restored at merge.
        for work in [Work::Detect, Work::Merge] {
            let mine = |record: &&Record| matches!(record.queue, Queue::Work(kind, _) if kind == work);
            let Some(queue) = batch.iter().find(mine).map(|record| record.queue) else { continue };
            let messages: Vec<Message> = batch.iter().filter(mine).map(message).collect();
            let publish = || queues.publish(queue, messages.clone());
            retry(&doing("publishing segments"), &patience, abort, publish).await.map_err(stop)?;
        }
        if let Some(Record { id, .. }) = batch.iter().rfind(|record| !record.provisional) {
            let note = || store.set_published(&id.camera, id.epoch, id.sequence + 1);
            retry(&doing("noting what is published"), &patience, abort, note).await.map_err(stop)?;
        }
        self.numbers.published(batch.len(), bytes, begun.elapsed());
        batch.clear();
        Ok(())
    }

    /// Waits until the partition's detect queue has room.
    async fn wait_for_room(&self, batch: &[Record]) -> Result<(), Stop> {
        let Some(most) = self.discipline.most_ready else { return Ok(()) };
        let Some(queue) = batch.iter().map(|r| r.queue).find(|queue| matches!(queue, Queue::Work(Work::Detect, _)))
        else {
            return Ok(());
        };
        loop {
            let depth = || self.outlets.queues.depth(queue);
            let policy = Policy::default();
            let depth = retry("asking for the queue's depth", &policy, &self.discipline.shutdown, depth).await;
            if depth.map_err(stop)?.ready < most {
                return Ok(());
            }
            if self.discipline.shutdown.run_until_cancelled(tokio::time::sleep(FULL_POLL)).await.is_none() {
                return Err(Stop::Shutdown);
            }
        }
    }
}

fn stop<E: std::error::Error>(error: RetryError<E>) -> Stop {
    match error {
        RetryError::Cancelled => Stop::Shutdown,
        RetryError::Failed(error) => Stop::Failed(detektor_runtime::chain(&error)),
    }
}

fn message(record: &Record) -> Message {
    let mut headers = BTreeMap::from([
        (HEADER_CLOSED_AT.to_owned(), record.closed_unix_us.to_string()),
        (HEADER_CAPTURED_AT.to_owned(), record.captured_unix_us.to_string()),
    ]);
    Trace::begin().write(&mut headers);
    Message { body: record.body.clone(), headers }
}
