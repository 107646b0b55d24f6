//! Times in which nothing was captured, as the fold tells of them.

use detektor_contract::{CameraId, Gap, Position};

use super::cameras::position;
use super::dialect::{Connection, Doing};
use super::outcomes::columns;
use crate::columns::{document, text};
use crate::store::{CameraUpdate, StoreError};

type Result<T> = std::result::Result<T, StoreError>;

/// Writes what a fold told.
pub(super) async fn save(db: &mut Connection, update: &CameraUpdate) -> Result<()> {
    for (at, gap) in &update.gaps {
        let (epoch, sequence) = columns(*at)?;
        sqlx::query("INSERT INTO gaps (camera, epoch, sequence, body) VALUES ($1, $2, $3, $4)")
            .bind(update.camera.as_str())
            .bind(epoch)
            .bind(sequence)
            .bind(text(gap, "a gap")?)
            .execute(&mut *db)
            .doing("saving a gap")
            .await?;
    }
    Ok(())
}

/// Gaps told of before a place, newest first.
pub(super) async fn before(
    db: &mut Connection,
    camera: &CameraId,
    place: Option<Position>,
    limit: u32,
) -> Result<Vec<(Position, Gap)>> {
    let (epoch, sequence) = place.map_or(Ok((i64::MAX, i64::MAX)), columns)?;
    let rows: Vec<(i64, i64, String)> = sqlx::query_as(
        "SELECT epoch, sequence, body FROM gaps WHERE camera = $1 AND (epoch, sequence) < ($2, $3)
         ORDER BY epoch DESC, sequence DESC LIMIT $4",
    )
    .bind(camera.as_str())
    .bind(epoch)
    .bind(sequence)
    .bind(i64::from(limit))
    .fetch_all(db)
    .doing("reading gaps")
    .await?;
    rows.into_iter().map(|(epoch, sequence, gap)| Ok((position(epoch, sequence)?, document(&gap, "a gap")?))).collect()
}
