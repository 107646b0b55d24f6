//! The winning outcome of each sequence number.

use detektor_contract::{CameraId, Epoch, Marker, Outcome, OutcomeBody, Position, Seam, TimeUs};

use super::cameras::position;
use super::dialect::{Connection, Doing};
use crate::columns::{column, document, number, text};
use crate::store::{Put, StoreError};

type Result<T> = std::result::Result<T, StoreError>;

/// A span longer than this is found among the long ones, all of which are looked at; any other by its start, which is
/// at most this much before what is asked for. In microseconds.
const LONG: i64 = 60_000_000;

/// Records an outcome if it wins over the one that is there.
pub(super) async fn put(db: &mut Connection, outcome: &Outcome) -> Result<Put> {
    let (epoch, sequence) = (column(outcome.id.epoch.0, "epoch")?, column(outcome.id.sequence, "sequence")?);
    let body = text(outcome, "an outcome")?;
    let there: Option<String> =
        sqlx::query_scalar("SELECT body FROM outcomes WHERE camera = $1 AND epoch = $2 AND sequence = $3")
            .bind(outcome.id.camera.as_str())
            .bind(epoch)
            .bind(sequence)
            .fetch_optional(&mut *db)
            .doing("reading an outcome")
            .await?;
    let put = match there {
        None => Put::New,
        Some(there) if there == body => return Ok(Put::Ignored),
        Some(there) if outcome.wins_over(&document(&there, "an outcome")?) => Put::Replaced,
        Some(_) => return Ok(Put::Ignored),
    };
    let (start, end) = times(outcome);
    let key_frame = outcome.span().and_then(|span| span.key_frame);
    let kept = matches!(&outcome.body, OutcomeBody::Tombstone(tombstone) if tombstone.quarantine.is_some());
    sqlx::query(
        "INSERT INTO outcomes (camera, epoch, sequence, span_start, span_end, has_frames, is_long, is_kept,
             key_frame, seam, body)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ON CONFLICT (camera, epoch, sequence) DO UPDATE SET span_start = excluded.span_start,
             span_end = excluded.span_end, has_frames = excluded.has_frames, is_long = excluded.is_long,
             is_kept = excluded.is_kept, key_frame = excluded.key_frame,
             seam = excluded.seam, body = excluded.body",
    )
    .bind(outcome.id.camera.as_str())
    .bind(epoch)
    .bind(sequence)
    .bind(start.0)
    .bind(end.0)
    .bind(outcome.span().is_some_and(|span| span.frames > 0))
    .bind(end.since(start) > LONG)
    .bind(kept)
    .bind(key_frame.map(|digest| digest.to_string()))
    .bind(outcome.seam().map(|seam| text(&seam, "a seam")).transpose()?)
    .bind(body)
    .execute(db)
    .doing("recording an outcome")
    .await?;
    Ok(put)
}

/// From when to when an outcome speaks. A gap that still lasts speaks of its beginning, an end of its moment.
fn times(outcome: &Outcome) -> (TimeUs, TimeUs) {
    let (start, end) = match (&outcome.body, outcome.span()) {
        (_, Some(span)) => (span.start, span.end),
        (OutcomeBody::Marker(Marker::Gap { from, until, .. }), None) => (*from, until.unwrap_or(*from)),
        (OutcomeBody::Marker(Marker::EndOfEpoch { at, .. }), None) => (*at, *at),
        // All others have a span.
        (_, None) => (TimeUs(0), TimeUs(0)),
    };
    (start, end.max(start))
}

fn outcomes(bodies: Vec<String>) -> Result<Vec<Outcome>> {
    bodies.iter().map(|body| document(body, "an outcome")).collect()
}

/// Outcomes behind `after`, in order.
pub(super) async fn after(
    db: &mut Connection,
    camera: &CameraId,
    after: Option<Position>,
    limit: u32,
) -> Result<Vec<Outcome>> {
    let (epoch, sequence) = before_everything(after)?;
    let bodies = sqlx::query_scalar(
        "SELECT body FROM outcomes WHERE camera = $1 AND (epoch, sequence) > ($2, $3) ORDER BY epoch, sequence LIMIT $4",
    )
    .bind(camera.as_str())
    .bind(epoch)
    .bind(sequence)
    .bind(i64::from(limit))
    .fetch_all(db)
    .doing("reading outcomes")
    .await?;
    outcomes(bodies)
}

/// The place of the last outcome.
pub(super) async fn last(db: &mut Connection, camera: &CameraId) -> Result<Option<Position>> {
    let row: Option<(i64, i64)> = sqlx::query_as(
        "SELECT epoch, sequence FROM outcomes WHERE camera = $1 ORDER BY epoch DESC, sequence DESC LIMIT 1",
    )
    .bind(camera.as_str())
    .fetch_optional(db)
    .doing("reading the last outcome's place")
    .await?;
    row.map(|(epoch, sequence)| position(epoch, sequence)).transpose()
}

/// Outcomes from `from` on, in order.
pub(super) async fn from(db: &mut Connection, camera: &CameraId, from: Position, limit: u32) -> Result<Vec<Outcome>> {
    let bodies = sqlx::query_scalar(
        "SELECT body FROM outcomes WHERE camera = $1 AND (epoch, sequence) >= ($2, $3) ORDER BY epoch, sequence LIMIT $4",
    )
    .bind(camera.as_str())
    .bind(column(from.epoch.0, "epoch")?)
    .bind(column(from.sequence, "sequence")?)
    .bind(i64::from(limit))
    .fetch_all(db)
    .doing("reading outcomes")
    .await?;
    outcomes(bodies)
}

/// Outcomes that overlap `from..until`, in order. What lasts no time overlaps if it is in it.
pub(super) async fn between(
    db: &mut Connection,
    camera: &CameraId,
    from: TimeUs,
    until: TimeUs,
    limit: u32,
) -> Result<Vec<Outcome>> {
    let bodies = sqlx::query_scalar(
        "SELECT body FROM (
             SELECT epoch, sequence, body, span_start, span_end FROM outcomes
             WHERE camera = $1 AND is_long = FALSE AND span_start < $3 AND span_start >= $4
             UNION ALL
             SELECT epoch, sequence, body, span_start, span_end FROM outcomes
             WHERE camera = $1 AND is_long = TRUE AND span_start < $3
         ) AS near
         WHERE span_end > $2 OR (span_end = $2 AND span_start = span_end)
         ORDER BY epoch, sequence LIMIT $5",
    )
    .bind(camera.as_str())
    .bind(from.0)
    .bind(until.0)
    .bind(from.plus(-LONG).0)
    .bind(i64::from(limit))
    .fetch_all(db)
    .doing("reading outcomes by time")
    .await?;
    outcomes(bodies)
}

/// Each epoch's seam: the one that its earliest outcome with a seam names.
pub(super) async fn seams(db: &mut Connection, camera: &CameraId) -> Result<Vec<(Epoch, Seam)>> {
    let rows: Vec<(i64, String)> = sqlx::query_as(
        "SELECT epoch, seam FROM outcomes WHERE camera = $1 AND seam IS NOT NULL ORDER BY epoch, sequence",
    )
    .bind(camera.as_str())
    .fetch_all(db)
    .doing("reading seams")
    .await?;
    let mut seams: Vec<(Epoch, Seam)> = Vec::with_capacity(rows.len());
    for (epoch, seam) in rows {
        let epoch = Epoch(number(epoch, "epoch")?);
        if seams.last().is_none_or(|(last, _)| *last != epoch) {
            seams.push((epoch, document(&seam, "a seam")?));
        }
    }
    Ok(seams)
}

/// The first outcome of an older epoch with frames at or behind the seam, or opening with its key frame.
pub(super) async fn first_behind_seam(
    db: &mut Connection,
    camera: &CameraId,
    epoch: Epoch,
    seam: Seam,
) -> Result<Option<Position>> {
    // "+ 0" keeps the search on the few that end late or have the key frame, rather than on all of the older epochs.
    let row: Option<(i64, i64)> = sqlx::query_as(
        "SELECT epoch, sequence FROM (
             SELECT epoch + 0 AS epoch, sequence FROM outcomes
             WHERE camera = $1 AND has_frames AND span_end > $3 AND epoch + 0 < $2
             UNION ALL
             SELECT epoch + 0 AS epoch, sequence FROM outcomes
             WHERE camera = $1 AND key_frame = $4 AND has_frames AND epoch + 0 < $2
         ) AS behind
         ORDER BY epoch, sequence LIMIT 1",
    )
    .bind(camera.as_str())
    .bind(column(epoch.0, "epoch")?)
    .bind(seam.at.0)
    .bind(seam.key_frame.map(|digest| digest.to_string()))
    .fetch_optional(db)
    .doing("looking behind a seam")
    .await?;
    row.map(|(epoch, sequence)| position(epoch, sequence)).transpose()
}

/// Tombstones with a kept job.
pub(super) async fn kept(db: &mut Connection) -> Result<Vec<Outcome>> {
    let bodies = sqlx::query_scalar("SELECT body FROM outcomes WHERE is_kept ORDER BY camera, epoch, sequence")
        .fetch_all(db)
        .doing("reading tombstones")
        .await?;
    outcomes(bodies)
}

pub(super) fn columns(position: Position) -> Result<(i64, i64)> {
    Ok((column(position.epoch.0, "epoch")?, column(position.sequence, "sequence")?))
}

/// The columns of a place, or of one before every place.
pub(super) fn before_everything(position: Option<Position>) -> Result<(i64, i64)> {
    position.map_or(Ok((-1, -1)), columns)
}
