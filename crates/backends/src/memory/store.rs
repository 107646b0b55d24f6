//! The event store.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use detektor_contract::{CameraId, Epoch, EpochRecord, EventId, Gap, Outcome, OutcomeBody, Position, Seam, TimeUs};

use super::database::{Begun, MemoryDatabase, Merged, Tables, above};
use super::events::{Standing, Stored};
use super::merge::Merge;
use crate::columns::column;
use crate::store::{
    CameraInfo, CameraState, EpochRequest, EventCursor, EventFilter, EventStore, Feed, FeedPosition, MergeTx, Order,
    PendingObject, Pruned, StoreError, StoredEvent, StoredFloor,
};

type Result<T> = std::result::Result<T, StoreError>;

impl Tables {
    pub(super) fn stored(&self, id: &EventId) -> Option<&Stored> {
        self.cameras.values().find_map(|camera| camera.merged.events.get(id)).map(|stored| &**stored)
    }

    fn merged(&self, camera: &CameraId) -> Option<&Merged> {
        self.cameras.get(camera).map(|camera| &*camera.merged)
    }

    /// The epoch to slice in; the rules are those of the SQL store.
    fn begin_epoch(&mut self, camera: &CameraId, request: EpochRequest) -> Result<Epoch> {
        let given = self.epochs.get(camera);
        if let EpochRequest::Replayable { content, pass } = request {
            let same = |begun: &Begun| begun.content == Some((content, pass));
            let known = given.and_then(|given| given.iter().find(|(_, begun)| same(begun)));
            if let Some((epoch, _)) = known {
                return Ok(*epoch);
            }
        }
        let last = given.and_then(|given| given.last_key_value()).map(|(_, begun)| *begun);
        let next = self.newest_epoch(camera).map_or(Ok(1), |newest| above(newest.0, 1))?;
        let (epoch, begun) = match request {
            EpochRequest::Replayable { content, pass } => {
                column(pass, "pass")?;
                let owns = |begun: &Begun| begun.content.is_some_and(|(owner, _)| owner == content);
                let is_newest = self.newest_merged(camera) <= self.newest_begun(camera);
                let base = last.filter(|last| owns(last) && is_newest).map_or(next, |last| last.base);
                (above(base, pass)?, Begun { base, content: Some((content, pass)) })
            }
            EpochRequest::Live { now_ms } => {
                column(now_ms, "Unix time")?;
                let epoch = next.max(above(now_ms, 1)?);
                (epoch, Begun { base: epoch, content: None })
            }
        };
        column(epoch, "epoch")?;
        self.begin(camera, Epoch(epoch), begun);
        Ok(Epoch(epoch))
    }
}

fn passes(filter: &EventFilter, stored: &Stored) -> bool {
    let event = &stored.event;
    stored.standing == Standing::Listed
        && filter.camera.as_ref().is_none_or(|camera| event.camera == *camera)
        && (filter.labels.is_empty() || filter.labels.contains(&event.label))
        && filter.from.is_none_or(|from| event.end >= from)
        && filter.until.is_none_or(|until| event.start < until)
        && filter.min_score.is_none_or(|score| event.best_score >= score)
}

fn told(stored: &Stored) -> StoredEvent {
    StoredEvent { event: stored.event.clone(), revision: stored.revision }
}

#[async_trait]
impl EventStore for Arc<MemoryDatabase> {
    async fn register_camera(&self, camera: &CameraId, redacted_url: &str) -> Result<()> {
        self.tables().cameras.entry(camera.clone()).or_default().url = redacted_url.to_owned();
        Ok(())
    }

    async fn set_camera_state(&self, camera: &CameraId, state: &CameraState) -> Result<()> {
        self.tables().cameras.entry(camera.clone()).or_default().state = state.clone();
        Ok(())
    }

    async fn begin_epoch(&self, camera: &CameraId, request: EpochRequest) -> Result<Epoch> {
        self.tables().begin_epoch(camera, request)
    }

    async fn published(&self, camera: &CameraId, epoch: Epoch) -> Result<u64> {
        Ok(self.tables().published.get(&(camera.clone(), epoch)).copied().unwrap_or_default())
    }

    async fn set_published(&self, camera: &CameraId, epoch: Epoch, next: u64) -> Result<()> {
        let mut tables = self.tables();
        let known = tables.published.entry((camera.clone(), epoch)).or_default();
        *known = next.max(*known);
        Ok(())
    }

    async fn begin_merge(&self, cameras: &[CameraId]) -> Result<Box<dyn MergeTx>> {
        Ok(Box::new(Merge::begin(Arc::clone(self), cameras).await))
    }

    async fn waiting_cameras(&self, before: i64, now: i64) -> Result<Vec<CameraId>> {
        let tables = self.tables();
        let since = tables.cameras.iter().filter_map(|(id, camera)| Some((camera.merged.waiting?.since, id)));
        let mut waiting: Vec<_> = since.filter(|(since, _)| *since <= before || *since > now).collect();
        waiting.sort();
        Ok(waiting.into_iter().map(|(_, id)| id.clone()).collect())
    }

    async fn pending_objects(&self, limit: u32) -> Result<Vec<PendingObject>> {
        Ok(self.tables().pending(limit))
    }

    async fn objects_done(&self, done: &[PendingObject]) -> Result<()> {
        let mut tables = self.tables();
        done.iter().for_each(|object| tables.done(object));
        Ok(())
    }

    async fn reindex_pending(&self) -> Result<bool> {
        Ok(!self.tables().filled)
    }

    async fn begin_reindex(&self) -> Result<()> {
        let _all = self.lock_all().await;
        let mut tables = self.tables();
        tables.filled = false;
        for camera in tables.cameras.values_mut() {
            let Merged { floor, events, .. } = &*camera.merged;
            let mut emptied = Merged { floor: floor.clone(), events: events.clone(), ..Merged::default() };
            emptied.stand_on_floor();
            emptied.unconfirm();
            camera.merged = Arc::new(emptied);
        }
        tables.restart_objects();
        tables.feed.generation += 1;
        tables.feed.pruned = 0;
        tables.feed.entries.clear();
        drop(tables);
        self.grown.raise();
        Ok(())
    }

    async fn restore_epochs(&self, records: &[EpochRecord]) -> Result<()> {
        let mut tables = self.tables();
        for EpochRecord { camera, epoch, content, pass } in records {
            let begun = Begun { base: epoch.0.saturating_sub(*pass), content: Some((*content, *pass)) };
            tables.begin(camera, *epoch, begun);
        }
        Ok(())
    }

    async fn end_reindex(&self) -> Result<()> {
        let _all = self.lock_all().await;
        let mut tables = self.tables();
        let Tables { cameras, published, .. } = &mut *tables;
        for (id, camera) in cameras {
            for at in camera.merged.outcomes.keys() {
                let key = (id.clone(), at.epoch);
                let next = camera.merged.whole(at.epoch);
                let known = published.entry(key).or_default();
                *known = next.max(*known);
            }
        }
        tables.filled = true;
        Ok(())
    }

    async fn floors(&self) -> Result<BTreeMap<CameraId, Position>> {
        let tables = self.tables();
        let floors = tables.cameras.iter().filter_map(|(id, camera)| {
            let floor = camera.merged.floor.as_ref()?;
            Some((id.clone(), floor.floor.at()))
        });
        Ok(floors.collect())
    }

    async fn prune(&self, camera: &CameraId) -> Result<Pruned> {
        let _turn = self.lock(std::slice::from_ref(camera)).await;
        Ok(self.tables().prune(camera))
    }

    async fn prunable(&self, camera: &CameraId, floor: Position) -> Result<Pruned> {
        Ok(self.tables().prunable(camera, floor))
    }

    async fn prune_feed(&self, before_ms: i64) -> Result<u64> {
        Ok(self.tables().prune_feed(before_ms))
    }

    async fn prunable_feed(&self, before_ms: i64) -> Result<u64> {
        Ok(self.tables().old_entries(before_ms))
    }

    async fn cameras(&self) -> Result<Vec<CameraInfo>> {
        let tables = self.tables();
        let cameras = tables.cameras.iter().map(|(id, camera)| CameraInfo {
            id: id.clone(),
            url: camera.url.clone(),
            state: camera.state.clone(),
            ledger: camera.merged.ledger.clone(),
            merged_until: camera.merged.merged_until,
        });
        Ok(cameras.collect())
    }

    async fn events(
        &self,
        filter: &EventFilter,
        order: Order,
        after: Option<&EventCursor>,
        limit: u32,
    ) -> Result<Vec<StoredEvent>> {
        let tables = self.tables();
        let all = tables.cameras.values().flat_map(|camera| camera.merged.events.values());
        let place = |stored: &Stored| (stored.event.start, stored.event.id.clone());
        let mut found: Vec<_> = all.filter(|stored| passes(filter, stored)).map(|s| (place(s), s)).collect();
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        let after = after.map(|cursor| (cursor.start, cursor.id.clone()));
        match order {
            Order::Ascending => found.retain(|(place, _)| after.as_ref().is_none_or(|after| place > after)),
            Order::Descending => {
                found.retain(|(place, _)| after.as_ref().is_none_or(|after| place < after));
                found.reverse();
            }
        }
        Ok(found.into_iter().take(limit as usize).map(|(_, stored)| told(stored)).collect())
    }

    async fn event(&self, id: &EventId) -> Result<Option<StoredEvent>> {
        Ok(self.tables().stored(id).filter(|stored| stored.standing == Standing::Listed).map(told))
    }

    async fn outcomes(&self, camera: &CameraId, from: Position, limit: u32) -> Result<Vec<Outcome>> {
        let tables = self.tables();
        let outcomes = tables.merged(camera).into_iter().flat_map(|merged| merged.outcomes.range(from..));
        Ok(outcomes.take(limit as usize).map(|(_, outcome)| (**outcome).clone()).collect())
    }

    async fn outcomes_between(
        &self,
        camera: &CameraId,
        from: TimeUs,
        until: TimeUs,
        limit: u32,
    ) -> Result<Vec<Outcome>> {
        let tables = self.tables();
        let overlaps = |outcome: &&Outcome| {
            let (start, end) = outcome.times();
            start < until && (end > from || (end == from && start == end))
        };
        let outcomes = tables.merged(camera).into_iter().flat_map(|merged| merged.behind(None));
        Ok(outcomes.filter(overlaps).take(limit as usize).cloned().collect())
    }

    async fn gaps(&self, camera: &CameraId, before: Option<Position>, limit: u32) -> Result<Vec<(Position, Gap)>> {
        let tables = self.tables();
        let gaps = tables.merged(camera).into_iter().flat_map(|merged| merged.gaps.iter().rev());
        let gaps = gaps.filter(|(at, _)| before.is_none_or(|before| **at < before));
        Ok(gaps.take(limit as usize).map(|(at, gap)| (*at, *gap)).collect())
    }

    async fn seams(&self, camera: &CameraId) -> Result<Vec<(Epoch, Seam)>> {
        Ok(self.tables().merged(camera).map(Merged::seams).unwrap_or_default())
    }

    async fn frontier(&self, camera: &CameraId) -> Result<Option<Position>> {
        Ok(self.tables().merged(camera).and_then(|merged| merged.frontier))
    }

    async fn tombstones(&self) -> Result<Vec<Outcome>> {
        let tables = self.tables();
        let all = tables.cameras.values().flat_map(|camera| camera.merged.behind(None));
        let kept =
            |o: &&Outcome| matches!(&o.body, OutcomeBody::Tombstone(tombstone) if tombstone.quarantine.is_some());
        Ok(all.filter(kept).cloned().collect())
    }

    async fn feed_head(&self) -> Result<FeedPosition> {
        Ok(self.tables().head())
    }

    async fn feed(&self, after: FeedPosition, limit: u32) -> Result<Feed> {
        let tables = self.tables();
        let head = tables.head();
        let pruned = tables.feed.pruned;
        if after.generation != head.generation || after.position > head.position || after.position < pruned {
            return Ok(Feed::Reset(head));
        }
        let entries = tables.feed.entries.iter().skip((after.position - pruned) as usize);
        Ok(Feed::Entries(entries.take(limit as usize).map(|(_, entry)| entry.clone()).collect()))
    }

    async fn feed_changed(&self) -> Result<()> {
        self.grown.wait().await;
        Ok(())
    }

    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

impl Merged {
    /// Before a reindex: what was pruned does not come back.
    fn stand_on_floor(&mut self) {
        if let Some(StoredFloor { floor, state }) = &self.floor {
            self.head = Some(state.clone());
            self.frontier = Some(floor.at());
            self.ledger = floor.ledger().clone();
            self.merged_until = floor.merged_until();
        }
    }

    /// How far an epoch has outcomes without a hole from its first on.
    fn whole(&self, epoch: Epoch) -> u64 {
        let from = Position { epoch, sequence: 0 };
        let of_epoch = self.outcomes.range(from..).map(|(at, _)| *at).take_while(|at| at.epoch == epoch);
        (0..).zip(of_epoch).take_while(|(place, at)| *place == at.sequence).count() as u64
    }
}
