//! Subscriptions to home queues, and how one ends without a message being delivered again.
//!
//! A quorum queue takes back what is on its way to a subscription that is cancelled, and counts it as delivered though nobody has
//! seen it (`rabbit_fifo_client`, `handle_delivery` for a consumer that is gone). Nothing is on its way to a subscription whose whole
//! prefetch is held here, as long as nothing of it is settled: so it is filled up before it is cancelled, and what is finished
//! meanwhile is settled right after. A subscription that nothing comes for is cancelled all the same, and one to a queue that is
//! no longer taken from is cancelled at once. What comes for it in just that moment, the milliseconds that the queue's members take
//! to agree on it, is then delivered again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use tokio::sync::{OwnedRwLockReadGuard, OwnedSemaphorePermit, RwLock, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::sources::{GONE_FOR, Home, Taken};
use super::{AGAIN_AFTER, Held, Shared, give_back};
use crate::queue::QueueError;
use crate::rabbitmq::broker::{is_not_found, within};
use crate::rabbitmq::unavailable;

/// How long a subscription that ends waits for its prefetch to be full.
const FILLED_WITHIN: Duration = Duration::from_secs(1);

/// A home that is subscribed to, until that is over.
struct Running {
    home: Home,
    over: CancellationToken,
    task: AbortHandle,
}

impl Shared {
    /// Stays subscribed to the home queues, whichever they are, until it is told to stop.
    ///
    /// `subscribed` is let go once nothing more is delivered.
    pub(super) async fn subscribe_to_homes(self: Arc<Self>, arrive: mpsc::Sender<Held>, subscribed: mpsc::Sender<()>) {
        let mut tasks = JoinSet::new();
        self.stop.run_until_cancelled(self.follow_homes(&mut tasks, &arrive, &subscribed)).await;
        // What is on its way waits for permits; whoever cancels does not.
        drop(subscribed);
        while tasks.join_next().await.is_some() {}
    }

    /// Has a task for each home queue, whichever they are.
    async fn follow_homes(
        self: &Arc<Self>,
        tasks: &mut JoinSet<()>,
        arrive: &mpsc::Sender<Held>,
        subscribed: &mpsc::Sender<()>,
    ) {
        let mut sources = self.sources.subscribe();
        let mut running: Vec<Running> = Vec::new();
        loop {
            let homes = Arc::clone(&sources.borrow_and_update().homes);
            for one in running.iter().filter(|one| !homes.iter().any(|home| home.is(&one.home))) {
                one.over.cancel();
            }
            // Before they have ended, a prefetch of the old ones and one of the new ones would be held at once.
            while running.iter().any(|one| one.over.is_cancelled()) {
                tasks.join_next().await;
                running.retain(|one| !one.task.is_finished());
            }
            for home in homes.iter() {
                if running.iter().any(|one| home.is(&one.home)) {
                    continue;
                }
                let over = self.stop.child_token();
                let subscribe =
                    Arc::clone(self).subscribe(home.clone(), over.clone(), arrive.clone(), subscribed.clone());
                running.push(Running { home: home.clone(), over, task: tasks.spawn(subscribe) });
            }
            // The sender is ours: it cannot be gone.
            _ = sources.wait_for(|now| !Arc::ptr_eq(&now.homes, &homes)).await;
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
        let mut subscription = Subscription::begin(self, home, arrive).await?;
        home.set_subscribed(true);
        let ended = async {
            subscription.pass_on_until(over.cancelled()).await?;
            subscription.end().await
        };
        let ended = ended.await;
        home.set_subscribed(false);
        ended?;
        *subscribed = None;
        subscription.pass_on_rest().await;
        Ok(())
    }
}

/// A subscription, while it lasts.
struct Subscription<'s> {
    shared: &'s Shared,
    home: &'s Home,
    arrive: &'s mpsc::Sender<Held>,
    channel: Channel,
    stream: Consumer,
    share: Arc<Share>,
    /// What has come and waits for a permit: a prefetch at most.
    waiting: VecDeque<(Delivery, Unsettled)>,
}

impl<'s> Subscription<'s> {
    async fn begin(shared: &'s Shared, home: &'s Home, arrive: &'s mpsc::Sender<Held>) -> Result<Self, QueueError> {
        let channel = shared.link.channel().await?;
        let context = format!("subscribing to {}", home.queue);
        within(&context, channel.basic_qos(home.prefetch, BasicQosOptions::default())).await?;
        let consume = channel.basic_consume(
            home.queue.to_string().into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let stream = within(&context, consume).await?;
        Ok(Self { shared, home, arrive, channel, stream, share: Arc::default(), waiting: VecDeque::new() })
    }

    /// Passes on what comes until that is over.
    async fn pass_on_until(&mut self, over: impl Future<Output = ()>) -> Result<(), QueueError> {
        tokio::pin!(over);
        let shared = self.shared;
        loop {
            tokio::select! {
                biased;
                () = &mut over => return Ok(()),
                permit = shared.permit(), if !self.waiting.is_empty() => {
                    if let Some((delivery, unsettled)) = self.waiting.pop_front() {
                        self.pass_on(delivery, unsettled, permit).await;
                    }
                }
                next = self.next() => {
                    let delivery = next?;
                    self.waiting.push_back((delivery, Unsettled::of(&self.share)));
                }
            }
        }
    }

    async fn next(&mut self) -> Result<Delivery, QueueError> {
        let context = || format!("taking from {}", self.home.queue);
        match self.stream.next().await {
            Some(Ok(delivery)) => Ok(delivery),
            // The broker ends a subscription without its channel where the queue is gone.
            None if self.channel.status().connected() => {
                sleep(GONE_FOR).await;
                Err(unavailable(context(), "the queue is gone"))
            }
            Some(Err(_)) | None => Err(unavailable(context(), "the channel is gone")),
        }
    }

    /// Cancels it once nothing can be on its way.
    async fn end(&mut self) -> Result<(), QueueError> {
        let share = Arc::clone(&self.share);
        let _nothing_is_settled = share.settling.write().await;
        let (prefetch, close) = (u32::from(self.home.prefetch), &self.shared.close);
        // From a queue that the consumer has turned away from nothing new is to come.
        let goes_on = self.shared.sources.borrow().takes_from(self.home.queue);
        let patience = if goes_on { FILLED_WITHIN } else { Duration::ZERO };
        let full = share.is_full(prefetch);
        let enough = async {
            tokio::select! {
                () = full => {}
                () = sleep(patience) => {}
                () = close.cancelled() => {}
            }
        };
        self.pass_on_until(enough).await?;
        let cancel = self.channel.basic_cancel(self.stream.tag(), BasicCancelOptions::default());
        within(&format!("cancelling the subscription to {}", self.home.queue), cancel).await
    }

    /// Passes on what had come by the end: it is worked off here, rather than delivered again elsewhere.
    async fn pass_on_rest(mut self) {
        loop {
            let (delivery, unsettled) = match self.waiting.pop_front() {
                Some(waiting) => waiting,
                None => match self.stream.next().await {
                    Some(Ok(delivery)) => (delivery, Unsettled::of(&self.share)),
                    _ => return,
                },
            };
            match self.shared.close.run_until_cancelled(self.shared.permit()).await {
                Some(permit) => self.pass_on(delivery, unsettled, permit).await,
                None => give_back(&delivery.acker).await,
            }
        }
    }

    async fn pass_on(&self, delivery: Delivery, unsettled: Unsettled, permit: OwnedSemaphorePermit) {
        let taken = Taken::of(&self.home.taken);
        let held = Held::new(self.home.queue, delivery, &self.channel, Some(unsettled), permit, taken);
        if let Err(mpsc::error::SendError(held)) = self.arrive.send(held).await {
            give_back(&held.acker).await;
        }
    }
}

/// What a subscription has brought and the broker has not heard of again.
#[derive(Default)]
struct Share {
    unsettled: watch::Sender<u32>,
    /// Held to read while something is settled; to write while nothing may be.
    settling: Arc<RwLock<()>>,
}

impl Share {
    async fn is_full(&self, prefetch: u32) {
        // The sender is ours: it cannot be gone.
        _ = self.unsettled.subscribe().wait_for(|unsettled| *unsettled >= prefetch).await;
    }
}

/// Counts a delivery in its subscription's share as long as it lives.
pub(super) struct Unsettled(Arc<Share>);

impl Unsettled {
    fn of(share: &Arc<Share>) -> Self {
        share.unsettled.send_modify(|count| *count += 1);
        Self(Arc::clone(share))
    }

    /// Waits as long as its subscription ends. It may be settled while the answer is held, and is to be dropped before that.
    pub(super) async fn may_be_settled(&self) -> OwnedRwLockReadGuard<()> {
        Arc::clone(&self.0.settling).read_owned().await
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        self.0.unsettled.send_modify(|count| *count -= 1);
    }
}
