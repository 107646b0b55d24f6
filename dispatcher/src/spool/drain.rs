//! Empties a spool into the queues.
//!
//! Each partition for itself, so that one that refuses holds up no other; one batch at a time, and then a rest as long as that
//! took: what is live has at least half of the way.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use detektor_runtime::chain;
use detektor_runtime::retry::Policy;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Spool;
use crate::metrics::Numbers;
use crate::publish::{Outlets, Stop};
use crate::record::Record;

/// Records that are published at a time.
const BATCH: usize = 8;
/// And about so many bytes.
const BATCH_BYTES: u64 = 8 << 20;
/// How often a queue that does not take is tried.
const TRY: Policy = Policy { first: Duration::from_millis(100), cap: Duration::from_secs(5), give_up_after: None };
/// What was tried through an outage needs no rest as long as that.
const LONGEST_REST: Duration = Duration::from_millis(250);
/// After a fault of the disk.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Empties it whenever there is something, until it is told to stop.
pub(super) async fn drain(spool: Spool, outlets: Outlets, numbers: Numbers, stop: CancellationToken) {
    let mut holdings = spool.holdings.clone();
    let mut working = JoinSet::new();
    let mut partitions = HashMap::<Id, u16>::new();
    loop {
        let held = holdings.borrow_and_update().partitions.clone();
        let busy: BTreeSet<u16> = partitions.values().copied().collect();
        for partition in held.difference(&busy).copied() {
            let work = Drain { partition, spool: spool.clone(), outlets: outlets.clone(), numbers: numbers.clone() };
            let stop = stop.clone();
            let task = working.spawn(async move {
                // Stopped in the middle, it is published again.
                stop.run_until_cancelled(work.run(&stop)).await;
            });
            partitions.insert(task.id(), partition);
        }
        tokio::select! {
            () = stop.cancelled() => break,
            changed = holdings.changed() => if changed.is_err() { break },
            Some(ended) = working.join_next_with_id() => {
                let id = ended.as_ref().map_or_else(tokio::task::JoinError::id, |(id, ())| *id);
                partitions.remove(&id);
            }
        }
    }
    while working.join_next().await.is_some() {}
}

/// Empties one partition.
struct Drain {
    partition: u16,
    spool: Spool,
    outlets: Outlets,
    numbers: Numbers,
}

impl Drain {
    async fn run(&self, stop: &CancellationToken) {
        loop {
            let batch = match self.spool.oldest(self.partition, BATCH, BATCH_BYTES).await {
                Ok(batch) if batch.is_empty() => return,
                Ok(batch) => batch,
                Err(error) => {
                    tracing::warn!(error = chain(&error), "the spool cannot be read, trying again");
                    return sleep(AGAIN_AFTER).await;
                }
            };
            let (orders, records): (Vec<u64>, Vec<Record>) = batch.into_iter().unzip();
            let whose = format!("partition {} of the spool", self.partition);
            if !publish(&self.outlets, &self.numbers, &whose, &records, stop).await {
                return sleep(AGAIN_AFTER).await;
            }
            if let Err(error) = self.spool.forget(self.partition, orders).await {
                tracing::warn!(error = chain(&error), "what is published stays in the spool, and is published again");
                return sleep(AGAIN_AFTER).await;
            }
        }
    }
}

/// Publishes a batch, however long that takes, and rests. False if it cannot be published.
pub(super) async fn publish(
    outlets: &Outlets,
    numbers: &Numbers,
    whose: &str,
    records: &[Record],
    stop: &CancellationToken,
) -> bool {
    let began = Instant::now();
    match outlets.send(whose, records, &TRY, stop).await {
        Ok(()) => {
            numbers.published(records, began.elapsed());
            sleep(began.elapsed().min(LONGEST_REST)).await;
            true
        }
        Err(Stop::Shutdown) => false,
        Err(Stop::Failed(error)) => {
            tracing::error!(error, "{whose} cannot be published");
            false
        }
    }
}
