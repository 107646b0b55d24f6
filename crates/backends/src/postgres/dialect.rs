//! What the common queries need of PostgreSQL.

use crate::store::StoreError;

pub(crate) use super::database::{Database, Writing};
pub(crate) use super::error::Doing;

pub(crate) type Db = sqlx::Postgres;
pub(crate) type Connection = sqlx::PgConnection;

/// The class of advisory locks for the epochs of a name.
const EPOCHS: i32 = 0x6574_6b01;

/// Until the transaction ends nobody else writes these cameras. Their rows are locked in id order.
pub(crate) async fn lock_cameras(db: &mut Connection, ids: &[&str]) -> Result<(), StoreError> {
    sqlx::query("SELECT id FROM cameras WHERE id = ANY($1) ORDER BY id FOR UPDATE")
        .bind(ids)
        .execute(db)
        .doing("locking cameras")
        .await?;
    Ok(())
}

/// Until the transaction ends nobody else begins an epoch under this name, a camera's or that of another lease.
pub(crate) async fn lock_name(db: &mut Connection, name: &str) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_advisory_xact_lock($1, hashtext($2))")
        .bind(EPOCHS)
        .bind(name)
        .execute(db)
        .doing("locking a name's epochs")
        .await?;
    Ok(())
}

/// From here on only builds that know floors may open the database: another would fold a camera without what was pruned.
pub(crate) async fn needs_floors(db: &mut Connection) -> Result<(), StoreError> {
    sqlx::query("UPDATE schema_version SET works_with = $1 WHERE works_with < $1")
        .bind(super::schema::FLOORS)
        .execute(db)
        .doing("noting that builds have to know floors")
        .await?;
    Ok(())
}

/// Until the transaction ends nobody else merges, and its statements may take as long as they do.
pub(crate) async fn lock_all(db: &mut Connection) -> Result<(), StoreError> {
    // Every merge begins by writing this table.
    sqlx::raw_sql("SET LOCAL statement_timeout = 0; LOCK TABLE cameras IN EXCLUSIVE MODE")
        .execute(db)
        .doing_long("locking all cameras")
        .await?;
    Ok(())
}
