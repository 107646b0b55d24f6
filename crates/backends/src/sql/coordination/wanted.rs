//! Cameras that are wanted.

use detektor_contract::CameraId;

use super::super::cameras::camera_id;
use super::super::dialect::{Connection, Doing};
use crate::columns::number;
use crate::coordination::WantedCamera;
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
    // One revision for all; and while the row is locked, nobody else changes anything.
    let revision: i64 = sqlx::query_scalar(
        "UPDATE coordination SET wanted_revision = wanted_revision + 1 WHERE id = 1 RETURNING wanted_revision",
    )
    .fetch_one(&mut *db)
    .doing("numbering a change")
    .await?;
    let mut changed = Vec::new();
    for (camera, spec) in changes {
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
        if query.execute(&mut *db).doing("changing what is wanted").await?.rows_affected() > 0 {
            changed.push(camera.clone());
        }
    }
    Ok(changed)
}
