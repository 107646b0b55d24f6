use std::sync::Arc;

use async_trait::async_trait;
use detektor_contract::{CameraId, Epoch, EpochRecord, Event, EventId, Gap, Outcome, Position, Seam, TimeUs};

use super::{OnPurpose, Plan};
use crate::store::{
    CameraInfo, CameraState, CameraUpdate, EpochRequest, EventCursor, EventFilter, EventStore, Feed, FeedPosition,
    MergeTx, Order, PendingObject, Put, StoreError, StoredEvent, Waiting,
};

type Result<T> = std::result::Result<T, StoreError>;

/// An event store under a plan. Calls are named as the methods of [`EventStore`] and [`MergeTx`].
pub struct FailingStore {
    inner: Arc<dyn EventStore>,
    plan: Arc<Plan>,
}

impl FailingStore {
    /// Wraps a store.
    pub fn new(inner: Arc<dyn EventStore>, plan: Arc<Plan>) -> Arc<Self> {
        Arc::new(Self { inner, plan })
    }
}

fn error(error: OnPurpose) -> StoreError {
    StoreError::Unavailable { context: error.to_string(), source: Some(error.into()) }
}

#[async_trait]
impl EventStore for FailingStore {
    async fn register_camera(&self, camera: &CameraId, redacted_url: &str) -> Result<()> {
        self.plan.around("register_camera", error, self.inner.register_camera(camera, redacted_url)).await
    }

    async fn set_camera_state(&self, camera: &CameraId, state: &CameraState) -> Result<()> {
        self.plan.around("set_camera_state", error, self.inner.set_camera_state(camera, state)).await
    }

    async fn begin_epoch(&self, camera: &CameraId, request: EpochRequest) -> Result<Epoch> {
        self.plan.around("begin_epoch", error, self.inner.begin_epoch(camera, request)).await
    }

    async fn published(&self, camera: &CameraId, epoch: Epoch) -> Result<u64> {
        self.plan.around("published", error, self.inner.published(camera, epoch)).await
    }

    async fn set_published(&self, camera: &CameraId, epoch: Epoch, next: u64) -> Result<()> {
        self.plan.around("set_published", error, self.inner.set_published(camera, epoch, next)).await
    }

    async fn begin_merge(&self, cameras: &[CameraId]) -> Result<Box<dyn MergeTx>> {
        let inner = self.plan.around("begin_merge", error, self.inner.begin_merge(cameras)).await?;
        Ok(Box::new(FailingMerge { inner, plan: Arc::clone(&self.plan) }))
    }

    async fn waiting_cameras(&self, before: i64) -> Result<Vec<CameraId>> {
        self.plan.around("waiting_cameras", error, self.inner.waiting_cameras(before)).await
    }

    async fn pending_objects(&self, limit: u32) -> Result<Vec<PendingObject>> {
        self.plan.around("pending_objects", error, self.inner.pending_objects(limit)).await
    }

    async fn objects_done(&self, done: &[PendingObject]) -> Result<()> {
        self.plan.around("objects_done", error, self.inner.objects_done(done)).await
    }

    async fn reindex_pending(&self) -> Result<bool> {
        self.plan.around("reindex_pending", error, self.inner.reindex_pending()).await
    }

    async fn begin_reindex(&self) -> Result<()> {
        self.plan.around("begin_reindex", error, self.inner.begin_reindex()).await
    }

    async fn restore_epochs(&self, records: &[EpochRecord]) -> Result<()> {
        self.plan.around("restore_epochs", error, self.inner.restore_epochs(records)).await
    }

    async fn end_reindex(&self) -> Result<()> {
        self.plan.around("end_reindex", error, self.inner.end_reindex()).await
    }

    async fn cameras(&self) -> Result<Vec<CameraInfo>> {
        self.plan.around("cameras", error, self.inner.cameras()).await
    }

    async fn events(
        &self,
        filter: &EventFilter,
        order: Order,
        after: Option<&EventCursor>,
        limit: u32,
    ) -> Result<Vec<StoredEvent>> {
        self.plan.around("events", error, self.inner.events(filter, order, after, limit)).await
    }

    async fn event(&self, id: &EventId) -> Result<Option<StoredEvent>> {
        self.plan.around("event", error, self.inner.event(id)).await
    }

    async fn outcomes(&self, camera: &CameraId, from: Position, limit: u32) -> Result<Vec<Outcome>> {
        self.plan.around("outcomes", error, self.inner.outcomes(camera, from, limit)).await
    }

    async fn outcomes_between(
        &self,
        camera: &CameraId,
        from: TimeUs,
        until: TimeUs,
        limit: u32,
    ) -> Result<Vec<Outcome>> {
        self.plan.around("outcomes_between", error, self.inner.outcomes_between(camera, from, until, limit)).await
    }

    async fn gaps(&self, camera: &CameraId, before: Option<Position>, limit: u32) -> Result<Vec<(Position, Gap)>> {
        self.plan.around("gaps", error, self.inner.gaps(camera, before, limit)).await
    }

    async fn seams(&self, camera: &CameraId) -> Result<Vec<(Epoch, Seam)>> {
        self.plan.around("seams", error, self.inner.seams(camera)).await
    }

    async fn frontier(&self, camera: &CameraId) -> Result<Option<Position>> {
        self.plan.around("frontier", error, self.inner.frontier(camera)).await
    }

    async fn tombstones(&self) -> Result<Vec<Outcome>> {
        self.plan.around("tombstones", error, self.inner.tombstones()).await
    }

    async fn feed_head(&self) -> Result<FeedPosition> {
        self.plan.around("feed_head", error, self.inner.feed_head()).await
    }

    async fn feed(&self, after: FeedPosition, limit: u32) -> Result<Feed> {
        self.plan.around("feed", error, self.inner.feed(after, limit)).await
    }

    async fn feed_changed(&self) -> Result<()> {
        self.plan.around("feed_changed", error, self.inner.feed_changed()).await
    }

    async fn ping(&self) -> Result<()> {
        self.plan.around("ping", error, self.inner.ping()).await
    }
}

struct FailingMerge {
    inner: Box<dyn MergeTx>,
    plan: Arc<Plan>,
}

#[async_trait]
impl MergeTx for FailingMerge {
    async fn put(&mut self, outcome: &Outcome) -> Result<Put> {
        self.plan.around("put", error, self.inner.put(outcome)).await
    }

    async fn head(&mut self, camera: &CameraId) -> Result<Option<Vec<u8>>> {
        self.plan.around("head", error, self.inner.head(camera)).await
    }

    async fn waiting(&mut self, camera: &CameraId) -> Result<Option<Waiting>> {
        self.plan.around("waiting", error, self.inner.waiting(camera)).await
    }

    async fn last_outcome(&mut self, camera: &CameraId) -> Result<Option<Position>> {
        self.plan.around("last_outcome", error, self.inner.last_outcome(camera)).await
    }

    async fn checkpoint_before(
        &mut self,
        camera: &CameraId,
        position: Position,
    ) -> Result<Option<(Position, Vec<u8>)>> {
        self.plan.around("checkpoint_before", error, self.inner.checkpoint_before(camera, position)).await
    }

    async fn outcomes_after(&mut self, camera: &CameraId, after: Option<Position>, limit: u32) -> Result<Vec<Outcome>> {
        self.plan.around("outcomes_after", error, self.inner.outcomes_after(camera, after, limit)).await
    }

    async fn first_behind_seam(&mut self, camera: &CameraId, epoch: Epoch, seam: Seam) -> Result<Option<Position>> {
        self.plan.around("first_behind_seam", error, self.inner.first_behind_seam(camera, epoch, seam)).await
    }

    async fn seams(&mut self, camera: &CameraId) -> Result<Vec<(Epoch, Seam)>> {
        self.plan.around("seams", error, self.inner.seams(camera)).await
    }

    async fn events_touched_after(&mut self, camera: &CameraId, after: Option<Position>) -> Result<Vec<Event>> {
        self.plan.around("events_touched_after", error, self.inner.events_touched_after(camera, after)).await
    }

    async fn update(&mut self, update: CameraUpdate, tell: bool) -> Result<()> {
        self.plan.around("update", error, self.inner.update(update, tell)).await
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        self.plan.around("commit", error, self.inner.commit()).await
    }
}
