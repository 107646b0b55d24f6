//! The one task that writes the queues' part of the file: it takes what waits and commits it together.
//!
//! What an operation does to the state in memory happens here, after its commit: a caller that is cancelled while it
//! waits changes nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use detektor_contract::names::Queue;
use sqlx::SqliteConnection;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::state::{Claim, ConsumerId, Doomed, Id, State};
use crate::columns::{document, text};
use crate::queue::{HEADER_ATTEMPTS, HEADER_ERROR, Message, QueueError, Tag};
use crate::sqlite::Database;
use crate::sqlite::error::{Doing, queue_error};
use crate::store::StoreError;

/// A commit takes at most so many operations,
const MAX_OPERATIONS: usize = 512;
/// and begins no further one above so many bytes of bodies.
const MAX_BYTES: usize = 16 << 20;
/// How long dead letters wait that could not be moved.
const RETRY: Duration = Duration::from_secs(1);

/// Where an operation's end is told.
pub(super) type Answer = oneshot::Sender<Result<(), QueueError>>;

/// Something to write.
pub(super) enum Operation {
    /// New messages.
    Publish { queue: Queue, messages: Vec<Message>, answer: Answer },
    /// A message is about to be handed out for the so-many-th time.
    Attempt { claim: Claim, answer: Answer },
    /// A message is done.
    Ack { consumer: ConsumerId, tag: Tag, id: Id, answer: Answer },
    /// Something was doomed.
    Wake,
}

/// What callers and the writer share.
pub(super) struct Shared {
    pub(super) db: Arc<Database>,
    pub(super) delivery_limit: u32,
    /// Told whenever a consumer that found nothing may find something, or its end.
    pub(super) changed: Notify,
    /// The backend was closed.
    pub(super) ended: CancellationToken,
    state: Mutex<State>,
}

impl Shared {
    pub(super) fn new(db: Arc<Database>, delivery_limit: u32, state: State) -> Self {
        Self { db, delivery_limit, changed: Notify::new(), ended: CancellationToken::new(), state: Mutex::new(state) }
    }

    /// The bookkeeping. It is consistent between any two statements, so a panic in another holder does not matter.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes until the backend is closed or every sender is gone. `next_id` is above every id in the file.
pub(super) async fn run(shared: Arc<Shared>, mut operations: mpsc::Receiver<Operation>, mut next_id: Id) {
    while let Some(first) = next(&shared, &mut operations).await {
        let batch = gather(first, &mut operations);
        let doomed = shared.state().take_doomed();
        let written = write(&shared.db, &batch, &doomed, next_id).await;
        if let Err(error) = &written {
            tracing::warn!(error = %error, operations = batch.len(), "the queue could not be written");
        }
        next_id = settle(&shared, batch, doomed, next_id, written.map_err(|error| Arc::new(queue_error(error))));
        shared.changed.notify_waiters();
    }
}

/// The next operation; none at the end. Dead letters that could not be moved are tried again now and then.
async fn next(shared: &Shared, operations: &mut mpsc::Receiver<Operation>) -> Option<Operation> {
    let retry = async {
        if shared.state().has_doomed() {
            tokio::time::sleep(RETRY).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        () = shared.ended.cancelled() => None,
        operation = operations.recv() => operation,
        () = retry => Some(Operation::Wake),
    }
}

fn gather(first: Operation, operations: &mut mpsc::Receiver<Operation>) -> Vec<Operation> {
    let mut bytes = first.bytes();
    let mut batch = vec![first];
    while batch.len() < MAX_OPERATIONS
        && bytes < MAX_BYTES
        && let Ok(operation) = operations.try_recv()
    {
        bytes += operation.bytes();
        batch.push(operation);
    }
    batch
}

impl Operation {
    fn bytes(&self) -> usize {
        match self {
            Self::Publish { messages, .. } => messages.iter().map(|m| m.body.len()).sum(),
            Self::Attempt { .. } | Self::Ack { .. } | Self::Wake => 0,
        }
    }

    /// Whether somebody relies on it after a power cut. A lost attempt is only a retry more.
    fn durable(&self) -> bool {
        match self {
            Self::Publish { .. } | Self::Ack { .. } => true,
            Self::Attempt { .. } | Self::Wake => false,
        }
    }
}

/// Writes a batch in one transaction.
async fn write(db: &Database, batch: &[Operation], doomed: &[Doomed], mut next_id: Id) -> Result<(), StoreError> {
    if doomed.is_empty() && batch.iter().all(|operation| matches!(operation, Operation::Wake)) {
        return Ok(());
    }
    let mut writing = if batch.iter().any(Operation::durable) { db.write().await? } else { db.write_lazily().await? };
    for operation in batch {
        match operation {
            Operation::Publish { queue, messages, .. } => {
                for message in messages {
                    insert(writing.db(), next_id, *queue, message).await?;
                    next_id += 1;
                }
            }
            Operation::Attempt { claim, .. } => {
                sqlx::query("UPDATE messages SET attempts = $1 WHERE id = $2")
                    .bind(i64::from(claim.attempt))
                    .bind(claim.id)
                    .execute(writing.db())
                    .doing("noting an attempt")
                    .await?;
            }
            Operation::Ack { id, .. } => {
                sqlx::query("DELETE FROM messages WHERE id = $1")
                    .bind(id)
                    .execute(writing.db())
                    .doing("acknowledging a message")
                    .await?;
            }
            Operation::Wake => {}
        }
    }
    for doomed in doomed {
        bury(writing.db(), doomed).await?;
    }
    writing.commit("writing the queue").await
}

async fn insert(db: &mut SqliteConnection, id: Id, queue: Queue, message: &Message) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO messages (id, queue, attempts, headers) VALUES ($1, $2, 0, $3)")
        .bind(id)
        .bind(queue.to_string())
        .bind(text(&message.headers, "headers")?)
        .execute(&mut *db)
        .doing("publishing")
        .await?;
    sqlx::query("INSERT INTO bodies (id, body) VALUES ($1, $2)")
        .bind(id)
        .bind(&message.body[..])
        .execute(db)
        .doing("publishing")
        .await?;
    Ok(())
}

/// Moves a message to the dead-letter queue of its work.
async fn bury(db: &mut SqliteConnection, doomed: &Doomed) -> Result<(), StoreError> {
    let headers: Option<String> = sqlx::query_scalar("SELECT headers FROM messages WHERE id = $1")
        .bind(doomed.id)
        .fetch_optional(&mut *db)
        .doing("reading a message's headers")
        .await?;
    let Some(headers) = headers else { return Ok(()) };
    let mut headers: BTreeMap<String, String> = document(&headers, "headers").unwrap_or_default();
    let attempts = doomed.attempts.to_string();
    headers.insert(HEADER_ERROR.to_owned(), format!("delivered {attempts} times without an answer"));
    headers.insert(HEADER_ATTEMPTS.to_owned(), attempts);
    sqlx::query("UPDATE messages SET queue = $1, attempts = 0, headers = $2 WHERE id = $3")
        .bind(Queue::Dead(doomed.work).to_string())
        .bind(text(&headers, "headers")?)
        .bind(doomed.id)
        .execute(&mut *db)
        .doing("moving a dead letter")
        .await?;
    Ok(())
}

/// Does to the state in memory what was done to the file, and answers. Returns the next id.
fn settle(
    shared: &Shared,
    batch: Vec<Operation>,
    doomed: Vec<Doomed>,
    mut next_id: Id,
    written: Result<(), Arc<QueueError>>,
) -> Id {
    let mut state = shared.state();
    let limit = shared.delivery_limit;
    let told = || written.as_ref().copied().map_err(again);
    for operation in batch {
        let answer = match operation {
            Operation::Publish { queue, messages, answer } => {
                if written.is_ok() {
                    for _ in &messages {
                        state.insert(queue, next_id, 0, limit);
                        next_id += 1;
                    }
                }
                answer
            }
            Operation::Attempt { answer, .. } => answer,
            Operation::Ack { consumer, tag, answer, .. } => {
                state.end_ack(consumer, tag, written.is_ok(), limit);
                answer
            }
            Operation::Wake => continue,
        };
        // Nobody waits if the caller was cancelled.
        let _ = answer.send(told());
    }
    if written.is_ok() {
        for doomed in doomed {
            state.insert(Queue::Dead(doomed.work), doomed.id, 0, limit);
        }
    } else {
        state.give_back_doomed(doomed);
    }
    next_id
}

/// One failure, for each of those that it hit.
fn again(error: &Arc<QueueError>) -> QueueError {
    QueueError::Unavailable { context: "writing the queue".to_owned(), source: Some(Box::new(Arc::clone(error))) }
}
