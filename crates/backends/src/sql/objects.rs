//! The outbox of event objects: what the bucket ought to hold, and what was last done about it.

use detektor_contract::{Event, EventChange, ObjectKey};

use super::dialect::{Connection, Doing};
use super::events::is_over;
use crate::columns::document;
use crate::store::{PendingObject, StoreError};

type Result<T> = std::result::Result<T, StoreError>;

/// Notes that an event's object is not as `revision` says. `turn` orders the outbox.
pub(super) async fn note(
    db: &mut Connection,
    key: &ObjectKey,
    change: &EventChange,
    revision: i64,
    turn: i64,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO event_objects (object_key, event, revision, done, turn) VALUES ($1, $2, $3, 0, $4)
         ON CONFLICT (object_key) DO UPDATE SET event = excluded.event, revision = excluded.revision,
             turn = excluded.turn",
    )
    .bind(key.as_str())
    .bind(change.event().id.as_str())
    .bind(revision)
    .bind(turn)
    .execute(db)
    .doing("noting an event's object")
    .await?;
    Ok(())
}

/// Before a reindex: revisions are counted anew, and what is pending stays so.
pub(super) async fn restart(db: &mut Connection) -> Result<()> {
    sqlx::query("UPDATE event_objects SET revision = CASE WHEN done <> revision THEN 1 ELSE 0 END, done = 0")
        .execute(db)
        .doing_long("restarting the outbox")
        .await?;
    Ok(())
}

/// Objects to write or remove, oldest first. An event that a reindex has not confirmed yet says nothing about its own.
pub(super) async fn pending(db: &mut Connection, limit: u32) -> Result<Vec<PendingObject>> {
    let rows: Vec<(String, i64, String, String)> = sqlx::query_as(
        "SELECT o.object_key, o.revision, e.standing, e.body FROM event_objects o JOIN events e ON e.id = o.event
         WHERE o.done <> o.revision AND e.standing <> 'unconfirmed' ORDER BY o.turn LIMIT $1",
    )
    .bind(i64::from(limit))
    .fetch_all(db)
    .doing("reading the outbox")
    .await?;
    rows.into_iter()
        .map(|(key, revision, standing, body)| {
            let event: Event = document(&body, "an event")?;
            let key = ObjectKey::parse(&key).map_err(|error| StoreError::Corrupt(error.to_string()))?;
            let stands = standing == "listed" && is_over(&event) && ObjectKey::event(&event) == key;
            let revision =
                u32::try_from(revision).map_err(|_| StoreError::Corrupt(format!("a revision: {revision}")))?;
            Ok(PendingObject { event: event.id.clone(), key, revision, body: stands.then_some(event) })
        })
        .collect()
}

/// Notes what was done last. A slow writer's old revision may have gone over a newer one: then that is what is noted, and
/// the newer one is pending again.
pub(super) async fn done(db: &mut Connection, object: &PendingObject) -> Result<()> {
    sqlx::query("UPDATE event_objects SET done = $2 WHERE object_key = $1")
        .bind(object.key.as_str())
        .bind(i64::from(object.revision))
        .execute(db)
        .doing("noting a written object")
        .await?;
    Ok(())
}
