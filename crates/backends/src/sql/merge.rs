//! The merge transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use detektor_contract::{CameraId, Epoch, Event, Outcome, Position, Seam, TimeUs};

use super::dialect::{self, Connection, Doing, Writing};
use super::events::Told;
use super::feed::Watch;
use super::outcomes::columns;
use super::{cameras, events, feed, floors, gaps, outcomes};
use crate::columns::text;
use crate::store::{CameraUpdate, MergeTx, Put, StoreError, StoredFloor, Waiting};

type Result<T> = std::result::Result<T, StoreError>;

/// Within so many sequence numbers behind the frontier,
const NEAR: u64 = 1024;
/// checkpoints at multiples of this are kept;
const DENSE: i64 = 32;
/// further back, and in older epochs, those at multiples of this.
const SPARSE: i64 = 1024;

pub(super) struct Merge {
    writing: Writing,
    watch: Arc<Watch>,
    told: Vec<Told>,
    /// Where the cameras' histories begin. Whoever raises one has its camera's row locked.
    floors: BTreeMap<CameraId, Position>,
}

impl Merge {
    /// Makes sure that the cameras' rows are there, then locks them, both in id order: of two merges that share cameras
    /// one waits, and what it reads then is what the other one committed.
    pub(super) async fn begin(mut writing: Writing, of: &[CameraId], watch: Arc<Watch>) -> Result<Self> {
        let mut ids: Vec<&str> = of.iter().map(CameraId::as_str).collect();
        ids.sort_unstable();
        ids.dedup();
        cameras::ensure(writing.db(), &ids).await?;
        dialect::lock_cameras(writing.db(), &ids).await?;
        let floors = floors::places(writing.db(), Some(&ids)).await?;
        Ok(Self { writing, watch, told: Vec::new(), floors })
    }
}

#[async_trait]
impl MergeTx for Merge {
    async fn put_all(&mut self, outcomes: &[&Outcome]) -> Result<Vec<Put>> {
        let pruned = |outcome: &Outcome| {
            self.floors.get(&outcome.id.camera).is_some_and(|floor| outcome.id.position() <= *floor)
        };
        let pruned: Vec<bool> = outcomes.iter().map(|outcome| pruned(outcome)).collect();
        let above: Vec<&Outcome> = outcomes.iter().zip(&pruned).filter(|(_, p)| !**p).map(|(o, _)| *o).collect();
        let mut put = outcomes::put(self.writing.db(), &above).await?.into_iter();
        let all = pruned.into_iter().map(|pruned| if pruned { Some(Put::Pruned) } else { put.next() });
        Ok(all.flatten().collect())
    }

    async fn frontier(&mut self, camera: &CameraId) -> Result<Option<Position>> {
        cameras::frontier(self.writing.db(), camera).await
    }

    async fn head(&mut self, camera: &CameraId) -> Result<Option<Vec<u8>>> {
        let head: Option<Option<Vec<u8>>> = sqlx::query_scalar("SELECT head FROM cameras WHERE id = $1")
            .bind(camera.as_str())
            .fetch_optional(self.writing.db())
            .doing("reading a camera's head")
            .await?;
        Ok(head.flatten())
    }

    async fn waiting(&mut self, camera: &CameraId) -> Result<Option<Waiting>> {
        let row: Option<(i64, i64, i64)> = sqlx::query_as(
            "SELECT waiting_since, waiting_epoch, waiting_sequence FROM cameras
             WHERE id = $1 AND waiting_since IS NOT NULL",
        )
        .bind(camera.as_str())
        .fetch_optional(self.writing.db())
        .doing("reading since when a camera waits")
        .await?;
        row.map(|(since, epoch, sequence)| Ok(Waiting { since, until: cameras::position(epoch, sequence)? }))
            .transpose()
    }

    async fn last_outcome(&mut self, camera: &CameraId) -> Result<Option<Position>> {
        outcomes::last(self.writing.db(), camera).await
    }

    async fn checkpoint_before(
        &mut self,
        camera: &CameraId,
        position: Position,
    ) -> Result<Option<(Position, Vec<u8>)>> {
        let (epoch, sequence) = columns(position)?;
        let row: Option<(i64, i64, Vec<u8>)> = sqlx::query_as(
            "SELECT epoch, sequence, state FROM checkpoints WHERE camera = $1 AND (epoch, sequence) < ($2, $3)
             ORDER BY epoch DESC, sequence DESC LIMIT 1",
        )
        .bind(camera.as_str())
        .bind(epoch)
        .bind(sequence)
        .fetch_optional(self.writing.db())
        .doing("reading a checkpoint")
        .await?;
        row.map(|(epoch, sequence, state)| Ok((cameras::position(epoch, sequence)?, state))).transpose()
    }

    async fn old_checkpoint(
        &mut self,
        camera: &CameraId,
        ended: TimeUs,
        position: Position,
    ) -> Result<Option<(Position, Vec<u8>)>> {
        let (epoch, sequence) = columns(position)?;
        let row: Option<(i64, i64, Vec<u8>)> = sqlx::query_as(
            "SELECT c.epoch, c.sequence, c.state FROM checkpoints c
             JOIN outcomes o ON o.camera = c.camera AND o.epoch = c.epoch AND o.sequence = c.sequence
             WHERE c.camera = $1 AND (c.epoch, c.sequence) < ($2, $3) AND o.span_end <= $4
             ORDER BY c.epoch DESC, c.sequence DESC LIMIT 1",
        )
        .bind(camera.as_str())
        .bind(epoch)
        .bind(sequence)
        .bind(ended.0)
        .fetch_optional(self.writing.db())
        .doing("reading an old checkpoint")
        .await?;
        row.map(|(epoch, sequence, state)| Ok((cameras::position(epoch, sequence)?, state))).transpose()
    }

    async fn floor(&mut self, camera: &CameraId) -> Result<Option<StoredFloor>> {
        floors::get(self.writing.db(), camera).await
    }

    async fn raise_floor(&mut self, camera: &CameraId, floor: &StoredFloor) -> Result<()> {
        floors::raise(self.writing.db(), camera, floor).await?;
        self.floors.insert(camera.clone(), floor.floor.at());
        Ok(())
    }

    async fn outcomes_after(&mut self, camera: &CameraId, after: Option<Position>, limit: u32) -> Result<Vec<Outcome>> {
        outcomes::after(self.writing.db(), camera, after, limit).await
    }

    async fn first_behind_seam(&mut self, camera: &CameraId, epoch: Epoch, seam: Seam) -> Result<Option<Position>> {
        outcomes::first_behind_seam(self.writing.db(), camera, epoch, seam).await
    }

    async fn seams(&mut self, camera: &CameraId) -> Result<Vec<(Epoch, Seam)>> {
        outcomes::seams(self.writing.db(), camera).await
    }

    async fn events_touched_after(&mut self, camera: &CameraId, after: Option<Position>) -> Result<Vec<Event>> {
        events::touched_after(self.writing.db(), camera, after).await
    }

    async fn update(&mut self, update: CameraUpdate, tell: bool) -> Result<()> {
        let db = self.writing.db();
        save_camera(db, &update).await?;
        if let Some(from) = update.refolded_from {
            forget(db, &update.camera, from).await?;
        }
        save_checkpoints(db, &update).await?;
        gaps::save(db, &update).await?;
        for (at, change) in update.changes {
            self.told.extend(events::apply(db, at, change, tell).await?);
        }
        Ok(())
    }

    async fn commit(mut self: Box<Self>) -> Result<()> {
        if !self.told.is_empty() {
            feed::append(self.writing.db(), &self.told).await?;
        }
        self.writing.commit("committing a merge").await?;
        if !self.told.is_empty() {
            self.watch.raise();
        }
        Ok(())
    }
}

async fn save_camera(db: &mut Connection, update: &CameraUpdate) -> Result<()> {
    let frontier = update.frontier.map(columns).transpose()?;
    let waiting = update.waiting.map(|waiting| columns(waiting.until)).transpose()?;
    sqlx::query(
        "UPDATE cameras SET head = $2, frontier_epoch = $3, frontier_sequence = $4, ledger = $5, merged_until = $6,
             merged_clock = $7, waiting_since = $8, waiting_epoch = $9, waiting_sequence = $10
         WHERE id = $1",
    )
    .bind(update.camera.as_str())
    .bind(&update.head[..])
    .bind(frontier.map(|(epoch, _)| epoch))
    .bind(frontier.map(|(_, sequence)| sequence))
    .bind(text(&update.ledger, "a ledger")?)
    .bind(update.merged_until.map(|(at, _)| at.0))
    .bind(update.merged_until.map(|(_, clock)| cameras::clock_name(clock)))
    .bind(update.waiting.map(|waiting| waiting.since))
    .bind(waiting.map(|(epoch, _)| epoch))
    .bind(waiting.map(|(_, sequence)| sequence))
    .execute(db)
    .doing("saving a camera's head")
    .await?;
    Ok(())
}

/// Forgets what a refold goes over again.
async fn forget(db: &mut Connection, camera: &CameraId, from: Option<Position>) -> Result<()> {
    let (epoch, sequence) = outcomes::before_everything(from)?;
    for query in [
        "DELETE FROM checkpoints WHERE camera = $1 AND (epoch, sequence) > ($2, $3)",
        "DELETE FROM gaps WHERE camera = $1 AND (epoch, sequence) > ($2, $3)",
    ] {
        let delete = sqlx::query(query).bind(camera.as_str()).bind(epoch).bind(sequence);
        delete.execute(&mut *db).doing("forgetting checkpoints and gaps").await?;
    }
    Ok(())
}

async fn save_checkpoints(db: &mut Connection, update: &CameraUpdate) -> Result<()> {
    for (at, state) in &update.checkpoints {
        let (epoch, sequence) = columns(*at)?;
        sqlx::query(
            "INSERT INTO checkpoints (camera, epoch, sequence, state) VALUES ($1, $2, $3, $4)
             ON CONFLICT (camera, epoch, sequence) DO UPDATE SET state = excluded.state",
        )
        .bind(update.camera.as_str())
        .bind(epoch)
        .bind(sequence)
        .bind(&state[..])
        .execute(&mut *db)
        .doing("saving a checkpoint")
        .await?;
    }
    match update.checkpoints.iter().map(|(at, _)| *at).max() {
        Some(newest) => thin(db, &update.camera, newest).await,
        None => Ok(()),
    }
}

/// Removes the checkpoints that are too close together for their age. The newest stays in any case.
async fn thin(db: &mut Connection, camera: &CameraId, newest: Position) -> Result<()> {
    let (epoch, sequence) = columns(newest)?;
    sqlx::query(
        "DELETE FROM checkpoints WHERE camera = $1 AND sequence % $5 <> 0 AND (epoch, sequence) < ($2, $3)
             AND NOT (epoch = $2 AND sequence > $4 AND sequence % $6 = 0)",
    )
    .bind(camera.as_str())
    .bind(epoch)
    .bind(sequence)
    .bind(sequence - NEAR as i64)
    .bind(SPARSE)
    .bind(DENSE)
    .execute(db)
    .doing("thinning checkpoints")
    .await?;
    Ok(())
}

/// Forgets every checkpoint, gap, outcome and head.
pub(super) async fn empty(db: &mut Connection) -> Result<()> {
    for query in ["DELETE FROM outcomes", "DELETE FROM checkpoints", "DELETE FROM gaps"] {
        sqlx::query(query).execute(&mut *db).doing_long("emptying the event store").await?;
    }
    sqlx::query(
        "UPDATE cameras SET head = NULL, frontier_epoch = NULL, frontier_sequence = NULL, ledger = '{}',
             merged_until = NULL, merged_clock = NULL, waiting_since = NULL, waiting_epoch = NULL, waiting_sequence = NULL",
    )
    .execute(db)
    .doing("emptying cameras")
    .await?;
    Ok(())
}
