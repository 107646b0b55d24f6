//! What live cameras captured and the queue does not take, on the disk until it does.
//!
//! A camera cannot wait, so its records go here while the broker is away, refuses or is too slow. They leave in their order and
//! under their old names: to the queue, as soon as it takes them again; or, where this dispatcher has to stop before, to the
//! bucket below `spool/`, whence any dispatcher publishes them. Twice is harmless.
//!
//! A record is on the disk when [`Spool::push`] returns. Whoever pushes meanwhile shares the next write to it, so that their
//! number does not multiply the waits for it.
//!
//! It holds so many bytes. When it is full, the oldest segments in which nothing moves make room, then the oldest of all; a
//! marker takes the place of each, and the ledger closes.
//!
//! Invariant: what was pushed is published, or a marker in its place, if need be by the next process on the same folder.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use detektor_backends::bucket::Bucket;
use detektor_contract::{CameraId, Fault, Faulty, SegmentId};
use detektor_runtime::blocking::{StartError, Workers};
use detektor_runtime::chain;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::metrics::Numbers;
use crate::publish::Outlets;
use crate::record::Record;

mod bucket;
mod drain;
mod files;
mod frame;
mod log;
pub(crate) mod quiet;

use log::{Batch, Log};

/// What waits to be done by the owner of the files.
const ASKS: usize = 64;
/// A queue that has taken nothing for so long is away.
const NOTHING_LEAVES: Duration = Duration::from_secs(2);
/// The least that a spool may hold: some segments.
pub(crate) const LEAST_BYTES: u64 = 64 << 20;

/// Why something could not be spooled.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SpoolError {
    /// The disk did not do what it was asked to.
    #[error("the spool fails {doing} {}", path.display())]
    Io {
        /// What.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why.
        source: Arc<std::io::Error>,
    },
    /// Another process has the folder.
    #[error("the spool {} belongs to another dispatcher that is running", .0.display())]
    InUse(PathBuf),
    /// Nothing of this kind or size is spooled.
    #[error("{0} cannot be spooled")]
    Unfit(SegmentId),
    /// It is closed, or died.
    #[error("the spool is closed")]
    Closed,
}

impl Faulty for SpoolError {
    fn fault(&self) -> Fault {
        match self {
            Self::Io { .. } | Self::Closed => Fault::Transient,
            Self::InUse(_) | Self::Unfit(_) => Fault::Permanent,
        }
    }
}

/// What a spool holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holdings {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// Segments that made room since it was opened.
    pub(crate) shed: u64,
    cameras: BTreeSet<CameraId>,
    partitions: BTreeSet<u16>,
}

/// Answers, once it is known whether everything is on the disk.
type Answer = Box<dyn FnOnce(&Result<(), SpoolError>) + Send>;
type Ask = Box<dyn FnOnce(&mut Log) -> Answer + Send>;

/// A spool. Cheap to clone; clones share it.
#[derive(Clone)]
pub struct Spool {
    asks: mpsc::Sender<Ask>,
    holdings: watch::Receiver<Holdings>,
}

/// What works on a spool: the owner of its files, and who empties it.
pub struct Keeper {
    spool: Spool,
    owner: JoinHandle<()>,
    closed: CancellationToken,
    /// Stops who empties it.
    stop: CancellationToken,
    emptying: JoinSet<()>,
}

impl Spool {
    /// Opens a folder's spool for this process alone. It holds `bytes`.
    ///
    /// # Errors
    /// If the folder cannot be used, or another process has it.
    pub async fn open(folder: PathBuf, bytes: u64, numbers: &Numbers) -> Result<(Self, Keeper), StartError> {
        let (tell, holdings) = watch::channel(Holdings::default());
        let (asks, asked) = mpsc::channel(ASKS);
        let (tell, numbers) = (Arc::new(tell), numbers.clone());
        let build = move |_| {
            let log = Log::open(folder.clone(), bytes)?;
            let mut owner = Owner { log, tell: Arc::clone(&tell), numbers: numbers.clone(), spell: None };
            owner.tell();
            Ok(owner)
        };
        let workers = Workers::start("spool", 1, 1, build, Owner::work).await?;
        let closed = CancellationToken::new();
        let spool = Self { asks, holdings };
        let owner = tokio::spawn(own(workers, asked, closed.clone()));
        let (stop, emptying) = (CancellationToken::new(), JoinSet::new());
        Ok((spool.clone(), Keeper { spool, owner, closed, stop, emptying }))
    }

    /// Takes records; returns once they are on the disk.
    ///
    /// # Errors
    /// If they may not be.
    pub async fn push(&self, records: Vec<Record>) -> Result<(), SpoolError> {
        self.ask(move |log| records.iter().try_for_each(|record| log.push(record))).await
    }

    /// Whether there is something of this camera; what comes after it goes behind it.
    pub fn holds(&self, camera: &CameraId) -> bool {
        self.holdings.borrow().cameras.contains(camera)
    }

    pub(crate) fn holdings(&self) -> Holdings {
        self.holdings.borrow().clone()
    }

    /// Returns once it is empty, or nothing leaves it.
    async fn while_it_empties(&self) {
        let mut holdings = self.holdings.clone();
        loop {
            let before = holdings.borrow().records;
            let fewer = timeout(NOTHING_LEAVES, holdings.wait_for(|now| now.records < before));
            if before == 0 || !matches!(fewer.await, Ok(Ok(_))) {
                return;
            }
        }
    }

    async fn oldest(&self, partition: u16, most: usize, most_bytes: u64) -> Result<Batch, SpoolError> {
        self.ask(move |log| log.oldest(partition, most, most_bytes)).await
    }

    async fn forget(&self, partition: u16, orders: Vec<u64>) -> Result<(), SpoolError> {
        self.ask(move |log| log.forget(partition, &orders)).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        what: impl FnOnce(&mut Log) -> Result<T, SpoolError> + Send + 'static,
    ) -> Result<T, SpoolError> {
        let (reply, answer) = oneshot::channel();
        let ask: Ask = Box::new(move |log| {
            let done = what(log);
            Box::new(move |synced| {
                // Whoever asked may be gone.
                _ = reply.send(synced.clone().and(done));
            })
        });
        self.asks.send(ask).await.map_err(|_| SpoolError::Closed)?;
        answer.await.unwrap_or(Err(SpoolError::Closed))
    }
}

impl Keeper {
    /// Begins to empty the spool into the queues, and to look for what others left in the bucket.
    pub(crate) fn begin(&mut self, outlets: &Outlets, numbers: &Numbers) {
        self.emptying.spawn(drain::drain(self.spool.clone(), outlets.clone(), numbers.clone(), self.stop.clone()));
        self.emptying.spawn(bucket::pick_up(outlets.clone(), numbers.clone(), self.stop.clone()));
    }

    /// Ends. As long as the queue takes it on, for `most` at most, it is published; what is left then goes to the bucket,
    /// or stays for the next process if `abort` comes first.
    pub(crate) async fn end(mut self, most: Duration, bucket: &dyn Bucket, abort: &CancellationToken) {
        _ = timeout(most, self.spool.while_it_empties()).await;
        self.stop.cancel();
        while self.emptying.join_next().await.is_some() {}
        bucket::leave(&self.spool, bucket, abort).await;
        self.close().await;
    }

    /// Takes no more, and lets go of the folder.
    pub(crate) async fn close(self) {
        self.closed.cancel();
        if let Err(error) = self.owner.await {
            tracing::error!(error = chain(&error), "the spool died");
        }
    }
}

/// Lets the owner do what waits, all that waits at a time.
async fn own(workers: Workers<Vec<Ask>, ()>, mut asked: mpsc::Receiver<Ask>, closed: CancellationToken) {
    let mut group = Vec::new();
    while closed.run_until_cancelled(asked.recv_many(&mut group, ASKS)).await.is_some_and(|count| count > 0) {
        if let Err(error) = workers.submit(std::mem::take(&mut group)).await {
            tracing::error!(error = chain(&error), "the spool fails");
        }
    }
    workers.shutdown().await;
}

/// Owns the files, on a thread of its own.
struct Owner {
    log: Log,
    tell: Arc<watch::Sender<Holdings>>,
    numbers: Numbers,
    spell: Option<Spell>,
}

/// A time in which the spool is not empty.
struct Spell {
    began: Instant,
    shed_before: u64,
    said_full: bool,
}

impl Owner {
    fn work(&mut self, asks: Vec<Ask>) {
        let answers: Vec<Answer> = asks.into_iter().map(|ask| ask(&mut self.log)).collect();
        let synced = self.log.sync();
        self.tell();
        answers.into_iter().for_each(|answer| answer(&synced));
    }

    /// Says what there is, and of a spell its begin, its end, and that there is no room.
    fn tell(&mut self) {
        let now = self.log.holdings();
        let shed = now.shed - self.tell.borrow().shed.min(now.shed);
        self.numbers.spooled(now.records, now.bytes, shed);
        match &mut self.spell {
            None if now.records > 0 => {
                tracing::warn!(records = now.records, "segments that the queue does not take are in the spool");
                self.spell = Some(Spell { began: Instant::now(), shed_before: now.shed - shed, said_full: false });
            }
            Some(spell) if now.records == 0 => {
                let (after, shed) = (spell.began.elapsed(), now.shed - spell.shed_before);
                tracing::info!(?after, shed, "the spool is empty again");
                self.spell = None;
            }
            _ => {}
        }
        if let Some(spell) = self.spell.as_mut().filter(|spell| shed > 0 && !spell.said_full) {
            spell.said_full = true;
            tracing::warn!(bytes = now.bytes, "the spool is full: the oldest segments make room, quiet ones first");
        }
        self.tell.send_replace(now);
    }
}

#[cfg(test)]
mod tests;
