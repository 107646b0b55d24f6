//! All cameras' ledgers and all queues, added up: what an operator has to know of them, whichever part is at zero.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use detektor_backends::queue::{Depth, QueueError, Queues};
use detektor_backends::store::{CameraInfo, CameraState, EventStore};
use detektor_contract::names::{Queue, Work};
use detektor_contract::{Clock, Epoch, Failed, Ledger, Skipped};
use detektor_runtime::metrics::{Family, Metrics, MetricsError};
use detektor_runtime::retry::{Policy, RetryError, retry};
use detektor_runtime::{chain, unix_us};
use prometheus::IntGauge;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::error::{Doing, MergeError};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// What queues hold: work of each kind, then what failed of each.
const KINDS: [&str; 4] = ["detect", "merge", "dead_detect", "dead_merge"];
/// Messages by kind.
type Held = BTreeMap<&'static str, u64>;

/// `detektor_ledger_*`, `detektor_queues_*` and whether this balancer leads. Only the one that leads looks; the numbers of others are 0.
pub struct Survey {
    store: Arc<dyn EventStore>,
    queues: Arc<dyn Queues>,
    held: Family<IntGauge>,
    leads: IntGauge,
    captured: IntGauge,
    accounted: Family<IntGauge>,
    cameras: Family<IntGauge>,
    unclosed: IntGauge,
    holes: IntGauge,
    miscounted: IntGauge,
    gaps: IntGauge,
    behind: IntGauge,
}

impl Survey {
    /// Looks at what `store` and `queues` hold.
    ///
    /// # Errors
    /// Where the numbers are registered already.
    pub fn new(store: Arc<dyn EventStore>, queues: Arc<dyn Queues>, metrics: &Metrics) -> Result<Self, MetricsError> {
        let part = metrics.part("ledger");
        let fates = [
            "detected",
            "superseded",
            "shed",
            "quiet",
            "sampling",
            "second_field",
            "decode",
            "before_key_frame",
            "dead_lettered",
        ];
        let held = "Messages that queues of a kind hold, waiting or in work, as the broker measured last.";
        Ok(Self {
            store,
            queues,
            held: metrics.part("queues").gauges("held_messages", held, "kind", &KINDS)?,
            leads: metrics.part("balancer").gauge("leading_processes", "1 while this balancer leads.")?,
            captured: part.gauge("captured_frames", "Frames that slicers counted, of all cameras there are.")?,
            accounted: part.gauges("accounted_frames", "What became of them.", "fate", &fates)?,
            cameras: part.gauges("known_cameras", "Cameras by what they do.", "state", &CameraState::NAMES)?,
            unclosed: part.gauge("unclosed_cameras", "Cameras whose ledger does not close.")?,
            holes: part.gauge("missing_outcomes", "Outcomes that cameras went on without.")?,
            miscounted: part
                .gauge("miscounted_frames", "Frames by which ledgers and slicers disagree. 0, or a mistake.")?,
            gaps: part.gauge("capture_gaps", "Gaps in the capture.")?,
            behind: part.gauge(
                "oldest_wait_seconds",
                "How far behind now the live camera is whose events are the furthest behind.",
            )?,
        })
    }

    /// Looks every few seconds while `leads` holds an epoch, until shutdown, whatever fails meanwhile.
    ///
    /// # Errors
    /// What is wrong for good.
    pub async fn run(
        &self,
        leads: watch::Receiver<Option<Epoch>>,
        shutdown: CancellationToken,
    ) -> Result<(), MergeError> {
        loop {
            let leading = leads.borrow().is_some();
            self.leads.set(leading.into());
            if leading {
                match retry("adding the ledgers up", &Policy::default(), &shutdown, || self.look()).await {
                    Ok(()) => {}
                    Err(RetryError::Cancelled) => return Ok(()),
                    Err(RetryError::Failed(error)) => return Err(error),
                }
                // A broker that is away must not hide the ledgers.
                if let Err(error) = self.look_at_queues().await {
                    tracing::debug!(error = chain(&error), "what queues hold is not known");
                }
            } else {
                self.show(&[], 0);
                self.show_held(&Held::new());
            }
            if shutdown.run_until_cancelled(sleep(LOOK_EVERY)).await.is_none() {
                return Ok(());
            }
        }
    }

    async fn look(&self) -> Result<(), MergeError> {
        let cameras = self.store.cameras().await.doing("reading the cameras' ledgers")?;
        self.show(&cameras, unix_us());
        Ok(())
    }

    async fn look_at_queues(&self) -> Result<(), QueueError> {
        let mut held = Held::new();
        for (queue, Depth { ready, unacked }) in self.queues.depths().await? {
            *held.entry(kind(queue)).or_default() += ready + unacked;
        }
        self.show_held(&held);
        Ok(())
    }

    fn show_held(&self, held: &Held) {
        for kind in KINDS {
            let held = held.get(kind).copied().unwrap_or(0);
            self.held.get(kind).set(i64::try_from(held).unwrap_or(i64::MAX));
        }
    }

    fn show(&self, cameras: &[CameraInfo], now: i64) {
        let sum = |of: &dyn Fn(&Ledger) -> u64| {
            i64::try_from(cameras.iter().map(|camera| of(&camera.ledger)).sum::<u64>()).unwrap_or(i64::MAX)
        };
        let skipped = |why| sum(&|ledger| ledger.skipped.get(&why).copied().unwrap_or_default());
        let failed = |why| sum(&|ledger| ledger.failed.get(&why).copied().unwrap_or_default());
        self.captured.set(sum(&|ledger| ledger.captured));
        for (fate, frames) in [
            ("detected", sum(&|ledger| ledger.detected)),
            ("superseded", skipped(Skipped::Superseded)),
            ("shed", skipped(Skipped::Shed)),
            ("quiet", skipped(Skipped::Quiet)),
            ("sampling", skipped(Skipped::Sampling)),
            ("second_field", skipped(Skipped::SecondField)),
            ("decode", failed(Failed::Decode)),
            ("before_key_frame", failed(Failed::BeforeKeyFrame)),
            ("dead_lettered", failed(Failed::DeadLettered)),
        ] {
            self.accounted.get(fate).set(frames);
        }
        for state in CameraState::NAMES {
            let count = cameras.iter().filter(|camera| camera.state.name() == state).count();
            self.cameras.get(state).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.unclosed.set(sum(&|ledger| u64::from(!ledger.closes())));
        self.holes.set(sum(&|ledger| ledger.holes));
        self.miscounted.set(sum(&|ledger| ledger.miscounted));
        self.gaps.set(sum(&|ledger| ledger.gaps));
        self.behind.set(cameras.iter().filter_map(|camera| behind_s(camera, now)).max().unwrap_or_default());
    }
}

/// Which of [`KINDS`] it is of.
fn kind(queue: Queue) -> &'static str {
    match queue {
        Queue::Work(Work::Detect, _) => "detect",
        Queue::Work(Work::Merge, _) => "merge",
        Queue::Dead(Work::Detect) => "dead_detect",
        Queue::Dead(Work::Merge) => "dead_merge",
    }
}

/// How far behind now a live camera's events are.
fn behind_s(camera: &CameraInfo, now: i64) -> Option<i64> {
    match (&camera.state, camera.merged_until) {
        (CameraState::Running, Some((until, Clock::Unix))) => Some(now.saturating_sub(until.0).max(0) / 1_000_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use detektor_backends::embedded::{Embedded, Options};
    use detektor_backends::queue::Message;
    use detektor_contract::{CameraId, TimeUs};
    use std::collections::BTreeMap;

    fn camera(state: CameraState, until: i64, captured: u64) -> CameraInfo {
        let mut ledger = Ledger { captured, detected: 5, gaps: 1, ..Ledger::default() };
        ledger.skipped.insert(Skipped::Quiet, 4);
        ledger.failed.insert(Failed::Decode, 1);
        let id = CameraId::new("gate").unwrap();
        CameraInfo { id, url: String::new(), state, ledger, merged_until: Some((TimeUs(until), Clock::Unix)) }
    }

    #[tokio::test]
    async fn ledgers_add_up_and_the_one_furthest_behind_counts() {
        let dir = tempfile::tempdir().unwrap();
        let embedded = Embedded::open(dir.path(), Options::default()).await.unwrap();
        let metrics = Metrics::new();
        let survey = Survey::new(embedded.store(), embedded.queues(), &metrics).unwrap();
        survey
            .queues
            .publish(Queue::Dead(Work::Merge), vec![Message { body: "x".into(), headers: BTreeMap::new() }])
            .await
            .unwrap();
        survey.look_at_queues().await.unwrap();
        let lost = CameraState::Lost { error: "gone".to_owned() };
        let cameras = [
            camera(CameraState::Running, 57_000_000, 10),
            camera(CameraState::Running, 18_500_000, 11),
            camera(lost, 1_000_000, 10),
        ];
        survey.show(&cameras, 60_000_000);
        let text = metrics.text();
        for line in [
            "detektor_queues_held_messages{kind=\"detect\"} 0",
            "detektor_queues_held_messages{kind=\"dead_merge\"} 1",
            "detektor_ledger_captured_frames 31",
            "detektor_ledger_accounted_frames{fate=\"detected\"} 15",
            "detektor_ledger_accounted_frames{fate=\"quiet\"} 12",
            "detektor_ledger_accounted_frames{fate=\"decode\"} 3",
            "detektor_ledger_known_cameras{state=\"running\"} 2",
            "detektor_ledger_known_cameras{state=\"lost\"} 1",
            "detektor_ledger_unclosed_cameras 1",
            "detektor_ledger_capture_gaps 3",
            "detektor_ledger_oldest_wait_seconds 41",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        survey.show(&[], 0);
        assert!(metrics.text().contains("detektor_ledger_captured_frames 0"));
    }
}
