//! Where cameras are placed.

use detektor_contract::CameraId;

use super::super::cameras::camera_id;
use super::super::dialect::{Connection, Doing};
use super::leases::{BALANCER, lease};
use super::members::small;
use super::wanted::wanted;
use crate::columns::{column, number};
use crate::coordination::{CameraSeen, LeaseName, Member, Placed};
use crate::store::StoreError;

type Result<T> = std::result::Result<T, StoreError>;

/// A row of the placement without its camera: dispatcher, partition, cost, reason, and when it was moved.
type Columns = (Option<String>, i64, i64, String, i64);

fn placed(camera: CameraId, (dispatcher, partition, cost, reason, moved_ms): Columns) -> Result<Placed> {
    let (partition, cost_millis) = (small(partition)?, small(cost)?);
    Ok(Placed { camera, dispatcher, partition, cost_millis, reason, moved_ms: number(moved_ms, "a time")? })
}

/// The placement's revision, and how many partitions there are.
pub(super) async fn state(db: &mut Connection) -> Result<(u64, u16)> {
    let (revision, partitions): (i64, i64) =
        sqlx::query_as("SELECT placement_revision, partitions FROM coordination WHERE id = 1")
            .fetch_one(db)
            .doing("reading the placement's revision")
            .await?;
    Ok((number(revision, "the placement's revision")?, small(partitions)?))
}

pub(super) async fn list(db: &mut Connection) -> Result<Vec<Placed>> {
    type Row = (String, Option<String>, i64, i64, String, i64);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT camera, dispatcher, partition, cost_millis, reason, moved_ms FROM placement ORDER BY camera",
    )
    .fetch_all(db)
    .doing("reading the placement")
    .await?;
    rows.into_iter()
        .map(|(camera, dispatcher, partition, cost, reason, moved)| {
            placed(camera_id(camera)?, (dispatcher, partition, cost, reason, moved))
        })
        .collect()
}

/// Every camera that is placed on a member or that it holds.
pub(super) async fn of(db: &mut Connection, member: &Member) -> Result<Vec<CameraSeen>> {
    // What is missing of a camera is missing as a whole.
    type Text = Option<String>;
    type Number = Option<i64>;
    type Row = (String, Number, Text, Text, Number, Number, Text, Number, Text, Number, Number, Text);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT ours.camera, w.revision, w.spec, p.dispatcher, p.partition, p.cost_millis, p.reason, p.moved_ms,
             l.holder, l.incarnation, l.epoch, l.seam
         FROM (
             SELECT camera FROM placement WHERE dispatcher = $1
             UNION
             SELECT name AS camera FROM leases WHERE holder = $1 AND incarnation = $2 AND name <> $3
         ) AS ours
         LEFT JOIN wanted_cameras w ON w.camera = ours.camera
         LEFT JOIN placement p ON p.camera = ours.camera
         LEFT JOIN leases l ON l.name = ours.camera
         ORDER BY ours.camera",
    )
    .bind(&member.name)
    .bind(member.incarnation.cast_signed())
    .bind(BALANCER)
    .fetch_all(db)
    .doing("reading what concerns us")
    .await?;
    let seen = |row: Row| {
        let (id, revision, spec, dispatcher, partition, cost, reason, moved, holder, incarnation, epoch, seam) = row;
        let id = camera_id(id)?;
        let wanted = revision.zip(spec).map(|(revision, spec)| wanted(id.clone(), revision, spec)).transpose()?;
        let placed = match (partition, cost, reason, moved) {
            (Some(partition), Some(cost), Some(reason), Some(moved)) => {
                Some(placed(id.clone(), (dispatcher, partition, cost, reason, moved))?)
            }
            _ => None,
        };
        let name = || LeaseName::Camera(id.clone());
        let lease = epoch.map(|epoch| lease(name(), (holder, incarnation, epoch, seam))).transpose()?;
        Ok(CameraSeen { id, wanted, placed, lease })
    };
    rows.into_iter().map(seen).collect()
}

/// Writes and removes rows. What a camera costs stays.
pub(super) async fn change(db: &mut Connection, moves: &[Placed], gone: &[CameraId]) -> Result<()> {
    for camera in gone {
        sqlx::query("DELETE FROM placement WHERE camera = $1")
            .bind(camera.as_str())
            .execute(&mut *db)
            .doing("unplacing a camera")
            .await?;
    }
    // In the order in which costs are noted.
    let mut moves: Vec<&Placed> = moves.iter().collect();
    moves.sort_by_key(|row| &row.camera);
    for row in moves {
        sqlx::query(
            "INSERT INTO placement (camera, dispatcher, partition, cost_millis, reason, moved_ms)
             VALUES ($1, $2, $3, 0, $4, $5)
             ON CONFLICT (camera) DO UPDATE SET dispatcher = excluded.dispatcher, partition = excluded.partition,
                 reason = excluded.reason, moved_ms = excluded.moved_ms",
        )
        .bind(row.camera.as_str())
        .bind(&row.dispatcher)
        .bind(i64::from(row.partition))
        .bind(&row.reason)
        .bind(column(row.moved_ms, "a time")?)
        .execute(&mut *db)
        .doing("placing a camera")
        .await?;
    }
    sqlx::query("UPDATE coordination SET placement_revision = placement_revision + 1 WHERE id = 1")
        .execute(db)
        .doing("numbering the placement")
        .await?;
    Ok(())
}

pub(super) async fn set_costs(db: &mut Connection, costs: &[(CameraId, u32)]) -> Result<()> {
    let mut costs: Vec<_> = costs.iter().collect();
    costs.sort();
    for (camera, cost) in costs {
        sqlx::query("UPDATE placement SET cost_millis = $2 WHERE camera = $1")
            .bind(camera.as_str())
            .bind(i64::from(*cost))
            .execute(&mut *db)
            .doing("noting what a camera costs")
            .await?;
    }
    Ok(())
}

/// Sets how many partitions there are; a number that it is already changes nothing.
pub(super) async fn set_partitions(db: &mut Connection, partitions: u16) -> Result<()> {
    sqlx::query(
        "UPDATE coordination SET partitions = $1, placement_revision = placement_revision + 1
         WHERE id = 1 AND partitions <> $1",
    )
    .bind(i64::from(partitions))
    .execute(db)
    .doing("setting the partitions")
    .await?;
    Ok(())
}
