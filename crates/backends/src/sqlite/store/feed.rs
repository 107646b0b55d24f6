//! The feed of changes. Positions are given inside the one writing transaction, so they follow the order of commits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use detektor_contract::EventChange;
use sqlx::SqliteConnection;
use tokio::sync::Notify;

use crate::sqlite::error::{Doing, column, document, number, text};
use crate::sqlite::now_ms;
use crate::store::{Feed, FeedEntry, FeedPosition, StoreError};

type Result<T> = std::result::Result<T, StoreError>;

/// How many entries are kept.
const KEPT: i64 = 100_000;
/// The longest wait for a change.
const WAIT: Duration = Duration::from_secs(1);
/// How often a process that only reads looks for what another has written.
const LOOK: Duration = Duration::from_millis(100);

/// Tells waiters of this process that the feed has grown.
#[derive(Default)]
pub(super) struct Signal {
    version: AtomicU64,
    seen: AtomicU64,
    notify: Notify,
}

impl Signal {
    pub(super) fn raise(&self) {
        self.version.fetch_add(1, Ordering::SeqCst);
        self.notify.notify_waiters();
    }

    /// Returns at once if there was a change that no call has returned for.
    pub(super) async fn wait(&self) {
        let notified = self.notify.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if self.unseen() {
            return;
        }
        // After the wait the caller looks in any case.
        let _ = tokio::time::timeout(WAIT, notified).await;
        let _ = self.unseen();
    }

    fn unseen(&self) -> bool {
        let version = self.version.load(Ordering::SeqCst);
        self.seen.swap(version, Ordering::SeqCst) != version
    }
}

/// Waits for what another process writes.
pub(super) async fn wait_for_others(db: &mut SqliteConnection) -> Result<()> {
    let before = head(db).await?;
    let deadline = tokio::time::Instant::now() + WAIT;
    while tokio::time::Instant::now() < deadline {
        tokio::time::sleep(LOOK).await;
        if head(db).await? != before {
            break;
        }
    }
    Ok(())
}

/// Adds an entry and returns its position.
pub(super) async fn append(db: &mut SqliteConnection, revision: i64, change: &EventChange) -> Result<i64> {
    let position: i64 = sqlx::query_scalar("UPDATE feed_state SET head = head + 1 WHERE id = 1 RETURNING head")
        .fetch_one(&mut *db)
        .await
        .doing("advancing the feed")?;
    sqlx::query("INSERT INTO feed (position, revision, change) VALUES ($1, $2, $3)")
        .bind(position)
        .bind(revision)
        .bind(text(change, "a change")?)
        .execute(db)
        .await
        .doing("writing the feed")?;
    Ok(position)
}

/// Forgets what is older than the feed is long, given its head.
pub(super) async fn prune(db: &mut SqliteConnection, head: i64) -> Result<()> {
    let pruned = head - KEPT;
    if pruned <= 0 {
        return Ok(());
    }
    sqlx::query("DELETE FROM feed WHERE position <= $1")
        .bind(pruned)
        .execute(&mut *db)
        .await
        .doing("pruning the feed")?;
    sqlx::query("UPDATE feed_state SET pruned = $1 WHERE id = 1")
        .bind(pruned)
        .execute(db)
        .await
        .doing("pruning the feed")?;
    Ok(())
}

/// Begins a new generation: above the last one, and above those of stores that stood here before.
pub(super) async fn restart(db: &mut SqliteConnection) -> Result<()> {
    sqlx::query("DELETE FROM feed").execute(&mut *db).await.doing("emptying the feed")?;
    sqlx::query(
        "UPDATE feed_state SET generation = CASE WHEN generation < $1 THEN $1 ELSE generation + 1 END, head = 0,
             pruned = 0
         WHERE id = 1",
    )
    .bind(now_ms())
    .execute(db)
    .await
    .doing("beginning a new feed")?;
    Ok(())
}

async fn state(db: &mut SqliteConnection) -> Result<(FeedPosition, u64)> {
    let (generation, head, pruned): (i64, i64, i64) =
        sqlx::query_as("SELECT generation, head, pruned FROM feed_state WHERE id = 1")
            .fetch_one(db)
            .await
            .doing("reading the feed's head")?;
    let head = FeedPosition { generation: number(generation, "generation")?, position: number(head, "position")? };
    Ok((head, number(pruned, "position")?))
}

pub(super) async fn head(db: &mut SqliteConnection) -> Result<FeedPosition> {
    state(db).await.map(|(head, _)| head)
}

/// The feed behind `after`; `db` is in a transaction, so that head and entries are of one moment.
pub(super) async fn read(db: &mut SqliteConnection, after: FeedPosition, limit: u32) -> Result<Feed> {
    let (head, pruned) = state(db).await?;
    if after.generation != head.generation || after.position > head.position || after.position < pruned {
        return Ok(Feed::Reset(head));
    }
    let rows: Vec<(i64, i64, String)> =
        sqlx::query_as("SELECT position, revision, change FROM feed WHERE position > $1 ORDER BY position LIMIT $2")
            .bind(column(after.position, "position")?)
            .bind(i64::from(limit))
            .fetch_all(db)
            .await
            .doing("reading the feed")?;
    let entry = |(position, revision, change): (i64, i64, String)| {
        Ok(FeedEntry {
            at: FeedPosition { generation: head.generation, position: number(position, "position")? },
            revision: u32::try_from(revision).map_err(|_| StoreError::Corrupt(format!("a revision: {revision}")))?,
            change: document(&change, "a change")?,
        })
    };
    rows.into_iter().map(entry).collect::<Result<_>>().map(Feed::Entries)
}
