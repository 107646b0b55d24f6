//! Queues in memory. Who holds what is kept by the same books as in the embedded queue.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use detektor_contract::names::Queue;
use tokio::sync::Notify;

use crate::queue::{
    Consumer, Delivery, Depth, HEADER_ATTEMPTS, HEADER_ERROR, Message, Partitions, QueueError, Queues, Settle, Tag,
};
use crate::sqlite::queue::state::{ConsumerId, Id, State};

type Result<T> = std::result::Result<T, QueueError>;

/// All queues of a broker. A consumer that is dropped gives back what it holds, as one that lost its connection.
pub struct MemoryQueues {
    books: Mutex<Books>,
    changed: Notify,
    /// How often a message is delivered before it goes to the dead letters.
    delivery_limit: u32,
}

struct Books {
    state: State,
    messages: BTreeMap<Id, Message>,
    last_id: Id,
}

impl Books {
    fn put(&mut self, queue: Queue, message: Message, limit: u32) {
        self.last_id += 1;
        self.messages.insert(self.last_id, message);
        self.state.insert(queue, self.last_id, 0, limit);
    }

    /// Moves what was delivered too often to the dead letters.
    fn bury(&mut self, limit: u32) {
        for doomed in self.state.take_doomed() {
            let Some(mut message) = self.messages.remove(&doomed.id) else { continue };
            let attempts = doomed.attempts.to_string();
            let error = format!("delivered {attempts} times without an answer");
            message.headers.extend([(HEADER_ERROR.to_owned(), error), (HEADER_ATTEMPTS.to_owned(), attempts)]);
            self.put(Queue::Dead(doomed.work), message, limit);
        }
    }
}

impl MemoryQueues {
    /// They are empty, and as many as there are by default. A message is delivered `delivery_limit` times before it goes to the dead letters.
    pub fn new(delivery_limit: u32) -> Arc<Self> {
        Self::over(State::new(), delivery_limit)
    }

    /// No partition is open yet, as on a broker that is new.
    pub fn empty(delivery_limit: u32) -> Arc<Self> {
        Self::over(State::default(), delivery_limit)
    }

    fn over(state: State, delivery_limit: u32) -> Arc<Self> {
        let books = Books { state, messages: BTreeMap::new(), last_id: 0 };
        Arc::new(Self { books: Mutex::new(books), changed: Notify::new(), delivery_limit: delivery_limit.max(1) })
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the books, and says so to those who wait.
    fn change<T>(&self, change: impl FnOnce(&mut Books, u32) -> T) -> T {
        let mut books = self.books();
        let changed = change(&mut books, self.delivery_limit);
        books.bury(self.delivery_limit);
        drop(books);
        self.changed.notify_waiters();
        changed
    }

    /// Begins to take from queues; [`Queues::consume`] from an `Arc`.
    pub fn subscribe(self: &Arc<Self>, queues: &[Queue], prefetch: u32) -> Arc<dyn Consumer> {
        let id = self.books().state.subscribe(queues.to_vec(), prefetch.max(1) as usize);
        Arc::new(MemoryConsumer { id, queues: Arc::clone(self) })
    }
}

#[async_trait]
impl Queues for Arc<MemoryQueues> {
    async fn publish(&self, queue: Queue, messages: Vec<Message>) -> Result<()> {
        self.change(|books, limit| {
            let queue = books.state.takes(queue)?;
            messages.into_iter().for_each(|message| books.put(queue, message, limit));
            Ok(())
        })
    }

    async fn consume(&self, queues: &[Queue], prefetch: u32) -> Result<Arc<dyn Consumer>> {
        Ok(self.subscribe(queues, prefetch))
    }

    async fn depth(&self, queue: Queue) -> Result<Depth> {
        Ok(self.books().state.depth(queue))
    }

    async fn partitions(&self) -> Result<Partitions> {
        Ok(self.books().state.partitions())
    }

    async fn open(&self, queue: Queue) -> Result<()> {
        self.books().state.open(queue);
        Ok(())
    }

    async fn retire(&self, queue: Queue) -> Result<()> {
        self.books().state.retire(queue);
        Ok(())
    }

    async fn is_drained(&self, queue: Queue) -> Result<bool> {
        Ok(self.books().state.is_drained(queue))
    }

    async fn remove(&self, queue: Queue) -> Result<bool> {
        Ok(self.books().state.remove(queue))
    }
}

struct MemoryConsumer {
    id: ConsumerId,
    queues: Arc<MemoryQueues>,
}

impl MemoryConsumer {
    /// The next delivery, if there is one.
    fn next(&self) -> Result<Option<Delivery>> {
        let mut books = self.queues.books();
        while let Some(claim) = books.state.claim(self.id)? {
            let Some(message) = books.messages.get(&claim.id).cloned() else {
                books.state.drop_claim(self.id, claim.tag);
                continue;
            };
            books.state.deliver(self.id, claim.tag)?;
            return Ok(Some(Delivery { queue: claim.queue, message, attempt: claim.attempt, tag: claim.tag }));
        }
        Ok(None)
    }
}

#[async_trait]
impl Consumer for MemoryConsumer {
    async fn receive(&self) -> Result<Delivery> {
        loop {
            let changed = self.queues.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            if let Some(delivery) = self.next()? {
                return Ok(delivery);
            }
            changed.await;
        }
    }

    async fn settle(&self, tag: Tag, how: Settle) -> Result<()> {
        self.queues.change(|books, limit| match how {
            Settle::Ack => {
                let id = books.state.begin_ack(self.id, tag)?;
                books.state.end_ack(self.id, tag, true, limit);
                books.messages.remove(&id);
                Ok(())
            }
            Settle::Requeue => books.state.put_back(self.id, tag, limit),
        })
    }

    async fn turn_to(&self, queues: &[Queue], retired: &[Queue]) -> Result<()> {
        self.queues.change(|books, _| books.state.turn_to(self.id, [queues, retired].concat()))
    }

    async fn cancel(&self) -> Result<()> {
        self.queues.change(|books, _| books.state.cancel(self.id));
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        self.queues.change(|books, limit| books.state.close(self.id, limit));
        Ok(())
    }
}

impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        self.queues.change(|books, limit| books.state.close(self.id, limit));
    }
}
