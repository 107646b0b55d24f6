//! The mark of a reindex under way, and what its end derives.

use super::dialect::{Connection, Doing};
use crate::store::StoreError;

type Result<T> = std::result::Result<T, StoreError>;

pub(super) async fn pending(db: &mut Connection) -> Result<bool> {
    let marks: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM reindex_pending")
        .fetch_one(db)
        .doing("reading whether a reindex is pending")
        .await?;
    Ok(marks > 0)
}

pub(super) async fn begin(db: &mut Connection) -> Result<()> {
    sqlx::query("INSERT INTO reindex_pending (id) VALUES (1) ON CONFLICT (id) DO NOTHING")
        .execute(db)
        .doing("marking a reindex")
        .await?;
    Ok(())
}

pub(super) async fn end(db: &mut Connection) -> Result<()> {
    // Numbered in order from 0, an outcome has its own sequence for as long as nothing before it is missing.
    sqlx::query(
        "INSERT INTO published (camera, epoch, next)
         SELECT camera, epoch, COUNT(*) FROM (
             SELECT camera, epoch, sequence,
                 ROW_NUMBER() OVER (PARTITION BY camera, epoch ORDER BY sequence) - 1 AS place
             FROM outcomes
         ) AS numbered
         WHERE sequence = place GROUP BY camera, epoch
         ON CONFLICT (camera, epoch) DO UPDATE SET next = excluded.next WHERE excluded.next > published.next",
    )
    .execute(&mut *db)
    .doing_long("noting what is published")
    .await?;
    sqlx::query("DELETE FROM reindex_pending").execute(db).doing("unmarking a reindex").await?;
    Ok(())
}
