//! Events: what a change does to them, and listing.

use detektor_contract::{CameraId, Event, EventChange, EventId, EventState, ObjectKey, Position};
use sqlx::QueryBuilder;

use super::dialect::{Connection, Db, Doing};
use super::outcomes::{before_everything, columns};
use crate::columns::{document, text};
use crate::store::{EventCursor, EventFilter, Order, StoreError, StoredEvent};

type Result<T> = std::result::Result<T, StoreError>;

/// A change that readers are told of.
pub(super) struct Told {
    pub(super) revision: i64,
    pub(super) change: EventChange,
    /// Keys whose object may have to be written or removed.
    pub(super) objects: Vec<ObjectKey>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Listed,
    Withdrawn,
    Unconfirmed,
}

impl Standing {
    fn name(self) -> &'static str {
        match self {
            Self::Listed => "listed",
            Self::Withdrawn => "withdrawn",
            Self::Unconfirmed => "unconfirmed",
        }
    }

    fn parse(name: &str) -> Result<Self> {
        [Self::Listed, Self::Withdrawn, Self::Unconfirmed]
            .into_iter()
            .find(|standing| standing.name() == name)
            .ok_or_else(|| StoreError::Corrupt(format!("an event's standing: {name:?}")))
    }
}

struct Row {
    standing: Standing,
    revision: i64,
    steps: i64,
    body: String,
}

async fn load(db: &mut Connection, id: &EventId) -> Result<Option<Row>> {
    let row: Option<(String, i64, i64, String)> =
        sqlx::query_as("SELECT standing, revision, steps, body FROM events WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(db)
            .doing("reading an event")
            .await?;
    row.map(|(standing, revision, steps, body)| {
        Ok(Row { standing: Standing::parse(&standing)?, revision, steps, body })
    })
    .transpose()
}

/// Writes a change made by the outcome at `at`. Says what to tell readers, if anything.
///
/// What says nothing new is no change. A change that is told raises the revision; without `tell` the revision only
/// rises where there are more changes than it ever counted.
pub(super) async fn apply(db: &mut Connection, at: Position, change: EventChange, tell: bool) -> Result<Option<Told>> {
    let event = change.event();
    let standing = if matches!(change, EventChange::Withdrawn(_)) { Standing::Withdrawn } else { Standing::Listed };
    let body = text(event, "an event")?;
    let known = load(db, &event.id).await?;
    let was = known.as_ref().map(|row| row.standing);
    let nothing_new = match &known {
        None => standing == Standing::Withdrawn,
        Some(row) => row.standing == standing && (standing == Standing::Withdrawn || row.body == body),
    };
    if nothing_new {
        touch(db, &event.id, at).await?;
        return Ok(None);
    }
    let (revision, steps) = known.as_ref().map_or((0, 0), |row| (row.revision, row.steps));
    // It goes on: kept, not told. If nobody has heard of the event yet, this is how they do.
    let goes_on = matches!(change, EventChange::Continued(_)) && was == Some(Standing::Listed);
    let (revision, steps) = match (goes_on, tell) {
        (true, _) => (revision, steps),
        (false, true) => (revision + 1, steps),
        (false, false) => (revision.max(steps + 1), steps + 1),
    };
    write(db, event, standing, revision, steps, at, &body).await?;
    if goes_on || !tell {
        return Ok(None);
    }
    let before = match &known {
        Some(row) if row.standing == Standing::Listed => Some(document::<Event>(&row.body, "an event")?),
        Some(_) | None => None,
    };
    let mut objects: Vec<ObjectKey> = before.iter().filter(|event| is_over(event)).map(ObjectKey::event).collect();
    if standing == Standing::Listed && is_over(event) && !objects.contains(&ObjectKey::event(event)) {
        objects.push(ObjectKey::event(event));
    }
    let change = match change {
        EventChange::Continued(event) => EventChange::Opened(event),
        told => told,
    };
    Ok(Some(Told { revision, change, objects }))
}

pub(super) fn is_over(event: &Event) -> bool {
    matches!(event.state, EventState::Closed(_))
}

async fn touch(db: &mut Connection, id: &EventId, at: Position) -> Result<()> {
    let (epoch, sequence) = columns(at)?;
    sqlx::query("UPDATE events SET touched_epoch = $2, touched_sequence = $3 WHERE id = $1")
        .bind(id.as_str())
        .bind(epoch)
        .bind(sequence)
        .execute(db)
        .doing("touching an event")
        .await?;
    Ok(())
}

async fn write(
    db: &mut Connection,
    event: &Event,
    standing: Standing,
    revision: i64,
    steps: i64,
    at: Position,
    body: &str,
) -> Result<()> {
    let (epoch, sequence) = columns(at)?;
    sqlx::query(
        "INSERT INTO events (id, camera, label, start_us, end_us, best_score, standing, revision, steps, touched_epoch,
             touched_sequence, body)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         ON CONFLICT (id) DO UPDATE SET label = excluded.label, start_us = excluded.start_us, end_us = excluded.end_us,
             best_score = excluded.best_score, standing = excluded.standing, revision = excluded.revision,
             steps = excluded.steps, touched_epoch = excluded.touched_epoch,
             touched_sequence = excluded.touched_sequence, body = excluded.body",
    )
    .bind(event.id.as_str())
    .bind(event.camera.as_str())
    .bind(event.label.as_str())
    .bind(event.start.0)
    .bind(event.end.0)
    .bind(i64::from(event.best_score.ten_thousandths()))
    .bind(standing.name())
    .bind(revision)
    .bind(steps)
    .bind(epoch)
    .bind(sequence)
    .bind(body)
    .execute(db)
    .doing("writing an event")
    .await?;
    Ok(())
}

/// All events wait to be confirmed, but for those that no outcome above their camera's floor has touched: nothing will come
/// that could. Their revisions stay.
pub(super) async fn unconfirm(db: &mut Connection) -> Result<()> {
    sqlx::query(
        "UPDATE events SET standing = 'unconfirmed', steps = 0
         WHERE NOT EXISTS (SELECT 1 FROM floors f WHERE f.camera = events.camera
             AND (events.touched_epoch, events.touched_sequence) <= (f.epoch, f.sequence))",
    )
    .execute(db)
    .doing_long("unlisting all events")
    .await?;
    Ok(())
}

fn stored(body: &str, revision: i64) -> Result<StoredEvent> {
    let revision =
        u32::try_from(revision).map_err(|_| StoreError::Corrupt(format!("an event's revision: {revision}")))?;
    Ok(StoredEvent { event: document(body, "an event")?, revision })
}

pub(super) async fn get(db: &mut Connection, id: &EventId) -> Result<Option<StoredEvent>> {
    match load(db, id).await? {
        Some(row) if row.standing == Standing::Listed => stored(&row.body, row.revision).map(Some),
        Some(_) | None => Ok(None),
    }
}

/// Listed events that an outcome behind `after` has touched.
pub(super) async fn touched_after(
    db: &mut Connection,
    camera: &CameraId,
    after: Option<Position>,
) -> Result<Vec<Event>> {
    let (epoch, sequence) = before_everything(after)?;
    let bodies: Vec<String> = sqlx::query_scalar(
        "SELECT body FROM events
         WHERE camera = $1 AND standing = 'listed' AND (touched_epoch, touched_sequence) > ($2, $3) ORDER BY id",
    )
    .bind(camera.as_str())
    .bind(epoch)
    .bind(sequence)
    .fetch_all(db)
    .doing("reading touched events")
    .await?;
    bodies.iter().map(|body| document(body, "an event")).collect()
}

pub(super) async fn list(
    db: &mut Connection,
    filter: &EventFilter,
    order: Order,
    after: Option<&EventCursor>,
    limit: u32,
) -> Result<Vec<StoredEvent>> {
    let mut query: QueryBuilder<Db> = QueryBuilder::new("SELECT body, revision FROM events WHERE standing = 'listed'");
    if let Some(camera) = &filter.camera {
        query.push(" AND camera = ").push_bind(camera.as_str().to_owned());
    }
    if !filter.labels.is_empty() {
        query.push(" AND label IN (");
        let mut labels = query.separated(", ");
        for label in &filter.labels {
            labels.push_bind(label.as_str().to_owned());
        }
        query.push(")");
    }
    if let Some(from) = filter.from {
        query.push(" AND end_us >= ").push_bind(from.0);
    }
    if let Some(until) = filter.until {
        query.push(" AND start_us < ").push_bind(until.0);
    }
    if let Some(score) = filter.min_score {
        query.push(" AND best_score >= ").push_bind(i64::from(score.ten_thousandths()));
    }
    let (behind, direction) = match order {
        Order::Ascending => (" AND (start_us, id) > (", " ORDER BY start_us, id LIMIT "),
        Order::Descending => (" AND (start_us, id) < (", " ORDER BY start_us DESC, id DESC LIMIT "),
    };
    if let Some(cursor) = after {
        query.push(behind).push_bind(cursor.start.0).push(", ").push_bind(cursor.id.as_str().to_owned()).push(")");
    }
    query.push(direction).push_bind(i64::from(limit));
    let rows: Vec<(String, i64)> = query.build_query_as().fetch_all(db).doing("listing events").await?;
    rows.iter().map(|(body, revision)| stored(body, *revision)).collect()
}
