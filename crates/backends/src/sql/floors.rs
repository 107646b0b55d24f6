//! Where cameras' histories begin.

use std::collections::BTreeMap;

use detektor_contract::{CameraId, Position};
use sqlx::QueryBuilder;

use super::cameras::{self, camera_id, position};
use super::dialect::{self, Connection, Db, Doing};
use super::outcomes::columns;
use crate::columns::{document, text};
use crate::store::{StoreError, StoredFloor};

type Result<T> = std::result::Result<T, StoreError>;

/// How many names one statement takes.
const NAMES: usize = 1_000;

pub(super) async fn get(db: &mut Connection, camera: &CameraId) -> Result<Option<StoredFloor>> {
    let row: Option<(Vec<u8>, String)> = sqlx::query_as("SELECT state, body FROM floors WHERE camera = $1")
        .bind(camera.as_str())
        .fetch_optional(db)
        .doing("reading a floor")
        .await?;
    row.map(|(state, body)| Ok(StoredFloor { floor: document(&body, "a floor")?, state })).transpose()
}

/// The floors' places, of these cameras or of all.
pub(super) async fn places(db: &mut Connection, of: Option<&[&str]>) -> Result<BTreeMap<CameraId, Position>> {
    let mut places = BTreeMap::new();
    let chunks: Vec<Option<&[&str]>> = match of {
        Some(names) => names.chunks(NAMES).map(Some).collect(),
        None => vec![None],
    };
    for names in chunks {
        let mut query: QueryBuilder<Db> = QueryBuilder::new("SELECT camera, epoch, sequence FROM floors");
        if let Some(names) = names {
            query.push(" WHERE camera IN (");
            let mut list = query.separated(", ");
            for name in names {
                list.push_bind(*name);
            }
            query.push(")");
        }
        let query = query.build_query_as().persistent(names.is_some_and(|names| names.len() == 1));
        let rows: Vec<(String, i64, i64)> = query.fetch_all(&mut *db).doing("reading floors").await?;
        for (camera, epoch, sequence) in rows {
            places.insert(camera_id(camera)?, position(epoch, sequence)?);
        }
    }
    Ok(places)
}

/// Sets a camera's floor.
pub(super) async fn raise(db: &mut Connection, camera: &CameraId, floor: &StoredFloor) -> Result<()> {
    dialect::needs_floors(db).await?;
    let (epoch, sequence) = columns(floor.floor.at())?;
    sqlx::query(
        "INSERT INTO floors (camera, epoch, sequence, state, body) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (camera) DO UPDATE SET epoch = excluded.epoch, sequence = excluded.sequence,
             state = excluded.state, body = excluded.body",
    )
    .bind(camera.as_str())
    .bind(epoch)
    .bind(sequence)
    .bind(&floor.state[..])
    .bind(text(&floor.floor, "a floor")?)
    .execute(db)
    .doing("raising a floor")
    .await?;
    Ok(())
}

/// Before a reindex, once all is empty: what was pruned does not come back, so every camera begins at its floor.
pub(super) async fn stand_on(db: &mut Connection) -> Result<()> {
    let rows: Vec<(String, i64, i64, Vec<u8>, String)> =
        sqlx::query_as("SELECT camera, epoch, sequence, state, body FROM floors ORDER BY camera")
            .fetch_all(&mut *db)
            .doing_long("reading floors")
            .await?;
    for (camera, epoch, sequence, state, body) in rows {
        let StoredFloor { floor, state } = StoredFloor { floor: document(&body, "a floor")?, state };
        let until = floor.merged_until();
        sqlx::query(
            "UPDATE cameras SET head = $2, frontier_epoch = $3, frontier_sequence = $4, ledger = $5,
                 merged_until = $6, merged_clock = $7
             WHERE id = $1",
        )
        .bind(camera)
        .bind(state)
        .bind(epoch)
        .bind(sequence)
        .bind(text(floor.ledger(), "a ledger")?)
        .bind(until.map(|(at, _)| at.0))
        .bind(until.map(|(_, clock)| cameras::clock_name(clock)))
        .execute(&mut *db)
        .doing("beginning a camera at its floor")
        .await?;
    }
    Ok(())
}
