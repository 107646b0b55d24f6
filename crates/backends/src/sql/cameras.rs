//! Cameras, their epochs, and how far each is published.

use detektor_contract::{CameraId, Clock, Epoch, EpochRecord, Position, TimeUs};

use sqlx::QueryBuilder;

use super::dialect::{self, Connection, Db, Doing};
use crate::columns::{column, document, number, text};
use crate::store::{CameraInfo, CameraState, EpochRequest, StoreError};

type Result<T> = std::result::Result<T, StoreError>;

/// How many rows one statement writes.
const ROWS: usize = 1_000;

/// Makes the rows of cameras, given in order, where there are none. Nobody runs a camera that only its outcomes tell of.
pub(super) async fn ensure(db: &mut Connection, ids: &[&str]) -> Result<()> {
    let stopped = text(&CameraState::Stopped, "a camera's state")?;
    for ids in ids.chunks(ROWS) {
        let mut query: QueryBuilder<Db> = QueryBuilder::new("INSERT INTO cameras (id, url, state, ledger) ");
        query.push_values(ids, |mut row, id| {
            row.push_bind(*id).push("''").push_bind(&stopped).push("'{}'");
        });
        query.push(" ON CONFLICT (id) DO NOTHING");
        query.build().persistent(ids.len() == 1).execute(&mut *db).doing("noting cameras").await?;
    }
    Ok(())
}

pub(super) async fn register(db: &mut Connection, camera: &CameraId, url: &str) -> Result<()> {
    ensure(db, &[camera.as_str()]).await?;
    sqlx::query("UPDATE cameras SET url = $2 WHERE id = $1")
        .bind(camera.as_str())
        .bind(url)
        .execute(db)
        .doing("registering a camera")
        .await?;
    Ok(())
}

pub(super) async fn set_state(db: &mut Connection, camera: &CameraId, state: &CameraState) -> Result<()> {
    ensure(db, &[camera.as_str()]).await?;
    sqlx::query("UPDATE cameras SET state = $2 WHERE id = $1")
        .bind(camera.as_str())
        .bind(text(state, "a camera's state")?)
        .execute(db)
        .doing("noting a camera's state")
        .await?;
    Ok(())
}

pub(super) async fn list(db: &mut Connection) -> Result<Vec<CameraInfo>> {
    type Row = (String, String, String, String, Option<i64>, Option<String>);
    let rows: Vec<Row> =
        sqlx::query_as("SELECT id, url, state, ledger, merged_until, merged_clock FROM cameras ORDER BY id")
            .fetch_all(db)
            .doing("listing cameras")
            .await?;
    rows.into_iter()
        .map(|(id, url, state, ledger, until, clock)| {
            Ok(CameraInfo {
                id: camera_id(id)?,
                url,
                state: document(&state, "a camera's state")?,
                ledger: if ledger == "{}" { Default::default() } else { document(&ledger, "a ledger")? },
                merged_until: until.map(TimeUs).zip(clock.map(|clock| read_clock(&clock))),
            })
        })
        .collect()
}

/// The epoch to slice in.
///
/// A content's passes have the epochs `base + pass`. The content that came last owns every epoch from its base on; any
/// other gets a new base above all that were given, and so does every content once there are outcomes above those: another
/// content may own them.
pub(super) async fn begin_epoch(db: &mut Connection, camera: &CameraId, request: EpochRequest) -> Result<Epoch> {
    dialect::lock_name(db, camera.as_str()).await?;
    let (content, pass) = match request {
        EpochRequest::Replayable { content, pass } => (content.to_string(), column(pass, "pass")?),
        EpochRequest::Live { now_ms } => return begin_live(db, camera, column(now_ms, "Unix time")?, true).await,
    };
    if let Some(epoch) = given(db, camera, &content, pass).await? {
        return Ok(epoch);
    }
    let last: Option<(i64, i64, Option<String>)> =
        sqlx::query_as("SELECT epoch, base, content FROM epochs WHERE camera = $1 ORDER BY epoch DESC LIMIT 1")
            .bind(camera.as_str())
            .fetch_optional(&mut *db)
            .doing("reading the last epoch")
            .await?;
    let merged = merged_epoch(db, camera).await?;
    let given = last.as_ref().map(|(epoch, ..)| *epoch);
    let base = match last {
        Some((_, base, Some(owner))) if owner == content && merged <= given => base,
        _ => given.max(merged).map_or(Ok(1), |newest| next(newest, 1))?,
    };
    let epoch = next(base, pass)?;
    note_epoch(db, camera, epoch, base, Some((content, pass))).await?;
    Ok(Epoch(number(epoch, "epoch")?))
}

/// Begins a live epoch above the time, above `above`, and above all that the camera's epochs and outcomes have; noted as one
/// of its epochs if it `counts`.
pub(super) async fn begin_live(db: &mut Connection, camera: &CameraId, above: i64, counts: bool) -> Result<Epoch> {
    let given: Option<i64> = sqlx::query_scalar("SELECT MAX(epoch) FROM epochs WHERE camera = $1")
        .bind(camera.as_str())
        .fetch_one(&mut *db)
        .doing("reading the last epoch")
        .await?;
    let newest = given.max(merged_epoch(db, camera).await?);
    let epoch = next(above.max(newest.unwrap_or(0)), 1)?;
    if counts {
        note_epoch(db, camera, epoch, epoch, None).await?;
    }
    Ok(Epoch(number(epoch, "epoch")?))
}

/// The newest epoch of which there are outcomes, or were before they were pruned.
async fn merged_epoch(db: &mut Connection, camera: &CameraId) -> Result<Option<i64>> {
    let there: Option<i64> = sqlx::query_scalar("SELECT MAX(epoch) FROM outcomes WHERE camera = $1")
        .bind(camera.as_str())
        .fetch_one(&mut *db)
        .doing("reading the newest epoch")
        .await?;
    let pruned: Option<i64> = sqlx::query_scalar("SELECT epoch FROM floors WHERE camera = $1")
        .bind(camera.as_str())
        .fetch_optional(db)
        .doing("reading the floor's epoch")
        .await?;
    Ok(there.max(pruned))
}

async fn note_epoch(
    db: &mut Connection,
    camera: &CameraId,
    epoch: i64,
    base: i64,
    content: Option<(String, i64)>,
) -> Result<()> {
    let (content, pass) = content.unzip();
    sqlx::query("INSERT INTO epochs (camera, epoch, base, content, pass) VALUES ($1, $2, $3, $4, $5)")
        .bind(camera.as_str())
        .bind(epoch)
        .bind(base)
        .bind(content)
        .bind(pass)
        .execute(db)
        .doing("noting an epoch")
        .await?;
    Ok(())
}

/// Makes an epoch what the record says.
pub(super) async fn restore_epoch(db: &mut Connection, record: &EpochRecord) -> Result<()> {
    let (epoch, pass) = (column(record.epoch.0, "epoch")?, column(record.pass, "pass")?);
    sqlx::query(
        "INSERT INTO epochs (camera, epoch, base, content, pass) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (camera, epoch) DO UPDATE SET base = excluded.base, content = excluded.content,
             pass = excluded.pass",
    )
    .bind(record.camera.as_str())
    .bind(epoch)
    .bind(epoch - pass)
    .bind(record.content.to_string())
    .bind(pass)
    .execute(db)
    .doing("restoring an epoch")
    .await?;
    Ok(())
}

/// The epoch that a pass of a content has. Where it came to have two, the first one counts.
async fn given(db: &mut Connection, camera: &CameraId, content: &str, pass: i64) -> Result<Option<Epoch>> {
    let epoch: Option<i64> = sqlx::query_scalar(
        "SELECT epoch FROM epochs WHERE camera = $1 AND content = $2 AND pass = $3 ORDER BY epoch LIMIT 1",
    )
    .bind(camera.as_str())
    .bind(content)
    .bind(pass)
    .fetch_optional(db)
    .doing("reading an epoch")
    .await?;
    epoch.map(|epoch| number(epoch, "epoch").map(Epoch)).transpose()
}

fn next(epoch: i64, step: i64) -> Result<i64> {
    epoch.checked_add(step).ok_or_else(|| StoreError::Corrupt(format!("no epoch is left above {epoch}")))
}

pub(super) async fn published(db: &mut Connection, camera: &CameraId, epoch: Epoch) -> Result<u64> {
    let next: Option<i64> = sqlx::query_scalar("SELECT next FROM published WHERE camera = $1 AND epoch = $2")
        .bind(camera.as_str())
        .bind(column(epoch.0, "epoch")?)
        .fetch_optional(db)
        .doing("reading what is published")
        .await?;
    next.map_or(Ok(0), |next| number(next, "the published sequence"))
}

pub(super) async fn set_published(db: &mut Connection, camera: &CameraId, epoch: Epoch, next: u64) -> Result<()> {
    sqlx::query(
        "INSERT INTO published (camera, epoch, next) VALUES ($1, $2, $3)
         ON CONFLICT (camera, epoch) DO UPDATE SET next = excluded.next WHERE excluded.next > published.next",
    )
    .bind(camera.as_str())
    .bind(column(epoch.0, "epoch")?)
    .bind(column(next, "sequence")?)
    .execute(db)
    .doing("noting what is published")
    .await?;
    Ok(())
}

/// Cameras that have waited behind a hole since `before` or longer, or since a time behind `now`.
pub(super) async fn waiting(db: &mut Connection, before: i64, now: i64) -> Result<Vec<CameraId>> {
    let rows: Vec<(String,)> = sqlx::query_as(
        "SELECT id FROM cameras WHERE waiting_since <= $1 OR waiting_since > $2 ORDER BY waiting_since, id",
    )
    .bind(before)
    .bind(now)
    .fetch_all(db)
    .doing("listing cameras that wait")
    .await?;
    rows.into_iter().map(|(id,)| camera_id(id)).collect()
}

pub(super) async fn frontier(db: &mut Connection, camera: &CameraId) -> Result<Option<Position>> {
    let row: Option<(Option<i64>, Option<i64>)> =
        sqlx::query_as("SELECT frontier_epoch, frontier_sequence FROM cameras WHERE id = $1")
            .bind(camera.as_str())
            .fetch_optional(db)
            .doing("reading a frontier")
            .await?;
    match row {
        Some((Some(epoch), Some(sequence))) => position(epoch, sequence).map(Some),
        Some(_) | None => Ok(None),
    }
}

pub(super) fn position(epoch: i64, sequence: i64) -> Result<Position> {
    Ok(Position { epoch: Epoch(number(epoch, "epoch")?), sequence: number(sequence, "sequence")? })
}

pub(super) fn clock_name(clock: Clock) -> &'static str {
    match clock {
        Clock::Media => "media",
        Clock::Unix => "unix",
    }
}

fn read_clock(name: &str) -> Clock {
    if name == clock_name(Clock::Unix) { Clock::Unix } else { Clock::Media }
}

pub(super) fn camera_id(id: String) -> Result<CameraId> {
    CameraId::new(id).map_err(|error| StoreError::Corrupt(error.to_string()))
}
