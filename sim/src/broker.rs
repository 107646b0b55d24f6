//! The broker, as its host has it and as others reach it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use detektor_backends::memory::MemoryQueues;
use detektor_backends::queue::{Consumer, Delivery, Depth, Message, Partitions, QueueError, Queues, Settle, Tag};
use detektor_contract::names::Queue;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::history::History;
use crate::hosts::Flaw;
use crate::post::{Line, Office};

/// The host's name.
pub const BROKER: &str = "broker";
/// A consumer's question waits so long at the broker.
const POLL: Duration = Duration::from_millis(500);
/// Between two tries to reach the broker.
const AGAIN: Duration = Duration::from_millis(200);

type Result<T> = std::result::Result<T, QueueError>;

/// What the broker keeps of one connection.
pub struct Session {
    queues: Arc<MemoryQueues>,
    consumer: Mutex<Option<Arc<dyn Consumer>>>,
    flaw: Option<Flaw>,
}

impl Session {
    /// Nothing is subscribed yet.
    pub fn new(queues: Arc<MemoryQueues>, flaw: Option<Flaw>) -> Self {
        Self { queues, consumer: Mutex::default(), flaw }
    }

    fn consumer(&self) -> Result<Arc<dyn Consumer>> {
        self.consumer.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(QueueError::Closed)
    }
}

/// The queues as seen from another host.
pub struct RemoteQueues {
    line: Line<Session>,
    history: History,
}

impl RemoteQueues {
    /// Reached when needed.
    pub fn new(office: &Office, history: History) -> Arc<Self> {
        Arc::new(Self { line: Line::new(BROKER, office.clone()), history })
    }
}

fn away() -> QueueError {
    QueueError::Unavailable { context: "no answer from the broker".to_owned(), source: None }
}

#[async_trait]
impl Queues for RemoteQueues {
    async fn publish(&self, queue: Queue, messages: Vec<Message>) -> Result<()> {
        let bodies: Vec<_> = messages.iter().map(|message| message.body.clone()).collect();
        let put = self.line.call(move |session| async move { session.queues.publish(queue, messages).await });
        put.await.unwrap_or_else(|| Err(away()))?;
        self.history.confirmed(&bodies);
        Ok(())
    }

    async fn consume(&self, queues: &[Queue], prefetch: u32) -> Result<Arc<dyn Consumer>> {
        let line = self.line.another();
        subscribe(&line, (queues.to_vec(), Vec::new()), prefetch).await?;
        let state = Arc::new(Subscription {
            line,
            sources: Mutex::new((queues.to_vec(), Vec::new())),
            prefetch,
            arrived: Mutex::default(),
            news: tokio::sync::Notify::new(),
            ended: CancellationToken::new(),
        });
        tokio::spawn(Arc::clone(&state).pump());
        Ok(Arc::new(RemoteConsumer(state)))
    }

    async fn depth(&self, queue: Queue) -> Result<Depth> {
        let depth = self.line.call(move |session| async move { session.queues.depth(queue).await });
        depth.await.unwrap_or_else(|| Err(away()))
    }

    async fn partitions(&self) -> Result<Partitions> {
        let found = self.line.call(|session| async move { session.queues.partitions().await });
        found.await.unwrap_or_else(|| Err(away()))
    }

    async fn open(&self, queue: Queue) -> Result<()> {
        let opened = self.line.call(move |session| async move { session.queues.open(queue).await });
        opened.await.unwrap_or_else(|| Err(away()))
    }

    async fn retire(&self, queue: Queue) -> Result<()> {
        let retired = self.line.call(move |session| async move { session.queues.retire(queue).await });
        retired.await.unwrap_or_else(|| Err(away()))
    }

    async fn is_drained(&self, queue: Queue) -> Result<bool> {
        let drained = self.line.call(move |session| async move { session.queues.is_drained(queue).await });
        drained.await.unwrap_or_else(|| Err(away()))
    }

    async fn remove(&self, queue: Queue) -> Result<bool> {
        let removed = self.line.call(move |session| async move { session.queues.remove(queue).await });
        removed.await.unwrap_or_else(|| Err(away()))
    }
}

/// Queues that are open, and queues that are retired.
type Sources = (Vec<Queue>, Vec<Queue>);

async fn subscribe(line: &Line<Session>, (open, retired): Sources, prefetch: u32) -> Result<()> {
    let subscribed = line.call(move |session| async move {
        let consumer = session.queues.subscribe(&[open, retired].concat(), prefetch);
        *session.consumer.lock().unwrap_or_else(PoisonError::into_inner) = Some(consumer);
    });
    subscribed.await.ok_or_else(away)
}

/// A subscription that outlives its connections.
struct Subscription {
    line: Line<Session>,
    sources: Mutex<Sources>,
    prefetch: u32,
    /// Delivered and not yet received. The broker bounds it.
    arrived: Mutex<VecDeque<Result<Delivery>>>,
    news: tokio::sync::Notify,
    ended: CancellationToken,
}

impl Subscription {
    fn arrived(&self) -> std::sync::MutexGuard<'_, VecDeque<Result<Delivery>>> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sources(&self) -> std::sync::MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pump(self: Arc<Self>) {
        let ended = self.ended.clone();
        let work = async {
            loop {
                let poll = self.line.call(|session| async move {
                    let consumer = session.consumer()?;
                    let delivery = timeout(POLL, consumer.receive()).await.ok().transpose();
                    if let (Ok(Some(delivery)), Some(Flaw::ForgetsDelivered)) = (&delivery, session.flaw) {
                        consumer.settle(delivery.tag, Settle::Ack).await?;
                    }
                    delivery
                });
                match poll.await {
                    Some(Ok(None)) => {}
                    Some(Ok(Some(delivery))) => {
                        self.arrived().push_back(Ok(delivery));
                        self.news.notify_one();
                    }
                    // The connection is another one, without a subscription, or there is none.
                    Some(Err(_)) | None => {
                        self.line.hang_up();
                        // What was delivered over the broken connection goes to somebody else.
                        *self.arrived() = VecDeque::from([Err(away())]);
                        self.news.notify_one();
                        loop {
                            let sources = self.sources().clone();
                            if subscribe(&self.line, sources, self.prefetch).await.is_ok() {
                                break;
                            }
                            sleep(AGAIN).await;
                        }
                    }
                }
            }
        };
        let _ = ended.run_until_cancelled(work).await;
    }

    async fn settle(&self, tag: Tag, how: Settle) -> Result<()> {
        let settled = self.line.call(move |session| async move {
            // A session without a consumer is a later one than the delivery's.
            let Ok(consumer) = session.consumer() else { return Err(QueueError::NotHeld(tag)) };
            consumer.settle(tag, how).await
        });
        settled.await.unwrap_or_else(|| Err(away()))
    }
}

struct RemoteConsumer(Arc<Subscription>);

#[async_trait]
impl Consumer for RemoteConsumer {
    async fn receive(&self) -> Result<Delivery> {
        loop {
            if self.0.ended.is_cancelled() {
                return Err(QueueError::Closed);
            }
            if let Some(arrived) = self.0.arrived().pop_front() {
                return arrived;
            }
            let _ = self.0.ended.run_until_cancelled(self.0.news.notified()).await;
        }
    }

    async fn settle(&self, tag: Tag, how: Settle) -> Result<()> {
        self.0.settle(tag, how).await
    }

    async fn turn_to(&self, queues: &[Queue], retired: &[Queue]) -> Result<()> {
        let sources = (queues.to_vec(), retired.to_vec());
        // Whichever connection comes next begins there.
        *self.0.sources() = sources.clone();
        let turned = self.0.line.call(move |session| async move {
            let Ok(consumer) = session.consumer() else { return Ok(()) };
            consumer.turn_to(&sources.0, &sources.1).await
        });
        turned.await.unwrap_or_else(|| Err(away()))
    }

    async fn cancel(&self) -> Result<()> {
        self.0.ended.cancel();
        let cancelled = self.0.line.call(|session| async move { session.consumer()?.cancel().await });
        cancelled.await.unwrap_or_else(|| Err(away()))?;
        let left: Vec<_> = self.0.arrived().drain(..).flatten().collect();
        for delivery in left {
            self.0.settle(delivery.tag, Settle::Requeue).await?;
        }
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        self.0.ended.cancel();
        let closed = self.0.line.call(|session| async move { session.consumer()?.close().await });
        let closed = closed.await.unwrap_or_else(|| Err(away()));
        self.0.line.hang_up();
        closed
    }
}

impl Drop for RemoteConsumer {
    fn drop(&mut self) {
        self.0.ended.cancel();
    }
}
