//! A consumer: it holds at most its permits, wherever messages come from.
//!
//! It subscribes to as many queues as it has permits (its home queues), with prefetches that sum up to them. Where permits are
//! idle it looks into the other queues, and into those home queues whose own share is taken, one message at a time: so no
//! message waits in a busy worker while another is idle, but for the moment between a look and the next one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use detektor_contract::names::Queue;
use futures::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicGetOptions, BasicQosOptions, BasicRejectOptions,
};
use lapin::types::FieldTable;
use lapin::{Acker, BasicProperties, Channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::broker::within;
use super::link::Link;
use super::message;
use crate::queue::{Consumer, Delivery, QueueError, Settle, Tag};

/// How often idle permits look into queues that nothing is subscribed to.
const LOOK_EVERY: Duration = Duration::from_millis(50);
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
    homes: Vec<Home>,
    others: Vec<Queue>,
    /// Take no more.
    stop: CancellationToken,
    /// Give back what nobody has received.
    close: CancellationToken,
}

/// A queue that is subscribed to.
struct Home {
    queue: Queue,
    prefetch: u16,
    /// Deliveries of it that are held.
    taken: Arc<AtomicU32>,
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

/// Counts a delivery as long as it lives.
struct Taken(Option<Arc<AtomicU32>>);

impl Taken {
    fn of(counter: &Arc<AtomicU32>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(Some(Arc::clone(counter)))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(counter) = &self.0 {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl RabbitConsumer {
    pub(super) async fn begin(link: Arc<Link>, queues: &[Queue], prefetch: u32) -> Result<Self, QueueError> {
        let permits = usize::try_from(prefetch).unwrap_or(usize::MAX).clamp(1, usize::from(u16::MAX));
        // Whoever subscribes to some only begins anywhere.
        let mut order = queues.to_vec();
        let first = fastrand::usize(..order.len().max(1));
        order.rotate_left(first);
        let others = order.split_off(permits.min(order.len()));
        let (share, more) = (permits / order.len().max(1), permits % order.len().max(1));
        let home = |(n, queue): (usize, Queue)| {
            let prefetch = (share + usize::from(n < more)) as u16;
            Home { queue, prefetch, taken: Arc::default() }
        };
        let homes: Vec<Home> = order.into_iter().enumerate().map(home).collect();
        let (arrive, arrived) = mpsc::channel(permits);
        let permits = Arc::new(Semaphore::new(permits));
        let shared = Arc::new(Shared {
            link,
            permits,
            homes,
            others,
            stop: CancellationToken::new(),
            close: CancellationToken::new(),
        });
        // That the broker is away, or has no such queue, is better known at once.
        let first = shared.link.channel().await?;
        let (delivering, subscribed) = mpsc::channel(1);
        let mut tasks = JoinSet::new();
        for n in 0..shared.homes.len() {
            tasks.spawn(Arc::clone(&shared).subscribe(n, arrive.clone(), delivering.clone()));
        }
        tasks.spawn(Arc::clone(&shared).look_around(first, arrive, delivering));
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
    /// Stays subscribed to a home queue until it is told to stop.
    ///
    /// `subscribed` is let go once nothing more is delivered.
    async fn subscribe(self: Arc<Self>, n: usize, arrive: mpsc::Sender<Held>, subscribed: mpsc::Sender<()>) {
        let mut subscribed = Some(subscribed);
        while !self.stop.is_cancelled() {
            if let Err(error) = self.deliver(&self.homes[n], &arrive, &mut subscribed).await {
                tracing::info!(queue = %self.homes[n].queue, error = %error, "subscribing anew");
                self.stop.run_until_cancelled(sleep(AGAIN_AFTER)).await;
            }
        }
    }

    /// Subscribes, and passes on what comes.
    async fn deliver(
        &self,
        home: &Home,
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
        while let Some(next) = self.stop.run_until_cancelled(stream.next()).await {
            let Some(Ok(delivery)) = next else { return Err(super::unavailable(context, "the channel is gone")) };
            match self.stop.run_until_cancelled(self.permit()).await {
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

    /// Lets idle permits look into the other queues.
    async fn look_around(
        self: Arc<Self>,
        mut channel: Channel,
        arrive: mpsc::Sender<Held>,
        _looking: mpsc::Sender<()>,
    ) {
        while self.stop.run_until_cancelled(sleep(LOOK_EVERY)).await.is_some() {
            for (queue, taken) in self.worth_a_look() {
                match self.look_into(&channel, queue, taken.as_ref(), &arrive).await {
                    Ok(()) => {}
                    Err(_) => match self.link.channel().await {
                        Ok(anew) => channel = anew,
                        // The subscriptions tell of it.
                        Err(_) => {
                            self.stop.run_until_cancelled(sleep(AGAIN_AFTER)).await;
                        }
                    },
                }
            }
        }
    }

    /// Queues that nothing brings messages from while permits are idle.
    fn worth_a_look(&self) -> Vec<(Queue, Option<Arc<AtomicU32>>)> {
        if self.permits.available_permits() == 0 {
            return Vec::new();
        }
        let full = |home: &&Home| home.taken.load(Ordering::Relaxed) >= u32::from(home.prefetch);
        let homes = self.homes.iter().filter(full).map(|home| (home.queue, Some(Arc::clone(&home.taken))));
        self.others.iter().map(|queue| (*queue, None)).chain(homes).collect()
    }

    /// Takes what a queue has, as long as permits are idle.
    async fn look_into(
        &self,
        channel: &Channel,
        queue: Queue,
        taken: Option<&Arc<AtomicU32>>,
        arrive: &mpsc::Sender<Held>,
    ) -> Result<(), QueueError> {
        while !self.stop.is_cancelled() {
            let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else { return Ok(()) };
            let get = channel.basic_get(queue.to_string().into(), BasicGetOptions::default());
            let Some(got) = within(&format!("looking into {queue}"), get).await? else { return Ok(()) };
            let taken = taken.map_or(Taken(None), Taken::of);
            let held = Held::new(queue, got.delivery, channel, permit, taken);
            if let Err(mpsc::error::SendError(held)) = arrive.send(held).await {
                give_back(&held.acker).await;
            }
        }
        Ok(())
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
        let settled = match how {
            Settle::Ack => held.acker.ack(BasicAckOptions::default()).await,
            Settle::Requeue => held.acker.reject(BasicRejectOptions { requeue: true }).await,
        };
        // With its channel gone the broker has taken the message back.
        if settled.is_ok_and(|settled| settled) { Ok(()) } else { Err(QueueError::NotHeld(tag)) }
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
