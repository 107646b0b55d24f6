//! The embedded queue: bodies in the file, bookkeeping in memory.

pub(crate) mod state;
mod writer;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use detektor_contract::names::{Queue, Work};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use self::state::{Claim, ConsumerId, State};
use self::writer::{Answer, Operation, Shared};
use super::Database;
use super::error::{Doing, queue_error};
use crate::columns::document;
use crate::queue::{Consumer, Delivery, Depth, Message, Partitions, QueueError, Queues, Settle, Tag};
use crate::store::StoreError;

/// Operations that wait for the writer; further callers wait for a place.
const WAITING: usize = 1024;

/// Limits of the embedded queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How often a message is delivered before it goes to the dead letters.
    pub(crate) deliveries: u32,
    /// How many messages a queue keeps ready before it takes no more.
    pub(crate) ready: u64,
}

/// All queues of one file.
pub(crate) struct SqliteQueues {
    shared: Arc<Shared>,
    operations: mpsc::Sender<Operation>,
    max_ready: u64,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl SqliteQueues {
    /// Reads which messages there are: all are ready, whoever held them. As many partitions are open as there are by default.
    pub(crate) async fn open(db: Arc<Database>, limits: Limits) -> Result<Self, StoreError> {
        let rows: Vec<(i64, String, i64)> = sqlx::query_as("SELECT id, queue, attempts FROM messages ORDER BY id")
            .fetch_all(db.reader())
            .doing("reading the queues")
            .await?;
        let next_id = rows.last().map_or(1, |(id, ..)| id + 1);
        let mut state = State::new();
        for (id, name, attempts) in rows {
            let queue = parse(&name).ok_or_else(|| StoreError::Corrupt(format!("queue {name:?} of message {id}")))?;
            state.insert(queue, id, u32::try_from(attempts).unwrap_or(u32::MAX), limits.deliveries);
        }
        let shared = Arc::new(Shared::new(db, limits.deliveries, state));
        let (operations, waiting) = mpsc::channel(WAITING);
        let writer = tokio::spawn(writer::run(Arc::clone(&shared), waiting, next_id));
        // A queue that opens with doomed messages moves them at once.
        let _ = operations.try_send(Operation::Wake);
        Ok(Self { shared, operations, max_ready: limits.ready, writer: Mutex::new(Some(writer)) })
    }

    /// Ends the writer after what it has begun. Nothing can be written or received afterwards.
    pub(crate) async fn close(&self) {
        self.shared.ended.cancel();
        if let Some(writer) = self.writer.lock().await.take() {
            // It ends by itself and has nothing to say.
            let _ = writer.await;
        }
    }
}

/// The queue that [`Queue`]'s `Display` wrote.
fn parse(name: &str) -> Option<Queue> {
    let work = |name: &str| [Work::Detect, Work::Merge].into_iter().find(|w| Queue::Dead(*w).to_string() == name);
    let (kind, rest) = name.split_once('.')?;
    if kind == "dead" {
        return work(name).map(Queue::Dead);
    }
    let queue = Queue::Work(work(&format!("dead.{kind}"))?, rest.parse().ok()?);
    (queue.to_string() == name).then_some(queue)
}

/// Has the writer do something, and waits for it. `operation` is made once there is room for it.
async fn write(
    operations: &mpsc::Sender<Operation>,
    operation: impl FnOnce(Answer) -> Result<Operation, QueueError>,
) -> Result<(), QueueError> {
    let gone = || QueueError::Unavailable { context: "the queue was closed".to_owned(), source: None };
    let (answer, end) = oneshot::channel();
    let room = operations.reserve().await.map_err(|_| gone())?;
    room.send(operation(answer)?);
    end.await.unwrap_or_else(|_| Err(gone()))
}

#[async_trait]
impl Queues for SqliteQueues {
    async fn publish(&self, queue: Queue, messages: Vec<Message>) -> Result<(), QueueError> {
        if messages.is_empty() {
            return Ok(());
        }
        let queue = {
            let state = self.shared.state();
            let queue = state.takes(queue)?;
            // Dead letters are taken in any case: there is nowhere else for them.
            if matches!(queue, Queue::Work(..)) && state.depth(queue).ready >= self.max_ready {
                return Err(QueueError::Full { queue });
            }
            queue
        };
        write(&self.operations, |answer| Ok(Operation::Publish { queue, messages, answer })).await
    }

    async fn consume(&self, queues: &[Queue], prefetch: u32) -> Result<Arc<dyn Consumer>, QueueError> {
        let id = self.shared.state().subscribe(queues.to_vec(), prefetch.max(1) as usize);
        Ok(Arc::new(SqliteConsumer { id, shared: Arc::clone(&self.shared), operations: self.operations.clone() }))
    }

    async fn depth(&self, queue: Queue) -> Result<Depth, QueueError> {
        Ok(self.shared.state().depth(queue))
    }

    async fn partitions(&self) -> Result<Partitions, QueueError> {
        Ok(self.shared.state().partitions())
    }

    async fn open(&self, queue: Queue) -> Result<(), QueueError> {
        self.shared.state().open(queue);
        Ok(())
    }

    async fn retire(&self, queue: Queue) -> Result<(), QueueError> {
        self.shared.state().retire(queue);
        Ok(())
    }

    async fn is_drained(&self, queue: Queue) -> Result<bool, QueueError> {
        Ok(self.shared.state().is_drained(queue))
    }

    /// What is still on its way into the file brings the queue back, retired.
    async fn remove(&self, queue: Queue) -> Result<bool, QueueError> {
        Ok(self.shared.state().remove(queue))
    }
}

struct SqliteConsumer {
    id: ConsumerId,
    shared: Arc<Shared>,
    operations: mpsc::Sender<Operation>,
}

impl SqliteConsumer {
    /// The body and headers of a claimed message, and its attempt on record; none if it is not there any more.
    async fn hand_out(&self, claim: Claim) -> Result<Option<Delivery>, QueueError> {
        let row: Option<(String, Vec<u8>)> =
            sqlx::query_as("SELECT headers, body FROM messages JOIN bodies USING (id) WHERE id = $1")
                .bind(claim.id)
                .fetch_optional(self.shared.db.reader())
                .doing("reading a message")
                .await
                .map_err(queue_error)?;
        let Some((headers, body)) = row else { return Ok(None) };
        write(&self.operations, |answer| Ok(Operation::Attempt { claim, answer })).await?;
        let headers = document(&headers, "headers").unwrap_or_else(|error| {
            tracing::warn!(queue = %claim.queue, error = %error, "a message's headers are lost");
            Default::default()
        });
        let message = Message { body: Bytes::from(body), headers };
        Ok(Some(Delivery { queue: claim.queue, message, attempt: claim.attempt, tag: claim.tag }))
    }

    /// Something may have been doomed, and somebody else may have it now.
    fn gave_back(&self) {
        if self.shared.state().has_doomed() {
            // A full channel means that the writer is about to look anyway.
            let _ = self.operations.try_send(Operation::Wake);
        }
        self.shared.changed.notify_waiters();
    }
}

/// A claim on its way to the caller. Dropped before it got there, the message goes back uncounted.
struct OnTheWay<'a> {
    consumer: &'a SqliteConsumer,
    tag: Option<Tag>,
}

impl Drop for OnTheWay<'_> {
    fn drop(&mut self) {
        if let Some(tag) = self.tag {
            let consumer = self.consumer;
            let _ = consumer.shared.state().put_back(consumer.id, tag, consumer.shared.delivery_limit);
            consumer.gave_back();
        }
    }
}

#[async_trait]
impl Consumer for SqliteConsumer {
    async fn receive(&self) -> Result<Delivery, QueueError> {
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            let claim = self.shared.state().claim(self.id)?;
            let Some(claim) = claim else {
                tokio::select! {
                    () = changed => continue,
                    () = self.shared.ended.cancelled() => return Err(QueueError::Closed),
                }
            };
            let mut guard = OnTheWay { consumer: self, tag: Some(claim.tag) };
            let delivery = self.hand_out(claim).await?;
            guard.tag = None;
            let Some(delivery) = delivery else {
                self.shared.state().drop_claim(self.id, claim.tag);
                continue;
            };
            self.shared.state().deliver(self.id, claim.tag)?;
            return Ok(delivery);
        }
    }

    async fn settle(&self, tag: Tag, how: Settle) -> Result<(), QueueError> {
        match how {
            Settle::Ack => {
                let consumer = self.id;
                let begin = |answer| {
                    let id = self.shared.state().begin_ack(consumer, tag)?;
                    Ok(Operation::Ack { consumer, tag, id, answer })
                };
                write(&self.operations, begin).await
            }
            Settle::Requeue => {
                self.shared.state().put_back(self.id, tag, self.shared.delivery_limit)?;
                self.gave_back();
                Ok(())
            }
        }
    }

    async fn turn_to(&self, queues: &[Queue], retired: &[Queue]) -> Result<(), QueueError> {
        self.shared.state().turn_to(self.id, [queues, retired].concat())?;
        self.shared.changed.notify_waiters();
        Ok(())
    }

    async fn cancel(&self) -> Result<(), QueueError> {
        self.shared.state().cancel(self.id);
        self.shared.changed.notify_waiters();
        Ok(())
    }

    async fn close(&self) -> Result<(), QueueError> {
        self.shared.state().close(self.id, self.shared.delivery_limit);
        self.gave_back();
        Ok(())
    }
}

impl Drop for SqliteConsumer {
    fn drop(&mut self) {
        self.shared.state().close(self.id, self.shared.delivery_limit);
        self.gave_back();
    }
}
