//! A merge function over the embedded backends, driven as a host drives it.

#![allow(dead_code, clippy::unwrap_used)]

#[path = "../../../../crates/contract/tests/common/mod.rs"]
pub mod footage;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use detektor_backends::bucket::Bucket;
use detektor_backends::embedded::{Embedded, Options};
use detektor_backends::failing::{Moment, Plan};
use detektor_backends::queue::Message;
use detektor_backends::store::{EventFilter, EventStore, Order, StoredEvent};
use detektor_contract::fold::{CameraFold, Projection};
use detektor_contract::wire::encode_outcome;
use detektor_contract::{Event, EventId, Ledger, ObjectKey, Outcome, Position};
use detektor_merge::{Merge, MergeConfig};
use detektor_runtime::{Batch, Handler, HandlerError, Invocation, Metrics, Progress, Reply, Trace};
use futures::TryStreamExt;
use tower::ServiceExt;

pub use footage::camera;

/// A data directory and a clock.
pub struct World {
    pub dir: tempfile::TempDir,
    pub embedded: Embedded,
    pub clock: Arc<AtomicI64>,
}

impl World {
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let embedded = Embedded::open(dir.path(), Options::default()).await.unwrap();
        Self { dir, embedded, clock: Arc::new(AtomicI64::new(1_000_000)) }
    }

    pub fn store(&self) -> Arc<dyn EventStore> {
        self.embedded.store()
    }

    pub fn bucket(&self) -> Arc<dyn Bucket> {
        self.embedded.bucket()
    }

    pub fn pass(&self, time: Duration) {
        self.clock.fetch_add(i64::try_from(time.as_micros()).unwrap(), Ordering::Relaxed);
    }

    pub fn config(&self) -> MergeConfig {
        let clock = Arc::clone(&self.clock);
        MergeConfig { now: Arc::new(move || clock.load(Ordering::Relaxed)), ..MergeConfig::default() }
    }

    pub fn merge(&self) -> Arc<Merge> {
        self.merge_over(self.store(), self.bucket())
    }

    pub fn merge_over(&self, store: Arc<dyn EventStore>, bucket: Arc<dyn Bucket>) -> Arc<Merge> {
        Arc::new(Merge::new(store, bucket, self.config(), &Metrics::new()).unwrap())
    }

    pub async fn listed(&self) -> Vec<StoredEvent> {
        self.store().events(&EventFilter::default(), Order::Ascending, None, 10_000).await.unwrap()
    }

    pub async fn events(&self) -> BTreeMap<EventId, Event> {
        self.listed().await.into_iter().map(|stored| (stored.event.id.clone(), stored.event)).collect()
    }

    pub async fn ledger(&self) -> Ledger {
        self.store().cameras().await.unwrap().into_iter().find(|info| info.id == camera()).unwrap().ledger
    }

    pub async fn frontier(&self) -> Option<Position> {
        self.store().frontier(&camera()).await.unwrap()
    }

    pub async fn head(&self) -> CameraFold {
        let mut tx = self.store().begin_merge(&[camera()]).await.unwrap();
        CameraFold::from_bytes(&tx.head(&camera()).await.unwrap().unwrap()).unwrap()
    }

    pub async fn keys(&self, prefix: &str) -> Vec<ObjectKey> {
        let listed: Vec<_> = self.bucket().list(prefix).try_collect().await.unwrap();
        listed.into_iter().map(|object| object.key).collect()
    }

    /// Whether the store says what the set of outcomes says.
    pub async fn agrees_with(&self, expected: &Projection) {
        assert_eq!(self.head().await, expected.fold);
        assert_eq!(self.ledger().await, *expected.fold.ledger());
        assert_eq!(self.events().await, expected.events);
    }
}

pub fn message(outcome: &Outcome) -> Message {
    Message { body: encode_outcome(outcome), ..Message::default() }
}

pub fn invocation(message: Message) -> Invocation {
    Invocation { message, attempt: 1, progress: Progress::new(Duration::from_secs(60)), trace: Trace::begin() }
}

pub async fn call(handler: impl Handler, messages: Vec<Message>) -> Result<Reply, HandlerError> {
    handler.oneshot(Batch(messages.into_iter().map(invocation).collect())).await
}

/// Merges a batch, all of it good.
pub async fn merge(merge: &Arc<Merge>, outcomes: &[Outcome]) -> Result<(), HandlerError> {
    let reply = call(Arc::clone(merge).handler(), outcomes.iter().map(message).collect()).await?;
    assert!(reply.0.iter().all(|item| item.as_ref().is_ok_and(Vec::is_empty)), "{reply:?}");
    Ok(())
}

/// A plan in which one call fails, once: steps 2n and 2n + 1 are before and after the effect of call n.
pub fn break_off(step: u64) -> Arc<Plan> {
    let plan = Plan::new();
    plan.fail_nth(step / 2, if step.is_multiple_of(2) { Moment::Before } else { Moment::After });
    plan
}

/// Whether the call that was to fail was reached.
pub fn broke_off(plan: &Plan, step: u64) -> bool {
    plan.calls().len() as u64 > step / 2
}
