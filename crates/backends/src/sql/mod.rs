//! The event store in SQL, written once for both databases.
//!
//! This folder is compiled once under each database's module, which brings a `dialect`: the driver's types, and what the
//! databases do each in its own way (locks, transactions, errors). See `docs/decisions/0061`.
//!
//! Invariant: every query here runs on both, and is tested on both. The text of rows is compared byte by byte.

mod cameras;
pub(crate) mod coordination;
mod events;
mod feed;
mod floors;
mod gaps;
mod merge;
mod objects;
mod outcomes;
mod prune;
mod reindex;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::feed::Watch;
use self::merge::Merge;
use super::dialect::{self, Database, Doing};
use crate::store::{
    CameraInfo, CameraState, EpochRequest, EventCursor, EventFilter, EventStore, Feed, FeedPosition, MergeTx, Order,
    PendingObject, Pruned, StoreError, StoredEvent,
};
use async_trait::async_trait;
use detektor_contract::{CameraId, Epoch, EpochRecord, EventId, Gap, Outcome, Position, Seam, TimeUs};

type Result<T> = std::result::Result<T, StoreError>;

/// The event store of one database.
pub(crate) struct Store {
    db: Arc<Database>,
    watch: Arc<Watch>,
}

impl Store {
    pub(crate) fn new(db: Arc<Database>) -> Self {
        Self { db, watch: Arc::default() }
    }
}

#[async_trait]
impl EventStore for Store {
    async fn register_camera(&self, camera: &CameraId, redacted_url: &str) -> Result<()> {
        let mut writing = self.db.write().await?;
        cameras::register(writing.db(), camera, redacted_url).await?;
        writing.commit("registering a camera").await
    }

    async fn set_camera_state(&self, camera: &CameraId, state: &CameraState) -> Result<()> {
        let mut writing = self.db.write_lazily().await?;
        cameras::set_state(writing.db(), camera, state).await?;
        writing.commit("noting a camera's state").await
    }

    async fn begin_epoch(&self, camera: &CameraId, request: EpochRequest) -> Result<Epoch> {
        let mut writing = self.db.write().await?;
        let epoch = cameras::begin_epoch(writing.db(), camera, request).await?;
        writing.commit("beginning an epoch").await?;
        Ok(epoch)
    }

    async fn published(&self, camera: &CameraId, epoch: Epoch) -> Result<u64> {
        cameras::published(&mut *self.db.read().await?, camera, epoch).await
    }

    // Lazily: where a power cut takes it back, the same segments are published once more.
    async fn set_published(&self, camera: &CameraId, epoch: Epoch, next: u64) -> Result<()> {
        let mut writing = self.db.write_lazily().await?;
        cameras::set_published(writing.db(), camera, epoch, next).await?;
        writing.commit("noting what is published").await
    }

    async fn begin_merge(&self, cameras: &[CameraId]) -> Result<Box<dyn MergeTx>> {
        let writing = self.db.write().await?;
        Ok(Box::new(Merge::begin(writing, cameras, Arc::clone(&self.watch)).await?))
    }

    async fn waiting_cameras(&self, before: i64, now: i64) -> Result<Vec<CameraId>> {
        cameras::waiting(&mut *self.db.read().await?, before, now).await
    }

    async fn pending_objects(&self, limit: u32) -> Result<Vec<PendingObject>> {
        objects::pending(&mut *self.db.read().await?, limit).await
    }

    async fn objects_done(&self, done: &[PendingObject]) -> Result<()> {
        let mut writing = self.db.write_lazily().await?;
        // In the order in which a merge notes them.
        let mut done: Vec<_> = done.iter().collect();
        done.sort_unstable_by_key(|object| &object.key);
        for object in done {
            objects::done(writing.db(), object).await?;
        }
        writing.commit("noting written objects").await
    }

    async fn reindex_pending(&self) -> Result<bool> {
        reindex::pending(&mut *self.db.read().await?).await
    }

    async fn begin_reindex(&self) -> Result<()> {
        let mut writing = self.db.write().await?;
        dialect::lock_all(writing.db()).await?;
        reindex::begin(writing.db()).await?;
        merge::empty(writing.db()).await?;
        floors::stand_on(writing.db()).await?;
        events::unconfirm(writing.db()).await?;
        objects::restart(writing.db()).await?;
        feed::restart(writing.db()).await?;
        writing.commit("beginning a reindex").await?;
        self.watch.raise();
        Ok(())
    }

    async fn restore_epochs(&self, records: &[EpochRecord]) -> Result<()> {
        let mut writing = self.db.write().await?;
        for record in records {
            cameras::restore_epoch(writing.db(), record).await?;
        }
        writing.commit("restoring epochs").await
    }

    async fn end_reindex(&self) -> Result<()> {
        let mut writing = self.db.write().await?;
        dialect::lock_all(writing.db()).await?;
        reindex::end(writing.db()).await?;
        writing.commit("ending a reindex").await
    }

    async fn floors(&self) -> Result<BTreeMap<CameraId, Position>> {
        floors::places(&mut *self.db.read().await?, None).await
    }

    // Lazily: what a power cut brings back is removed again.
    async fn prune(&self, camera: &CameraId) -> Result<Pruned> {
        let mut writing = self.db.write_lazily().await?;
        let name = [camera.as_str()];
        dialect::lock_cameras(writing.db(), &name).await?;
        let Some(floor) = floors::places(writing.db(), Some(&name)).await?.remove(camera) else {
            return Ok(Pruned::default());
        };
        let pruned = prune::batch(writing.db(), camera, floor).await?;
        writing.commit("pruning").await?;
        Ok(pruned)
    }

    async fn prunable(&self, camera: &CameraId, floor: Position) -> Result<Pruned> {
        prune::count(&mut *self.db.read().await?, camera, floor).await
    }

    async fn prune_feed(&self, before_ms: i64) -> Result<u64> {
        let mut writing = self.db.write_lazily().await?;
        let pruned = prune::feed_batch(writing.db(), before_ms).await?;
        writing.commit("pruning the feed").await?;
        Ok(pruned)
    }

    async fn prunable_feed(&self, before_ms: i64) -> Result<u64> {
        prune::count_feed(&mut *self.db.read().await?, before_ms).await
    }

    async fn cameras(&self) -> Result<Vec<CameraInfo>> {
        cameras::list(&mut *self.db.read().await?).await
    }

    async fn events(
        &self,
        filter: &EventFilter,
        order: Order,
        after: Option<&EventCursor>,
        limit: u32,
    ) -> Result<Vec<StoredEvent>> {
        events::list(&mut *self.db.read().await?, filter, order, after, limit).await
    }

    async fn event(&self, id: &EventId) -> Result<Option<StoredEvent>> {
        events::get(&mut *self.db.read().await?, id).await
    }

    async fn outcomes(&self, camera: &CameraId, from: Position, limit: u32) -> Result<Vec<Outcome>> {
        outcomes::from(&mut *self.db.read().await?, camera, from, limit).await
    }

    async fn outcomes_between(
        &self,
        camera: &CameraId,
        from: TimeUs,
        until: TimeUs,
        limit: u32,
    ) -> Result<Vec<Outcome>> {
        outcomes::between(&mut *self.db.read().await?, camera, from, until, limit).await
    }

    async fn gaps(&self, camera: &CameraId, before: Option<Position>, limit: u32) -> Result<Vec<(Position, Gap)>> {
        gaps::before(&mut *self.db.read().await?, camera, before, limit).await
    }

    async fn seams(&self, camera: &CameraId) -> Result<Vec<(Epoch, Seam)>> {
        outcomes::seams(&mut *self.db.read().await?, camera).await
    }

    async fn frontier(&self, camera: &CameraId) -> Result<Option<Position>> {
        cameras::frontier(&mut *self.db.read().await?, camera).await
    }

    async fn tombstones(&self) -> Result<Vec<Outcome>> {
        outcomes::kept(&mut *self.db.read().await?).await
    }

    async fn feed_head(&self) -> Result<FeedPosition> {
        feed::head(&mut *self.db.read().await?).await
    }

    async fn feed(&self, after: FeedPosition, limit: u32) -> Result<Feed> {
        let mut moment = self.db.moment().await?;
        let feed = feed::read(&mut moment, after, limit).await?;
        moment.commit().doing("reading the feed").await?;
        Ok(feed)
    }

    async fn feed_changed(&self) -> Result<()> {
        self.watch.wait(&self.db).await
    }

    async fn ping(&self) -> Result<()> {
        sqlx::query("SELECT 1").execute(&mut *self.db.read().await?).doing("asking the event store").await?;
        Ok(())
    }
}
