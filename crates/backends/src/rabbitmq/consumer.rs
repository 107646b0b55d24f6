//! A consumer: it holds at most its permits, wherever messages come from.
//!
//! It subscribes to as many queues as it has permits (its home queues), with prefetches that sum up to them, and looks into the
//! others: so no message waits in a busy worker while another is idle, but for the moment between a look and the next one.
//!
//! Which queues there are changes while it runs: it then draws its home queues anew. How a subscription ends is told in
//! [`subscription`].

mod looks;
mod sources;
mod subscription;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use detektor_contract::names::Queue;
use lapin::options::{BasicAckOptions, BasicRejectOptions};
use lapin::{Acker, BasicProperties, Channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::looks::Looks;
use self::sources::{Sources, Taken};
use self::subscription::{Unsettled, to_settle_now};
use super::broker::within;
use super::link::Link;
use super::message;
use crate::queue::{Consumer, Delivery, QueueError, Settle, Tag};

/// Between two tries to subscribe.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// One subscriber on RabbitMQ.
pub(super) struct RabbitConsumer {
    shared: Arc<Shared>,
    arrived: tokio::sync::Mutex<mpsc::Receiver<Held>>,
    held: Mutex<HashMap<Tag, Held>>,
    next_tag: AtomicU64,
    tasks: tokio::sync::Mutex<JoinSet<()>>,
    /// Ends once nothing that is settled makes room for more.
    subscribed: tokio::sync::Mutex<mpsc::Receiver<()>>,
}

/// What the tasks of a consumer share.
struct Shared {
    link: Arc<Link>,
    permits: Arc<Semaphore>,
    sources: watch::Sender<Sources>,
    /// Take no more.
    stop: CancellationToken,
    /// Give back what nobody has received.
    close: CancellationToken,
}

/// A delivery that is not settled. As long as it is held, so is its channel.
struct Held {
    queue: Queue,
    body: Vec<u8>,
    properties: BasicProperties,
    acker: Acker,
    channel: Channel,
    /// None if no subscription brought it.
    unsettled: Option<Unsettled>,
    /// None once another one works with it.
    permit: Option<OwnedSemaphorePermit>,
    _taken: Taken,
}

impl Held {
    fn new(
        queue: Queue,
        delivery: lapin::message::Delivery,
        channel: &Channel,
        unsettled: Option<Unsettled>,
        permit: OwnedSemaphorePermit,
        taken: Taken,
    ) -> Self {
        Self {
            queue,
            body: delivery.data,
            properties: delivery.properties,
            acker: delivery.acker,
            channel: channel.clone(),
            unsettled,
            permit: Some(permit),
            _taken: taken,
        }
    }

    /// Whether the broker is told. With its channel gone it has taken the message back. What goes out just as the connection breaks
    /// may never be told of.
    async fn settle(self, how: Settle) -> bool {
        let settle = async {
            match how {
                Settle::Ack => self.acker.ack(BasicAckOptions::default()).await,
                Settle::Requeue => self.acker.reject(BasicRejectOptions { requeue: true }).await,
            }
        };
        within("settling", settle).await.is_ok_and(|settled| settled)
    }
}

impl RabbitConsumer {
    pub(super) async fn begin(link: Arc<Link>, queues: &[Queue], prefetch: u32) -> Result<Self, QueueError> {
        let permits = usize::try_from(prefetch).unwrap_or(usize::MAX).clamp(1, usize::from(u16::MAX));
        let (arrive, arrived) = mpsc::channel(permits);
        let shared = Arc::new(Shared {
            link,
            permits: Arc::new(Semaphore::new(permits)),
            sources: watch::Sender::new(Sources::new(queues, permits)),
            stop: CancellationToken::new(),
            close: CancellationToken::new(),
        });
        // That the broker is away is better known at once.
        let first = shared.link.channel().await?;
        let (delivering, subscribed) = mpsc::channel(1);
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&shared).subscribe_to_homes(arrive.clone(), delivering.clone()));
        tasks.spawn(Arc::clone(&shared).look_around(Looks::new(first), arrive, delivering));
        Ok(Self {
            shared,
            arrived: tokio::sync::Mutex::new(arrived),
            held: Mutex::default(),
            next_tag: AtomicU64::new(1),
            tasks: tokio::sync::Mutex::new(tasks),
            subscribed: tokio::sync::Mutex::new(subscribed),
        })
    }

    fn take(&self, tag: Tag) -> Result<Held, QueueError> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&tag).ok_or(QueueError::NotHeld(tag))
    }
}

impl Shared {
    async fn permit(&self) -> OwnedSemaphorePermit {
        match Arc::clone(&self.permits).acquire_owned().await {
            Ok(permit) => permit,
            // Nobody closes this semaphore.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Whether the channel is there or not, the broker delivers it again.
async fn give_back(acker: &Acker) {
    _ = within("giving a message back", acker.reject(BasicRejectOptions { requeue: true })).await;
}

#[async_trait]
impl Consumer for RabbitConsumer {
    async fn receive(&self) -> Result<Delivery, QueueError> {
        let mut arrived = self.arrived.lock().await;
        if self.shared.close.is_cancelled() {
            return Err(QueueError::Closed);
        }
        let mut held = loop {
            let held = arrived.recv().await.ok_or(QueueError::Closed)?;
            // What waited here while its channel broke is somebody else's by now: work on it would be in vain.
            if held.channel.status().connected() {
                break held;
            }
        };
        let body = std::mem::take(&mut held.body);
        let (message, attempt) = message::read(held.queue, body, &held.properties, self.shared.link.delivery_limit);
        let (tag, queue) = (Tag(self.next_tag.fetch_add(1, Ordering::Relaxed)), held.queue);
        self.held.lock().unwrap_or_else(PoisonError::into_inner).insert(tag, held);
        Ok(Delivery { queue, message, attempt, tag })
    }

    async fn settle(&self, tag: Tag, how: Settle) -> Result<(), QueueError> {
        let Some(held) = to_settle_now(self.take(tag)?, how) else { return Ok(()) };
        if held.settle(how).await { Ok(()) } else { Err(QueueError::NotHeld(tag)) }
    }

    async fn turn_to(&self, queues: &[Queue], retired: &[Queue]) -> Result<(), QueueError> {
        if self.shared.stop.is_cancelled() {
            return Err(QueueError::Closed);
        }
        self.shared.sources.send_modify(|sources| sources.turn_to(queues, retired));
        Ok(())
    }

    async fn cancel(&self) -> Result<(), QueueError> {
        self.shared.stop.cancel();
        // Nobody sends: it ends with the last one who could bring something.
        _ = self.subscribed.lock().await.recv().await;
        Ok(())
    }

    async fn close(&self) -> Result<(), QueueError> {
        self.shared.stop.cancel();
        self.shared.close.cancel();
        let mut tasks = self.tasks.lock().await;
        while tasks.join_next().await.is_some() {}
        let mut arrived = self.arrived.lock().await;
        while let Some(held) = arrived.recv().await {
            give_back(&held.acker).await;
        }
        let held: Vec<Held> = {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.drain().map(|(_, held)| held).collect()
        };
        for held in held {
            give_back(&held.acker).await;
        }
        Ok(())
    }
}

impl Drop for RabbitConsumer {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        self.shared.close.cancel();
    }
}
