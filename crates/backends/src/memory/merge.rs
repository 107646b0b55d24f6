//! The merge transaction: works on copies of the cameras that it has locked, and puts them in place as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use detektor_contract::{CameraId, Epoch, Event, Outcome, Position, Seam, TimeUs};

use super::database::{MemoryDatabase, Merged, Turn};
use super::events::{Standing, Told};
use crate::columns::column;
use crate::store::{CameraUpdate, MergeTx, Put, StoreError, StoredFloor, Waiting};

type Result<T> = std::result::Result<T, StoreError>;

/// Within so many sequence numbers behind the frontier,
const NEAR: u64 = 1024;
/// checkpoints at multiples of this are kept;
const DENSE: u64 = 32;
/// further back, and in older epochs, those at multiples of this.
const SPARSE: u64 = 1024;

pub(super) struct Merge {
    database: Arc<MemoryDatabase>,
    life: u64,
    cameras: BTreeMap<CameraId, Arc<Merged>>,
    told: Vec<Told>,
    /// Dropped last: until then everybody else waits.
    _turn: Turn,
}

impl Merge {
    pub(super) async fn begin(database: Arc<MemoryDatabase>, cameras: &[CameraId]) -> Self {
        let mut cameras = cameras.to_vec();
        cameras.sort_unstable();
        cameras.dedup();
        let turn = database.lock(&cameras).await;
        let (life, cameras) = {
            let tables = database.tables();
            let merged =
                |id: &CameraId| tables.cameras.get(id).map(|camera| Arc::clone(&camera.merged)).unwrap_or_default();
            (tables.life, cameras.into_iter().map(|id| (id.clone(), merged(&id))).collect())
        };
        Self { database, life, cameras, told: Vec::new(), _turn: turn }
    }

    /// A camera as this transaction sees it. What it did not lock it may read.
    fn of(&self, camera: &CameraId) -> Arc<Merged> {
        let committed = || Some(Arc::clone(&self.database.tables().cameras.get(camera)?.merged));
        self.cameras.get(camera).cloned().or_else(committed).unwrap_or_default()
    }

    fn of_mut(&mut self, camera: &CameraId) -> Result<&mut Merged> {
        self.cameras.get_mut(camera).map(Arc::make_mut).ok_or_else(|| not_locked(camera))
    }
}

fn not_locked(camera: &CameraId) -> StoreError {
    StoreError::Corrupt(format!("a merge touches camera {camera}, which it did not lock"))
}

#[async_trait]
impl MergeTx for Merge {
    async fn put_all(&mut self, outcomes: &[&Outcome]) -> Result<Vec<Put>> {
        for outcome in outcomes {
            column(outcome.id.epoch.0, "epoch")?;
            column(outcome.id.sequence, "sequence")?;
        }
        outcomes.iter().map(|outcome| Ok(self.of_mut(&outcome.id.camera)?.put(outcome))).collect()
    }

    async fn frontier(&mut self, camera: &CameraId) -> Result<Option<Position>> {
        Ok(self.of(camera).frontier)
    }

    async fn head(&mut self, camera: &CameraId) -> Result<Option<Vec<u8>>> {
        Ok(self.of(camera).head.clone())
    }

    async fn waiting(&mut self, camera: &CameraId) -> Result<Option<Waiting>> {
        Ok(self.of(camera).waiting)
    }

    async fn last_outcome(&mut self, camera: &CameraId) -> Result<Option<Position>> {
        Ok(self.of(camera).outcomes.last_key_value().map(|(at, _)| *at))
    }

    async fn checkpoint_before(
        &mut self,
        camera: &CameraId,
        position: Position,
    ) -> Result<Option<(Position, Vec<u8>)>> {
        let merged = self.of(camera);
        let found = merged.checkpoints.range(..position).next_back();
        Ok(found.map(|(at, state)| (*at, state.to_vec())))
    }

    async fn old_checkpoint(
        &mut self,
        camera: &CameraId,
        ended: TimeUs,
        position: Position,
    ) -> Result<Option<(Position, Vec<u8>)>> {
        let merged = self.of(camera);
        let old = |at: &Position| merged.outcomes.get(at).is_some_and(|outcome| outcome.times().1 <= ended);
        let found = merged.checkpoints.range(..position).rev().find(|(at, _)| old(at));
        Ok(found.map(|(at, state)| (*at, state.to_vec())))
    }

    async fn floor(&mut self, camera: &CameraId) -> Result<Option<StoredFloor>> {
        Ok(self.of(camera).floor.clone())
    }

    async fn raise_floor(&mut self, camera: &CameraId, floor: &StoredFloor) -> Result<()> {
        self.of_mut(camera)?.floor = Some(floor.clone());
        Ok(())
    }

    async fn outcomes_after(&mut self, camera: &CameraId, after: Option<Position>, limit: u32) -> Result<Vec<Outcome>> {
        Ok(self.of(camera).behind(after).take(limit as usize).cloned().collect())
    }

    async fn first_behind_seam(&mut self, camera: &CameraId, epoch: Epoch, seam: Seam) -> Result<Option<Position>> {
        let begin = Position { epoch, sequence: 0 };
        let behind = |outcome: &Outcome| {
            let key_frame = outcome.span().and_then(|span| span.key_frame);
            let opens = key_frame.is_some() && key_frame == seam.key_frame;
            outcome.is_cut_by_seams() && (opens || outcome.times().1 > seam.at)
        };
        let merged = self.of(camera);
        let found = merged.outcomes.range(..begin).find(|(_, outcome)| behind(outcome));
        Ok(found.map(|(at, _)| *at))
    }

    async fn seams(&mut self, camera: &CameraId) -> Result<Vec<(Epoch, Seam)>> {
        Ok(self.of(camera).seams())
    }

    async fn events_touched_after(&mut self, camera: &CameraId, after: Option<Position>) -> Result<Vec<Event>> {
        let merged = self.of(camera);
        let listed = merged.events.values().filter(|stored| stored.standing == Standing::Listed);
        Ok(listed.filter(|stored| Some(stored.touched) > after).map(|stored| stored.event.clone()).collect())
    }

    async fn update(&mut self, update: CameraUpdate, tell: bool) -> Result<()> {
        let merged = self.of_mut(&update.camera)?;
        merged.head = Some(update.head);
        merged.frontier = update.frontier;
        merged.ledger = update.ledger;
        merged.merged_until = update.merged_until;
        merged.waiting = update.waiting;
        if let Some(from) = update.refolded_from {
            merged.checkpoints.retain(|at, _| Some(*at) <= from);
            merged.gaps.retain(|at, _| Some(*at) <= from);
        }
        let newest = update.checkpoints.iter().map(|(at, _)| *at).max();
        merged.checkpoints.extend(update.checkpoints.into_iter().map(|(at, state)| (at, state.into())));
        if let Some(newest) = newest {
            merged.thin(newest);
        }
        merged.gaps.extend(update.gaps);
        let told: Vec<Told> =
            update.changes.into_iter().filter_map(|(at, change)| merged.apply(at, change, tell)).collect();
        self.told.extend(told);
        Ok(())
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        let Self { database, life, cameras, told, _turn } = *self;
        let grown = !told.is_empty();
        {
            let mut tables = database.tables();
            if tables.life != life {
                let context = "committing a merge: another database is in its place".to_owned();
                return Err(StoreError::Unavailable { context, source: None });
            }
            for (id, merged) in cameras {
                tables.cameras.entry(id).or_default().merged = merged;
            }
            tables.tell(told);
        }
        if grown {
            database.grown.raise();
        }
        Ok(())
    }
}

impl Merged {
    /// Records an outcome if it wins.
    fn put(&mut self, outcome: &Outcome) -> Put {
        if self.floor.as_ref().is_some_and(|floor| outcome.id.position() <= floor.floor.at()) {
            return Put::Pruned;
        }
        let put = match self.outcomes.get(&outcome.id.position()) {
            None => Put::New,
            Some(there) if outcome.wins_over(there) => Put::Replaced,
            Some(_) => return Put::Ignored,
        };
        self.outcomes.insert(outcome.id.position(), Arc::new(outcome.clone()));
        put
    }

    /// Outcomes behind a place (all, if none), in order.
    pub(super) fn behind(&self, after: Option<Position>) -> impl Iterator<Item = &Outcome> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.outcomes.range((from, Unbounded)).map(|(_, outcome)| &**outcome)
    }

    /// Each epoch's seam: the one that its earliest outcome with a seam names.
    pub(super) fn seams(&self) -> Vec<(Epoch, Seam)> {
        let mut seams: Vec<(Epoch, Seam)> =
            self.outcomes.iter().filter_map(|(at, outcome)| Some((at.epoch, outcome.seam()?))).collect();
        seams.dedup_by_key(|(epoch, _)| *epoch);
        seams
    }

    /// Removes the checkpoints that are too close together for their age. The newest stays in any case.
    fn thin(&mut self, newest: Position) {
        let near = |at: &Position| at.epoch == newest.epoch && at.sequence + NEAR > newest.sequence;
        self.checkpoints.retain(|at, _| {
            *at >= newest || at.sequence.is_multiple_of(SPARSE) || (near(at) && at.sequence.is_multiple_of(DENSE))
        });
    }
}
