//! Cameras that are wanted.

use detektor_contract::CameraId;

use super::super::cameras::camera_id;
use super::super::dialect::{Connection, Doing};
use crate::columns::number;
use crate::coordination::{Changed, Expected, WantedCamera};
use crate::store::StoreError;

type Result<T> = std::result::Result<T, StoreError>;

pub(super) async fn list(db: &mut Connection) -> Result<Vec<WantedCamera>> {
    let rows: Vec<(String, i64, String)> =
        sqlx::query_as("SELECT camera, revision, spec FROM wanted_cameras ORDER BY camera")
            .fetch_all(db)
            .doing("listing wanted cameras")
            .await?;
    rows.into_iter().map(|(id, revision, spec)| wanted(camera_id(id)?, revision, spec)).collect()
}

pub(super) fn wanted(id: CameraId, revision: i64, spec: String) -> Result<WantedCamera> {
    Ok(WantedCamera { id, revision: number(revision, "a camera's revision")?, spec })
}

/// Changes what is wanted and says what changed.
pub(super) async fn change(db: &mut Connection, changes: &[(CameraId, Option<String>)]) -> Result<Vec<CameraId>> {
    let revision = next_revision(db).await?;
    let mut changed = Vec::new();
    for (camera, spec) in changes {
        if set(db, camera, spec.as_deref(), revision).await? {
            changed.push(camera.clone());
        }
    }
    Ok(changed)
}

/// Changes one camera if it is as expected.
pub(super) async fn change_if(
    db: &mut Connection,
    camera: &CameraId,
    spec: Option<&str>,
    expected: Expected,
) -> Result<Changed> {
    let revision = next_revision(db).await?;
    let found: Option<i64> = sqlx::query_scalar("SELECT revision FROM wanted_cameras WHERE camera = $1")
        .bind(camera.as_str())
        .fetch_optional(&mut *db)
        .doing("reading a wanted camera")
        .await?;
    let read = |revision: i64| number(revision, "a camera's revision");
    let found = found.map(read).transpose()?;
    if !expected.holds(found) {
        return Ok(Changed::Unexpected(found));
    }
    let changed = set(db, camera, spec, revision).await?;
    let now = if spec.is_none() {
        None
    } else if changed {
        Some(read(revision)?)
    } else {
        found
    };
    Ok(Changed::Done(now))
}

/// One revision for all of a change; and while the row is locked, nobody else changes anything.
async fn next_revision(db: &mut Connection) -> Result<i64> {
    sqlx::query_scalar(
        "UPDATE coordination SET wanted_revision = wanted_revision + 1 WHERE id = 1 RETURNING wanted_revision",
    )
    .fetch_one(db)
    .doing("numbering a change")
    .await
}

/// Whether that changed anything.
async fn set(db: &mut Connection, camera: &CameraId, spec: Option<&str>, revision: i64) -> Result<bool> {
    let query = match spec {
        Some(spec) => sqlx::query(
            "INSERT INTO wanted_cameras (camera, revision, spec) VALUES ($1, $2, $3)
                 ON CONFLICT (camera) DO UPDATE SET revision = excluded.revision, spec = excluded.spec
                 WHERE wanted_cameras.spec <> excluded.spec",
        )
        .bind(camera.as_str())
        .bind(revision)
        .bind(spec),
        None => sqlx::query("DELETE FROM wanted_cameras WHERE camera = $1").bind(camera.as_str()),
    };
    Ok(query.execute(db).doing("changing what is wanted").await?.rows_affected() > 0)
}
