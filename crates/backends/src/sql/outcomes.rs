//! The winning outcome of each sequence number.

use std::collections::{BTreeMap, BTreeSet};

use detektor_contract::{CameraId, Epoch, Outcome, OutcomeBody, Position, Seam, TimeUs};
use sqlx::QueryBuilder;

use super::cameras::position;
use super::dialect::{Connection, Db, Doing};
use crate::columns::{column, document, number, text};
use crate::store::{Put, StoreError};

type Result<T> = std::result::Result<T, StoreError>;

/// A span longer than this is found among the long ones, all of which are looked at; any other by its start, which is
/// at most this much before what is asked for. In microseconds.
const LONG: i64 = 60_000_000;
/// How many rows one statement writes: of values, SQLite takes no more than 32,766.
const ROWS: usize = 1_000;

/// Where an outcome stands.
type Place = (String, i64, i64);

/// An outcome as a row.
struct Row<'a> {
    outcome: &'a Outcome,
    place: Place,
    body: String,
}

impl<'a> Row<'a> {
    fn new(outcome: &'a Outcome) -> Result<Self> {
        let (epoch, sequence) = columns(outcome.id.position())?;
        let place = (outcome.id.camera.as_str().to_owned(), epoch, sequence);
        Ok(Self { outcome, place, body: text(outcome, "an outcome")? })
    }
}

/// Records each outcome if it wins over the one that is there. Nearly always all are new, and one statement does it.
pub(super) async fn put(db: &mut Connection, outcomes: &[&Outcome]) -> Result<Vec<Put>> {
    let rows = outcomes.iter().map(|outcome| Row::new(outcome)).collect::<Result<Vec<_>>>()?;
    let mut winners: BTreeMap<&Place, &Row<'_>> = BTreeMap::new();
    for row in &rows {
        let winner = winners.entry(&row.place).or_insert(row);
        if row.outcome.wins_over(winner.outcome) {
            *winner = row;
        }
    }
    let mut there: BTreeMap<Place, Outcome> = BTreeMap::new();
    let winners: Vec<&Row<'_>> = winners.into_values().collect();
    for winners in winners.chunks(ROWS) {
        let new = insert(db, winners).await?;
        let others: Vec<&Row<'_>> = winners.iter().copied().filter(|row| !new.contains(&row.place)).collect();
        if others.is_empty() {
            continue;
        }
        let known = read(db, &others).await?;
        let beats = |row: &Row<'_>| known.get(&row.place).is_some_and(|there| row.outcome.wins_over(there));
        let better: Vec<&Row<'_>> = others.into_iter().filter(|row| beats(row)).collect();
        if !better.is_empty() {
            replace(db, &better).await?;
        }
        there.extend(known);
    }
    // What became of each, as if they had come one after the other.
    let mut puts = Vec::with_capacity(rows.len());
    for Row { outcome, place, .. } in rows {
        let put = match there.get(&place) {
            None => Put::New,
            Some(there) if outcome.wins_over(there) => Put::Replaced,
            Some(_) => Put::Ignored,
        };
        if put != Put::Ignored {
            there.insert(place, outcome.clone());
        }
        puts.push(put);
    }
    Ok(puts)
}

const COLUMNS: &str =
    "INSERT INTO outcomes (camera, epoch, sequence, span_start, span_end, has_frames, is_long, is_kept,
         key_frame, seam, body) ";

fn values(rows: &[&Row<'_>]) -> Result<QueryBuilder<Db>> {
    let mut query: QueryBuilder<Db> = QueryBuilder::new(COLUMNS);
    let mut seams = Vec::with_capacity(rows.len());
    for row in rows {
        seams.push(row.outcome.seam().map(|seam| text(&seam, "a seam")).transpose()?);
    }
    query.push_values(rows.iter().zip(seams), |mut values, (Row { outcome, place, body }, seam)| {
        let (start, end) = outcome.times();
        let span = outcome.span();
        let kept = matches!(&outcome.body, OutcomeBody::Tombstone(tombstone) if tombstone.quarantine.is_some());
        values
            .push_bind(place.0.as_str())
            .push_bind(place.1)
            .push_bind(place.2)
            .push_bind(start.0)
            .push_bind(end.0)
            // The column was named before gaps were cut, too.
            .push_bind(outcome.is_cut_by_seams())
            .push_bind(end.since(start) > LONG)
            .push_bind(kept)
            .push_bind(span.and_then(|span| span.key_frame).map(|digest| digest.to_string()))
            .push_bind(seam)
            .push_bind(body.as_str());
    });
    Ok(query)
}

/// Inserts those of whose places there is nothing yet. Answers which.
async fn insert(db: &mut Connection, rows: &[&Row<'_>]) -> Result<BTreeSet<Place>> {
    let mut query = values(rows)?;
    query.push(" ON CONFLICT (camera, epoch, sequence) DO NOTHING RETURNING camera, epoch, sequence");
    let new: Vec<Place> =
        query.build_query_as().persistent(rows.len() == 1).fetch_all(db).doing("recording outcomes").await?;
    Ok(new.into_iter().collect())
}

/// What is there at the rows' places.
async fn read(db: &mut Connection, rows: &[&Row<'_>]) -> Result<BTreeMap<Place, Outcome>> {
    let mut query: QueryBuilder<Db> =
        QueryBuilder::new("SELECT camera, epoch, sequence, body FROM outcomes WHERE (camera, epoch, sequence) IN (");
    query.push_values(rows, |mut values, row| {
        values.push_bind(row.place.0.as_str()).push_bind(row.place.1).push_bind(row.place.2);
    });
    query.push(")");
    let there: Vec<(String, i64, i64, String)> =
        query.build_query_as().persistent(rows.len() == 1).fetch_all(db).doing("reading outcomes").await?;
    let read = |(camera, epoch, sequence, body): (String, i64, i64, String)| {
        Ok(((camera, epoch, sequence), document(&body, "an outcome")?))
    };
    there.into_iter().map(read).collect()
}

/// Puts the rows in the place of what is there.
async fn replace(db: &mut Connection, rows: &[&Row<'_>]) -> Result<()> {
    let mut query = values(rows)?;
    query.push(
        " ON CONFLICT (camera, epoch, sequence) DO UPDATE SET span_start = excluded.span_start,
             span_end = excluded.span_end, has_frames = excluded.has_frames, is_long = excluded.is_long,
             is_kept = excluded.is_kept, key_frame = excluded.key_frame,
             seam = excluded.seam, body = excluded.body",
    );
    query.build().persistent(rows.len() == 1).execute(db).doing("replacing outcomes").await?;
    Ok(())
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

/// The first outcome of an older epoch with frames or a gap behind the seam, or opening with its key frame.
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
