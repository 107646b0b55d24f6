//! Makes the partitions as many as they are to be, while everything runs.
//!
//! More: the queues are opened, and cameras are placed on them once everybody has had the time to look. Fewer: the cameras leave
//! first; then `detect.NN` is retired, and removed once it has been drained for a while; then `merge.NN`, where its results went.
//!
//! Invariant: a queue is removed only after it was seen drained, again and again, for [`KeeperConfig::quiet`] since it was
//! retired. That is longer than a publish can have been on its way, and longer than a call of a balancer that was deposed:
//! its connection is gone by then. For the same reason a new leader changes nothing before it has led for so long.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use detektor_backends::coordination::{Coordination, Placement};
use detektor_backends::queue::{PUBLISH_DEADLINE, Partitions, QueueError, Queues, Standing};
use detektor_backends::store::StoreError;
use detektor_contract::Epoch;
use detektor_contract::names::{Queue, Work};
use detektor_runtime::chain;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

#[cfg(test)]
mod tests;

/// No look takes longer.
const LOOK: Duration = Duration::from_secs(60);

/// How partitions change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeeperConfig {
    /// How often it looks.
    pub interval: Duration,
    /// How long everybody has to hear of a partition that is new, or that cameras have left: longer than hosts and dispatchers
    /// take to look again.
    pub notice: Duration,
    /// For so long a queue is seen drained before it is removed.
    pub quiet: Duration,
}

impl Default for KeeperConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            notice: Duration::from_secs(10),
            quiet: PUBLISH_DEADLINE + Duration::from_secs(10),
        }
    }
}

/// Why it could not look, or not do what was to be done.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeeperError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// Keeps the partitions, as long as its balancer leads.
pub(super) struct Keeper {
    config: KeeperConfig,
    coordination: Arc<dyn Coordination>,
    queues: Arc<dyn Queues>,
    /// The balancer's epoch, while it leads.
    leads: watch::Receiver<Option<Epoch>>,
    /// How many partitions cameras may be placed on.
    usable: watch::Sender<Option<u16>>,
    reign: Option<Reign>,
}

/// What is known since the balancer leads.
struct Reign {
    epoch: Epoch,
    /// Since when nobody else's call can be on its way, nor one of ours of which we do not know what became.
    begun: Instant,
    /// When a queue was removed last.
    removed: Option<Instant>,
    /// Since when more partitions are open than cameras may be placed on.
    opened: Option<Instant>,
    /// Since when a queue that is not wanted is free of cameras (while it is open), or drained (while it is retired).
    idle: BTreeMap<(Queue, Standing), Instant>,
}

impl Reign {
    /// How long a queue has been idle.
    fn idle_for(&mut self, queue: Queue, standing: Standing, idle: bool) -> Duration {
        if !idle {
            self.idle.remove(&(queue, standing));
            return Duration::ZERO;
        }
        self.idle.entry((queue, standing)).or_insert_with(Instant::now).elapsed()
    }
}

impl Keeper {
    /// It knows nothing yet. Whoever places cameras hears of `usable`.
    pub(super) fn new(
        config: KeeperConfig,
        coordination: Arc<dyn Coordination>,
        queues: Arc<dyn Queues>,
        leads: watch::Receiver<Option<Epoch>>,
    ) -> (Self, watch::Receiver<Option<u16>>) {
        let (usable, heard) = watch::channel(None);
        (Self { config, coordination, queues, leads, usable, reign: None }, heard)
    }

    /// Looks until shutdown.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let mut ticks = interval(self.config.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut away = false;
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            let error = match shutdown.run_until_cancelled(timeout(LOOK, self.step())).await {
                None => break,
                Some(Ok(Ok(()))) => {
                    away = false;
                    continue;
                }
                Some(Ok(Err(error))) => chain(&error),
                Some(Err(_)) => format!("no answer within {LOOK:?}"),
            };
            if !std::mem::replace(&mut away, true) {
                tracing::warn!(error, "the partitions stay as they are");
            }
        }
    }

    /// Looks once, and does what is to be done.
    pub(super) async fn step(&mut self) -> Result<(), KeeperError> {
        let Some(epoch) = *self.leads.borrow_and_update() else {
            self.reign = None;
            self.usable.send_replace(None);
            return Ok(());
        };
        if self.reign.as_ref().is_none_or(|reign| reign.epoch != epoch) {
            self.usable.send_replace(None);
            let begun = Instant::now();
            self.reign = Some(Reign { epoch, begun, removed: None, opened: None, idle: BTreeMap::new() });
        }
        // One that was deposed finds out here, before it does anything.
        if !self.coordination.renew_balancer(epoch).await? {
            return Ok(());
        }
        let placement = self.coordination.placement().await?;
        if placement.partitions == 0 {
            return Ok(());
        }
        let found = self.queues.partitions().await?;
        let open = self.open(placement.partitions, &found).await?;
        self.use_those(placement.partitions, open);
        self.leave(&placement, &found).await
    }

    /// Opens what is wanted and not open. Returns how many are open then, from the first on.
    async fn open(&self, wanted: u16, found: &Partitions) -> Result<u16, KeeperError> {
        let is_open = |partition| {
            Work::ALL.iter().all(|work| found.standing(Queue::Work(*work, partition)) == Some(Standing::Open))
        };
        let open = (0..wanted).take_while(|partition| is_open(*partition)).count() as u16;
        let none = !found.0.values().any(|standing| *standing == Standing::Open);
        // Who took from a queue that was removed has to see that it is gone.
        let seen = |reign: &Reign| reign.removed.is_none_or(|removed| removed.elapsed() >= self.config.notice);
        let settled = self.is_settled() && self.reign.as_ref().is_some_and(seen);
        if open == wanted || !(none || settled) {
            return Ok(open);
        }
        for partition in (0..wanted).filter(|partition| !is_open(*partition)) {
            // Results have a place before there is work.
            for work in [Work::Merge, Work::Detect] {
                self.queues.open(Queue::Work(work, partition)).await?;
            }
        }
        tracing::info!(partitions = wanted, "every partition that is wanted is open");
        Ok(wanted)
    }

    /// What a balancer before this one may still have on its way has arrived.
    fn is_settled(&self) -> bool {
        self.reign.as_ref().is_some_and(|reign| reign.begun.elapsed() >= self.config.quiet)
    }

    /// Says how many partitions cameras may be placed on.
    fn use_those(&mut self, wanted: u16, open: u16) {
        let Some(reign) = &mut self.reign else { return };
        let open = open.max(1);
        let now = match *self.usable.borrow() {
            Some(usable) if open > usable => {
                let opened = *reign.opened.get_or_insert_with(Instant::now);
                if opened.elapsed() < self.config.notice { usable } else { open }
            }
            Some(_) | None => open,
        };
        if now == open {
            reign.opened = None;
        }
        self.usable.send_replace(Some(now.min(wanted)));
    }

    /// Retires and removes what is not wanted.
    async fn leave(&mut self, placement: &Placement, found: &Partitions) -> Result<(), KeeperError> {
        let settled = self.is_settled();
        let Some(reign) = &mut self.reign else { return Ok(()) };
        reign.idle.retain(|(queue, standing), _| found.standing(*queue) == Some(*standing));
        for (queue, standing) in &found.0 {
            let Queue::Work(work, partition) = *queue else { continue };
            if partition < placement.partitions.max(1) {
                continue;
            }
            match standing {
                Standing::Open => {
                    let vacant = !placement.cameras.iter().any(|row| row.partition == partition);
                    // Results of what is still to be looked at go there.
                    let last = work == Work::Detect || found.standing(Queue::Work(Work::Detect, partition)).is_none();
                    if reign.idle_for(*queue, *standing, vacant && last) >= self.config.notice {
                        self.queues.retire(*queue).await?;
                        tracing::info!(%queue, "the partition takes no new work");
                    }
                }
                Standing::Retired => {
                    let drained = self.queues.is_drained(*queue).await?;
                    let long = reign.idle_for(*queue, *standing, drained) >= self.config.quiet;
                    if long && settled {
                        // Until it is known what became of it, the queue may yet go: so long nothing is opened.
                        let begun = std::mem::replace(&mut reign.begun, Instant::now());
                        if self.queues.remove(*queue).await? {
                            tracing::info!(%queue, "the queue was empty and is removed");
                            reign.removed = Some(Instant::now());
                        }
                        reign.begun = begun;
                    }
                }
            }
        }
        Ok(())
    }
}
