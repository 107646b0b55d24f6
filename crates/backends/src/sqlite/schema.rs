//! The schema and its history.

use sqlx::{SqliteConnection, SqlitePool};

use super::error::Doing;
use crate::store::StoreError;

/// One script a version, from version 1; a released script never changes.
const HISTORY: &[&str] = &[include_str!("schema/0001.sql"), include_str!("schema/0002.sql")];

/// The newest version that this build knows.
const KNOWN: i64 = HISTORY.len() as i64;

/// Brings a database up to this build's schema. `generation` is the first life of a fresh one.
pub(super) async fn migrate(db: &mut SqliteConnection, generation: i64) -> Result<(), StoreError> {
    let found = version(db).await?.unwrap_or(0);
    if found == KNOWN {
        return Ok(());
    }
    for script in HISTORY.iter().skip(found as usize) {
        sqlx::raw_sql(*script).execute(&mut *db).doing("bringing the schema up to date").await?;
    }
    if found == 0 {
        sqlx::raw_sql("CREATE TABLE schema_version (version BIGINT NOT NULL)")
            .execute(&mut *db)
            .doing("noting the schema's version")
            .await?;
        sqlx::query("INSERT INTO feed_state (id, generation, head, pruned) VALUES (1, $1, 0, 0)")
            .bind(generation)
            .execute(&mut *db)
            .doing("beginning the feed")
            .await?;
    }
    sqlx::query("DELETE FROM schema_version").execute(&mut *db).doing("noting the schema's version").await?;
    sqlx::query("INSERT INTO schema_version (version) VALUES ($1)")
        .bind(KNOWN)
        .execute(&mut *db)
        .doing("noting the schema's version")
        .await?;
    Ok(())
}

/// Checks that a database that is only read has this build's schema.
pub(super) async fn check(db: &SqlitePool) -> Result<(), StoreError> {
    let mut db = db.acquire().doing("opening the event store").await?;
    match version(&mut db).await? {
        Some(KNOWN) => Ok(()),
        found => Err(StoreError::Unavailable {
            context: format!(
                "its schema has version {}, this build reads {KNOWN}: start `detektor run` on it once",
                found.unwrap_or(0)
            ),
            source: None,
        }),
    }
}

/// The version found; none in a fresh file.
async fn version(db: &mut SqliteConnection) -> Result<Option<i64>, StoreError> {
    let tables: Vec<(String,)> = sqlx::query_as("SELECT name FROM sqlite_schema WHERE type = 'table'")
        .fetch_all(&mut *db)
        .doing("reading the schema")
        .await?;
    if tables.is_empty() {
        return Ok(None);
    }
    if !tables.iter().any(|(name,)| name == "schema_version") {
        return Err(StoreError::Corrupt("it is a database of something else".to_owned()));
    }
    let found: Option<i64> = sqlx::query_scalar("SELECT version FROM schema_version")
        .fetch_optional(&mut *db)
        .doing("reading the schema's version")
        .await?;
    match found {
        Some(found) if found > KNOWN => Err(StoreError::TooNew { found, known: KNOWN }),
        Some(found) if found > 0 => Ok(Some(found)),
        _ => Err(StoreError::Corrupt(format!("its schema version is {found:?}"))),
    }
}
