//! The feed of changes. Positions follow the order of commits.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use sqlx::QueryBuilder;
use tokio::sync::Mutex;

use super::dialect::{Connection, Database, Db, Doing};
use super::events::Told;
use super::objects;
use crate::columns::{column, document, now_ms, number, text};
use crate::signal::Signal;
use crate::store::{Feed, FeedEntry, FeedPosition, StoreError};

type Result<T> = std::result::Result<T, StoreError>;

/// How many entries are kept.
const KEPT: i64 = 100_000;
/// How often one looks for what other processes have written.
const LOOK: Duration = Duration::from_millis(50);
/// How many rows one statement writes.
const ROWS: usize = 1_000;

/// Notices that the feed has grown.
#[derive(Default)]
pub(super) struct Watch {
    signal: Signal,
    last: Mutex<Option<FeedPosition>>,
}

impl Watch {
    /// Says that this process has written the feed.
    pub(super) fn raise(&self) {
        self.signal.raise();
    }

    /// Returns when the feed may have grown since the last call, at the latest after a second.
    pub(super) async fn wait(&self, db: &Database) -> Result<()> {
        if db.is_only_writer() {
            self.signal.wait().await;
            return Ok(());
        }
        tokio::select! {
            () = self.signal.wait() => Ok(()),
            looked = self.look(db) => looked.map(|never| match never {}),
        }
    }

    /// Looks at the head for as long as anybody waits. However many do, one looks for all.
    async fn look(&self, db: &Database) -> Result<Infallible> {
        let mut last = self.last.lock().await;
        loop {
            let now = head(&mut *db.read().await?).await?;
            if last.replace(now) != Some(now) {
                self.signal.raise();
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Adds entries, and notes the objects that are no longer as their events say.
///
/// The head's row is locked from here to the end of the transaction: whoever has a later position commits later. So this is
/// the last thing that a transaction does before its commit.
pub(super) async fn append(db: &mut Connection, told: &[Told]) -> Result<()> {
    let head: i64 = sqlx::query_scalar("UPDATE feed_state SET head = head + $1 WHERE id = 1 RETURNING head")
        .bind(told.len() as i64)
        .fetch_one(&mut *db)
        .doing("advancing the feed")
        .await?;
    let first = head - told.len() as i64 + 1;
    let told_ms = now_ms();
    let mut rows = Vec::with_capacity(told.len());
    // Of several changes to one object the last counts.
    let mut noted = BTreeMap::new();
    for (position, told) in (first..).zip(told) {
        rows.push((position, told.revision, text(&told.change, "a change")?));
        noted.extend(told.objects.iter().map(|key| (key, (told, position))));
    }
    for rows in rows.chunks(ROWS) {
        let mut query: QueryBuilder<Db> = QueryBuilder::new("INSERT INTO feed (position, revision, change, told_ms) ");
        query.push_values(rows, |mut row, (position, revision, change)| {
            row.push_bind(*position).push_bind(*revision).push_bind(change).push_bind(told_ms);
        });
        query.build().persistent(false).execute(&mut *db).doing("writing the feed").await?;
    }
    for (key, (told, position)) in noted {
        objects::note(db, key, &told.change, told.revision, position).await?;
    }
    // Of this generation: its row is locked.
    forget_before(db, head - KEPT).await.map(drop)
}

/// Forgets all entries of a generation up to a place. Answers how many that were.
pub(super) async fn forget(db: &mut Connection, generation: u64, until: i64) -> Result<u64> {
    let now: i64 = sqlx::query_scalar("UPDATE feed_state SET head = head WHERE id = 1 RETURNING generation")
        .fetch_one(&mut *db)
        .doing("locking the feed")
        .await?;
    match number(now, "generation")? == generation {
        true => forget_before(db, until).await,
        false => Ok(0),
    }
}

/// Forgets all entries up to a place; the head's row is locked.
async fn forget_before(db: &mut Connection, until: i64) -> Result<u64> {
    if until <= 0 {
        return Ok(0);
    }
    let deleted = sqlx::query("DELETE FROM feed WHERE position <= $1")
        .bind(until)
        .execute(&mut *db)
        .doing("pruning the feed")
        .await?;
    sqlx::query("UPDATE feed_state SET pruned = $1 WHERE id = 1 AND pruned < $1")
        .bind(until)
        .execute(db)
        .doing("pruning the feed")
        .await?;
    Ok(deleted.rows_affected())
}

/// Begins a new generation: above the last one, and above those of stores that stood here before.
pub(super) async fn restart(db: &mut Connection) -> Result<()> {
    sqlx::query("DELETE FROM feed").execute(&mut *db).doing_long("emptying the feed").await?;
    sqlx::query(
        "UPDATE feed_state SET generation = CASE WHEN generation < $1 THEN $1 ELSE generation + 1 END, head = 0,
             pruned = 0
         WHERE id = 1",
    )
    .bind(now_ms())
    .execute(db)
    .doing("beginning a new feed")
    .await?;
    Ok(())
}

async fn state(db: &mut Connection) -> Result<(FeedPosition, u64)> {
    let (generation, head, pruned): (i64, i64, i64) =
        sqlx::query_as("SELECT generation, head, pruned FROM feed_state WHERE id = 1")
            .fetch_one(db)
            .doing("reading the feed's head")
            .await?;
    let head = FeedPosition { generation: number(generation, "generation")?, position: number(head, "position")? };
    Ok((head, number(pruned, "position")?))
}

pub(super) async fn head(db: &mut Connection) -> Result<FeedPosition> {
    state(db).await.map(|(head, _)| head)
}

/// The feed behind `after`; `db` is in a transaction, so that head and entries are of one moment.
pub(super) async fn read(db: &mut Connection, after: FeedPosition, limit: u32) -> Result<Feed> {
    let (head, pruned) = state(db).await?;
    if after.generation != head.generation || after.position > head.position || after.position < pruned {
        return Ok(Feed::Reset(head));
    }
    let rows: Vec<(i64, i64, String)> =
        sqlx::query_as("SELECT position, revision, change FROM feed WHERE position > $1 ORDER BY position LIMIT $2")
            .bind(column(after.position, "position")?)
            .bind(i64::from(limit))
            .fetch_all(db)
            .doing("reading the feed")
            .await?;
    let entry = |(position, revision, change): (i64, i64, String)| {
        Ok(FeedEntry {
            at: FeedPosition { generation: head.generation, position: number(position, "position")? },
            revision: u32::try_from(revision).map_err(|_| StoreError::Corrupt(format!("a revision: {revision}")))?,
            change: document(&change, "a change")?,
        })
    };
    rows.into_iter().map(entry).collect::<Result<_>>().map(Feed::Entries)
}
