//! The schema and its history.
//!
//! Scripts only add: the release before goes on working on what a newer one has migrated, so that parts can be upgraded
//! one after the other, and back. A script that takes something away says so by [`WORKS_WITH`], and comes a release later
//! than the last build that needed it.

use sqlx::{Connection as _, PgConnection};

use super::error::Doing;
use crate::columns::now_ms;
use crate::store::StoreError;

/// One script a version, from version 1; a released script never changes.
const HISTORY: &[&str] = &[include_str!("schema/0001.sql"), include_str!("schema/0002.sql")];

/// The newest version that this build knows.
pub(super) const KNOWN: i64 = HISTORY.len() as i64;

/// The oldest version whose builds work with the newest schema.
const WORKS_WITH: i64 = 1;

/// The oldest version whose builds know floors. Once something was pruned, only they work.
pub(super) const FLOORS: i64 = 2;

/// Two migrations at once take turns on this advisory lock.
const MIGRATING: i64 = 0x6465_7465_6b74_6f72;

/// Brings a database up to this build's schema, in one transaction. One that is newer stays as it is.
pub(super) async fn migrate(db: &mut PgConnection) -> Result<(), StoreError> {
    let what = "bringing the schema up to date";
    let mut all = db.begin().doing(what).await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(MIGRATING).execute(&mut *all).doing_long(what).await?;
    let found = found(&mut all).await?;
    if let Some(found) = &found {
        found.check_not_too_new()?;
    }
    let (version, works_with) = found.map_or((0, 0), |found| (found.version, found.works_with));
    if version >= KNOWN {
        return Ok(());
    }
    for script in HISTORY.iter().skip(version as usize) {
        sqlx::raw_sql(*script).execute(&mut *all).doing_long(what).await?;
    }
    if version == 0 {
        sqlx::raw_sql("CREATE TABLE schema_version (version BIGINT NOT NULL, works_with BIGINT NOT NULL)")
            .execute(&mut *all)
            .doing(what)
            .await?;
        sqlx::query("INSERT INTO feed_state (id, generation, head, pruned) VALUES (1, $1, 0, 0)")
            .bind(now_ms())
            .execute(&mut *all)
            .doing(what)
            .await?;
    }
    sqlx::query("DELETE FROM schema_version").execute(&mut *all).doing(what).await?;
    sqlx::query("INSERT INTO schema_version (version, works_with) VALUES ($1, $2)")
        .bind(KNOWN)
        .bind(works_with.max(WORKS_WITH))
        .execute(&mut *all)
        .doing(what)
        .await?;
    all.commit().doing(what).await
}

/// Checks that this build can work with a database.
pub(super) async fn check(db: &mut PgConnection) -> Result<(), StoreError> {
    let found = found(db).await?;
    if let Some(found) = &found {
        found.check_not_too_new()?;
    }
    let version = found.map_or(0, |found| found.version);
    if version >= KNOWN {
        return Ok(());
    }
    let context = match version {
        0 => "the database has no schema yet: run `detektor migrate`".to_owned(),
        _ => format!("its schema has version {version}, this build needs {KNOWN}: run `detektor migrate`"),
    };
    Err(StoreError::Unavailable { context, source: None })
}

struct Found {
    version: i64,
    works_with: i64,
}

impl Found {
    fn check_not_too_new(&self) -> Result<(), StoreError> {
        match self.works_with > KNOWN {
            true => Err(StoreError::TooNew { found: self.version, known: KNOWN }),
            false => Ok(()),
        }
    }
}

/// The version found; none where nothing was ever migrated.
async fn found(db: &mut PgConnection) -> Result<Option<Found>, StoreError> {
    let what = "reading the schema's version";
    let there: bool =
        sqlx::query_scalar("SELECT to_regclass('schema_version') IS NOT NULL").fetch_one(&mut *db).doing(what).await?;
    if !there {
        return Ok(None);
    }
    let row: Option<(i64, i64)> =
        sqlx::query_as("SELECT version, works_with FROM schema_version").fetch_optional(&mut *db).doing(what).await?;
    match row {
        Some((version, works_with)) if version > 0 => Ok(Some(Found { version, works_with })),
        _ => Err(StoreError::Corrupt(format!("its schema version is {:?}", row.map(|(version, _)| version)))),
    }
}
