//! A consumer: it holds at most its permits, wherever messages come from.
//!
//! It subscribes to as many queues as it has permits (its home queues), with prefetches that sum up to them, and looks into the
//! others: so no message waits in a busy worker while another is idle, but for the moment between a look and the next one.
//!
//! Which queues there are changes while it runs: it then draws its home queues anew. What its old subscriptions had on the way
//! is received first.

mod looks;
mod sources;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use detektor_contract::names::Queue;
use futures::StreamExt;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions};
use lapin::types::FieldTable;
use lapin::{Acker, BasicProperties, Channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::looks::Looks;
use self::sources::{GONE_FOR, Home, Sources, Taken};
use super::broker::{is_not_found, within};
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
    /// Ends once nothing more is delivered.
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
    _permit: OwnedSemaphorePermit,
    _taken: Taken,
}

impl Held {
    fn new(
        queue: Queue,
        delivery: lapin::message::Delivery,
        channel: &Channel,
        permit: OwnedSemaphorePermit,
        taken: Taken,
    ) -> Self {
        Self {
            queue,
            body: delivery.data,
            properties: delivery.properties,
            acker: delivery.acker,
            channel: channel.clone(),
            _permit: permit,
            _taken: taken,
        }
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
    /// Stays subscribed to the home queues, whichever they are, until it is told to stop.
    ///
    /// `subscribed` is let go once nothing more is delivered.
    async fn subscribe_to_homes(self: Arc<Self>, arrive: mpsc::Sender<Held>, subscribed: mpsc::Sender<()>) {
        let mut sources = self.sources.subscribe();
        while !self.stop.is_cancelled() {
            let homes = Arc::clone(&sources.borrow_and_update().homes);
            let over = self.stop.child_token();
            let mut running = JoinSet::new();
            for home in homes.iter().cloned() {
                running.spawn(Arc::clone(&self).subscribe(home, over.clone(), arrive.clone(), subscribed.clone()));
            }
            // The sender is ours: it cannot be gone.
            let others = sources.wait_for(|now| !Arc::ptr_eq(&now.homes, &homes));
            _ = self.stop.run_until_cancelled(others).await;
            over.cancel();
            let ended = async { while running.join_next().await.is_some() {} };
            tokio::pin!(ended);
            tokio::select! {
                // Before that, a prefetch of the old ones and one of the new ones would be held at once.
                () = &mut ended => {}
                () = self.stop.cancelled() => {
                    // What is on its way waits for permits; whoever cancels does not.
                    drop(subscribed);
                    return ended.await;
                }
            }
        }
    }

    /// Stays subscribed to a home queue until that is over.
    async fn subscribe(
        self: Arc<Self>,
        home: Home,
        over: CancellationToken,
        arrive: mpsc::Sender<Held>,
        subscribed: mpsc::Sender<()>,
    ) {
        let mut subscribed = Some(subscribed);
        while !over.is_cancelled() {
            if let Err(error) = self.deliver(&home, &over, &arrive, &mut subscribed).await {
                tracing::info!(queue = %home.queue, error = %error, "subscribing anew");
                let pause = if is_not_found(&error) { GONE_FOR } else { AGAIN_AFTER };
                over.run_until_cancelled(sleep(pause)).await;
            }
        }
    }

    /// Subscribes, and passes on what comes.
    async fn deliver(
        &self,
        home: &Home,
        over: &CancellationToken,
        arrive: &mpsc::Sender<Held>,
        subscribed: &mut Option<mpsc::Sender<()>>,
    ) -> Result<(), QueueError> {
        let channel = self.link.channel().await?;
        let context = format!("subscribing to {}", home.queue);
        within(&context, channel.basic_qos(home.prefetch, BasicQosOptions::default())).await?;
        let consume = channel.basic_consume(
            home.queue.to_string().into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let mut stream = within(&context, consume).await?;
        let mut waiting = None;
        while let Some(next) = over.run_until_cancelled(stream.next()).await {
            let delivery = match next {
                Some(Ok(delivery)) => delivery,
                // The broker ends a subscription without its channel where the queue is gone.
                None if channel.status().connected() => {
                    over.run_until_cancelled(sleep(GONE_FOR)).await;
                    return Err(super::unavailable(context, "the queue is gone"));
                }
                Some(Err(_)) | None => return Err(super::unavailable(context, "the channel is gone")),
            };
            match over.run_until_cancelled(self.permit()).await {
                Some(permit) => self.pass_on(home, delivery, &channel, permit, arrive).await,
                // Whoever cancels is not to wait for permits.
                None => {
                    waiting = Some(delivery);
                    break;
                }
            }
        }
        within(&context, channel.basic_cancel(stream.tag(), BasicCancelOptions::default())).await?;
        *subscribed = None;
        // What was on its way meanwhile: it is worked off here, rather than delivered again elsewhere.
        loop {
            let delivery = match waiting.take() {
                Some(delivery) => delivery,
                None => match stream.next().await {
                    Some(Ok(delivery)) => delivery,
                    _ => return Ok(()),
                },
            };
            match self.close.run_until_cancelled(self.permit()).await {
                Some(permit) => self.pass_on(home, delivery, &channel, permit, arrive).await,
                None => give_back(&delivery.acker).await,
            }
        }
    }

    async fn permit(&self) -> OwnedSemaphorePermit {
        match Arc::clone(&self.permits).acquire_owned().await {
            Ok(permit) => permit,
            // Nobody closes this semaphore.
            Err(_) => std::future::pending().await,
        }
    }

    async fn pass_on(
        &self,
        home: &Home,
        delivery: lapin::message::Delivery,
        channel: &Channel,
        permit: OwnedSemaphorePermit,
        arrive: &mpsc::Sender<Held>,
    ) {
        let held = Held::new(home.queue, delivery, channel, permit, Taken::of(&home.taken));
        if let Err(mpsc::error::SendError(held)) = arrive.send(held).await {
            give_back(&held.acker).await;
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
        let held = self.take(tag)?;
        let settle = async {
            match how {
                Settle::Ack => held.acker.ack(BasicAckOptions::default()).await,
                Settle::Requeue => held.acker.reject(BasicRejectOptions { requeue: true }).await,
            }
        };
        // With its channel gone the broker has taken the message back. An ack that goes out just as the connection breaks may
        // never be told of.
        let settled = within("settling", settle).await;
        if settled.is_ok_and(|settled| settled) { Ok(()) } else { Err(QueueError::NotHeld(tag)) }
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
