//! Removing what lies at or below a camera's floor, a batch at a time.
//!
//! Readers go on: on neither database do they wait for a delete. Merges of the same camera wait for one batch.

use detektor_contract::{CameraId, Position};
use sqlx::QueryBuilder;

use super::dialect::{Connection, Db, Doing};
use super::feed;
use super::outcomes::columns;
use crate::columns::document;
use crate::store::{Pruned, StoreError};

type Result<T> = std::result::Result<T, StoreError>;

/// How many rows of each kind one transaction removes: some ten milliseconds' worth.
const ROWS: i64 = 1_000;

/// The queries for one kind of rows that have a place. A batch is a range of places.
struct Placed {
    end: &'static str,
    delete: &'static str,
    count: &'static str,
}

macro_rules! placed {
    ($table:literal) => {
        Placed {
            end: concat!(
                "SELECT epoch, sequence FROM ",
                $table,
                " WHERE camera = $1 AND (epoch, sequence) <= ($2, $3) ORDER BY epoch, sequence LIMIT 1 OFFSET $4"
            ),
            delete: concat!("DELETE FROM ", $table, " WHERE camera = $1 AND (epoch, sequence) <= ($2, $3)"),
            count: concat!("SELECT COUNT(*) FROM ", $table, " WHERE camera = $1 AND (epoch, sequence) <= ($2, $3)"),
        }
    };
}

const OUTCOMES: Placed = placed!("outcomes");
const CHECKPOINTS: Placed = placed!("checkpoints");
const GAPS: Placed = placed!("gaps");

/// Events at or below a place, listed or withdrawn, whose objects are as they say. One that goes on is no part of history;
/// only its document says that it does. The partial indices are found by the words of their conditions.
const EVENTS: [&str; 2] = [
    "SELECT id, standing, body FROM events
     WHERE camera = $1 AND standing = 'listed' AND (touched_epoch, touched_sequence) <= ($2, $3)
         AND NOT EXISTS (SELECT 1 FROM event_objects o WHERE o.event = events.id AND o.done <> o.revision)
     ORDER BY touched_epoch, touched_sequence LIMIT $4",
    "SELECT id, standing, body FROM events
     WHERE camera = $1 AND standing <> 'listed' AND standing = 'withdrawn'
         AND (touched_epoch, touched_sequence) <= ($2, $3)
         AND NOT EXISTS (SELECT 1 FROM event_objects o WHERE o.event = events.id AND o.done <> o.revision)
     LIMIT $4",
];

/// Removes a batch of what lies at or below `floor`; the camera's row is locked.
pub(super) async fn batch(db: &mut Connection, camera: &CameraId, floor: Position) -> Result<Pruned> {
    let events = events(db, camera, floor, ROWS).await?;
    let objects = remove_events(db, &events).await?;
    Ok(Pruned {
        outcomes: remove(db, &OUTCOMES, camera, floor).await?,
        checkpoints: remove(db, &CHECKPOINTS, camera, floor).await?,
        gaps: remove(db, &GAPS, camera, floor).await?,
        events: events.len() as u64,
        objects,
    })
}

/// How much lies at or below `floor`.
pub(super) async fn count(db: &mut Connection, camera: &CameraId, floor: Position) -> Result<Pruned> {
    let events = events(db, camera, floor, i64::MAX).await?;
    let mut objects = 0;
    for ids in events.chunks(ROWS as usize) {
        let mut query = with_ids("SELECT COUNT(*) FROM event_objects WHERE event IN (", ids);
        let some: i64 = query.build_query_scalar().persistent(false).fetch_one(&mut *db).doing("counting").await?;
        objects += some as u64;
    }
    Ok(Pruned {
        outcomes: count_placed(db, &OUTCOMES, camera, floor).await?,
        checkpoints: count_placed(db, &CHECKPOINTS, camera, floor).await?,
        gaps: count_placed(db, &GAPS, camera, floor).await?,
        events: events.len() as u64,
        objects,
    })
}

async fn remove(db: &mut Connection, of: &Placed, camera: &CameraId, floor: Position) -> Result<u64> {
    let (epoch, sequence) = columns(floor)?;
    let end: Option<(i64, i64)> = sqlx::query_as(of.end)
        .bind(camera.as_str())
        .bind(epoch)
        .bind(sequence)
        .bind(ROWS - 1)
        .fetch_optional(&mut *db)
        .doing("finding what to prune")
        .await?;
    let (epoch, sequence) = end.unwrap_or((epoch, sequence));
    let delete = sqlx::query(of.delete).bind(camera.as_str()).bind(epoch).bind(sequence);
    Ok(delete.execute(db).doing("pruning").await?.rows_affected())
}

async fn count_placed(db: &mut Connection, of: &Placed, camera: &CameraId, floor: Position) -> Result<u64> {
    let (epoch, sequence) = columns(floor)?;
    let count = sqlx::query_scalar(of.count).bind(camera.as_str()).bind(epoch).bind(sequence);
    let count: i64 = count.fetch_one(db).doing_long("counting what to prune").await?;
    Ok(count as u64)
}

async fn events(db: &mut Connection, camera: &CameraId, floor: Position, limit: i64) -> Result<Vec<String>> {
    let (epoch, sequence) = columns(floor)?;
    let mut ids = Vec::new();
    for query in EVENTS {
        let rows: Vec<(String, String, String)> = sqlx::query_as(query)
            .bind(camera.as_str())
            .bind(epoch)
            .bind(sequence)
            .bind(limit)
            .fetch_all(&mut *db)
            .doing_long("finding events to prune")
            .await?;
        for (id, standing, body) in rows {
            if standing == "withdrawn" || super::events::is_over(&document(&body, "an event")?) {
                ids.push(id);
            }
        }
    }
    Ok(ids)
}

fn with_ids(begin: &'static str, ids: &[String]) -> QueryBuilder<Db> {
    let mut query = QueryBuilder::new(begin);
    let mut list = query.separated(", ");
    for id in ids {
        list.push_bind(id.as_str());
    }
    query.push(")");
    query
}

/// Removes events, and what is noted of their objects. Answers how many objects that were.
async fn remove_events(db: &mut Connection, ids: &[String]) -> Result<u64> {
    let mut objects = 0;
    for ids in ids.chunks(ROWS as usize) {
        let mut query = with_ids("DELETE FROM event_objects WHERE event IN (", ids);
        objects += query.build().persistent(false).execute(&mut *db).doing("pruning objects").await?.rows_affected();
        let mut query = with_ids("DELETE FROM events WHERE id IN (", ids);
        query.build().persistent(false).execute(&mut *db).doing("pruning events").await?;
    }
    Ok(objects)
}

/// The newest place in the feed that was written before `before_ms`; 0 if there is none.
async fn feed_end(db: &mut Connection, before_ms: i64) -> Result<i64> {
    let end: Option<i64> = sqlx::query_scalar("SELECT MAX(position) FROM feed WHERE told_ms < $1")
        .bind(before_ms)
        .fetch_one(db)
        .doing_long("finding old entries of the feed")
        .await?;
    Ok(end.unwrap_or(0))
}

/// How many of the feed's entries are older than a time, or come before one that is.
pub(super) async fn count_feed(db: &mut Connection, before_ms: i64) -> Result<u64> {
    let end = feed_end(db, before_ms).await?;
    let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM feed WHERE position <= $1")
        .bind(end)
        .fetch_one(db)
        .doing_long("counting old entries of the feed")
        .await?;
    Ok(count as u64)
}

/// Removes a batch of them.
pub(super) async fn feed_batch(db: &mut Connection, before_ms: i64) -> Result<u64> {
    let generation = feed::head(db).await?.generation;
    let end = feed_end(db, before_ms).await?;
    let last: Option<i64> =
        sqlx::query_scalar("SELECT position FROM feed WHERE position <= $1 ORDER BY position LIMIT 1 OFFSET $2")
            .bind(end)
            .bind(ROWS - 1)
            .fetch_optional(&mut *db)
            .doing("finding old entries of the feed")
            .await?;
    feed::forget(db, generation, last.unwrap_or(end)).await
}
