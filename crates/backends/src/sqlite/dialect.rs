//! What the common queries need of SQLite. There is one writing transaction at a time, so nothing has to be locked.

use crate::store::StoreError;

pub(crate) use super::error::Doing;
pub(crate) use super::{Database, Writing};

pub(crate) type Db = sqlx::Sqlite;
pub(crate) type Connection = sqlx::SqliteConnection;

/// Until the transaction ends nobody else writes these cameras.
pub(crate) async fn lock_cameras(_: &mut Connection, _ids: &[&str]) -> Result<(), StoreError> {
    Ok(())
}

/// Until the transaction ends nobody else begins an epoch under this name, a camera's or that of another lease.
pub(crate) async fn lock_name(_: &mut Connection, _name: &str) -> Result<(), StoreError> {
    Ok(())
}

/// From here on only builds that know floors may open the database. The version sees to that: an older build opens no newer one.
pub(crate) async fn needs_floors(_: &mut Connection) -> Result<(), StoreError> {
    Ok(())
}

/// Until the transaction ends nobody else merges, and its statements may take as long as they do.
pub(crate) async fn lock_all(_: &mut Connection) -> Result<(), StoreError> {
    Ok(())
}
