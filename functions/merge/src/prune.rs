//! Removes settled history from the event store.

use std::collections::BTreeMap;
use std::time::Duration;

use detektor_backends::store::{EventStore, MergeTx, Pruned, StoredFloor};
use detektor_contract::fold::CameraFold;
use detektor_contract::{CameraId, Clock, Epoch, Position, TimeUs};
use detektor_runtime::metrics::{Family, MetricsError};
use detektor_runtime::retry::{Policy, RetryError, retry};
use detektor_runtime::{Metrics, unix_us};
use prometheus::IntCounter;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::error::{Doing, MergeError};

/// Behind every outcome, and a number that a database can hold.
const END: Position = Position { epoch: Epoch(i64::MAX as u64), sequence: i64::MAX as u64 };
/// How often the timer prunes.
const PRUNE_EVERY: Duration = Duration::from_secs(24 * 3_600);

/// What is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Horizon {
    /// Everything that was over at this time. Only cameras whose times are Unix times have such history.
    Before(TimeUs),
    /// Everything that is settled, whatever its times: up to the first outcome that is missing yet.
    All,
}

/// What was pruned, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PruneReport {
    /// Rows by camera, of those that had any, with the place that each one's history now begins behind.
    pub cameras: BTreeMap<CameraId, (Position, Pruned)>,
    /// Entries of the feed.
    pub feed: u64,
    /// Cameras whose times are their own, so that nothing of them has an age.
    pub ageless: Vec<CameraId>,
}

impl PruneReport {
    /// Rows of all cameras together.
    pub fn rows(&self) -> Pruned {
        self.cameras.values().fold(Pruned::default(), |sum, (_, pruned)| sum.plus(*pruned))
    }
}

/// Removes history behind a horizon, of one camera or of all, and the entries of the feed that are as old; `dry` only counts.
/// Each batch is a short transaction of its own, so that whoever merges or reads goes on, and what breaks off is simply done again.
/// Whoever prunes at the same time does the same. Nothing is pruned while a reindex is pending.
///
/// A camera's floor is raised to the newest checkpoint that is old enough, and only then is removed what lies below it: so
/// what comes late for a place below it is ignored before anything is gone, and every later fold begins at the floor.
pub async fn prune(
    store: &dyn EventStore,
    horizon: Horizon,
    only: Option<&CameraId>,
    dry: bool,
) -> Result<PruneReport, MergeError> {
    let mut report = PruneReport::default();
    if store.reindex_pending().await.doing("reading whether a reindex is pending")? {
        return Ok(report);
    }
    for info in store.cameras().await.doing("listing cameras")? {
        if only.is_some_and(|only| *only != info.id) {
            continue;
        }
        let ages = matches!(info.merged_until, Some((_, Clock::Unix)));
        if !ages && horizon != Horizon::All {
            report.ageless.extend(info.merged_until.map(|_| info.id));
            continue;
        }
        let Some(floor) = raise(store, &info.id, horizon, dry).await? else { continue };
        let pruned = match dry {
            true => store.prunable(&info.id, floor).await.doing("counting what to prune")?,
            false => remove(store, &info.id).await?,
        };
        if pruned.total() > 0 {
            report.cameras.insert(info.id, (floor, pruned));
        }
    }
    if let (Horizon::Before(time), None) = (horizon, only) {
        let before_ms = time.0.div_euclid(1_000);
        report.feed = match dry {
            true => store.prunable_feed(before_ms).await.doing("counting the feed")?,
            false => remove_feed(store, before_ms).await?,
        };
    }
    Ok(report)
}

/// Raises a camera's floor as far as it goes. Answers where it is then, or would be.
async fn raise(
    store: &dyn EventStore,
    camera: &CameraId,
    horizon: Horizon,
    dry: bool,
) -> Result<Option<Position>, MergeError> {
    let mut tx = store.begin_merge(std::slice::from_ref(camera)).await.doing("beginning to prune")?;
    let there = tx.floor(camera).await.doing("reading a floor")?.map(|floor| floor.floor.at());
    let Some(next) = settled(&mut *tx, camera, horizon).await? else { return Ok(there) };
    if Some(next.floor.at()) <= there {
        return Ok(there);
    }
    if !dry {
        tx.raise_floor(camera, &next).await.doing("raising a floor")?;
        tx.commit().await.doing("raising a floor")?;
    }
    Ok(Some(next.floor.at()))
}

/// The newest checkpoint behind which nothing is younger than the horizon.
async fn settled(tx: &mut dyn MergeTx, camera: &CameraId, horizon: Horizon) -> Result<Option<StoredFloor>, MergeError> {
    let mut before = END;
    loop {
        let found = match horizon {
            Horizon::Before(time) => tx.old_checkpoint(camera, time, before).await,
            Horizon::All => tx.checkpoint_before(camera, before).await,
        };
        let Some((at, state)) = found.doing("reading a checkpoint")? else { return Ok(None) };
        // One of another release says nothing to us. Merge writes new ones, and then it can be pruned.
        let Ok(fold) = CameraFold::from_bytes(&state) else { return Ok(None) };
        let old = match horizon {
            Horizon::Before(time) => {
                fold.merged_until().is_some_and(|(until, clock)| clock == Clock::Unix && until <= time)
            }
            // What is missing is on its way, and would be ignored below a floor: the ledger would never close.
            Horizon::All => fold.ledger().holes == 0,
        };
        match fold.floor().filter(|floor| old && floor.at() == at) {
            Some(floor) => return Ok(Some(StoredFloor { floor, state })),
            None => before = at,
        }
    }
}

async fn remove(store: &dyn EventStore, camera: &CameraId) -> Result<Pruned, MergeError> {
    let mut all = Pruned::default();
    loop {
        let batch = store.prune(camera).await.doing("pruning")?;
        if batch.total() == 0 {
            return Ok(all);
        }
        all = all.plus(batch);
    }
}

async fn remove_feed(store: &dyn EventStore, before_ms: i64) -> Result<u64, MergeError> {
    let mut all = 0;
    loop {
        match store.prune_feed(before_ms).await.doing("pruning the feed")? {
            0 => return Ok(all),
            some => all += some,
        }
    }
}

/// Prunes once a day, for as long as it is told to.
pub struct Pruner {
    store: std::sync::Arc<dyn EventStore>,
    keep: Duration,
    rows: Family<IntCounter>,
    runs: IntCounter,
}

impl Pruner {
    /// Keeps what is younger than `keep`.
    pub fn new(store: std::sync::Arc<dyn EventStore>, keep: Duration, metrics: &Metrics) -> Result<Self, MetricsError> {
        let part = metrics.part("prune");
        let kinds = &["outcomes", "checkpoints", "gaps", "events", "objects", "feed"];
        Ok(Self {
            store,
            keep,
            rows: part.counters("removed_rows_total", "Rows of the database removed for their age.", "kind", kinds)?,
            runs: part.counter("finished_runs_total", "Times that all cameras were pruned.")?,
        })
    }

    /// Prunes at once and then daily while `leads` holds an epoch, until shutdown, whatever fails meanwhile.
    pub async fn run(
        &self,
        mut leads: watch::Receiver<Option<Epoch>>,
        shutdown: CancellationToken,
    ) -> Result<(), MergeError> {
        loop {
            match shutdown.run_until_cancelled(leads.wait_for(Option::is_some)).await {
                Some(Ok(_)) => {}
                // Nobody will lead any more.
                Some(Err(_)) | None => return Ok(()),
            }
            match retry("pruning", &Policy::default(), &shutdown, || self.once()).await {
                Ok(()) => {}
                Err(RetryError::Cancelled) => return Ok(()),
                Err(RetryError::Failed(error)) => return Err(error),
            }
            if shutdown.run_until_cancelled(sleep(PRUNE_EVERY)).await.is_none() {
                return Ok(());
            }
        }
    }

    async fn once(&self) -> Result<(), MergeError> {
        let keep = i64::try_from(self.keep.as_micros()).unwrap_or(i64::MAX);
        let before = TimeUs(unix_us().saturating_sub(keep));
        let report = prune(&*self.store, Horizon::Before(before), None, false).await?;
        let Pruned { outcomes, checkpoints, gaps, events, objects } = report.rows();
        let kinds = [
            ("outcomes", outcomes),
            ("checkpoints", checkpoints),
            ("gaps", gaps),
            ("events", events),
            ("objects", objects),
            ("feed", report.feed),
        ];
        for (kind, rows) in kinds {
            self.rows.get(kind).inc_by(rows);
        }
        self.runs.inc();
        tracing::info!(outcomes, checkpoints, gaps, events, objects, feed = report.feed, "history was pruned");
        Ok(())
    }
}
