use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use detektor_contract::{CameraId, Epoch, EpochRecord, Event, EventId, Gap, Outcome, Position, Seam, TimeUs};

use super::Around;
use crate::store::{
    CameraInfo, CameraState, CameraUpdate, EpochRequest, EventCursor, EventFilter, EventStore, Feed, FeedPosition,
    MergeTx, Order, PendingObject, Pruned, Put, StoreError, StoredEvent, StoredFloor, Waiting,
};

type Result<T> = std::result::Result<T, StoreError>;

/// An event store behind something. Calls are named as the methods of [`EventStore`] and [`MergeTx`].
pub struct AroundStore<A> {
    inner: Arc<dyn EventStore>,
    around: Arc<A>,
}

impl<A: Around> AroundStore<A> {
    /// Wraps a store.
    pub fn new(inner: Arc<dyn EventStore>, around: Arc<A>) -> Arc<Self> {
        Arc::new(Self { inner, around })
    }
}

#[async_trait]
impl<A: Around> EventStore for AroundStore<A> {
    async fn register_camera(&self, camera: &CameraId, redacted_url: &str) -> Result<()> {
        self.around.call("register_camera", self.inner.register_camera(camera, redacted_url)).await
    }

    async fn set_camera_state(&self, camera: &CameraId, state: &CameraState) -> Result<()> {
        self.around.call("set_camera_state", self.inner.set_camera_state(camera, state)).await
    }

    async fn begin_epoch(&self, camera: &CameraId, request: EpochRequest) -> Result<Epoch> {
        self.around.call("begin_epoch", self.inner.begin_epoch(camera, request)).await
    }

    async fn published(&self, camera: &CameraId, epoch: Epoch) -> Result<u64> {
        self.around.call("published", self.inner.published(camera, epoch)).await
    }

    async fn set_published(&self, camera: &CameraId, epoch: Epoch, next: u64) -> Result<()> {
        self.around.call("set_published", self.inner.set_published(camera, epoch, next)).await
    }

    async fn begin_merge(&self, cameras: &[CameraId]) -> Result<Box<dyn MergeTx>> {
        let inner = self.around.call("begin_merge", self.inner.begin_merge(cameras)).await?;
        Ok(Box::new(AroundMerge { inner, around: Arc::clone(&self.around) }))
    }

    async fn waiting_cameras(&self, before: i64, now: i64) -> Result<Vec<CameraId>> {
        self.around.call("waiting_cameras", self.inner.waiting_cameras(before, now)).await
    }

    async fn pending_objects(&self, limit: u32) -> Result<Vec<PendingObject>> {
        self.around.call("pending_objects", self.inner.pending_objects(limit)).await
    }

    async fn objects_done(&self, done: &[PendingObject]) -> Result<()> {
        self.around.call("objects_done", self.inner.objects_done(done)).await
    }

    async fn reindex_pending(&self) -> Result<bool> {
        self.around.call("reindex_pending", self.inner.reindex_pending()).await
    }

    async fn begin_reindex(&self) -> Result<()> {
        self.around.call("begin_reindex", self.inner.begin_reindex()).await
    }

    async fn restore_epochs(&self, records: &[EpochRecord]) -> Result<()> {
        self.around.call("restore_epochs", self.inner.restore_epochs(records)).await
    }

    async fn end_reindex(&self) -> Result<()> {
        self.around.call("end_reindex", self.inner.end_reindex()).await
    }

    async fn floors(&self) -> Result<BTreeMap<CameraId, Position>> {
        self.around.call("floors", self.inner.floors()).await
    }

    async fn prune(&self, camera: &CameraId) -> Result<Pruned> {
        self.around.call("prune", self.inner.prune(camera)).await
    }

    async fn prunable(&self, camera: &CameraId, floor: Position) -> Result<Pruned> {
        self.around.call("prunable", self.inner.prunable(camera, floor)).await
    }

    async fn prune_feed(&self, before_ms: i64) -> Result<u64> {
        self.around.call("prune_feed", self.inner.prune_feed(before_ms)).await
    }

    async fn prunable_feed(&self, before_ms: i64) -> Result<u64> {
        self.around.call("prunable_feed", self.inner.prunable_feed(before_ms)).await
    }

    async fn cameras(&self) -> Result<Vec<CameraInfo>> {
        self.around.call("cameras", self.inner.cameras()).await
    }

    async fn events(
        &self,
        filter: &EventFilter,
        order: Order,
        after: Option<&EventCursor>,
        limit: u32,
    ) -> Result<Vec<StoredEvent>> {
        self.around.call("events", self.inner.events(filter, order, after, limit)).await
    }

    async fn event(&self, id: &EventId) -> Result<Option<StoredEvent>> {
        self.around.call("event", self.inner.event(id)).await
    }

    async fn outcomes(&self, camera: &CameraId, from: Position, limit: u32) -> Result<Vec<Outcome>> {
        self.around.call("outcomes", self.inner.outcomes(camera, from, limit)).await
    }

    async fn outcomes_between(
        &self,
        camera: &CameraId,
        from: TimeUs,
        until: TimeUs,
        limit: u32,
    ) -> Result<Vec<Outcome>> {
        self.around.call("outcomes_between", self.inner.outcomes_between(camera, from, until, limit)).await
    }

    async fn gaps(&self, camera: &CameraId, before: Option<Position>, limit: u32) -> Result<Vec<(Position, Gap)>> {
        self.around.call("gaps", self.inner.gaps(camera, before, limit)).await
    }

    async fn seams(&self, camera: &CameraId) -> Result<Vec<(Epoch, Seam)>> {
        self.around.call("seams", self.inner.seams(camera)).await
    }

    async fn frontier(&self, camera: &CameraId) -> Result<Option<Position>> {
        self.around.call("frontier", self.inner.frontier(camera)).await
    }

    async fn tombstones(&self) -> Result<Vec<Outcome>> {
        self.around.call("tombstones", self.inner.tombstones()).await
    }

    async fn feed_head(&self) -> Result<FeedPosition> {
        self.around.call("feed_head", self.inner.feed_head()).await
    }

    async fn feed(&self, after: FeedPosition, limit: u32) -> Result<Feed> {
        self.around.call("feed", self.inner.feed(after, limit)).await
    }

    async fn feed_changed(&self) -> Result<()> {
        self.around.wait("feed_changed", self.inner.feed_changed()).await
    }

    async fn ping(&self) -> Result<()> {
        self.around.call("ping", self.inner.ping()).await
    }
}

struct AroundMerge<A> {
    inner: Box<dyn MergeTx>,
    around: Arc<A>,
}

#[async_trait]
impl<A: Around> MergeTx for AroundMerge<A> {
    async fn put_all(&mut self, outcomes: &[&Outcome]) -> Result<Vec<Put>> {
        self.around.call("put_all", self.inner.put_all(outcomes)).await
    }

    async fn frontier(&mut self, camera: &CameraId) -> Result<Option<Position>> {
        self.around.call("frontier", self.inner.frontier(camera)).await
    }

    async fn head(&mut self, camera: &CameraId) -> Result<Option<Vec<u8>>> {
        self.around.call("head", self.inner.head(camera)).await
    }

    async fn waiting(&mut self, camera: &CameraId) -> Result<Option<Waiting>> {
        self.around.call("waiting", self.inner.waiting(camera)).await
    }

    async fn last_outcome(&mut self, camera: &CameraId) -> Result<Option<Position>> {
        self.around.call("last_outcome", self.inner.last_outcome(camera)).await
    }

    async fn checkpoint_before(
        &mut self,
        camera: &CameraId,
        position: Position,
    ) -> Result<Option<(Position, Vec<u8>)>> {
        self.around.call("checkpoint_before", self.inner.checkpoint_before(camera, position)).await
    }

    async fn old_checkpoint(
        &mut self,
        camera: &CameraId,
        ended: TimeUs,
        position: Position,
    ) -> Result<Option<(Position, Vec<u8>)>> {
        self.around.call("old_checkpoint", self.inner.old_checkpoint(camera, ended, position)).await
    }

    async fn floor(&mut self, camera: &CameraId) -> Result<Option<StoredFloor>> {
        self.around.call("floor", self.inner.floor(camera)).await
    }

    async fn raise_floor(&mut self, camera: &CameraId, floor: &StoredFloor) -> Result<()> {
        self.around.call("raise_floor", self.inner.raise_floor(camera, floor)).await
    }

    async fn outcomes_after(&mut self, camera: &CameraId, after: Option<Position>, limit: u32) -> Result<Vec<Outcome>> {
        self.around.call("outcomes_after", self.inner.outcomes_after(camera, after, limit)).await
    }

    async fn first_behind_seam(&mut self, camera: &CameraId, epoch: Epoch, seam: Seam) -> Result<Option<Position>> {
        self.around.call("first_behind_seam", self.inner.first_behind_seam(camera, epoch, seam)).await
    }

    async fn seams(&mut self, camera: &CameraId) -> Result<Vec<(Epoch, Seam)>> {
        self.around.call("seams", self.inner.seams(camera)).await
    }

    async fn events_touched_after(&mut self, camera: &CameraId, after: Option<Position>) -> Result<Vec<Event>> {
        self.around.call("events_touched_after", self.inner.events_touched_after(camera, after)).await
    }

    async fn update(&mut self, update: CameraUpdate, tell: bool) -> Result<()> {
        self.around.call("update", self.inner.update(update, tell)).await
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        self.around.call("commit", self.inner.commit()).await
    }
}
