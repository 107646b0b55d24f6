//! Puts records into the queues, in order, and notes what is confirmed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use detektor_backends::bucket::Bucket;
use detektor_backends::queue::{Message, Queues};
use detektor_backends::store::EventStore;
use detektor_contract::names::{HEADER_CAPTURED_AT, HEADER_CLOSED_AT, Queue, Work};
use detektor_runtime::retry::{Policy, RetryError, retry};
use detektor_runtime::{Trace, chain};
use futures::future::try_join_all;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::metrics::Numbers;
use crate::record::Record;
use crate::spool::Spool;

/// Records published in one go.
const BATCH: usize = 8;
/// Records that wait to be published; with what is being published, the most that a camera holds.
const WAITING: usize = 8;
/// How often a full queue is looked at.
const FULL_POLL: Duration = Duration::from_millis(25);
/// A live source's records go to the spool after so long: well before what it may hold is used up.
const PATIENCE: Duration = Duration::from_secs(2);
/// Meanwhile the queue is tried again after at most this.
const QUICK: Policy =
    Policy { first: Duration::from_millis(100), cap: Duration::from_millis(500), give_up_after: None };
/// Between two tries where neither queue nor spool takes anything.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

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

/// Publishes one camera's records. [`Publisher::finish`] waits until all are confirmed, or in the spool.
pub struct Publisher {
    records: mpsc::Sender<Record>,
    task: JoinHandle<Result<bool, String>>,
}

/// What to do with a queue that does not take.
#[derive(Clone)]
pub enum Manner {
    /// Wait, also while so many segments of the partition are ready: the source can be read again.
    Patient {
        /// How many; none only waits for the queue.
        most_ready: Option<u64>,
    },
    /// The source goes on: what is not taken goes to the spool, if there is one. Nobody asks how far a live epoch is
    /// published, so that is not noted.
    Live {
        /// The spool.
        spool: Option<Spool>,
    },
}

/// When to wait, and when to stop.
#[derive(Clone)]
pub struct Discipline {
    /// How to treat a queue that does not take.
    pub manner: Manner,
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
#[derive(Debug)]
pub(crate) enum Stop {
    Shutdown,
    Failed(String),
}

impl Task {
    async fn run(self, mut waiting: mpsc::Receiver<Record>) -> Result<bool, String> {
        let mut batch = Vec::with_capacity(BATCH);
        while waiting.recv_many(&mut batch, BATCH).await > 0 {
            let published = match &self.discipline.manner {
                Manner::Patient { most_ready } => self.patiently(&batch, *most_ready).await,
                Manner::Live { spool: Some(spool) } => self.or_spool(&batch, spool).await,
                Manner::Live { spool: None } => self.publish(&batch, &Policy::default()).await,
            };
            match published {
                Ok(()) => batch.clear(),
                Err(Stop::Shutdown) => return Ok(false),
                Err(Stop::Failed(error)) => return Err(error),
            }
        }
        Ok(true)
    }

    async fn publish(&self, batch: &[Record], patience: &Policy) -> Result<(), Stop> {
        let begun = Instant::now();
        self.outlets.send(&whose(batch), batch, patience, &self.discipline.abort).await?;
        self.numbers.published(batch, begun.elapsed());
        Ok(())
    }

    /// Publishes and notes it, and waits as long as that takes.
    async fn patiently(&self, batch: &[Record], most_ready: Option<u64>) -> Result<(), Stop> {
        if let Some(most) = most_ready {
            self.wait_for_room(batch, most).await?;
        }
        self.publish(batch, &Policy::default()).await?;
        if let Some(Record { id, .. }) = batch.iter().rfind(|record| !record.provisional) {
            let note = || self.outlets.store.set_published(&id.camera, id.epoch, id.sequence + 1);
            let doing = format!("{}: noting what is published", whose(batch));
            retry(&doing, &Policy::default(), &self.discipline.abort, note).await.map_err(stop)?;
        }
        Ok(())
    }

    /// Publishes within a short time, or spools. What comes behind something that is spooled is spooled as well.
    async fn or_spool(&self, batch: &[Record], spool: &Spool) -> Result<(), Stop> {
        let abort = &self.discipline.abort;
        let behind = batch.first().is_some_and(|record| spool.holds(&record.id.camera));
        let mut direct = !behind;
        loop {
            if direct {
                match timeout(PATIENCE, self.publish(batch, &QUICK)).await {
                    Ok(Ok(())) => return Ok(()),
                    Ok(Err(Stop::Failed(error))) => return Err(Stop::Failed(error)),
                    Ok(Err(Stop::Shutdown)) | Err(_) => {}
                }
            }
            let Err(error) = spool.push(batch.to_vec()).await else { return Ok(()) };
            tracing::error!(error = chain(&error), "{}: the spool takes nothing either", whose(batch));
            // Merge restores the order; what waits here is only lost sooner.
            direct = true;
            if abort.run_until_cancelled(tokio::time::sleep(AGAIN_AFTER)).await.is_none() {
                return Err(Stop::Shutdown);
            }
        }
    }

    /// Waits until the partition's detect queue has room.
    async fn wait_for_room(&self, batch: &[Record], most: u64) -> Result<(), Stop> {
        let Some(queue) = batch.iter().map(|r| r.queue).find(|queue| matches!(queue, Queue::Work(Work::Detect, _)))
        else {
            return Ok(());
        };
        loop {
            let ready = || self.outlets.queues.ready(queue);
            let policy = Policy::default();
            let ready = retry("asking what the queue holds", &policy, &self.discipline.shutdown, ready).await;
            if ready.map_err(stop)? < most {
                return Ok(());
            }
            if self.discipline.shutdown.run_until_cancelled(tokio::time::sleep(FULL_POLL)).await.is_none() {
                return Err(Stop::Shutdown);
            }
        }
    }
}

impl Outlets {
    /// Stores records' objects, then publishes their messages; tries again as `patience` says, until `cancel`. On an error
    /// some may be published.
    pub(crate) async fn send(
        &self,
        whose: &str,
        records: &[Record],
        patience: &Policy,
        cancel: &CancellationToken,
    ) -> Result<(), Stop> {
        let doing = &|what: &str| format!("{whose}: {what}");
        let puts = records.iter().filter_map(|record| record.object.as_ref()).map(|(key, bytes)| async move {
            let put = || self.bucket.put(key, bytes.clone());
            retry(&doing("storing a segment"), patience, cancel, put).await
        });
        try_join_all(puts).await.map_err(stop)?;
        let mut queues: Vec<Queue> = records.iter().map(|record| record.queue).collect();
        // A camera's jobs go before its markers: order is restored at merge.
        queues.sort();
        queues.dedup();
        for queue in queues {
            let messages: Vec<Message> = records.iter().filter(|record| record.queue == queue).map(message).collect();
            let publish = || self.queues.publish(queue, messages.clone());
            retry(&doing("publishing segments"), patience, cancel, publish).await.map_err(stop)?;
        }
        Ok(())
    }
}

fn whose(batch: &[Record]) -> String {
    batch.first().map(|record| format!("camera {}", record.id.camera)).unwrap_or_default()
}

fn stop<E: std::error::Error>(error: RetryError<E>) -> Stop {
    match error {
        RetryError::Cancelled => Stop::Shutdown,
        RetryError::Failed(error) => Stop::Failed(chain(&error)),
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
