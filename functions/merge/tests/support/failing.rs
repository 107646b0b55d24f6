//! An event store and a bucket that break off at a chosen step, once.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use detektor_backends::bucket::{Bucket, BucketError, Listed};
use detektor_backends::store::*;
use detektor_contract::*;
use futures::stream::BoxStream;

type Result<T> = std::result::Result<T, StoreError>;

/// Counts steps down; the one that reaches 0 fails.
#[derive(Clone)]
pub struct Steps(Arc<AtomicI64>);

impl Steps {
    pub fn fail_at(step: i64) -> Self {
        Self(Arc::new(AtomicI64::new(step)))
    }

    /// Whether the step that was to fail was reached.
    pub fn failed(&self) -> bool {
        self.0.load(Ordering::Relaxed) < 0
    }

    fn works(&self) -> bool {
        self.0.fetch_sub(1, Ordering::Relaxed) != 0
    }

    fn store(&self) -> Result<()> {
        let away = || StoreError::Unavailable { context: "broken off".to_owned(), source: None };
        if self.works() { Ok(()) } else { Err(away()) }
    }

    fn bucket(&self) -> std::result::Result<(), BucketError> {
        let away = || BucketError::Unavailable { context: "broken off".to_owned(), source: None };
        if self.works() { Ok(()) } else { Err(away()) }
    }
}

pub struct FailingBucket(pub Arc<dyn Bucket>, pub Steps);

#[async_trait]
impl Bucket for FailingBucket {
    async fn put(&self, key: &ObjectKey, body: Bytes) -> std::result::Result<(), BucketError> {
        self.1.bucket()?;
        self.0.put(key, body).await?;
        self.1.bucket()
    }
    async fn get(&self, key: &ObjectKey) -> std::result::Result<Bytes, BucketError> {
        self.1.bucket()?;
        self.0.get(key).await
    }
    async fn get_range(&self, key: &ObjectKey, start: u64, length: u64) -> std::result::Result<Bytes, BucketError> {
        self.0.get_range(key, start, length).await
    }
    async fn delete(&self, key: &ObjectKey) -> std::result::Result<(), BucketError> {
        self.1.bucket()?;
        self.0.delete(key).await
    }
    fn list(&self, prefix: &str) -> BoxStream<'static, std::result::Result<Listed, BucketError>> {
        self.0.list(prefix)
    }
}

pub struct FailingStore(pub Arc<dyn EventStore>, pub Steps);

#[async_trait]
impl EventStore for FailingStore {
    async fn begin_merge(&self, cameras: &[CameraId]) -> Result<Box<dyn MergeTx>> {
        self.1.store()?;
        Ok(Box::new(FailingTx(self.0.begin_merge(cameras).await?, self.1.clone())))
    }
    async fn pending_objects(&self, limit: u32) -> Result<Vec<PendingObject>> {
        self.1.store()?;
        self.0.pending_objects(limit).await
    }
    async fn objects_done(&self, done: &[PendingObject]) -> Result<()> {
        self.1.store()?;
        self.0.objects_done(done).await
    }
    async fn waiting_cameras(&self, before: i64) -> Result<Vec<CameraId>> {
        self.0.waiting_cameras(before).await
    }
    async fn register_camera(&self, camera: &CameraId, url: &str) -> Result<()> {
        self.0.register_camera(camera, url).await
    }
    async fn set_camera_state(&self, camera: &CameraId, state: &CameraState) -> Result<()> {
        self.0.set_camera_state(camera, state).await
    }
    async fn begin_epoch(&self, camera: &CameraId, request: EpochRequest) -> Result<Epoch> {
        self.0.begin_epoch(camera, request).await
    }
    async fn published(&self, camera: &CameraId, epoch: Epoch) -> Result<u64> {
        self.0.published(camera, epoch).await
    }
    async fn set_published(&self, camera: &CameraId, epoch: Epoch, next: u64) -> Result<()> {
        self.0.set_published(camera, epoch, next).await
    }
    async fn reindex_pending(&self) -> Result<bool> {
        self.0.reindex_pending().await
    }
    async fn begin_reindex(&self) -> Result<()> {
        self.1.store()?;
        self.0.begin_reindex().await?;
        self.1.store()
    }
    async fn restore_epochs(&self, records: &[EpochRecord]) -> Result<()> {
        self.1.store()?;
        self.0.restore_epochs(records).await?;
        self.1.store()
    }
    async fn end_reindex(&self) -> Result<()> {
        self.1.store()?;
        self.0.end_reindex().await?;
        self.1.store()
    }
    async fn cameras(&self) -> Result<Vec<CameraInfo>> {
        self.0.cameras().await
    }
    async fn events(
        &self,
        filter: &EventFilter,
        order: Order,
        after: Option<&EventCursor>,
        limit: u32,
    ) -> Result<Vec<StoredEvent>> {
        self.0.events(filter, order, after, limit).await
    }
    async fn event(&self, id: &EventId) -> Result<Option<StoredEvent>> {
        self.0.event(id).await
    }
    async fn outcomes(&self, camera: &CameraId, from: Position, limit: u32) -> Result<Vec<Outcome>> {
        self.0.outcomes(camera, from, limit).await
    }
    async fn outcomes_between(
        &self,
        camera: &CameraId,
        from: TimeUs,
        until: TimeUs,
        limit: u32,
    ) -> Result<Vec<Outcome>> {
        self.0.outcomes_between(camera, from, until, limit).await
    }
    async fn markers(
        &self,
        camera: &CameraId,
        order: Order,
        after: Option<Position>,
        limit: u32,
    ) -> Result<Vec<Outcome>> {
        self.0.markers(camera, order, after, limit).await
    }
    async fn seams(&self, camera: &CameraId) -> Result<Vec<(Epoch, Seam)>> {
        self.0.seams(camera).await
    }
    async fn frontier(&self, camera: &CameraId) -> Result<Option<Position>> {
        self.0.frontier(camera).await
    }
    async fn tombstones(&self) -> Result<Vec<Outcome>> {
        self.0.tombstones().await
    }
    async fn feed_head(&self) -> Result<FeedPosition> {
        self.0.feed_head().await
    }
    async fn feed(&self, after: FeedPosition, limit: u32) -> Result<Feed> {
        self.0.feed(after, limit).await
    }
    async fn feed_changed(&self) -> Result<()> {
        self.0.feed_changed().await
    }
    async fn ping(&self) -> Result<()> {
        self.0.ping().await
    }
}

struct FailingTx(Box<dyn MergeTx>, Steps);

#[async_trait]
impl MergeTx for FailingTx {
    async fn put(&mut self, outcome: &Outcome) -> Result<Put> {
        self.1.store()?;
        self.0.put(outcome).await
    }
    async fn head(&mut self, camera: &CameraId) -> Result<Option<Vec<u8>>> {
        self.1.store()?;
        self.0.head(camera).await
    }
    async fn waiting(&mut self, camera: &CameraId) -> Result<Option<Waiting>> {
        self.1.store()?;
        self.0.waiting(camera).await
    }
    async fn last_outcome(&mut self, camera: &CameraId) -> Result<Option<Position>> {
        self.1.store()?;
        self.0.last_outcome(camera).await
    }
    async fn checkpoint_before(
        &mut self,
        camera: &CameraId,
        position: Position,
    ) -> Result<Option<(Position, Vec<u8>)>> {
        self.1.store()?;
        self.0.checkpoint_before(camera, position).await
    }
    async fn outcomes_after(&mut self, camera: &CameraId, after: Option<Position>, limit: u32) -> Result<Vec<Outcome>> {
        self.1.store()?;
        self.0.outcomes_after(camera, after, limit).await
    }
    async fn first_behind_seam(&mut self, camera: &CameraId, epoch: Epoch, seam: Seam) -> Result<Option<Position>> {
        self.1.store()?;
        self.0.first_behind_seam(camera, epoch, seam).await
    }
    async fn seams(&mut self, camera: &CameraId) -> Result<Vec<(Epoch, Seam)>> {
        self.1.store()?;
        self.0.seams(camera).await
    }
    async fn events_touched_after(&mut self, camera: &CameraId, after: Option<Position>) -> Result<Vec<Event>> {
        self.1.store()?;
        self.0.events_touched_after(camera, after).await
    }
    async fn update(&mut self, update: CameraUpdate, tell: bool) -> Result<()> {
        self.1.store()?;
        self.0.update(update, tell).await?;
        self.1.store()
    }
    /// Fails before it is true, or after: then nobody learns that it is.
    async fn commit(self: Box<Self>) -> Result<()> {
        self.1.store()?;
        self.0.commit().await?;
        self.1.store()
    }
}
